"""The frozen prefix of a network: the part of its forward pass that no training step can change.

What it gives for an image is the same in every epoch of every run, so it can be computed once. The network is traced
with torch.fx and cut in two; the two parts call the network's own layers, and nothing in it is copied or renamed.
A prefix is exact, or there is none: what cannot be proven frozen counts as moving.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wdiv.errors import WdivError
from wdiv.tuning.prefix.tracing import BATCHES, in_mode, module_of, node_facts, operation, tensors_of, trace

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

__all__ = ["Cut", "NoPrefix", "Traced", "ancestors", "asleep", "check_apart", "cut"]

_FLOAT = 4


class NoPrefix(WdivError):
    """Nothing of the network can be computed once; the message says why."""


@dataclass(frozen=True, eq=False)
class Cut:
    """A network in two parts: ``suffix(*prefix(x))`` is ``model(x)``.

    prefix           (n, 3, size, size) float -> tuple of the tensors at the boundary, each of n rows. What could be
                     random in it is left out.
    suffix           these tensors -> the network's output; its layers run in the mode that they are in when called.
                     It does not write into what it is given.
    keys             state-dict keys of the parameters and buffers that the prefix reads, in the model's own names
    disabled_dropout names of the random modules (dropout) between frozen layers. The prefix takes them as off, so
                     whoever uses it must keep them in eval mode wherever else the network runs.
    digest           SHA-256 of the prefix's operations with all their settings, without its weights
    bytes_per_image  of the boundary, in float32
    share            multiply-adds of the prefix, of all in the forward pass
    """

    prefix: fx.GraphModule
    suffix: fx.GraphModule
    keys: tuple[str, ...]
    disabled_dropout: frozenset[str]
    digest: str
    bytes_per_image: int
    share: float


def cut(model: nn.Module, moving: Collection[str], size: int, *, training: bool) -> Cut:
    """Part ``model`` at the last tensors that nothing in ``moving`` has a part in.

    moving    keys of the parameters that train and of the buffers that may change
    size      of the images
    training  cut the network as it is after ``train()``, auxiliary outputs and all, or as after ``eval()``. A module
              whose ``train`` was replaced, as :func:`wdiv.tuning.strategy.freeze.apply_freeze` does, keeps its mode.

    Frozen is what depends on no moving tensor, is not random, and takes each image by itself: so not a BatchNorm
    that normalises by batch statistics. A random module before a frozen layer is switched off; one after the last of
    them stays random, in the suffix. The model is left as it was; move it to its device before, not after.

    Raises :class:`NoPrefix` where torch.fx cannot trace the network or no layer with parameters is frozen.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(144, 2))
    >>> parts = cut(model, {"4.weight", "4.bias"}, 8, training=True)
    >>> parts.keys, parts.bytes_per_image
    (('0.weight', '0.bias'), 576)
    >>> [node.target for node in parts.suffix.graph.nodes if node.op == "call_module"]
    ['3', '4']
    """
    with in_mode(model, training):
        network = Traced(model, moving, size)
        frozen = network.frozen()
        boundary = [node for node in network.boundary(frozen) if network.plain(node) is None]
        prefix = ancestors(boundary)
        if not any(network.has_parameters(node) for node in prefix):
            raise NoPrefix("no layer with parameters comes before all that trains")
        inner = network.prefix(boundary)
        check_apart(inner, size)
        return Cut(
            inner,
            network.suffix(boundary, frozen),
            keys=network.keys(prefix),
            disabled_dropout=frozenset(str(node.target) for node in prefix if network.facts[node].random),
            digest=network.digest(prefix, boundary),
            bytes_per_image=sum(map(network.bytes, boundary)),
            share=network.flops(prefix) / max(1, network.flops(network.facts)),
        )


def asleep(model: nn.Module, trained: Collection[str], size: int) -> frozenset[str]:
    """Names of the random modules that only frozen layers come before, and at least one after, whatever BatchNorms
    normalise by. Of a network that torch.fx cannot trace none are known.

    trained  keys of the parameters that train

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Dropout(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout())
    >>> asleep(model.append(nn.Linear(144, 2)), {"5.weight", "5.bias"}, 8)
    frozenset({'0'})
    """
    with in_mode(model, True):
        try:
            network = Traced(model, trained, size)
        except NoPrefix:
            return frozenset()
        still = network.still()
        before = ancestors(node for node in still if network.has_parameters(node))
        return frozenset(str(n.target) for n in still & before if network.facts[n].random and network.module(n))


class Traced:
    """A traced network, and what may be said of its nodes."""

    def __init__(self, model: nn.Module, moving: Collection[str], size: int) -> None:
        self.model = model
        tensors = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
        self.moving = {id(tensor) for key, tensor in tensors if key in moving}  # by identity: it may have two names
        try:
            self.graph = trace(model)
            self.facts = node_facts(model, self.graph, size)
        except Exception as error:  # the network's own code runs here, on what is no tensor: anything can happen
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise NoPrefix(f"torch.fx cannot trace the network: {reason}") from None
        self._check_writes()
        for node in reversed(self.graph.nodes):  # assertions, and what only they need
            if not node.users and node.op not in ("placeholder", "output"):
                self.graph.erase_node(node)
        self.input, *others = (node for node in self.graph.nodes if node.op == "placeholder")
        if any(other.users for other in others):
            raise NoPrefix("the network takes more than one input")
        self.of_images = {self.input}
        for node in self.graph.nodes:
            if self.of_images.intersection(node.all_input_nodes):
                self.of_images.add(node)

    def _check_writes(self) -> None:
        """What reads a tensor before and after it is written into cannot be told apart in a graph."""
        for node, facts in self.facts.items():
            readers = {user for written in facts.writes for user in written.users} - {node}
            if readers and readers - ancestors([node]):
                raise NoPrefix(f"{node.name} writes into a tensor that is read elsewhere")

    # what a node is

    def module(self, node: fx.Node) -> nn.Module | None:
        return module_of(self.model, node)

    def reads(self, node: fx.Node) -> dict[str, torch.Tensor]:
        return tensors_of(self.model, node)

    def has_parameters(self, node: fx.Node) -> bool:
        from torch.nn import Parameter

        given = [source for source in node.all_input_nodes if source.op == "get_attr"]
        return any(isinstance(tensor, Parameter) for each in (node, *given) for tensor in self.reads(each).values())

    def bytes(self, node: fx.Node) -> int:
        """Of an image's row in what a node gives, in float32; 0 where it does not give a row of floats an image."""
        few, more = self.facts[node].values
        rows = [getattr(value, "shape", ())[:1] for value in (few, more)]
        if rows != [(n,) for n in BATCHES] or few.shape[1:] != more.shape[1:] or not few.is_floating_point():
            return 0
        return math.prod(few.shape[1:]) * _FLOAT

    def plain(self, node: fx.Node) -> tuple[str, Any] | None:
        """What a node gives is known without an image: the size of the batch, or a constant of this size of images."""
        values = tuple(self.facts[node].values)
        if not all(isinstance(value, (int, float, str)) for value in values):
            return None
        if values == BATCHES:
            return "batch", None
        return ("constant", values[0]) if values[0] == values[1] else None

    def flops(self, nodes: Iterable[fx.Node]) -> int:
        return sum(self.facts[node].flops for node in nodes)

    def _is_loose(self, node: fx.Node) -> bool:
        """It moves, or it is random and cannot be put to sleep, or it mixes the images of a batch."""
        from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

        module = self.module(node)
        if node.op == "output" or any(id(tensor) in self.moving for tensor in self.reads(node).values()):
            return True
        if isinstance(module, _NormBase):
            tracks = module.running_mean is not None
            if (module.training and tracks) or (isinstance(module, _BatchNorm) and not tracks):
                return True
        return self.facts[node].random and not _can_sleep(module)

    # where to cut

    def frozen(self) -> set[fx.Node]:
        """The nodes that go before the cut, and those that depend neither on an image nor on what moves."""
        loose = {node for node in self.graph.nodes if self._is_loose(node)}
        while True:
            frozen: set[fx.Node] = set()
            for node in self.graph.nodes:
                if node not in loose and frozen.issuperset(node.all_input_nodes):
                    frozen.add(node)
            more = self._awake(frozen) or self._unfit(frozen) or self._growing(frozen)
            if not more:
                return frozen
            loose |= more

    def still(self) -> set[fx.Node]:
        """The nodes that depend on nothing that moves."""
        found: set[fx.Node] = set()
        for node in self.graph.nodes:
            moves = any(id(tensor) in self.moving for tensor in self.reads(node).values())
            if node.op != "output" and not moves and found.issuperset(node.all_input_nodes):
                found.add(node)
        return found

    def boundary(self, frozen: set[fx.Node]) -> list[fx.Node]:
        """Frozen nodes that depend on the image and are used by others, in order."""
        mine = frozen & self.of_images
        return [node for node in self.graph.nodes if node in mine and not frozen.issuperset(node.users)]

    def _awake(self, frozen: set[fx.Node]) -> set[fx.Node]:
        """Random modules with no frozen layer after them."""
        before: set[fx.Node] = set()  # what comes before a frozen layer
        for node in reversed(self.graph.nodes):
            if any(user in before or self.has_parameters(user) for user in node.users if user in frozen):
                before.add(node)
        return {node for node in frozen - before if self.facts[node].random}

    def _unfit(self, frozen: set[fx.Node]) -> set[fx.Node]:
        """Nodes at the boundary that give neither a row for each image nor what is known without one."""
        return {n for n in self.boundary(frozen) if not self.bytes(n) and self.plain(n) is None}

    def _growing(self, frozen: set[fx.Node]) -> set[fx.Node]:
        """The last nodes before the cut, if they have no parameters and make more bytes of fewer.

        So VGG's pooling, which blows maps up, goes to the suffix, and so does a concatenation of what is there anyway.
        """
        boundary = self.boundary(frozen)
        for end in boundary:
            chain: set[fx.Node] = set()
            new = [end]
            while len(new) == 1 and new[0] is not self.input and not self.has_parameters(new[0]):
                node = new[0]
                if not (frozen - chain).isdisjoint(node.users):
                    break
                chain.add(node)
                new = [n for n in node.all_input_nodes if n in self.of_images and n not in boundary]
                if all(map(self.bytes, new)) and sum(map(self.bytes, new)) < self.bytes(end):
                    return chain
        return set()

    # the parts

    def prefix(self, boundary: list[fx.Node]) -> fx.GraphModule:
        from torch import fx

        graph, wanted = fx.Graph(), ancestors(boundary) | {self.input}
        env: dict[fx.Node, Any] = {}
        for node in self.graph.nodes:
            if node in wanted and _can_sleep(self.module(node)):
                env[node] = env[node.all_input_nodes[0]]
            elif node in wanted:
                env[node] = graph.node_copy(node, env.__getitem__)
        graph.output(tuple(env[node] for node in boundary))
        return fx.GraphModule(self.model, graph, "Stem")

    def suffix(self, boundary: list[fx.Node], frozen: set[fx.Node]) -> fx.GraphModule:
        from torch import fx

        graph, inner = fx.Graph(), frozen & self.of_images
        env: dict[fx.Node, Any] = {}
        *_, output = self.graph.nodes
        wanted = ancestors([output], inner)
        for node in boundary:
            env[node] = graph.placeholder(node.name)
        written = {target for node in wanted - inner for target in self.facts[node].writes}
        for node in boundary:
            if node in written:  # as dropout does it in place, which would write into the caller's features
                env[node] = graph.call_method("clone", (env[node],))
        for node in self.graph.nodes:
            if node in wanted and node not in env:
                kind, value = (self.plain(node) if node in inner else None) or ("", None)
                if kind == "batch":
                    env[node] = graph.call_method("size", (env[boundary[0]], 0))
                elif kind == "constant":
                    env[node] = value
                else:
                    env[node] = graph.node_copy(node, env.__getitem__)
        return fx.GraphModule(self.model, graph, "Rest")

    def keys(self, prefix: set[fx.Node]) -> tuple[str, ...]:
        read = {name for node in prefix if not _can_sleep(self.module(node)) for name in self.reads(node)}
        return tuple(key for key in self.model.state_dict() if key in read)

    def digest(self, prefix: set[fx.Node], boundary: list[fx.Node]) -> str:
        """Of the operations in order, each with all that it is given; nodes go by their number."""
        numbers: dict[fx.Node, int] = {}
        lines, kept = [], self.model.state_dict().keys()
        for node in self.graph.nodes:
            if node not in prefix:
                continue
            if _can_sleep(self.module(node)):
                numbers[node] = numbers[node.all_input_nodes[0]]
                continue
            numbers[node] = len(numbers)
            lines.append(f"{numbers[node]} {operation(self.model, node, numbers, kept)}")
        lines.append(str([numbers[node] for node in boundary]))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _can_sleep(module: nn.Module | None) -> bool:
    """Random while training, and in eval mode the identity."""
    from torch.nn.modules.dropout import _DropoutNd
    from torchvision.ops import DropBlock2d, StochasticDepth

    return isinstance(module, (_DropoutNd, StochasticDepth, DropBlock2d))  # of which 3d is one


def ancestors(nodes: Iterable[fx.Node], stop: Collection[fx.Node] = ()) -> set[fx.Node]:
    """``nodes`` and all they depend on, no further than ``stop``."""
    found: set[fx.Node] = set()
    left = list(nodes)
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += () if node in stop else node.all_input_nodes
    return found


def check_apart(prefix: fx.GraphModule, size: int) -> None:
    """Let an image run alone and beside another: no graph says whether a function mixes the images of a batch."""
    import torch

    like = next(prefix.parameters())
    if like.is_meta:
        return
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(like)
    with torch.no_grad():
        for both, alone in zip(prefix(images), prefix(images[1:]), strict=True):
            scale = float(both.abs().nan_to_num(0.0, 0.0).max())  # what is no number is the caller's to find
            if not torch.allclose(both[1:], alone, rtol=0, atol=1e-3 * scale, equal_nan=True):
                raise NoPrefix("what the network makes of an image depends on the others in its batch")
