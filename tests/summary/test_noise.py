"""Which layers moved more than seeds differ, beside a computation with loops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import wdiv
from tests import trees
from tests.fabric import make_store, shorten
from tests.trees import run
from wdiv.errors import BadInput, UnknownName
from wdiv.measure import Flag
from wdiv.summary import against_noise_floor

BN = [run("bn+fc", seed) for seed in (0, 1, 2, 4)]


def number(*labels: Any) -> float:
    """A number from 1 to 2 that is always the same for the same labels."""
    return 1.0 + (hash_of(repr(labels)) % 1000) / 1000


def hash_of(text: str) -> int:
    import zlib

    return zlib.crc32(text.encode())


def far(run: dict[str, Any], epoch: int, layer: str, role: str) -> float:
    return epoch * (3.0 if layer in ("c0", "b1") else 0.7) * number(run["seed"], layer, role, run["n_train"])


def apart(run: dict[str, Any], run_b: dict[str, Any], layer: str, role: str) -> float:
    return 0.0 if run == run_b else number(sorted([run["seed"], run_b["seed"]]), layer, role)


def plainly(m: list[float], d: dict[tuple[int, int], float]) -> tuple[float, float]:
    """(ratio, p): the jackknife, one seed left out at a time."""

    def theta(kept: list[int]) -> float:
        pairs = [d[i, j] for i in kept for j in kept if i != j]
        return math.log(np.mean([m[i] for i in kept])) - math.log(np.mean(pairs))

    everyone = list(range(len(m)))
    without = [theta([i for i in everyone if i != left]) for left in everyone]
    error = math.sqrt((len(m) - 1) * np.var(without))
    return math.exp(theta(everyone)), float(stats.t.sf(theta(everyone) / error, len(m) - 1))


def test_each_layer_is_tested_as_a_loop_over_seeds_would() -> None:
    table = against_noise_floor(trees.divergence(BN, far), trees.pairwise(BN, apart))
    assert list(table) == [
        "model", "dataset", "n_train", "strategy", "bn_mode", "kind", "role", "layer", "depth", "stage", "seeds",
        "moved", "apart", "ratio", "p", "p_adjusted", "moved_more",
    ]  # fmt: skip
    assert len(table) == 2 + 8 + 2
    for row in table.itertuples():
        m = [far(one, 1, row.layer, row.role) for one in BN]
        d = {(i, j): apart(a, b, row.layer, row.role) for i, a in enumerate(BN) for j, b in enumerate(BN)}
        ratio, p = plainly(m, d)
        assert (row.ratio, row.p) == pytest.approx((ratio, p), rel=1e-9)
        assert (row.moved, row.apart) == pytest.approx((np.mean(m), np.mean([d[i, j] for i, j in d if i != j])))
        assert row.seeds == 4
    np.testing.assert_allclose(table["p_adjusted"], stats.false_discovery_control(table["p"]))
    assert (table["moved_more"] == (table["p_adjusted"] < 0.05)).all()
    assert set(table.loc[table["moved_more"], "layer"]) == {"c0", "b1"}
    assert table["depth"].is_monotonic_increasing


def test_the_rate_decides_what_moved_more() -> None:
    both = trees.divergence(BN, far), trees.pairwise(BN, apart)
    none, every = (against_noise_floor(*both, "relative_l2", q)["moved_more"].sum() for q in (0.0, 1.0))
    assert (none, every) == (0, 12)


def test_the_order_of_runs_does_not_matter() -> None:
    div, pairs = trees.divergence(BN, far), trees.pairwise(BN, apart)
    wanted = against_noise_floor(div, pairs)
    order = [2, 0, 3, 1]
    found = against_noise_floor(div.isel(run=order), pairs.isel(run=order, run_b=order))
    pd.testing.assert_frame_equal(found, wanted)


def test_scale_does_not_matter() -> None:
    wanted = against_noise_floor(trees.divergence(BN, far), trees.pairwise(BN, apart))
    scaled = against_noise_floor(
        trees.divergence(BN, lambda **place: 1e-7 * far(**place)),
        trees.pairwise(BN, lambda **place: 1e-7 * apart(**place)),
    )
    for name in ("ratio", "p", "p_adjusted"):
        np.testing.assert_allclose(scaled[name], wanted[name], rtol=1e-9)


def test_each_strategy_and_size_is_a_cell_of_its_own_and_lone_runs_are_left_out() -> None:
    runs = [*BN, *(run("fc", seed) for seed in range(3)), run("scratch", 0), *(run("fc", s, n_train=9) for s in (0, 1))]
    table = against_noise_floor(trees.divergence(runs, far), trees.pairwise(runs, apart))
    cells = table.groupby(["strategy", "n_train"], sort=False)
    assert {cell: int(rows["seeds"].iloc[0]) for cell, rows in cells} == {("bn+fc", 6): 4, ("fc", 6): 3, ("fc", 9): 2}
    alone = against_noise_floor(trees.divergence(BN, far), trees.pairwise(BN, apart))
    pd.testing.assert_frame_equal(cells.get_group(("bn+fc", 6)).reset_index(drop=True), alone)


def test_two_seeds_have_a_ratio_and_no_test() -> None:
    table = against_noise_floor(trees.divergence(BN[:2], far), trees.pairwise(BN[:2], apart))
    assert np.isfinite(table["ratio"]).all()
    assert table[["p", "p_adjusted"]].isna().all(axis=None)
    assert not table["moved_more"].any()


def test_one_seed_has_no_noise_floor() -> None:
    runs = [run("fc", 0), run("bn+fc", 0), run("bn+fc", 1, n_train=9)]
    with pytest.raises(BadInput, match="no two runs differ in the seed alone, so there is no noise floor"):
        against_noise_floor(trees.divergence(runs, far), trees.pairwise(runs, apart))


@pytest.mark.parametrize("metric", ["log_std_ratio", "subspace_overlap"])
def test_a_metric_that_is_no_distance_is_refused(metric: str) -> None:
    with pytest.raises(BadInput, match=f"metric '{metric}' is no distance"):
        against_noise_floor(trees.divergence(BN, far, metric=metric), trees.pairwise(BN, apart, metric=metric), metric)


def test_an_unknown_metric_or_one_that_was_not_measured_is_told() -> None:
    div, pairs = trees.divergence(BN, far), trees.pairwise(BN, apart)
    with pytest.raises(UnknownName, match="did you mean 'relative_l2'"):
        against_noise_floor(div, pairs, "relative_l1")
    with pytest.raises(BadInput, match="metric 'gaussian_kl' was not measured in both trees"):
        against_noise_floor(div, pairs, "gaussian_kl")


def test_a_metric_whose_identity_is_not_zero_counts_from_there() -> None:
    metric = "gaussian_kl_peng2020"
    wanted = against_noise_floor(trees.divergence(BN, far), trees.pairwise(BN, apart))
    found = against_noise_floor(
        trees.divergence(BN, lambda **place: 0.5 + far(**place), metric=metric),
        trees.pairwise(BN, lambda **place: 0.5 + apart(**place), metric=metric),
        metric,
    )
    np.testing.assert_allclose(found["ratio"], wanted["ratio"])


def test_what_did_not_move_or_cannot_be_compared_moved_no_more() -> None:
    def value(run: dict[str, Any], epoch: int, layer: str, role: str) -> float:
        return Flag.NO_START if layer == "f4" else 0.0 if layer == "c2" else far(run, epoch, layer, role)

    def between(run: dict[str, Any], run_b: dict[str, Any], layer: str, role: str) -> float:
        return 0.0 if layer in ("c2", "b3") else apart(run, run_b, layer, role)

    table = against_noise_floor(trees.divergence(BN, value), trees.pairwise(BN, between))
    assert "f4" not in set(table["layer"]), "nothing to say of it"
    still = table[table["layer"].isin(["c2", "b3"])]
    assert len(still) == 5
    assert still[["ratio", "p", "p_adjusted"]].isna().all(axis=None)
    assert not still["moved_more"].any()
    tested = table[table["layer"].isin(["c0", "b1"])]
    np.testing.assert_allclose(tested["p_adjusted"], stats.false_discovery_control(tested["p"]))


def test_of_a_real_store_each_run_s_last_epoch_counts(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", ("bn+fc",), (0, 1, 2), epochs=2)
    shorten(store, "toynet-toy-n2-bn+fc-auto-s2", 1)
    tree = wdiv.open(store)
    table = against_noise_floor(wdiv.divergence(tree, "l2", 0), wdiv.pairwise(tree, "l2"), "l2").set_index(
        ["layer", "role"]
    )
    gamma = [tree["bn/gamma"].isel(run=i, epoch=e, channel=slice(0, 4)).values for i, e in ((0, 2), (1, 2), (2, 1))]
    start = tree["bn/gamma"].isel(run=0, epoch=0, channel=slice(0, 4)).values
    row = table.loc["stem.bn", "gamma"]
    assert row["moved"] == pytest.approx(np.mean([np.linalg.norm(g - start) for g in gamma]), rel=1e-5)
    pairs = [np.linalg.norm(gamma[i] - gamma[j]) for i in range(3) for j in range(i)]
    assert row["apart"] == pytest.approx(np.mean(pairs), rel=1e-5)
    assert not table.loc["stem.conv", "weight"]["moved_more"], "frozen"
