"""How an image's data flows through a network: which modules read what others give, told from one run.

The network runs on PyTorch's ``meta`` device, where nothing is computed, with a gradient asked for the images alone. So
each result's ``grad_fn`` leads back to the images, past the parameters, by all that the data went through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput
from wdiv.store.meta_device import on_meta, result_of

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Dataflow"]

Node = Any
"""A ``grad_fn``."""


@dataclass(eq=False)
class _Call:
    """A module's run: what it read and gave, by their ``grad_fn`` and shape, and the runs directly within it."""

    path: str
    module: nn.Module
    before: Node
    given: tuple[int, ...]
    after: Node = None
    made: tuple[int, ...] = ()
    inner: list[_Call] = field(default_factory=list)


class Dataflow:
    """One run of a copy of the model in training mode, so that auxiliary heads run too. The model is left untouched.

    Raises :class:`~wdiv.errors.BadInput` if the network cannot take images of this size.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> flow = Dataflow(model, 8)
    >>> flow.order(["0", "2", "4"]), sorted(flow.classifier(["2", "4"])), flow.shapes("0")
    (['0', '2', '4'], ['2', '4'], ((2, 3, 8, 8), (2, 4, 6, 6)))
    """

    def __init__(self, model: nn.Module, image_size: int, channels: int = 3) -> None:
        import torch
        from torch.utils._python_dispatch import TorchDispatchMode

        class Shapes(TorchDispatchMode):
            def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                return result_of(op, args, kwargs)

        shadow = on_meta(model).train()
        self._calls: list[_Call] = []  # in the order in which they ended
        running: list[_Call] = []

        def begins(path: str, module: nn.Module, args: Any, kwargs: Any) -> None:
            tensor = _first((args, kwargs))
            running.append(_Call(path, module, *_seen(tensor)))

        def ends(path: str, module: nn.Module, args: Any, output: Any) -> None:  # None leaves the output alone
            call = running.pop()
            call.after, call.made = _seen(_first(output))
            self._calls.append(call)
            if running:
                running[-1].inner.append(call)

        for path, module in shadow.named_modules():
            module.register_forward_pre_hook(partial(begins, path), with_kwargs=True)
            module.register_forward_hook(partial(ends, path))
        images = torch.empty(2, channels, image_size, image_size, device="meta", requires_grad=True)
        try:
            with torch.enable_grad(), Shapes():
                shadow(images.clone())  # a leaf could not be written into
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(f"the network cannot take images of {image_size}x{image_size} pixels: {reason}") from None
        self._root = self._calls[-1]
        self._of: dict[str, list[_Call]] = {}
        for call in self._calls:
            self._of.setdefault(call.path, []).append(call)
        fixed = (call for call in self._calls if next(call.module.parameters(), None) is None)
        self._fixed = {call.after: call.before for call in fixed if call.before is not call.after}

    def shapes(self, path: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of what a module first read and gave; both are empty where nothing of an image went through it."""
        first = next((call for call in self._of.get(path, ()) if call.after is not None), None)
        return ((), ()) if first is None else (first.given, first.made)

    def order(self, layers: Collection[str]) -> list[str]:
        """The layers as they ran, by their first call. One whose tensors are read by the module around it stands where
        that ended, and one of which nothing ran comes last."""
        waiting: dict[str, list[str]] = {}
        for layer in layers:
            waiting.setdefault(self._runner(layer), []).append(layer)
        ran = [layer for path in dict.fromkeys(call.path for call in self._calls) for layer in waiting.pop(path, ())]
        return [*ran, *waiting.get("", ())] if "" in waiting else ran

    def _runner(self, layer: str) -> str:
        path = layer
        while path and path not in self._of:
            path = path.rpartition(".")[0]
        return path

    def classifier(self, linear: Collection[str]) -> set[str]:
        """Those linear layers that make the logits, a vector an image, of the features: the last, and those before it
        with no more between them than what works element by element."""
        ends = self._ends(linear)
        last = [call for call in self._last(ends) if len(self._root.made) == 2 and call.made == self._root.made]
        found: set[str] = set()
        while last:
            call = last.pop()
            if call.path in found:
                continue
            found.add(call.path)
            before = next((ends[node] for node in self._back(call.before) if node in ends), None)
            if before is not None and _numel(before.made) == _numel(call.given):
                last.append(before)
        return found

    def auxiliary(self, layers: Collection[str]) -> set[str]:
        """Those layers that no way leads from to the logits, though they read of the image."""
        reached = set(_ancestors(self._root.after))
        read = {path for path in layers if any(call.after is not None for call in self._of.get(path, ()))}
        return {path for path in read if not any(call.after in reached for call in self._of[path])}

    def blocks(self, layers: Collection[str]) -> dict[str, str]:
        """Layer -> the block that it is in, the outermost module in which the data goes more ways than one: a residual,
        dense or inception block. A class of modules of which one has a branch is a block wherever it stands."""
        branched = {type(call.module) for call in self._calls if call is not self._root and self._branches(call)}
        held = Counter(path for layer in layers for path in _around(layer))
        blocks = {path for path, count in held.items() if count > 1 and self._is_block(path, branched)}
        found = {layer: next((path for path in _around(layer) if path in blocks), "") for layer in layers}
        return {layer: path for layer, path in found.items() if path}

    def _is_block(self, path: str, branched: Collection[type]) -> bool:
        if path in self._of:
            return type(self._of[path][0].module) in branched
        units: dict[str, list[_Call]] = {}  # of a list or a dict of modules, which the module around it calls
        for call in self._calls:
            if call.path.startswith(f"{path}.") and call.after is not None:
                units.setdefault(call.path.removeprefix(f"{path}.").partition(".")[0], []).append(call)
        whole = [replace(calls[-1], before=calls[0].before) for calls in units.values()]
        return not self._in_series(whole)

    def _branches(self, call: _Call) -> bool:
        """Not one after another, each on what the one before gave, and the last gives what it gives."""
        return bool(call.inner) and not self._in_series(call.inner, call.after)

    def _in_series(self, parts: Iterable[_Call], result: Node = None) -> bool:
        seen = [part for part in parts if part.after is not None]
        ways = [(later.before, sooner.after) for sooner, later in pairwise(seen)]
        ways += [(result, part.after) for part in seen[-1:] if result is not None]
        return all(any(node is end for node in self._back(start)) for start, end in ways)

    def _ends(self, paths: Iterable[str]) -> dict[Node, _Call]:
        return {call.after: call for path in paths for call in self._of.get(path, ()) if call.after is not None}

    def _last(self, ends: Mapping[Node, _Call]) -> list[_Call]:
        """The calls that the logits come from directly, whatever is done to them on the way."""
        return [ends[node] for node in _ancestors(self._root.after, ends) if node in ends]

    def _back(self, node: Node) -> Iterator[Node]:
        """From a result to what it was made of, as long as that is one thing; over what has no parameters at once."""
        while node is not None:
            yield node
            sources = {source for source, _ in node.next_functions if source is not None}
            node = self._fixed[node] if node in self._fixed else sources.pop() if len(sources) == 1 else None


def _around(layer: str) -> Iterator[str]:
    """The modules around a layer, from the outermost."""
    parts = layer.split(".")
    return (".".join(parts[:depth]) for depth in range(1, len(parts)))


def _ancestors(node: Node, stop: Collection[Node] = ()) -> Iterator[Node]:
    seen, left = set[Node](), [node]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        if node not in stop:
            left += [source for source, _ in node.next_functions]


def _first(value: Any) -> torch.Tensor | None:
    """The first tensor of whatever a module takes or gives."""
    import torch

    if isinstance(value, torch.Tensor):
        return value
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    return next((tensor for part in parts if (tensor := _first(part)) is not None), None)


def _seen(tensor: torch.Tensor | None) -> tuple[Node, tuple[int, ...]]:
    return (None, ()) if tensor is None else (tensor.grad_fn, tuple(tensor.shape))


def _numel(shape: Iterable[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
