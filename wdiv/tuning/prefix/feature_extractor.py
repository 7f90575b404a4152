"""What a network makes of images on the way, read off at several places in one forward pass.

A place is a stage (``stage3``), ``bottleneck``, the name of a layer or of any module, or a layer's depth.

- A stage gives the last of its largest maps: what the next stage reads, before whatever merely makes it smaller.
- The bottleneck is what the last layer of the classifier reads.
- A layer or module gives its output, as it is: of a convolution, before its normalisation and activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput
from wdiv.layers import Layer, LayerTable
from wdiv.registry import did_you_mean
from wdiv.store.stages import OUTSIDE
from wdiv.tuning.prefix.frozen_prefix import Traced, ancestors, check_apart
from wdiv.tuning.prefix.tracing import in_mode

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

__all__ = ["BOTTLENECK", "FeatureExtractor", "check_pooling", "places", "pool", "feature_extractor"]

BOTTLENECK = "bottleneck"
"""The place after the last stage: what the classifier reads."""


@dataclass(frozen=True, eq=False)
class FeatureExtractor:
    """``prefix(x)`` is a tuple of (n, d) tensors, one for each of ``names``; what else is known is in the same order.

    prefix  (n, 3, size, size) float -> the pooled outputs; the network's own layers, which are in eval mode when used
    keys    state-dict keys of the parameters and buffers that the prefix reads
    digest  SHA-256 of the prefix's operations with all their settings, without its weights
    layers  the deepest layer that each output depends on
    """

    prefix: fx.GraphModule
    keys: tuple[str, ...]
    digest: str
    names: tuple[str, ...]
    layers: tuple[Layer, ...]


def places(table: LayerTable) -> tuple[str, ...]:
    """The stages of the trunk, from input to output, and the bottleneck."""
    return (*(stage for stage in table.stages if stage not in OUTSIDE), BOTTLENECK)


def pool(features: torch.Tensor, how: str = "avg") -> torch.Tensor:
    """(n, d) of what a layer gives: maps (n, c, h, w) pooled over space, vectors as they are.

    how  ``avg``, ``max``, or ``grid=K``: averages over K × K parts of the map, d = c·K²

    >>> import torch
    >>> maps = torch.arange(8.0).view(1, 2, 2, 2)
    >>> pool(maps).tolist(), pool(maps, "max").tolist(), pool(maps, "grid=2").shape
    ([[1.5, 5.5]], [[3.0, 7.0]], torch.Size([1, 8]))
    """
    from torch.nn import functional

    if features.dim() != 4:
        return features.flatten(1)
    if how == "avg":
        return features.mean((2, 3))
    if how == "max":
        return features.amax((2, 3))
    return functional.adaptive_avg_pool2d(features, _grid(how)).flatten(1)


def check_pooling(how: str) -> None:
    """Raise :class:`~wdiv.errors.BadInput` unless :func:`pool` knows it."""
    if how not in ("avg", "max"):
        _grid(how)


def _grid(how: str) -> int:
    name, _, side = how.partition("=")
    if name != "grid" or not side.isdecimal() or not 1 <= int(side) <= 64:
        raise BadInput(f"pooling {how!r}: avg, max or grid=K, K from 1 to 64")
    return int(side)


def feature_extractor(
    model: nn.Module, table: LayerTable, head: frozenset[str], wanted: Sequence[str], size: int, pooling: str = "avg"
) -> FeatureExtractor:
    """Read a network off at ``wanted`` places, pooled (:func:`pool`).

    table, head  its layers and the names of those of its classifier
    size         of the images

    Raises :class:`~wdiv.errors.BadInput` for a place that it does not have, and
    :class:`~wdiv.tuning.prefix.frozen_prefix.NoPrefix` where torch.fx cannot trace it.

    >>> from wdiv.tuning.networks.models import ModelSpec, build, head_layers, layer_table
    >>> spec = ModelSpec("resnet18")
    >>> wanted = ["stage2", "bottleneck", "0"]
    >>> found = feature_extractor(build(spec, 2), layer_table(spec, 2, 32), head_layers(spec), wanted, 32)
    >>> found.names, [layer.name for layer in found.layers]
    (('stage2', 'bottleneck', 'conv1'), ['layer2.1.bn2', 'layer4.1.bn2', 'conv1'])
    """
    check_pooling(pooling)
    with in_mode(model, training=False):
        network = Traced(model, (), size)
        found = {name: node for place in wanted for name, node in [_find(network, table, head, place)]}
        outputs = [_pooled(network, node, pooling) for node in found.values()]
        before = ancestors(outputs)
        prefix = network.prefix(outputs)
        check_apart(prefix, size)
        deepest = tuple(_deepest(network, table, node) for node in found.values())
        return FeatureExtractor(prefix, network.keys(before), network.digest(before, outputs), tuple(found), deepest)


def _find(network: Traced, table: LayerTable, head: frozenset[str], place: str) -> tuple[str, fx.Node]:
    """A place's name and its node."""
    calls = {str(node.target): node for node in network.graph.nodes if node.op == "call_module"}
    if place == BOTTLENECK:
        last = max((layer for layer in table if layer.name in head and layer.name in calls), key=_depth)
        return place, calls[last.name].all_input_nodes[0]
    if place in places(table):
        return place, _end(network, calls, table, place)
    if place.isdecimal() and place not in calls:
        by_depth = {layer.depth: layer.name for layer in table if layer.name in calls}
        if int(place) not in by_depth:
            raise BadInput(f"layer {place}: a depth from {min(by_depth)} to {max(by_depth)}")
        place = by_depth[int(place)]
    inside = [node for node in network.graph.nodes if place in _modules(node) and network.bytes(node)]
    if not inside:
        names = {name for node in network.graph.nodes for name in _modules(node)}
        raise BadInput(
            f"layer {place!r}: a stage, a layer's depth or name; {did_you_mean(place, {*places(table), *names})}"
        )
    return place, inside[-1]


def _modules(node: fx.Node) -> tuple[str, ...]:
    """The modules that a node is a part of, by their names in the network."""
    return tuple(path for path, _ in node.meta.get("nn_module_stack", {}).values() if path)


def _end(network: Traced, calls: dict[str, fx.Node], table: LayerTable, stage: str) -> fx.Node:
    """The last of the largest maps between the last layer of a stage and the first of the next one."""
    ordered = [layer for layer in sorted(table, key=_depth) if layer.name in calls]
    last = max(i for i, layer in enumerate(ordered) if layer.stage == stage)
    node = calls[ordered[last + 1].name].all_input_nodes[0]
    chain = [node]
    while len(node.all_input_nodes) == 1 and not network.has_parameters(node.all_input_nodes[0]):
        node = node.all_input_nodes[0]
        chain.append(node)
    return max(chain, key=lambda node: network.bytes(node) if _is_map(network, node) else 0)


def _is_map(network: Traced, node: fx.Node) -> bool:
    return len(getattr(network.facts[node].values[0], "shape", ())) == 4


def _pooled(network: Traced, node: fx.Node, how: str) -> Any:
    if not network.bytes(node):
        raise BadInput(f"{node.name}: does not give a row of numbers for each image")
    with network.graph.inserting_after(node):
        return network.graph.call_function(pool, (node, how))


def _deepest(network: Traced, table: LayerTable, node: fx.Node) -> Layer:
    names = {str(each.target) for each in ancestors([node]) if each.op == "call_module"}
    return max((layer for layer in table if layer.name in names), key=_depth)


def _depth(layer: Layer) -> int:
    return layer.depth
