"""Columns of a table of observations, and how their values are spelled: what claims, tables and figures choose by."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from wdiv.errors import BadInput, WdivError
from wdiv.metrics import METRICS, metric_names
from wdiv.registry import did_you_mean
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.strategy.strategies import BN_MODES

__all__ = [
    "ACCURACIES", "COLUMNS", "DISTANCES", "HEADLINES", "IMAGES", "LAYERS", "OPTIONAL", "RUN", "SCORED", "SELECTABLE",
    "SIZES", "headline", "labelled", "metrics_of", "selector", "source_kind", "strategy_name", "texts",
]  # fmt: skip

RUN = ("condition", "model", "source", "dataset", "per_class", "n_train", "strategy", "bn_mode", "seed", "run")
"""What tells a run."""
COLUMNS = (*RUN, "measure", "against", "layers", "part", "value")
"""Of a table of observations, one row a value.

condition  what tells a study's parts apart, empty where it has none
per_class  training images of each class, in words: ``"20"``, ``"all"``;  n_train: all of them, a number
measure    one of :data:`ACCURACIES`, shares of 1, or a metric's name
against    of a divergence: ``start``, the weights it began from; or the ``per_class`` of the other run, where two
           differ in their size alone
layers     of a divergence: ``conv:weight``, ``bn:gamma``, ``bn:beta``; of ``output_change`` ``bn:affine``, γ and β
           together, and ``bn:statistics``
part       of a divergence, the median over the layers of: ``all``, ``shallow``, ``deep``, ``last``, or a stage's name
"""
OPTIONAL = ("steps", "trained")
"""What a table of observations, or of distances, may also tell of the run of each row; one without them is as good.

steps      of the optimizer, up to the epoch that counts; NaN where it is not known, and of a baseline, which takes none
trained    ``yes`` if the run has learned the images that it trains on, ``no`` if not
           (:func:`wdiv.summary.has_trained`), ``""`` where it is not known
"""
DISTANCES = (*RUN, "measure", "against", "layers", "layer", "depth", "stage", "value")
"""Of a table of distances, one row a layer."""
SELECTABLE = (
    "condition", "model", "dataset", "bn_mode", "source", "per_class", "strategy", "measure", "against", "layers",
    "part",
)  # fmt: skip
"""What values are chosen by; what follows from others comes after them."""
ACCURACIES = ("accuracy", "train_accuracy", "fitted_accuracy")
"""Measures that are no divergence: shares of 1. On the test images; on the training batches as they were trained on;
and on the training images in eval mode, after the epoch that counts."""
SCORED = ("frechet_distance", "mmd")
"""Measures of how far the target's images lie from the source's, of :data:`~baselines.transferability.SCORES`."""
LAYERS = (
    "conv:weight", "bn:gamma", "bn:beta", "bn:affine", "bn:statistics", "norm:gamma", "norm:beta", "norm:affine",
    "linear:weight", "fc:weight",
)  # fmt: skip
"""``kind:role`` that divergence is told of: tensors, and of ``output_change`` and its proxy γ and β together
(``affine``), and a BatchNorm with its running statistics."""
HEADLINES = ("output_change", "output_change_proxy", "relative_l2")
"""What tables and figures that show one metric show: the first of these that was measured."""
SIZES = ("smallest", "middle", "largest")
"""Words for a ``per_class``, among those that a model has on a data set, by their training images. ``middle`` needs
three or more; of two in the middle it is the smaller. A claim may also name sizes by their training images, of all
classes: ``<1000``, ``>=1000``."""
IMAGES = re.compile(r"(<|>=)([1-9][0-9]*)")


def selector(column: str, values: Any, here: str, words: Sequence[str] = ()) -> tuple[str, ...]:
    """A value of a column, or several, as observations spell them. words: other sizes that are allowed.

    Raises :class:`~wdiv.errors.BadInput`, which begins with ``here``.

    >>> selector("strategy", ["fc+bn", "svm@stage3", "bn+fc"], "left.strategy")
    ('bn+fc', 'svm@stage3')
    >>> selector("per_class", 20, "where per_class")
    ('20',)
    """
    found = texts(values, here)
    try:
        return tuple(dict.fromkeys(_spelled(column, value, words) for value in found))
    except WdivError as error:
        raise BadInput(f"{here}: {error}") from None


def source_kind(source: str) -> str:
    """A source's name without the number that tells several networks of a kind apart, of which each seed has one.

    >>> source_kind("digits, 20 of each #3 (resnet18)"), source_kind("IMAGENET1K_V1 (resnet18)")
    ('digits, 20 of each (resnet18)', 'IMAGENET1K_V1 (resnet18)')
    """
    return re.sub(r" #[0-9]+(?= \(|$)", "", source)


def texts(values: Any, here: str) -> tuple[str, ...]:
    """Text, or a whole number, or a list of those, as a list of text."""
    found = tuple(values) if isinstance(values, (list, tuple)) else (values,)
    if not found or any(isinstance(one, bool) or not isinstance(one, (str, int)) for one in found):
        raise BadInput(f"{here} is a value or a list of at least one, not {values!r}")
    return tuple(map(str, found))


def strategy_name(text: str) -> str:
    """A strategy as runs spell it, or a baseline on the features of some layer.

    >>> strategy_name("fc+bn"), strategy_name("svm@stage3")
    ('bn+fc', 'svm@stage3')
    """
    try:
        return parse(text).name
    except BadInput:
        from baselines.estimators.record import BASELINES  # only now: it brings scikit-learn along
        from baselines.trials import Trial

        if text.partition(",")[0].partition("@")[0] in BASELINES:
            return Trial.named(text).strategy
        raise


def labelled(labels: Mapping[str, Any], here: str) -> dict[str, str]:
    """Value -> how it is printed, strategies as runs spell them.

    Raises :class:`~wdiv.errors.BadInput`, which begins with ``here``, for a label that is no text, and for two of one
    strategy.

    >>> labelled({"fc+bn": "batch norm", "plain": "as it is"}, "labels")
    {'bn+fc': 'batch norm', 'plain': 'as it is'}
    """
    found: dict[str, str] = {}
    for value, label in labels.items():
        if not isinstance(label, str):
            raise BadInput(f"{here}: the label of {value!r} is text, not {label!r}")
        name = value
        with suppress(WdivError):  # it may be no strategy
            name = strategy_name(value)
        if name in found:
            raise BadInput(f"{here}: {value!r} has two labels, {found[name]!r} and {label!r}")
        found[name] = label
    return found


def headline(metrics: Sequence[str]) -> str:
    """Of some metrics the one to show where one is shown.

    >>> headline(["gaussian_kl", "relative_l2"]), headline(["gaussian_kl"]), headline([])
    ('relative_l2', 'gaussian_kl', 'output_change')
    """
    return next((name for name in HEADLINES if name in metrics), metrics[0] if metrics else HEADLINES[0])


def metrics_of(measures: Sequence[str]) -> tuple[str, ...]:
    """Those of some measures that must be measured."""
    return tuple(one for one in measures if one not in (*ACCURACIES, *SCORED))


def _spelled(column: str, value: str, words: Sequence[str]) -> str:
    if column == "strategy":
        return strategy_name(value)
    if column == "bn_mode":
        return BN_MODES[value].name
    known = {"measure": (*ACCURACIES, *SCORED, *METRICS), "layers": LAYERS}.get(column, (value,))
    if value not in known:
        raise BadInput(f"unknown {value!r}; {did_you_mean(value, known)}")
    if column == "measure" and metrics_of([value]):
        metric_names(value, images=True)  # raises for one that does not compare weights
    count = value in ("all", *words) or (value.isdecimal() and int(value)) or (words and IMAGES.fullmatch(value))
    if column == "per_class" and not count:
        allowed = ", ".join(("whole numbers from 1", *map(repr, words), *(["'<1000' images"] if words else [])))
        raise BadInput(f"{allowed}, or 'all', not {value!r}")
    return value
