"""Metrics that have one value for all of a layer's own parameters, beside those that have one a tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import wdiv
from tests.fabric import TABLE, run_states
from wdiv.layers import KINDS
from wdiv.measure import Flag, roles_of
from wdiv.metrics import METRICS
from wdiv.summary import diff_summary

PROXY = "output_change_proxy"
RUN = "toynet-toy-n2-bn+fc-auto-s0"


def by_hand(states: list[dict[str, np.ndarray]], keys: list[str]) -> float:
    a, b = (np.concatenate([state[key].ravel() for key in keys]).astype(np.float64) for state in states)
    return float(np.linalg.norm(b - a) / np.linalg.norm(a))


@pytest.mark.parametrize("how", ["divergence", "pairwise", "diff"])
def test_the_proxy_is_of_a_kernel_or_of_gamma_and_beta_together(grid: Path, how: str) -> None:
    states = run_states("bn+fc", 0, 3)
    if how == "diff":
        tree, pair = wdiv.diff(states[0], states[3], PROXY), [states[0], states[3]]
    elif how == "divergence":
        tree, pair = wdiv.divergence(wdiv.open(grid), PROXY, 0), [states[0], states[3]]
        tree = tree.sel(run=RUN).isel(epoch=3)
    else:
        tree, pair = wdiv.pairwise(wdiv.open(grid), PROXY), [states[3], run_states("bn+fc", 1, 3)[1]]
        tree = tree.sel(run=RUN, run_b="toynet-toy-n2-bn+fc-auto-s1")
    for layer in TABLE:
        keys = [layer.key(role) for role in layer.roles if role in ("weight", "gamma", "beta")]
        found = tree[layer.kind][PROXY].sel(layer=layer.name)
        assert found["role"].values.tolist() == list(roles_of(PROXY, layer.kind))
        assert float(found[0]) == pytest.approx(by_hand(pair, keys), rel=1e-6)


def test_filters_and_stages_of_it(grid: Path) -> None:
    states = run_states("bn+fc", 0, 3)
    channels = wdiv.divergence(wdiv.open(grid), PROXY, 0, reduction="filter")["bn"][PROXY].sel(run=RUN, epoch=3)
    first = [
        np.array([state[f"stem.bn.{suffix}"][0] for suffix in ("weight", "bias")]) for state in (states[0], states[3])
    ]
    assert float(channels[0, 0]) == pytest.approx(
        np.linalg.norm(first[1] - first[0]) / np.linalg.norm(first[0]), rel=1e-6
    )
    stages = wdiv.divergence(wdiv.open(grid), PROXY, 0, reduction="stage")["bn"][PROXY].sel(run=RUN, epoch=3)
    wanted = by_hand([states[0], states[3]], ["stage.bn.weight", "stage.bn.bias"])
    assert float(stages.sel(stage="stage1")[0]) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("chunks", [None, {}])
def test_together_each_has_its_roles_and_is_as_alone(grid: Path, chunks: dict[str, int] | None) -> None:
    tree = wdiv.open(grid) if chunks is None else xr.open_datatree(grid, engine="wdiv", chunks=chunks)
    both = wdiv.divergence(tree, [PROXY, "relative_l2", "spectral_norm_change"])
    for kind, node in both.children.items():
        assert list(node.data_vars) == [PROXY, "relative_l2", "spectral_norm_change", "flag"]
        for name in (PROXY, "relative_l2"):
            alone = wdiv.divergence(wdiv.open(grid), name)[kind].to_dataset()
            roles = alone["role"].values.tolist()
            xr.testing.assert_identical(node[name].sel(role=roles).compute(), alone[name])
            others = [role for role in node["role"].values.tolist() if role not in roles]
            assert bool(node[name].sel(role=others).isnull().all())


def test_why_there_is_no_value_at_another_role_is_said(grid: Path) -> None:
    flags = wdiv.divergence(wdiv.open(grid), [PROXY, "relative_l2"], 0)["bn"]["flag"].sel(run=RUN, epoch=3)
    assert set(flags.values.ravel()) == {int(Flag.OTHER_ROLE)}
    scratch = wdiv.divergence(wdiv.open(grid), [PROXY, "relative_l2"])["bn"]["flag"]
    scratch = scratch.sel(run="toynet-toy-n2-scratch-auto-s0", epoch=3)
    assert set(scratch.values.ravel()) == {int(Flag.NO_START)}


def test_a_summary_of_two_checkpoints_takes_each_metric_s_own_role() -> None:
    states = run_states("bn+fc", 0, 3)
    tree = wdiv.diff(states[0], states[3], [PROXY, "relative_l2"])
    found = diff_summary(tree, [PROXY, "relative_l2"])["kinds"]["bn"]
    assert (found["comparable"], found["not_comparable"]) == (2, 0)
    for name, role in ((PROXY, "affine"), ("relative_l2", "gamma")):
        assert found[name] == pytest.approx(float(tree["bn"][name].sel(role=role).mean()))


def test_every_metric_has_roles_for_every_kind() -> None:
    for name in METRICS:
        assert all(roles_of(name, kind) for kind in KINDS)
