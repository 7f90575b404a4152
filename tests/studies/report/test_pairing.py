"""Which rows are compared with which."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from studies.report.pairing import Pairs, of_claim, prepare
from studies.spec.claim import Claim
from studies.spec.columns import COLUMNS, SELECTABLE
from tests.studies.observed import claim, row, table, two
from wdiv.errors import BadInput


def pairs(one: Claim, observations: pd.DataFrame) -> Pairs:
    return of_claim(one, prepare(observations))


def differences(one: Claim, observations: pd.DataFrame) -> list[float]:
    return sorted(pairs(one, observations).table["difference"].round(9).tolist())


NOT_COMPARED = [name for name in SELECTABLE if name not in ("strategy", "measure", "source")]


@pytest.mark.parametrize("column", NOT_COMPARED)
def test_rows_agree_in_every_column_that_is_not_named(column: str) -> None:
    """Two values of each column, far apart: pairs across them would be 10 off."""
    rows = [
        row(10 * i + step, strategy=name, **{column: word})
        for i, word in enumerate("xy")
        for name, step in (("bn+fc", 0.25), ("fc", 0.0))
    ]
    assert differences(claim(), table(rows)) == [0.25, 0.25]
    lonely = [one for one in rows if (one["strategy"], one[column]) in (("bn+fc", "x"), ("fc", "y"))]
    if column != "bn_mode":
        assert pairs(claim(), table(lonely)).missing.endswith("no two of them agree in all that is not compared")


def test_seeds_are_paired_and_runs_and_image_counts_are_not() -> None:
    rows = [
        row(0.5, strategy="bn+fc", seed=1, n_train=7, run="x"),
        row(0.25, strategy="fc", seed=1, n_train=8, run="y"),
    ]
    found = pairs(claim(), table([*rows, row(0.9, strategy="fc", seed=2)]))
    assert found.table[["seed", "difference"]].to_dict("list") == {"seed": [1], "difference": [0.25]}
    assert found.table["parts"].tolist() == [((("", "x"), 1.0), (("", "y"), -1.0))]


def test_what_a_side_names_is_not_paired() -> None:
    rows = [row(0.5, strategy="bn+fc", bn_mode="frozen"), row(0.9, strategy="bn+fc", bn_mode="auto")]
    rows += [row(0.25, strategy="fc", bn_mode="auto"), row(0.35, strategy="fc", bn_mode="frozen")]
    assert differences(claim(left={"strategy": "bn+fc", "bn_mode": "frozen"}), table(rows)) == [0.2]


def test_several_values_of_a_side_stand_apart_and_those_of_both_sides_are_paired() -> None:
    rows = [row(0.9, strategy="bn+fc"), row(0.5, strategy="fc"), row(0.7, strategy="conv+fc")]
    found = pairs(claim(right={"strategy": ["fc", "conv+fc", "svm"]}), table(rows))
    assert found.table[["left", "right", "difference"]].round(9).values.tolist() == [[0, 0, 0.4], [0, 1, 0.2]]
    assert found.lacking == ("nothing with strategy 'svm'; known: bn+fc, conv+fc, fc",)
    both = [
        row(v, strategy=s, per_class=n)
        for s, n, v in (("bn+fc", "5", 1), ("bn+fc", "6", 2), ("fc", "5", 3), ("fc", "6", 8))
    ]
    assert differences(claim(of={"per_class": ["5", "6"]}), table(both)) == [-6.0, -2.0]


def test_accuracy_is_meant_where_no_measure_is_named() -> None:
    rows = [
        row(v, strategy=s, measure=m)
        for m, k in (("accuracy", 1), ("gaussian_kl", 9))
        for s, v in (("bn+fc", k), ("fc", 0))
    ]
    assert differences(claim(), table(rows)) == [1.0]
    assert differences(claim(of={"measure": "gaussian_kl"}), table(rows)) == [9.0]


# ------------------------------------------------------------------------------------------------------- BN mode


def modes(name: str, **values: float) -> list[dict[str, object]]:
    return [row(value, strategy=name, bn_mode=mode) for mode, value in values.items()]


def test_bn_modes_are_paired_strictly() -> None:
    rows = [*modes("bn+fc", auto=0.9, frozen=0.8), *modes("fc", auto=0.5, frozen=0.6)]
    assert differences(claim(), table(rows)) == [0.2, 0.4]


@pytest.mark.parametrize("lone", ["frozen", "auto"])
def test_a_strategy_that_exists_in_one_mode_is_set_against_every_mode(lone: str) -> None:
    rows = [*modes("bn+fc", auto=0.9, frozen=0.8), *modes("fc", **{lone: 0.5})]
    assert differences(claim(), table(rows)) == [0.3, 0.4]
    assert differences(claim(left={"strategy": "fc"}, right={"strategy": "bn+fc"}), table(rows)) == [-0.4, -0.3]


def test_two_that_exist_in_one_mode_each_make_one_pair() -> None:
    assert differences(claim(), table([*modes("bn+fc", auto=0.9), *modes("fc", frozen=0.5)])) == [0.4]


def test_one_lone_mode_among_several_strategies_counts_in_each_mode() -> None:
    rows = [*modes("bn+fc", auto=0.9, frozen=0.7), *modes("svm", frozen=0.5), *modes("fc", auto=0.3, frozen=0.1)]
    assert differences(claim(left={"strategy": ["bn+fc", "svm"]}), table(rows)) == [0.2, 0.4, 0.6, 0.6]


def test_whether_a_mode_is_alone_is_asked_of_each_model() -> None:
    rows = [*modes("bn+fc", auto=0.9, frozen=0.8), *modes("fc", auto=0.5, frozen=0.6)]
    rows += [row(0.4, strategy="bn+fc", model="plain"), row(0.1, strategy="fc", model="plain", bn_mode="other")]
    assert differences(claim(), table(rows)) == [0.2, 0.3, 0.4]


# --------------------------------------------------------------------------------------------------------- sizes


def sized(*sizes: tuple[str, int], model: str = "net") -> list[dict[str, object]]:
    return [row(n / 1000, per_class=name, n_train=n, model=model) for name, n in sizes]


def between(left: str, right: str) -> Claim:
    return claim(left={"per_class": left}, right={"per_class": right})


def test_words_for_sizes_go_by_the_training_images_of_each_model() -> None:
    rows = sized(("20", 140), ("100", 700), ("all", 900)) + sized(("5", 35), ("40", 280), ("all", 300), model="other")
    assert differences(between("smallest", "largest"), table(rows)) == [-0.76, -0.265]
    assert differences(between("middle", "smallest"), table(rows)) == [0.245, 0.56]
    assert differences(between("middle", "all"), table(rows)) == [-0.2, -0.02]


def test_of_two_in_the_middle_the_smaller_is_meant_and_of_two_in_all_none() -> None:
    four = table(sized(("5", 50), ("10", 100), ("20", 200), ("all", 400)))
    assert differences(between("middle", "smallest"), four) == [0.05]
    found = pairs(between("middle", "smallest"), table(sized(("5", 50), ("all", 400))))
    assert found.missing == "no runs to compare: nothing with per_class 'middle'"


def test_all_is_the_largest_even_if_another_is_as_large() -> None:
    rows = [row(0.1, per_class="all"), row(0.2, per_class="40")]
    assert differences(between("largest", "smallest"), table(rows)) == [-0.1]


def test_one_size_is_not_compared_with_itself() -> None:
    found = pairs(between("smallest", "largest"), table(sized(("all", 100))))
    assert found.missing == "no runs to compare: both sides are the same runs"
    both = sized(("all", 100)) + sized(("5", 50), ("all", 100), model="other")
    assert differences(between("largest", "smallest"), table(both)) == [0.05]


def test_words_for_sizes_name_the_other_run_of_a_divergence_too() -> None:
    rows = [
        row(value, per_class=n, n_train=k, measure="gaussian_kl", against=other)
        for n, k, other, value in (("5", 5, "all", 3), ("9", 9, "all", 1), ("5", 5, "9", 7), ("all", 99, "start", 4))
    ]
    asked = claim(
        left={"per_class": "smallest"},
        right={"per_class": "middle"},
        of={"measure": "gaussian_kl", "against": "largest"},
    )
    assert differences(asked, table(rows)) == [2.0]


# -------------------------------------------------------------------------------------------------- gains, ratios


def test_over_counts_the_gain_above_a_strategy_in_the_same_cell() -> None:
    rows = [
        row(value, strategy=name, per_class=n, seed=seed)
        for name, n, seed, value in (
            ("fc", "5", 0, 0.5), ("scratch", "5", 0, 0.1), ("fc", "all", 0, 0.9), ("scratch", "all", 0, 0.8),
            ("fc", "5", 1, 0.6), ("scratch", "5", 1, 0.3), ("fc", "all", 1, 0.9),
        )
    ]  # fmt: skip
    asked = claim(left={"per_class": "5"}, right={"per_class": "all"}, of={"strategy": "fc"}, over="scratch")
    assert differences(asked, table(rows)) == [0.3]
    steps = claim(left={"per_class": "5"}, right={"per_class": "all"}, of={"strategy": "fc"}, over=["scratch", "fc"])
    assert differences(steps, table(rows)) == [0.3, 0.4], "each side over its own"
    found = pairs(steps, table(rows)).table
    assert [sorted(share for _, share in parts) for parts in found["parts"]] == [[-1.0, 0.0, 1.0]] * 2
    none = claim(left={"per_class": "5"}, right={"per_class": "all"}, of={"strategy": "fc"}, over="svm")
    assert pairs(none, table(rows)).missing == "no runs to compare: no run of 'svm' beside them"


def test_a_gain_above_a_strategy_of_one_mode_is_one_in_every_mode() -> None:
    rows = [*modes("bn+fc", auto=0.9, frozen=0.8), *modes("fc", auto=0.5, frozen=0.6), *modes("scratch", auto=0.4)]
    assert differences(claim(over="scratch"), table(rows)) == [0.2, 0.4]
    by_mode = claim(left={"bn_mode": "auto"}, right={"bn_mode": "frozen"}, of={"strategy": "bn+fc"}, over="fc")
    assert differences(by_mode, table(rows)) == [0.2]


def test_ratios_are_differences_of_logarithms_and_leave_out_what_has_none() -> None:
    found = pairs(claim(scale="ratio"), two([8.0, 4.0, 0.0, 1.0], [2.0, 1.0, 1.0, -1.0]))
    np.testing.assert_allclose(found.table["difference"], np.log([4.0, 4.0]))
    assert found.left_out == 2


def test_what_is_no_number_is_left_out_and_counted() -> None:
    found = pairs(claim(), two([0.5, np.nan, np.inf], [0.25, 0.25, 0.25]))
    assert (found.table["difference"].tolist(), found.left_out, found.missing) == ([0.25], 2, "")
    none = pairs(claim(), two([np.nan, np.nan], [0.5, 0.5]))
    assert (none.left_out, none.missing) == (2, "no runs to compare: none of 2 values is a number")


def test_what_differs_by_rounding_does_not_differ() -> None:
    assert differences(claim(), two([0.1 + 0.2], [0.3])) == [0.0]
    assert pairs(claim(), two([0.1 + 0.2], [0.3])).table["difference"].item() == 0.0
    assert pairs(claim(), two([3e-20], [1e-20])).table["difference"].item() == pytest.approx(2e-20)


# ------------------------------------------------------------------------------------------------- what is missing


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"left": {"strategy": "svm"}}, "nothing with strategy 'svm'; known: bn+fc, fc"),
        ({"left": {"strategy": ["svm", "ncm"]}}, "nothing with strategy 'svm' or 'ncm'"),
        ({"of": {"model": "nett"}}, "nothing with model 'nett'; did you mean 'net'?"),
        ({"of": {"measure": "gaussian_kl"}}, "nothing with measure 'gaussian_kl'; known: accuracy"),
    ],
)
def test_what_is_missing_is_said(fields: dict[str, object], said: str) -> None:
    assert pairs(claim(**fields), two([1.0], [2.0])).missing == f"no runs to compare: {said}"


def test_an_empty_table_has_nothing_and_an_incomplete_one_is_refused() -> None:
    for empty in (table([]), table([row(1.0)]).iloc[:0]):
        for asked in (claim(), claim(over="fc", scale="ratio"), between("smallest", "largest")):
            found = pairs(asked, empty)
            assert (len(found.table), found.missing) == (0, "no runs to compare: there are no observations")
    with pytest.raises(BadInput, match="observations have no column seed, value"):
        prepare(table([]).drop(columns=["seed", "value"]))


def test_a_table_may_come_from_a_file(tmp_path) -> None:
    rows = [row(0.5, strategy="bn+fc", per_class="20"), row(0.25, strategy="fc", per_class="20")]
    table(rows).to_csv(tmp_path / "observations.csv", index=False)
    read = pd.read_csv(tmp_path / "observations.csv")
    assert list(read) == list(COLUMNS)
    assert differences(claim(of={"per_class": "20", "condition": ""}), read) == [0.25]


def test_the_table_is_left_as_it_was() -> None:
    given = two([1.0], [2.0])
    before = given.copy()
    prepare(given)
    pd.testing.assert_frame_equal(given, before)
