"""The figures of a study: what is drawn is what the tables say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawn

from studies.report.figures.common import seeds
from studies.report.figures.drawing import draw
from studies.spec.columns import COLUMNS, DISTANCES
from studies.spec.figure import FIGURE_KINDS, Figure
from wdiv.errors import BadInput, UnknownName
from wdiv.numerics import share_interval

SIZES = {"20": 140, "40": 280, "all": 909}
STAGES = ("stem", "stage1", "stage1", "stage2", "head")
ORDER = ("fc", "conv+fc", "bn+fc")


def run(strategy: str, size: str, seed: int, condition: str = "", model: str = "toynet") -> dict[str, Any]:
    return {
        "condition": condition, "model": model, "source": "s", "dataset": "d", "per_class": size,
        "n_train": SIZES[size], "strategy": strategy, "bn_mode": "auto", "seed": seed,
        "run": f"{condition}{model}{size}{strategy}{seed}",
    }  # fmt: skip


def seen(*conditions: str, model: str = "toynet") -> pd.DataFrame:
    """Accuracies, and movement by stage: the more, the larger the set and the later the strategy."""
    rows = []
    for c, condition in enumerate(conditions or ("",)):
        for s, strategy in enumerate(ORDER):
            for n, size in enumerate(SIZES):
                for seed in (0, 1):
                    facts = run(strategy, size, seed, condition, model)
                    value = 0.3 + 0.1 * s + 0.05 * n + 0.02 * seed - 0.1 * c * s
                    none = {"against": "", "layers": "", "part": ""}
                    rows.append(facts | none | {"measure": "accuracy", "value": value})
                    rows.append(facts | none | {"measure": "train_accuracy", "value": value + 0.1})
                    for i, stage in enumerate(("stem", "stage1", "stage2", "all", "head")):
                        place = {"measure": "l2", "against": "start", "layers": "bn:gamma", "part": stage}
                        rows.append(facts | place | {"value": 0.1 * (1 + i + seed + 5 * c)})
    return pd.DataFrame(rows)[list(COLUMNS)]


def far(values: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 9.0)) -> pd.DataFrame:
    rows = []
    sizes = list(SIZES)
    for i, size in enumerate(sizes):
        for against in ("start", *sizes[i + 1 :]):
            for seed in (0, 1):
                for depth, (stage, value) in enumerate(zip(STAGES, values, strict=True)):
                    place = {"layer": f"l{depth}", "depth": 3 * depth, "stage": stage, "layers": "conv:weight"}
                    told = {"measure": "l2", "against": against, "value": value * (1 + seed) * (1 + i)}
                    rows.append(run("conv+fc", size, seed) | place | told)
    return pd.DataFrame(rows)[list(DISTANCES)]


PANELS = {"measure": "l2", "layers": "conv:weight", "strategy": "conv+fc"}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Drawn]:
    """The figures that are drawn, in place of files."""
    found: list[Drawn] = []

    def keep(self: Drawn, file: Path, **_: Any) -> None:
        self.draw_without_rendering()
        found.append(self)

    monkeypatch.setattr(Drawn, "savefig", keep)
    return found


def titles(figure: Drawn) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes if ax.get_visible()]


def labelled(ax: Any) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in ax.get_lines() if line.get_label()[0] != "_"}


def test_panels_are_each_size_and_each_pair_of_sizes(tmp_path: Path, made: list[Drawn]) -> None:
    files = draw(Figure("figure1", "T", "panels", PANELS), seen(), far(), None, tmp_path)
    assert files == [tmp_path / "figure1-toynet.png"]
    (figure,) = made
    assert titles(figure) == ["toynet-140", "toynet-280", "toynet-909", "140-280", "140-909", "280-909"]
    for place, ax in enumerate(figure.axes):
        (values,) = labelled(ax).values()
        scale = 1.5 * ((1, 2, 3, 1, 1, 2)[place])
        np.testing.assert_allclose(values, scale * np.array([0.1, 0.2, 0.3, 0.4]), err_msg="mean of seeds, the trunk")
        thin = [
            line.get_ydata() for line in ax.get_lines() if line.get_linewidth() == 0.6 and len(line.get_ydata()) == 4
        ]
        np.testing.assert_allclose(sorted(y[0] for y in thin), [scale * 0.1 / 1.5, scale * 0.2 / 1.5])
        assert ax.get_yscale() == "linear"
    assert len({ax.get_ylim() for ax in figure.axes[:3]}) == len({ax.get_ylim() for ax in figure.axes[3:]}) == 1
    assert figure.axes[0].get_ylim() != figure.axes[3].get_ylim()


def test_zero_on_a_logarithmic_axis_is_a_mark_at_its_edge(tmp_path: Path, made: list[Drawn]) -> None:
    draw(Figure("f", "", "panels", PANELS), seen(), far((0.0, 1e-4, 0.1, 0.4, 9.0)), None, tmp_path)
    ax = made[0].axes[0]
    assert ax.get_yscale() == "log"
    (values,) = labelled(ax).values()
    np.testing.assert_allclose(values, [np.nan, 1.5e-4, 0.15, 0.6])
    (mark,) = [line for line in ax.get_lines() if line.get_marker() == "v"]
    assert list(mark.get_xdata()) == [1]
    assert mark.get_transform() != ax.transData


def test_what_did_not_move_is_a_line_at_zero(tmp_path: Path, made: list[Drawn]) -> None:
    draw(Figure("f", "", "panels", PANELS), seen(), far((0.0,) * 5), None, tmp_path)
    for ax in made[0].axes:
        assert list(labelled(ax).values()) == [[0, 0, 0, 0]]
        assert ax.get_yscale() == "linear"
        assert [text.get_text() for text in ax.texts] == ["did not move"]


def test_one_file_a_model(tmp_path: Path) -> None:
    both = [pd.concat([t, t.assign(model="othernet")]) for t in (seen(), far())]
    files = draw(Figure("f", "", "panels", PANELS), *both, None, tmp_path / "new")
    assert [file.name for file in files] == ["f-toynet.png", "f-othernet.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_accuracy_over_sizes_and_the_paper_beside(tmp_path: Path, made: list[Drawn]) -> None:
    paper = pd.DataFrame({"strategy": ["fc", "fc"], "n_train": [280, 140], "value": [0.6, 0.5]})
    draw(Figure("f", "", "accuracy"), seen("near", "far"), far(), paper, tmp_path)
    assert titles(made[0]) == ["toynet, near", "toynet, far"]
    near = labelled(made[0].axes[0])
    np.testing.assert_allclose(near["fc"], [31, 36, 41])
    np.testing.assert_allclose(near["bn+fc"], [51, 56, 61])
    assert set(near) == set(ORDER)
    (dashed,) = [line for line in made[0].axes[0].get_lines() if line.get_linestyle() == "--"]
    assert (list(dashed.get_xdata()), list(dashed.get_ydata())) == ([140, 280], [50, 60])


def test_bars_are_means_in_the_order_asked_for(tmp_path: Path, made: list[Drawn]) -> None:
    paper = pd.DataFrame({"strategy": ["bn+fc"], "measure": ["accuracy"], "value": [0.77]})
    where = {"strategy": ORDER[::-1], "per_class": "20"}
    draw(Figure("f", "", "bars", where), seen(), far(), paper, tmp_path)
    (ax,) = made[0].axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["bn+fc", "conv+fc", "fc"]
    heights = [[bar.get_height() for bar in bars] for bars in ax.containers]
    np.testing.assert_allclose(heights, [[61, 51, 41], [51, 41, 31]])
    assert [bars.get_label() for bars in ax.containers] == ["training accuracy", "test accuracy"]
    squares = [list(line.get_ydata()) for line in ax.get_lines() if line.get_marker() == "s"]
    assert squares == [[], [77.0]]


def test_bars_of_several_sizes_are_not_thrown_together(tmp_path: Path, made: list[Drawn]) -> None:
    draw(Figure("f", "", "bars", {"per_class": ("20", "all")}), seen(), far(), None, tmp_path)
    names = [tick.get_text() for tick in made[0].axes[0].get_xticklabels()]
    assert set(names) == {f"{strategy}, {size}" for strategy in ORDER for size in ("20", "all")}


def test_lines_follow_the_strategies(tmp_path: Path, made: list[Drawn]) -> None:
    draw(Figure("f", "", "lines", {"strategy": ORDER, "per_class": "40"}), seen(), far(), None, tmp_path)
    (ax,) = made[0].axes
    assert {name: np.round(y, 6).tolist() for name, y in labelled(ax).items()} == {
        "test accuracy": [36, 46, 56], "training accuracy": [46, 56, 66],
    }  # fmt: skip


def test_corners_mark_the_best(tmp_path: Path, made: list[Drawn]) -> None:
    where = {"condition": ("near", "far"), "per_class": ("20", "all")}
    draw(Figure("f", "", "corners", where), seen("near", "far"), far(), None, tmp_path)
    assert titles(made[0]) == [
        "near, 20 images a class", "far, 20 images a class", "near, all images", "far, all images",
    ]  # fmt: skip
    starred = [[text.get_text() for text in ax.texts if "★" in text.get_text()] for ax in made[0].axes]
    assert [len(stars) for stars in starred] == [1, 1, 1, 1]
    assert starred[0] == ["51.0  ★"]
    widths = {round(bar.get_width(), 6) for bar in made[0].axes[0].patches}
    assert widths == {31.0, 41.0, 51.0}


def test_profile_is_a_line_a_condition_over_the_stages(tmp_path: Path, made: list[Drawn]) -> None:
    where = {"measure": "l2", "strategy": "bn+fc", "per_class": "20"}
    draw(Figure("f", "", "profile", where), seen("near", "far"), far(), None, tmp_path)
    (ax,) = made[0].axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["stem", "stage1", "stage2"]
    assert {name: np.round(y, 6).tolist() for name, y in labelled(ax).items()} == {
        "near": [0.15, 0.25, 0.35], "far": [0.65, 0.75, 0.85],
    }  # fmt: skip


def test_bands_are_drawn_whole(tmp_path: Path, made: list[Drawn]) -> None:
    far_off = seen().assign(value=lambda t: t["value"].where(t["seed"].eq(0), 5 * t["value"]))
    where = {"measure": "l2", "strategy": "bn+fc", "per_class": "20"}
    draw(Figure("f", "", "profile", where), far_off, far(), None, tmp_path)
    (ax,) = made[0].axes
    highest = far_off[far_off["part"].str.startswith("st") & far_off["strategy"].eq("bn+fc")]["value"].max()
    assert ax.get_ylim()[1] > highest > max(max(line.get_ydata()) for line in ax.get_lines())


LABELS = {"fc+bn": "batch norm", "fc": "the classifier"}


def test_strategies_go_by_their_labels_everywhere(tmp_path: Path, made: list[Drawn]) -> None:
    bars = {"strategy": ORDER, "per_class": "20"}
    corners = {"condition": ("near", "far"), "per_class": ("20", "all")}
    for kind, where in (("bars", bars), ("lines", bars), ("accuracy", {}), ("corners", corners)):
        draw(Figure("f", "", kind, where, LABELS), seen("near", "far"), far(), None, tmp_path)
    profile = {"measure": "l2", "strategy": ("fc", "bn+fc"), "per_class": "20"}
    draw(Figure("f", "", "profile", profile, LABELS), seen(), far(), None, tmp_path)
    bars_, lines, accuracy, corners_, profile_ = (figure.axes[0] for figure in made)
    ticks = [tick.get_text() for tick in bars_.get_xticklabels()]
    assert ticks == [
        f"{name}, {where}" for name in ("the classifier", "conv+fc", "batch norm") for where in ("near", "far")
    ]
    assert [tick.get_text() for tick in lines.get_xticklabels()] == ["the classifier", "conv+fc", "batch norm"]
    assert titles(made[1]) == ["toynet, near", "toynet, far"]
    assert (
        set(labelled(accuracy))
        == {tick.get_text() for tick in corners_.get_yticklabels()}
        == {"the classifier", "conv+fc", "batch norm"}
    )
    assert set(labelled(profile_)) == {"the classifier", "batch norm"}


def test_the_papers_numbers_find_a_strategy_that_has_a_label(tmp_path: Path, made: list[Drawn]) -> None:
    paper = pd.DataFrame({"strategy": ["bn+fc"], "measure": ["accuracy"], "value": [0.77]})
    where = {"strategy": ORDER, "per_class": "20"}
    for kind in ("bars", "lines"):
        draw(Figure("f", "", kind, where, LABELS), seen(), far(), paper, tmp_path)
    for figure, at in zip(made, (2.2, 2), strict=True):
        squares = [line for line in figure.axes[0].get_lines() if line.get_marker() == "s" and len(line.get_ydata())]
        assert [(list(line.get_xdata()), list(line.get_ydata())) for line in squares] == [([at], [77.0])]


def test_a_label_with_a_comma_is_whole_in_a_profile(tmp_path: Path, made: list[Drawn]) -> None:
    where = {"measure": "l2", "strategy": "bn+fc"}
    labels = {"bn+fc": "batch norm, all"}
    draw(Figure("f", "", "profile", where | {"per_class": "20"}, labels), seen(), far(), None, tmp_path)
    draw(Figure("f", "", "profile", where, labels), seen(), far(), None, tmp_path)
    assert set(labelled(made[0].axes[0])) == {"batch norm, all"}
    assert set(labelled(made[1].axes[0])) == set(SIZES)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"fc": 3}, "figure 'f': labels: the label of 'fc' is text, not 3"),
        ({"fc+bn": "a", "bn+fc": "b"}, "figure 'f': labels: 'bn+fc' has two labels, 'a' and 'b'"),
    ],
)
def test_labels_are_checked_when_a_figure_is_made(labels: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput) as error:
        Figure("f", "", "bars", {}, labels)
    assert str(error.value) == says


def test_two_strategies_of_one_label_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^label 'fc' is of 'fc' and of 'bn\+fc'; each strategy needs its own$"):
        draw(Figure("f", "", "accuracy", {}, {"bn+fc": "fc"}), seen(), far(), None, tmp_path)


def test_layers_in_depth_the_bottleneck_last(tmp_path: Path, made: list[Drawn]) -> None:
    values = {"svm@bottleneck": 0.9, "svm@stage2": 0.6, "svm@stem": 0.2, "svm@stage1": 0.4, "svm": 0.99, "fc": 1.0}
    none = {"measure": "accuracy", "against": "", "layers": "", "part": ""}
    rows = [
        run(strategy, "20", seed, "near") | none | {"value": v} for strategy, v in values.items() for seed in (0, 1)
    ]
    draw(Figure("f", "", "layers"), pd.DataFrame(rows)[list(COLUMNS)], far(), None, tmp_path)
    (ax,) = made[0].axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["stem", "stage1", "stage2", "bottleneck"]
    np.testing.assert_allclose(labelled(ax)["svm"], [20, 40, 60, 90])


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("kind", "where", "says"),
    [
        ("panels", {"measure": "l2", "layers": "conv:weight"}, "wants one value of strategy, not none"),
        ("panels", PANELS | {"strategy": ("fc", "bn+fc")}, "wants one value of strategy, not fc, bn+fc"),
        ("panels", PANELS | {"layers": "conv:wieght"}, "layers: unknown 'conv:wieght'; did you mean 'conv:weight'"),
        ("panels", PANELS | {"measure": "accuracy"}, "measure 'accuracy'"),
        ("bars", {"stratgy": "fc"}, "no column 'stratgy' to choose by; did you mean 'strategy'"),
        ("bars", {"value": "1"}, "no column 'value'"),
        ("bars", {"strategy": ()}, "strategy is a value or a list of at least one"),
        ("bars", {"seed": 0.3}, "seed is a value or a list of at least one, not 0.3"),
        ("lines", {}, "wants values in their order of strategy, not none"),
        ("corners", {"condition": ("near", "far"), "per_class": "20"}, "wants two values of per_class, not 20"),
    ],
)
def test_a_figure_that_cannot_be_is_refused_before_it_is_drawn(kind: str, where: Any, says: str) -> None:
    with pytest.raises(BadInput) as error:
        Figure("f", "", kind, where)
    assert says in str(error.value)


def test_names_of_kinds_and_files() -> None:
    with pytest.raises(UnknownName, match="unknown kind of figure 'panel'; did you mean 'panels'"):
        Figure("f", "", "panel", PANELS)
    with pytest.raises(BadInput, match=r"figure 'a/b': its name is a file's"):
        Figure("a/b", "", "bars")
    assert all(kind.about.endswith((".", "model.")) for kind in FIGURE_KINDS.values())


@pytest.mark.parametrize(
    ("kind", "where", "says"),
    [
        ("panels", PANELS | {"strategy": "bn+fc"}, "no data of strategy 'bn+fc'"),
        ("bars", {"strategy": "scratch"}, "no data of strategy 'scratch'; known: bn+fc, conv+fc, fc"),
        ("corners", {"condition": ("near", "far"), "per_class": ("20", "all")}, "no data of condition 'near' or 'far'"),
        ("profile", {"measure": "gaussian_kl"}, "no data of measure 'gaussian_kl'"),
        ("layers", {}, "no baseline on the features of one layer"),
        ("accuracy", {"layer": "l0"}, "layer is no column of what a figure of kind 'accuracy' shows"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, kind: str, where: Any, says: str) -> None:
    with pytest.raises(BadInput) as error:
        draw(Figure("f", "", kind, where), seen(), far(), None, tmp_path)
    assert says in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_every_kind_says_that_there_is_nothing(tmp_path: Path) -> None:
    needed = {
        "panels": PANELS, "profile": {"measure": "l2"}, "lines": {"strategy": ORDER},
        "corners": {"condition": ("near", "far"), "per_class": ("20", "all")},
    }  # fmt: skip
    for kind in FIGURE_KINDS:
        with pytest.raises(BadInput, match="figure 'f': no "):
            draw(Figure("f", "", kind, needed.get(kind, {})), seen().head(0), far().head(0), None, tmp_path)


def test_bands_of_test_accuracy_are_intervals() -> None:
    """Where it is known of how many images they are; else, and of what is no test accuracy, from least to most."""
    rows = [("accuracy", "d", 90.0), ("accuracy", "d", 100.0), ("accuracy", "e", 80.0), ("train_accuracy", "d", 100.0)]
    table = pd.DataFrame(rows, columns=["measure", "dataset", "value"])
    found = seeds(table, ["measure", "dataset"], {"d": 50}).set_index(["measure", "dataset"])
    wanted = share_interval([0.9, 1.0], 50)
    assert found.loc[("accuracy", "d")].tolist() == pytest.approx([95.0, 100 * wanted.low, 100 * wanted.high])
    assert found.loc[("accuracy", "e")].tolist() == [80.0, 80.0, 80.0]
    assert found.loc[("train_accuracy", "d")].tolist() == [100.0, 100.0, 100.0]
