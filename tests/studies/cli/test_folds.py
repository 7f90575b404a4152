"""Cross-validation on the command line."""

from __future__ import annotations

import csv
from pathlib import Path

from tests import folders
from tests.studies.cli.test_cli import strictly, wdiv
from tests.studies.cli.test_own_images import NETWORK


def test_images_with_a_test_folder_are_in_no_folds_and_the_others_are(tmp_path: Path) -> None:
    plates = folders.plates(tmp_path / "steel", count=8)
    (tmp_path / "photos").mkdir()
    plates.rename(tmp_path / "photos" / "train")
    (tmp_path / "photos" / "test").symlink_to(tmp_path / "photos" / "train")
    refused = wdiv("svm", tmp_path / "photos", *NETWORK, "--folds", 3, code=2)
    assert f"--data {tmp_path / 'photos' / 'train'}" in refused.output
    out, images = tmp_path / "out", tmp_path / "photos" / "train"
    said = strictly(wdiv("svm", images, *NETWORK, "--folds", 3, "--cv", 2, "--out", out, "--json").stdout)
    count = sum(1 for _ in images.rglob("*.png"))
    (note,) = said["notes"]
    assert "are nearly the same pictures as images of other folds" in note
    (row,) = csv.DictReader((out / "results.csv").read_text(encoding="utf-8").splitlines())
    assert (row["n_test"], row["run"].rpartition("-")[2]) == (str(count), "3folds")
    assert said["outcomes"][0]["n_test"] == count
    wdiv("svm", images, *NETWORK, "--folds", 4, "--out", out, code=2)
    group = note.partition("--group '")[2].partition("'")[0]
    sound = strictly(wdiv("svm", images, *NETWORK, "--folds", 3, "--group", group, "--json").stdout)
    assert sound["notes"] == ["train: 16 groups, of 4 images each: in 3 folds"]
    leak, honest = (one["outcomes"][0]["scores"]["accuracy"]["value"] for one in (said, sound))
    assert honest < leak


def test_a_grid_in_folds_by_every_command(tmp_path: Path) -> None:
    images, out = folders.imbalanced(tmp_path / "parts", few=6, solo=4, many=12), tmp_path / "out"
    asked = ("--data", images, *NETWORK, "--folds", 2, "--repeats", 2, "--strategy", "fc", "--strategy", "bn+fc",
             "--bn-mode", "auto", "--per-class", "all", "--epochs", 2, "--passes", "--seed", 0,
             "--out", out)  # fmt: skip
    plan = strictly(wdiv("run", "quickstart", *asked, "--dry-run", "--json").stdout)
    assert len(plan["runs"]) == 2 * 2 * 2
    count = sum(1 for _ in images.rglob("*.png"))
    found = strictly(wdiv("run", "quickstart", *asked, "--json").stdout)
    ours = [row for row in found["outcomes"] if row["strategy"] in ("fc", "bn+fc")]
    assert len(ours) == 2
    assert all((row["seeds"], sum(map(sum, row["confusion"]))) == (2, 2 * count) for row in ours)
    assert {run["state"] for run in strictly(wdiv("status", out, "--json").stdout)} == {"finished"}
    assert "8 runs intact" in wdiv("verify", out).output
    assert strictly(wdiv("best", out, "--json").stdout)["chosen"]["folds"] == 2
    wrong = strictly(wdiv("errors", out, "-o", tmp_path / "wrong.png", "--json").stdout)
    assert sum(wrong["images"].values()) == count
    wdiv("report", out)
    wdiv("noise", out, "--reference", 0)
    wdiv("measure", out, "-o", tmp_path / "measures.nc")
    wdiv("export", out, "-o", tmp_path / "net.safetensors")
