"""A network answers as it answered when it was trained; of several, the mean of what they hold probable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from wdiv.inference.choice import Choice, Weights, best_of, choose
from wdiv.inference.network import Network, load
from wdiv.numerics.classification import PROBABILITIES
from wdiv.store import predictions
from wdiv.store.engine import open_store
from wdiv.store.reader import Run
from wdiv.summary import best
from wdiv.tuning.training.own_images import own_split


def test_the_answers_are_those_that_the_run_kept_to_the_last_bit(runs: list[Run]) -> None:
    for run in runs:
        kept = predictions.of_run(run)
        assert kept is not None
        network = Network(choose(run.path), "cpu")
        test = own_split(run, network.inputs.size).test
        assert network.logits(test.pixels).tobytes() == kept.logits.tobytes()
        assert network.classes == kept.classes


def test_another_epoch_is_another_network(runs: list[Run]) -> None:
    kept = predictions.of_run(runs[0], 2)
    assert kept is not None
    network = Network(choose(f"{runs[0].path}@2"), "cpu")
    test = own_split(runs[0], network.inputs.size).test
    np.testing.assert_array_equal(network.logits(test.pixels), kept.logits)


def test_of_a_store_the_best_is_used(used: Path) -> None:
    found, choice = best_of(used), choose(used)
    assert found == best(open_store(used))
    assert (choice.first.record.id, choice.members[0].epochs) == (found.run, (found.epoch,))
    assert choice.best == found


def test_seeds_are_averaged_as_probabilities(used: Path, runs: list[Run]) -> None:
    choice = choose(used, "seeds")
    names = [one.run.record.id for one in choice.members]
    assert names[0] == best_of(used).run, "the best first"
    assert set(names) == set(best_of(used).chosen.runs)
    pixels = own_split(runs[0], 32).test.pixels
    each = [np.exp(PROBABILITIES["softmax"](Network(choose(one.run.path), "cpu").logits(pixels).astype(float)))
            for one in choice.members]  # fmt: skip
    network = Network(choice, "cpu")
    np.testing.assert_allclose(network.probabilities_of(network.logits(pixels)), np.mean(each, axis=0), atol=1e-6)
    of_run = choose(choice.members[1].run.path, "seeds")
    assert [one.run.record.id for one in of_run.members] == names[::-1], "of a run, the run first"


def test_a_mean_of_epochs_is_the_mean_of_weights_and_of_running_statistics(runs: list[Run]) -> None:
    run = next(run for run in runs if run.record.strategy.startswith("conv"))
    (member,) = choose(run.path, "last3").members
    final = run.final
    assert final is not None
    assert member.epochs == (final - 2, final - 1, final)
    states = [run.state_dict(epoch) for epoch in member.epochs]
    for key, value in member.state_dict().items():
        if value.dtype.kind == "f":
            mean = np.mean([state[key].astype(np.float64) for state in states], axis=0)
            np.testing.assert_allclose(value, mean, rtol=1e-6, atol=1e-12)
        else:
            assert value == states[-1][key], "a counter is that of the last"
    averaged = torch.optim.swa_utils.AveragedModel(load(Weights(run, (final - 2,))), use_buffers=True)
    for epoch in member.epochs:
        averaged.update_parameters(load(Weights(run, (epoch,))))
    theirs = averaged.module.state_dict()
    for key, value in load(member).state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, theirs[key])


def test_an_ensemble_may_be_of_sigmoids(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "spelled", lambda record: "sigmoid")
    alone, both = (Network(Choice(tuple(Weights(run, (6,)) for run in some)), "cpu") for some in (runs[:1], runs[:2]))
    pixels = own_split(runs[0], 32).test.pixels
    assert (alone.probabilities, both.probabilities) == ("sigmoid", "softmax")
    sums = both.probabilities_of(both.logits(pixels)).sum(axis=1)
    np.testing.assert_allclose(sums, 1)
