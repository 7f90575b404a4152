"""``wdiv lr-find``, as its users meet it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from studies.cli.lr_find import lr_find
from tests.studies.cli.test_cli import strictly
from tests.studies.cli.test_cli import wdiv as command
from wdiv.plots import loss_by_rate
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.training.lr_range_test import HIGH, LOW, STEPS

QUICK = ("--steps", 20, "--from", 1e-5, "--to", 1e-1, "--device", "cpu")


def test_a_table_and_a_figure(toml: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "rates.png"
    title, header, *rows, end, wrote = command(
        "lr-find", toml, "--strategy", "fc for 1 then bn+fc", *QUICK, "-o", out
    ).stdout.splitlines()
    assert title == "fc for 1 then bn+fc, phase 2 of 2: mobilenet_toy:width_mult=0.1 on digits-5-9, 15 images, adam"
    assert header.split() == ["suggestion", "bn", "factor", "strategy"]
    assert [row.split()[0] for row in rows] == ["valley", "steepest", "minimum/10"]
    for row in rows:
        _, rate, factor, spelled = row.split(maxsplit=3)
        assert float(rate) == pytest.approx(float(factor) * 1e-2, rel=0.1)
        assert parse(spelled).last.terms[0].lr == pytest.approx(float(rate), rel=0.01)
    assert end.startswith("20 steps, bn from 1e-05 to 0.1")
    assert wrote == f"wrote {out}"
    with Image.open(out) as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_it_draws_the_images_that_a_run_would(toml: Path) -> None:
    """With the same options of the split, none of them is one that the run tests on."""
    words = ["lr-find", str(toml), "--strategy", "fc", "--steps", "20", "--json"]
    few, many = (strictly(command(*words, "--test-count", n).stdout) for n in (5, 20))
    assert few["losses"] != many["losses"]


def test_json(toml: Path) -> None:
    found = strictly(command("lr-find", toml, "--strategy", "fc", "--json", *QUICK).stdout)
    assert found["run"].endswith("-digits-5-9-n3-fc-auto-s0")
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"]) == 20
    assert {s["name"] for s in found["suggestions"]} == {"valley", "steepest", "minimum/10"}
    assert (found["strategy"], found["phase"], found["leading"], found["file"]) == ("fc", 1, "fc", None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "has several strategies (fc, bn+fc); give one --strategy"),
        (["--strategy", "fc", "-o", "x.gif"], "x.gif: the file's name must end in .png, .pdf, .svg"),
        (["--strategy", "fc", "--steps", "3"], "steps of a range test: at least 20, not 3"),
        (["--strategy", "fc", "--phase", "2"], "strategy 'fc': phase 1 to 1, not 2"),
        (["--strategy", "fx"], "unknown strategy 'fx'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(toml: Path, words: list[str], said: str) -> None:
    shown = command("lr-find", toml, *words, code=2).output
    assert said in shown
    assert len(shown.splitlines()) == 1


def test_what_is_not_given_is_as_in_python() -> None:
    given = {parameter.name: parameter.default for parameter in lr_find.params}
    assert (given["steps"], given["low"], given["high"]) == (STEPS, LOW, HIGH)


def test_a_study_that_trains_its_own_source_needs_weights() -> None:
    shown = command("lr-find", "quickstart", "--strategy", "fc", "--per-class", 5, "--seed", 0, code=2).output
    assert "trains its own source network first; give --weights" in shown


def test_the_curve_is_drawn_with_its_marks() -> None:
    rates, losses = np.geomspace(1e-4, 1, 30), np.linspace(2, 1, 30)
    ax = Figure().subplots()
    assert loss_by_rate(rates, [*losses[:-1], 50.0], losses, ax, marks={"valley": 1e-2}, now=1e-3, title="a") is ax
    assert ax.get_xscale() == "log"
    assert ax.get_ylim()[1] < 3, "a batch that ran away does not squeeze the rest"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "each batch", "smoothed", "valley: 0.01", "as it is: 0.001"
    ]  # fmt: skip
    (mark,) = (line for line in ax.lines if line.get_marker() == "o")
    assert mark.get_xydata()[0] == pytest.approx([1e-2, np.interp(np.log(1e-2), np.log(rates), losses)])
    ax = loss_by_rate(rates, losses, losses, Figure().subplots(), now=5.0)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["each batch", "smoothed"], "beyond the axis"
