"""A network as a torch.fx graph, and what a trial run shows of each node."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from wdiv.store.meta_device import on_meta, result_of
from wdiv.store.tensors import tensor_digest

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

__all__ = ["BATCHES", "NodeFacts", "node_facts", "in_mode", "module_of", "operation", "tensors_of", "trace"]

BATCHES = (2, 3)
"""Sizes of the trial batches: what is an image's own follows both."""
REMEMBERED = 16
"""Graphs whose facts are kept, of those last asked for."""
_KNOWN: OrderedDict[str, tuple[NodeFacts, ...]] = OrderedDict()


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """The model as after ``train(training)``; afterwards as it was, without the constants that tracing leaves in it."""
    flags, attributes = [(module, module.training) for module in model.modules()], set(vars(model))

    def switch(module: nn.Module) -> None:
        if "train" not in vars(module):
            module.training = training
        for child in module.children():
            switch(child)

    switch(model)
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag
        for name in set(vars(model)) - attributes:
            delattr(model, name)


@dataclass
class NodeFacts:
    """What a trial run on the meta device shows of a node.

    values  what it gave for either batch
    writes  the nodes whose tensors it writes into
    """

    values: list[Any] = field(default_factory=list)
    flops: int = 0
    random: bool = False
    writes: set[Any] = field(default_factory=set)


def trace(model: nn.Module) -> fx.Graph:
    """The graph of the layers; torchvision's own blocks are opened, since what trains may be one part of them."""
    import torchvision
    from torch import fx

    class Tracer(fx.Tracer):
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            whole = type(module).__module__.startswith("torchvision.ops") and not any(True for _ in module.children())
            return whole or super().is_leaf_module(module, name)

    _, *others = inspect.signature(model.forward).parameters.values()
    defaults = {other.name: other.default for other in others if other.default is not other.empty}
    return Tracer(autowrap_modules=(math, torchvision.ops)).trace(model, concrete_args=defaults or None)


def node_facts(model: nn.Module, graph: fx.Graph, size: int) -> dict[fx.Node, NodeFacts]:
    """What the nodes of a graph do with images of a size. Remembered: the runs of a grid train few networks."""
    nodes = list(graph.nodes)
    numbers = {node: number for number, node in enumerate(nodes)}
    modes, kept = [module.training for module in model.modules()], model.state_dict().keys()
    lines = [str((size, modes)), *(operation(model, node, numbers, kept) for node in nodes)]
    key = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    if key not in _KNOWN:
        found = _try_out(model, graph, size)
        _KNOWN[key] = tuple(replace(found[node], writes={numbers[to] for to in found[node].writes}) for node in nodes)
    _KNOWN.move_to_end(key)
    while len(_KNOWN) > REMEMBERED:
        _KNOWN.popitem(last=False)
    known = zip(nodes, _KNOWN[key], strict=True)
    return {node: replace(facts, writes={nodes[number] for number in facts.writes}) for node, facts in known}


def _try_out(model: nn.Module, graph: fx.Graph, size: int) -> dict[fx.Node, NodeFacts]:
    """Run the graph on batches of two sizes, as a copy of the model on PyTorch's ``meta`` device."""
    import torch
    from torch import fx
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Watch(TorchDispatchMode):
        flops, random, writes = 0, False, False

        def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = result_of(op, args, kwargs)
            count = flop_registry.get(op.overloadpacket)
            self.flops += count(*args, **(kwargs or {}), out_val=result) if count else 0
            self.random |= torch.Tag.nondeterministic_seeded in op.tags
            self.writes |= op._schema.is_mutable
            return result

    class Observer(fx.Interpreter):
        seen: list[tuple[fx.Node, torch.Tensor, int]]

        def run_node(self, node: fx.Node) -> Any:
            watch.flops, watch.random, watch.writes = 0, False, False
            result = super().run_node(node)
            mine = facts[node]
            mine.values.append(result)
            mine.flops, mine.random = watch.flops, watch.random
            if watch.writes:
                mine.writes |= {other for other, tensor, version in self.seen if tensor._version != version}
                self.seen = [(other, tensor, tensor._version) for other, tensor, _ in self.seen]
            parts = result if isinstance(result, (tuple, list)) else (result,)
            self.seen += [(node, part, part._version) for part in parts if isinstance(part, torch.Tensor)]
            return result

    facts = {node: NodeFacts() for node in graph.nodes}
    shadow = on_meta(model)
    for images in BATCHES:
        with torch.no_grad(), Watch() as watch:
            observer = Observer(shadow, graph=graph)
            observer.seen = []
            observer.run(torch.empty(images, 3, size, size, device="meta"))
    return facts


def module_of(model: nn.Module, node: fx.Node) -> nn.Module | None:
    """The layer that a node calls."""
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def tensors_of(model: nn.Module, node: fx.Node) -> dict[str, torch.Tensor]:
    """Parameters, buffers and constants that a node itself reads, by the names they have in the model."""
    module = module_of(model, node)
    if module is not None:
        own = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
        return {f"{node.target}.{name}": tensor for name, tensor in own}
    if node.op == "get_attr":
        path, _, name = str(node.target).rpartition(".")
        value = getattr(model.get_submodule(path), name)
        return {str(node.target): value} if hasattr(value, "dtype") else {}
    return {}


def operation(model: nn.Module, node: fx.Node, numbers: Mapping[fx.Node, int], kept: Collection[str]) -> str:
    """What a node does, with all that it is given, other nodes by their number; without the weights, ``kept``."""
    from torch.fx.node import map_arg

    module = module_of(model, node)
    what = _name(node.target) if module is None else _settings(module)
    given = map_arg((node.args, node.kwargs), lambda source: _Number(numbers[source]))
    fixed = [_of_constant(tensor) for name, tensor in tensors_of(model, node).items() if name not in kept]
    return f"{node.op} {what} {_stable(given)} {fixed}"


class _Number(int):
    """A node in what another is given, told from an ordinary number."""

    def __repr__(self) -> str:
        return f"%{int(self)}"


def _name(target: Any) -> str:
    if isinstance(target, str):
        return target
    return f"{getattr(target, '__module__', '')}.{target.__qualname__} {target.__name__}"  # either may be shared


def _stable(value: Any) -> str:
    """``repr`` without addresses."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_stable(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(map(_stable, value)) + ")"
    return _name(value) if hasattr(value, "__qualname__") else repr(value)


def _settings(module: nn.Module) -> str:
    """A layer's type and all its settings: its ``repr`` leaves some out."""
    plain = (bool, int, float, str, tuple, list, type(None))
    own = {
        name: value if isinstance(value, plain) else _name(value if hasattr(value, "__qualname__") else type(value))
        for name, value in vars(module).items()
        if not name.startswith("_") and name not in ("training", "train")
    }
    shapes = {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
    inner = {name: _settings(child) for name, child in module.named_children()}
    return f"{_name(type(module))} {_stable(own)} {_stable(shapes)} {_stable(inner)}"


def _of_constant(tensor: torch.Tensor) -> str:
    return str(tuple(tensor.shape)) if tensor.is_meta else tensor_digest(tensor.detach().cpu().numpy())
