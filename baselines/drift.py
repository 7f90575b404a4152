"""How unlike the source's images new images are, without the source's images: BatchNorm remembers their statistics."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from baselines.features import bare, network
from baselines.transferability import frechet_diagonal
from wdiv.layers import LayerTable
from wdiv.tuning.data.images import ImageSet
from wdiv.tuning.networks import sources
from wdiv.tuning.networks.models import layer_table
from wdiv.tuning.networks.sources import Source
from wdiv.tuning.training.device import choose_device

if TYPE_CHECKING:
    import torch

__all__ = ["drift", "source_probabilities"]

_BATCH = 32


def drift(
    source: Source, images: ImageSet, rows: np.ndarray | None = None, *, device: str = "auto"
) -> xr.DataArray | None:
    """How far each BatchNorm layer's input lies from what the layer saw while the source was trained; (layer,).

    The mean over channels of the squared Fréchet distance between two Gaussians, the new images' and the running
    statistics', in the source's standard deviations: ((m − μ) / σ)² + (s / σ − 1)², m and s being mean and standard
    deviation over images and space (float64). 0: the same; 1: a standard deviation apart. Where a channel's running
    variance is 0 nothing can be said of it, and it is left out.

    None for a network without running statistics. Raises what :func:`~baselines.features.features` raises.
    """
    import torch

    spec, size = bare(source), images.pixels.shape[-1]
    table = layer_table(spec, 2, size)
    model, where = network(source, device)
    watched = [layer for layer in table.of("bn") if "running_var" in layer.roles]
    if not watched:
        return None
    sums: dict[str, list[torch.Tensor]] = {}

    def watch(name: str, _module: Any, given: tuple[torch.Tensor, ...]) -> None:
        x = given[0].double()
        over = [axis for axis in range(x.dim()) if axis != 1]
        count = torch.tensor(float(x.numel() // x.shape[1]), dtype=torch.float64, device=x.device)
        sums.setdefault(name, []).append(torch.stack([x.sum(over), x.square().sum(over), count.expand(x.shape[1])]))

    with ExitStack() as hooks:
        for layer in watched:
            module = model.get_submodule(layer.name)
            hooks.enter_context(module.register_forward_pre_hook(partial(watch, layer.name)))
        _show(model, source.input.at(size), images, rows, where)
    state = model.state_dict()
    seen = [layer for layer in watched if layer.name in sums]
    values = [
        _distance(
            torch.stack(sums[layer.name]).sum(0).cpu().numpy(),
            *(state[layer.key(role)].double().cpu().numpy() for role in ("running_mean", "running_var")),
        )
        for layer in seen
    ]
    attrs = {"long_name": "squared Fréchet distance to the source's statistics", "units": "1", "source": source.name}
    return xr.DataArray(np.array(values), LayerTable.coords(seen), ("layer",), "drift", attrs)


def source_probabilities(
    source: Source, images: ImageSet, rows: np.ndarray | None = None, *, device: str = "auto"
) -> np.ndarray | None:
    """(n, source classes) float64: what the source's own classifier makes of images; None where it has none."""
    import torch

    spec, size, where = bare(source), images.pixels.shape[-1], choose_device(device)
    model, complete = sources.whole(source, spec)
    if not complete or source.random:
        return None
    model.to(where, memory_format=torch.channels_last).eval()
    logits = _show(model, source.input.at(size), images, rows, where)
    return np.asarray(torch.softmax(logits.double(), dim=1).cpu())


def _show(model: Any, inputs: Any, images: ImageSet, rows: np.ndarray | None, where: Any) -> torch.Tensor:
    import torch

    pixels = images.pixels if rows is None else images.pixels[rows]
    with torch.no_grad():
        batches = torch.from_numpy(pixels).split(_BATCH)
        return torch.cat([model(inputs.prepare(batch.to(where))) for batch in batches])


def _distance(sums: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> float:
    """sums: (3, channels) Σx, Σx² and the count."""
    total, squares, count = sums
    alive = variance > 0
    m, scale = (total / count)[alive], np.sqrt(variance[alive])
    own = np.maximum((squares / count)[alive] - m * m, 0.0)
    if not len(m):
        return float("nan")
    z = (m - mean[alive]) / scale
    return float(frechet_diagonal(z, own / variance[alive], np.zeros_like(z), np.ones_like(z))) / len(z)
