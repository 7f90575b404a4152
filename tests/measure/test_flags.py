"""Every reason why a value is NaN, made to happen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import wdiv
from tests.fabric import base_state, make_store, rewrite
from tests.measure.conftest import PAIR_METRICS, WEIGHT_METRICS
from wdiv.measure import Flag, Tensors, compare, why

METRICS = ["gaussian_kl", "relative_l2", "wasserstein1", "histogram_js", "max_abs", "sign_flips"]


def test_nothing_to_compare_is_empty() -> None:
    for shape in ((3, 0), (2, 3, 0)):
        found = compare(np.zeros(0), np.zeros(shape), PAIR_METRICS)
        assert found.flags.shape == shape[:-1]
        assert (np.asarray(found.flags) == int(Flag.EMPTY)).all()
        assert all(np.isnan(values).all() for values in found.values.values())


def test_a_checkpoint_with_an_empty_tensor_is_measured_but_for_that() -> None:
    a = {"none.weight": np.zeros((0, 4), np.float32), **base_state(1)}
    b = {"none.weight": np.zeros((0, 4), np.float32), **base_state(2)}
    linear = wdiv.diff(a, b, PAIR_METRICS)["linear"].sel(role="weight")
    assert linear["flag"].values.tolist() == [int(Flag.EMPTY)]
    assert [bool(linear[name].isnull()[0]) for name in PAIR_METRICS] == [True] * len(PAIR_METRICS)


def test_a_vector_has_no_spectrum_but_all_else(tree: xr.DataTree) -> None:
    found = wdiv.divergence(tree, ["l2", "spectral_norm_change"], 0).isel(run=[4])
    assert (found["bn/flag"] == int(Flag.NO_MATRIX)).all()
    assert found["bn/spectral_norm_change"].isnull().all()
    assert found["bn/l2"].notnull().all()
    assert (found["conv/flag"].sel(role="weight") == 0).all()
    assert found["conv/spectral_norm_change"].sel(role="weight").notnull().all()


def test_a_tensor_that_has_not_moved_has_no_direction(tree: xr.DataTree) -> None:
    assert tree["strategy"].values[4] == "fc"
    found = wdiv.divergence(tree, ["straightness", "l2"], 0)["conv"].isel(role=0, run=4)
    assert (found["flag"] == int(Flag.NOT_MOVED)).all()
    assert (found["l2"] == 0.0).all()
    assert why(int(Flag.NOT_MOVED)) == "it has not moved, so its path has no direction"


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("reference", ["pretrained", 0, "previous"])
def test_inf_and_nan_are_flagged_where_they_are_and_change_nothing_else(
    tmp_path: Path, hole: float, reference: str | int
) -> None:
    store = make_store(tmp_path / "s", ("conv+fc",), (0, 1), 3)
    whole = wdiv.divergence(wdiv.open(store), METRICS, reference)
    file = sorted((store / "runs").iterdir())[0] / "epochs" / "0002.safetensors"
    rewrite(file, {"stage.conv.weight": lambda w: np.where(np.arange(w.size).reshape(w.shape) == 17, hole, w)})
    spoilt = wdiv.divergence(wdiv.open(store), METRICS, reference)
    epochs = [2, 3] if reference == "previous" else [2]
    place = {"run": 0, "epoch": epochs, "layer": 1, "role": 0}
    conv = spoilt["conv"].to_dataset()
    assert (conv["flag"].isel(place) == int(Flag.NOT_FINITE)).all()
    for kind in ("conv", "bn", "fc"):
        for name in (*METRICS, "flag"):
            before, after = whole[kind][name].values.copy(), spoilt[kind][name].values.copy()
            if kind == "conv":
                assert name == "flag" or np.isnan(after[0, epochs, 1, 0]).all(), name
                before[0, epochs, 1, 0] = after[0, epochs, 1, 0] = 0
            np.testing.assert_array_equal(before, after, err_msg=f"{kind} {name}")


@pytest.mark.parametrize("make", [lambda b: b * np.nan, lambda b: np.full_like(b, np.inf)], ids=["nan", "inf"])
@pytest.mark.parametrize("chunks", [None, {}])
def test_a_source_that_is_not_finite_is_no_source_that_is_missing(
    tmp_path: Path, make: object, chunks: dict[str, int] | None
) -> None:
    store = make_store(tmp_path / "s", ("bn+fc",), (0,), 2)
    rewrite(next((store / "bases").iterdir()), {"stem.conv.weight": make})  # type: ignore[dict-item]
    tree = xr.open_datatree(store, engine="wdiv", chunks=chunks)
    found = wdiv.divergence(tree)["conv"].sel(layer="stem.conv", role="weight")
    assert (found["flag"] == int(Flag.NOT_FINITE)).all()
    assert found["relative_l2"].isnull().all()


@pytest.mark.parametrize("big", [1e200, 1e160])
def test_numbers_too_large_to_add_up_are_not_finite(big: float) -> None:
    """Also in a constant row or a single one, whose spread is 0."""
    for a, b in ([[1.0, 2.0], [big, 3.0]], [[big, big], [2 * big, 2 * big]], [[big], [1.0]]):
        for pair in ((a, b), (b, a)):
            found = compare(
                np.array(pair[0]), np.array([pair[1]]), [*PAIR_METRICS[:3], "relative_l2", "pearson_distance"]
            )
            assert found.flags.tolist() == [int(Flag.NOT_FINITE)]
            assert all(np.isnan(values).all() for values in found.values.values())


def test_float32_is_never_too_large() -> None:
    top = np.finfo(np.float32).max
    found = compare(np.float32([top, -top, top]), np.float32([[top, top, -top]]), ["relative_l2", "gaussian_kl"])
    assert found.flags.tolist() == [0]


@pytest.mark.parametrize("name", PAIR_METRICS)
def test_a_row_is_measured_alike_alone_and_beside_others(name: str) -> None:
    """To the bit, and with whatever other metrics; a row that is not finite spoils no other."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(1, 24)), rng.normal(size=(4, 24))
    b[2, 5] = np.nan
    together = compare(Tensors(a, (4, 1)), Tensors(b, (4, 1)), PAIR_METRICS)
    for row in range(4):
        alone = compare(Tensors(a, (4, 1)), Tensors(b[row : row + 1], (4, 1)), [name])
        np.testing.assert_array_equal(alone.values[name], together.values[name][row : row + 1])
    assert (together.flags == int(Flag.NOT_FINITE)).tolist() == [False, False, True, False]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_weights_of_few_bits_are_measured_in_float64(dtype: type) -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(1, 24)).astype(dtype) for _ in "ab")
    few = compare(Tensors(a, (4, 1)), Tensors(b, (4, 1)), PAIR_METRICS)
    many = compare(Tensors(a.astype(float), (4, 1)), Tensors(b.astype(float), (4, 1)), PAIR_METRICS)
    for name in PAIR_METRICS:
        np.testing.assert_array_equal(few.values[name], many.values[name], err_msg=name)


def test_every_metric_of_weights_is_tried_somewhere() -> None:
    assert set(PAIR_METRICS) < set(WEIGHT_METRICS)
    assert len(WEIGHT_METRICS) >= 24
