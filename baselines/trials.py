"""One estimator on the features of some layers: fitted on a run's training images, judged on the one test set."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from glob import escape
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.features import bare, features, label_of, places_of
from wdiv.errors import BadData, BadInput, BadStore, Damaged, LeftOut
from wdiv.numerics import share_interval
from wdiv.numerics.classification import (
    PROBABILITIES,
    ClassificationScores,
    classification_scores,
    scores_of_confusion,
)
from wdiv.store import legacy
from wdiv.store.kept import fingerprint
from wdiv.store.names import conflicts, difference, readable, taken
from wdiv.store.predictions import (
    ImageList,
    Predictions,
    is_whole,
    logits_digest,
    read_images,
    read_logits,
    write_images,
    write_logits,
)
from wdiv.store.reader import CheckpointStore
from wdiv.store.seals import fast_digest, read_sealed, write_sealed
from wdiv.store.wholes import division, join, wholes
from wdiv.tuning.data.folds import Fold
from wdiv.tuning.data.images import Split, nested_subset
from wdiv.tuning.networks.models import build_skeleton, head_layers, layer_table
from wdiv.tuning.networks.sources import Source
from wdiv.tuning.prefix.feature_extractor import BOTTLENECK, feature_extractor
from wdiv.tuning.prefix.feature_store import FeatureStore
from wdiv.tuning.training.run_spec import run_id

if TYPE_CHECKING:
    import torch

__all__ = [
    "BEST", "FOLDER", "KINDS", "STAGES", "Outcome", "Trial", "as_wholes", "check", "check_held", "check_outcomes",
    "check_predictions", "kept", "load", "load_wholes", "of_length_1", "predictions_of", "read", "run", "save",
    "scores_of",
]  # fmt: skip

STAGES = "stages"
"""In place of a layer: all stages of the trunk, side by side."""
BEST = "best"
"""In place of a layer: that which cross-validation on the training images likes best, of all stages, the bottleneck,
and the stages side by side."""
FOLDER = "baselines"
"""Of a store, where outcomes are kept."""
KINDS = {"log probabilities": "softmax", "decision values": None}
"""What an estimator says of each image and class -> what makes probabilities of it, as
:class:`~wdiv.store.predictions.Predictions` has it."""
FORMAT = 2
"""Of an outcome's file, which is sealed from format 2 on."""


@dataclass(frozen=True)
class Trial:
    """What makes one trial.

    baseline   a name of :data:`~baselines.estimators.BASELINES`
    layer      a place of :mod:`wdiv.tuning.prefix.feature_extractor`; several joined by ``+``; ``stages``, all of them;
               or ``best``. Where several stand side by side, each image's features of each have length 1, so that no
               layer drowns others
    per_class  training images of each class, drawn by ``seed`` as for runs; None: all
    cv         folds of the cross-validation on the training images that chooses whatever there is to choose
    fold       of the cross-validation that a study may be: which images test it, as of a run; None: the test set

    >>> Trial("svm", "stage3", 20, 0).strategy, Trial("svm", per_class=20).strategy
    ('svm@stage3', 'svm')
    """

    baseline: str
    layer: str = STAGES
    per_class: int | None = None
    seed: int = 0
    cv: int = 5
    pooling: str = "avg"
    fold: Fold | None = None

    def __post_init__(self) -> None:
        from baselines.estimators import BASELINES  # not before: it brings scikit-learn, without which much is read

        BASELINES[self.baseline]  # raises for an unknown one
        if self.cv < 2:
            raise BadInput(f"cv: at least 2 folds, not {self.cv}")

    @property
    def strategy(self) -> str:
        """How it is called beside fine-tuning strategies."""
        at = "" if self.layer == STAGES else f"@{self.layer}"
        return self.baseline + at + ("" if self.pooling == "avg" else f",{self.pooling}")

    @classmethod
    def named(cls, strategy: str, per_class: int | None = None, seed: int = 0, fold: Fold | None = None) -> Trial:
        """The trial that is called so beside fine-tuning strategies.

        >>> Trial.named("svm@stage3"), Trial.named("ncm@bottleneck,max").pooling
        (Trial(baseline='svm', layer='stage3', per_class=None, seed=0, cv=5, pooling='avg', fold=None), 'max')
        """
        what, comma, pooling = strategy.partition(",")
        baseline, at, layer = what.partition("@")
        if (comma and not pooling) or (at and not layer):
            raise BadInput(f"baseline {strategy!r}: a name, then @ and a layer, then a comma and a pooling")
        return cls(baseline, layer or STAGES, per_class, seed, pooling=pooling or "avg", fold=fold)

    def id(self, source: Source, split: Split) -> str:
        """Its name in a store."""
        return run_id(label_of(source), split.name, self.per_class, self.strategy, "frozen", self.seed, self.fold)

    def made(self, outcome: Outcome | None) -> bool:
        """True if an outcome by this trial's name is of it, and chosen as it chooses."""
        return outcome is not None and outcome.cv == self.cv

    def places(self, known: Sequence[str]) -> tuple[str, ...]:
        """The places that its features come from. known: the stages and the bottleneck of the network."""
        if self.layer == STAGES:
            return tuple(place for place in known if place != BOTTLENECK)
        return tuple(known) if self.layer == BEST else tuple(dict.fromkeys(self.layer.split("+")))


@dataclass(frozen=True)
class Outcome:
    """What a trial came to. ``scores`` is an :class:`~baselines.estimators.Evaluation` as plain data.

    per_class     of a :class:`Trial`;  n_train: the training images in all
    layer_chosen  by ``best``;  cost  that cross-validation chose, where there is one
    cv            folds that it was chosen by;  cv_score: mean accuracy over those, on training images alone; None where
                  there were none
    fallback      what could not be done as asked, and was done instead; empty where nothing
    seconds       of choosing and fitting, features at hand
    fitted        of the training images, as a run's history has it: ``fitted_accuracy``, ``n_fitted`` and
                  ``fitted_majority``; empty of an outcome made before they were kept
    weights       digest of the network's weights; empty where the outcome is of before there was one
    input         what images are turned into for it, and bn_eps, that of its BatchNorm; empty likewise
    grouping      SHA-256 of which training images are of one group; ``none`` where no groups are known
    fold          of the cross-validation that its study is, as a run's record has it; None where there is a test set
    predictions   of an outcome that is kept: ``kind``, what it says of each test image, a name of :data:`KINDS`, and
                  the digests of those and of the list of images; empty of one made before they were kept
    given         of an outcome that was just made: what it says of each test image
    """

    id: str
    model: str
    source: str
    dataset: str
    data_digest: str
    image_size: int
    per_class: int | None
    n_train: int
    n_test: int
    strategy: str
    baseline: str
    layer: str
    pooling: str
    seed: int
    cv: int
    n_features: int
    scores: Mapping[str, Any]
    layer_chosen: str | None
    cost: float | None
    cv_score: float | None
    fallback: str
    seconds: float
    weights: str = ""
    input: Mapping[str, Any] = field(default_factory=dict)
    bn_eps: float | None = None
    grouping: str = "none"
    fold: Mapping[str, int] | None = None
    predictions: Mapping[str, str] = field(default_factory=dict)
    fitted: Mapping[str, float] = field(default_factory=dict)
    given: Predictions | None = field(default=None, repr=False, compare=False)

    @property
    def facts(self) -> dict[str, Any]:
        """What it is of, and what that is called."""
        names = ("source", "dataset", "model", "data_digest", "grouping", "weights", "input", "bn_eps")
        return {name: getattr(self, name) for name in names} | {"folds": division(self.fold)}

    @property
    def accuracy(self) -> float:
        return float(self.scores["accuracy"]["value"])

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "given"}

    def row(self) -> dict[str, Any]:
        """As :func:`wdiv.summary.results` gives a row for a run. Nothing is chosen on test images: no ``best``."""
        _, low, high = share_interval([self.accuracy], self.n_test)
        return {
            "run": self.id, "model": self.model, "dataset": self.dataset, "n_train": self.n_train,
            "strategy": self.strategy, "bn_mode": "frozen", "seed": self.seed, "source": self.source, "epochs": 0,
            "n_test": self.n_test, "last": self.accuracy, "low": float(low), "high": float(high),
            "best": float("nan"), "best_epoch": None, "train_loss": float("nan"), "seconds": self.seconds,
        }  # fmt: skip


def check(source: Source, trials: Sequence[Trial], size: int) -> None:
    """Raise :class:`~wdiv.errors.BadInput` for a layer or a pooling that there is not; computes no feature.

    size: of the images. :class:`~wdiv.tuning.prefix.frozen_prefix.NoPrefix` for a network that torch.fx cannot trace.
    """
    if not trials:
        return
    known = places_of(source, size)
    spec = bare(source)
    table, head = layer_table(spec, 2, size), head_layers(spec)
    for pooling in dict.fromkeys(trial.pooling for trial in trials):
        wanted = dict.fromkeys(place for t in trials if t.pooling == pooling for place in t.places(known))
        feature_extractor(build_skeleton(spec, 2), table, head, list(wanted), size, pooling)


def run(
    source: Source, split: Split, trials: Sequence[Trial], *, device: str = "auto", store: FeatureStore | None = None
) -> Iterator[Outcome]:
    """Each trial's outcome. The features that they need are computed once for all.

    Raises :class:`~wdiv.errors.BadData` for too few images and for features that are inf or NaN, and what
    :func:`~baselines.features.features` raises.
    """
    store = store or FeatureStore()
    known = places_of(source, split.pool.pixels.shape[-1])
    rows = {}
    for t in trials:
        there, tested = split.rows_of(t.fold)
        rows[t.per_class, t.seed, t.fold] = nested_subset(split.pool, t.per_class, t.seed, there), tested
    used, asked = (np.unique(np.concatenate(some)) for some in zip(*rows.values(), strict=True))
    for pooling in dict.fromkeys(trial.pooling for trial in trials):
        mine = [trial for trial in trials if trial.pooling == pooling]
        wanted = list(dict.fromkeys(place for trial in mine for place in trial.places(known)))
        pool, test = (
            {
                name: _finite(np.asarray(node["features"].values), name, source)
                for name, node in features(
                    source, images, wanted, rows=chosen, pooling=pooling, device=device, store=store
                ).children.items()
            }
            for images, chosen in ((split.pool, used), (split.test, asked))
        )
        names = dict(zip(wanted, pool, strict=True))  # a depth becomes a layer's name
        for trial in mine:
            chosen, tested = rows[trial.per_class, trial.seed, trial.fold]
            places = [names[place] for place in trial.places(known)]
            train = [pool[place][np.searchsorted(used, chosen)] for place in places]
            shown = [test[place][np.searchsorted(asked, tested)] for place in places]
            yield _try(trial, source, split, places, train, chosen, shown, tested)


def _try(
    trial: Trial, source: Source, split: Split, places: Sequence[str], train: Sequence[np.ndarray], chosen: np.ndarray,
    test: Sequence[np.ndarray], tested: np.ndarray,
) -> Outcome:  # fmt: skip
    from baselines.estimators import BASELINES, BestLayer

    labels, groups = split.pool.labels[chosen], split.pool.groups_of(chosen)
    estimator = BASELINES[trial.baseline].make(trial.cv, trial.seed)
    if len(places) > 1:
        train, test = ([of_length_1(part) for part in parts] for parts in (train, test))
    if trial.layer == BEST:
        ends = np.cumsum([0, *(part.shape[1] for part in train)]).tolist()
        columns = {place: slice(a, b) for place, a, b in zip(places, ends, ends[1:], strict=False)}
        columns |= {STAGES: slice(0, ends[-2])}  # the bottleneck is the last
        estimator = BestLayer(estimator, columns, folds=trial.cv, random_state=trial.seed)
    began = time.perf_counter()
    shown = np.hstack(train)
    estimator.fit(shown, labels, groups=groups)
    seconds = time.perf_counter() - began
    asked = np.hstack(test)
    given = _given(estimator, asked, split, tested)
    scores = _scores(given, trial.seed)
    fitted = getattr(estimator, "estimator_", estimator)
    return Outcome(
        id=trial.id(source, split),
        model=label_of(source),
        source=source.name,
        dataset=split.name,
        data_digest=split.digest,
        grouping=split.pool.grouping,
        image_size=split.pool.pixels.shape[-1],
        per_class=trial.per_class,
        n_train=len(labels),
        n_test=len(tested),
        strategy=trial.strategy,
        baseline=trial.baseline,
        layer=trial.layer,
        pooling=trial.pooling,
        seed=trial.seed,
        cv=trial.cv,
        fold=None if trial.fold is None else trial.fold.to_json(),
        n_features=asked.shape[1],
        scores=scores,
        layer_chosen=getattr(estimator, "layer_", None),
        cost=_number(getattr(fitted, "cost_", None)),
        cv_score=_number(getattr(estimator, "cv_score_", None)),
        fallback=getattr(estimator, "fallback_", None) or "",
        seconds=seconds,
        weights=source.content,
        fitted=_fitted(np.asarray(estimator.predict(shown)), labels),
        given=given,
        **_fed(source, split),
    )


def _scores(given: Predictions, seed: int) -> dict[str, Any]:
    """:attr:`Outcome.scores` of some answers."""
    from baselines.estimators import evaluate

    names, how = np.array(given.classes, dtype=object), given.probabilities
    return evaluate(
        names[given.images.labels], names[given.logits.argmax(axis=1)],
        None if how is None else np.exp(PROBABILITIES[how](given.logits.astype(np.float64))),
        classes=given.classes, seed=seed,
    ).to_json()  # fmt: skip


def _fitted(answers: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """As a run's history has it of the epoch that counts."""
    return {
        "fitted_accuracy": float((answers == labels).mean()),
        "n_fitted": len(labels),
        "fitted_majority": float(np.bincount(labels).max() / len(labels)),
    }


def _given(estimator: Any, features: np.ndarray, split: Split, tested: np.ndarray) -> Predictions:
    """What an estimator says of the test images: the largest is its answer.

    Logarithms of probabilities, in which one next to 1 still differs from another; else decision values, of two classes
    0 and the value. A class that it never saw has -inf.
    """
    if hasattr(estimator, "predict_proba"):
        kind, probable = "log probabilities", np.asarray(estimator.predict_proba(features), dtype=np.float64)
        values = np.log(probable, out=np.full(probable.shape, -np.inf), where=probable > 0)
    else:
        kind, values = "decision values", np.asarray(estimator.decision_function(features))
        values = np.column_stack([np.zeros(len(values)), values]) if values.ndim == 1 else values
    logits = np.full((len(features), len(split.pool.classes)), -np.inf, np.float32)
    logits[:, estimator.classes_] = values
    names = tuple(split.test.names[row] for row in tested)
    images = ImageList("", names, split.test.labels[tested], tested)
    return Predictions(logits, images, split.pool.classes, KINDS[kind])


def predictions_of(outcome: Outcome, out: Path) -> Predictions | None:
    """What an outcome of a store said of each test image; None where it was made before that was kept.

    Raises :class:`~wdiv.errors.BadStore` where it is damaged.
    """
    if not outcome.predictions:
        return outcome.given
    kept = outcome.predictions
    logits = read_logits(_file_of(outcome, out), "test", kept["logits"])
    classes = tuple(outcome.scores["classes"])
    return Predictions(logits, read_images(out, kept["images"]), classes, KINDS[kept["kind"]])


def scores_of(outcome: Outcome, out: Path) -> tuple[ClassificationScores | None, tuple[str, ...]]:
    """The scores of an outcome's answers, and the names of the classes: by its predictions, or by its confusion matrix
    where that is all that was kept."""
    found = predictions_of(outcome, out)
    if found is not None:
        return classification_scores(found.logits, found.images.labels, found.probabilities), found.classes
    if "confusion" not in outcome.scores:
        return None, ()
    return scores_of_confusion(np.array(outcome.scores["confusion"])), tuple(outcome.scores["classes"])


def _file_of(outcome: Outcome, out: Path) -> Path:
    """Of its predictions; by their digest, so that an outcome that takes another's place never has that one's."""
    return out / FOLDER / f"{outcome.id}.{outcome.predictions['logits'][:8]}.safetensors"


def save(outcome: Outcome, out: Path) -> Path:
    """Keep an outcome in a store, in place of an earlier one of the same trial.

    Raises :class:`~wdiv.errors.BadInput` where the store holds outcomes of other images, or of other weights, by the
    same name.
    """
    _check(outcome.facts, out)
    if outcome.given is not None:
        outcome = replace(outcome, predictions=_keep(outcome, outcome.given, out))
    file = write_sealed(out / FOLDER / f"{outcome.id}.json", {"format": FORMAT, **outcome.to_json()})
    for earlier in file.parent.glob(f"{escape(outcome.id)}.*.safetensors"):
        if not outcome.predictions or earlier != _file_of(outcome, out):
            earlier.unlink(missing_ok=True)
    return file


def kept(out: Path, source: Source, split: Split) -> dict[str, Outcome]:
    """The outcomes of a store on these images with these weights, by id. Raises what :func:`save` raises.

    One that does not say its weights is of before wdiv kept that: it is shown, and fitted again where it is asked for.
    """
    facts = _facts(source, split)
    _check(facts, out)
    return {one.id: one for one in load(out) if one.facts == facts}


def check_outcomes(out: Path, source: Source, split: Split) -> None:
    """:func:`check_held` of outcomes alone, for whoever holds runs to one another."""
    if any(load(out)):  # weights are read for it
        _check(_facts(source, split), out)


def check_held(out: Path, source: Source, split: Split) -> None:
    """Raise :class:`~wdiv.errors.BadInput` where a store holds outcomes, or runs, of other images, or of other weights,
    by the names of these."""
    check_outcomes(out, source, split)
    runs = readable(CheckpointStore.at(out).folders())
    facts = {"dataset": split.name, "source": source.name, "label": label_of(source)} | _images(split)
    facts |= (
        {"fold": _of_first(split)}
        | _fed(source, split)
        | dict.fromkeys(("base", "per_class", "strategy", "bn_mode", "recipe", "changing"))
    )
    for what, name, other, how in conflicts(facts, taken(runs)):
        raise BadInput(f"{out}: holds {other} of other {what} called {name!r} ({how}); give another --out")
    alike = {
        run.record.base: run for run in runs
        if (run.record.source, run.record.label) == (source.name, label_of(source)) and not source.random
    }  # fmt: skip
    given = source.read() if alike else {}
    for run in alike.values():
        for key, digest in run.record.start.items():
            if key in given and _as_loaded(given[key]) != bytes.fromhex(digest):
                raise BadInput(
                    f"{out}: holds {run.path.name} of other weights called {source.name!r} ({key} differs); "
                    "give another --out"
                )


def _as_loaded(tensor: torch.Tensor) -> bytes:
    """Digest of a tensor as a network has it."""
    return fast_digest((tensor.float() if tensor.is_floating_point() else tensor).numpy())


def _fed(source: Source, split: Split) -> dict[str, Any]:
    size = split.pool.pixels.shape[-1]
    return {"input": source.input.at(size).to_json(), "bn_eps": None if source.model is None else source.model.bn_eps}


def _facts(source: Source, split: Split) -> dict[str, Any]:
    """:attr:`Outcome.facts` of an outcome that these would have."""
    names = {"source": source.name, "dataset": split.name, "model": label_of(source)}
    return {**names, **_images(split)} | {"weights": source.content} | _fed(source, split)


def _images(split: Split) -> dict[str, str]:
    told: dict[str, Any] = {"data_digest": split.digest, "grouping": split.pool.grouping}
    return told | {"folds": division(_of_first(split))}


def _of_first(split: Split) -> dict[str, int] | None:
    """The first fold of images that are in folds."""
    return None if split.folds is None else split.folds.repeat(1)[0].to_json()


def _check(facts: Mapping[str, Any], out: Path) -> None:
    for other in load(out):
        theirs = other.facts
        for what, names, held in (
            ("another split, or other images,", ("dataset",), ("data_digest", "grouping", "folds")),
            ("other weights", ("source",), ("weights",)),
            ("weights fed in another way", ("source", "model"), ("input", "bn_eps")),
        ):
            same = all(theirs[name] == facts[name] for name in names)
            differing = [field for field in held if theirs[field] != facts[field]]
            if same and theirs[held[0]] and differing:
                how = "; ".join(difference(theirs[field], facts[field]) for field in differing)
                raise BadInput(
                    f"{out}: holds {other.id} of {what} called {facts[names[0]]!r} ({how}); give another --out"
                )


def _keep(outcome: Outcome, given: Predictions, out: Path) -> dict[str, str]:
    """Write what an outcome says of its images. Returns what is to be remembered of it."""
    kind = next(kind for kind, how in KINDS.items() if how == given.probabilities)
    images = given.images
    kept = {"kind": kind, "images": write_images(out, images.names, images.labels, images.rows)}
    kept["logits"] = logits_digest(given.logits)
    outcome = replace(outcome, predictions=kept)
    write_logits(_file_of(outcome, out), {"test": given.logits}, _origin(outcome))
    return kept


def check_predictions(outcome: Outcome, out: Path) -> None:
    """Raise :class:`~wdiv.errors.BadStore` where what a store keeps of an outcome's predictions is not what it was."""
    if outcome.predictions:
        predictions_of(outcome, out)
        if not is_whole(_file_of(outcome, out), {"test": outcome.predictions["logits"]}, _origin(outcome)):
            raise Damaged(_file_of(outcome, out))


def _origin(outcome: Outcome) -> str:
    return f"{outcome.predictions['kind']} of {outcome.id}"


def load(out: Path) -> list[Outcome]:
    """The outcomes that a store keeps, without those that are damaged, of which a warning tells.

    Raises :class:`~wdiv.errors.BadStore` for a file that is none.
    """
    found = []
    for file in sorted((out / FOLDER).glob("[!.]*.json")):
        try:
            found.append(read(file))
        except Damaged as error:
            warnings.warn(f"{file.stem} is left out: {error}", LeftOut, stacklevel=2)
    return found


def load_wholes(out: Path) -> list[Outcome]:
    """:func:`as_wholes` of what :func:`load` finds."""
    return as_wholes(load(out), out)


def as_wholes(outcomes: Sequence[Outcome], out: Path) -> list[Outcome]:
    """Outcomes, those of the folds of one cross-validation as one: its test images are all images, its scores are of
    all answers, and what was measured on training images is the mean over its folds.

    Without those of which a fold is missing, or whose predictions are damaged. out: the store that keeps them.
    """
    found = wholes((one.id, one.fold, one) for one in outcomes)
    return [one for name, parts in found.items() if (one := _whole(name, parts, out)) is not None]


def _whole(name: str, parts: Sequence[Outcome], out: Path) -> Outcome | None:
    first = parts[0]
    if first.fold is None:
        return first
    try:
        given = join([one for one in (predictions_of(part, out) for part in parts) if one is not None])
    except BadStore as error:
        warnings.warn(f"{name} is left out: {error}", LeftOut, stacklevel=3)
        return None
    known = [part.cv_score for part in parts if part.cv_score is not None]
    return replace(
        first, id=name, fold=None, predictions={}, given=given, scores=_scores(given, first.seed),
        n_test=len(given.logits), n_train=round(mean(part.n_train for part in parts)),
        layer_chosen=", ".join(dict.fromkeys(filter(None, (part.layer_chosen for part in parts)))) or None, cost=None,
        cv_score=mean(known) if known else None, seconds=sum(part.seconds for part in parts),
        fallback="; ".join(dict.fromkeys(part.fallback for part in parts if part.fallback)),
        fitted={key: mean(part.fitted[key] for part in parts) for key in first.fitted},
    )  # fmt: skip


def read(file: Path) -> Outcome:
    """One outcome. Raises as :func:`load` does."""
    return _read(file, *fingerprint(file))


@lru_cache(maxsize=1024)
def _read(file: Path, *fingerprint: int) -> Outcome:
    data = read_sealed(file, FORMAT, before=1)
    try:
        data.pop("format", None)
        if "per_class" not in data:
            data["per_class"] = legacy.per_class(
                data["id"], data["model"], data["dataset"], data["strategy"], "frozen", data["seed"]
            )
        if "folds" in data:  # as what is ``cv`` was called before a study could be in folds
            data["cv"] = data.pop("folds")
        return Outcome(**data | {"scores": _with_intervals(data["scores"], data["seed"])})
    except (TypeError, KeyError) as error:
        raise BadStore(f"{file}: not the outcome of a baseline ({error}); delete it to fit it again") from None


def _with_intervals(scores: dict[str, Any], seed: int) -> dict[str, Any]:
    """The scores, their intervals made anew where an older wdiv took other ones."""
    from baselines.estimators.evaluate import INTERVAL, estimates

    if scores.get("interval") == INTERVAL or "confusion" not in scores:
        return scores
    found = estimates(np.array(scores["confusion"]), seed=seed, level=scores["level"])
    return scores | {name: one._asdict() for name, one in found.items()} | {"interval": INTERVAL}


def of_length_1(features: np.ndarray) -> np.ndarray:
    """Each image's features divided by their Euclidean length; zeros stay zeros."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.divide(features, length, out=np.zeros_like(features), where=length > 0)


def _finite(values: np.ndarray, place: str, source: Source) -> np.ndarray:
    if not np.isfinite(values).all():
        images = int((~np.isfinite(values)).any(axis=1).sum())
        raise BadData(f"{source.name}: the features of {place} are inf or NaN for {images} of {len(values)} images")
    return values


def _number(value: Any) -> float | None:
    return None if value is None or value != value else float(value)
