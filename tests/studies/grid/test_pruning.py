"""Thinning stores: everything goes on, numbers do not change, and what is needed stays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

from studies.cli import cli
from studies.grid.disk import disk_usage
from studies.grid.pruning import prune, would_prune
from studies.grid.runner import run_grid
from studies.grid.verifying import repair
from studies.report.finish import finish
from studies.spec.study import Study, override
from tests.fabric import make_store
from tests.tuning.tiny import contents
from wdiv.cache.pairs import measured_pairs
from wdiv.errors import BadInput
from wdiv.store.files import write_json
from wdiv.store.keep import Keep
from wdiv.store.reader import CheckpointStore, write_lock
from wdiv.store.seals import read_sealed, write_sealed
from wdiv.store.verify import verify

SPEC = {"epochs": 4, "metrics": ["relative_l2", "output_change"], "reference": 0}


@pytest.fixture(scope="module")
def whole(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    from studies.spec.registry import load
    from tests.studies.conftest import TOML
    from tests.tuning.tiny import MOBILENET

    folder = tmp_path_factory.mktemp("whole")
    (folder / "small.toml").write_text(TOML.format(model=MOBILENET, weights=weights))
    study = override(load(str(folder / "small.toml")), SPEC)
    out, _ = run_grid(study, folder / "store", device="cpu")
    return study, out


@pytest.fixture
def copy(whole: tuple[Study, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(whole[1], tmp_path / name))


def told(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "results.csv").drop(columns="seconds")


def test_keeping_few_changes_no_number(whole: tuple[Study, Path], copy: Callable[[str], Path], tmp_path: Path) -> None:
    study, _ = whole
    thin, _ = run_grid(replace(study, keep="every 2"), tmp_path / "thin", device="cpu")
    pruned = copy("pruned")
    assert [one.thinned for one in prune(pruned, Keep("every 2"))] == [(1, 3), (1, 3)]
    drop = lambda files: {name: data for name, data in files.items() if name != "study.json"}  # noqa: E731 - once
    assert drop(contents(thin)) == drop(contents(pruned)), "thinned at once, or afterwards: the same files"
    full = copy("full")
    tables = [finish(out, study.metrics, study.reference)[0] for out in (full, thin, pruned)]
    for table, out in zip(tables[1:], (thin, pruned), strict=True):
        pd.testing.assert_frame_equal(table, tables[0])
        pd.testing.assert_frame_equal(told(out), told(full))
    with xr.open_datatree(full / "measures.nc") as a, xr.open_datatree(thin / "measures.nc") as b:
        for kind in ("conv", "bn", "fc"):
            np.testing.assert_array_equal(a[kind]["relative_l2"].values, b[kind]["relative_l2"].values)
    with xr.open_datatree(thin / "outputs.nc") as b:
        assert b["bn/output_change"].isel(run=1).sel(role="affine").isnull().all("layer").values.tolist() == [
            0,
            1,
            0,
            1,
            0,
        ]


def test_everything_goes_on(copy: Callable[[str], Path], whole: tuple[Study, Path]) -> None:
    store, (study, _) = copy("store"), whole
    invoke = CliRunner().invoke
    asked = invoke(cli, ["prune", str(store)])
    assert (asked.exit_code, verify(store)[0].thinned) == (0, 0), asked.output
    assert "would go" in asked.output
    before = disk_usage(store)
    done = invoke(cli, ["prune", str(store), "--yes", "--json"])
    gone = json.loads(done.stdout)["bytes"]
    after = disk_usage(store)
    assert gone == before["prune"] > 0 == after["prune"]
    assert before["kinds"]["epochs"] - after["kinds"]["epochs"] == gone - before["kinds"]["resume"]
    assert "resume" not in after["kinds"]
    assert (
        sum(after["kinds"].values()) == after["total"] == sum(f.stat().st_size for f in store.rglob("*") if f.is_file())
    )
    names = [run.record.id for run in CheckpointStore.open(store)]
    for words in (
        ["measure", store], ["measure", store, "--reduction", "stage", "--reference", "0"], ["status", store],
        ["verify", store], ["du", store], ["watch", store, "--once"], ["prune", store],
        ["plot", store, "heatmap", "-m", "relative_l2", "-o", store / "h.png"],
        ["export", store / "runs" / names[0], "last", "-o", store / "x.safetensors"],
        ["diff", f"{store}/runs/{names[0]}@0", f"{store}/runs/{names[0]}@4"],
    ):  # fmt: skip
        found = invoke(cli, [*map(str, words)])
        assert found.exit_code == 0, (words, found.output)
    assert "nothing to take away" in invoke(cli, ["prune", str(store)]).output
    for words in (
        ["measure", store, "-m", "spectral_norm_change", "--epoch", "2"],
        ["diff", f"{store}/runs/{names[0]}@2", f"{store}/runs/{names[0]}"],
    ):
        found = invoke(cli, [*map(str, words)])
        assert (found.exit_code, found.output.count("\n")) == (2, 1)
        assert "nearest to it are 0 and 4" in found.output
    assert measured_pairs(store, [(names[0], names[0])]).to_dataset().sizes == {"pair": 1}
    run_grid(study, store, device="cpu")
    finish(store, study.metrics, study.reference)
    assert [one.thinned for one in verify(store)] == [3, 3], "what is finished is left as it is"


def test_what_is_repaired_is_as_thin_as_it_was(copy: Callable[[str], Path]) -> None:
    store = copy("store")
    prune(store)
    before = contents(store)
    (run, _) = CheckpointStore.open(store)
    run.epoch_file(4).write_bytes(run.epoch_file(4).read_bytes()[:-9])
    assert [line for line in repair(store, device="cpu") if "made again" in line]
    assert {k: v for k, v in contents(store).items() if "live" not in k} == {
        k: v for k, v in before.items() if "live" not in k
    }


def test_what_others_start_from_or_are_measured_against_stays(tmp_path: Path) -> None:
    store = make_store(tmp_path / "runs" / "a", ("bn+fc", "fc"), (0,), 6)
    one, two = CheckpointStore.open(store)
    edit = read_sealed(store / "study.json")
    write_sealed(
        store / "study.json",
        {**{k: v for k, v in edit.items() if k != "digest"}, "study": {"name": "a", "reference": 3}},
    )
    other = tmp_path / "runs" / "b"
    other.mkdir()
    write_json(other / "study.json", {"format": 1, "study": {"name": "b", "weights": f"{one.path}@2"}})
    found = {pruned.run: pruned for pruned in prune(store)}
    assert (found[one.path.name].kept, found[one.path.name].needed) == ((0, 2, 3, 6), (2, 3))
    assert (found[two.path.name].kept, found[two.path.name].needed) == ((0, 3, 6), (3,))


def test_a_run_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("bn+fc", "fc"), (0,), 4)
    one, two = CheckpointStore.open(store)
    with write_lock(one):
        assert [(p.run, p.why, p.thinned) for p in would_prune(store)] == [
            (one.path.name, "being written", ()), (two.path.name, "", (1, 2, 3)),
        ]  # fmt: skip


def test_a_study_that_keeps_other_words_is_refused() -> None:
    with pytest.raises(BadInput, match="keep 'some'"):
        Study("one", keep="some")
