"""Reading and writing the spelling of a strategy, which :mod:`wdiv.tuning.strategy.strategies` explains."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal
from itertools import groupby

from wdiv.errors import BadInput
from wdiv.registry import did_you_mean
from wdiv.tuning.strategy.methods import METHODS
from wdiv.tuning.strategy.strategies import EVERYTHING, STRATEGIES, TERMS, Phase, Strategy, Term

__all__ = ["parse", "spell", "spell_term"]

_PART = re.compile(r"(?P<word>[a-z][a-z0-9]*)(?:@(?P<stages>[^=]+))?(?:=(?P<number>.+))?")
_STAGES = re.compile(r"(stem|head|aux)|stage(\d)(?:-(?:stage)?(\d))?")
_JOIN = re.compile(r"(?<![\d.][eE])[+,]")
_THEN = re.compile(r"\s+then\s+")
_SCRATCH, _SCRATCH_RATE = "scratch", 1e-3


def parse(text: str) -> Strategy:
    """A strategy from its spelling. Parts may come in any order; the canonical name has all, conv, bn, norm,
    linear, fc.

    A rate left out is 1e-4 where a convolution, what is linear in the trunk or everything trains, else 1e-2 where a
    normalisation does, else 1e-3: the rates of Peng and Wang (2020). Raises :class:`~wdiv.errors.BadInput`.

    >>> parse("fc+bn@stage3-4").name
    'bn@stage3-4+fc'
    >>> [(term.kind, term.stages, term.lr) for term in parse("bn=1e-2,fc=1e-3").last.terms]
    [('bn', (), 0.01), ('fc', (), 0.001)]
    >>> parse("bn=1e-2,fc=1e-2").name
    'bn+fc'
    >>> parse("fc for 5 then decay=0.5+conv+fc").name
    'fc for 5 then conv+fc+decay=0.5'
    >>> parse("fc for 5 then gradual").name
    'fc for 5 then all+gradual'
    """
    text = text.strip()
    phases = tuple(_phase(part, text) for part in _THEN.split(_spelling(text)))
    for phase in phases[1:]:
        if phase.has("random"):
            raise BadInput(f"strategy {text!r}: only its first phase can start from random weights")
    open_ended = [phase for phase in phases if phase.length is None]
    shares = [phase.length for phase in phases if phase.length is not None and phase.length < 1]
    if not open_ended:
        raise BadInput(f"strategy {text!r}: leave one phase without 'for', to take what is left of the epochs")
    if sum(shares) >= 1:
        raise BadInput(f"strategy {text!r}: shares of {sum(shares):g} in all leave nothing to the other phases")
    return Strategy(spell(phases), phases)


def _spelling(text: str) -> str:
    return STRATEGIES[text].spelling if text in STRATEGIES else text


def _phase(spelling: str, text: str) -> Phase:
    words, _, length = spelling.strip().partition(" for ")
    words = _spelling(words.strip())  # a phase may be a preset by its name
    if _THEN.search(words):
        raise BadInput(f"strategy {text!r}: {spelling.strip()!r} has phases of its own and cannot be one of others")
    if words.partition("=")[0].strip() == _SCRATCH or re.match(rf"\s*{_SCRATCH}\W", words):
        return Phase((_scratch(words.strip(), text),), (("random", None),), _length(length, text))
    parts = [_match(part, text) for part in _JOIN.split(words)]
    kinds = {part["word"] for part in parts} - set(METHODS)
    if not kinds:
        raise BadInput(f"strategy {text!r}: names nothing that trains; {did_you_mean('', TERMS)}")
    default = _default_rate(kinds)
    terms = [
        Term(part["word"], _stages(part["stages"], text), _lr(part["number"], text) or default)
        for part in parts
        if part["word"] not in METHODS
    ]
    methods = [(part["word"], _number(part, text)) for part in parts if part["word"] in METHODS]
    names = [name for name, _ in methods]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"strategy {text!r}: {name!r} stands twice")
    if {"decay", "spread"} <= set(names):
        raise BadInput(f"strategy {text!r}: 'decay' and 'spread' both say how rates fall with depth; choose one")
    order = list(METHODS)
    return Phase(
        tuple(_merged(terms, text)), tuple(sorted(methods, key=lambda m: order.index(m[0]))), _length(length, text)
    )


def _default_rate(kinds: Collection[str]) -> float:
    return 1e-4 if {"conv", "linear", EVERYTHING} & set(kinds) else 1e-2 if {"bn", "norm"} & set(kinds) else 1e-3


def _scratch(words: str, text: str) -> Term:
    match = _PART.fullmatch(words)
    if match is None or match["stages"] or match["word"] != _SCRATCH or _JOIN.search(match["number"] or ""):
        raise BadInput(f"strategy {text!r}: 'scratch' stands alone, or as scratch=RATE")
    return Term(EVERYTHING, (), _lr(match["number"], text) or _SCRATCH_RATE)


def _merged(terms: Iterable[Term], text: str) -> Iterator[Term]:
    """Terms in canonical order, those of neighbouring stages and one rate made one."""
    for kind, group in groupby(sorted(terms, key=lambda t: TERMS.index(t.kind)), key=lambda t: t.kind):
        of_kind = list(group)
        if len(of_kind) == 1:
            yield of_kind[0]
            continue
        lrs: dict[str, float] = {}
        for term in of_kind:
            if not term.stages:
                raise BadInput(f"strategy {text!r}: {kind!r} stands twice, once for all stages")
            for stage in term.stages:
                if stage in lrs:
                    raise BadInput(f"strategy {text!r}: {kind!r} stands twice for {stage}")
                lrs[stage] = term.lr
        run: list[str] = []
        for stage in sorted(lrs, key=_place):
            if run and (_place(stage) != _place(run[-1]) + 1 or lrs[stage] != lrs[run[-1]]):
                yield Term(kind, tuple(run), lrs[run[-1]])
                run = []
            run.append(stage)
        yield Term(kind, tuple(run), lrs[run[-1]])


def _place(stage: str) -> int:
    """Stages in order; two numbers apart where no range joins them."""
    return int(stage.removeprefix("stage")) if stage.startswith("stage") else {"stem": -9, "aux": 90, "head": 99}[stage]


def _match(part: str, text: str) -> re.Match[str]:
    match = _PART.fullmatch(part.strip())
    word = match["word"] if match else part
    if match is None or word not in (*TERMS, *METHODS):
        raise BadInput(f"unknown strategy {text!r}: {word!r} is no kind of layer; {_hint(text, word)}")
    if word in METHODS and match["stages"]:
        raise BadInput(f"strategy {text!r}: {word!r} is a method and takes no stage")
    return match


def _hint(text: str, word: str) -> str:
    near = did_you_mean(text, STRATEGIES)
    return near if near.startswith("did") else did_you_mean(word, (*TERMS, *METHODS))


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


def _lr(spelled: str | None, text: str) -> float | None:
    if spelled is None:
        return None
    lr = _float(spelled)
    if lr is None or not 0 < lr < float("inf"):
        raise BadInput(f"strategy {text!r}: a rate is a positive number, not {spelled!r}")
    return lr


def _number(part: re.Match[str], text: str) -> float | None:
    method, spelled = METHODS[part["word"]], part["number"]
    if spelled is None:
        return method.default
    if method.default is None:
        raise BadInput(f"strategy {text!r}: {method.name!r} takes no number")
    number = _float(spelled)
    if number is None or not method.takes(number):
        upto = "" if method.upto == float("inf") else f" and at most {method.upto:g}"
        raise BadInput(f"strategy {text!r}: {method.name} takes a number above {method.above:g}{upto}, not {spelled!r}")
    return number


def _length(spelled: str, text: str) -> float | None:
    if not spelled:
        return None
    length = _float(spelled)
    if length is None or not (0 < length < 1 or (length >= 1 and length == int(length))):
        raise BadInput(f"strategy {text!r}: a phase is for a number of epochs or a share below 1, not {spelled!r}")
    return length


def _float(spelled: str) -> float | None:
    try:
        number = float(spelled)
    except ValueError:
        return None
    return number if number == number and abs(number) != float("inf") else None


def spell(phases: Iterable[Phase]) -> str:
    """The canonical name of a strategy of these phases, which :func:`parse` reads."""
    return " then ".join(map(_spell, phases))


def spell_term(term: Term) -> str:
    """A term without its rate, such as ``bn@stage3-4``."""
    if not term.stages:
        return term.kind
    return f"{term.kind}@{term.stages[0]}" + (f"-{term.stages[-1].removeprefix('stage')}" if term.stages[1:] else "")


def _spell(phase: Phase) -> str:
    length = "" if phase.length is None else f" for {_plain(phase.length)}"
    if phase.has("random") and [t.kind for t in phase.terms] == [EVERYTHING] and not phase.methods[1:]:
        return _spell_lr(_SCRATCH, phase.terms[0].lr, _SCRATCH_RATE) + length
    default = _default_rate({term.kind for term in phase.terms})
    plain = all(term.lr == default for term in phase.terms)
    terms = [_spell_lr(spell_term(term), term.lr, default if plain else None) for term in phase.terms]
    methods = [name if number is None else f"{name}={_plain(number)}" for name, number in phase.methods]
    return ("+" if plain else ",").join([*terms, *methods]) + length


def _plain(number: float) -> str:
    return repr(int(number) if number == int(number) else number)


def _spell_lr(name: str, lr: float, default: float | None) -> str:
    if lr == default:
        return name
    mantissa, _, exponent = f"{Decimal(repr(lr)).normalize():e}".partition("e")  # every digit: it is parsed again
    return f"{name}={mantissa}e{int(exponent)}"
