"""Auto-RGN: each tensor's rate in proportion to how large its gradient is beside the tensor itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["BATCHES", "relative_gradients"]

BATCHES = 5
"""Batches that the gradients are averaged over: as in the code of Lee et al. (2023)."""


def relative_gradients(model: nn.Module, losses: Iterable[torch.Tensor]) -> dict[str, float]:
    """Key -> ‖∇w‖ / ‖w‖ of each trainable tensor, the mean over the losses' batches, divided by the largest of all.

    A tensor of zeros counts as the largest, and one without gradient as 0. Leaves no gradients behind. Source: Lee et
    al. (2023), Surgical Fine-Tuning, section 4.
    """
    import torch

    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    sums = dict.fromkeys(trained, 0.0)
    for loss in losses:
        gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        for (key, p), gradient in zip(trained.items(), gradients, strict=True):
            if gradient is not None:
                size, length = float(gradient.norm()), float(p.detach().norm())
                sums[key] += size / length if length else float("inf") if size else 0.0
    finite = [value for value in sums.values() if value != float("inf")]
    most = max(finite, default=0.0)
    return {key: 1.0 if value == float("inf") or not most else value / most for key, value in sums.items()}
