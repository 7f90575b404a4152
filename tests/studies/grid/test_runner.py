"""Running a grid: resolved before the first step, grown afterwards, and never stopped by one bad run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studies.cli.bars import Bars
from studies.grid import planning, study_file
from studies.grid.planning import plan_grid
from studies.grid.runner import describe_grid, run_grid
from studies.grid.state import states
from studies.report.finish import finish
from studies.spec.study import Pretrain, Study, override
from tests.tuning.tiny import MOBILENET
from wdiv.errors import BadInput, WdivError
from wdiv.store.reader import CheckpointStore
from wdiv.store.seals import read_sealed, write_sealed
from wdiv.tuning.networks.models import ModelSpec, build


def test_a_plan_counts_runs_images_steps_and_bytes(small: Study, tmp_path: Path) -> None:
    grid = plan_grid(override(small, {"per_class": [3, "all"], "seeds": [0, 1], "bn_modes": ["auto", "frozen"]}))
    found = describe_grid(grid, tmp_path / "store")
    assert not list(tmp_path.glob("store*"))
    assert len(found["runs"]) == 2 * 2 * 2 * 2 == len({row["run"] for row in found["runs"]})
    assert found["classes"] == ["5", "6", "7", "8", "9"]
    assert (found["train_images"], found["test_images"]) == (896 - 25, 25)
    assert {row["n_train"] for row in found["runs"]} == {15, 871}
    assert found["steps"] == 8 * 2 * (2 + 109), "runs x epochs x batches of 8"
    state = build(ModelSpec.parse(MOBILENET), 5).state_dict()
    head = sum(state[key].nbytes for key in ("classifier.1.weight", "classifier.1.bias"))
    bn = {key.rpartition(".")[0] for key in state if key.endswith("running_mean")}
    parameters = sum(value.nbytes for key, value in state.items() if key.rpartition(".")[0] in bn and value.ndim)
    sizes = {row["run"].split("-", 3)[3]: row["bytes"] for row in found["runs"]}
    assert sizes["5-9-n3-fc-auto-s0"] == 2 * head
    assert sizes["5-9-n3-bn+fc-auto-s0"] == 2 * (head + parameters + 8 * len(bn))
    assert sizes["5-9-n3-bn+fc-frozen-s0"] == 2 * (head + parameters // 2)
    assert found["bytes"] == sum(row["bytes"] for row in found["runs"])


def test_a_plan_writes_nothing(small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    plan_grid(small)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": None}, "brings no images; give --data FOLDER"),
        ({"per_class": 900}, "900 training images of each class asked for"),
        ({"strategies": "bn@stage9+fc"}, "has no bn layer in stage9"),
        ({"batch_size": 1}, "batch statistics need batches of at least 2 images"),
        ({"models": ["resnet18"]}, "made.pth: not weights for resnet18: 100 tensors missing"),
        ({"models": ["resnet19"]}, "unknown model 'resnet19'"),
        ({"models": []}, "do not say which network they are for; give --model"),
        ({"weights": "gone.pth"}, "gone.pth: no such file"),
        ({"image_size": 4}, "image size: a whole number of pixels, at least 8"),
        ({"models": ["vgg16"], "weights": "random", "image_size": 16, "strategies": "fc"}, "at least 32 pixels"),
        ({"models": ["resnet18", "inception_v3"], "weights": "IMAGENET1K_V1", "image_size": None}, "[224, 299] pixels"),
        ({"pretrain": {"data": "digitz", "epochs": 1}}, "no data set and no folder 'digitz'"),
        ({"pretrain": {"data": "digits", "epochs": 1}, "models": []}, "trains its own source networks; give --model"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_found_before_anything_is_written(
    small: Study, values: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(WdivError) as caught:
        run_grid(override(small, values), tmp_path / "out", device="cpu")
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_axes_grow_when_a_study_is_run_again(trained: Path, small: Study, capsys: pytest.CaptureFixture[str]) -> None:
    wish = override(small, {"strategies": ["fc"], "seeds": [0, 1], "metrics": ["cosine_distance"], "title": "again"})
    stamps = {file: file.stat().st_mtime_ns for file in (trained / "runs").rglob("*.safetensors")}
    run_grid(wish, trained, device="cpu", progress=Bars())
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\[1/2\] mobilenet.*-fc-auto-s0: was finished before", first)
    assert re.fullmatch(r"\[2/2\] .*-s1: epoch 2/2, loss [\d.]+, test [\d.]+ % \([\d.]+ to [\d.]+\), [\d.]+ s", second)
    study = json.loads((trained / "study.json").read_text())
    assert study["study"]["strategies"] == ["fc", "bn+fc"]
    assert study["study"]["seeds"] == [0, 1]
    assert len(study["runs"]) == 3
    assert [state.state for state in states(trained)] == ["finished"] * 3
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in stamps.items()), "what is finished is left alone"


def test_the_study_says_of_its_runs_what_they_will_say_themselves(trained: Path) -> None:
    study = json.loads((trained / "study.json").read_text())
    told = {run: json.loads((trained / "runs" / run / "run.json").read_text()) for run in study["runs"]}
    assert study["facts"] == {run: {name: told[run][name] for name in study["facts"][run]} for run in study["runs"]}
    assert [(facts["strategy"], facts["per_class"]) for facts in study["facts"].values()] == [("fc", 3), ("bn+fc", 3)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch_size": 4}, "batch_size 8, now 4"),
        ({"image_size": 40}, "image_size 32, now 40"),
        ({"test_count": 6}, "test_count 5, now 6"),
        ({"data": "digits"}, "data 'digits-5-9', now 'digits'"),
        ({"optimizer": "sgd", "momentum": 0.9}, "optimizer 'adam', now 'sgd', momentum 0.0, now 0.9"),
    ],
    ids=str,
)
def test_another_recipe_in_the_same_folder_is_refused(
    trained: Path, small: Study, values: dict[str, Any], words: str
) -> None:
    before = (trained / "study.json").read_bytes()
    with pytest.raises(BadInput) as caught:
        run_grid(override(small, values), trained, device="cpu")
    assert words in str(caught.value)
    assert "give another --out" in str(caught.value)
    assert (trained / "study.json").read_bytes() == before
    assert len(states(trained)) == 2


def test_a_run_that_diverges_is_noted_and_the_others_go_on(small: Study, tmp_path: Path) -> None:
    study = override(small, {"strategies": ["fc=1e38", "fc"], "optimizer": "sgd"})
    out, diverged = run_grid(study, tmp_path / "out", device="cpu")
    (failure,) = diverged
    assert "fc=1e38" in failure.run
    assert "lower the rate" in str(failure.error)
    found = {"fc=1e38" in state.run: state.state for state in states(out)}
    assert found == {True: "diverged", False: "finished"}
    table, files = finish(out, study.metrics, study.reference)
    assert set(table["strategy"]) == {"fc"}, "what it came to before the loss was no number says nothing"
    assert all(file.exists() for file in files)


def test_a_source_network_that_diverges_is_not_started_from(
    small: Study, folder: Callable[..., Path], tmp_path: Path
) -> None:
    data = str(folder(a=8, b=8, c=8))
    study = replace(small, pretrain=Pretrain(data, epochs=2, rate=1e30), per_class=(2,), epochs=1)
    with pytest.raises(WdivError, match=r"the source network: .*the loss is nan"):
        run_grid(study, tmp_path / "out", device="cpu")
    assert not list((tmp_path / "out").glob("runs/*"))


def test_what_is_finished_is_left_out_of_a_plan(trained: Path, small: Study) -> None:
    plan_ = plan_grid(override(small, {"seeds": [0, 1]}))
    found = describe_grid(plan_, trained, "cpu")
    assert found["finished"] == 2
    assert [row["run"] for row in found["runs"]] == [p.id for p in plan_.runs if p.id.endswith("-s1")]
    with pytest.raises(BadInput, match="holds this study with"):
        describe_grid(plan_grid(override(small, {"batch_size": 5})), trained, "cpu")


def test_a_source_network_is_trained_first_and_every_run_starts_from_it(
    small: Study, folder: Callable[..., Path], tmp_path: Path
) -> None:
    data = str(folder(a=8, b=8, c=8))
    study = replace(small, pretrain=Pretrain(data, epochs=1), per_class=(2,), epochs=1)
    out, _ = run_grid(study, tmp_path / "out", device="cpu")
    (source,) = CheckpointStore.open(out / "source")
    assert source.record.strategy == "scratch"
    assert (source.record.n_train, source.record.n_test) == (18, 6)
    learned = source.state_dict(1)
    for one in CheckpointStore.open(out):
        assert one.record.source == f"{data} ({MOBILENET})"
        start = one.state_dict(0)
        head = {"classifier.1.weight", "classifier.1.bias"}
        assert {key for key in start if start[key].tobytes() != learned[key].tobytes()} <= head
        assert one.has_pretrained("features.0.0.weight")
        assert not one.has_pretrained("classifier.1.weight")
    stamps = {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")}
    run_grid(study, out, device="cpu")
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*.safetensors")} == stamps


def test_notes_say_what_was_left_out_and_what_stands_on_both_sides(
    small: Study, folder: Callable[..., Path], tmp_path: Path
) -> None:
    root = folder(a=6, b=6)
    (root / "a" / "bad.png").write_bytes(b"")
    for name in ("2.png", "3.png", "4.png", "5.png"):
        (root / "a" / name).write_bytes((root / "a" / "0.png").read_bytes())
    grid = plan_grid(override(small, {"data": str(root), "test_count": 2, "skip_bad_images": True}))
    assert len(grid.notes) == 2
    assert grid.notes[0] == "images: 1 images left out: a/bad.png: empty file"
    assert "test images are, pixel for pixel, also training images" in grid.notes[1]


def test_states_of_a_store(trained: Path) -> None:
    (first, second) = sorted((trained / "runs").iterdir())
    study = read_sealed(trained / "study.json")
    study["runs"].append("one-more")
    write_sealed(trained / "study.json", study)
    lines = (first / "history.jsonl").read_text().splitlines(keepends=True)
    (first / "history.jsonl").write_text("".join(lines[:2]))
    found = {state.run: state for state in states(trained)}
    assert list(found) == study["runs"]
    assert {name: state.state for name, state in found.items()} == {
        first.name: "stopped", second.name: "finished", "one-more": "waiting",
    }  # fmt: skip
    assert (found[first.name].epoch, found[first.name].of) == (1, 2)
    rows = [json.loads(line) for line in (second / "history.jsonl").read_text().splitlines()]
    assert found[second.name].last == rows[-1]["test_accuracy"]
    assert found[second.name].best == max(row["test_accuracy"] for row in rows)
    from filelock import FileLock

    with FileLock(first / ".lock"):
        assert {state.run: state.state for state in states(trained)}[first.name] == "running"


def test_one_source_serves_all_runs_of_its_model(small: Study) -> None:
    specs = list(planning._specs(override(small, {"seeds": [0, 1, 2]})))
    assert len({id(spec.source) for spec in specs}) == 1


def test_a_folder_is_the_same_from_elsewhere() -> None:
    """Paths are told by their last part; what lies there is checked by each run."""
    assert study_file._told("data", "../photos/") == study_file._told("data", "photos")
    assert study_file._told("weights", "a/card.toml") == study_file._told("weights", "card.toml")
    assert study_file._told("data", "digits") != study_file._told("data", "digits-5-9")
    assert study_file._told("epochs", 3) != study_file._told("epochs", 4)
