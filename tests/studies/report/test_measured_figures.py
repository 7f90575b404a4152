"""Which panels a figure has, which rows, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from studies.report.figures import measured
from tests import trees
from tests.trees import run
from wdiv.errors import BadInput
from wdiv.measure import Flag
from wdiv.metrics import FAMILIES, METRICS

RUNS = [run(strategy, seed) for strategy in ("fc", "bn+fc") for seed in (0, 1)]
FC, BN = "toynet-toy-n6-fc-auto-s0", "toynet-toy-n6-bn+fc-auto-s0"


def value(run: dict[str, Any], epoch: int, layer: str, role: str) -> float:
    if run["seed"] == 0 and epoch in (1, 3):
        return Flag.NOT_SAVED
    return 0.01 * epoch * (run["strategy"] != "fc")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn, before they are written."""
    found: list[Figure] = []
    real = Figure.savefig

    def keep(self: Figure, *args: Any, **kwargs: Any) -> None:
        found.append(self)
        real(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


def rows(figure: Figure) -> list[str]:
    return [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


def drawn(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def test_epochs_shows_the_saved_epochs_of_one_run_in_order(tmp_path: Path, made: list[Figure]) -> None:
    div = trees.divergence(RUNS, value, epochs=6)
    measured.draw(div, "epochs", tmp_path / "e.png", run=BN)
    assert rows(made[0]) == ["0", "2", "4", "5"]
    assert [ax.get_title(loc="left") for ax in made[0].axes[:3]] == ["conv weight", "bn gamma", "bn beta"]
    assert BN in made[0].get_suptitle()
    assert len(np.unique(drawn(tmp_path / "e.png"))) > 20


def test_epochs_of_the_only_run_needs_no_name(tmp_path: Path, made: list[Figure]) -> None:
    measured.draw(trees.divergence(RUNS[:1], value, epochs=3), "epochs", tmp_path / "e.png", roles=["bn:running_mean"])
    assert rows(made[0]) == ["0", "2"]
    assert [ax.get_title(loc="left") for ax in made[0].axes[:1]] == ["bn running_mean"]


@pytest.mark.parametrize("count", [40, 41, 95])
def test_many_epochs_are_labelled_here_and_there_from_the_first(tmp_path: Path, made: list[Figure], count: int) -> None:
    div = trees.divergence(RUNS[:1], lambda **place: 0.1 * place["epoch"], epochs=count)
    measured.draw(div, "epochs", tmp_path / "e.png", roles=["conv:weight"])
    labels = [int(text) for text in rows(made[0])]
    assert labels == list(range(0, count, -(-count // 40)))
    for place, label in zip(made[0].axes[0].get_yticks(), labels, strict=True):
        assert place == label + 0.5, "beside its own row"
    assert made[0].get_figheight() < 12


def test_a_run_must_be_named_where_there_are_several(tmp_path: Path) -> None:
    div = trees.divergence(RUNS, value)
    with pytest.raises(BadInput, match=f"figure 'epochs' shows one run: give --run, one of {FC}, "):
        measured.draw(div, "epochs", tmp_path / "e.png")
    with pytest.raises(BadInput, match=r"no run 'toynet-toy-n6-fc-auto-s9'; did you mean 'toynet-toy-n6-fc-auto-s"):
        measured.draw(div, "epochs", tmp_path / "e.png", run="toynet-toy-n6-fc-auto-s9")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("figure", measured.FIGURES)
@pytest.mark.parametrize("metric", ["relative_l2", "log_std_ratio", "subspace_overlap", "straightness"])
@pytest.mark.parametrize("answer", [0.0, 1.0, Flag.NO_START], ids=["zero", "one", "nothing"])
def test_nothing_to_see_is_drawn_nevertheless(tmp_path: Path, figure: str, metric: str, answer: float) -> None:
    div = trees.divergence(RUNS[:1], lambda **_: answer, metric=metric)
    file = measured.draw(div, figure, tmp_path / "x.png", metric=metric, roles=["conv:weight"])
    assert min(drawn(file).shape[:2]) > 200


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("relative_l2", "(white: not moved, grey: undefined or nothing to compare with)"),
        ("straightness", "(grey: not moved, undefined or nothing to compare with)"),
    ],
)
def test_the_legend_says_what_white_and_grey_are(tmp_path: Path, made: list[Figure], metric: str, words: str) -> None:
    measured.draw(trees.divergence(RUNS, value, metric=metric), "heatmap", tmp_path / "x.png", metric=metric)
    assert words in made[0].get_suptitle()


@pytest.mark.parametrize("count", [1, 12])
def test_the_words_at_the_colour_bar_are_whole(tmp_path: Path, made: list[Figure], count: int) -> None:
    runs = [run("fc", seed) for seed in range(count)]
    wordy = sorted(
        (name for name in METRICS if FAMILIES[METRICS[name].family].of_weights), key=lambda n: len(METRICS[n].long_name)
    )
    for metric in (wordy[-1], "relative_l2"):
        div = trees.divergence(runs, value, metric=metric)
        measured.draw(div, "heatmap", tmp_path / "x.png", metric=metric, roles=["conv:weight"])
        label = made[-1].axes[-1].yaxis.label
        assert " ".join(label.get_text().split()) == METRICS[metric].long_name
        box = label.get_window_extent()
        assert box.y0 >= 0
        assert max(box.y1 / made[-1].bbox.y1, box.x1 / made[-1].bbox.x1) <= 1


def test_a_profile_of_a_signed_change_has_a_plain_axis(tmp_path: Path, made: list[Figure]) -> None:
    for metric, scale in (("log_std_ratio", "linear"), ("relative_l2", "log")):
        div = trees.divergence(RUNS, lambda **_: 0.5, metric=metric)
        measured.draw(div, "profile", tmp_path / "x.png", metric=metric)
        assert made[-1].axes[0].get_yscale() == scale
