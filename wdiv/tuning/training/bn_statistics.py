"""Running statistics of BatchNorm layers, estimated anew over given images."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["estimate_bn_statistics"]


def estimate_bn_statistics(model: nn.Module, layers: Collection[str], batches: Iterable[torch.Tensor]) -> None:
    """Set the running mean and variance of BatchNorm layers to their averages over batches of prepared images.

    Everything else is in eval mode meanwhile; modes and momenta are what they were afterwards. Auxiliary heads run
    too. Source: Li et al. (2017) for another domain's images; PyTorch's ``swa_utils.update_bn`` for the way.
    """
    import torch

    modules = [model.get_submodule(name) for name in sorted(layers)]
    momenta, modes = [module.momentum for module in modules], [(m, m.training) for m in model.modules()]
    model.eval()
    model.training = True  # of the root alone: auxiliary heads run only then
    for module in modules:
        module.reset_running_stats()
        module.momentum = None  # None: a cumulative average
        module.training = True  # not by train(), which a frozen layer ignores
    try:
        with torch.no_grad():
            for batch in batches:
                model(batch)
    finally:
        for module, momentum in zip(modules, momenta, strict=True):
            module.momentum = momentum
        for module, mode in modes:
            module.training = mode
