"""What is meant by a run, a store and an average, and what cannot be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fabric import edit_record, edit_rows, make_store, shorten
from wdiv.errors import BadInput, BadStore
from wdiv.inference.choice import best_of, choose


def run_of(store: Path, strategy: str = "bn+fc", seed: int = 0) -> Path:
    return store / "runs" / f"toynet-toy-n2-{strategy}-auto-s{seed}"


def test_a_run_by_its_folder_and_epoch(store: Path) -> None:
    for spec, epoch in ((run_of(store), 3), (f"{run_of(store)}@1", 1), (f"{run_of(store)}@best", 3)):
        (member,) = choose(spec).members
        assert (member.run.path, member.epochs) == (run_of(store), (epoch,))
    assert choose(run_of(store), epoch=2).members[0].epochs == (2,)
    assert choose(store, epoch=2).members[0].epochs == (2,)


@pytest.mark.parametrize(
    ("average", "message"),
    [
        ("last0", "average 'last0': lastN, such as last5"),
        ("mean", "average 'mean': lastN, such as last5"),
        ("last4", "up to epoch 3 there are no more than 3 to average"),
    ],
)
def test_averages_that_are_none(store: Path, average: str, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        choose(run_of(store), average)


def test_an_average_up_to_the_epoch_that_is_named(store: Path) -> None:
    assert choose(f"{run_of(store)}@2", "last2").members[0].epochs == (1, 2)
    edit_rows(run_of(store), lambda rows: rows[-1].update(final=2))
    assert choose(run_of(store), "last2").members[0].epochs == (1, 2), "of a run that stopped early, up to its best"


def test_an_average_of_epochs_that_are_gone(store: Path) -> None:
    (run_of(store) / "epochs" / "0002.safetensors").unlink()
    with pytest.raises(BadInput, match="average last2: takes epochs 2 to 3, and 0, 1, 3 are saved"):
        choose(run_of(store), "last2")
    assert choose(run_of(store)).members[0].epochs == (3,), "what is there can be used"


def test_seeds_differ_in_their_seed_alone_and_are_finished(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("bn+fc", "fc"), (0, 1, 2), sizes=(2, 4))
    names = [one.run.record.id for one in choose(run_of(store, seed=1), "seeds").members]
    assert names == [run_of(store, seed=seed).name for seed in (1, 0, 2)]
    edit_record(run_of(store, seed=0), lambda record: record["recipe"].update(optimizer="sgd"))
    shorten(store, run_of(store, seed=2).name, 1)
    with pytest.raises(BadStore, match="no finished run that differs from it in its seed alone"):
        choose(run_of(store, seed=1), "seeds")


def test_a_run_s_folder_may_be_called_otherwise(store: Path) -> None:
    name = best_of(store).run
    (store / "runs" / name).rename(store / "runs" / "mine")
    assert choose(store).members[0].run.path.name == "mine"


def test_what_is_no_network(store: Path, tmp_path: Path) -> None:
    for nothing in (tmp_path / "none", run_of(store) / "run.json", f"{store}@3"):
        with pytest.raises(BadInput, match="neither a run of a wdiv store"):
            choose(nothing)
    with pytest.raises(BadStore, match="no runs in it"):
        choose(tmp_path)
    edit_record(run_of(store), lambda record: record.update(input={}))
    with pytest.raises(BadInput, match="an imported run does not say what its network reads"):
        choose(run_of(store))


def test_a_damaged_run_is_left_out(store: Path) -> None:
    whole = best_of(store)
    (store / "runs" / whole.run / "history.jsonl").write_text("nothing")
    with pytest.warns(UserWarning, match="is left out"):
        assert best_of(store).run != whole.run
