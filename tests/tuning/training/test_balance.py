"""Classes of unequal size: what an image counts, and how often it is drawn."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from tests.tuning.tiny import Log, images, make_loop, moved, net, tiny_run, write_weights
from wdiv.errors import UnknownName
from wdiv.tuning.data.images import ImageSet, Split
from wdiv.tuning.training.balance import CLASS_WEIGHTS, SAMPLINGS
from wdiv.tuning.training.feeds import OnDevice
from wdiv.tuning.training.interrupt import Stopped
from wdiv.tuning.training.loop import Loop, Position
from wdiv.tuning.training.losses import LOSSES, loss
from wdiv.tuning.training.recipe import Recipe
from wdiv.tuning.training.run import fine_tune

BALANCED = {"class_weights": "balanced", "sampling": "balanced"}
COUNTS = st.lists(st.integers(1, 40), min_size=2, max_size=6)


def unequal() -> OnDevice:
    """Of three classes two, three and seven images."""
    whole = images(12).images
    labels = np.repeat([0, 1, 2], [2, 3, 7])
    return OnDevice(ImageSet(whole.pixels, labels, whole.classes, whole.names), torch.device("cpu"))


@given(COUNTS)
def test_weights_are_those_of_scikit_learn_with_a_mean_of_1(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    weights = CLASS_WEIGHTS["balanced"].of(np.array(counts))
    wanted = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    assert weights == pytest.approx(wanted, rel=1e-12)
    assert weights[labels].mean() == pytest.approx(1.0)
    assert CLASS_WEIGHTS["none"].of(np.array(counts)) is None


@given(COUNTS, st.integers(1, 300), st.integers(0, 5))
def test_a_balanced_epoch_draws_each_class_alike_and_its_images_evenly(
    counts: list[int], draws: int, seed: int
) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    order = SAMPLINGS["balanced"].of(labels, draws, np.random.default_rng(seed))
    assert len(order) == draws
    drawn = np.bincount(order, minlength=len(labels))
    of_class = np.bincount(labels, drawn, minlength=len(counts))
    assert of_class.max() - of_class.min() <= 1
    for label in range(len(counts)):
        assert np.ptp(drawn[labels == label]) <= 1, "none again before all have been"
    assert order.tolist() == SAMPLINGS["balanced"].of(labels, draws, np.random.default_rng(seed)).tolist()


def test_a_shuffled_epoch_draws_what_it_always_drew() -> None:
    rng, order = np.random.default_rng([5, 2]), SAMPLINGS["shuffled"].of(np.zeros(7), 17, np.random.default_rng([5, 2]))
    assert order.tolist() == np.concatenate([rng.permutation(7) for _ in range(3)])[:17].tolist()


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("lam", [0.4, 1.0])
def test_a_weighted_loss_is_the_mean_over_images_times_their_weight(kind: str, lam: float) -> None:
    outputs = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 3)))
    labels, partner = torch.tensor([0, 1, 1, 2, 2, 2]), torch.tensor([2, 2, 0, 1, 0, 1])
    weights = torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)

    def one(row: int, label: torch.Tensor) -> float:
        return float(loss(outputs[row : row + 1], label[None], label[None], smoothing=0.1, kind=kind) * weights[label])

    wanted = np.mean([lam * one(i, labels[i]) + (1 - lam) * one(i, partner[i]) for i in range(6)])
    assert float(loss(outputs, labels, partner, lam, 0.1, kind, weights)) == pytest.approx(wanted, rel=1e-9)
    even = loss(outputs, labels, partner, lam, 0.1, kind, torch.ones(3, dtype=torch.float64))
    assert float(even) == pytest.approx(float(loss(outputs, labels, partner, lam, 0.1, kind)), rel=1e-12)


def test_the_loop_weighs_by_its_training_images() -> None:
    loop, _ = make_loop(net(dropout=0.0), "fc", train=unequal(), **BALANCED)
    assert loop.weights.tolist() == pytest.approx([2.0, 4 / 3, 4 / 7])
    assert make_loop(net(), "fc")[0].weights is None
    logits, found = loop._judge(loop.test_feed)
    labels = loop.test_set.labels
    assert found == pytest.approx(float(loss(torch.from_numpy(logits), labels, labels, weights=loop.weights)), rel=1e-5)


@pytest.mark.parametrize("steps", [None, 5])
def test_a_balanced_run_goes_on_as_it_would_have(steps: int | None) -> None:
    """After an epoch, and after a step in the middle of one."""

    def make(seed: int = 0) -> tuple[Loop, Log]:
        how = {"epochs": 3, "optimizer": "adam", "steps_per_epoch": steps, **BALANCED}
        return make_loop(net(seed=seed), train=unequal(), **how)

    whole, log = make()
    whole.run()
    other, _ = make(seed=9)
    other.model.load_state_dict(log.states[1])
    other.optimizer.load_state_dict(log.optimizer[1])
    kept: list[Any] = []
    other.on_stop = lambda position, optimizer: kept.append(position.to_json())
    other.on_batch = lambda epoch, done, of: other.stop.ask(signal.SIGTERM) if (epoch, done) == (2, 2) else None
    with pytest.raises(Stopped):
        other.run(after=1)
    last, end = make(seed=8)
    last.model.load_state_dict(other.model.state_dict())
    last.optimizer.load_state_dict(other.optimizer.state_dict())
    last.run(1, Position(**kept[0]))
    assert not moved(log.states[-1], end.states[-1])
    assert end.rows[-1]["train_loss"] == log.rows[-1]["train_loss"]


def test_a_recipe_of_before_is_the_same_recipe(digits: Split, tmp_path: Path) -> None:
    """Its record has not these fields; what differs from it has."""
    assert not {"class_weights", "sampling"} & Recipe().to_json().keys()
    assert Recipe(sampling="balanced").to_json()["sampling"] == "balanced"
    weights = write_weights(tmp_path / "made.pth")
    for how in ({}, BALANCED):
        run = fine_tune(
            tiny_run(weights, epochs=1, seed=len(how), **how), digits, tmp_path / str(len(how)), device="cpu"
        )
        recipe = json.loads((run.path / "run.json").read_text())["recipe"]
        assert {name: recipe[name] for name in BALANCED if name in recipe} == how


@pytest.mark.parametrize("fields", [{"class_weights": "balance"}, {"sampling": "balance"}])
def test_an_unknown_way_is_an_error_with_a_hint(fields: dict[str, str]) -> None:
    with pytest.raises(UnknownName, match="did you mean 'balanced'"):
        Recipe(**fields)
