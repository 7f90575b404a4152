"""What tables tell of answers is what the predictions of the epoch that counts come to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from tests.fabric import LABELS, edit_rows, logits, make_store, write_predictions
from wdiv import summary
from wdiv.numerics.classification import FIGURES
from wdiv.store.engine import open_store
from wdiv.store.reader import CheckpointStore


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store", ("fc", "bn+fc"), (0, 1), 2, predicted=True)


def test_results_have_the_scores_of_the_test_images_after_the_epoch_that_counts(store: Path) -> None:
    edit_rows(store / "runs" / "toynet-toy-n2-fc-auto-s0", lambda rows: rows[-1].update(final=1))  # it stopped early
    table = summary.results(open_store(store)).set_index("run")
    for run, row in table.iterrows():
        given = logits(row["strategy"], row["seed"], 1 if run == "toynet-toy-n2-fc-auto-s0" else 2)["test"]
        answers, p = given.argmax(axis=1), np.exp(given) / np.exp(given).sum(axis=1, keepdims=True)
        assert row["confusion"] == metrics.confusion_matrix(LABELS, answers).tolist()
        assert row["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(LABELS, answers))
        assert row["macro_f1"] == pytest.approx(metrics.f1_score(LABELS, answers, average="macro"))
        assert row["log_loss"] == pytest.approx(metrics.log_loss(LABELS, p), rel=1e-5)
        assert (row["classes"], row["majority_share"], row["only_answer"]) == (["a", "b", "c"], 4 / 9, None)
        shares = summary.by_class(row)
        assert list(shares["recall"].values()) == metrics.recall_score(LABELS, answers, average=None).tolist()


def test_where_none_are_kept_nothing_is_told(tmp_path: Path) -> None:
    table = summary.results(open_store(make_store(tmp_path / "s", ("fc",), (0, 1), 1)))
    assert table[list(FIGURES)].isna().all(axis=None)
    assert table[["only_answer", "classes", "confusion"]].isna().all(axis=None)
    (row,) = summary.accuracies(table).to_dict("records")
    assert (row["confusion"], row["only_answer"]) == (None, None)
    assert summary.by_class(row) == {"recall": {}, "precision": {}}


def test_over_seeds_figures_are_means_and_confusions_sums(store: Path) -> None:
    runs = summary.results(open_store(store))
    for row in summary.accuracies(runs).to_dict("records"):
        ours = runs[runs["strategy"] == row["strategy"]]
        assert row["log_loss"] == pytest.approx(ours["log_loss"].mean())
        assert row["confusion"] == np.sum(ours["confusion"].tolist(), axis=0).tolist()
        assert np.sum(row["confusion"]) == 2 * len(LABELS)


def test_who_answers_one_class_alone_is_named(store: Path) -> None:
    """In rows, over seeds, and in a note."""
    run = CheckpointStore.open(store)["toynet-toy-n2-fc-auto-s0"]
    given = logits("fc", 0, 2) | {"test": np.tile(np.float32([2, 1, 0]), (9, 1))}
    told = write_predictions(run, 2, 0, given)
    edit_rows(run.path, lambda rows: rows[-1].update(predictions=told))
    table = summary.results(open_store(store))
    assert table.set_index("run")["only_answer"].dropna().to_dict() == {run.path.name: "a"}
    over = summary.accuracies(table).set_index("strategy")["only_answer"]
    assert over["fc"] == "a (1 of 2 seeds)"
    assert pd.isna(over["bn+fc"])
    assert summary.one_class_notes(table.to_dict("records")) == [
        f"'a' is all that {run.path.name} answers: to each of its 9 test images, of which 44.4 % are of that class"
    ]
