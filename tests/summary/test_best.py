"""Which network to use: by images that were held out, else by those of the test, and never one that learned nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fabric import LABELS, edit_record, edit_rows, logits, make_store, shorten
from wdiv import summary
from wdiv.errors import BadInput
from wdiv.numerics.classification import classification_scores
from wdiv.store.engine import open_store

FITTED = {"fitted_accuracy": 1.0, "n_fitted": 30, "fitted_majority": 0.4}
LOSSES = {("fc", 0): 0.5, ("fc", 1): 0.3, ("bn+fc", 0): 0.2, ("bn+fc", 1): 0.5}


def run_of(store: Path, strategy: str, seed: int, size: int = 2) -> Path:
    return store / "runs" / f"toynet-toy-n{size}-{strategy}-auto-s{seed}"


def tell(store: Path, strategy: str, seed: int, size: int = 2, **told: Any) -> None:
    edit_rows(run_of(store, strategy, seed, size), lambda rows: rows[-1].update(told))


def validated(store: Path, losses: dict[tuple[str, int], float] = LOSSES, **others: Any) -> Path:
    for (strategy, seed), loss in losses.items():
        tell(store, strategy, seed, val_loss=loss, val_accuracy=1 - loss, **FITTED, **others)
    return store


def found(store: Path, **how: Any) -> summary.Best:
    return summary.best(open_store(store), **how)


def test_the_least_mean_validation_loss_and_its_best_seed(store: Path) -> None:
    best = found(validated(store))
    assert (best.by, best.optimistic, best.notes) == ("validation loss", False, ())
    assert [(c.strategy, c.seeds) for c in best.candidates] == [("bn+fc", 2), ("fc", 2)]
    assert [c.loss for c in best.candidates] == pytest.approx([0.35, 0.4])
    assert (best.run, best.epoch) == ("toynet-toy-n2-bn+fc-auto-s0", 3)
    assert best.chosen.val_accuracy == pytest.approx(0.65)
    assert best.chosen.test_accuracy == pytest.approx(0.605), "the mean of .6 and .61"
    assert (best.chosen.n_train, best.chosen.n_test) == (6, 9)


def test_ties_go_by_name(store: Path) -> None:
    best = found(validated(store, dict.fromkeys(LOSSES, 0.25)))
    assert (best.chosen.strategy, best.run) == ("bn+fc", "toynet-toy-n2-bn+fc-auto-s0")


def test_the_epoch_that_counts_is_what_counts(store: Path) -> None:
    """Of a run that stopped early: the validation loss of its best epoch, which is the one to use."""
    validated(store, dict.fromkeys(LOSSES, 0.9))
    edit_rows(run_of(store, "fc", 1), lambda rows: (rows[2].update(val_loss=0.1), rows[-1].update(final=2)))
    best = found(store)
    assert (best.chosen.strategy, best.run, best.epoch) == ("fc", "toynet-toy-n2-fc-auto-s1", 2)


def test_without_held_out_images_the_test_images_choose_and_it_is_said(tmp_path: Path) -> None:
    best = found(make_store(tmp_path / "s", predicted=True))
    losses = {
        strategy: [classification_scores(logits(strategy, seed, 3)["test"], LABELS).log_loss for seed in (0, 1)]
        for strategy in ("fc", "bn+fc")
    }
    chosen = min(losses, key=lambda strategy: float(np.mean(losses[strategy])))
    assert (best.by, best.optimistic) == ("test log loss", True)
    assert best.run == f"toynet-toy-n2-{chosen}-auto-s{int(np.argmin(losses[chosen]))}"
    assert best.chosen.loss == pytest.approx(np.mean(losses[chosen]))
    assert "the test accuracy of what is chosen is optimistic" in best.notes[0]


def test_a_store_without_predictions_goes_by_its_test_error(store: Path) -> None:
    best = found(store)
    assert (best.by, best.optimistic, best.chosen.strategy) == ("test error", True, "bn+fc")
    assert best.run.endswith("s1"), "the fabric's accuracy grows with the seed"
    assert "by their error" in best.notes[0]


def test_what_has_learned_nothing_is_never_chosen(store: Path) -> None:
    validated(store)
    tell(store, "bn+fc", 0, fitted_accuracy=0.4)
    best = found(store)
    assert (best.chosen.strategy, best.run) == ("bn+fc", "toynet-toy-n2-bn+fc-auto-s1"), "one seed of it has learned"
    assert any("not trained: toynet-toy-n2-bn+fc-auto-s0" in note for note in best.notes)
    tell(store, "bn+fc", 1, fitted_accuracy=0.4)
    best = found(store)
    assert (best.chosen.strategy, best.run) == ("fc", "toynet-toy-n2-fc-auto-s1")
    assert best.candidates[1].problem == "has not learned its training images"
    for seed in (0, 1):
        tell(store, "fc", seed, fitted_accuracy=0.4)
    best = found(store)
    assert best.chosen.strategy == "bn+fc"
    assert any("use none of them" in note for note in best.notes)


def test_one_class_alone_is_never_chosen(tmp_path: Path) -> None:
    from tests.fabric import write_predictions
    from wdiv.store.reader import Run

    store = validated(make_store(tmp_path / "s", predicted=True))
    for seed in (0, 1):
        run, given = Run(run_of(store, "bn+fc", seed)), logits("bn+fc", seed, 3)
        given["test"][:] = [0, 1, 0]
        told = write_predictions(run, 3, seed, given)
        edit_rows(run.path, lambda rows, told=told: rows[-1].update(predictions=told))
    best = found(store)
    assert best.chosen.strategy == "fc"
    assert best.candidates[1].problem == "answers 'b' alone"


def test_of_several_sizes_the_largest(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("fc", "bn+fc"), sizes=(2, 4))
    for strategy in ("fc", "bn+fc"):
        for seed in (0, 1):
            tell(store, strategy, seed, 2, val_loss=0.1)
            tell(store, strategy, seed, 4, val_loss=0.5 if strategy == "fc" else 0.6)
    best = found(store)
    assert best.run == "toynet-toy-n4-fc-auto-s0"
    assert {c.n_train for c in best.candidates} == {12}
    assert "only runs of 12 training images are compared, the most there are; not of 6" in best.notes


def test_only_what_is_finished_and_known_is_compared(store: Path) -> None:
    validated(store)
    shorten(store, "toynet-toy-n2-bn+fc-auto-s0", 2)
    best = found(store)
    assert (best.chosen.strategy, best.run) == ("fc", "toynet-toy-n2-fc-auto-s1")
    assert [c.seeds for c in best.candidates] == [2, 1]
    tell(store, "fc", 1, val_loss=None)
    best = found(store)
    assert best.run == "toynet-toy-n2-bn+fc-auto-s1", "as good as what is left of the other, and before it by name"
    assert "not compared, as their validation loss is not known: toynet-toy-n2-fc-auto-s1" in best.notes


def test_several_data_sets_are_asked_about(store: Path) -> None:
    validated(store)
    for seed in (0, 1):
        edit_record(run_of(store, "fc", seed), lambda record: record.update(dataset="other"))
    with pytest.raises(BadInput, match=r"several data sets.*--dataset.*other, toy"):
        found(store)
    assert found(store, dataset="other").chosen.strategy == "fc"
    with pytest.raises(BadInput, match="no run of data set 'toys'; did you mean 'toy'"):
        found(store, dataset="toys")


def test_architectures_are_compared_too(tmp_path: Path) -> None:
    store, other = validated(make_store(tmp_path / "s")), validated(make_store(tmp_path / "t"))
    for run in (other / "runs").iterdir():
        edit_record(run, lambda record: record.update(label="other"))
        edit_rows(run, lambda rows: rows[-1].update(val_loss=0.1))
    best = summary.best(open_store(store), open_store(other))
    assert (best.chosen.model, len(best.candidates)) == ("other", 4)


def test_nothing_to_choose_from(store: Path, tmp_path: Path) -> None:
    for run in (store / "runs").iterdir():
        shorten(store, run.name, 2)
    with pytest.raises(BadInput, match="no run is finished"):
        found(store)
    other = Path(shutil.copytree(make_store(tmp_path / "t"), tmp_path / "u"))
    for run in (other / "runs").iterdir():
        edit_rows(run, lambda rows: rows[-1].update(test_accuracy=None))
    with pytest.raises(BadInput, match="no accuracy is known"):
        found(other)
