"""L2-SP: weight decay towards the start instead of towards 0, in place of the recipe's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["NEW", "L2SP"]

NEW = 0.01
"""Strength for weights that the source does not have: β of Li et al. (2018)."""


class L2SP:
    """Adds the gradient of α/2 ‖w − w₀‖² + β/2 ‖w_new‖² to the gradients of the loss.

    start   tensors by key as the source gave them;  new: keys that it did not give
    alpha   strength of the pull to the start;  β is :data:`NEW`

    >>> import torch
    >>> from torch import nn
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> _ = layer.weight.data.fill_(2.0)
    >>> pull = L2SP(layer, {"weight": torch.full((1, 1), 1.5)}, new=(), alpha=0.1)
    >>> layer.weight.grad = torch.zeros(1, 1)
    >>> pull()
    >>> round(layer.weight.grad.item(), 6)
    0.05
    """

    def __init__(self, model: nn.Module, start: Mapping[str, torch.Tensor], new: Collection[str], alpha: float) -> None:
        trained = [(key, p) for key, p in model.named_parameters() if p.requires_grad]
        self._old = [p for key, p in trained if key not in new]
        self._start = [start[key].to(p.device).clone() for key, p in trained if key not in new]
        self._new = [p for key, p in trained if key in new]
        self._alpha = alpha

    def __call__(self) -> None:
        """After ``backward``, before the optimizer's step."""
        import torch

        with torch.no_grad():
            for p, start in zip(self._old, self._start, strict=True):
                if p.grad is not None:
                    p.grad.add_(p - start, alpha=self._alpha)
            for p in self._new:
                if p.grad is not None:
                    p.grad.add_(p, alpha=NEW)
