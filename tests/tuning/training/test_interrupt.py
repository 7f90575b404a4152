"""Stopping when asked, by real signals."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tests.tuning.tiny import make_loop, net
from wdiv.tuning.training.interrupt import Stop, Stopped, asked_by_signals

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = [signal.getsignal(n) for n in SIGNALS]
    with asked_by_signals() as stop:
        assert stop.signum is None
        os.kill(os.getpid(), number)
        assert stop.signum == number
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signum == number, "the first one counts"
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_a_second_interrupt_interrupts_at_once() -> None:
    before = [signal.getsignal(n) for n in SIGNALS]
    with asked_by_signals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(n) for n in SIGNALS] == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with asked_by_signals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.signum is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_is_never_asked() -> None:
    found: list[Stop] = []

    def work() -> None:
        with asked_by_signals() as stop:
            found.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [stop.signum for stop in found] == [None]


@pytest.mark.parametrize(
    ("at", "words"), [((1, 2), "stopped in epoch 1, after step 2"), ((1, 3), "stopped after epoch 1")], ids=str
)
def test_a_loop_finishes_its_step_and_says_where_it_is(at: tuple[int, int], words: str) -> None:
    loop, log = make_loop(net(), "fc", epochs=2)  # of three steps each
    loop.on_batch = lambda epoch, done, of: loop.stop.ask(signal.SIGTERM) if (epoch, done) == at else None
    kept = []
    loop.on_stop = lambda position, optimizer: kept.append(position)
    with pytest.raises(Stopped, match=words) as caught:
        loop.run()
    assert caught.value.signum == signal.SIGTERM
    assert [(p.epoch, p.step) for p in kept] == [(1, 2) if at == (1, 2) else (2, 0)]
    assert [row["epoch"] for row in log.rows] == ([0] if at == (1, 2) else [0, 1])


def test_a_run_that_is_through_is_not_stopped() -> None:
    loop, log = make_loop(net(), "fc", epochs=2)
    loop.on_batch = lambda epoch, done, of: loop.stop.ask() if (epoch, done) == (2, 3) else None
    loop.run()
    assert [row["epoch"] for row in log.rows] == [0, 1, 2]
