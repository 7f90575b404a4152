"""What runs of a store call by one name is one thing: images, weights and how they are fed, what a strategy does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from wdiv.errors import BadStore
from wdiv.store.imported import NAME as IMPORTED
from wdiv.store.reader import Run
from wdiv.store.wholes import division

__all__ = ["WORDS", "Names", "conflicts", "difference", "readable", "taken", "trained"]

Things = Mapping[tuple[str, ...], Mapping[str, Any]]
"""What kind of thing, its name, and what else it goes by -> what is known of it, by field of a run's record."""
Names = Mapping[tuple[str, ...], tuple[str, Mapping[str, Any]]]
"""The same with the run that has it."""

WORDS = {
    "folds": "folds of its images", "data_digest": "SHA-256 of its images", "grouping": "grouping of its images",
    "small_classes": "way with small classes", "base": "SHA-256 of its starting weights", "bn_eps": "BatchNorm's eps",
    "changing": "set of tensors that train",
}  # fmt: skip
"""Fields of a run's record whose names say too little."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _named(facts: Mapping[str, Any]) -> Things:
    """facts: fields of a :class:`~wdiv.store.record.RunRecord`; None where something is not known yet."""
    base = None if facts["source"] == "random" else facts["base"]  # random weights are their seed's
    cell = [str(facts[name]) for name in ("label", "source", "dataset", "per_class", "bn_mode")]
    return {
        ("images", facts["dataset"]): {k: facts[k] for k in ("data_digest", "grouping")}
        | {"folds": division(facts["fold"])},
        ("weights", facts["source"], facts["label"]): {"base": base} | {k: facts[k] for k in ("input", "bn_eps")},
        ("strategy", facts["strategy"], *cell): {k: facts[k] for k in ("recipe", "changing")},
    }


def taken(runs: Iterable[Run]) -> Names:
    """What the runs of a store go by, and the first to do so; of those that were :func:`trained`."""
    found: dict[tuple[str, ...], tuple[str, Mapping[str, Any]]] = {}
    for run in trained(runs):
        for names, thing in _named(vars(run.record)).items():
            found.setdefault(names, (run.path.name, thing))
    return found


def readable(runs: Iterable[Run]) -> list[Run]:
    """The runs whose record is what was written. Whoever reads the store names the others."""
    found = []
    for run in runs:
        with suppress(BadStore):
            if run.record:  # which reads it
                found.append(run)
    return found


def trained(runs: Iterable[Run]) -> list[Run]:
    """Those that are :func:`readable`, without imported ones: neither their images nor their recipe are known."""
    return [run for run in readable(runs) if not (run.path / IMPORTED).exists()]


def conflicts(facts: Mapping[str, Any], known: Names) -> Iterator[tuple[str, str, str, str]]:
    """(what, its name, the run that has another, how they differ) of all that a run calls by a name that is taken."""
    for names, thing in _named(facts).items():
        other, theirs = known.get(names, ("", thing))
        differing = [
            f"{WORDS.get(field, field)}: {difference(theirs[field], value)}"
            for field, value in thing.items()
            if value is not None and theirs[field] is not None and theirs[field] != value
        ]
        if differing:
            yield names[0], names[1], other, "; ".join(differing)


def difference(theirs: Any, ours: Any) -> str:
    """How two values of a field differ, in words.

    >>> difference({"epochs": 2, "seed": 0}, {"epochs": 3, "seed": 0}), difference("ab" * 32, "cd" * 32)
    ('epochs 2, now 3', 'abababababab…, now cdcdcdcdcdcd…')
    """
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        names = [n for n in theirs.keys() | ours.keys() if theirs.get(n) != ours.get(n)]
        return ", ".join(f"{n} {theirs.get(n)!r}, now {ours.get(n)!r}" for n in sorted(names))
    if isinstance(theirs, (str, int, float)) or isinstance(ours, (str, int, float)):
        short = (f"{one[:12]}…" if _SHA256.fullmatch(str(one)) else one for one in map(str, (theirs, ours)))
        return ", now ".join(one or "not known" for one in short)
    return f"{len(theirs)} entries, now {len(ours)}, or others"
