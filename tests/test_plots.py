"""Figures: what has not moved is white, what cannot be compared grey, and what moved a little is neither."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from tests import trees
from tests.trees import run
from wdiv import plots, summary

NAN = float("nan")
STAGES = ["stem", "stem", "stage1", "stage1", "stage1", "head"]
LABELS = ["scratch", "fc", "bn+fc  n=5"]
VALUES = [[NAN] * 6, [0.0, 0.0, 0.0, 0.0, 0.0, NAN], [1e-9, 1e-3, 1e-2, 0.0, 1.0, NAN]]


@pytest.fixture
def grid() -> pd.DataFrame:
    columns = pd.MultiIndex.from_arrays([STAGES, list("abcdef")], names=["stage", "layer"])
    return pd.DataFrame(VALUES, index=LABELS, columns=columns)


@pytest.fixture
def ax() -> Axes:
    return Figure(figsize=(6, 3), layout="constrained").subplots()


def colours(ax: Axes) -> np.ndarray:
    """The colour of every cell as it is painted: (row, column, rgba)."""
    mesh = ax.collections[0]
    mesh.update_scalarmappable()
    return mesh.get_facecolors().reshape(3, 6, 4)


def test_heatmap_paints_unmoved_white_incomparable_grey_and_all_else_by_value(grid: pd.DataFrame, ax: Axes) -> None:
    shade = plots.shade(grid)
    norm = shade.norm
    assert plots.heatmap(grid, ax, shade=shade, bar=False) is ax
    painted, scale = colours(ax), mpl.colormaps["rocket_r"]
    white, grey = to_rgba("white"), to_rgba(plots.UNCOMPARABLE)
    for i, row in enumerate(VALUES):
        for j, value in enumerate(row):
            if np.isnan(value):
                assert ax.collections[0].get_array().mask.reshape(3, 6)[i, j]
                assert painted[i, j, 3] == 0 or tuple(painted[i, j]) == grey
            elif value == 0:
                assert tuple(painted[i, j]) == white
            else:
                assert tuple(painted[i, j]) == scale(float(norm(max(value, norm.vmin))))
                assert tuple(painted[i, j]) not in (white, grey)
    assert ax.get_facecolor() == grey, "what is masked shows the ground"


def test_heatmap_has_a_row_for_every_label_and_a_tick_for_every_stage(grid: pd.DataFrame, ax: Axes) -> None:
    plots.heatmap(grid, ax, shade=plots.shade(grid), title="conv weight", bar=False)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == LABELS
    assert ax.get_ylim() == (3, 0), "the first label on top"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["stem", "stage1", "head"]
    assert ax.get_xticks().tolist() == [1.0, 3.5, 5.5], "under the middle of its layers"
    assert sorted(line.get_xdata()[0] for line in ax.lines) == [2, 5], "a line where a stage begins"
    assert ax.get_title(loc="left") == "conv weight"


def test_heatmap_keeps_every_label_of_a_tall_grid(ax: Axes) -> None:
    columns = pd.MultiIndex.from_arrays([["stem"], ["a"]], names=["stage", "layer"])
    grid = pd.DataFrame(np.ones((60, 1)), index=[f"s{i}" for i in range(60)], columns=columns)
    plots.heatmap(grid, ax, shade=plots.shade(grid), bar=False)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(grid.index)


def test_heatmap_labels_its_colour_bar(grid: pd.DataFrame, ax: Axes) -> None:
    plots.heatmap(grid, ax, shade=plots.shade(grid), label="how far")
    assert [other.get_ylabel() for other in ax.figure.axes if other is not ax] == ["how far"]


def test_a_grid_where_nothing_moved_is_white(ax: Axes) -> None:
    columns = pd.MultiIndex.from_arrays([STAGES, list("abcdef")], names=["stage", "layer"])
    still = pd.DataFrame(np.zeros((3, 6)), index=LABELS, columns=columns)
    plots.heatmap(still, ax, shade=plots.shade(still), bar=False)
    assert (colours(ax) == to_rgba("white")).all()


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([0.01, 1.0], (0.01, 1.0)),
        ([1e-9, 1.0], (1e-4, 1.0)),
        ([0.0, NAN, np.inf, 0.02, 2.0], (0.02, 2.0)),
        ([5.0], (0.5, 5.0)),
        ([0.0, NAN], (0.1, 1.0)),
        ([-3.0, 1.0, 0.001], (0.001, 1.0)),
    ],
)
def test_log_norm_spans_what_moved_in_at_most_four_decades(values: list[float], limits: tuple[float, float]) -> None:
    norm = plots.log_norm(pd.DataFrame([values]))
    assert (norm.vmin, norm.vmax) == pytest.approx(limits)


def test_log_norm_serves_several_grids() -> None:
    norm = plots.log_norm(pd.DataFrame([[0.1]]), pd.DataFrame([[3.0, 0.02]]), decades=1)
    assert (norm.vmin, norm.vmax) == pytest.approx((0.3, 3.0))
    assert (plots.log_norm().vmin, plots.log_norm().vmax) == pytest.approx((0.1, 1.0))


@pytest.fixture
def table() -> pd.DataFrame:
    """Two labels of two seeds each over four layers; one seed of the second never moved the first layer."""
    rows = [
        {"label": label, "seed": seed, "depth": depth, "stage": stage, "value": far * (1 + depth) * (1 + seed)}
        for label, far in (("fc", 0.01), ("bn+fc", 0.1))
        for seed in (0, 1)
        for depth, stage in ((0, "stem"), (3, "stem"), (4, "stage1"), (8, "stage1"))
    ]
    rows[8]["value"], rows[-1]["value"] = 0.0, NAN
    return pd.DataFrame(rows)


def test_profile_draws_a_line_a_label_through_the_mean_of_its_seeds(table: pd.DataFrame, ax: Axes) -> None:
    assert plots.profile(table, ax, title="conv weight", label="how far") is ax
    lines = {tuple(line.get_xdata()): line.get_ydata() for line in ax.lines if len(line.get_xdata()) == 4}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["fc", "bn+fc"]
    first, second = (line.get_ydata() for line in ax.lines if len(line.get_xdata()) == 4)
    np.testing.assert_allclose(first, 0.015 * np.array([1, 4, 5, 9]))
    np.testing.assert_allclose(second, [0.2, 0.6, 0.75, 0.9], err_msg="zero and NaN are left out")
    assert next(iter(lines)) == (0, 3, 4, 8)
    assert ax.get_yscale() == "log"
    assert (ax.get_title(loc="left"), ax.get_ylabel()) == ("conv weight", "how far")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["stem", "stage1"]
    assert ax.get_xticks().tolist() == [1.5, 6.0]
    assert [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1] == [3.5]


def test_profile_s_band_spans_the_seeds(table: pd.DataFrame, ax: Axes) -> None:
    plots.profile(table, ax)
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((0.01, 0.18))


@pytest.mark.parametrize("value", [0.0, NAN])
def test_profile_of_what_has_not_moved_is_an_empty_axis(table: pd.DataFrame, ax: Axes, value: float) -> None:
    plots.profile(table.assign(value=value), ax)
    assert ax.get_legend() is None
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["stem", "stage1"]


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_figures_of_a_measured_tree_are_written(tmp_path: Path, suffix: str) -> None:
    runs = [run(strategy, seed) for strategy in ("fc", "bn+fc") for seed in (0, 1)]
    div = trees.divergence(runs, lambda run, epoch, layer, role: epoch * 0.1 * (run["strategy"] != "fc"))
    table = summary.layers(div, "relative_l2")
    figure = Figure(figsize=(6, 5), layout="constrained")
    top, bottom = figure.subplots(2, 1)
    grid = summary.layer_grid(table, "bn", "gamma")
    plots.heatmap(grid, top, shade=plots.shade(grid), label="relative L2")
    chosen = table[table["role"].eq("gamma")]
    plots.profile(chosen.assign(label=summary.labels(chosen)), bottom)
    file = tmp_path / f"figure.{suffix}"
    figure.savefig(file, dpi=60)
    assert file.stat().st_size > 2000
    if suffix == "png":
        image = mpl.image.imread(file)
        assert image.shape[:2] == (300, 360)
        assert len(np.unique(image.reshape(-1, 4), axis=0)) > 50, "not a blank page"


def test_what_did_not_move_is_white_whatever_the_metric_calls_it(ax: Axes) -> None:
    columns = pd.MultiIndex.from_arrays([["stem"] * 3, ["a", "b", "c"]], names=["stage", "layer"])
    grid = pd.DataFrame([[0.5, 0.6, 5.0]], index=["fc"], columns=columns)
    plots.heatmap(grid, ax, shade=plots.shade(grid, identity=0.5, lower=0.5), bar=False)
    mesh = ax.collections[0]
    mesh.update_scalarmappable()
    white = [tuple(colour) == to_rgba("white") for colour in mesh.get_facecolors().reshape(3, 4)]
    assert white == [True, False, False]


# ---------------------------------------------------------------------------------------------------------- scales


def painted(values: list[float], ax: Axes, **facts: float) -> tuple[plots.Shade, list[tuple[float, ...]]]:
    """One row of cells: the scale, and the colour of each."""
    columns = pd.MultiIndex.from_arrays([["stem"] * len(values), [str(i) for i in range(len(values))]])
    grid = pd.DataFrame([values], index=["fc"], columns=columns.set_names(["stage", "layer"]))
    shade = plots.shade(grid, **facts)
    plots.heatmap(grid, ax, shade=shade, bar=False)
    ax.collections[0].update_scalarmappable()
    return shade, [tuple(colour) for colour in ax.collections[0].get_facecolors()]


WHITE = to_rgba("white")


def test_a_distance_has_a_logarithmic_scale(ax: Axes) -> None:
    shade, cells = painted([0.0, 1e-9, 0.01, 1.0], ax)
    assert isinstance(shade.norm, mpl.colors.LogNorm)
    assert (shade.norm.vmin, shade.norm.vmax, shade.extend) == (1e-4, 1.0, "min")
    assert [cell == WHITE for cell in cells] == [True, False, False, False]


def test_a_signed_change_has_a_scale_that_is_centred_on_what_did_not_move(ax: Axes) -> None:
    shade, cells = painted([0.0, -1e-9, -0.5, 0.2], ax, identity=0.0, lower=-np.inf)
    assert (shade.norm.vmin, shade.norm.vmax, shade.norm(0.0)) == (-0.5, 0.5, 0.5)
    assert [cell == WHITE for cell in cells] == [True, False, False, False]
    assert cells[2][2] > cells[2][0], "less is blue"
    assert cells[3][0] > cells[3][2], "more is red"


def test_a_share_has_a_scale_between_its_bounds(ax: Axes) -> None:
    shade, cells = painted([1.0, 0.999, 0.3, 0.0], ax, identity=1.0, lower=0.0, upper=1.0)
    assert (shade.norm.vmin, shade.norm.vmax, shade.extend) == (0.0, 1.0, "neither")
    assert [cell == WHITE for cell in cells] == [True, False, False, False]
    assert sum(cells[2][:3]) > sum(cells[3][:3]), "less is darker"


@pytest.mark.parametrize("facts", [{}, {"lower": -np.inf}, {"identity": 1.0, "upper": 1.0}])
def test_every_scale_has_room_where_nothing_moved_or_nothing_is_known(ax: Axes, facts: dict[str, float]) -> None:
    same = facts.get("identity", 0.0)
    shade, cells = painted([same, same, NAN], ax, **facts)
    assert shade.norm.vmin < shade.norm.vmax
    assert cells[:2] == [WHITE, WHITE]
    plots.shade(pd.DataFrame([[NAN]]), **facts)
    plots.shade(**facts)


def test_lines_between_rows_are_left_out_where_they_would_be_all_one_sees(ax: Axes) -> None:
    columns = pd.MultiIndex.from_arrays([["stem"], ["a"]], names=["stage", "layer"])
    for rows, lines in ((40, 39), (41, 0)):
        ax.clear()
        grid = pd.DataFrame(np.ones((rows, 1)), index=range(rows), columns=columns)
        plots.heatmap(grid, ax, shade=plots.shade(grid), bar=False)
        assert sum(len(each.get_segments()) for each in ax.collections if hasattr(each, "get_segments")) == lines


def test_profile_of_a_signed_change_shows_both_signs(table: pd.DataFrame, ax: Axes) -> None:
    plots.profile(table.assign(value=-table["value"]), ax, log=False)
    assert ax.get_yscale() == "linear"
    first = next(line.get_ydata() for line in ax.lines if len(line.get_xdata()) == 4)
    np.testing.assert_allclose(first, -0.015 * np.array([1, 4, 5, 9]))


def test_an_empty_profile_says_so(table: pd.DataFrame, ax: Axes) -> None:
    plots.profile(table.iloc[:0], ax)
    assert [text.get_text() for text in ax.texts] == ["nothing moved, or nothing to compare with"]


@pytest.mark.parametrize(("x", "ticks"), [("n_train", ["10", "40"]), ("layer", ["stem", "stage1"])])
def test_accuracies_are_a_dot_a_run_and_a_line_through_the_means(ax: Axes, x: str, ticks: list[str]) -> None:
    table = pd.DataFrame(
        {
            "n_train": [10, 10, 40, 40] * 2, "layer": ["stem", "stem", "stage1", "stage1"] * 2,
            "strategy": ["fc"] * 4 + ["svm"] * 4, "accuracy": [0.5, 0.7, 0.8, 0.9, 0.4, 0.4, 0.6, 0.8],
        }
    )  # fmt: skip
    assert plots.accuracy_by(table, x, ax) is ax
    dots, line, _, other = ax.lines
    np.testing.assert_allclose(dots.get_ydata(), [50, 70, 80, 90])
    np.testing.assert_allclose(line.get_ydata(), [60, 85])
    np.testing.assert_allclose(other.get_ydata(), [40, 70])
    assert [text.get_text() for text in ax.get_xticklabels()] == ticks
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["fc", "svm"]
