"""output_change from the run to the report: of the study's own images, kept, and its proxy where they are gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image
from safetensors.numpy import save_file

import wdiv as library
from studies.grid.runner import run_grid
from studies.report.finish import conclude
from studies.report.observations import layer_distances, observe
from studies.report.report import gather
from studies.spec.registry import load
from tests.studies.cli.test_cli import wdiv
from tests.tuning.tiny import MOBILENET
from wdiv.errors import BadInput, NoOutputs
from wdiv.outputs import Images, starts
from wdiv.store.reader import CheckpointStore

TOML = """
models = ["{model}"]
weights = "{weights}"
data = "images"
per_class = [3]
strategies = ["fc", "conv+bn+fc", "scratch"]
epochs = 1
batch_size = 6
image_size = 32
test_count = 2
metrics = ["output_change", "relative_l2"]

[[claims]]
name = "tuning-moves-more"
text = "What is tuned moves more."
left = {{ strategy = "conv+bn+fc" }}
right = {{ strategy = "fc" }}
of = {{ measure = "output_change", against = "start", layers = "bn:affine", part = "all" }}
direction = "more"
"""


@pytest.fixture(scope="module")
def _made(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("yardstick")
    for label, name in enumerate("ab"):
        (home / "images" / name).mkdir(parents=True)
        for i in range(6):
            _picture(home / "images" / name / f"{i}.png", [label, i])
    (home / "study.toml").write_text(TOML.format(model=MOBILENET, weights=weights))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        run_grid(load("study.toml"), home / "runs", device="cpu")
    return home


def _picture(file: Path, seed: list[int]) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)


@pytest.fixture
def home(_made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images, a study and its store; nothing captured yet in this process."""
    monkeypatch.setattr(starts, "_kept", {})
    monkeypatch.setattr(starts, "_samples", {})
    return Path(shutil.copytree(_made, tmp_path / "home"))


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    made: list[int] = []
    real = starts.capture
    monkeypatch.setattr(starts, "capture", lambda *given: made.append(1) or real(*given))
    return made


def test_it_is_measured_on_the_study_s_own_images_once(home: Path, captures: list[int]) -> None:
    out = home / "runs"
    first = library.measured(out, ["output_change", "relative_l2"], 0)
    assert len(captures) == 2, "the source's start, and that from scratch"
    assert first.attrs["images"] == "8 of images"
    xr.testing.assert_identical(library.output_change(out, reference=0)["bn/output_change"],
                                first["bn/output_change"].sel(role=["affine", "statistics"]))  # fmt: skip
    shutil.rmtree(home / "images")
    starts._kept.clear()
    again = library.measured(out, ["output_change", "relative_l2"], 0)
    assert len(captures) == 2
    for kind, node in first.children.items():
        xr.testing.assert_identical(again[kind].to_dataset(), node.to_dataset())
    assert again.attrs == first.attrs


def test_the_headline_table_and_the_heatmap_show_it(home: Path) -> None:
    table, files = conclude(load(str(home / "study.toml")), home / "runs")
    assert table.attrs["metric"] == "output_change"
    assert table.attrs["notes"] == []
    moved = table.set_index("strategy")
    assert moved.loc["conv+bn+fc", ["conv", "affine"]].gt(0).all()
    assert moved.loc["fc", ["conv", "affine"]].eq(0).all()
    assert "gamma" not in table
    assert {"outputs.nc", "measures.nc", "heatmap.png"} <= {file.name for file in files}


def test_without_images_the_proxy_stands_in_and_says_so(home: Path) -> None:
    shutil.rmtree(home / "images")
    study, out = load(str(home / "study.toml")), home / "runs"
    table, _ = conclude(study, out)
    assert table.attrs["metric"] == "output_change_proxy"
    (note,) = table.attrs["notes"]
    assert note.startswith("output_change_proxy stands in for output_change: ")
    assert "its images cannot be opened (no data set and no folder 'images')" in note
    assert "\n" not in note
    report = gather(out)
    assert [line for line in report.notes if "output_change_proxy stands in" in line]
    assert set(report.observations["measure"]) >= {"output_change_proxy", "accuracy"}
    assert "output_change" not in set(report.observations["measure"])
    assert report.verdicts[0].claim.of["measure"] == "output_change_proxy"
    with pytest.raises(NoOutputs, match="its images cannot be opened"):
        library.output_change(out)


def test_what_the_store_s_own_network_cannot_do_fails_no_report(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: object) -> None:
        raise BadInput("the network cannot take images")

    monkeypatch.setattr(starts, "capture", refuse)
    table, _ = conclude(load(str(home / "study.toml")), home / "runs")
    assert "cannot take images; output_change_proxy needs neither" in table.attrs["notes"][0]
    with pytest.raises(BadInput, match=r"cannot take images$"):
        library.output_change(home / "runs", str(home / "images"))


def test_other_images_by_the_same_name_are_not_taken(home: Path) -> None:
    _picture(home / "images" / "a" / "0.png", [9])
    with pytest.raises(NoOutputs, match="are not those that it was trained on"):
        library.measured(home / "runs", "output_change")


def test_other_images_may_be_asked_for(home: Path, captures: list[int]) -> None:
    out, data = home / "runs", home / "images"
    own = library.measured(out, "output_change", 0)
    few = library.measured(out, "output_change", 0, images=Images(str(data), 4))
    assert few.attrs["images"] == "4 of images"
    assert not few["conv"].equals(own["conv"])
    before = len(captures)
    library.measured(out, "output_change", 0, images=Images(str(data), 4))
    assert len(captures) == before


def test_a_damaged_file_of_results_is_made_anew(home: Path) -> None:
    out = home / "runs"
    first = library.measured(out, "output_change", 0)
    (out / "outputs.nc").write_bytes(b"nothing of ours")
    again = library.measured(out, "output_change", 0)
    xr.testing.assert_identical(again["bn"].to_dataset(), first["bn"].to_dataset())


def test_observations_are_those_of_the_tree(home: Path) -> None:
    out = home / "runs"
    tree = library.measured(out, "output_change", 0)
    distances = layer_distances({"": out}, ["output_change"])
    assert set(distances["layers"]) == {"conv:weight", "bn:affine", "bn:statistics", "fc:weight"}
    assert set(distances["against"]) == {"start"}
    for name in ("affine", "statistics"):
        rows = distances[distances["layers"].eq(f"bn:{name}")]
        for run, mine in rows.groupby("run"):
            wanted = tree["bn/output_change"].sel(run=run, role=name).isel(epoch=-1).values
            np.testing.assert_array_equal(mine["value"].to_numpy(), wanted)
    means = observe({"": out}, ["output_change"], distances=distances)
    whole = means[means["layers"].eq("bn:affine") & means["part"].eq("all")].set_index("strategy")["value"]
    assert whole["fc"] == 0.0 < whole["conv+bn+fc"]


def test_the_command_measures_it_beside_other_metrics(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    text = wdiv("measure", "runs", "-m", "output_change", "-m", "relative_l2").stdout
    assert "output change" in text
    assert {"affine", "statistics", "gamma", "running_var"} <= set(text.split())
    few = wdiv("measure", "runs", "-m", "output_change", "--images", 4, "--reduction", "stage", "-o", "s.nc").stdout
    assert "all weights of a stage as one tensor" in few
    assert wdiv("plot", "runs", "heatmap", "-o", "h.png").stdout == "wrote h.png\n"
    shutil.rmtree("images")
    (home / "runs" / "outputs.nc").unlink()
    starts._kept.clear()
    starts._samples.clear()
    said = wdiv("plot", "runs", "heatmap", "-o", "h.png").stdout
    assert said.startswith("note: output_change_proxy stands in for output_change")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["measure", "-m", "output_change", "--images", 0], "images: a whole number from 1"),
        (["measure", "-m", "relative_l2", "--data", "digits"], "--data: only output_change is measured on images"),
        (["measure", "--images", 8], "--images: only output_change is measured on images"),
        (["measure", "-m", "output_change", "--data", "nowhere"], "no data set and no folder 'nowhere'"),
        (["measure", "-m", "output_change", "--image-size", 3], "image size: a whole number of pixels, at least 8"),
        (["measure", "-m", "output_change", "--data", "digits-5-9", "--model", "resnt18"], "unknown model 'resnt18'"),
        (["measure", "-m", "output_change"], "does not say where its images are"),
        (["plot", "heatmap", "-o", "x.png", "-m", "l2", "--data", "digits"], "--data: only output_change"),
        (["diff", "-m", "output_change"], "metric 'output_change' needs images beside weights"),
    ],
)
def test_a_wrong_argument_is_one_line(store: Path, words: list[str], line: str) -> None:
    command, *rest = words
    places = [store / "bases", store / "bases"] if command == "diff" else [store]
    done = wdiv(command, *places, *rest, code=2)
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_of_an_imported_run_it_takes_the_images_and_the_network_that_are_named(
    home: Path, weights: Path, tmp_path: Path
) -> None:
    own = CheckpointStore.open(home / "runs")["-".join([MOBILENET.replace(":", "-"), "images-n3-conv+bn+fc-auto-s0"])]
    for epoch in (0, 1):
        save_file(own.state_dict(epoch), tmp_path / f"e_{epoch}.safetensors")
    library.import_run(tmp_path, "e_{epoch}.safetensors", base=weights, out=tmp_path / "theirs", label="theirs")
    how = ("--data", home / "images", "--model", MOBILENET, "--image-size", 32)
    text = wdiv("measure", tmp_path / "theirs", "-m", "output_change", *how).stdout
    assert "affine" in text
    refused = wdiv("measure", tmp_path / "theirs", "-m", "output_change", *how[:2], code=2).stderr
    assert "output_change_proxy needs no network" in refused


def test_a_store_without_a_study_does_not_say_which_images(store: Path) -> None:
    (store / "study.json").unlink()
    with pytest.raises(NoOutputs, match="does not say where its images are"):
        library.output_change(store, model=MOBILENET)
