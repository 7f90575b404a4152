"""The record of a metric, its registration, and what is answered to a name."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from wdiv.errors import BadInput, UnknownName
from wdiv.metrics import FAMILIES, METRICS, REDUCTIONS, Metric, metric, metric_names

TEXT = {"long_name": "n", "formula": "f", "source": "s"}


def test_a_family_is_checked_at_once() -> None:
    with pytest.raises(UnknownName, match="unknown family of metrics 'paird'; did you mean 'paired'"):
        Metric(name="x", function=np.add, family="paird", **TEXT)


def test_a_reason_is_checked_at_once() -> None:
    with pytest.raises(ValueError, match="metric x: undefined is 'spread' or 'norm' or 'path' or 'output', not 'zero'"):
        Metric(name="x", function=np.add, family="paired", undefined="zero", **TEXT)


def test_permutable_follows_from_the_family() -> None:
    blind = {"gaussian", "empirical"}
    for name in FAMILIES:
        assert Metric(name="x", function=np.add, family=name, **TEXT).permutable is (name in blind)


def test_a_record_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        METRICS["gaussian_kl"].identity = 1.0  # type: ignore[misc]


def test_the_decorator_registers_and_returns_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS, "_records", dict(METRICS._records))

    @metric(family="paired", symmetric=True, **TEXT)
    def made_up(sums: object) -> np.ndarray:
        return np.zeros(1)

    assert METRICS["made_up"].function is made_up
    assert METRICS["made_up"].symmetric
    with pytest.raises(ValueError, match="metric 'made_up' is registered twice"):
        metric(family="paired", **TEXT)(made_up)


# ---------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("family", [name for name, record in FAMILIES.items() if record.of_weights])
def test_a_family_s_name_stands_for_all_of_its_metrics(family: str) -> None:
    members = tuple(name for name, record in METRICS.items() if record.family == family)
    assert metric_names(family) == metric_names([family]) == members
    assert metric_names([members[-1], family]) == (members[-1], *members[:-1]), "each once, where it first stands"


def test_no_metric_has_the_name_of_a_family() -> None:
    assert not set(METRICS) & set(FAMILIES)


def test_every_family_of_weights_has_values_of_layers() -> None:
    for record in FAMILIES.values():
        assert set(record.reductions) <= set(REDUCTIONS)
        assert not record.reductions or "layer" in record.reductions
        assert record.takes


@pytest.mark.parametrize(
    ("asked", "how", "error", "words"),
    [
        ([], {}, BadInput, "at least one metric"),
        ("nope", {}, UnknownName, "unknown metric 'nope'"),
        ("l2", {"reduction": "block"}, BadInput, "reduction 'block': one of layer, filter, stage"),
        ("spectral", {"reduction": "filter"}, BadInput, "'spectral_norm_change' has no value for one filter; only for"),
        (["l2", "subspace_overlap"], {"reduction": "stage"}, BadInput, "'subspace_overlap' has no value for one stage"),
        ("output_change", {}, BadInput, "'output_change' needs images beside weights.*output_change_proxy needs none"),
        ("features", {}, BadInput, "compares features on images, not weights; see 'wdiv cka'"),
        ("path_length", {"follows_epochs": False}, BadInput, "'path_length' follows the epochs of a run"),
        ("trajectory", {"follows_epochs": False}, BadInput, "'epoch_step' follows the epochs of a run"),
    ],
)
def test_a_wrong_name_is_answered_in_one_line(
    asked: str | list[str], how: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        metric_names(asked, **how)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
