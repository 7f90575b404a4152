"""A paper's table filled with ours: which cells there are, what is pooled, and what stands beside what."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.papers import published
from studies.report.tables import Filled, as_rows, at_sizes_of, fill, in_words
from studies.spec.table import CONDITIONS, Table
from wdiv.errors import BadData, BadInput, WdivError
from wdiv.numerics import share_interval

BASE = {
    "condition": "", "model": "resnet18", "source": "imagenet", "dataset": "steel", "per_class": "20", "n_train": 140,
    "strategy": "fc", "bn_mode": "auto", "seed": 0, "run": "", "measure": "accuracy", "against": "", "layers": "",
    "part": "", "value": 0.5,
}  # fmt: skip
NUMBERS = ["ours", "spread", "seeds", "theirs", "difference"]


def observed(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([BASE | row for row in rows], columns=list(BASE))


def paper(*rows: tuple[str, str, float], table: str = "table1", per_class: str = "20") -> pd.DataFrame:
    """(model, strategy, percent)."""
    found = pd.DataFrame(rows, columns=["model", "strategy", "value"])
    return found.assign(table=table, per_class=per_class, measure="accuracy")


def cell(filled: Filled, **keys: str) -> dict[str, Any]:
    """The numbers of the one cell with these keys; what there is none of is None."""
    (found,) = (c for c in filled.cells.to_dict("records") if all(c[key] == value for key, value in keys.items()))
    return {name: None if found[name] != found[name] else found[name] for name in NUMBERS}


# ------------------------------------------------------------------------------------------------------------ laws

FEW = 10
PLACES = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["resnet18", "resnet50", "other"]),
        "strategy": st.sampled_from(["scratch", "fc", "bn+fc"]),
        "bn_mode": st.sampled_from(["auto", "frozen"]),
        "seed": st.integers(0, 3),
    }
)
OBSERVED = st.lists(PLACES, max_size=25, unique_by=lambda row: tuple(sorted(row.items()))).flatmap(
    lambda rows: st.tuples(
        st.just(rows), st.lists(st.floats(0, 1, width=32), min_size=len(rows), max_size=len(rows))
    ).map(lambda both: observed(*(row | {"value": value} for row, value in zip(*both, strict=True))))
)
PAPER = st.dictionaries(
    st.tuples(st.sampled_from(["resnet18", "resnet50", "resnet152"]), st.sampled_from(["scratch", "fc", "conv+fc"])),
    st.floats(1, 99, width=32),
).map(lambda found: paper(*((*key, value) for key, value in found.items())))


@settings(max_examples=3 * FEW)
@given(OBSERVED, PAPER, st.booleans())
def test_no_cell_is_invented_and_none_is_lost(ours: pd.DataFrame, theirs: pd.DataFrame, everyone: bool) -> None:
    """Against sets and the standard library's statistics."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in ours.to_dict("records"):
        values.setdefault((row["model"], row["bn_mode"], row["strategy"]), []).append(100 * row["value"])
    printed = {(row["model"], row["strategy"]): row["value"] for row in theirs.to_dict("records")}
    modes: dict[str, set[str]] = {}
    for model, mode, _ in values:
        modes.setdefault(model, set()).add(mode)
    by_mode = len({(model, strategy) for model, _, strategy in values}) < len(values)
    wanted = set(values)
    for model, strategy in printed:
        if model in modes or everyone:
            wanted |= {(model, mode, strategy) for mode in modes.get(model, {""})}
    if not by_mode:  # every cell has one mode, which is no key then
        values = {(model, "", strategy): found for (model, _, strategy), found in values.items()}
        wanted = {(model, "", strategy) for model, _, strategy in wanted}

    filled = fill(Table("table1"), ours, theirs, all_of_paper=everyone)

    assert filled.rows == (("model", "bn_mode") if by_mode else ("model",))
    assert list(filled.cells) == [*filled.rows, "strategy", *NUMBERS]
    found = {(c["model"], c.get("bn_mode", ""), c["strategy"]): c for c in filled.cells.to_dict("records")}
    assert len(found) == len(filled.cells)
    assert set(found) == wanted
    for key, numbers in found.items():
        seeds, number = values.get(key, []), printed.get((key[0], key[2]), np.nan)
        mean = statistics.fmean(seeds) if seeds else np.nan
        spread = statistics.stdev(seeds) if len(seeds) > 1 else np.nan
        assert numbers["seeds"] == len(seeds)
        assert [numbers[name] for name in ("ours", "spread", "theirs", "difference")] == pytest.approx(
            [mean, spread, number, mean - number], nan_ok=True, abs=1e-5
        )
    rows = as_rows(filled)
    assert len(rows) == len({key[:2] for key in wanted})
    if rows:
        assert len({tuple(row) for row in rows}) == 1
        assert {name for row in rows for name in row} == {*filled.rows, *(key[2] for key in wanted)}


@settings(max_examples=FEW)
@given(OBSERVED, PAPER, st.integers(0, 99))
def test_the_order_of_observations_does_not_matter(ours: pd.DataFrame, theirs: pd.DataFrame, shuffle: int) -> None:
    mixed = np.random.default_rng(shuffle).permutation(len(ours))
    one, other = (fill(Table("table1"), frame, theirs) for frame in (ours, ours.iloc[mixed]))
    pd.testing.assert_frame_equal(one.cells, other.cells, check_exact=True)


@settings(max_examples=FEW)
@given(OBSERVED.filter(len))
def test_means_are_those_of_a_pivot(ours: pd.DataFrame) -> None:
    filled = fill(Table("x", rows=("bn_mode", "model")), ours)
    wide = filled.cells.pivot(index=["bn_mode", "model"], columns="strategy", values="ours")
    wanted = 100 * ours.pivot_table("value", ["bn_mode", "model"], "strategy", aggfunc="mean")
    pd.testing.assert_frame_equal(wide, wanted, check_dtype=False, check_index_type=False, check_column_type=False)


# ---------------------------------------------------------------------------------------------------- what is pooled


@pytest.mark.parametrize("name", [name for name in CONDITIONS if name not in ("model", "strategy", "measure")])
def test_what_differs_within_a_cell_becomes_a_key_of_the_rows(name: str) -> None:
    values = (5, 10) if name == "n_train" else ("5", "10") if name == "per_class" else ("a", "b")
    filled = fill(Table("x"), observed({name: values[0], "value": 0.2}, {name: values[1], "value": 0.4}))
    assert filled.rows == ("model", name)
    assert {text: cell(filled, **{name: str(text)})["ours"] for text in values} == {values[0]: 20.0, values[1]: 40.0}
    assert all(cell(filled, **{name: str(text)})["spread"] is None for text in values)


def test_what_differs_only_between_cells_stays_out() -> None:
    ours = observed({"strategy": "svm", "bn_mode": "frozen"}, {"strategy": "fc", "bn_mode": "auto"})
    assert fill(Table("x"), ours).rows == ("model",)


def test_what_follows_from_another_key_stays_out() -> None:
    ours = observed({"dataset": "a", "n_train": 10, "source": "s"}, {"dataset": "b", "n_train": 20, "source": "t"})
    assert fill(Table("x"), ours).rows == ("model", "dataset")


def test_several_measures_are_never_averaged() -> None:
    ours = observed({"value": 0.2}, {"measure": "train_accuracy", "value": 0.9})
    filled = fill(Table("x", measure=("train_accuracy", "accuracy")), ours)
    assert filled.rows == ("model", "measure")
    assert filled.cells["ours"].tolist() == [90.0, 20.0]
    assert fill(Table("x"), ours).cells["ours"].tolist() == [20.0]


def test_a_metric_is_no_share_and_not_in_percent() -> None:
    ours = observed(*({"measure": "relative_l2", "layers": stage, "value": 0.01234} for stage in ("stage1", "stage2")))
    filled = fill(Table("x", rows=("strategy",), columns=("layers",), measure="relative_l2"), ours)
    assert filled.cells["ours"].tolist() == [0.01234, 0.01234]
    assert as_rows(filled) == [{"strategy": "fc", "stage1": "0.0123", "stage2": "0.0123"}]
    assert "percent" not in in_words(filled)


def test_a_value_that_is_not_known_is_no_seed() -> None:
    filled = fill(Table("x"), observed({"value": 0.5}, {"seed": 1, "value": np.nan}, {"model": "m", "value": np.nan}))
    assert cell(filled, model="resnet18") == dict(zip(NUMBERS, (50.0, None, 1, None, None), strict=True))
    assert cell(filled, model="m")["seeds"] == 0
    assert as_rows(filled)[0] == {"model": "m", "fc": "–"}


def test_source_networks_of_a_kind_are_pooled_as_the_seeds_are_that_start_from_them() -> None:
    rows = [{"source": f"digits #{seed} (net)", "seed": seed, "value": 0.5 + seed / 10} for seed in range(3)]
    filled = fill(Table("t"), observed(*rows))
    assert "source" not in filled.rows
    assert filled.cells[["ours", "seeds"]].round(6).values.tolist() == [[60.0, 3]]
    crossed = [{"source": f"digits #{k} (net)", "seed": seed, "value": 0.5} for k in range(2) for seed in range(3)]
    assert fill(Table("t"), observed(*crossed)).cells["source"].tolist() == ["digits #0 (net)", "digits #1 (net)"]
    other = [{"source": f"{kind} #{seed}", "seed": seed, "value": 0.5} for kind in "ab" for seed in range(3)]
    assert fill(Table("t"), observed(*other)).cells["source"].tolist() == ["a", "b"]


def test_two_values_of_one_seed_are_an_error_that_names_the_cell() -> None:
    with pytest.raises(BadData, match="table 'x': two values of one seed in one cell: model resnet18, strategy fc"):
        fill(Table("x"), observed({"value": 0.1}, {"value": 0.2}))


# ------------------------------------------------------------------------------------------------- the paper's numbers


def test_the_papers_number_stands_in_every_row_it_belongs_to() -> None:
    filled = fill(Table("table1"), observed({}, {"bn_mode": "frozen"}), paper(("resnet18", "fc", 54.9376)))
    assert filled.cells["theirs"].tolist() == [54.9376, 54.9376]
    assert cell(filled, bn_mode="frozen")["difference"] == pytest.approx(50 - 54.9376)


def test_the_papers_number_never_stands_beside_another_size() -> None:
    filled = fill(Table("table1"), observed({"per_class": "5"}), paper(("resnet18", "fc", 54.9)))
    assert filled.rows == ("model", "per_class")
    assert cell(filled, per_class="5")["theirs"] is None
    assert cell(filled, per_class="20") == dict(zip(NUMBERS, (None, None, 0, 54.9, None), strict=True))


def test_another_table_of_the_paper_is_not_this_one() -> None:
    theirs = paper(("resnet18", "fc", 54.9), table="table2")
    assert fill(Table("table1"), observed({}), theirs).cells["theirs"].isna().all()
    assert fill(Table("table1", of="table2"), observed({}), theirs).cells["theirs"].tolist() == [54.9]
    with pytest.raises(BadInput, match="table 'mine': the paper has no 'table3'; did you mean 'table2'"):
        fill(Table("mine", of="table3"), observed({}), theirs)


def test_two_numbers_of_the_paper_for_one_cell_are_an_error() -> None:
    with pytest.raises(BadData, match="two published numbers for one cell"):
        fill(Table("table1"), observed({}), paper(("resnet18", "fc", 1.0), ("resnet18", "fc", 2.0)))


def test_where_narrows_both_and_gives_the_order() -> None:
    table = Table("table4", where={"strategy": ("bn+fc", "fc"), "per_class": 20})
    ours = observed({"strategy": "fc"}, {"strategy": "bn+fc"}, {"strategy": "scratch"}, {"per_class": "40"})
    filled = fill(table, ours, published("peng2020"))
    assert filled.rows == ("model",)
    assert filled.cells["strategy"].tolist() == ["bn+fc", "fc"]
    assert filled.cells["theirs"].tolist() == [66.2883, 54.9376]


def test_without_where_the_order_is_the_papers_then_numbers_by_size() -> None:
    ours = observed(*({"per_class": size} for size in ("all", "100", "9", "40", "20")))
    by_size = Table("table7", rows=("per_class",), where={"strategy": ("fc", "bn+fc")})
    assert list(dict.fromkeys(fill(by_size, ours, published("peng2020")).cells["per_class"])) == [
        "20", "40", "all", "9", "100",
    ]  # fmt: skip
    assert fill(by_size, ours).cells["per_class"].tolist() == ["9", "20", "40", "100", "all"]


@pytest.mark.parametrize(
    ("reading", "theirs"),
    [
        ({"5": "conv@stage5+fc", "4": "conv@stage4+fc", "0": "fc"}, [86.67, 90.0, 69.73]),
        ({"1": "conv+fc", "0": "fc"}, [73.47, 69.73]),
    ],
)
def test_a_number_that_can_be_read_in_two_ways_is_read_as_told(reading: dict[str, str], theirs: list[float]) -> None:
    table = Table("reading", of="table1", reading={"block": reading})
    ours = observed({"model": "vgg16:head=mlp512", "per_class": "all", "strategy": "fc", "value": 0.7})
    filled = fill(table, ours, published("gupta2020"))
    assert dict(zip(filled.cells["strategy"], filled.cells["theirs"], strict=True)) == dict(
        zip(reading.values(), theirs, strict=True)
    )
    assert cell(filled, strategy="fc")["difference"] == pytest.approx(70 - 69.73)


def test_a_reading_of_what_the_paper_does_not_tell_is_an_error() -> None:
    with pytest.raises(BadInput, match="the paper tells no 'blok'; did you mean 'block'"):
        fill(Table("table1", reading={"blok": {"5": "fc"}}), observed({}), published("gupta2020"))


@pytest.mark.parametrize(
    "ours",
    [["20", "40", "all"], ["20", "all"], ["3", "5"], ["3", "5", "7", "all"]],
    ids=["the same", "some of them", "fewer", "more"],
)
def test_sizes_stand_for_the_papers_only_where_they_pair_off(ours: list[str]) -> None:
    paper = pd.DataFrame({"per_class": ["all", "40", "20", "40"]})
    observed = pd.DataFrame({"per_class": ours, "n_train": [7 * (i + 1) for i in range(len(ours))]})
    found, line = at_sizes_of(paper, observed)
    assert found["per_class"].tolist() == ours
    assert line == ""


def test_sizes_pair_off_by_their_images_and_not_by_their_names() -> None:
    paper = pd.DataFrame({"per_class": ["all", "40", "20"]})
    observed = pd.DataFrame({"per_class": ["10", "all", "9", "10"], "n_train": [70, 900, 63, 70], "value": range(4)})
    found, line = at_sizes_of(paper, observed)
    assert found["per_class"].tolist() == ["40", "all", "20", "40"]
    assert found["value"].tolist() == [0, 1, 2, 3]
    assert line == "in the tables, the paper's 20, 40, all images a class stand for our 9, 10, all"


def test_the_whole_paper_can_be_shown_without_a_run() -> None:
    numbers = published("peng2020")
    for name, part in numbers.groupby("table"):
        filled = fill(Table(name, rows=("model", "per_class")), observed(), numbers, all_of_paper=True)
        assert len(filled.cells) == len(part)
        assert filled.cells["theirs"].sum() == pytest.approx(part["value"].sum())
        assert fill(Table(name), observed(), numbers).cells.empty


# ------------------------------------------------------------------------------------------------------------ printed


def test_a_table_in_markdown() -> None:
    table = Table(
        "table1", "20 images a class", where={"per_class": "20"}, note="Other images than the paper's.",
        labels={"scratch": "From scratch", "by-kind": "A rate a kind", "mine": "mine | yours"},
    )  # fmt: skip
    kinds = "conv=1e-4,bn=1e-2,fc=1e-3"
    ours = observed(
        *({"strategy": "scratch", "seed": seed, "value": 0.50 + seed / 100} for seed in range(3)),
        {"model": "mine", "strategy": kinds, "value": 0.61234},
    )
    theirs = paper(("resnet18", "scratch", 51.0783), ("resnet18", "fc", 54.9376))
    assert in_words(fill(table, ours, theirs)) == (
        "**table1**: 20 images a class\n\n"
        "| model | From scratch | fc | A rate a kind |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| resnet18 | 51.0 ± 1.0 (51.1) | – (54.9) | – |\n"
        "| mine \\| yours | – | – | 61.2 (–) |\n\n"
        "Mean ± standard deviation over 1 to 3 seeds, in percent; in brackets the paper's.\n\n"
        "Other images than the paper's.\n"
    )
    assert in_words(fill(table, ours.tail(1))).splitlines()[2:7] == [
        "| model | A rate a kind |", "| --- | ---: |", "| mine \\| yours | 61.2 |", "", "One seed, in percent.",
    ]  # fmt: skip


def test_an_empty_table_says_so() -> None:
    assert in_words(fill(Table("t"), observed())) == "**t**\n\nNo run and no published number belongs here.\n"


def test_an_accuracy_has_the_interval_of_its_test_images_and_its_seeds() -> None:
    ours = observed({"value": 0.9}, {"seed": 1, "value": 0.94}, {"measure": "train_accuracy", "value": 1.0})
    table = Table("t", measure=("train_accuracy", "accuracy"), rows=("model",), columns=("measure",))
    filled = fill(table, ours, n_test={ours["dataset"].iloc[0]: 50})
    cells = filled.cells.set_index("measure")
    wanted = share_interval([0.9, 0.94], 50)
    assert cells.loc["accuracy", ["low", "high"]].tolist() == pytest.approx([100 * wanted.low, 100 * wanted.high])
    assert cells.loc["train_accuracy", ["low", "high"]].isna().all()
    words = in_words(filled)
    assert f"92.0 ± 2.8 [{100 * wanted.low:.1f}, {100 * wanted.high:.1f}] |" in words
    assert "; in square brackets 95 % for other test images and seeds." in words


def test_columns_of_two_keys_are_named_by_both() -> None:
    table = Table("x", columns=("per_class", "strategy"), labels={"20": "FI140"})
    assert as_rows(fill(table, observed({}, {"per_class": "all"}))) == [
        {"model": "resnet18", "FI140, fc": "50.0", "all, fc": "50.0"}
    ]


def test_columns_keep_their_order_where_the_first_row_lacks_one() -> None:
    table = Table("x", where={"strategy": ("scratch", "fc", "bn+fc")})
    ours = observed({"strategy": "bn+fc", "model": "a"}, *({"strategy": s, "model": "b"} for s in ("fc", "scratch")))
    rows = as_rows(fill(table, ours))
    assert [list(row) for row in rows] == [["model", "scratch", "fc", "bn+fc"]] * 2
    assert list(rows[0].values()) == ["a", "–", "–", "50.0"]


def test_two_columns_printed_alike_are_an_error_and_not_one_column() -> None:
    filled = fill(Table("x", labels={"scratch": "fc"}), observed({}, {"strategy": "scratch"}))
    with pytest.raises(BadInput, match="table 'x': two columns are printed alike: fc, fc"):
        as_rows(filled)


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rows": ("modl",)}, "unknown name 'modl' in rows; did you mean 'model'"),
        ({"columns": ("seed",)}, "unknown name 'seed' in columns"),
        ({"rows": ()}, "rows is a value or a list of at least one"),
        ({"rows": (True,)}, "rows is a value or a list of at least one"),
        ({"rows": ("strategy",)}, "'strategy' is twice"),
        ({"where": {"perclass": "20"}}, "unknown name 'perclass' in where; did you mean 'per_class'"),
        ({"where": {"measure": "accuracy"}}, "unknown name 'measure' in where"),
        ({"where": {"per_class": ()}}, "where per_class is a value or a list of at least one"),
        ({"where": {"per_class": "0"}}, "where per_class: whole numbers from 1, or 'all', not '0'"),
        ({"where": {"strategy": "bm+fc"}}, "bm"),
        ({"where": {"bn_mode": "frosen"}}, "did you mean 'frozen'"),
        ({"measure": "acuracy"}, "measure: unknown 'acuracy'; did you mean 'accuracy'"),
        ({"reading": {"block": {"5": "cnv@stage5"}}}, "cnv"),
    ],
)
def test_a_table_is_checked_when_it_is_made(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(WdivError, match=message):
        Table("x", **fields)


def test_lists_single_values_and_other_names_all_do() -> None:
    """As a user's TOML has them."""
    table = Table("x", rows=["model"], where={"per_class": [20, "all"], "strategy": "by-kind"}, measure=["accuracy"])
    kinds = "conv=1e-4,bn=1e-2,fc=1e-3"
    assert table == Table("x", where={"per_class": ("20", "all"), "strategy": (kinds,)})
    assert Table("x", where={"strategy": ("svm@stage3", "fc")}).where == {"strategy": ("svm@stage3", "fc")}
