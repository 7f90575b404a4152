"""Everything with a name, for ``wdiv list`` and ``wdiv show``. Derived from the registries; no names of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from baselines.advice import RULES
from baselines.estimators import BASELINES
from baselines.transferability import SCORES
from baselines.transferability.record import TAKES
from studies.spec.registry import STUDIES
from wdiv.errors import UnknownName
from wdiv.layers import KINDS
from wdiv.metrics import FAMILIES, METRICS
from wdiv.registry import did_you_mean
from wdiv.tuning.data.augment import AUGMENTATIONS
from wdiv.tuning.data.datasets import DATASETS
from wdiv.tuning.data.small_classes import SMALL_CLASSES
from wdiv.tuning.networks.heads import HEADS
from wdiv.tuning.networks.models import MODELS, ModelSpec, head_layers, layer_table
from wdiv.tuning.strategy.layerwise_lr import lr_factors
from wdiv.tuning.strategy.methods import METHODS
from wdiv.tuning.strategy.segments import segments
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.strategy.strategies import BN_MODES, STRATEGIES, TERMS, kind_of
from wdiv.tuning.training.balance import CLASS_WEIGHTS, SAMPLINGS
from wdiv.tuning.training.losses import LOSSES
from wdiv.tuning.training.precision import PRECISIONS
from wdiv.tuning.training.recipe import OPTIMIZERS
from wdiv.tuning.training.schedules import SCHEDULES

__all__ = ["CATALOGUE", "Shelf", "facts", "trained_layers"]

Facts = dict[str, Any]
EPOCHS = 100
"""Over which the phases of a strategy are shown."""


@dataclass(frozen=True)
class Shelf:
    """One registry: the columns of its list, all facts of one entry, and what else would be taken."""

    registry: Mapping[str, Any]
    columns: tuple[str, ...]
    facts: Callable[[Any], Facts]
    more: str = ""

    def rows(self) -> list[Facts]:
        return [{name: getattr(record, name) for name in self.columns} for record in self.registry.values()]


def facts(name: str) -> list[Facts]:
    """All that is known of a name, ``what`` it is first: of each thing that is called so.

    Besides registered names: a strategy in free spelling, and any torchvision classifier. Raises
    :class:`~wdiv.errors.UnknownName`, and what is wrong with a strategy.
    """
    found = [
        {"what": _SINGULAR[what], **shelf.facts(shelf.registry[name])}
        for what, shelf in CATALOGUE.items() if name in shelf.registry
    ]  # fmt: skip
    if found:
        return found
    from torchvision import models

    torchvision = models.list_models(module=models)
    if name.partition(":")[0] in torchvision:
        return [{"what": "model", "name": name, "source": "torchvision", "layers": _stages(name)}]
    if name in TERMS or any(sign in name for sign in "+@=, "):
        return [{"what": "strategy", **_strategy(name)}]
    known = [entry for shelf in CATALOGUE.values() for entry in shelf.registry]
    raise UnknownName(f"nothing is named {name!r}; {did_you_mean(name, [*known, *torchvision])}")


def trained_layers(strategy: str, model: str) -> list[Facts]:
    """For each stage and kind of a network: how many layers a strategy trains, of how many, at what rate."""
    spec, parsed = ModelSpec.parse(model), parse(strategy)
    spec = spec.but(beside=True) if parsed.beside else spec
    table, head = layer_table(spec, 2, _usual_size(spec)), head_layers(spec)
    parsed.check(table, head, spec.label)
    phases = segments(parsed, table, head, EPOCHS + sum(int(phase.length or 0) for phase in parsed.phases))
    counts: dict[tuple[int, str, str], Facts] = {}
    for number, segment in enumerate(phases, start=1):
        scale = lr_factors(segment.phase, table, head)
        for layer in table:
            kind = kind_of(layer, head)
            place = {"phase": number} if phases[1:] else {}
            new = {**place, "stage": layer.stage, "kind": kind, "trains": 0, "of": 0, "rate": ""}
            row = counts.setdefault((number, layer.stage, kind), new)
            rate = segment.phase.lr(layer, head) if segment.opens(layer.stage) else None
            row["of"] += 1
            if rate is not None:
                row["trains"] += 1
                row["rate"] = _range(row["rate"], f"{rate * scale[layer.name]:.3g}")
    return list(counts.values())


def _range(before: str, rate: str) -> str:
    """``1e-05 to 0.001`` where layers of one kind and stage have rates of their own."""
    first = before.partition(" to ")[0]
    return rate if first in ("", rate) else f"{first} to {rate}"


def _usual_size(spec: ModelSpec) -> int:
    """ImageNet's, which some networks take alone."""
    return max(224, MODELS[spec.name].min_size) if spec.name in MODELS else 224


def _stages(model: str) -> list[Facts]:
    spec = ModelSpec.parse(model)
    table = layer_table(spec, 1000, _usual_size(spec))
    return [
        {
            "stage": stage,
            **{kind: sum(layer.stage == stage for layer in table.of(kind)) for kind in KINDS},
        }
        for stage in table.stages
    ]


def _strategy(name: str) -> Facts:
    parsed = parse(name)
    preset = STRATEGIES.get(name)
    several = len(parsed.phases) > 1
    terms = [
        {
            **({"phase": number} if several else {}),
            "kind": t.kind, "stages": ", ".join(t.stages) or "all", "rate": f"{t.lr:g}",
        }
        for number, phase in enumerate(parsed.phases, start=1)
        for t in phase.terms
    ]  # fmt: skip
    methods = {name: METHODS[name].long_name for phase in parsed.phases for name, _ in phase.methods}
    words = {"meaning": preset.long_name, "source": preset.source} if preset else {}
    start = "random weights" if parsed.random else "the source's weights, with a new classifier"
    return {
        "name": name, "canonical": parsed.name, **words, "starts_from": start, "terms": terms,
        **({"methods": methods} if methods else {}),
    }  # fmt: skip


def _metric(record: Any) -> Facts:
    family = FAMILIES[record.family]
    return {
        "name": record.name, "meaning": record.long_name, "formula": record.formula, "units": record.units,
        "family": family.name, "takes": family.takes,
        "one_value_for": " or ".join(f"a {what}" for what in family.reductions) or "a layer's features",
        "needs_images": not family.of_weights,
        "bounds": f"{record.lower:g} to {record.upper:g}", "identical": record.identity,
        "symmetric": record.symmetric, "scale_free": record.scale_free, "source": record.source,
        "notes": (inspect.getdoc(record.function) or "").partition("\n")[0],
    }  # fmt: skip


def _score(record: Any) -> Facts:
    names = ("name", "long_name", "formula", "units", "higher_is_better", "source")
    bounds = f"{record.lower:g} to {record.upper:g}"
    return _plain(*names)(record) | {"takes": TAKES[record.takes], "bounds": bounds}


def _study(record: Any) -> Facts:
    known = {key: _given(value) for key, value in record.to_json().items() if value not in (None, [], {})}
    columns = {"claims": ("name", "where", "text"), "tables": ("name", "title"), "figures": ("name", "kind", "title")}
    told = {what: [{name: row[name] for name in columns[what]} for row in known.get(what, ())] for what in columns}
    return known | {what: rows for what, rows in told.items() if rows}


def _given(value: Any) -> Any:
    """A table without what it leaves out."""
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, Mapping) else value


def _plain(*names: str) -> Callable[[Any], Facts]:
    return lambda record: {name: getattr(record, name) for name in names}


CATALOGUE: Mapping[str, Shelf] = {
    "models": Shelf(
        MODELS, ("name", "conv", "bn", "fc", "min_size", "source"),
        lambda record: _plain("name", "min_size", "source")(record) | {"layers": _stages(record.name)},
        "and any other torchvision classifier; arguments as mobilenet_v2:width_mult=0.35",
    ),
    "strategies": Shelf(
        STRATEGIES, ("name", "spelling", "long_name", "source"), lambda record: _strategy(record.name),
        "and any other: KIND[@STAGE[-STAGE]][=RATE] and methods joined by +, phases by 'for' and 'then'",
    ),
    "methods": Shelf(
        METHODS, ("name", "default", "long_name", "source"), _plain("name", "default", "long_name", "source"),
        "each a word of a strategy, as in conv+bn+fc+decay=0.75",
    ),
    "bn-modes": Shelf(BN_MODES, ("name", "long_name", "source"), _plain("name", "long_name", "source")),
    "heads": Shelf(HEADS, ("name", "long_name", "source"), _plain("name", "long_name", "dropout", "source")),
    "augmentations": Shelf(
        AUGMENTATIONS, ("name", "default", "unit", "long_name", "source"),
        _plain("name", "default", "most", "unit", "long_name", "source"),
        "and the preset gupta2020; with a strength, as rotate=50",
    ),
    "schedules": Shelf(
        SCHEDULES, ("name", "long_name", "source"), _plain("name", "long_name", "formula", "source"),
    ),
    "losses": Shelf(LOSSES, ("name", "long_name", "source"), _plain("name", "long_name", "formula", "source")),
    "class-weights": Shelf(CLASS_WEIGHTS, ("name", "long_name"), _plain("name", "long_name", "formula")),
    "samplings": Shelf(SAMPLINGS, ("name", "long_name"), _plain("name", "long_name")),
    "precisions": Shelf(PRECISIONS, ("name", "long_name"), _plain("name", "long_name")),
    "optimizers": Shelf(OPTIMIZERS, ("name", "source"), _plain("name", "torch_name", "momentum", "source")),
    "metrics": Shelf(
        METRICS, ("name", "family", "units", "long_name"), _metric,
        "and the name of a family, for all of its metrics",
    ),
    "datasets": Shelf(
        DATASETS, ("name", "classes", "images", "long_name", "source"),
        _plain("name", "long_name", "classes", "images", "split", "source"),
        "and any folder of images, one folder a class",
    ),
    "small-classes": Shelf(SMALL_CLASSES, ("name", "long_name"), _plain("name", "long_name")),
    "baselines": Shelf(
        BASELINES, ("name", "long_name", "source"), _plain("name", "long_name", "source"),
        "each on the features of any layer, as svm@stage3",
    ),
    "scores": Shelf(SCORES, ("name", "takes", "long_name", "source"), _score),
    "rules": Shelf(
        RULES, ("name", "question", "answer", "source"), _plain("name", "question", "answer", "why", "source")
    ),
    "studies": Shelf(STUDIES, ("name", "title", "source"), _study, "and any TOML file with the same fields"),
}  # fmt: skip
_SINGULAR = {
    "models": "model",
    "strategies": "strategy",
    "methods": "method",
    "bn-modes": "BN mode",
    "heads": "head",
    "augmentations": "augmentation",
    "schedules": "schedule",
    "losses": "loss",
    "class-weights": "way to weigh classes",
    "samplings": "sampling",
    "precisions": "precision",
    "optimizers": "optimizer",
    "metrics": "metric",
    "datasets": "data set",
    "small-classes": "way with small classes",
    "baselines": "baseline",
    "scores": "transferability score",
    "rules": "rule of advice",
    "studies": "study",
}
