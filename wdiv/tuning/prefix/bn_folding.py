"""A network for judging images: each BatchNorm folded into the convolution before it.

In eval mode BatchNorm is a scale and a shift of each channel, so the convolution can do it by other weights: the same
outputs, to the rounding of float32, and on a CPU in half the time. The network itself is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from wdiv.tuning.prefix.tracing import in_mode, module_of, trace

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

__all__ = ["FusedEvalModel", "fused_eval_model"]


class FusedEvalModel:
    """A network in eval mode; :meth:`now` takes its weights as they are."""

    def __init__(self, network: Callable[..., Any], folds: Sequence[Any] = ()) -> None:
        self._network, self._folds = network, folds

    @contextmanager
    def now(self) -> Iterator[Callable[..., Any]]:
        """What judges while the weights stay as they are; the folded ones are let go afterwards."""
        for fold in self._folds:
            fold.take()
        try:
            yield self._network
        finally:
            for fold in self._folds:
                fold.weight = fold.bias = None


def fused_eval_model(network: nn.Module) -> FusedEvalModel:
    """The network's judge. Nothing is folded where torch.fx cannot trace the network.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    >>> quick, images = fused_eval_model(model), torch.rand(2, 3, 8, 8)
    >>> _ = model[1].weight.data.fill_(3.0)
    >>> with quick.now() as show:
    ...     torch.allclose(show(images), model(images), atol=1e-6)
    True
    """
    from torch import fx

    with in_mode(network, training=False):
        try:
            graph = network.graph if isinstance(network, fx.GraphModule) else trace(network)
        except Exception:  # the network's own code runs here, on what is no tensor: anything can happen
            return FusedEvalModel(network)
        pairs = {pair[0]: (node, *pair[1:]) for node in graph.nodes if (pair := _pair(network, node)) is not None}
        return _folded(network, graph, pairs) if pairs else FusedEvalModel(network)


def _pair(network: nn.Module, node: fx.Node) -> tuple[fx.Node, Any, Any] | None:
    """Of a node that calls a BatchNorm on what a convolution made for it alone: that one's node, and both layers."""
    from torch import nn

    norm: Any = module_of(network, node)
    if type(norm) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d) or norm.running_mean is None:
        return None
    before = node.all_input_nodes[0]
    convolution: Any = module_of(network, before)
    if type(convolution) not in (nn.Conv1d, nn.Conv2d, nn.Conv3d) or len(before.users) > 1:
        return None
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in (convolution, norm))
    return None if hooked else (before, convolution, norm)


def _folded(network: nn.Module, traced: fx.Graph, pairs: Mapping[fx.Node, tuple[fx.Node, Any, Any]]) -> FusedEvalModel:
    """pairs: node of a convolution -> node of its BatchNorm, and both layers."""
    from torch import fx

    graph, env, folds = fx.Graph(), dict[Any, Any](), dict[str, Any]()
    for node in traced.nodes:
        if node in pairs:  # here and not where the BatchNorm stands: what it is given may be written into by then
            norm, *layers = pairs[node]
            name = f"fold{len(folds)}"
            folds[name] = _fold_type()(*layers)
            env[norm] = graph.call_module(name, (env[node.all_input_nodes[0]],))
        elif node not in env:
            env[node] = graph.node_copy(node, env.__getitem__)
    own = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")} - folds.keys()
    parts = {name: attrgetter(name)(network) for name in own}
    return FusedEvalModel(fx.GraphModule(parts | folds, graph, "Judge"), tuple(folds.values()))


@cache
def _fold_type() -> Any:
    import torch
    from torch import nn

    class Fold(nn.Module):
        """A layer that does what two do.

        γ (w∗x + b − μ) / √(σ² + ε) + β  =  (s w)∗x + s (b − μ) + β,  s = γ / √(σ² + ε)
        """

        def __init__(self, convolution: Any, norm: Any) -> None:
            super().__init__()
            self.layers = (convolution, norm)  # in a tuple they are not modules of this one
            self.weight = self.bias = None

        def take(self) -> None:
            convolution, norm = self.layers
            with torch.no_grad():
                scale = (norm.running_var.double() + norm.eps).rsqrt()
                shift = -norm.running_mean.double()
                if convolution.bias is not None:
                    shift += convolution.bias
                if norm.weight is not None:
                    scale *= norm.weight
                shift *= scale
                if norm.bias is not None:
                    shift += norm.bias
                kernel = convolution.weight
                self.weight = kernel * scale.to(kernel.dtype).view(-1, *[1] * (kernel.dim() - 1))
                self.bias = shift.to(kernel.dtype)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers[0]._conv_forward(x, self.weight, self.bias)

    return Fold
