"""``wdiv cka``, as its users meet it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result

from studies.cli import cli
from tests.tuning.tiny import SMALL, small_run, write_weights
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.training.run import fine_tune


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("cka") / "made.pth", SMALL)


@pytest.fixture(scope="module")
def run(weights: Path) -> str:
    """The folder of a run that trained BatchNorm. Nothing here writes into it."""
    split = open_split("digits-5-9", 32, test_count=2)
    return str(fine_tune(small_run(weights, "bn+fc"), split, weights.parent, device="cpu").path)


def cka(*args: str) -> Result:
    return CliRunner().invoke(cli, ["cka", *args, "--device", "cpu"])


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_a_table_of_layers_in_the_order_in_which_they_run(run: str) -> None:
    head, first, second, *rest = lines(cka(f"{run}@0", f"{run}@2", "--data", "digits-5-9", "--count", "8"))
    assert head.split() == ["depth", "layer", "kind", "stage", "linear", "cka", "procrustes", "distance", "shuffled"]
    assert first.split()[:-1] == ["0", "features.0.0", "conv", "stem", "1.0000", "0"]
    assert 0 < float(first.split()[-1]) < 1
    assert second.split()[:4] == ["1", "features.0.1", "bn", "stem"]
    assert rest[-1] == f"8 images of digits-5-9; A = {run}@0, B = {run}@2"


def test_json_says_the_same(run: str) -> None:
    result = cka(f"{run}@0", f"{run}@2", "--data", "digits-5-9", "--count", "8", "--json")
    data = json.loads(result.output)
    assert (data["n"], data["a"], data["data"], data["seed"]) == (8, f"{run}@0", "digits-5-9", 0)
    assert data["layers"][0] == {
        "depth": 0, "layer": "features.0.0", "kind": "conv", "stage": "stem", "linear_cka": 1.0,
        "procrustes_distance": 0.0, "why": "",
        "procrustes_distance_shuffled": pytest.approx(0.5, abs=0.5),
    }  # fmt: skip
    assert len(data["layers"]) == 33


def test_a_file_beside_a_run_on_a_folder_of_images(run: str, weights: Path, folder: Callable[..., Path]) -> None:
    data = str(folder(a=4, b=4))
    rows = json.loads(cka(str(weights), run, "--data", data, "--count", "8", "--json").output)["layers"]
    assert rows[-1]["layer"] == "classifier.1"


def test_all_pairs_in_a_file(run: str, tmp_path: Path) -> None:
    out = tmp_path / "pairs.nc"
    args = (run, run, "--data", "digits-5-9", "--count", "4", "--across", "-o", str(out))
    head, first, *_, last = lines(cka(*args))
    assert last == f"wrote {out}"
    assert head.split()[-5:] == ["most", "like", "most", "like", "cka"]
    assert first.split()[-2:] == ["features.0.0", "1.0000"]
    with xr.open_dataset(out) as found:
        assert found.linear_cka_across.shape == (33, 33)
        np.testing.assert_array_equal(np.diag(found.linear_cka_across), found.linear_cka)


def test_two_architectures_are_compared_across(run: str, tmp_path: Path) -> None:
    more = ("--model", "squeezenet1_1", "--data", "digits-5-9", "--count", "4", "--across")
    printed = lines(cka(run, "random", *more, "-o", str(tmp_path / "pairs.nc")))
    assert "only in A: 32 layers" in printed, "the classifiers are both called classifier.1"
    assert "only in B: 25 layers" in printed
    row = json.loads(cka(run, "random", *more, "-o", str(tmp_path / "again.nc"), "--json").output)["layers"][0]
    assert row["linear_cka"] is None
    assert row["most_like"].startswith(("features", "classifier"))


def test_all_pairs_drawn(run: str, tmp_path: Path) -> None:
    out = tmp_path / "figures" / "pairs.png"
    lines(cka(run, run, "--data", "digits-5-9", "--count", "4", "--across", "-o", str(out)))
    assert out.read_bytes().startswith(b"\x89PNG")


def test_every_module(run: str) -> None:
    data = json.loads(cka(run, run, "--data", "digits-5-9", "--count", "4", "--all-modules", "--json").output)
    assert {"ReLU6", "Dropout", "conv"} <= {row["kind"] for row in data["layers"]}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--count", "3"), "images: at least 4, not 3"),
        (("--count", "9999"), "9999 images asked for, but digits-5-9 has 896"),
        (("--across",), "name a file for them with -o"),
        (("-o", "x.txt"), "must end in .nc"),
        (("-o", "x.png"), "only --across can be drawn"),
        (("--data", "nothing"), "no data set and no folder 'nothing'"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(run: str, args: tuple[str, ...], says: str) -> None:
    result = cka(run, run, "--data", "digits-5-9", *args)
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    assert says in line


@pytest.mark.parametrize(
    ("b", "more", "says"),
    [
        ("{run}@99", (), "epoch 99 is not saved; saved: 0 to 2"),
        ("{run}-other", (), "no such file"),
        ("text.pth", (), "not a readable PyTorch file"),
        ("random", ("--model", "vgg11"), "no layer of the same name"),
        ("random", ("--model", "vgg"), "unknown model 'vgg'"),
    ],
)
def test_what_is_wrong_with_a_network(
    run: str, b: str, more: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.pth").write_text("hello")
    result = cka(run, b.format(run=run), "--data", "digits-5-9", "--count", "4", *more)
    assert result.exit_code == 2
    (line,) = result.output.strip().splitlines()
    assert says in line


def test_without_a_name_a_file_is_not_guessed(weights: Path) -> None:
    result = cka(str(weights), str(weights), "--data", "digits")
    assert result.exit_code == 2
    assert "name it with --model" in result.output
