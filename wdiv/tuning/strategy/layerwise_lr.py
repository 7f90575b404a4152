"""Rates that fall with depth: what each layer's rate is multiplied by."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from wdiv.layers import Layer, LayerTable
from wdiv.store.stages import OUTSIDE
from wdiv.tuning.strategy.strategies import Phase

__all__ = ["lr_factors"]


def lr_factors(phase: Phase, table: LayerTable, head: frozenset[str]) -> Mapping[str, float]:
    """Layer -> factor of its rate; 1 for all where the phase has no such method.

    decay=d   d^k for a layer k blocks before the classifier, as timm's ``layer_decay``: every residual, dense or
              inverted block counts one, and so does what stands between them
    spread=s  s^(−k/K) for the k-th of the K stages that train before the classifier, as fastai's ``slice(lr/s, lr)``
    """
    decay, spread = phase.number("decay"), phase.number("spread")
    if decay is not None:
        places = _distances(table, _blocks(table))
        return {name: decay**distance for name, distance in places.items()}
    if spread is not None:
        trained = LayerTable(tuple(layer for layer in table if phase.lr(layer, head) is not None), table.order)
        places = _distances(trained, {layer.name: layer.stage for layer in trained})
        most = max(places.values(), default=0) or 1
        return {layer.name: spread ** (-places.get(layer.name, 0) / most) for layer in table}
    return {layer.name: 1.0 for layer in table}


def _blocks(table: LayerTable) -> Mapping[str, Hashable]:
    """Layer -> its block, or the last block before it and the stage that it stands in."""
    last, found = ("", -1), dict[str, Hashable]()
    for layer in _body(table):
        if layer.block >= 0:
            last = (layer.stage, layer.block)
        found[layer.name] = last if layer.block >= 0 else (layer.stage, "after", last)
    return found


def _distances(table: LayerTable, groups: Mapping[str, Hashable]) -> Mapping[str, int]:
    """Layer -> groups between it and the network's end; 0 for the classifier and what stands beside."""
    order = {group: place for place, group in enumerate(dict.fromkeys(groups[layer.name] for layer in _body(table)))}
    places = {layer.name: len(order) - order[groups[layer.name]] for layer in _body(table)}
    return {layer.name: places.get(layer.name, 0) for layer in table}


def _body(table: LayerTable) -> list[Layer]:
    return [layer for layer in sorted(table, key=lambda layer: layer.depth) if layer.stage not in OUTSIDE]
