"""Bottleneck features: what the classifier of a frozen network reads."""

from __future__ import annotations

import numpy as np

from wdiv.tuning import sources
from wdiv.tuning.features import FeatureStore, feature_key
from wdiv.tuning.freeze import hold, make_plan
from wdiv.tuning.images import ImageSet
from wdiv.tuning.models import build, head_keys, head_layers, layer_table
from wdiv.tuning.prefix import cut
from wdiv.tuning.run import choose_device
from wdiv.tuning.sources import Source
from wdiv.tuning.spelling import parse

__all__ = ["bottleneck"]


def bottleneck(
    source: Source, images: ImageSet, *, device: str = "auto", features: FeatureStore | None = None
) -> np.ndarray:
    """(n, d) float32: the input of the last layer of the classifier, averaged over space where it is a map.

    The network is in eval mode throughout, and cut as by runs that train the classifier alone: with the ``features``
    of such runs nothing is computed twice. Raises :class:`~wdiv.errors.BadWeights` if the weights do not fit the
    source's network.
    """
    import torch

    assert source.model is not None
    spec = source.model.but(head=None, beside=None)  # neither of which the source has trained weights for
    size = images.pixels.shape[-1]
    table, head = layer_table(spec, len(images.classes), size), head_layers(spec)
    model = build(spec, len(images.classes))
    if not source.random:
        sources.load_into(model, source.read(), spec, source.name)
    where, inputs = choose_device(device), source.input.at(size)
    model.to(where, memory_format=torch.channels_last)
    hold(model, make_plan(model, table, head, parse("fc"), "frozen"), table)
    parts = cut(model, head_keys(spec), size, training=False)
    kept = (features or FeatureStore()).features(
        feature_key(parts, model, inputs, images.digest, where, "fp32"),
        torch.from_numpy(images.pixels).to(where),
        np.arange(len(images)),
        lambda pixels: parts.stem(inputs.prepare(pixels)),
    )
    (found,) = kept[torch.arange(len(images), device=where)]
    return np.asarray((found.mean((2, 3)) if found.dim() == 4 else found).float().cpu())
