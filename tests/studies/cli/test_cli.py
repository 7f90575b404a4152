"""The ``wdiv`` command, as its users meet it: what it prints, what it writes, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import load_file

from studies.cli import cli
from studies.cli.catalogue import CATALOGUE
from studies.spec.registry import load
from tests.conftest import ROOT
from tests.tuning.tiny import MOBILENET, mobilenet_toy, write_weights
from wdiv.metrics import FAMILIES, METRICS
from wdiv.tuning.networks.heads import HEADS
from wdiv.tuning.strategy.strategies import BN_MODES
from wdiv.tuning.training.losses import LOSSES
from wdiv.tuning.training.precision import PRECISIONS
from wdiv.tuning.training.recipe import OPTIMIZERS
from wdiv.tuning.training.schedules import SCHEDULES

MAIN = [sys.executable, "-c", "from studies.cli import main; main()"]
COMMANDS = {
    "run", "init", "report", "best", "predict", "evaluate", "errors",
    "advise", "svm", "lr-find", "status", "watch", "measure", "noise", "diff", "cka", "plot", "list", "show",
    "verify", "export", "import", "features", "du", "prune",
}  # fmt: skip


def wdiv(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def strictly(text: str) -> Any:
    """JSON as every parser takes it: no NaN, no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def runs_of(store: Path) -> tuple[Path, Path]:
    """(bn+fc, fc)"""
    first, second = sorted((store / "runs").iterdir())
    return first, second


# --- help ----------------------------------------------------------------------------------------------------------


def test_the_commands_are_these() -> None:
    assert set(cli.commands) == COMMANDS


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name: str) -> None:
    command = cli.commands[name]
    text = wdiv(name, "--help").stdout
    assert command.help
    assert command.help.splitlines()[0] in " ".join(text.split())
    assert command.help.splitlines()[0][0].isupper()
    for parameter in command.params:
        assert all(option in text for option in parameter.opts if option.startswith("-"))
    assert wdiv(name, "-h").stdout == text
    assert name in wdiv("--help").stdout


OPTIONS = {
    "--bn-mode": BN_MODES, "--head": HEADS, "--optimizer": OPTIMIZERS, "--schedule": SCHEDULES,
    "--loss": LOSSES, "--precision": PRECISIONS,
}  # fmt: skip


@pytest.mark.parametrize("command", ["run", "lr-find"])
def test_an_option_that_takes_a_name_says_which(command: str) -> None:
    """By hand, as registries are not imported for help."""
    helps = {option: getattr(p, "help", "") for p in cli.commands[command].params for option in p.opts}
    for option, registry in OPTIONS.items():
        if option in helps:
            assert all(name in helps[option] for name in registry), option


def test_a_list_of_lists() -> None:
    text = wdiv("list").stdout
    for what, shelf in CATALOGUE.items():
        assert what in text
        assert all(name in text for name in shelf.registry)
    assert [row["what"] for row in strictly(wdiv("list", "--json").stdout)] == list(CATALOGUE)


# --- what is wrong is said in one line -----------------------------------------------------------------------------


class Evil:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.witness}",)


@pytest.fixture(scope="module")
def bad(_trained: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Names for the command lines below. Nothing of this may be changed by a command that fails."""
    root = tmp_path_factory.mktemp("bad")
    for label, name in enumerate("ab"):
        (root / "two" / name).mkdir(parents=True)
        for i in range(3):
            pixels = np.random.default_rng([label, i]).integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "two" / name / f"{i}.png")
    (root / "one" / "a").mkdir(parents=True)
    (root / "spoiled" / "a").mkdir(parents=True)
    (root / "spoiled" / "b").mkdir()
    (root / "spoiled" / "a" / "x.png").write_bytes(b"")
    (root / "empty").mkdir()
    (root / "file").write_text("a file")
    (root / "two.zarr").mkdir()
    (root / "evil.pth").write_bytes(pickle.dumps({"conv1.weight": Evil(root / "witness")}, protocol=2))
    save_file({"conv1.weight": np.ones((4, 3, 3, 3), np.float32)}, root / "whole.safetensors")
    (root / "cut.safetensors").write_bytes((root / "whole.safetensors").read_bytes()[:60])
    write_weights(root / "squeezenet.pth", "squeezenet1_1")
    xr.Dataset({"x": ("y", [1.0])}).to_netcdf(root / "other.nc")
    template = (_trained.parent / "small.toml").read_text()
    (root / "small.toml").write_text(template)
    (root / "momentum.toml").write_text(template + "momentum = 2\n")
    (root / "unknown.toml").write_text(template + "epoch = 2\n")
    (root / "reference.toml").write_text(template + 'reference = "previos"\n')
    (root / "late.toml").write_text(template + "reference = 3\n")
    (root / "features.toml").write_text(template.replace('"gaussian_kl"', '"linear_cka"'))
    return {
        "root": str(root), "toml": str(root / "small.toml"), "store": str(_trained), "weights": str(weights),
        "run": str(runs_of(_trained)[0]), "out": str(root / "out"),
    }  # fmt: skip


RUN_ERRORS = [
    ("quickstrat", "unknown study 'quickstrat'; did you mean 'quickstart'?"),
    ("{root}/gone.toml", "gone.toml: no such study file"),
    ("{root}/unknown.toml", "unknown key 'epoch'; did you mean 'epochs'?"),
    ("{root}/momentum.toml", "momentum: a number from 0 to 1, not 2"),
    ("gupta2020", "brings no images; give --data FOLDER"),
    ("{toml} --data {root}/gone", "gone: no such folder of images"),
    ("{toml} --data digitz", "no data set and no folder 'digitz'; did you mean 'digits'"),
    ("{toml} --data {root}/file", "file: not a folder"),
    ("{toml} --data {root}/one", "needs a folder for each of at least two classes; found only 'a'"),
    ("{toml} --data {root}/empty", "needs a folder for each of at least two classes; found none"),
    ("{toml} --data {root}/spoiled", "1 of 1 images cannot be read (a/x.png: empty file)"),
    ("{toml} --data {root}/spoiled --skip-bad-images", "class 'a' has no readable image"),
    ("{toml} --data {root}/two", "class 'a' has 3 images; setting 5 aside for the test leaves none to train on"),
    ("{toml} --data {root}/two --test-count 1", "3 training images of each class asked for, but class 'a' has 2"),
    ("{toml} --per-class 900", "900 training images of each class asked for"),
    ("{toml} --per-class 0", "'0' is neither a whole number from 1 nor 'all'"),
    ("{toml} --per-class ten", "'ten' is neither a whole number from 1 nor 'all'"),
    ("{toml} --per-class ²", "'²' is neither a whole number from 1 nor 'all'"),
    ("{toml} --test-count 0", "test count: at least 1 image of each class, not 0"),
    ("{toml} --test-fraction 1.5", "test fraction: between 0 and 1, not 1.5"),
    ("{toml} --test-fraction 0.5 --test-count 5", "give a test count or a test fraction, not both"),
    ("{toml} --strategy bm+fc", "unknown strategy 'bm+fc': 'bm' is no kind of layer; did you mean 'bn+fc'"),
    ("{toml} --strategy fc=fast", "a rate is a positive number, not 'fast'"),
    ("{toml} --strategy bn@stage9+fc", "has no bn layer in stage9; its stages: stem, stage1"),
    ("{toml} --model resnet19", "unknown model 'resnet19'; did you mean 'resnet18'"),
    ("{toml} --model mobilenet_v2:width=1", "model 'mobilenet_v2:width=1'"),
    ("{toml} --model resnet18", "made.pth: not weights for resnet18: 100 tensors missing (conv1.weight)"),
    ("{toml} --model vit_b_16 --weights random", "vit_b_16: Wrong image height! Expected 224 but got 32!"),
    ("{toml} --model vgg16 --weights random --strategy bn+fc", "vgg16 has no bn layer; its stages: stage1"),
    ("{toml} --bn-mode frozn", "unknown BN mode 'frozn'; did you mean 'frozen'"),
    ("{toml} --device gpu", "device: auto, cpu or cuda, not 'gpu'"),
    ("{toml} --optimizer adm", "unknown optimizer 'adm'; did you mean 'adam'"),
    ("{toml} --epochs 0", "epochs: a whole number, at least 1, not 0"),
    ("{toml} --epochs two", "'two' is not a valid integer"),
    ("{toml} --batch-size -1", "batch size: a whole number, at least 1, not -1"),
    ("{toml} --batch-size 1", "batch statistics need batches of at least 2 images"),
    ("{toml} --seed -1", "-1 is not in the range x>=0"),
    ("{toml} --image-size 4", "image size: a whole number of pixels, at least 8, not 4"),
    ("{toml} --weights {root}/gone.pth", "gone.pth: no such file"),
    ("{toml} --weights {root}/gone.toml", "gone.toml: no such source card"),
    ("{toml} --weights {root}/squeezenet.pth", "squeezenet.pth: not weights for mobilenet_toy:width_mult=0.1"),
    ("{toml} --weights {root}/evil.pth", "evil.pth: holds more than tensors"),
    ("{toml} --weights {root}/cut.safetensors", "cut.safetensors: not a readable safetensors file"),
    ("{toml} --weights {root}/file", "file: not a checkpoint file"),
    (
        "{toml} --model mobilenet_v2 --weights IMAGENET1K_V9",
        "unknown weights 'IMAGENET1K_V9' for mobilenet_v2, and no such file",
    ),
    ("{toml} --weights {run}@99", "epoch 99 is not saved; saved: 0 to 2"),
    ("{toml} --weights {run} --model resnet18", "are for mobilenet_toy:width_mult=0.1, and cannot start a resnet18"),
    ("{toml} --nonsense", "No such option"),
    ("{root}/reference.toml", "reference 'previos': an epoch number, or did you mean 'previous'"),
    ("{root}/late.toml", "reference 3: an epoch from 0 to 2"),
    ("{root}/features.toml", "metric 'linear_cka' compares features on images, not weights"),
]
OTHER_ERRORS = [
    ("runn", "No such command 'runn'"),
    ("run", "Missing argument"),
    ("run {toml} --out {root}/file", "file"),
    ("run {toml} --out {root}/file/below", "file"),
    *((f"{command} {{root}}/gone{rest}", "gone: no such f") for command, rest in (
        ("status", ""), ("measure", ""), ("verify", ""), ("plot", " heatmap -o {out}.png"))),
    ("status {root}/empty", "not a wdiv store; it has neither study.json nor runs"),
    *((f"{command} {{root}}/empty{rest}", "no runs in it; a wdiv store has") for command, rest in (
        ("measure", ""), ("verify", ""), ("plot", " heatmap -o {out}.png"))),
    ("measure {store} -m gausian_kl", "unknown metric 'gausian_kl'; did you mean 'gaussian_kl'"),
    ("measure {store} --reference 9", "reference epoch 9 is not saved; saved: 0 to 2"),
    ("measure {store} --reference pretraind", "reference 'pretraind': an epoch number, or did you mean 'pretrained'"),
    ("measure {store} --group resnet18", "no architecture 'resnet18'"),
    ("measure {store} --epoch 9", "epoch '9': 'last', or one of those measured, 0 to 2"),
    ("measure {store} --epoch first", "epoch 'first': 'last', or one of those measured"),
    ("measure {store} -o {out}.csv", "out.csv: the name must end in .nc or .zarr"),
    ("measure {store} -o {root}/file/x.nc", "file"),
    ("plot {store} heatmop -o {out}.png", "unknown figure 'heatmop'; did you mean 'heatmap'"),
    ("plot {store} heatmap -o {out}.jpg", "out.jpg: the file's name must end in .png, .pdf, .svg"),
    ("plot {store} heatmap -o {out}.png -m gausian_kl", "unknown metric 'gausian_kl'; did you mean 'gaussian_kl'"),
    ("plot {store} heatmap -o {out}.png --role bn:gama", "no panel 'bn:gama'; did you mean 'bn:gamma'"),
    ("plot {store} heatmap -o {out}.png --epoch 9", "epoch '9': 'last', or one of those measured"),
    ("plot {store} heatmap -o {out}.png --group resnet18", "no architecture 'resnet18'"),
    ("plot {root}/file heatmap -o {out}.png", "file: not a netCDF file"),
    ("plot {root}/other.nc heatmap -o {out}.png", "other.nc: not a file of measures; 'wdiv measure DIR -o FILE.nc'"),
    ("plot {store} heatmap", "Missing option"),
    ("plot {store} epochs -o {out}.png", "figure 'epochs' shows one run: give --run, one of mobilenet_toy"),
    ("plot {store} epochs -o {out}.png --run nobody", "no run 'nobody'"),
    ("plot {store} heatmap -o {out}.png -m linear_cka", "linear_cka"),
    ("measure {store} -m linear_cka", "metric 'linear_cka' compares features on images, not weights; see 'wdiv cka'"),
    ("measure {store} --reduction layers", "reduction 'layers': one of layer, filter, stage"),
    ("measure {store} --reduction filter", "gives a value for each filter: say where to, with -o FILE.nc"),
    ("measure {store} --reduction stage -m straightnes", "unknown metric 'straightnes'"),
    ("measure {store} --reduction filter -m spectral -o {out}.nc", "has no value for one filter; only for a"),
    ("measure {store} -o {root}/two.zarr/", "two.zarr: is there and is no zarr group; it is left alone"),
    ("diff {weights} {weights} -m trajectory", "follows the epochs of a run; it does not compare two sets of weights"),
    ("noise {root}/gone", "gone: no such f"),
    ("noise {root}/empty", "no runs in it"),
    ("noise {store}", "no two runs differ in the seed alone, so there is no noise floor"),
    ("noise {store} -m relative_l1", "unknown metric 'relative_l1'; did you mean 'relative_l2'"),
    ("noise {store} -m relative_l2", "metric 'relative_l2' is no length"),
    ("noise {store} -m gaussian_kl", "for the noise floor take 'l2'"),
    ("noise {store} -o {out}.txt", "out.txt: the file's name must end in .csv"),
    ("noise {store} -q 2", "2.0 is not in the range 0<=x<=1"),
    ("noise {store} --reference 9", "reference '9': movement is counted from a start that seeds share"),
    ("diff {root}/gone.pth {weights}", "gone.pth: no such file"),
    ("diff {weights} {root}/file", "file: not a checkpoint file"),
    ("diff {weights} {root}/evil.pth", "evil.pth: holds more than tensors"),
    ("diff {root}/cut.safetensors {weights}", "cut.safetensors: not a readable safetensors file"),
    ("diff {weights} {weights} -m gausian_kl", "unknown metric 'gausian_kl'; did you mean 'gaussian_kl'"),
    ("diff {weights} {weights} --rename features", "rename rule 'features'"),
    ("diff {weights} {weights} -o {out}.txt", "out.txt: the name must end in .nc or .zarr"),
    ("diff {run}@7 {run}", "epoch 7 is not saved; saved: 0 to 2"),
    ("diff {run}@first {run}", "epoch 'first': give a number, 'last' or 'best'"),
    ("diff {weights}", "Missing argument"),
    ("export {root}/gone last -o {out}.safetensors", "gone: neither a run of a wdiv store"),
    ("export {store} 9 -o {out}.safetensors", "epoch 9 is not saved; saved: 0 to 2"),
    ("export {run} --average seeds -o {out}.pt2", "every seed drew a head of its own"),
    ("export {run} --average last5 -o {out}.pt2", "up to epoch 2 there are no more than 2 to average"),
    ("export {run} --pixels -o {out}.safetensors", "out.safetensors: holds weights alone"),
    ("best {root}/gone", "gone: no such folder"),
    ("best {store} --dataset digit", "no run of data set 'digit'; did you mean 'digits-5-9'"),
    ("predict {root}/gone {root}", "gone: neither a run of a wdiv store"),
    ("predict {store} {root}/gone.png", "gone.png: no such file or folder of images"),
    ("predict {store} {root}/empty", "empty: no images there"),
    ("predict {store} {root}/file", "none of 1 images can be read"),
    ("predict {store} {root} -o {out}.txt", "out.txt: the file's name must end in .csv"),
    ("predict {store} {root}/file --average seeds", "there is no finished run that differs from it in its seed alone"),
    ("predict {store} {root}/file --average five", "average 'five': lastN, such as last5"),
    ("predict {store}", "Missing argument"),
    ("evaluate {store} digit", "no data set and no folder 'digit'; did you mean"),
    ("evaluate {store} digits --part test", "digits: has no split of its own"),
    ("evaluate {store} digits --part dev", "part: one of all, train, test, not 'dev'"),
    ("evaluate {store} digits-0-4", "digits-0-4: no images of the network's classes ('5', '6', '7', '8', '9')"),
    ("errors {store} -o {out}.txt", "out.txt: the file's name must end in .png, .pdf, .svg"),
    ("errors {store} --data {root}/empty -o {out}.png", "its images cannot be opened"),
    ("export {run} 9 -o {out}.safetensors", "epoch 9 is not saved; saved: 0 to 2"),
    ("export {run} newest -o {out}.safetensors", "epoch 'newest': give a number, 'last' or 'best'"),
    ("export {run} last -o {out}.pth", "out.pth: the file's name must end in .safetensors"),
    ("export {run} last", "Missing option"),
    ("list model", "nothing to list under 'model'; did you mean 'models'"),
    ("show resnet19", "nothing is named 'resnet19'; did you mean 'resnet18'"),
    ("show fc --model resnet19", "unknown model 'resnet19'"),
    ("show bn+fc --model vgg16", "vgg16 has no bn layer"),
    ("show bm+fc", "unknown strategy 'bm+fc'"),
    ("report {root}/gone", "gone: not the folder of a study; it has no study.json"),
    ("report {root}/empty", "empty: not the folder of a study; it has no study.json"),
    ("init {root}/small.toml", "small.toml: is there already; --force writes over it"),
    ("init {out}.tml", "out.tml: the file's name must end in .toml"),
    ("init {out}.toml --study quickstrat", "unknown study 'quickstrat'; did you mean 'quickstart'"),
    ("run {toml} --scale mini", "study 'small' has no mini scale; give it a table [mini]"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "words"),
    [*((f"run --out {{out}} {line}", words) for line, words in RUN_ERRORS), *OTHER_ERRORS],
    ids=lambda value: value[:60],
)
def test_what_is_wrong_is_said_in_one_line(
    line: str, words: str, bad: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = wdiv(*(part.format(**bad) for part in line.split()), code=2)
    errors = [text for text in result.stderr.splitlines() if text.startswith("Error:")]
    assert len(errors) == 1, result.stderr
    assert words in errors[0]
    assert result.stdout == ""
    usage = [text for text in result.stderr.splitlines() if text and not text.startswith("Error:")]
    assert all(text.startswith(("Usage: ", "Try '")) for text in usage), result.stderr
    root = Path(bad["root"])
    assert not list(root.glob("out*")), "nothing is written"
    assert not (root / "witness").exists(), "no code of a checkpoint is run"
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_the_real_command_has_exit_code_2_and_no_traceback(bad: dict[str, str]) -> None:
    done = subprocess.run([*MAIN, "status", bad["root"] + "/empty"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"Error: .*not a wdiv store.*\n", done.stderr)


def test_a_metric_that_a_file_does_not_hold(trained: Path, tmp_path: Path) -> None:
    wdiv("measure", trained, "-m", "relative_l2", "-o", tmp_path / "m.nc")
    result = wdiv("plot", tmp_path / "m.nc", "profile", "-m", "gaussian_kl", "-o", tmp_path / "x.png", code=2)
    assert "metric 'gaussian_kl' was not measured" in result.stderr


# --- end to end ----------------------------------------------------------------------------------------------------


def is_picture(file: Path) -> bool:
    """A readable image that is not one flat colour."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("L"))
    return min(pixels.shape) > 200 and len(np.unique(pixels)) > 20


def test_steps_or_passes(toml: Path, tmp_path: Path) -> None:
    said = wdiv("run", toml, "--steps", 3, "--epochs", 2, code=2).stderr
    assert "3 steps do not divide into 2 epochs, which are the checkpoints of a run; give 2 or 4 steps" in said
    for one in ("--steps", "--steps-per-epoch"):
        assert f"--passes or {one}, not both" in wdiv("run", toml, one, 2, "--passes", code=2).stderr
    text = toml.read_text()
    toml.write_text("steps = 6\n" + text)
    how = ("run", toml, "--epochs", 2, "--dry-run", "--json", "--out", tmp_path / "out")
    plan, passes = (strictly(wdiv(*how, *more).stdout) for more in ((), ("--passes",)))
    runs = len(plan["runs"])
    assert (plan["steps"], plan["epochs"], passes["epochs"]) == (6 * runs, 2, 2)
    assert passes["steps"] != plan["steps"]


def test_from_a_study_to_figures_and_files(toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    plan = strictly(wdiv("run", toml, "--dry-run", "--json").stdout)
    assert plan["out"] == "runs/small"
    assert list(work.iterdir()) == [], "a dry run writes nothing"
    assert "2 runs, 8 steps" in wdiv("run", toml, "--dry-run").stdout

    said = wdiv("run", toml).stdout
    assert re.search(r"\[1/2\] mobilenet.*-fc-auto-s0: epoch 2/2, loss [\d.]+, test [\d.]+ %", said)
    store = work / "runs" / "small"
    for name in ("measures.nc", "heatmap.png", "results.csv", "results.nc"):
        assert (store / name).exists()
        assert f"wrote runs/small/{name}" in said
    assert is_picture(store / "heatmap.png")
    assert {row["run"] for row in plan["runs"]} == {path.name for path in (store / "runs").iterdir()}

    stamps = {file: file.stat().st_mtime_ns for file in (store / "runs").rglob("*") if file.name != ".lock"}
    monkeypatch.chdir(tmp_path)  # from another folder, and a second time
    again = strictly(wdiv("run", toml.name, "--out", "work/runs/small", "--json").stdout)
    assert {file: file.stat().st_mtime_ns for file in (store / "runs").rglob("*") if file.name != ".lock"} == stamps
    assert again["out"] == "work/runs/small"
    assert [row["strategy"] for row in again["outcomes"]] == ["fc", "bn+fc"]
    assert again["outcomes"][0]["conv"] == again["outcomes"][0]["gamma"] == 0
    assert again["outcomes"][1]["gamma"] > 0
    assert all(Path(file).exists() for file in again["files"])

    rows = strictly(wdiv("status", store, "--json").stdout)
    assert {(row["state"], row["epoch"], row["of"]) for row in rows} == {("finished", 2, 2)}
    assert "2 of 2 runs finished" in wdiv("status", store).stdout

    measured = wdiv("measure", store, "-m", "relative_l2", "-o", tmp_path / "m.nc").stdout
    assert "stage4" in measured
    assert f"wrote {tmp_path / 'm.nc'}" in measured
    tree = xr.open_datatree(tmp_path / "m.nc")
    assert tree["bn/relative_l2"].dims == ("run", "epoch", "layer", "role")
    tree.close()
    for source, figure in ((store, "heatmap"), (store, "profile"), (tmp_path / "m.nc", "heatmap")):
        out = tmp_path / f"{figure}-{source.name}.png"
        assert wdiv("plot", source, figure, "-o", out).stdout == f"wrote {out}\n"
        assert is_picture(out)
    wdiv("plot", tmp_path / "m.nc", "profile", "-o", tmp_path / "one.svg", "--role", "bn:running_mean", "--epoch", "1")
    assert "<svg" in (tmp_path / "one.svg").read_text()

    assert "2 runs intact" in wdiv("verify", store).stdout
    verdicts = strictly(wdiv("verify", store, "--json").stdout)
    assert {row["verdict"] for row in verdicts} == {"intact"}
    run, _ = runs_of(store)
    wdiv("export", run, "best", "-o", tmp_path / "best.safetensors")
    network = mobilenet_toy(num_classes=5, width_mult=0.1)
    network.load_state_dict(load_file(tmp_path / "best.safetensors"), strict=True)

    result = strictly(wdiv("diff", f"{run}@0", f"{run}@last", "--json").stdout)
    assert set(result) == {"a", "b", "layers", "summary"}
    assert (result["a"], result["b"]) == (f"{run}@0", f"{run}@last")
    assert result["summary"]["matched"] == "by name"
    assert len({row["layer"] for row in result["layers"]}) == 16 + 16 + 1
    for row in result["layers"]:
        assert row.keys() >= {"layer", "kind", "role", "depth", "comparable", "why", "relative_l2", "gaussian_kl"}
        moved = row["kind"] != "conv"
        assert row["comparable"]
        assert row["relative_l2"] is None or (row["relative_l2"] > 0) == moved or row["role"] == "bias", row
    assert "by name" in wdiv("diff", f"{run}@0", f"{run}@last").stdout


def test_diff_with_the_pretrained_file_says_what_cannot_be_compared(trained: Path, weights: Path) -> None:
    run, _ = runs_of(trained)
    result = strictly(wdiv("diff", weights, run, "-m", "relative_l2", "--json").stdout)
    head = [row for row in result["layers"] if row["layer"] == "classifier.1"]
    assert {row["role"] for row in head} == {"weight", "bias"}
    assert all(not row["comparable"] and row["why"] and row["relative_l2"] is None for row in head)
    assert result["summary"]["kinds"]["conv"] == {"comparable": 16, "not_comparable": 0, "relative_l2": 0.0}
    assert result["summary"]["kinds"]["bn"]["relative_l2"] > 0
    assert "not comparable: 2 tensors" in wdiv("diff", weights, run).stdout


def test_diff_writes_what_it_prints(trained: Path, tmp_path: Path) -> None:
    run, _ = runs_of(trained)
    printed = strictly(wdiv("diff", f"{run}@0", run, "-m", "cosine_distance", "-o", tmp_path / "d.nc", "--json").stdout)
    with xr.open_datatree(tmp_path / "d.nc") as tree:
        stored = tree["bn/cosine_distance"].sel(role="gamma").values
    values = [r["cosine_distance"] for r in printed["layers"] if (r["kind"], r["role"]) == ("bn", "gamma")]
    np.testing.assert_array_equal(np.array(values, dtype=float), stored)


"""seaborn's, about a panel in which nothing can be compared."""


@pytest.mark.parametrize("what", ["models", "strategies", "metrics", "datasets", "studies"])
def test_lists(what: str) -> None:
    rows = strictly(wdiv("list", what, "--json").stdout)
    text = wdiv("list", what).stdout
    assert len(rows) >= 2
    assert all(row["name"] in text for row in rows)


@pytest.mark.parametrize("name", ["resnet18", "by-kind", "bn@stage3+fc", "relative_l2", "digits", "quickstart"])
def test_show(name: str) -> None:
    found = strictly(wdiv("show", name, "--json").stdout)
    text = wdiv("show", name).stdout
    assert found["name"] == name
    assert found["what"] in text
    assert "None" not in text


def test_show_tells_a_study_by_what_it_sets() -> None:
    found = strictly(wdiv("show", "peng2020", "--json").stdout)
    study = load("peng2020")
    assert [claim["name"] for claim in found["claims"]] == [claim.name for claim in study.claims]
    assert all(set(claim) == {"name", "where", "text"} for claim in found["claims"])
    assert [table["title"] for table in found["tables"]] == [table.title for table in study.tables]
    assert {figure["kind"] for figure in found["figures"]} == {figure.kind for figure in study.figures}
    assert found["strategies"] == list(study.strategies)
    assert "conditions" not in found  # it has none


def test_show_says_what_a_strategy_trains() -> None:
    found = strictly(wdiv("show", "bn@stage4+fc", "--model", "resnet18", "--json").stdout)
    assert sum(row["trains"] for row in found["trains"] if row["kind"] == "bn") == 5
    assert "stage4" in wdiv("show", "bn@stage4+fc", "--model", "resnet18").stdout


def test_every_metric_can_be_measured(trained: Path) -> None:
    able = [name for name, metric in METRICS.items() if FAMILIES[metric.family].of_weights]
    options = [part for name in able for part in ("-m", name)]
    found = strictly(wdiv("measure", trained, *options, "--reference", "0", "--epoch", "1", "--json").stdout)
    assert (found["reference"], found["epoch"]) == ("0", "1")
    assert all(row.keys() >= {"run", "kind", "role", "stage", *able} for row in found["stages"])
    gamma = [row for row in found["stages"] if (row["kind"], row["role"]) == ("bn", "gamma")]
    assert any(row["relative_l2"] > 0 for row in gamma)


def test_damage_is_found_and_named(trained: Path) -> None:
    run, _ = runs_of(trained)
    file = run / "epochs" / "0001.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    result = wdiv("verify", trained, code=2)
    assert f"Error: {trained}: 1 problems" in result.stderr
    assert f"{file}: not the file that was written" in result.stderr
    result = wdiv("verify", trained, "--json", code=2)
    assert [row["verdict"] for row in strictly(result.stdout)] == ["damaged", "intact"]


def test_two_architectures_in_one_store(toml: Path, tmp_path: Path) -> None:
    wide = "mobilenet_toy:width_mult=0.2"
    out = tmp_path / "out"
    said = wdiv("run", toml, "--model", MOBILENET, "--model", wide, "--weights", "random", "--strategy", "fc",
                "--epochs", 1, "--out", out).stdout  # fmt: skip
    names = {"measures-mobilenet_toy-width_mult=0.1.nc", "heatmap-mobilenet_toy-width_mult=0.2.png", "results.csv"}
    assert names <= {path.name for path in out.iterdir()}
    assert "results.csv" in said
    assert "holds several architectures; give --group (group=) one of" in wdiv("measure", out, code=2).stderr
    assert "stage4" in wdiv("measure", out, "--group", wide, "--reference", "0").stdout


def test_a_network_without_any_pretrained_weight(toml: Path, tmp_path: Path) -> None:
    wdiv("run", toml, "--weights", "random", "--strategy", "scratch", "--epochs", 1, "--out", tmp_path / "out")
    assert is_picture(tmp_path / "out" / "heatmap.png"), "all grey, and drawn nevertheless"


def test_a_run_that_diverges_is_told_at_the_end(toml: Path, tmp_path: Path) -> None:
    result = wdiv("run", toml, "--strategy", "fc=1e38", "--strategy", "fc", "--optimizer", "sgd", "--out",
                  tmp_path / "out", code=2)  # fmt: skip
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert "1 of the runs diverged" in error
    assert "lower the rate" in error
    assert (tmp_path / "out" / "results.csv").exists()


# --- processes -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="pipes break in another way there")
@pytest.mark.parametrize("arguments", [["list", "metrics"], ["list", "metrics", "--json"]], ids=" ".join)
def test_a_reader_that_has_gone_is_no_error(arguments: list[str]) -> None:
    process = subprocess.Popen([*MAIN, *arguments], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() in (1, 141), "as other tools: neither success nor a traceback"


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert wdiv("--version").stdout.strip() == version("wdiv")
