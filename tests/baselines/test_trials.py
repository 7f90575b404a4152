"""Trials: the images of runs, nothing learnt from the test set, and outcomes that are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from baselines import trials
from baselines.estimators import BASELINES
from baselines.features import features
from baselines.trials import Outcome, Trial
from tests.tuning.tiny import tiny_run
from wdiv.errors import BadData, BadInput, BadStore, UnknownName
from wdiv.numerics import wilson
from wdiv.tuning.data.images import Split
from wdiv.tuning.networks.sources import Source


@pytest.fixture(scope="module")
def outcomes(source: Source, digits: Split) -> dict[str, Outcome]:
    asked = [
        Trial("svm", layer, 6, seed, cv=3)
        for layer in ("stages", "stage2", "stage2+stage3", "best") for seed in (0, 1)
    ]  # fmt: skip
    return {outcome.id: outcome for outcome in trials.run(source, digits, asked, device="cpu")}


def named(outcomes: dict[str, Outcome], strategy: str, seed: int = 0) -> Outcome:
    return next(o for o in outcomes.values() if (o.strategy, o.seed) == (strategy, seed))


def test_a_trial_is_called_as_a_run_of_its_strategy_would_be(
    outcomes: dict[str, Outcome], weights: Path, digits: Split
) -> None:
    run = replace(tiny_run(weights, "fc", seed=1), per_class=6, bn_mode="frozen").id(digits.name)
    assert {o.id for o in outcomes.values() if o.strategy == "svm" and o.seed == 1} == {run.replace("-fc-", "-svm-")}
    assert {o.strategy for o in outcomes.values()} == {"svm", "svm@stage2", "svm@stage2+stage3", "svm@best"}


def test_it_is_fitted_on_the_images_that_a_run_of_its_size_and_seed_trains_on(
    source: Source, digits: Split, weights: Path
) -> None:
    """Told from another draw by the predictions of a nearest neighbour, which depend on every image."""
    rows, _ = replace(tiny_run(weights, "fc", seed=3), per_class=2).rows(digits)
    train = features(source, digits.pool, rows=rows, device="cpu")["bottleneck"].features.values
    test = features(source, digits.test, device="cpu")["bottleneck"].features.values
    mean, scale = train.mean(0), train.std(0)
    scale[scale == 0] = 1
    centres = np.stack([((train - mean) / scale)[digits.pool.labels[rows] == c].mean(0) for c in range(5)])
    nearest = np.linalg.norm(((test - mean) / scale)[:, None] - centres, axis=2).argmin(1)
    (outcome,) = trials.run(source, digits, [Trial("ncm", "bottleneck", 2, 3)], device="cpu")
    assert outcome.accuracy == pytest.approx((nearest == digits.test.labels).mean())
    assert outcome.n_train == 10
    own = np.linalg.norm(((train - mean) / scale)[:, None] - centres, axis=2).argmin(1)
    fitted = (own == digits.pool.labels[rows]).mean()
    assert outcome.fitted == {"fitted_accuracy": fitted, "n_fitted": 10, "fitted_majority": 0.2}


def test_layers_side_by_side_have_the_features_of_all(outcomes: dict[str, Outcome]) -> None:
    width = {o.strategy: o.n_features for o in outcomes.values()}
    assert (width["svm@stage2"], width["svm@stage2+stage3"]) == (8, 8 + 8)
    assert width["svm@best"] > width["svm@stage2+stage3"]
    assert width["svm@best"] - width["svm"] == 1280, "the bottleneck's"
    places = ("stem", "stage1", "stage2", "stage3", "stage4", "bottleneck", "stages")
    assert named(outcomes, "svm@best").layer_chosen in places
    assert named(outcomes, "svm").layer_chosen is None


def test_side_by_side_no_layer_drowns_the_others() -> None:
    features = np.random.default_rng(0).random((7, 4))
    np.testing.assert_allclose(trials.of_length_1(1000 * features), trials.of_length_1(features))
    np.testing.assert_allclose(np.linalg.norm(trials.of_length_1(features), axis=1), 1)
    assert not trials.of_length_1(np.zeros((2, 3))).any()


def test_the_test_set_decides_nothing(source: Source, digits: Split) -> None:
    """With the test images' labels shuffled all that was chosen stays as it was."""
    shuffled = replace(digits.test, labels=np.random.default_rng(0).permutation(digits.test.labels))
    asked = [Trial("svm", "best", 6, 0, cv=3)]
    one, other = (next(trials.run(source, s, asked, device="cpu")) for s in (digits, replace(digits, test=shuffled)))
    assert (one.cost, one.layer_chosen, one.cv_score) == (other.cost, other.layer_chosen, other.cv_score)
    assert one.accuracy != other.accuracy


def test_what_is_kept_comes_back_and_takes_the_place_of_what_was_there(
    outcomes: dict[str, Outcome], tmp_path: Path
) -> None:
    one = named(outcomes, "svm")
    trials.save(one, tmp_path)
    trials.save(replace(one, seconds=5.0), tmp_path)
    (back,) = trials.load(tmp_path)
    assert back.seconds == 5.0
    assert back == replace(one, seconds=5.0, predictions=back.predictions)
    assert trials.load(tmp_path / "none") == []
    with pytest.raises(BadInput, match=r"of another split, or other images, called 'digits-5-9' .*give another --out"):
        trials.save(replace(one, data_digest="0" * 64), tmp_path)
    (tmp_path / trials.FOLDER / "x.json").write_text('{"id": "x"}')
    with pytest.raises(BadStore, match=r"x\.json: not the outcome of a baseline .*; delete it to fit it again"):
        trials.load(tmp_path)


def test_what_was_kept_with_other_intervals_has_them_made_anew(outcomes: dict[str, Outcome], tmp_path: Path) -> None:
    """An older wdiv kept the bootstrap's: [1, 1] where all test images were answered rightly."""
    one = named(outcomes, "svm")
    certain = {name: score | {"low": 1.0, "high": 1.0} for name, score in one.scores.items() if name.endswith("y")}
    old = {name: value for name, value in (one.scores | certain).items() if name != "interval"}
    trials.save(replace(one, scores=old), tmp_path)
    (back,) = trials.load(tmp_path)
    assert back.scores == one.scores
    assert (back.row()["low"], back.row()["high"]) == pytest.approx([*map(float, wilson(one.accuracy, one.n_test)[1:])])


@pytest.mark.parametrize(
    ("baseline", "kind"),
    [("svm", "log probabilities"), ("knn", "log probabilities"), ("ncm", "decision values"),
     ("kernel-svm", "decision values")],
)  # fmt: skip
@pytest.mark.parametrize("classes", [5, 2])
def test_what_it_says_of_each_test_image_is_kept_and_read_back(
    source: Source, digits: Split, tmp_path: Path, baseline: str, kind: str, classes: int
) -> None:
    """The answers are the estimator's, and all that is told of them follows from what was kept."""
    split = digits.first_classes(classes)
    (one,) = trials.run(source, split, [Trial(baseline, "bottleneck", 6, 0, cv=3)], device="cpu")
    trials.save(one, tmp_path)
    (kept,) = trials.load(tmp_path)
    assert kept.predictions["kind"] == kind
    found = trials.predictions_of(kept, tmp_path)
    assert found is not None
    assert (found.logits.dtype, found.logits.shape) == (np.float32, (len(split.test), classes))
    assert (found.images.names, found.classes) == (split.test.names, split.pool.classes)
    np.testing.assert_array_equal(found.images.labels, split.test.labels)
    scores, names = trials.scores_of(kept, tmp_path)
    assert scores is not None
    assert names == split.pool.classes
    assert scores.accuracy == kept.accuracy == (found.logits.argmax(axis=1) == split.test.labels).mean()
    assert scores.confusion.tolist() == kept.scores["confusion"]
    assert np.isnan(scores.log_loss) == (kind == "decision values")
    assert np.isnan(scores.auc) == (classes != 2)
    told, _ = trials.scores_of(one, tmp_path / "nowhere")
    assert told is not None
    assert told.confusion.tolist() == scores.confusion.tolist()


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("classes", [5, 2])
def test_an_answer_is_the_estimator_s_own(baseline: str, classes: int, digits: Split) -> None:
    """And a class that it was never shown is never answered."""
    split = digits.first_classes(classes)
    labels = np.arange(30) % max(2, classes - 1)
    rng = np.random.default_rng(0)
    estimator = BASELINES[baseline].make(2, 0).fit(rng.normal(size=(30, 4)) + labels[:, None], labels)
    asked = rng.normal(size=(len(split.test), 4)) + split.test.labels[:, None]
    given = trials._given(estimator, asked, split, np.arange(len(split.test)))
    np.testing.assert_array_equal(given.logits.argmax(axis=1), estimator.predict(asked))
    assert np.isneginf(given.logits[:, -1]).all() == (classes == 5)


def test_an_outcome_that_takes_another_s_place_never_has_its_predictions(
    outcomes: dict[str, Outcome], tmp_path: Path
) -> None:
    one, other = named(outcomes, "svm"), named(outcomes, "svm", 1)
    assert other.given is not None
    trials.save(one, tmp_path)
    trials.save(replace(one, given=other.given), tmp_path)
    (kept,), (file,) = trials.load(tmp_path), (tmp_path / trials.FOLDER).glob("*.safetensors")
    found = trials.predictions_of(kept, tmp_path)
    assert found is not None
    assert found.logits.tobytes() == other.given.logits.tobytes()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BadStore, match="'test' is not what was written"):
        trials.predictions_of(kept, tmp_path)


def test_of_one_that_was_made_before_its_confusion_matrix_still_tells(
    outcomes: dict[str, Outcome], tmp_path: Path
) -> None:
    old = replace(named(outcomes, "svm"), given=None)
    trials.save(old, tmp_path)
    (kept,) = trials.load(tmp_path)
    scores, names = trials.scores_of(kept, tmp_path)
    assert scores is not None
    assert (scores.accuracy, names) == (old.accuracy, ("5", "6", "7", "8", "9"))
    assert np.isnan(scores.log_loss)
    assert trials.predictions_of(kept, tmp_path) is None
    assert trials.scores_of(replace(old, scores={"accuracy": {"value": 0.5}}), tmp_path) == (None, ())


def test_features_that_are_no_numbers_are_an_error(source: Source, digits: Split, tmp_path: Path) -> None:
    state = source.read()
    key = next(k for k in state if k.endswith("running_var"))
    state[key][:] = float("nan")
    import torch

    torch.save(state, tmp_path / "broken.pth")
    broken = replace(source, file=tmp_path / "broken.pth", name="broken.pth")
    with pytest.raises(BadData, match=r"broken\.pth: the features of stem are inf or NaN for 10 of 10 images"):
        next(trials.run(broken, digits, [Trial("svm", per_class=2)], device="cpu"))


def test_bad_trials() -> None:
    with pytest.raises(UnknownName, match="did you mean 'svm'"):
        Trial("smv")
    with pytest.raises(BadInput, match="cv: at least 2 folds, not 1"):
        Trial("svm", cv=1)
