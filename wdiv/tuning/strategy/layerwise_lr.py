"""Rates that fall with depth: what each layer's rate is multiplied by."""

from __future__ import annotations

from collections.abc import Mapping

from wdiv.layers import LayerTable
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
        places = _distances(table, lambda layer: (layer.stage, layer.block))
        return {name: decay**distance for name, distance in places.items()}
    if spread is not None:
        trained = LayerTable(tuple(layer for layer in table if phase.lr(layer, head) is not None), table.order)
        places = _distances(trained, lambda layer: layer.stage)
        most = max(places.values(), default=0) or 1
        return {layer.name: spread ** (-places.get(layer.name, 0) / most) for layer in table}
    return {layer.name: 1.0 for layer in table}


def _distances(table: LayerTable, group):  # type: ignore[no-untyped-def]
    """Layer -> groups between it and the network's end; 0 for the classifier and what stands beside."""
    body = [layer for layer in sorted(table, key=lambda layer: layer.depth) if layer.stage not in OUTSIDE]
    order = list(dict.fromkeys(group(layer) for layer in body))
    places = {layer.name: len(order) - order.index(group(layer)) for layer in body}
    return {layer.name: places.get(layer.name, 0) for layer in table}
