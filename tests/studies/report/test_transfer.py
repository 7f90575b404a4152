"""Runs that did worse than training from scratch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from studies.report.transfer import negative_transfer
from tests.studies.observed import row, table


def observations(*values: tuple[str, float], **columns: object) -> list[dict[str, object]]:
    return [row(value, strategy=name, **columns) for name, value in values]


ROWS = [
    *observations(("scratch", 0.50), ("fc", 0.25), ("bn+fc", 0.75), seed=0),
    *observations(("scratch", 0.25), ("fc", 0.125), seed=1),
    *observations(("fc", 0.0), seed=2),
    *observations(("scratch", 1.0), ("fc", 0.5), seed=0, measure="train_accuracy"),
]


def test_each_run_below_scratch_of_its_own_cell_is_listed_worst_first() -> None:
    found = negative_transfer(table(ROWS))
    assert found[["strategy", "seed", "accuracy", "scratch", "lost"]].to_dict("split")["data"] == [
        ["fc", 0, 0.25, 0.5, 0.25], ["fc", 1, 0.125, 0.25, 0.125],
    ]  # fmt: skip
    assert found["beyond_sampling"].tolist() == [None, None]
    assert found["run"].tolist() == ["net-data-all-fc-auto-0", "net-data-all-fc-auto-1"]


@pytest.mark.parametrize("column", ["condition", "model", "dataset", "per_class"])
def test_scratch_of_another_cell_does_not_count(column: str) -> None:
    rows = [row(0.9, strategy="scratch"), row(0.1, **{column: "other"})]
    assert negative_transfer(table(rows)).empty


def test_the_best_scratch_counts_whatever_its_rate_bn_mode_and_source() -> None:
    rows = observations(("scratch", 0.5), ("scratch=1e-2", 0.75), ("scratch for 5 then fc", 0.625))
    rows += [row(0.6875, bn_mode="frozen", source="other"), row(math.nan, strategy="svm", bn_mode="frozen")]
    found = negative_transfer(table(rows))
    assert found[["strategy", "bn_mode", "lost"]].to_dict("split")["data"] == [["fc", "frozen", 0.0625]]


def test_what_starts_from_random_weights_transfers_nothing() -> None:
    assert negative_transfer(table(observations(("scratch", 0.5), ("bn-random+fc", 0.1)))).empty


@pytest.mark.parametrize("n_test", [20, 40, 80, 400])
@pytest.mark.parametrize("by_name", [False, True])
def test_beyond_sampling_is_the_one_sided_test_of_two_proportions(n_test: int, by_name: bool) -> None:
    """Its square is Pearson's χ² of the two by two table, without a correction."""
    rows = table(observations(("scratch", 0.75), ("fc", 0.65), ("svm", 0.35)))
    found = negative_transfer(rows, {"data": n_test} if by_name else n_test)
    for one in found.itertuples():
        right = np.round(np.array([one.scratch, one.accuracy]) * n_test)
        p = stats.chi2_contingency([right, n_test - right], correction=False).pvalue / 2
        assert one.beyond_sampling == (p < 0.05)
    assert (n_test == 400) == bool(found["beyond_sampling"].all())


def test_of_a_data_set_whose_test_images_are_not_known_nothing_is_said() -> None:
    found = negative_transfer(table(observations(("scratch", 1.0), ("fc", 0.0))), {"other": 10})
    assert found["beyond_sampling"].tolist() == [None]


@pytest.mark.parametrize("rows", [[], observations(("fc", 0.5)), observations(("scratch", 0.5))])
@pytest.mark.parametrize("n_test", [None, 10, {"data": 10}])
def test_without_scratch_or_anything_beside_it_the_table_is_empty(rows, n_test) -> None:
    found = negative_transfer(table(rows), n_test)
    assert found.empty
    assert list(found.columns[-4:]) == ["accuracy", "scratch", "lost", "beyond_sampling"]
