"""Who has learned its own images, told by an interval and not by a guess."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fabric import edit_record, edit_rows, make_store
from wdiv import summary
from wdiv.store.engine import open_store

RUN = "toynet-toy-n2-fc-auto-s0"


@given(st.integers(1, 200), st.data())
def test_more_right_answers_never_untrain_and_the_largest_class_alone_never_trains(n: int, data: st.DataObject) -> None:
    majority = data.draw(st.integers(1, n)) / n
    told = [summary.has_trained(right / n, n, majority) for right in range(n + 1)]
    assert told == sorted(told), "no, then yes"
    assert summary.has_trained(majority, n, majority) == "no"


def test_by_wilsons_interval() -> None:
    assert [summary.has_trained(right / 30, 30, 0.2) for right in (10, 11)] == ["no", "yes"]  # of .192 and .219
    assert summary.has_trained(1.0, 3, 0.5) == "no", "three right answers may be luck"


@pytest.mark.parametrize("lacking", summary.FITTED)
def test_what_lacks_anything_is_not_known(lacking: str) -> None:
    known = {"fitted_accuracy": 1.0, "n_fitted": 30, "fitted_majority": 0.5}
    assert summary.fitted(known)["trained"] == "yes"
    assert summary.fitted({name: value for name, value in known.items() if name != lacking})["trained"] == ""


def test_steps_are_counted_up_to_the_epoch_that_counts(tmp_path: Path) -> None:
    """As the history has them; of a run of before as its recipe tells, and where it does not, not at all."""
    store = make_store(tmp_path / "s", ("fc",), (0, 1, 2, 3), 3)
    runs = [store / "runs" / RUN.replace("s0", f"s{seed}") for seed in range(4)]
    edit_rows(runs[0], lambda rows: [row.update(steps=7 * (row["epoch"] > 0)) for row in rows])
    edit_rows(runs[0], lambda rows: rows[-1].update(final=2))
    for run, recipe in zip(runs[1:], ({"batch_size": 2}, {"batch_size": 2, "validation": 0.5}, {}), strict=True):
        edit_record(run, lambda record, recipe=recipe: record["recipe"].update(recipe))
    np.testing.assert_array_equal(summary.results(open_store(store))["steps"], [14, 9, np.nan, np.nan])


def test_of_many_that_have_not_trained_the_first_are_named() -> None:
    (note,) = summary.untrained_notes([{"run": f"r{k}", "trained": "no"} for k in range(8)])
    assert note.startswith("not trained: r0, r1, r2, r3, r4 and 3 more (")
