"""What is kept of a frozen prefix changes how long a run takes, and nothing else; run.json says what happened."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import some
from tests.tuning.tiny import net, planned, shown_to_prefixes, small_run
from wdiv.store.reader import Run
from wdiv.tuning.data.images import Split
from wdiv.tuning.prefix.feature_store import FeatureStore
from wdiv.tuning.training import prefix_plan
from wdiv.tuning.training.feeds import OnDevice
from wdiv.tuning.training.recipe import Recipe
from wdiv.tuning.training.run import fine_tune


def trained(weights: Path, digits: Split, out: Path, strategy: str, **how: Any) -> Run:
    model = {"model": how.pop("model")} if "model" in how else {}
    features = how.pop("features", None)
    spec = small_run(weights, strategy, per_class=4, **model, **{"epochs": 2, "batch_size": 10, **how})
    return fine_tune(spec, digits, out, device="cpu", features=features)


SGD = {"optimizer": "sgd", "momentum": 0.9}  # Adam makes a whole step of the last bits of a gradient of 0
CASES: dict[str, dict[str, Any]] = {
    "fc": {},
    "fc=1e-2": {**SGD, "schedule": "one-cycle"},
    "bn@stage2+fc": {"bn_mode": "frozen", **SGD},
    "bn@stage1-2=1e-4,fc=1e-3": SGD,  # by batch statistics, which on made weights blow up every last bit
    "conv@stage2+fc": {"bn_mode": "adabn"},
    "fc for 1 then bn@stage2+fc": {"bn_mode": "frozen", **SGD, "validation": 0.25, "patience": 3},
    "modular": {},
    "conv@stage2+fc+rgn": {"label_smoothing": 0.1, "loss": "sigmoid"},
    "fc+l2sp=0.5": {"precision": "bf16"},
}


@pytest.mark.parametrize("strategy", some(CASES))
def test_cached_and_uncached_training_give_the_same_weights(
    strategy: str, weights: Path, digits: Split, tmp_path: Path
) -> None:
    how = CASES[strategy]
    kept = trained(weights, digits, tmp_path / "kept", strategy, **how)
    plain = trained(weights, digits, tmp_path / "plain", strategy, keep_prefix=False, **how)
    told = [part["why"] for part in kept.record.prefix], [part["why"] for part in plain.record.prefix]
    if strategy != "modular":  # what is beside reads the images themselves
        assert all(
            why.startswith("kept: ") and part["kept"] for why, part in zip(told[0], kept.record.prefix, strict=True)
        )
        assert set(told[1]) == {"not kept: the recipe says so"}
    few = 0.05 if how.get("precision") == "bf16" else 1e-4
    for epoch in kept.epochs():
        ours, theirs = kept.state_dict(epoch), plain.state_dict(epoch)
        for key in ours:
            np.testing.assert_allclose(ours[key], theirs[key], rtol=few, atol=few, err_msg=f"{key} after {epoch}")
    for ours, theirs in zip(kept.history(), plain.history(), strict=True):
        assert ours.keys() == theirs.keys()
        for name in {"train_loss", "val_loss"} & ours.keys():
            assert ours[name] == (theirs[name] and pytest.approx(theirs[name], rel=max(few, 1e-3)))
        assert ours["test_accuracy"] == pytest.approx(theirs["test_accuracy"], abs=0.051 if few == 0.05 else 1e-9)


def test_they_do_show_the_prefix_each_image_once(
    weights: Path, digits: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of both sets, whatever the epochs; a second run with the same store shows it none."""
    shown = shown_to_prefixes(monkeypatch)
    store = FeatureStore()
    trained(weights, digits, tmp_path, "fc", features=store, epochs=5)
    pool, test = len(digits.pool), len(digits.test)
    first = sum(n for n in shown if n > 2)  # the trials of a cut are of two
    assert test < first <= pool + test
    shown.clear()
    trained(weights, digits, tmp_path, "fc", features=store, epochs=7, optimizer="adamw", seed=0, bn_mode="frozen")
    assert [n for n in shown if n > 2] == []


@pytest.mark.parametrize(
    ("strategy", "how", "copied"),
    [
        ("fc", {}, [False, False]),
        ("fc", {"validation": 0.3}, [False, False, False]),
        ("fc", {"augment": ("flip",)}, [True, False]),
        ("conv+bn+fc", {}, [True, True]),
        ("fc", {"bn_mode": "adabn"}, [True, True]),  # which shows them to the network before there is a prefix
    ],
)
def test_pixels_go_to_the_device_only_where_the_network_reads_them(
    strategy: str, how: dict[str, Any], copied: list[bool], weights: Path, digits: Split, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    put, parts = OnDevice.__init__, []
    monkeypatch.setattr(OnDevice, "__init__", lambda self, *given: parts.append(self) or put(self, *given))
    trained(weights, digits, tmp_path, strategy, epochs=1, **how)
    assert ["pixels" in vars(part) for part in parts] == copied


@pytest.mark.parametrize(
    ("strategy", "how", "training", "judging", "why"),
    [
        ("fc", {}, True, True, r"kept: \d\d\.\d% of the work is done once an image"),
        ("fc", {"augment": ("flip",)}, False, True, "kept for test images only: images are augmented"),
        ("fc", {"mixup": 0.2}, False, True, "kept for test images only: images are blended by mixup"),
        ("fc", {"keep_prefix": False}, False, False, "not kept: the recipe says so"),
        ("fc", {"bn_mode": "adapt"}, False, False, "not kept: .*"),
        ("fc", {"bn_mode": "batch"}, None, None, "kept: 10.2% of .*"),  # the convolution before the first BatchNorm
        ("conv@stem+fc", {}, False, False, "not kept: the first layer is not frozen"),
        ("conv+bn+fc", {}, False, False, "not kept: the first layer is not frozen"),
        ("scratch", {}, False, False, "not kept: the first layer is not frozen"),
        ("conv@stage1+fc", {"bn_mode": "frozen"}, None, None, "kept: .*|not kept: the prefix is .*% of the work"),
    ],
)
def test_the_record_says_what_happened_and_why(
    strategy: str, how: dict[str, Any], training: bool | None, judging: bool | None, why: str, weights: Path,
    digits: Split, tmp_path: Path,
) -> None:  # fmt: skip
    (told,) = trained(weights, digits, tmp_path, strategy, epochs=1, **how).record.prefix
    assert told["from_epoch"] == 1
    assert re.fullmatch(why, told["why"]), told["why"]
    if training is not None:
        assert (told["kept"], told["judging_kept"]) == (training, judging)
    assert ("bytes_per_image" in told) == (told["kept"] or told["judging_kept"])


def test_a_prefix_that_saves_little_is_not_kept(
    weights: Path, digits: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix_plan, "WORTH", 0.9999)
    (told,) = trained(weights, digits, tmp_path, "bn@stage2+fc", epochs=1).record.prefix
    assert not told["kept"]
    assert told["why"].startswith("not kept: the prefix is ")


def test_each_phase_has_its_own_prefix(weights: Path, digits: Split, tmp_path: Path) -> None:
    told = trained(weights, digits, tmp_path, "fc for 1 then bn@stage2+fc then all", epochs=3).record.prefix
    assert [part["from_epoch"] for part in told] == [1, 2, 3]
    assert [part["kept"] for part in told] == [True, True, False]
    assert told[0]["share"] > told[1]["share"] > 0.5


def test_a_compiled_network_is_whole() -> None:
    model = net()
    table, plan = planned(model, "fc")
    kept = prefix_plan.plan_prefix(model, plan, table, Recipe(), 8)
    whole = prefix_plan.plan_prefix(model, plan, table, replace(Recipe(), compile=True), 8)
    assert kept.training is not None
    assert whole.training is whole.judging is None
    assert whole.why == "not kept: the network is compiled as a whole"
