"""Which layer of one checkpoint is which layer of another, and how that was decided."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from wdiv.layers import Layer, LayerTable

__all__ = ["Matching", "match_layers"]


@dataclass(frozen=True)
class Matching:
    """pairs: name in A -> name in B. rule: how the names were brought together, in words."""

    pairs: dict[str, str]
    rule: str


def match_layers(a: LayerTable, b: LayerTable) -> Matching:
    """Pair the layers of two networks: by name, else by one change of prefix, else by shape and order.

    A change of prefix is the one pair of beginnings (p, q) for which the most layers ``p + rest`` of A and
    ``q + rest`` of B agree in operation and shape. Layers of the same name pair whatever their shapes: whether they
    can be compared is another question. By shape and order only when no names agree at all, and every layer of the
    smaller network finds its partner, in order.

    >>> from wdiv.store.foreign import layers_from_shapes
    >>> a = layers_from_shapes({"conv.weight": (8, 3, 3, 3), "fc.weight": (10, 8)})
    >>> b = layers_from_shapes({"body.conv.weight": (8, 3, 3, 3), "fc.weight": (2, 8)})
    >>> matching = match_layers(a, b)
    >>> sorted(matching.pairs.items()), matching.rule
    ([('conv', 'body.conv'), ('fc', 'fc')], "by name, with '' in A for 'body.' in B")
    """
    same = {layer.name: layer.name for layer in a if layer.name in b and b[layer.name].operation == layer.operation}
    left_a = [layer for layer in a if layer.name not in same]
    left_b = [layer for layer in b if layer.name not in set(same.values())]
    prefixes = _best_prefixes(left_a, left_b)
    if prefixes is not None:
        p, q = prefixes
        names_b = {layer.name: layer for layer in left_b}
        moved = {
            layer.name: partner
            for layer in left_a
            if layer.name.startswith(p)
            and (partner := q + layer.name.removeprefix(p)) in names_b
            and _alike(layer, names_b[partner])
        }
        return Matching(same | moved, f"by name, with {p!r} in A for {q!r} in B")
    if same:
        return Matching(same, "by name")
    by_order = _in_order(left_a, left_b)
    return Matching(by_order, "by shape and order" if by_order else "no layer of one has a partner in the other")


def _alike(x: Layer, y: Layer) -> bool:
    return x.operation == y.operation and x.shape == y.shape


def _best_prefixes(left_a: list[Layer], left_b: list[Layer]) -> tuple[str, str] | None:
    """The pair of prefixes under which the most layers agree; None unless at least two do and they are the majority
    of the smaller side's same-shaped layers."""
    by_tail: dict[str, list[Layer]] = {}
    for layer in left_b:
        by_tail.setdefault(layer.name.rpartition(".")[2], []).append(layer)
    votes = Counter(
        _heads(x.name, y.name) for x in left_a for y in by_tail.get(x.name.rpartition(".")[2], ()) if _alike(x, y)
    )
    if not votes:
        return None
    best, count = max(votes.items(), key=lambda item: (item[1], -len(item[0][0]) - len(item[0][1])))
    possible = min(
        sum(any(_alike(x, y) for y in others) for x in ours) for ours, others in ((left_a, left_b), (left_b, left_a))
    )
    return best if count >= min(2, len(left_a), len(left_b)) and 2 * count > possible else None


def _heads(x: str, y: str) -> tuple[str, str]:
    """What remains of two dotted names when their longest common ending is taken off."""
    parts_x, parts_y = x.split("."), y.split(".")
    while parts_x and parts_y and parts_x[-1] == parts_y[-1]:
        parts_x.pop()
        parts_y.pop()
    return tuple(".".join(p) + "." if p else "" for p in (parts_x, parts_y))  # type: ignore[return-value]


def _in_order(left_a: list[Layer], left_b: list[Layer]) -> dict[str, str]:
    small, large, swapped = (left_a, left_b, False) if len(left_a) <= len(left_b) else (left_b, left_a, True)
    pairs, rest = {}, iter(large)
    for layer in small:
        partner = next((other for other in rest if _alike(layer, other)), None)
        if partner is None:
            return {}
        pairs[layer.name] = partner.name
    return {v: k for k, v in pairs.items()} if swapped else pairs
