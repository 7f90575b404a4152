"""Which layers moved more than seeds differ, beside a computation from the displacements themselves."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import wdiv
from tests import trees
from tests.fabric import make_store, shorten
from tests.trees import run
from wdiv.errors import BadInput, UnknownName
from wdiv.measure import Flag
from wdiv.numerics import common_displacement
from wdiv.summary import against_noise_floor

BN = [run("bn+fc", seed) for seed in (0, 1, 2, 4)]
VALUES = 16


def way(run: dict[str, Any], layer: str, role: str) -> np.ndarray:
    """Where a run went from its start: noise of its own, and in two layers a way that all of them take."""

    def drawn(*labels: Any) -> np.ndarray:
        return np.random.default_rng(zlib.crc32(repr(labels).encode())).normal(size=VALUES)

    common = 3.0 * drawn(layer, role) if layer in ("c0", "b1") else 0.0
    return common + drawn(run["seed"], layer, role, run["n_train"])


def far(run: dict[str, Any], epoch: int, layer: str, role: str) -> float:
    return float(np.linalg.norm(epoch * way(run, layer, role)))


def apart(run: dict[str, Any], run_b: dict[str, Any], layer: str, role: str) -> float:
    return float(np.linalg.norm(way(run, layer, role) - way(run_b, layer, role)))


def measured(runs: list[dict[str, Any]], metric: str = "l2") -> tuple[xr.DataTree, xr.DataTree]:
    return trees.divergence(runs, far, metric=metric), trees.pairwise(runs, apart, metric=metric)


def test_each_layer_is_tested_as_the_displacements_themselves_would_be() -> None:
    table = against_noise_floor(*measured(BN))
    assert list(table) == [
        "model", "dataset", "n_train", "strategy", "bn_mode", "source", "epochs", "kind", "role", "layer", "depth",
        "stage", "seeds", "moved", "apart", "ratio", "p", "p_adjusted", "moved_more",
    ]  # fmt: skip
    assert len(table) == 2 + 8 + 2
    for row in table.itertuples():
        ways = np.array([way(one, row.layer, row.role) for one in BN])
        mean = ways.mean(0)
        within = ((ways - mean) ** 2).sum() / (len(BN) - 1)
        assert row.moved**2 == pytest.approx((mean**2).sum() + within * (len(BN) - 1) / len(BN))
        assert row.apart**2 == pytest.approx(2 * within)
        assert row.ratio == pytest.approx(row.moved / row.apart)
        between = np.linalg.norm(ways[:, None] - ways, axis=-1)
        assert row.p == pytest.approx(float(common_displacement(np.linalg.norm(ways, axis=-1), between).p), rel=1e-9)
        assert (row.seeds, row.epochs) == (4, "1")
    np.testing.assert_allclose(table["p_adjusted"], stats.false_discovery_control(table["p"]))
    assert (table["moved_more"] == (table["p_adjusted"] < 0.05)).all()
    assert set(table.loc[table["moved_more"], "layer"]) == {"c0", "b1"}
    assert table["depth"].is_monotonic_increasing


def test_the_rate_decides_what_moved_more() -> None:
    none, every = (against_noise_floor(*measured(BN), q=q)["moved_more"].sum() for q in (0.0, 1.0))
    assert (none, every) == (0, 12)


def test_runs_are_matched_by_name_and_in_any_order() -> None:
    div, pairs = measured(BN)
    wanted = against_noise_floor(div, pairs)
    order = [2, 0, 3, 1]
    for ours, theirs in ((order, order), (order, [0, 1, 2, 3])):
        found = against_noise_floor(div.isel(run=ours), pairs.isel(run=theirs, run_b=theirs))
        pd.testing.assert_frame_equal(found, wanted)
    with pytest.raises(BadInput, match=r"run toynet-toy-n6-bn\+fc-auto-s4: among the pairs, but not among the runs"):
        against_noise_floor(div.isel(run=[0, 1, 2]), pairs)


def test_scale_does_not_matter() -> None:
    wanted = against_noise_floor(*measured(BN))
    scaled = against_noise_floor(
        trees.divergence(BN, lambda **place: 1e-7 * far(**place), metric="l2"),
        trees.pairwise(BN, lambda **place: 1e-7 * apart(**place), metric="l2"),
    )
    for name in ("ratio", "p", "p_adjusted"):
        np.testing.assert_allclose(scaled[name], wanted[name], rtol=1e-9)


def test_each_strategy_and_size_is_a_cell_of_its_own_and_lone_runs_are_left_out() -> None:
    runs = [*BN, *(run("fc", seed) for seed in range(3)), run("scratch", 0), *(run("fc", s, n_train=9) for s in (0, 1))]
    table = against_noise_floor(*measured(runs))
    cells = table.groupby(["strategy", "n_train"], sort=False)
    assert {cell: int(rows["seeds"].iloc[0]) for cell, rows in cells} == {("bn+fc", 6): 4, ("fc", 6): 3, ("fc", 9): 2}
    pd.testing.assert_frame_equal(
        cells.get_group(("bn+fc", 6)).reset_index(drop=True), against_noise_floor(*measured(BN))
    )


def test_runs_from_other_weights_are_no_seeds_of_these() -> None:
    div, pairs = measured([*BN, run("bn+fc", 5), run("bn+fc", 6)])
    pairs.coords["source"] = ("run", np.array(["toy"] * 4 + ["another"] * 2, dtype=object))
    table = against_noise_floor(div, pairs)
    assert table.groupby("source")["seeds"].first().to_dict() == {"toy": 4, "another": 2}


def test_two_runs_of_one_seed_differ_in_more_than_the_seed() -> None:
    div, pairs = measured(BN)
    pairs.coords["seed"] = ("run", [0, 1, 1, 2])
    with pytest.raises(BadInput, match="some have one seed, so more than the seed differs between them"):
        against_noise_floor(div, pairs)


def test_two_seeds_have_a_ratio_and_no_verdict() -> None:
    table = against_noise_floor(*measured(BN[:2]))
    assert np.isfinite(table["ratio"]).all()
    assert table[["p", "p_adjusted", "moved_more"]].isna().all(axis=None)


def test_one_seed_has_no_noise_floor() -> None:
    with pytest.raises(BadInput, match="no two runs differ in the seed alone, so there is no noise floor"):
        against_noise_floor(*measured([run("fc", 0), run("bn+fc", 0), run("bn+fc", 1, n_train=9)]))


@pytest.mark.parametrize("metric", ["relative_l2", "gaussian_kl", "wasserstein1", "mean_abs", "log_std_ratio"])
def test_a_metric_that_does_not_tell_whether_seeds_moved_the_same_way_is_refused(metric: str) -> None:
    with pytest.raises(BadInput, match=f"metric '{metric}' is no length .*; for the noise floor take 'l2'"):
        against_noise_floor(*measured(BN, metric), metric)


@pytest.mark.parametrize("reference", ["previous", "1", BN[0]["strategy"]])
def test_movement_is_from_a_start_that_seeds_share(reference: str) -> None:
    div, pairs = measured(BN)
    div.attrs["reference"] = reference
    with pytest.raises(BadInput, match="movement is counted from a start that seeds share, 'pretrained' or '0'"):
        against_noise_floor(div, pairs)


def test_an_unknown_metric_or_one_that_was_not_measured_is_told() -> None:
    div, pairs = measured(BN)
    with pytest.raises(UnknownName, match="did you mean 'relative_l2'"):
        against_noise_floor(div, pairs, "relative_l1")
    with pytest.raises(BadInput, match="metric 'l2' was not measured in both trees"):
        against_noise_floor(div, measured(BN, "relative_l2")[1])


def test_what_did_not_move_or_cannot_be_compared_has_no_verdict() -> None:
    def value(run: dict[str, Any], epoch: int, layer: str, role: str) -> float:
        return Flag.NO_START if layer == "f4" else 0.0 if layer == "c2" else far(run, epoch, layer, role)

    def between(run: dict[str, Any], run_b: dict[str, Any], layer: str, role: str) -> float:
        return 0.0 if layer in ("c2", "b3") else apart(run, run_b, layer, role)

    table = against_noise_floor(trees.divergence(BN, value, metric="l2"), trees.pairwise(BN, between, metric="l2"))
    assert "f4" not in set(table["layer"]), "nothing to say of it"
    still = table[table["layer"].isin(["c2", "b3"])]
    assert len(still) == 5
    assert still[["ratio", "p", "p_adjusted", "moved_more"]].isna().all(axis=None)
    tested = table[table["layer"].isin(["c0", "b1"])]
    np.testing.assert_allclose(tested["p_adjusted"], stats.false_discovery_control(tested["p"]))


# ------------------------------------------------------------------------------------------------------------ epochs


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    """Three seeds, of which the last stopped an epoch before the others."""
    store = make_store(tmp_path_factory.mktemp("uneven") / "store", ("bn+fc",), (0, 1, 2), epochs=2)
    shorten(store, "toynet-toy-n2-bn+fc-auto-s2", 1)
    return wdiv.open(store).load()


def test_of_a_real_store_each_run_s_last_epoch_counts_and_is_told(uneven: xr.DataTree) -> None:
    table = against_noise_floor(wdiv.divergence(uneven, "l2", 0), wdiv.pairwise(uneven, "l2"))
    assert set(table["epochs"]) == {"1 to 2"}
    gamma = [uneven["bn/gamma"].isel(run=i, epoch=e, channel=slice(0, 4)).values for i, e in ((0, 2), (1, 2), (2, 1))]
    start = uneven["bn/gamma"].isel(run=0, epoch=0, channel=slice(0, 4)).values
    row = table.set_index(["layer", "role"]).loc["stem.bn", "gamma"]
    assert row["moved"] ** 2 == pytest.approx(np.mean([np.sum((g - start) ** 2) for g in gamma]), rel=1e-5)
    pairs = [np.sum((gamma[i] - gamma[j]) ** 2) for i in range(3) for j in range(i)]
    assert row["apart"] ** 2 == pytest.approx(np.mean(pairs), rel=1e-5)
    assert table.set_index("layer").loc["stem.conv", "moved_more"] is pd.NA, "frozen"


@pytest.mark.parametrize(("epoch", "seeds"), [(1, 3), (2, 2)])
def test_both_sides_are_of_the_epoch_of_the_pairs(uneven: xr.DataTree, epoch: int, seeds: int) -> None:
    div = wdiv.divergence(uneven, "l2", 0)
    table = against_noise_floor(div, wdiv.pairwise(uneven, "l2", epoch))
    row = table.set_index(["layer", "role"]).loc["stem.bn", "beta"]
    moved = div["bn/l2"].sel(epoch=epoch, layer="stem.bn", role="beta").dropna("run").values
    assert (row["epochs"], row["seeds"], len(moved)) == (str(epoch), seeds, seeds)
    assert row["moved"] ** 2 == pytest.approx(np.mean(moved**2))


def test_pairs_of_other_epochs_than_movement_are_refused(uneven: xr.DataTree) -> None:
    div, pairs = wdiv.divergence(uneven, "l2", 0), wdiv.pairwise(uneven, "l2")
    pairs.coords["final"] = ("run", [2, 1, 1])
    said = "s1: moved until epoch 2, but is set beside others after epoch 1"
    with pytest.raises(BadInput, match=said):
        against_noise_floor(div, pairs)
