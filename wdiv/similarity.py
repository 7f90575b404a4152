"""Do two networks see alike? Their layers' features on the same images, compared. Where networks meet metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from wdiv.errors import BadData, BadInput
from wdiv.metrics import METRICS, features
from wdiv.numerics.gram import LEAST_IMAGES, gram
from wdiv.store.foreign import layers_from_shapes, to_numpy
from wdiv.store.probe import layer_kind
from wdiv.store.stages import family_of, stages_by_name
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.networks import sources
from wdiv.tuning.networks.models import ModelSpec, head_layers
from wdiv.tuning.networks.sources import Source
from wdiv.tuning.training.device import choose_device

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["DEFAULT_METRICS", "similarity", "similarity_of"]

DEFAULT_METRICS = ("linear_cka", "procrustes_distance")
SHUFFLED = "procrustes_distance"
"""The metric whose value for unrelated features depends on how many images and features there are."""
SHUFFLES = 8, 256
"""How often images are shuffled: so often, but no more often than so many images are shuffled in all; of many images
one shuffle is like another."""
CONSTANT, NOT_FINITE = "the features of all images are equal", "the features hold inf or NaN"


@dataclass
class _Sight:
    """What one network made of the images: a row for each output of a layer, in the order in which they came about.

    labels    the module's name; ``name@2`` for its second call, ``name[key]`` for one of several tensors
    left_out  outputs that are not one row of numbers for each image
    """

    labels: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    grams: list[np.ndarray] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def before(self, layers: Collection[str]) -> _Sight:
        """The rows before the first of these layers ran."""
        end = next((i for i, name in enumerate(self.names) if name in layers), len(self.names))
        return _Sight(self.labels[:end], self.names[:end], self.kinds[:end], self.grams[:end], self.left_out)

    def coords(self, model: str, tail: str, rows: Sequence[int]) -> dict[str, tuple[str, np.ndarray]]:
        family = family_of(model)
        stages = [s for s, _ in stages_by_name(family, self.names)] if family else [""] * len(self.names)
        columns = {"layer": self.labels, "kind": self.kinds, "stage": stages}
        found = {f"{key}{tail}": np.array([values[i] for i in rows], object) for key, values in columns.items()}
        found[f"depth{tail}"] = np.array(rows, dtype=np.int64)
        return {key: (f"layer{tail}", values) for key, values in found.items()}


def similarity(
    a: nn.Module,
    b: nn.Module,
    images: Any,
    *,
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    modules: str = "layers",
    across: bool = False,
    names: tuple[str, str] = ("a", "b"),
) -> xr.Dataset:
    """metric(A, B) of what each layer of two networks gives out for the same images.

    a, b     networks in any mode: they run in eval mode, without gradients, and are left as they were
    images   (n, channels, height, width) floating point, as the networks want them; n > 3. They run as one batch,
             and of a layer's features only the (n, n) inner products are kept
    modules  ``layers``: those of the kinds that wdiv measures; ``all``: every module that gives out a tensor
    across   also every layer of A against every layer of B
    names    what to call the two, in the attributes

    Returns variables of dims (layer,) for the labels that both have, in the order in which A ran them. A label is
    the module's name, and ``name@2`` for its second call. NaN where a value is undefined; ``why`` says why.
    ``procrustes_distance_shuffled`` is what that metric gives when B is shown the images in another order, the mean of
    some: of few images it is near 0 for anything, and only what lies well below tells of likeness. With ``across``,
    ``layer`` are all of A and ``<metric>_across`` has dims (layer, layer_b).

    Raises :class:`~wdiv.errors.BadInput`.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.BatchNorm2d(4))
    >>> found = similarity(net, net, torch.rand(5, 3, 8, 8))
    >>> found.layer.values.tolist(), found.linear_cka.values.round(12).tolist()
    (['0', '2'], [1.0, 1.0])
    """
    wanted = _metric_names(metrics)
    left, right = _look(a, images, modules), _look(b, images, modules)
    return _compare(left, right, wanted, across, names, ("", ""), modules)


def similarity_of(
    a: str,
    b: str,
    data: str,
    *,
    count: int = 32,
    seed: int = 0,
    model: str | None = None,
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    modules: str = "layers",
    across: bool = False,
    device: str = "auto",
    skip_bad: bool = False,
) -> xr.Dataset:
    """:func:`similarity` of two checkpoints on ``count`` images of a data set, drawn with ``seed``.

    a, b   ``RUN_DIRECTORY[@EPOCH]`` of a wdiv store, a source card, a checkpoint file, or a torchvision name
    data   a data set's name, or a folder of images
    model  the network of those that do not say; without it, the other one's

    Each gets the images as it was trained on them. A bare file does not say how, and gets them as the other one does.
    Weights without a classifier are compared up to it.
    Raises the errors of :mod:`wdiv.errors`.
    """
    wanted = _metric_names(metrics)
    _check_count(count)
    found = _resolve(a, b, model)
    pixels = {size: _draw(data, size, count, seed, skip_bad) for size in {s.input.size for s in found}}
    left, right = (_look_from(source, pixels[source.input.size], modules, device) for source in found)
    models = [source.model.name for source in found if source.model]
    return _compare(left, right, wanted, across, (a, b), models, modules).assign_attrs(data=data, seed=seed)


# ------------------------------------------------------------------------------------------------------------ looking


def _look(network: nn.Module, images: Any, modules: str) -> _Sight:
    """Run the network once, and reduce each output to its Gram matrix as it comes about: before a layer that works
    in place changes it, and without keeping it."""
    import torch

    if modules not in ("layers", "all"):
        raise BadInput(f"modules: layers or all, not {modules!r}")
    batch = torch.as_tensor(images)
    if batch.dim() != 4 or not batch.is_floating_point():
        shape = tuple(batch.shape)
        raise BadInput(f"images: floating point (n, channels, height, width) wanted, not {batch.dtype} {shape}")
    _check_count(len(batch))
    sight, calls = _Sight(), Counter[str]()

    def watch(name: str, kind: str, _module: nn.Module, _args: Any, output: Any) -> None:
        calls[name] += 1
        label = name if calls[name] == 1 else f"{name}@{calls[name]}"
        for key, tensor in _tensors(output):
            if len(tensor) != len(batch):
                sight.left_out.append(label + key)
                continue
            sight.labels.append(label + key)
            sight.names.append(name)
            sight.kinds.append(kind)
            sight.grams.append(gram(to_numpy(tensor)))

    told = layers_from_shapes({key: value.shape for key, value in network.state_dict().items()})
    classifier = {layer.name for layer in told.of("fc")}
    where = next((p for p in network.parameters() if p.is_floating_point()), batch)
    try:
        with ExitStack() as hooks, torch.no_grad(), _evaluating(network):
            for name, module in network.named_modules():
                kind = "fc" if name in classifier else layer_kind(module)
                if kind or modules == "all":
                    hook = partial(watch, name, kind or type(module).__name__)
                    hooks.enter_context(module.register_forward_hook(hook))
            network(batch.to(where.device, where.dtype))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"the network cannot take images of shape {tuple(batch.shape[1:])}: {reason}") from None
    return sight


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Every module in eval mode, and afterwards in the mode it had: a frozen BatchNorm is in another than its model."""
    modes = {module: module.training for module in network.modules()}
    try:
        for module in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _tensors(output: Any) -> list[tuple[str, torch.Tensor]]:
    """The floating-point tensors in an output, with a key where there are several."""
    import torch

    if isinstance(output, tuple) and hasattr(output, "_fields"):
        output = dict(zip(output._fields, output, strict=True))
    if isinstance(output, (tuple, list)):
        output = dict(enumerate(output))
    entries = output.items() if isinstance(output, Mapping) else [("", output)]
    found = [(k, v) for k, v in entries if isinstance(v, torch.Tensor) and v.is_floating_point() and v.dim()]
    return [("" if len(found) == 1 else f"[{key}]", value) for key, value in found]


def _check_count(count: int) -> None:
    if count < LEAST_IMAGES:
        raise BadInput(f"images: at least {LEAST_IMAGES}, not {count}; the unbiased estimate divides by n - 3")


# ---------------------------------------------------------------------------------------------------------- comparing


def _metric_names(metrics: str | Sequence[str]) -> tuple[str, ...]:
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    for name in names:
        if METRICS[name].family != "features":
            known = ", ".join(features.__all__)
            raise BadInput(f"metric {name!r} compares weights, not features; for features: {known}")
    if not names:
        raise BadInput("give at least one metric")
    return tuple(dict.fromkeys(names))


def _compare(
    a: _Sight,
    b: _Sight,
    metrics: Sequence[str],
    across: bool,
    names: tuple[str, str],
    models: Sequence[str],
    modules: str,
) -> xr.Dataset:
    if not a.labels or not b.labels:
        raise BadInput(f"{names[0] if not a.labels else names[1]}: no layer of it gave out a tensor")
    places = {label: i for i, label in enumerate(b.labels)}
    rows = [i for i, label in enumerate(a.labels) if across or label in places]
    if not rows:
        raise BadInput("the two networks have no layer of the same name; only across all pairs can they be compared")
    ours, theirs = np.stack(a.grams), np.stack(b.grams)
    partners = [places.get(a.labels[i]) for i in rows]
    nothing = np.full_like(ours[0], np.nan)
    facing = np.stack([nothing if p is None else theirs[p] for p in partners])
    variables: dict[str, Any] = {}
    for name in metrics:
        function = METRICS[name].function
        variables[name] = ("layer", function(ours[rows], facing), METRICS[name].attrs)
        if name == SHUFFLED:
            variables[f"{name}_shuffled"] = ("layer", *_shuffled(function, ours[rows], facing, METRICS[name].attrs))
        if across:  # row by row, so that no more than a row of matrices is held
            grid = np.stack([function(k, theirs) for k in ours])
            variables[f"{name}_across"] = (("layer", "layer_b"), grid, METRICS[name].attrs)
    reasons = [_why(ours[i], None if p is None else theirs[p]) for i, p in zip(rows, partners, strict=True)]
    undefined = np.any([np.isnan(variables[name][1]) for name in metrics], axis=0)
    reasons = [why or ("the images do not differ among each other" if nan else "")
               for why, nan in zip(reasons, undefined, strict=True)]  # fmt: skip
    coords = a.coords(models[0], "", rows)
    if across:
        coords |= b.coords(models[1], "_b", range(len(b.labels)))
    attrs = {
        "n": len(nothing), "a": names[0], "b": names[1], "modules": modules, "layer_order": "execution",
        "only_in_a": ", ".join(label for label in a.labels if label not in places),
        "only_in_b": ", ".join(label for label in b.labels if label not in set(a.labels)),
        "left_out": ", ".join(dict.fromkeys([*a.left_out, *b.left_out])),
    }  # fmt: skip
    return xr.Dataset({**variables, "why": ("layer", np.array(reasons, object))}, coords, attrs)


def _shuffled(
    function: Callable[..., np.ndarray], a: np.ndarray, b: np.ndarray, attrs: Mapping[str, Any]
) -> tuple[np.ndarray, dict[str, Any]]:
    """A metric's mean over shuffles of the second side's images, and its attributes. a, b: (layers, n, n)."""
    most, images = SHUFFLES
    count, rng = max(1, min(most, images // a.shape[-1])), np.random.default_rng(0)
    orders = [rng.permutation(a.shape[-1]) for _ in range(count)]
    found = np.mean([function(a, b[..., order, :][..., order]) for order in orders], axis=0)
    return found, {**attrs, "long_name": f"{attrs['long_name']}, the images of B shuffled; mean of {count}"}


def _why(k: np.ndarray, l: np.ndarray | None) -> str:  # noqa: E741
    """Why two Gram matrices may give no value; empty where they do."""
    if l is None:
        return "B has no layer of this name"
    for test, what in ((lambda m: not np.isfinite(m).all(), NOT_FINITE), (lambda m: not m.any(), CONSTANT)):
        sides = [side for side, m in (("A", k), ("B", l)) if test(m)]
        if sides:
            return f"in {' and '.join(sides)} {what}"
    return ""


# ------------------------------------------------------------------------------------------------------------ opening


def _resolve(a: str, b: str, model: str | None) -> list[Source]:
    """Both sources, each with a model and an input of its own or, where it says nothing, of the other."""
    telling = [sources.resolve(text) for text in (a, b) if sources.names_model(text)]
    spec = ModelSpec.parse(model) if model else telling[0].model if telling else None
    found = []
    for text in (a, b):
        source = sources.resolve(text, spec)
        if source.model is None:
            if spec is None:
                raise BadInput(f"{text}: does not say which network it is for; name it with --model")
            source = replace(source, model=spec, input=telling[0].input if telling else source.input)
        found.append(source)
    return found


def _look_from(source: Source, pixels: np.ndarray, modules: str, device: str) -> _Sight:
    import torch

    assert source.model is not None
    where = choose_device(device)
    network, complete = sources.whole(source, source.model)
    images = source.input.prepare(torch.from_numpy(pixels).to(where))
    sight = _look(network.to(where, memory_format=torch.channels_last), images, modules)
    return sight if complete else sight.before(head_layers(source.model))


def _draw(data: str, size: int, count: int, seed: int, skip_bad: bool) -> np.ndarray:
    """(count, 3, size, size) uint8: images of the data set, its test images among them, in the data set's order."""
    split = open_split(data, size, skip_bad=skip_bad)
    pool, test = split.pool.pixels, split.test.pixels
    if count > len(pool) + len(test):
        raise BadData(f"{count} images asked for, but {split.name} has {len(pool) + len(test)}")
    chosen = np.sort(np.random.default_rng(seed).choice(len(pool) + len(test), count, replace=False))
    return np.concatenate([pool[chosen[chosen < len(pool)]], test[chosen[chosen >= len(pool)] - len(pool)]])
