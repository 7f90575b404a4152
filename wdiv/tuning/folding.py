"""A network for judging images: each BatchNorm folded into the convolution before it.

In eval mode BatchNorm is a scale and a shift of each channel, so the convolution can do it by other weights: the same
outputs, to the rounding of float32, and on a CPU in half the time. The network itself is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from wdiv.tuning.tracing import in_mode, module_of, trace

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

__all__ = ["Judge", "judge"]


class Judge:
    """A network in eval mode. :meth:`refresh` it when weights have changed."""

    def __init__(self, network: Callable[..., Any], folds: Sequence[Any] = ()) -> None:
        self._network, self._folds = network, folds

    def refresh(self) -> None:
        """Take the weights as they are now."""
        for fold in self._folds:
            fold.refresh()

    def __call__(self, *given: torch.Tensor) -> Any:
        return self._network(*given)


def judge(network: nn.Module) -> Judge:
    """The network's judge. Nothing is folded where torch.fx cannot trace the network.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    >>> quick, images = judge(model), torch.rand(2, 3, 8, 8)
    >>> _ = model[1].weight.data.fill_(3.0)
    >>> quick.refresh()
    >>> torch.allclose(quick(images), model(images), atol=1e-6)
    True
    """
    from torch import fx

    with in_mode(network, training=False):
        try:
            graph = network.graph if isinstance(network, fx.GraphModule) else trace(network)
        except Exception:  # the network's own code runs here, on what is no tensor: anything can happen
            return Judge(network)
        pairs = {node: pair for node in graph.nodes if (pair := _pair(network, node)) is not None}
        if not pairs:
            return Judge(network)
        return _folded(network, graph, pairs)


def _pair(network: nn.Module, node: fx.Node) -> tuple[Any, Any] | None:
    """(convolution, BatchNorm) of a node that calls a BatchNorm on what a convolution made for it alone."""
    from torch import nn

    norm: Any = module_of(network, node)
    if type(norm) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d) or norm.running_mean is None:
        return None
    before = node.all_input_nodes[0]
    convolution: Any = module_of(network, before)
    if type(convolution) not in (nn.Conv1d, nn.Conv2d, nn.Conv3d) or len(before.users) > 1:
        return None
    hooked = any(m._forward_hooks or m._forward_pre_hooks for m in (convolution, norm))
    return None if hooked else (convolution, norm)


def _folded(network: nn.Module, traced: fx.Graph, pairs: Mapping[fx.Node, tuple[Any, Any]]) -> Judge:
    from torch import fx

    graph, env, folds = fx.Graph(), dict[Any, Any](), dict[str, Any]()
    inner = {node.all_input_nodes[0] for node in pairs}
    for node in traced.nodes:
        if node in pairs:
            name = f"fold{len(folds)}"
            folds[name] = _fold(*pairs[node])
            env[node] = graph.call_module(name, (env[node.all_input_nodes[0].all_input_nodes[0]],))
        elif node not in inner:
            env[node] = graph.node_copy(node, env.__getitem__)
    own = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")} - folds.keys()
    parts = {name: attrgetter(name)(network) for name in own}
    return Judge(fx.GraphModule(parts | folds, graph, "Judge"), tuple(folds.values()))


def _fold(convolution: Any, norm: Any) -> nn.Module:
    """A layer that does what two do.

    γ (w∗x + b − μ) / √(σ² + ε) + β  =  (s w)∗x + s (b − μ) + β,  s = γ / √(σ² + ε)
    """
    import torch
    from torch import nn

    class Fold(nn.Module):
        def refresh(self) -> None:
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
            return convolution._conv_forward(x, self.weight, self.bias)

    return Fold()
