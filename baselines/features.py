"""What a frozen network makes of images, at any of its layers, as labelled data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from wdiv.errors import BadInput
from wdiv.layers import Layer
from wdiv.tuning.data.images import ImageSet
from wdiv.tuning.networks import sources
from wdiv.tuning.networks.models import ModelSpec, build, head_keys, head_layers, layer_table
from wdiv.tuning.networks.sources import Source
from wdiv.tuning.prefix.feature_extractor import BOTTLENECK, check_pooling, feature_extractor, places, pool
from wdiv.tuning.prefix.feature_store import FeatureStore, feature_key
from wdiv.tuning.prefix.frozen_prefix import cut
from wdiv.tuning.strategy.freeze import apply_freeze, make_plan
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.training.device import choose_device

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["bare", "bottleneck", "features", "label_of", "network", "places_of"]


def features(
    source: Source,
    images: ImageSet,
    layers: Sequence[str] = (BOTTLENECK,),
    *,
    rows: np.ndarray | None = None,
    pooling: str = "avg",
    device: str = "auto",
    store: FeatureStore | None = None,
) -> xr.DataTree:
    """A tree with one node a layer: ``features`` (sample, feature), float32, of one forward pass for all of them.

    layers   stages, layers' names or depths, or ``bottleneck`` (:mod:`wdiv.tuning.prefix.feature_extractor`)
    rows     which of the images; None: all
    pooling  of maps over space: ``avg``, ``max`` or ``grid=K``
    store    what is kept of frozen networks. With that of runs which train the classifier alone, the bottleneck is
             not computed again.

    On ``sample`` lie the images' names, ``label`` and ``class_name``, and ``group`` where groups are known. A node's
    attributes say its ``layer`` (the deepest that it depends on), ``stage`` and ``depth``. The network is in eval mode
    throughout.

    Raises :class:`~wdiv.errors.BadWeights` if the weights do not fit the source's network,
    :class:`~wdiv.errors.BadInput` for a layer that it does not have, and
    :class:`~wdiv.tuning.prefix.frozen_prefix.NoPrefix` for a network that torch.fx cannot trace.

    >>> from wdiv.tuning.data.datasets import DATASETS
    >>> from wdiv.tuning.networks.sources import resolve
    >>> from dataclasses import replace
    >>> random = replace(resolve("random"), model=ModelSpec("resnet18"))
    >>> digits = DATASETS["digits"].read(32)
    >>> tree = features(random, digits, ["stage1", "bottleneck"], rows=np.arange(4))
    >>> tree["stage1"].features.shape, tree["bottleneck"].features.shape, tree["stage1"].attrs["layer"]
    ((4, 64), (4, 512), 'layer1.1.bn2')
    """
    rows = np.arange(len(images)) if rows is None else np.asarray(rows)
    found = _compute(source, images, list(dict.fromkeys(layers)), rows, pooling, device, store or FeatureStore())
    names = np.array([images.names[i] for i in rows], dtype=object)
    classes = np.array([images.classes[i] for i in images.labels[rows]], dtype=object)
    groups = images.groups_of(rows)
    of = {} if groups is None else {"group": ("sample", np.array(groups, dtype=object))}
    root = xr.Dataset(
        coords={"sample": names, "label": ("sample", images.labels[rows]), "class_name": ("sample", classes)} | of,
        attrs={"model": label_of(source), "source": source.name, "pooling": pooling, "data_digest": images.digest},
    )
    nodes = {name: _node(values, layer) for name, (values, layer) in found.items()}
    return xr.DataTree.from_dict({"/": root, **{f"/{name}": node for name, node in nodes.items()}})


def bottleneck(
    source: Source, images: ImageSet, *, device: str = "auto", features: FeatureStore | None = None
) -> np.ndarray:
    """(n, d) float32: the input of the last layer of the classifier, averaged over space where it is a map.

    :func:`features` of the ``bottleneck``, as a bare array.
    """
    rows = np.arange(len(images))
    ((values, _),) = _compute(source, images, [BOTTLENECK], rows, "avg", device, features or FeatureStore()).values()
    return values


def places_of(source: Source, size: int) -> tuple[str, ...]:
    """The stages of the source's network, from input to output, and ``bottleneck``, for images of a size."""
    return places(layer_table(bare(source), 2, size))


def network(source: Source, device: str = "auto") -> tuple[nn.Module, torch.device]:
    """The source's network with its weights and a classifier for two classes that nobody has trained, and its device.

    Raises :class:`~wdiv.errors.BadWeights` if the weights do not fit.
    """
    import torch

    spec, where = bare(source), choose_device(device)
    model = build(spec, 2)
    if not source.random:
        sources.load_into(model, source.read(), spec, source.name)
    return model.to(where, memory_format=torch.channels_last).eval(), where


def bare(source: Source) -> ModelSpec:
    """The network without what the source has no trained weights for."""
    if source.model is None:
        raise BadInput(f"weights {source.name!r} do not say which network they are for; give a model")
    return source.model.but(head=None, beside=None)


def label_of(source: Source) -> str:
    """The architecture's name in tables, as runs have it."""
    return source.label or bare(source).label


def _node(values: np.ndarray, layer: Layer) -> xr.Dataset:
    attrs = {"layer": layer.name, "stage": layer.stage, "depth": layer.depth}
    return xr.Dataset({"features": (("sample", "feature"), values)}, attrs=attrs)


def _compute(
    source: Source, images: ImageSet, layers: list[str], rows: np.ndarray, pooling: str, device: str, kept: FeatureStore
) -> dict[str, tuple[np.ndarray, Layer]]:
    """The features of each layer, and the deepest layer that they depend on."""
    import torch

    check_pooling(pooling)
    spec, size = bare(source), images.pixels.shape[-1]
    model, where = network(source, device)
    inputs = source.input.at(size)
    names, at, deepest = _places(model, spec, layers, size, pooling)
    found = kept.features(
        feature_key(at, model, inputs, images.digest, where, "fp32"),
        torch.from_numpy(images.pixels),
        rows,
        lambda pixels: at.prefix(inputs.prepare(pixels)),
        where,
    )
    values = [pool(tensor, pooling).float().cpu().numpy() for tensor in found[torch.from_numpy(rows).to(where)]]
    return {name: (value, layer) for name, value, layer in zip(names, values, deepest, strict=True)}


def _places(
    model: nn.Module, spec: ModelSpec, layers: list[str], size: int, pooling: str
) -> tuple[tuple[str, ...], Any, tuple[Layer, ...]]:
    """Where to read the network off: the bottleneck by itself as runs that train the classifier alone cut it."""
    table, head = layer_table(spec, 2, size), head_layers(spec)
    if layers != [BOTTLENECK]:
        extractor = feature_extractor(model, table, head, layers, size, pooling)
        return extractor.names, extractor, extractor.layers
    apply_freeze(model, make_plan(model, table, head, parse("fc"), "frozen"), table)
    trunk = [layer for layer in table if layer.name not in head and layer.stage != "aux"]
    return (BOTTLENECK,), cut(model, head_keys(spec), size, training=False), (max(trunk, key=lambda row: row.depth),)
