"""Measures that are kept: what one gets is what measuring all of it anew would give, and only what is new is read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import load_file, save_file

import wdiv
from tests.conftest import ROOT
from tests.fabric import edit_record, edit_rows, make_store, rewrite, run_states, shorten, source_state
from wdiv.cache import formats
from wdiv.cache.measures import measured, place_of
from wdiv.measure import Flag
from wdiv.metrics import FAMILIES
from wdiv.store import tensors
from wdiv.store.reader import CheckpointStore
from wdiv.store.seals import fast_digest

FAMILY = [name for name, family in FAMILIES.items() if family.of_weights]
BN, FC = "toynet-toy-n2-bn+fc-auto-s0", "toynet-toy-n2-fc-auto-s0"
SCRATCH = "toynet-toy-n2-scratch-auto-s0"
METRICS = ["relative_l2", "straightness"]
REFERENCES = ["pretrained", 0, "previous", BN]
Read = tuple[str, str, str]


@pytest.fixture(scope="module")
def _full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("full") / "store", ("fc", "bn+fc", "scratch"), (0,))


@pytest.fixture
def full(_full: Path, tmp_path: Path) -> Path:
    """Three runs of epochs 0 to 3."""
    return Path(shutil.copytree(_full, tmp_path / "store"))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Read]]:
    """(run or ``bases``, epoch or base, tensor) of every read; empty it at will."""
    found: list[Read] = []
    real = tensors.read

    def noted(path: Path, key: str, *args: Any, **kwargs: Any) -> np.ndarray:
        path = Path(path)
        found.append((path.parent.parent.name if path.parent.name == "epochs" else "bases", path.stem, key))
        return real(path, key, *args, **kwargs)

    monkeypatch.setattr(tensors, "read", noted)
    return found


def anew(store: Path, metrics: Any, reference: str | int = "pretrained", group: str | None = None) -> xr.DataTree:
    return wdiv.divergence(wdiv.open(store, group), metrics, reference)


def holds(store: Path, metrics: Any = "relative_l2", reference: str | int = "pretrained") -> None:
    xr.testing.assert_identical(measured(store, metrics, reference), anew(store, metrics, reference))


def regrow(store: Path, full: Path, run: str) -> None:
    """Give a run that was shortened its epochs back."""
    shutil.rmtree(store / "runs" / run)
    shutil.copytree(full / "runs" / run, store / "runs" / run)


def change_epoch(store: Path, run: str, epoch: int, changes: dict[str, Callable[[np.ndarray], np.ndarray]]) -> None:
    """Other weights in an epoch's file, and its new digest in the history."""
    folder = store / "runs" / run
    file = folder / "epochs" / f"{epoch:04d}.safetensors"
    rewrite(file, changes)


# ---------------------------------------------------------------------------------------------------- the same values


@pytest.mark.parametrize(
    ("family", "reference"),
    [*((name, "pretrained") for name in FAMILY), *(("paired", r) for r in REFERENCES[1:]), ("trajectory", "previous")],
)
def test_it_is_the_divergence_the_first_time_and_the_second(full: Path, family: str, reference: str | int) -> None:
    wanted = anew(full, family, reference)
    for _ in range(2):
        xr.testing.assert_identical(measured(full, family, reference), wanted)


def spoiled(store: Path) -> Path:
    """Every way of being undefined, each at its own epoch."""
    gamma, mean = "stem.bn.weight", "stage.bn.running_mean"
    change_epoch(store, BN, 1, {gamma: np.zeros_like})
    change_epoch(store, BN, 2, {gamma: np.ones_like, "head.weight": lambda values: values * 1e25})
    change_epoch(store, BN, 3, {gamma: lambda values: values * np.inf, mean: lambda values: values * np.nan})
    return store


def test_flags_are_those_of_the_metrics_asked_for_whatever_else_is_kept(full: Path) -> None:
    spoiled(full)
    reference = "previous"
    holds(full, "all", reference)
    for family in FAMILY:
        holds(full, family, reference)
    for metric in ("relative_l2", "cosine_distance", "l2"):
        holds(full, metric, reference)


@pytest.mark.parametrize("reference", ["pretrained", 0])
def test_flags_are_the_same_where_metrics_came_one_after_the_other(full: Path, reference: str | int) -> None:
    spoiled(full)
    for metric in ("straightness", "cosine_distance", "relative_l2", "spectral"):
        holds(full, metric, reference)
    holds(full, ["cosine_distance", "path_length"], reference)


def test_metrics_come_in_the_order_in_which_they_are_asked_for(full: Path) -> None:
    for metrics in (["relative_l2", "gaussian_kl"], ["gaussian_kl", "straightness", "relative_l2"]):
        holds(full, metrics)
        assert list(measured(full, metrics)["bn"].data_vars) == [*metrics, "flag"]


def test_a_store_that_was_moved_is_told_by_its_new_name(full: Path, tmp_path: Path) -> None:
    measured(full, "relative_l2")
    holds(full.rename(tmp_path / "moved"))


# ------------------------------------------------------------------------------------------------ only what is new


@pytest.mark.parametrize("reference", ["pretrained", BN])
def test_the_second_time_reads_no_tensor(full: Path, read: list[Read], reference: str | int) -> None:
    measured(full, ["relative_l2", "straightness"], reference)
    assert read
    file = place_of(full, wdiv.open(full), reference)
    stamp = file.stat().st_mtime_ns
    read.clear()
    measured(full, "relative_l2", reference)
    measured(full, ["path_length", "straightness"], reference)
    assert read == []
    assert file.stat().st_mtime_ns == stamp, "and writes nothing"


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("pretrained", {("bases", ""), (BN, "0003")}),
        (0, {("bases", ""), (BN, "0000"), (BN, "0003")}),
        ("previous", {("bases", ""), (BN, "0002"), (BN, "0003")}),
        (FC, {("bases", ""), (BN, "0003"), (FC, "0003")}),
    ],
)
def test_of_a_store_that_has_grown_only_the_new_epoch_is_read_and_what_it_is_set_against(
    full: Path, tmp_path: Path, read: list[Read], reference: str | int, wanted: set[tuple[str, str]]
) -> None:
    store = Path(shutil.copytree(full, tmp_path / "young"))
    shorten(store, BN, 2)
    measured(store, "relative_l2", reference)
    regrow(store, full, BN)
    read.clear()
    now = measured(store, "relative_l2", reference)
    assert {(run, "" if run == "bases" else epoch) for run, epoch, _ in read} == wanted
    xr.testing.assert_identical(now, anew(store, "relative_l2", reference))


@pytest.mark.parametrize("reference", ["pretrained", BN])
def test_a_store_that_grows_epoch_by_epoch_ends_as_one_measured_at_once(
    full: Path, tmp_path: Path, reference: str | int
) -> None:
    store = Path(shutil.copytree(full, tmp_path / "young"))
    for run in (BN, FC, SCRATCH):
        shorten(store, run, 0)
    for epochs, run in ((0, BN), (1, SCRATCH), (2, BN), (3, FC), (3, BN)):
        regrow(store, full, run)
        shorten(store, run, epochs)
        holds(store, ["relative_l2", "gaussian_kl", "trajectory"], reference)


def test_a_new_metric_is_measured_for_old_epochs_and_the_kept_ones_stay(full: Path, read: list[Read]) -> None:
    measured(full, "relative_l2")
    kept = formats.load(full / "measures.nc")
    holds(full, ["relative_l2", "spectral"])
    now = formats.load(full / "measures.nc")
    for kind in ("conv", "bn", "fc"):
        xr.testing.assert_identical(now[f"{kind}/relative_l2"], kept[f"{kind}/relative_l2"])
        assert "stable_rank_change" in now[kind]
    read.clear()
    holds_without_reading(full, ["stable_rank_change", "relative_l2"], read)


def holds_without_reading(store: Path, metrics: Any, read: list[Read]) -> None:
    now = measured(store, metrics)
    assert read == []
    xr.testing.assert_identical(now, anew(store, metrics))


def test_a_new_metric_and_a_new_epoch_at_once(full: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(full, tmp_path / "young"))
    shorten(store, BN, 1)
    holds(store, "relative_l2")
    regrow(store, full, BN)
    holds(store, ["gaussian_kl", "straightness"])
    holds(store, ["relative_l2", "gaussian_kl", "displacement"])


# --------------------------------------------------------------------------------------------- what holds no longer


@pytest.mark.parametrize("reference", ["pretrained", BN])
def test_a_changed_epoch_is_measured_anew(full: Path, reference: str | int) -> None:
    before = measured(full, ["relative_l2", "path_length"], reference)
    change_epoch(full, BN, 2, {"stem.bn.weight": lambda values: values * 3})
    holds(full, ["relative_l2", "path_length"], reference)
    assert not measured(full, ["relative_l2", "path_length"], reference).equals(before)


def test_another_metric_of_a_store_of_which_nothing_kept_holds_any_more(full: Path) -> None:
    holds(full, "gaussian_kl")
    for history in full.glob("runs/*/history.jsonl"):
        edit_rows(history.parent, lambda rows: [row.update(sha256="0" * 64) for row in rows])
    holds(full, ["relative_l2", "straightness"])
    holds(full, "gaussian_kl")


def test_a_changed_epoch_leaves_other_runs_as_they_were(full: Path, read: list[Read]) -> None:
    measured(full, "relative_l2")
    change_epoch(full, BN, 2, {"stem.bn.weight": lambda values: values * 3})
    read.clear()
    measured(full, "relative_l2")
    assert {(run, epoch) for run, epoch, _ in read if run != "bases"} == {(BN, "0002"), (BN, "0003")}


@pytest.mark.parametrize("reference", ["pretrained", 0])
def test_a_changed_base_is_measured_anew(full: Path, reference: str | int) -> None:
    measured(full, "relative_l2", reference)
    record = full / "runs" / FC / "run.json"
    old = json.loads(record.read_text())["base"]
    state = load_file(full / "bases" / f"{old}.safetensors")
    state |= {"stem.conv.weight": state["stem.conv.weight"] * 2}
    save_file(state, full / "bases" / "other.safetensors")
    start = {key: fast_digest(value).hex() for key, value in state.items()}
    for run in (FC, BN):
        edit_record(full / "runs" / run, lambda record: record.update(base="other", start=start))
    holds(full, "relative_l2", reference)


def test_a_shortened_run_forgets_its_epochs_and_a_restarted_one_has_new_values(full: Path) -> None:
    measured(full, METRICS)
    shorten(full, BN, 1)
    holds(full, METRICS)
    assert (measured(full, "relative_l2")["bn/flag"].sel(run=BN, epoch=3) & int(Flag.NOT_SAVED)).all()
    for run in (FC, SCRATCH):
        shorten(full, run, 1)
    holds(full, METRICS)
    assert measured(full, "relative_l2").sizes["epoch"] == 2
    change_epoch(full, SCRATCH, 1, {"stem.conv.weight": lambda values: values + 1})
    holds(full, METRICS)


def test_runs_come_and_go(full: Path, read: list[Read]) -> None:
    measured(full, "relative_l2")
    shutil.rmtree(full / "runs" / FC)
    holds(full)
    assert FC not in measured(full, "relative_l2")["run"].values
    make_store(full, ("conv+fc",), (3,), epochs=5)
    read.clear()
    now = measured(full, "relative_l2")
    assert {run for run, _, _ in read} == {"bases", "toynet-toy-n2-conv+fc-auto-s3"}
    xr.testing.assert_identical(now, anew(full, "relative_l2"))


def test_a_reference_run_that_changes_changes_the_values(full: Path) -> None:
    measured(full, "relative_l2", BN)
    change_epoch(full, BN, 2, {"stem.bn.weight": lambda values: values * 3})
    holds(full, "relative_l2", BN)


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: b"no netCDF", lambda data: data[: len(data) // 2]])
def test_a_damaged_file_is_replaced(full: Path, spoil: Callable[[bytes], bytes], read: list[Read]) -> None:
    file = full / "measures.nc"
    measured(full, "relative_l2")
    file.write_bytes(spoil(file.read_bytes()))
    holds(full)
    read.clear()
    holds_without_reading(full, "relative_l2", read)


@pytest.mark.parametrize("reduction", ["layer", "stage", "filter"])
@pytest.mark.parametrize("reference", ["pretrained", 0])
def test_a_file_that_measure_wrote_in_its_place_is_not_misread(
    full: Path, reduction: str, reference: str | int
) -> None:
    theirs = wdiv.divergence(wdiv.open(full), "relative_l2", reference, reduction=reduction)
    formats.save(theirs * 2 if reduction == "layer" else theirs, full / "measures.nc")
    holds(full)
    holds(full)


def test_a_file_of_anything_else_in_its_place_is_not_misread(full: Path) -> None:
    xr.Dataset({"x": ("run", [1.0])}, attrs={"wdiv_measures": "0", "reference": "pretrained"}).to_netcdf(
        full / "measures.nc"
    )
    holds(full)


def test_the_measures_of_another_store_are_not_taken_for_its_own(full: Path, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", ("fc", "bn+fc", "scratch"), (0,))
    for run in (BN, SCRATCH):
        change_epoch(other, run, 2, {"head.weight": lambda values: values + 1})
    change_epoch(other, BN, 1, {"stem.bn.weight": lambda values: values + 1})
    measured(other, METRICS, 0)
    shutil.copy(other / "measures.nc", full)
    holds(full, METRICS, 0)


# ----------------------------------------------------------------------------------------------------- where it is


def test_a_second_reference_has_its_own_file(full: Path) -> None:
    for _ in range(2):
        for reference in ("pretrained", 0, "previous", BN):
            holds(full, "relative_l2", reference)
    names = {"measures.nc", "measures-0.nc", "measures-previous.nc", "measures-toynet-toy-n2-bn-fc-auto-s0.nc"}
    assert {path.name for path in full.glob("*.nc")} == names


def test_an_epoch_is_the_same_reference_as_a_number_and_as_text(full: Path, read: list[Read]) -> None:
    wanted = measured(full, "relative_l2", 0)
    read.clear()
    xr.testing.assert_identical(measured(full, "relative_l2", "0"), wanted)
    assert read == []


def test_each_architecture_has_its_own_file(full: Path, read: list[Read]) -> None:
    make_store(full, ("bn+fc",), (0,), label="net:width=2")
    for group in ("toynet", "net:width=2"):
        for _ in range(2):
            read.clear()
            found = measured(full, "relative_l2", group=group)
        assert read == []
        xr.testing.assert_identical(found, anew(full, "relative_l2", group=group))
    assert {path.name for path in full.glob("*.nc")} == {"measures-toynet.nc", "measures-net-width=2.nc"}


def test_a_folder_that_cannot_be_written_to_is_measured_all_the_same(full: Path) -> None:
    mode = full.stat().st_mode
    full.chmod(0o555)
    try:
        if os.access(full, os.W_OK):
            pytest.skip("permissions do not stop this user")
        holds(full)
        assert not list(full.glob("*measures*"))
    finally:
        full.chmod(mode)


@pytest.mark.parametrize("code", ["EACCES", "EROFS"])
def test_what_the_system_says_of_a_store_that_is_not_ours_is_no_error(
    full: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    import errno

    def refuse(*_: Any) -> None:
        raise OSError(getattr(errno, code), "no")

    monkeypatch.setattr("wdiv.cache.measures.write_with_tail", refuse)
    holds(full)


def test_a_full_disk_is_told(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("wdiv.cache.measures.write_with_tail", refuse)
    with pytest.raises(OSError, match="no space left"):
        measured(full, "relative_l2")


def test_two_processes_at_once_leave_a_whole_file(full: Path) -> None:
    code = "import sys, wdiv; wdiv.measured(sys.argv[1], sys.argv[2])"
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(full), metric], cwd=ROOT, stderr=subprocess.PIPE)
        for metric in ("relative_l2", "gaussian_kl")
    ]
    for process in both:
        _, errors = process.communicate(timeout=600)
        assert (process.returncode, errors) == (0, b"")
    assert [path.name for path in full.iterdir() if "measures" in path.name] == ["measures.nc"]
    holds(full, ["relative_l2", "gaussian_kl"])


def test_the_kept_file_is_ordinary_netcdf(full: Path) -> None:
    measured(full, ["relative_l2", "straightness"])
    with xr.open_datatree(full / "measures.nc") as kept:
        wanted = anew(full, ["relative_l2", "epoch_step"])
        for name in ("relative_l2", "epoch_step"):
            np.testing.assert_array_equal(kept[f"bn/{name}"], wanted[f"bn/{name}"])
        assert kept["identity"].dims == ("run", "epoch")
        assert kept["strategy"].values.tolist() == wanted["strategy"].values.tolist()


@pytest.mark.parametrize(
    ("metrics", "reference", "words"),
    [
        ("relative_l1", "pretrained", "unknown metric 'relative_l1'"),
        ("linear_cka", "pretrained", "compares features on images"),
        ("relative_l2", 9, "reference epoch 9 is not saved"),
        ("relative_l2", "pretraind", "did you mean 'pretrained'"),
    ],
)
def test_a_wrong_question_is_answered_in_one_line_and_leaves_nothing(
    full: Path, metrics: str, reference: str | int, words: str
) -> None:
    with pytest.raises(wdiv.errors.WdivError, match=words):
        measured(full, metrics, reference)
    measured(full, "relative_l2")
    with pytest.raises(wdiv.errors.WdivError, match=words):
        measured(full, metrics, reference)
    assert {path.name for path in full.glob("*.nc")} == {"measures.nc"}


# -------------------------------------------------------------------------------------------------- imported runs


def test_an_imported_run_grows_and_notices_other_starting_weights(tmp_path: Path, read: list[Read]) -> None:
    from wdiv.store.imports import import_run

    theirs, out = tmp_path / "theirs", tmp_path / "out"
    theirs.mkdir()
    states = run_states("bn+fc", 0, 3)
    trunk = {key: value for key, value in source_state().items() if not key.startswith("head")}
    save_file(trunk, tmp_path / "start.safetensors")
    save_file({key: value * 2 for key, value in trunk.items()}, tmp_path / "double.safetensors")

    def come(*epochs: int, base: str) -> None:
        for epoch in epochs:
            save_file(states[epoch], theirs / f"epoch_{epoch}.safetensors")
        import_run(theirs, "epoch_{epoch}.safetensors", base=tmp_path / base, out=out, name="theirs")

    come(1, 2, base="start.safetensors")
    holds(out, ["relative_l2", "straightness"])
    come(3, base="start.safetensors")
    read.clear()
    measured(out, "relative_l2")
    assert {epoch for _, epoch, _ in read} == {"start", "epoch_1", "epoch_2", "epoch_3"}, "its path too"
    holds(out, ["relative_l2", "straightness"])
    come(base="double.safetensors")
    holds(out, ["relative_l2", "straightness"])


@pytest.mark.filterwarnings("ignore::wdiv.errors.LeftOut")
def test_what_was_measured_of_an_epoch_that_was_taken_away_since_is_kept(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("bn+fc",), (0,), 3)
    before = measured(store, "l2", 0)
    (run,) = CheckpointStore.open(store)
    run.epoch_file(1).unlink()
    found = measured(store, ["l2", "cosine_distance"], 0)
    xr.testing.assert_equal(found["bn/l2"], before["bn/l2"])
    assert found["bn/cosine_distance"].isel(epoch=1).isnull().all()
    assert found["bn/cosine_distance"].isel(epoch=[2, 3]).notnull().any()
