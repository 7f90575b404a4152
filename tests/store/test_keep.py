"""Which epochs stay: the words for them, what is thinned while training and later, and what a kill leaves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tests.fabric import edit_record, edit_rows, make_store, shorten
from wdiv.cache.measures import measured
from wdiv.errors import BadInput, LeftOut
from wdiv.measure import divergence
from wdiv.numerics import pair_sums
from wdiv.store.engine import open_store
from wdiv.store.keep import Keep, thin, thinning
from wdiv.store.reader import CheckpointStore, Run, find_run
from wdiv.store.running_metrics import RunningMetrics
from wdiv.store.verify import verify

WORD = st.sampled_from(["first", "best", "last"]) | st.builds(
    "{} {}".format, st.sampled_from(["last", "every"]), st.integers(1, 40)
)


@given(st.lists(WORD, min_size=1, max_size=4), st.lists(st.floats(0, 1), min_size=1, max_size=30), st.data())
def test_words_add_up_and_what_a_run_needs_always_stays(
    words: list[str], judged: list[float], data: st.DataObject
) -> None:
    rows = [{"epoch": epoch, "test_accuracy": share} for epoch, share in enumerate(judged)]
    counts = data.draw(st.sampled_from(rows))["epoch"]
    kept = Keep(" ,  ".join(words)).epochs(rows, counts)
    assert {0, rows[-1]["epoch"], counts} <= kept <= set(range(len(rows)))
    assert kept == frozenset().union(*(Keep(word).epochs(rows, counts) for word in words))
    assert Keep(",".join([*words, "all"])).epochs(rows, counts) == set(range(len(rows)))
    for word in words:
        name, _, n = word.partition(" ")
        wanted = {
            "first": {0}, "best": {judged.index(max(judged))}, "every": {*range(0, len(rows), int(n or 1))},
            "last": {*range(max(0, len(rows) - int(n or 1)), len(rows))},
        }[name]  # fmt: skip
        assert wanted <= kept


@pytest.mark.parametrize("text", ["", "every", "every 0", "some", "first,", "last -1", "every 2.5"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="of all, first, best, last, every N, last N"):
        Keep(text)


def live(folder: Path) -> None:
    """Let runs have the running metrics that training leaves."""
    for run in CheckpointStore.open(folder):
        running = RunningMetrics(run.path, run.record, run.state_dict(0))
        for epoch in run.epochs():
            running.append(epoch, run.state_dict(epoch))


def thinned_store(folder: Path, keep: str = "first,last", **how: Any) -> Path:
    store = make_store(folder, ("bn+fc", "conv+fc"), (0, 1), 5, **how)
    live(store)
    for run in CheckpointStore.open(store):
        thin(run, thinning(run, Keep(keep)))
    return store


def test_a_thinned_store_is_whole_but_for_what_is_gone(tmp_path: Path) -> None:
    whole = open_store(make_store(tmp_path / "whole", ("bn+fc", "conv+fc"), (0, 1), 5))
    store = thinned_store(tmp_path / "thin", "every 3")
    tree = open_store(store)
    assert tree["saved"].values.tolist() == [[True, False, False, True, False, True]] * 4
    assert (tree["thinned"].values == ~tree["saved"].values).all()
    np.testing.assert_array_equal(tree["bn/gamma"].values, whole["bn/gamma"].where(tree["saved"]).values)
    np.testing.assert_array_equal(tree["history/test_accuracy"].values, whole["history/test_accuracy"].values)
    assert [(one.problems, one.thinned) for one in verify(store)] == [((), 3)] * 4
    (run, *_) = CheckpointStore.open(store)
    assert (run.missing, sorted(file.name[:4] for file in (run.path / "epochs").iterdir())) == (
        [],
        ["0000", "0003", "0005"],
    )
    with pytest.raises(BadInput, match=r"epoch 4 is not saved; saved: 0, 3, 5; it was thinned, and nearest.* 3 and 5"):
        find_run(f"{run.path}@4")
    with pytest.raises(BadInput, match=r"epoch 2 is thinned, no run has kept it; nearest to it are 0 and 3|1 and 3"):
        divergence(tree, reference=2)


def test_what_running_metrics_know_of_thinned_epochs_is_measured(tmp_path: Path) -> None:
    names = ("gaussian_kl", "relative_l2", "spectral_norm_change")
    whole = measured(make_store(tmp_path / "whole", ("bn+fc", "conv+fc"), (0, 1), 5), names, 0)
    store = thinned_store(tmp_path / "thin")
    thin_ = measured(store, names, 0)
    for kind in ("conv", "bn", "fc"):
        for name in names[:2]:
            np.testing.assert_array_equal(thin_[kind][name].values, whole[kind][name].values)
        kept = whole[kind]["spectral_norm_change"].where(open_store(store)["saved"])
        np.testing.assert_array_equal(thin_[kind]["spectral_norm_change"].values, kept.values)
    before = (store / "measures.nc").stat().st_mtime_ns
    xr.testing.assert_identical(measured(store, names, 0), thin_)
    assert (store / "measures.nc").stat().st_mtime_ns == before, "nothing is left to be measured"


def test_what_was_measured_before_stays_and_nothing_is_measured_across_a_gap(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("bn+fc",), (0,), 4)
    names = ("epoch_step", "path_length", "relative_l2")
    before = measured(store, names, "previous")
    (run,) = CheckpointStore.open(store)
    thin(run, [1, 2])
    after = measured(store, names, "previous")
    for kind in ("conv", "bn"):
        for name in names:
            np.testing.assert_array_equal(after[kind][name].values, before[kind][name].values)
    (store / "measures.nc").unlink()
    lost = measured(store, names, "previous")["bn"].sel(role="gamma").isel(run=0, layer=0)
    assert np.isnan(lost["relative_l2"].values).tolist() == [True, True, True, True, False]
    assert np.isnan(lost["epoch_step"].values).tolist() == [False, True, True, True, False], "3 did not follow 0"
    assert np.isnan(lost["path_length"].values).tolist() == [False, True, True, True, True]


def test_an_epoch_that_comes_back_is_measured(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("bn+fc",), (0,), 4)
    (run,) = CheckpointStore.open(store)
    file = run.epoch_file(2)
    file.rename(tmp_path / "away")
    with pytest.warns(LeftOut, match="epoch 2 left out: no longer there, and not thinned by wdiv"):
        lost = measured(store, "relative_l2")
    (tmp_path / "away").rename(file)
    again = measured(store, "relative_l2")
    whole = divergence(open_store(store), "relative_l2")
    for kind in ("conv", "bn"):
        assert lost[kind]["relative_l2"].sel(epoch=2).isnull().all()
        np.testing.assert_array_equal(again[kind]["relative_l2"].values, whole[kind]["relative_l2"].values)


@pytest.mark.parametrize("stop", ["history.jsonl", "0001", "0003"])
def test_a_kill_in_the_middle_is_finished_by_whoever_thins_next(
    tmp_path: Path, stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "s", ("bn+fc",), (0,), 4)
    (run,) = CheckpointStore.open(store)
    wanted = dict(thinning(run, Keep("first,last")))

    def dies(do: Callable[..., Any], at: int) -> Callable[..., Any]:
        def instead(*paths: Any, **how: Any) -> Any:
            if stop in str(paths[at]):
                raise KeyboardInterrupt
            return do(*paths, **how)

        return instead

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", dies(os.replace, 1))
        patched.setattr(Path, "unlink", dies(Path.unlink, 0))
        with pytest.raises(KeyboardInterrupt):
            thin(run, wanted)
    assert [one.problems for one in verify(store)] == [()]
    told = open_store(store)["saved"].values.tolist()
    assert told == [[True, *[stop == "history.jsonl"] * 3, True]], "marked first, taken away after"
    thin(run, thinning(run, Keep("first,last")))
    assert sorted(file.name[:4] for file in (run.path / "epochs").iterdir()) == ["0000", "0004"]
    assert [one.problems for one in verify(store)] == [()]


def test_what_may_come_to_count_stays_while_a_run_is_not_over(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("bn+fc",), (0,), 5, planned=9)
    (run,) = CheckpointStore.open(store)
    edit_record(run.path, lambda record: record["recipe"].update(patience=3, validation=0.2))
    losses = [3.0, 1.0, 2.0, 2.5, 2.0, 2.6]
    edit_rows(run.path, lambda rows: [row.update(val_loss=loss) for row, loss in zip(rows, losses, strict=True)])
    (run,) = CheckpointStore.open(store)
    assert [*thinning(run, Keep("last"))] == [3], "1, 2 and 4 are each the best of those from some epoch on"
    assert [*thinning(run, Keep("last", frozenset([3])))] == []
    shorten(store, run.path.name, 4, early=True)
    edit_rows(run.path, lambda rows: rows[-1].update(final=1))
    assert [*thinning(Run(run.path), Keep("first"))] == [2, 3]


def test_sums_are_of_the_start(tmp_path: Path) -> None:
    """What stands in for weights is bound to be theirs."""
    store = thinned_store(tmp_path / "s")
    (run, *_) = CheckpointStore.open(store)
    a, b = (run.state_dict(epoch)["stage.bn.weight"] for epoch in (0, 5))
    found = measured(store, "relative_l2", 0)["bn/relative_l2"].isel(run=0).sel(layer="stage.bn", role="gamma", epoch=5)
    assert found.item() == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a), rel=1e-6)
    assert pair_sums(a[None], b[None]).n == a.size
