"""wdiv.diff: two checkpoints by anyone, given as state dicts, files, runs of a store, or models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import save_file

import wdiv
from tests.fabric import TABLE, base_state, run_states
from tests.measure.conftest import PAIR_METRICS
from tests.measure.plain import METRICS as PLAIN
from tests.measure.plain import SPECTRAL, flat
from wdiv.compare import open_weights
from wdiv.errors import BadInput, BadStore, BadWeights, UnknownName
from wdiv.measure import DEFAULT_METRICS, Flag
from wdiv.measure import compare as compare_rows
from wdiv.metrics import METRICS
from wdiv.summary import diff_rows

RUN = "toynet-toy-n2-bn+fc-auto-s1"
State = dict[str, np.ndarray]


def cell(tree: xr.DataTree, layer: str, role: str) -> xr.Dataset:
    """Values and flag of one tensor of a diff."""
    kind = next(kind for kind, node in tree.children.items() if layer in node["layer"].values)
    return tree[kind].to_dataset().sel(layer=layer, role=role)


def assert_diff(tree: xr.DataTree, a: State, b: State) -> None:
    """Every tensor of both networks, against a plain computation of metric(A, B)."""
    for layer in TABLE:
        for role in layer.roles:
            found, key = cell(tree, layer.name, role), layer.key(role)
            assert int(found["flag"]) == 0
            for name in DEFAULT_METRICS:
                wanted = PLAIN[name](flat(a[key]), flat(b[key]))
                assert float(found[name]) == pytest.approx(wanted, rel=1e-9, abs=1e-12), (key, name)


A, B = base_state(1), base_state(2)


def test_state_dicts() -> None:
    tree = wdiv.diff(A, B)
    assert_diff(tree, A, B)
    assert list(tree.children) == ["conv", "bn", "fc"]
    assert dict(tree.attrs) == {
        "Conventions": "CF-1.11", "a": "a", "b": "b", "direction": "metric(a, b)", "reduction": "layer",
        "layer_order": "registration", "matched": "by name", "outside_a": 0, "outside_b": 0,
    }  # fmt: skip
    for node in tree.children.values():
        assert {v.dims for v in node.data_vars.values()} == {("layer", "role")}
        assert set(node["side"].values) == {"both"}
        assert node["partner"].values.tolist() == node["layer"].values.tolist()
        assert all(
            node[name].attrs == {**METRICS[name].attrs, "ancillary_variables": "flag"} for name in DEFAULT_METRICS
        )


def test_the_direction_is_metric_of_a_and_b() -> None:
    there, back = wdiv.diff(A, B), wdiv.diff(B, A)
    assert_diff(back, B, A)
    assert float(cell(there, "head", "weight")["gaussian_kl"]) != float(cell(back, "head", "weight")["gaussian_kl"])


def test_metrics_of_every_family() -> None:
    names = [*PLAIN, *SPECTRAL]
    tree = wdiv.diff(A, B, names)
    for layer in TABLE:
        for role in layer.roles:
            found, a, b = cell(tree, layer.name, role), A[layer.key(role)], B[layer.key(role)]
            vector = a.ndim == 1
            assert int(found["flag"]) == (Flag.NO_MATRIX if vector else 0)
            for name in names:
                if name in PLAIN:
                    wanted = PLAIN[name](flat(a), flat(b))
                else:
                    wanted = np.nan if vector else SPECTRAL[name](*(flat(w).reshape(len(w), -1) for w in (a, b)))
                assert float(found[name]) == pytest.approx(wanted, rel=1e-9, abs=1e-12, nan_ok=True), (layer.name, name)


@pytest.mark.parametrize("metric", ["straightness", "trajectory", "features"])
def test_metrics_that_two_checkpoints_do_not_have_are_refused_in_one_line(metric: str) -> None:
    with pytest.raises(BadInput, match=r"follows the epochs of a run|on images, not weights") as caught:
        wdiv.diff(A, B, metric)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", PAIR_METRICS)
def test_a_checkpoint_lies_at_the_identity_from_itself(name: str) -> None:
    for kind, node in wdiv.diff(A, A, name).children.items():
        found = set(node[name].values[node["flag"].values == 0].tolist())
        assert found == {METRICS[name].identity} or (kind == "bn" and METRICS[name].family == "spectral")


def test_files(tmp_path: Path) -> None:
    save_file(A, tmp_path / "a.safetensors")
    save_file({f"module.{key}": value for key, value in B.items()}, tmp_path / "b.safetensors")
    tree = wdiv.diff(tmp_path / "a.safetensors", str(tmp_path / "b.safetensors"))
    assert_diff(tree, A, B)
    assert tree.attrs["a"] == str(tmp_path / "a.safetensors")


@pytest.mark.parametrize(("spec", "epoch"), [("", 3), ("@last", 3), ("@best", 3), ("@1", 1), ("@0", 0)])
def test_runs_of_a_store(store: Path, spec: str, epoch: int) -> None:
    run = f"{store / 'runs' / RUN}{spec}"
    states = run_states("bn+fc", 1, 3)
    assert_diff(wdiv.diff(A, run), A, states[epoch])
    tree = wdiv.diff(run, store / "runs" / RUN / "epochs" / "0002.safetensors")
    assert_diff(tree, states[epoch], states[2])
    assert tree.attrs["layer_order"] == "execution"
    assert tree["bn/stage"].values.tolist() == ["stem", "stage1"]
    assert tree.attrs["a"].endswith(f"@{epoch}")


def test_a_run_agrees_with_the_divergence_of_its_store(store: Path) -> None:
    tree = wdiv.diff(f"{store / 'runs' / RUN}@0", f"{store / 'runs' / RUN}@3")
    div = wdiv.divergence(wdiv.open(store), reference=0).sel(run=RUN, epoch=3)
    for kind in ("conv", "bn", "fc"):
        for name in (*DEFAULT_METRICS, "flag"):
            np.testing.assert_array_equal(tree[kind][name], div[kind][name])


def test_pytorch_files_and_models(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensors = {key: torch.from_numpy(value) for key, value in B.items()}
    torch.save({"epoch": 3, "state_dict": tensors}, tmp_path / "b.pth")
    for b in (tmp_path / "b.pth", tensors, {"epoch": 3, "state_dict": tensors}):
        assert_diff(wdiv.diff(A, b), A, B)

    norm = torch.nn.BatchNorm2d(3)
    found = wdiv.diff(norm, norm.state_dict())
    assert found["bn/relative_l2"].values.tolist() == [[0.0] * 4]
    assert found.attrs["outside_a"] == 0, "num_batches_tracked is a counter, not a weight"


def test_float64_and_bfloat16_tensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    one, more = torch.ones(2, 2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64) + 1e-12
    value = wdiv.diff({"x.weight": one}, {"x.weight": more}, "relative_l2")["fc/relative_l2"].item()
    assert value == pytest.approx(1e-12, rel=1e-3, abs=0)
    half = {"x.weight": one.to(torch.bfloat16)}
    assert wdiv.diff(half, {"x.weight": one * 2}, "relative_l2")["fc/relative_l2"].item() == 1.0


# ---------------------------------------------------------------------------------------- what cannot be compared


def test_heads_of_different_classes() -> None:
    other = B | {"head.weight": np.ones((7, 6), np.float32), "head.bias": np.ones(7, np.float32)}
    tree = wdiv.diff(A, other)
    assert tree["fc/flag"].values.tolist() == [[int(Flag.OTHER_SHAPE)] * 2]
    assert all(tree["fc"][name].isnull().all() for name in DEFAULT_METRICS)
    assert tree["fc/partner"].values.tolist() == ["head"]
    assert (tree["bn/flag"] == 0).all()


def test_layers_without_a_partner_stand_at_the_end_with_their_side() -> None:
    only_a, only_b = np.ones((2, 5), np.float32), np.ones((2, 9), np.float32)
    tree = wdiv.diff({"extra.weight": only_a, **A}, {"more.weight": only_b, "more.bias": only_b[:, 0], **B})
    linear = tree["linear"]
    assert linear["layer"].values.tolist() == ["extra", "more"]
    assert linear["side"].values.tolist() == ["a", "b"]
    assert linear["partner"].values.tolist() == ["", "more"], "the name in B"
    nowhere, absent = int(Flag.NO_PARTNER), int(Flag.ABSENT)
    assert linear["flag"].values.tolist() == [[nowhere, absent], [nowhere, nowhere]]
    assert np.isnan(linear["relative_l2"].values).all()
    assert tree["fc"]["layer"].values.tolist() == ["head"]
    assert tree["fc"]["flag"].values.tolist() == [[0, 0]]


def test_a_bias_that_only_one_of_them_has() -> None:
    less = {key: value for key, value in B.items() if key != "stage.conv.bias"}
    for tree in (wdiv.diff(A, less), wdiv.diff(less, A)):
        assert int(cell(tree, "stage.conv", "bias")["flag"]) == int(Flag.NO_PARTNER), "told, not left out"
        assert int(cell(tree, "stage.conv", "weight")["flag"]) == 0


def test_two_networks_with_nothing_in_common() -> None:
    tree = wdiv.diff({"x.weight": np.ones((2, 3))}, {"y.weight": np.ones((4, 5, 3, 3))})
    assert tree.attrs["matched"] == "no layer of one has a partner in the other"
    assert {kind: node["side"].values.tolist() for kind, node in tree.children.items()} == {"conv": ["b"], "fc": ["a"]}


def test_tensors_of_no_known_layer_are_counted() -> None:
    tree = wdiv.diff(A | {"scale": np.ones(1), "steps": np.array(4)}, B | {"position.table": np.ones((2, 2))})
    assert (tree.attrs["outside_a"], tree.attrs["outside_b"]) == (1, 1)


# --------------------------------------------------------------------------------------------------------- matching


def test_a_change_of_prefix_is_found_and_told() -> None:
    backbone = {f"backbone.{key}": value for key, value in B.items()}
    tree = wdiv.diff(A, backbone)
    assert_diff(tree, A, B)
    assert tree["fc/partner"].values.tolist() == ["backbone.head"]
    assert tree.attrs["matched"] == "by name, with '' in A for 'backbone.' in B"


def test_renames_are_applied_to_b() -> None:
    renamed = {key.replace("stem.", "entry/"): value for key, value in B.items()}
    assert_diff(wdiv.diff(A, renamed, renames=["entry/=stem."]), A, B)
    with pytest.raises(BadWeights, match="OLD_PREFIX=NEW_PREFIX"):
        wdiv.diff(A, renamed, renames=["entry/"])


def test_renames_are_applied_to_files_too(tmp_path: Path) -> None:
    save_file({key.replace("stem.", "entry."): value for key, value in B.items()}, tmp_path / "b.safetensors")
    assert_diff(wdiv.diff(A, tmp_path / "b.safetensors", renames=["entry.=stem."]), A, B)


def test_an_open_checkpoint_is_used_as_it_is() -> None:
    opened = open_weights(B, "mine")
    assert open_weights(opened) is opened
    assert wdiv.diff(A, opened).attrs["b"] == "mine"


@pytest.mark.parametrize(
    ("b", "error", "words"),
    [
        ("no/such/file.pth", BadWeights, "no/such/file.pth: no such file"),
        (42, BadInput, "a path, a state dict or a model, not int"),
        ({}, BadInput, "no tensors"),
        ({"epoch": 3, "best": 0.9}, BadInput, "no tensors"),
    ],
)
def test_what_holds_no_weights_is_refused(b: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        wdiv.diff(A, b)


def test_an_epoch_that_is_not_saved_is_refused(store: Path) -> None:
    with pytest.raises(BadInput, match="epoch 9 is not saved; saved: 0 to 3"):
        wdiv.diff(A, f"{store / 'runs' / RUN}@9")
    (store / "runs" / RUN / "history.jsonl").unlink()
    with pytest.raises(BadStore, match="no epoch is saved yet"):
        wdiv.diff(A, f"{store / 'runs' / RUN}")


def test_unknown_metrics_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'relative_l2'"):
        wdiv.diff(A, B, "relativ_l2")


def test_a_diff_comes_back_from_netcdf_identical(tmp_path: Path) -> None:
    tree = wdiv.diff(A | {"extra.weight": np.ones((2, 5))}, {k: v for k, v in B.items() if "bias" not in k})
    tree.to_netcdf(tmp_path / "diff.nc")
    with xr.open_datatree(tmp_path / "diff.nc") as back:
        xr.testing.assert_identical(back.load(), tree)


# --------------------------------------------------------------------------------------------- rows, without labels


def test_rows_are_compared_one_by_one_and_bad_ones_flagged() -> None:
    a = np.array([1.0, 2.0, 3.0, 4.0])
    b = np.stack([a, a * 2, np.full(4, 2.0), np.zeros(4), np.array([1.0, np.nan, 3.0, 4.0])])
    found = compare_rows(a, b)
    assert found.flags.tolist() == [0, 0, Flag.ZERO_SPREAD, Flag.ZERO_SPREAD | Flag.ZERO_NORM, Flag.NOT_FINITE]
    np.testing.assert_allclose(found.values["relative_l2"], [0, 1, np.sqrt(6 / 30), 1, np.nan])
    assert np.isnan(found.values["gaussian_kl"]).tolist() == [False, False, True, True, True]
    assert np.isnan(found.values["cosine_distance"]).tolist() == [False, False, False, True, True]


def test_rows_against_as_many_rows() -> None:
    a, b = np.arange(8.0).reshape(2, 4), np.arange(8.0).reshape(2, 4)[::-1]
    both = compare_rows(a, b)
    for i in range(2):
        alone = compare_rows(a[i], b[i : i + 1])
        for name in DEFAULT_METRICS:
            assert both.values[name][i] == alone.values[name][0]


def test_a_reference_that_is_not_finite_spoils_every_row() -> None:
    found = compare_rows(np.array([1.0, np.inf]), np.ones((3, 2)))
    assert found.flags.tolist() == [int(Flag.NOT_FINITE)] * 3
    assert all(np.isnan(values).all() for values in found.values.values())


@pytest.mark.parametrize("side", [0, 1])
def test_complex_weights_are_compared_with_nothing(side: int) -> None:
    real = {"c.weight": np.ones((2, 3, 3, 3), np.float32), "d.weight": np.ones((4, 2, 3, 3), np.float32)}
    other = real | {"c.weight": real["c.weight"] + 1j}
    for a, b in ((other, other), (real, other)[:: 1 - 2 * side]):
        data = wdiv.diff(a, b, metrics="all")["conv"].to_dataset().sel(role="weight")
        assert data["flag"].values.tolist() == [int(Flag.COMPLEX), 0]
        assert all(data[name].isnull().values.tolist() == [True, False] for name in data.data_vars if name != "flag")
    (row,) = (row for row in diff_rows(wdiv.diff(real, other), DEFAULT_METRICS) if not row["comparable"])
    assert (row["layer"], row["why"]) == ("c", "it holds complex numbers, which no metric compares")
