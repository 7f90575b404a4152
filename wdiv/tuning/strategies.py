"""Strategies: which layers train, and at what rate. Data, in one spelling for the CLI, TOML files and tables.

``scratch``            everything, from random weights
``fc``                 the classifier
``bn+fc``              every BatchNorm and the classifier
``norm+fc``            every LayerNorm, GroupNorm, RMSNorm and InstanceNorm, and the classifier
``bn@stage3-4+fc``     ``@`` narrows the one kind before it to a stage or a range of stages
``conv=1e-4,bn=1e-2``  a rate after ``=``; ``,`` and ``+`` both join
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from wdiv.errors import BadInput
from wdiv.layers import KINDS, Layer, LayerTable
from wdiv.registry import Registry, did_you_mean

__all__ = ["BN_MODES", "STRATEGIES", "BnMode", "Preset", "Strategy", "Term", "parse"]

_TERM = re.compile(r"(?P<kind>[a-z]+)(?:@(?P<stages>[^=]+))?(?:=(?P<rate>.+))?")
_STAGES = re.compile(r"(stem|head|aux)|stage(\d)(?:-(?:stage)?(\d))?")


@dataclass(frozen=True)
class BnMode:
    """How BatchNorm layers normalise while training."""

    name: str
    long_name: str


BN_MODES: Registry[BnMode] = Registry("BN mode")
for _name, _words in (
    ("auto", "batch for a layer whose gamma or beta trains, frozen for the others"),
    ("frozen", "running statistics, never updated, in every layer"),
    ("batch", "batch statistics, running ones updated, in every layer"),
    ("adapt", "as batch; after each epoch the running statistics are estimated anew over the training images"),
):
    BN_MODES.add(BnMode(_name, _words))


@dataclass(frozen=True)
class Term:
    """One kind of layer, the stages it is narrowed to (empty: all), and its rate."""

    kind: str
    stages: tuple[str, ...]
    rate: float

    def selects(self, layer: Layer, head: frozenset[str]) -> bool:
        """``fc`` is the classifier, also where that is a convolution, and every other linear layer."""
        kind = "fc" if layer.name in head else layer.kind
        return kind == self.kind and (not self.stages or layer.stage in self.stages)


@dataclass(frozen=True)
class Strategy:
    """A parsed strategy; ``name`` is its canonical spelling."""

    name: str
    terms: tuple[Term, ...]

    @property
    def scratch(self) -> bool:
        """True if it starts from random weights and trains everything."""
        return self.name.partition("=")[0] == "scratch"

    @property
    def scratch_rate(self) -> float:
        return self.terms[0].rate

    def rate(self, layer: Layer, head: frozenset[str]) -> float | None:
        """The layer's learning rate; None if it is frozen."""
        return next((term.rate for term in self.terms if term.selects(layer, head)), None)

    def check(self, table: LayerTable, head: frozenset[str], model: str) -> None:
        """Raise :class:`~wdiv.errors.BadInput` if a term, or a stage of its range, selects no layer of this network.

        ``scratch`` trains whatever there is.
        """
        for term in () if self.scratch else self.terms:
            found = {layer.stage for layer in table if term.selects(layer, head)}
            if not found or not found.issuperset(term.stages):
                where = f" in {next(s for s in term.stages if s not in found)}" if term.stages else ""
                raise BadInput(
                    f"strategy {self.name!r}: {model} has no {term.kind} layer{where}; its stages: "
                    + ", ".join(table.stages)
                )


@dataclass(frozen=True)
class Preset:
    """A strategy that a document names. ``spelling`` is parsed like any other."""

    name: str
    spelling: str
    long_name: str
    source: str


STRATEGIES: Registry[Preset] = Registry("strategy")
_PENG = "Peng and Wang (2020)"
for _name, _spelling, _words, _where in (
    ("scratch", "scratch=1e-3", "everything, from random weights", f"{_PENG}, section 3.1"),
    ("fc", "fc=1e-3", "the classifier on frozen features", f"{_PENG}, section 3.1"),
    ("conv+fc", "conv=1e-4,fc=1e-4", "every convolution and the classifier", f"{_PENG}, table 4"),
    ("bn+fc", "bn=1e-2,fc=1e-2", "every BatchNorm and the classifier", f"{_PENG}, table 4"),
    ("conv+bn+fc", "conv=1e-4,bn=1e-4,fc=1e-4", "everything, at one rate", f"{_PENG}, table 4"),
    ("by-kind", "conv=1e-4,bn=1e-2,fc=1e-3", "everything, at a rate for each kind", f"{_PENG}, table 7"),
    ("bn@stage4+fc", "bn@stage4=1e-2,fc=1e-2", "BatchNorm of the last stage", f"{_PENG}, table 8"),
    ("bn@stage3-4+fc", "bn@stage3-4=1e-2,fc=1e-2", "BatchNorm of the last two stages", f"{_PENG}, table 8"),
    ("bn@stage2-4+fc", "bn@stage2-4=1e-2,fc=1e-2", "BatchNorm of the last three stages", f"{_PENG}, table 8"),
):
    STRATEGIES.add(Preset(_name, _spelling, _words, _where))


def parse(text: str) -> Strategy:
    """A strategy from its spelling. Kinds may come in any order; the canonical name has conv, bn, norm, fc.

    A rate left out is 1e-4 where a convolution trains, else 1e-2 where a normalisation does, else 1e-3: the
    rates of Peng and Wang (2020). Raises :class:`~wdiv.errors.BadInput`.

    >>> parse("fc+bn@stage3-4").name
    'bn@stage3-4+fc'
    >>> [(term.kind, term.stages, term.rate) for term in parse("bn=1e-2,fc=1e-3").terms]
    [('bn', (), 0.01), ('fc', (), 0.001)]
    >>> parse("bn=1e-2,fc=1e-2").name
    'bn+fc'
    """
    text = text.strip()
    spelling = STRATEGIES[text].spelling if text in STRATEGIES else text
    if spelling.startswith("scratch"):
        match = _TERM.fullmatch(spelling)
        if match is None or match["kind"] != "scratch" or match["stages"]:
            raise BadInput(f"strategy {text!r}: 'scratch' stands alone, or as scratch=RATE")
        rate = _rate(match["rate"], text) or 1e-3
        return Strategy(_spell_rate("scratch", rate, 1e-3), tuple(Term(kind, (), rate) for kind in KINDS))
    parts = [_match(part, text) for part in re.split(r"(?<![\d.][eE])[+,]", spelling)]
    kinds = [match["kind"] for match in parts]
    repeated = next((kind for kind in kinds if kinds.count(kind) > 1), None)
    if repeated:
        raise BadInput(f"strategy {text!r}: {repeated!r} stands twice; use a range of stages, {repeated}@stage2-4")
    default = 1e-4 if "conv" in kinds else 1e-2 if {"bn", "norm"} & set(kinds) else 1e-3
    terms = tuple(
        Term(match["kind"], _stages(match["stages"], text), _rate(match["rate"], text) or default)
        for match in sorted(parts, key=lambda match: KINDS.index(match["kind"]))
    )
    plain = all(term.rate == default for term in terms)
    name = ("+" if plain else ",").join(
        _spell_rate(term.kind + _spell_stages(term.stages), term.rate, default if plain else None) for term in terms
    )
    return Strategy(name, terms)


def _match(part: str, text: str) -> re.Match[str]:
    match = _TERM.fullmatch(part.strip())
    if match is None or match["kind"] not in KINDS:
        word = match["kind"] if match else part
        raise BadInput(f"unknown strategy {text!r}: {word!r} is no kind of layer; {_hint(text, word)}")
    return match


def _hint(text: str, word: str) -> str:
    near = did_you_mean(text, STRATEGIES)
    return near if near.startswith("did") else did_you_mean(word, KINDS)


def _stages(spelled: str | None, text: str) -> tuple[str, ...]:
    if spelled is None:
        return ()
    match = _STAGES.fullmatch(spelled)
    if match is None:
        raise BadInput(f"strategy {text!r}: {spelled!r} is no stage; write stage4, stage3-4 or stem")
    if match[1]:
        return (match[1],)
    first, last = int(match[2]), int(match[3] or match[2])
    if first > last:
        raise BadInput(f"strategy {text!r}: write the stages from low to high, stage{last}-{first}")
    return tuple(f"stage{i}" for i in range(first, last + 1))


def _rate(spelled: str | None, text: str) -> float | None:
    if spelled is None:
        return None
    try:
        rate = float(spelled)
    except ValueError:
        rate = -1.0
    if not 0 < rate < float("inf"):
        raise BadInput(f"strategy {text!r}: a rate is a positive number, not {spelled!r}")
    return rate


def _spell_stages(stages: tuple[str, ...]) -> str:
    if not stages:
        return ""
    return "@" + stages[0] + (f"-{stages[-1].removeprefix('stage')}" if stages[1:] else "")


def _spell_rate(name: str, rate: float, default: float | None) -> str:
    if rate == default:
        return name
    mantissa, _, exponent = f"{Decimal(repr(rate)).normalize():e}".partition("e")  # every digit: it is parsed again
    return f"{name}={mantissa}e{int(exponent)}"
