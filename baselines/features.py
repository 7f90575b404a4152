"""Bottleneck features: what the classifier of a frozen network reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from wdiv.tuning import sources
from wdiv.tuning.images import ImageSet
from wdiv.tuning.models import build, head_layers, layer_table
from wdiv.tuning.run import choose_device
from wdiv.tuning.sources import Source

__all__ = ["bottleneck"]

BATCH = 128


def bottleneck(source: Source, images: ImageSet, *, device: str = "auto") -> np.ndarray:
    """(n, d) float32: the input of the last layer of the classifier, averaged over space where it is a map.

    The network is in eval mode throughout. It runs once over the images; keep the result. Raises
    :class:`~wdiv.errors.BadWeights` if the weights do not fit the source's network.
    """
    import torch

    assert source.model is not None
    size = images.pixels.shape[-1]
    table = layer_table(source.model, len(images.classes), size)
    head = [layer.name for layer in table if layer.name in head_layers(source.model) and layer.stage == "head"][-1]
    model = build(source.model, len(images.classes))
    if not source.random:
        sources.load_into(model, source.read(), source.model, source.name)
    where = choose_device(device)
    model.to(where, memory_format=torch.channels_last).eval()
    caught: list[Any] = []
    handle = model.get_submodule(head).register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0]))
    try:
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                pixels = torch.from_numpy(images.pixels[start : start + BATCH]).to(where)
                model(source.input.at(size).prepare(pixels))
    finally:
        handle.remove()
    pooled = [x.mean((2, 3)) if x.dim() == 4 else x for x in caught]
    return np.asarray(torch.cat(pooled).float().cpu())
