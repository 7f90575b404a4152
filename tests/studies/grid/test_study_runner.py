"""A whole study, with conditions, from its file to its report."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from studies.grid import study_runner
from studies.grid.conditions import begun, parts, stores
from studies.grid.progress import Progress
from studies.grid.state import states
from studies.grid.study_file import merge_axes, read_study
from studies.report.observations import read_observations
from studies.report.pages import as_html
from studies.report.report import gather
from studies.spec.registry import load
from studies.spec.study import Study, override
from tests.conftest import once
from tests.forked import forking
from tests.studies.cli.test_cli import strictly, wdiv
from tests.studies.toy import RUNS, TOY
from tests.tuning.tiny import MOBILENET, contents
from wdiv.errors import BadInput, BadStore, WdivError
from wdiv.store.reader import CheckpointStore
from wdiv.store.seals import read_sealed
from wdiv.tuning.training.interrupt import Stopped

pytestmark = once

CONDITIONS = ("plain", "steps")


@pytest.fixture(scope="module")
def toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("toy") / "toy.toml"
    file.write_text(TOY)
    return file


@pytest.fixture(scope="module")
def done(toml: Path) -> tuple[Path, Any]:
    """Where the study was run, and what the command printed as JSON."""
    out = toml.parent / "out"
    return out, strictly(wdiv("run", toml, "--out", out, "--device", "cpu", "--json").stdout)


@pytest.fixture
def out(done: tuple[Path, Any], tmp_path: Path) -> Path:
    """The test's own copy."""
    return Path(shutil.copytree(done[0], tmp_path / "out"))


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


# --- what is there -------------------------------------------------------------------------------------------------


def test_every_condition_is_a_store_and_source_networks_are_trained_once(done: tuple[Path, Any]) -> None:
    out, answer = done
    assert stores(out) == begun(out) == {name: CheckpointStore(out / name) for name in CONDITIONS}
    for name in CONDITIONS:
        told = json.loads((out / name / "study.json").read_text())
        assert len(told["runs"]) == len(list((out / name).glob("runs/*/run.json"))) == RUNS // 2
        assert {path.stem.rpartition("-")[2] for path in (out / name).glob("baselines/*.json")} == {"s0", "s1"}
        assert not (out / name / "features").exists()
    (source,) = out.glob("sources/*/runs/*")
    assert source.parents[1].name == "digits-0-4-4-of-each"
    assert not list(out.glob("runs"))
    assert {row["condition"] for row in answer["outcomes"]} == set(CONDITIONS)
    assert all(Path(file).exists() for file in answer["files"])


def test_scratch_under_frozen_statistics_is_left_out_where_another_mode_is_there(done: tuple[Path, Any]) -> None:
    table = rows_of(done[0] / "results.csv")
    assert {(row["strategy"], row["bn_mode"]) for row in table} == {
        ("scratch", "batch"), ("bn+fc", "batch"), ("bn+fc", "frozen"), ("ncm@bottleneck", "frozen"),
    }  # fmt: skip


def test_results_are_one_table_that_says_the_condition(done: tuple[Path, Any]) -> None:
    out, _ = done
    table = rows_of(out / "results.csv")
    assert len(table) == RUNS + 2 * 2
    alone = [row for name in CONDITIONS for row in rows_of(out / name / "results.csv")]
    assert [{key: value for key, value in row.items() if key != "condition"} for row in table] == alone
    with xr.open_dataset(out / "results.nc") as data:
        assert data["condition"].values.tolist() == [row["condition"] for row in table]
        steps = data.where(data["condition"] == "steps", drop=True)
        assert steps.sizes["run"] == len(table) // 2


def test_status_and_watch_call_runs_by_their_condition(done: tuple[Path, Any]) -> None:
    out, _ = done
    rows = strictly(wdiv("status", out, "--json").stdout)
    assert [row["run"].partition("/")[0] for row in rows] == ["plain"] * (RUNS // 2) + ["steps"] * (RUNS // 2)
    assert {row["state"] for row in rows} == {"finished"}
    assert f"{RUNS} of {RUNS} runs finished" in wdiv("status", out).stdout
    names = [next(row["run"] for row in rows if row["run"].startswith(name) and "bn+fc" in row["run"])
             for name in CONDITIONS]  # fmt: skip
    options = [part for name in names for part in ("--run", name)]
    seen = strictly(wdiv("watch", out, "--once", "--json", *options).stdout)["runs"]
    assert [one["run"] for one in seen] == names, "one run of each condition, by the same name there"
    for one in seen:
        gamma = [strip for strip in one["stages"] if (strip["kind"], strip["role"]) == ("bn", "gamma")]
        assert gamma
        assert all(strip["values"][0] == 0 < strip["values"][1] for strip in gamma)
        alone = strictly(wdiv("watch", out / one["run"].partition("/")[0], "--once", "--json", "--run",
                              one["run"].partition("/")[2]).stdout)["runs"]  # fmt: skip
        assert one["stages"] == alone[0]["stages"]
    assert "plain/" in wdiv("watch", out, "--once", *options).stdout
    with pytest.raises(AssertionError, match="no run"):
        wdiv("watch", out, "--once", "--run", "elsewhere/run")


def test_commands_of_one_store_name_the_stores_beneath(done: tuple[Path, Any], tmp_path: Path) -> None:
    out, _ = done
    words = f"Error: {out}: no runs in it, but stores beneath it; give one of {out / 'plain'}, {out / 'steps'}\n"
    for line in (["measure", out], ["noise", out], ["plot", out, "heatmap", "-o", tmp_path / "x.png"]):
        result = wdiv(*line, code=2)
        assert result.stderr == words
    with pytest.raises(BadStore, match="stores beneath it; give one of"):
        xr.open_datatree(out, engine="wdiv")
    assert xr.open_datatree(out / "plain", engine="wdiv").sizes["run"] == RUNS // 2
    assert list(tmp_path.iterdir()) == []


def test_verify_reads_every_condition(out: Path) -> None:
    rows = strictly(wdiv("verify", out, "--json").stdout)
    assert {row["verdict"] for row in rows} == {"intact"}
    names = sorted(row["run"] for row in rows)
    assert [name for name in names if not name.startswith("sources/")] == sorted(state.run for state in states(out))
    assert [name for name in names if name.startswith("sources/")], "of source networks too"
    file = next((out / "steps").glob("runs/*/epochs/0001.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    assert f"{file}: " in wdiv("verify", out, code=2).stderr


def test_source_networks_are_repaired_with_the_study(out: Path) -> None:
    file = next((out / "sources").glob("*/runs/*/epochs/0001.safetensors"))
    before = file.read_bytes()
    file.write_bytes(before[:-1])
    assert f"{file}: " in wdiv("verify", out, code=2).stderr
    assert "epochs are the same as before" in wdiv("verify", out, "--repair").stdout
    assert file.read_bytes() == before


# --- once more -----------------------------------------------------------------------------------------------------


def stamps(out: Path) -> dict[Path, int]:
    kept = [*out.rglob("*.safetensors"), *out.rglob("history.jsonl"), *out.glob("*/baselines/*.json")]
    return {file: file.stat().st_mtime_ns for file in kept}


def test_the_same_command_leaves_what_is_finished(toml: Path, out: Path) -> None:
    before = stamps(out)
    assert len(before) > 2 * RUNS
    text = wdiv("run", toml, "--out", out, "--device", "cpu").stdout
    assert stamps(out) == before
    assert "condition steps" in text
    assert f"wrote {out / 'report' / 'report.html'}" in text
    plan = strictly(wdiv("run", toml, "--out", out, "--dry-run", "--json").stdout)
    assert (plan["runs"], plan["steps"], plan["finished"]) == ([], 0, RUNS + 1)


def test_axes_of_all_conditions_grow_and_the_study_remembers(toml: Path, out: Path) -> None:
    before = stamps(out)
    wdiv("run", toml, "--out", out, "--seed", 2, "--strategy", "bn+fc", "--bn-mode", "frozen", "--device", "cpu")
    study = read_study(out)
    assert (study.seeds, study.strategies, study.bn_modes) == ((0, 1, 2), ("scratch", "bn+fc"), ("batch", "frozen"))
    assert len(states(out)) == RUNS + 2
    assert {file: stamp for file, stamp in stamps(out).items() if file in before} == before, "baselines too"
    assert len(stamps(out)) > len(before)


def test_a_condition_that_comes_is_added_and_one_that_goes_is_kept(toml: Path, out: Path) -> None:
    study = load(str(toml))
    new = override(study, {"conditions": [{"name": "batches", "values": {"batch_size": 4}}], "seeds": [0]})
    study_runner.run(new, out, device="cpu")
    assert list(stores(out)) == ["plain", "steps", "batches"]
    assert [condition.name for condition in read_study(out).conditions] == ["plain", "steps", "batches"]


def test_steps_that_come_to_the_same_are_the_same_study_and_others_are_not(out: Path) -> None:
    held = stores(out)["steps"].path
    study = read_study(held)
    same = replace(study, steps=2, steps_per_epoch=None)
    assert merge_axes(same, held)["steps"] == 2
    with pytest.raises(BadInput, match="steps_per_epoch 2, now None") as error:
        merge_axes(replace(study, steps_per_epoch=None), held)
    assert "--passes" not in str(error.value)
    plain = stores(out)["plain"].path
    with pytest.raises(BadInput, match="steps None, now 2; give another --out, or --passes"):
        merge_axes(replace(read_study(plain), steps=2), plain)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": 2, "seeds": [0]}, "epochs 1, now 2: all its runs go on together; give seeds 1 too"),
        ({"epochs": 2, "batch_size": 4}, "batch_size 9, now 4"),
        ({"conditions": [{"name": "steps", "values": {"steps_per_epoch": 3}}]}, "steps_per_epoch 2, now 3"),
        ({"conditions": [{"name": "plain", "values": {"batch_size": 4}}]}, "batch_size 9, now 4"),
        ({"pretrain": {"data": "digits-0-4", "epochs": 2, "per_class": 4}}, "pretrain {'data': 'digits-0-4'"),
        ({"conditions": []}, "holds a study with conditions; give another --out"),
    ],
    ids=str,
)
def test_another_study_in_the_same_folder_is_refused_before_anything_is_written(
    toml: Path, out: Path, values: dict[str, Any], words: str
) -> None:
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    with pytest.raises(BadInput, match="give another --out") as caught:
        study_runner.run(override(load(str(toml)), values), out, device="cpu")
    assert words in str(caught.value)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before


class _Interrupted(Progress):
    """Ctrl-C as the last run of the second condition begins."""

    def __init__(self) -> None:
        self.begun = 0

    @contextmanager
    def run(self, run: str, epochs: int) -> Iterator[Any]:
        self.begun += 1
        if self.begun == 1 + 2 + 2:  # the source network, a condition, and the second run of the other
            signal.raise_signal(signal.SIGINT)
        with super().run(run, epochs) as watcher:
            yield watcher


def test_stopped_in_the_second_condition_and_going_on_ends_alike(toml: Path, tmp_path: Path) -> None:
    study = override(load(str(toml)), {"seeds": [0], "bn_modes": ["batch"]})
    for name in ("straight", "stopped"):
        if name == "stopped":
            with pytest.raises(Stopped):
                study_runner.run(study, tmp_path / name, device="cpu", progress=_Interrupted())
            found = {state.run.partition("/")[0]: state.state for state in states(tmp_path / name)}
            assert found["plain"] == "finished"
            assert found["steps"] != "finished"
        study_runner.run(study, tmp_path / name, device="cpu")

    def kept(folder: Path) -> dict[str, bytes]:
        found = {
            name: data for name, data in contents(folder).items() if not name.endswith(".json") or "/runs/" not in name
        }
        for name in found:
            if "/baselines/" in name:
                found[name] = re.sub(rb'"(seconds|digest)": [^,}]+', b"", found[name])
        return found

    assert kept(tmp_path / "stopped") == kept(tmp_path / "straight")


@pytest.mark.skipif(os.name == "nt", reason="a process that is not forked does not know the toy's network")
def test_runs_side_by_side_and_baselines_after_them(
    toml: Path, done: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.grid.jobs.get_context", forking)
    study = override(load(str(toml)), {"seeds": [0], "bn_modes": ["batch"], "conditions": [
        {"name": "plain", "values": {}}]})  # fmt: skip
    study_runner.run(study, tmp_path / "two", device="cpu", jobs=2)
    for file in (tmp_path / "two" / "plain").glob("runs/*/epochs/0001.safetensors"):
        alike = done[0] / file.relative_to(tmp_path / "two")
        assert file.read_bytes() == alike.read_bytes()
    assert len(list((tmp_path / "two" / "plain").glob("baselines/*.json"))) == 1


# --- what it would do ----------------------------------------------------------------------------------------------


def test_a_dry_run_tells_of_the_source_networks_and_every_condition(toml: Path, tmp_path: Path) -> None:
    plan = strictly(wdiv("run", toml, "--out", tmp_path / "out", "--dry-run", "--json").stdout)
    source, plain, steps = plan["parts"]
    assert [part["condition"] for part in plan["parts"]] == ["sources/digits-0-4-4-of-each", *CONDITIONS]
    assert (len(source["runs"]), len(plain["runs"]), len(steps["runs"])) == (1, RUNS // 2, RUNS // 2)
    assert source["classes"] == ["0", "1", "2", "3", "4"]
    assert plan["classes"] == ["5", "6", "7"]
    assert [row["run"].rpartition("/")[0] for row in plan["runs"]] == [
        "sources/digits-0-4-4-of-each", *["plain"] * (RUNS // 2), *["steps"] * (RUNS // 2),
    ]  # fmt: skip
    assert plan["steps"] == source["steps"] + RUNS // 2 * (1 + 2), "batches of 9 of 9 images, and two a condition"
    assert plan["bytes"] == sum(row["bytes"] for row in plan["runs"])
    text = wdiv("run", toml, "--out", tmp_path / "out", "--dry-run").stdout
    assert "toy, steps, on digits-5-9 (3 classes): 3 classes" in text
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_mini_says_what_to_write(toml: Path, tmp_path: Path) -> None:
    result = wdiv("run", toml, "--scale", "mini", code=2)
    assert "study 'toy' has no mini scale; give it a table [mini]; those that have: " in result.stderr
    mini = tmp_path / "mini.toml"
    mini.write_text(TOY + "\n[mini]\nseeds = [5]\nper_class = 2\n")
    plan = strictly(wdiv("run", mini, "--scale", "mini", "--dry-run", "--json", "--out", tmp_path / "out").stdout)
    assert {row["run"][-3:] for row in plan["parts"][1]["runs"]} == {"-s5"}
    assert plan["parts"][1]["runs"][0]["n_train"] == 6


def test_source_networks_that_differ_are_kept_apart() -> None:
    study = Study("s", models=(MOBILENET,), conditions=override(Study("s"), {"conditions": [
        {"name": "a", "values": {"pretrain": {"data": "digits", "epochs": 1}}},
        {"name": "b", "values": {"pretrain": {"data": "digits", "epochs": 2}}},
        {"name": "c", "values": {"pretrain": {"data": "digits", "epochs": 1}, "epochs": 3}},
        {"name": "d", "values": {"pretrain": {"data": "digits", "epochs": 1}, "image_size": 40}},
    ]}).conditions)  # fmt: skip
    found = {part.condition: part.sources.name for part in parts(study, Path("out"))}
    assert found == {"a": "digits", "b": "digits-b", "c": "digits", "d": "digits-d"}


# --- what cannot be, is said before the first step -------------------------------------------------------------------

CLAIM = {"name": "c", "text": "t", "left": {"strategy": "fc"}, "right": {"strategy": "bn+fc"}, "direction": "more"}
TABLE = {"name": "t"}
FIGURE = {"name": "f", "title": "", "kind": "bars"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"claims": [CLAIM, CLAIM]}, "two claims are called 'c'"),
        ({"tables": [TABLE, TABLE]}, "two tables are called 't'"),
        ({"figures": [FIGURE, FIGURE]}, "two figures are called 'f'"),
        ({"claims": [CLAIM | {"left": {"strategy": "fcc"}}]}, "claim 'c': left.strategy: unknown strategy 'fcc'"),
        ({"claims": [CLAIM | {"over": "svn"}]}, "claim 'c': over: unknown strategy 'svn'"),
        ({"claims": [CLAIM | {"of": {"measure": "acuracy"}}]}, "claim 'c': of.measure: unknown 'acuracy'"),
        ({"claims": [CLAIM | {"wher": "x"}]}, "unknown key 'wher' in claim 'c'; did you mean 'where'"),
        ({"tables": [TABLE | {"where": {"strategy": "svm@"}}]}, "table 't': where strategy: "),
        ({"tables": [TABLE | {"measure": "linear_cka"}]}, "table 't': measure: metric 'linear_cka' compares features"),
        ({"tables": [{"title": "x"}]}, "[[tables]] needs name"),
        ({"tables": [TABLE | {"row": ["model"]}]}, "unknown key 'row' in [[tables]] 't'; did you mean 'rows'"),
        ({"figures": [FIGURE | {"kind": "pies"}]}, "unknown kind of figure 'pies'"),
        ({"figures": [FIGURE | {"where": {"bn_mode": "frosen"}}]}, "figure 'f': bn_mode: unknown BN mode 'frosen'"),
        ({"paper": "peng2021"}, "paper 'peng2021'; did you mean 'peng2020'"),
        ({"baselines": ["svn"]}, "unknown baseline 'svn'"),
        ({"conditions": [{"name": "a", "values": {"head": "none"}}]}, "condition 'a': unknown head 'none'"),
        ({"mini": {"conditions": [{"name": "a", "values": {"epochs": 1}}], "bn_modes": ["x"]}}, "unknown BN mode 'x'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_named_wrongly_is_no_study(values: dict[str, Any], words: str) -> None:
    with pytest.raises(WdivError) as caught:
        override(Study("s"), values)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"baselines": ["ncm@stage9"]}, "layer 'stage9': a stage, a layer's depth or name; did you mean 'stage"),
        ({"baselines": ["ncm,most"]}, "pooling 'most': avg, max or grid=K"),
        ({"paper": "peng2020", "tables": [{"name": "t", "of": "table99"}]}, "table 't': the paper has no 'table99'"),
        ({"paper": "peng2020", "tables": [{"name": "t", "of": "table1", "reading": {"blok": {"5": "fc"}}}]},
         "table 't': the paper tells no 'blok'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_does_not_fit_network_or_paper_is_found_before_the_first_step(
    toml: Path, values: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as caught:
        study_runner.run(override(load(str(toml)), values), tmp_path / "out", device="cpu")
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_mini_that_conditions_contradict_is_found_at_once() -> None:
    two = {"conditions": [{"name": "a", "values": {"epochs": 1}}], "mini": {"epochs": 2}}
    with pytest.raises(BadInput, match="mini: epochs: each condition of study 's' has its own"):
        override(Study("s"), two)


def test_what_a_report_needs_is_measured(toml: Path) -> None:
    assert load(str(toml)).metrics == ("relative_l2", "gaussian_kl")
    plain = override(Study("s"), {"metrics": ["relative_l2"]})
    table = override(plain, {"tables": [{"name": "t", "measure": ["accuracy", "cosine_distance"]}]})
    assert table.metrics == ("relative_l2", "cosine_distance")
    figure = {"name": "f", "title": "", "kind": "profile", "where": {"measure": "gaussian_kl"}}
    assert override(table, {"figures": [figure]}).metrics == ("relative_l2", "cosine_distance", "gaussian_kl")
    assert override(plain, {"claims": [CLAIM]}).metrics == ("relative_l2",), "accuracies are no metrics"


# --- the report ----------------------------------------------------------------------------------------------------


class _Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]


def test_a_report_is_pages_and_the_numbers_behind_them(done: tuple[Path, Any]) -> None:
    folder = done[0] / "report"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "report.md", "report.html", "claims.json", "observations.csv", "distances.csv.gz", "tables/accuracies.csv",
        "change_and_gain.csv", "negative_transfer.csv", "figures/bars.png",
    }  # fmt: skip
    page = (folder / "report.md").read_text()
    assert page.startswith("# toy: a toy | with <b>signs</b>\n\nAfter nobody (2020).")
    assert "- conditions: plain, steps" in page
    assert "### Question 1" in page
    assert "| Tuning BN beats scratch \\| always. |" in page
    assert "![bars](figures/bars.png)" in page
    assert "**nowhere** could not be drawn: " in page
    assert "not finished" not in page
    claims = strictly((folder / "claims.json").read_text())
    assert [claim["claim"] for claim in claims] == ["bn-beats-scratch", "more-steps-move-more"]
    assert [claim["where"] for claim in claims] == ["", "figure 1"]
    assert all(claim["verdict"] in page for claim in claims)
    assert claims[1]["seeds"] == 2, "there is something to compare: it was measured though no one asked for it"


def test_the_html_needs_no_other_file_and_shows_signs_as_they_are(done: tuple[Path, Any]) -> None:
    text = (done[0] / "report" / "report.html").read_text()
    parser = _Sources()
    parser.feed(text)
    assert len(parser.sources) == 1
    assert all(source.startswith("data:image/png;base64,") for source in parser.sources)
    assert "b" not in parser.tags
    assert "<title>toy: a toy | with &lt;b&gt;signs&lt;/b&gt;</title>" in text
    assert {"table", "h1", "h2", "img"} <= set(parser.tags)
    assert "<script" not in as_html("# x\n\n<script>1</script>", done[0])


def test_tables_of_a_report_are_means_of_its_observations(done: tuple[Path, Any]) -> None:
    folder = done[0] / "report"
    seen = read_observations(folder / "observations.csv")
    seen = seen[seen["measure"] == "accuracy"]
    results = rows_of(done[0] / "results.csv")
    assert len(seen) == len(results)
    for cell in rows_of(folder / "tables" / "accuracies.csv"):
        mine = [
            100 * float(row["last"]) for row in results
            if all(row[key] == cell[key] for key in ("condition", "strategy") if key in cell)
            and row["bn_mode"] == cell.get("bn_mode", row["bn_mode"])
        ]  # fmt: skip
        assert float(cell["ours"]) == pytest.approx(sum(mine) / len(mine))
        assert int(cell["seeds"]) == len(mine) == 2


def test_a_report_can_be_made_elsewhere_and_again(done: tuple[Path, Any], tmp_path: Path) -> None:
    out, _ = done
    found = strictly(wdiv("report", out, "-o", tmp_path / "r", "--json").stdout)
    assert found.keys() == {"study", "claims", "unfinished", "left_out", "figures_missing", "files"}
    assert (found["study"], found["unfinished"], list(found["figures_missing"])) == ("toy", 0, ["nowhere"])
    assert all(Path(file).is_relative_to(tmp_path / "r") for file in found["files"])
    for name in ("report.md", "claims.json", "observations.csv", "tables/accuracies.csv"):
        assert (tmp_path / "r" / name).read_bytes() == (out / "report" / name).read_bytes()
    text = wdiv("report", out, "-o", tmp_path / "r").stdout
    assert "bn-beats-scratch" in text
    assert "note: nowhere could not be drawn: " in text
    assert f"wrote {tmp_path / 'r' / 'report.md'}, report.html and " in text


def test_a_report_says_what_is_missing(out: Path) -> None:
    for file in (out / "steps").glob("runs/*/history.jsonl"):
        file.write_text(file.read_text().splitlines(keepends=True)[0])
    words = "6 of 12 runs are not finished, and nothing here is of them: steps/"
    for text in (wdiv("report", out).stdout, (out / "report/report.md").read_text()):
        assert words in text
        assert text.count("(stopped after epoch 0 of ") == 6
    shutil.rmtree(out / "steps")
    assert wdiv("status", out).exit_code == 0
    report = gather(out, out / "report" / "figures")
    assert set(report.observations["condition"]) == {"plain"}
    assert "no runs to compare" in report.verdicts[1].reason
    shutil.rmtree(out / "plain")
    assert "no run has begun; there is nothing to report" in wdiv("report", out, code=2).stderr


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (None, "not the folder of a study; it has no study.json"),
        ("{", "study.json: damaged: no JSON"),
        ("[]", "study.json: damaged: no JSON object"),
        ('{"runs": []}', "study.json: damaged: it tells no study"),
        ('{"study": [1]}', "study.json: damaged: 'study' is [1]"),
        ('{"study": {"name": "s"}, "conditions": {"a": 1}}', "damaged: 'conditions' is {'a': 1}"),
        ('{"study": {"name": "s"}, "runs": [1]}', "damaged: 'runs' is [1]"),
        ('{"study": {"name": "s", "epoch": 1}}', "another version of wdiv: unknown key 'epoch'; did you mean 'epochs'"),
        ('{"study": {"name": "s", "bn_modes": ["x"]}}', "another version of wdiv: unknown BN mode 'x'"),
        ('{"study": {"name": "s"}}', "no run has begun; there is nothing to report"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_studys_is_one_line(told: str | None, words: str, tmp_path: Path) -> None:
    if told is not None:
        (tmp_path / "study.json").write_text(told)
    error = wdiv("report", tmp_path, code=2).stderr
    assert error.startswith("Error: ")
    assert words in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"] * (told is not None)


def test_a_store_from_before_there_were_such_fields_goes_on(out: Path, toml: Path) -> None:
    """Fields that its study.json lacks have their usual values."""
    store = out / "plain"
    told = read_sealed(store / "study.json") | {"format": 1}
    for name in ("conditions", "claims", "tables", "figures", "paper", "mini"):
        del told["study"][name]
    del told["notes"]
    (store / "study.json").write_text(json.dumps(told))
    alone = replace(load(str(toml)), conditions=(), claims=(), tables=(), figures=())
    assert read_study(store) == replace(alone, metrics=("relative_l2", "gaussian_kl"))
    before = stamps(out)
    part = parts(load(str(toml)), out)[0]
    from studies.grid import runner

    runner.run_grid(part.study, part.out, device="cpu", source_store=part.sources)
    assert stamps(out) == before
    del told["study"]["classes"]
    (store / "study.json").write_text(json.dumps(told))
    with pytest.raises(BadInput, match="classes None, now 3"):
        runner.run_grid(part.study, part.out, device="cpu", source_store=part.sources)


def test_the_toy_is_valid_toml() -> None:
    assert len(tomllib.loads(TOY)["conditions"]) == 2
