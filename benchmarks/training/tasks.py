"""What is trained: the same images, weights, batches, rates and epochs for every contender."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.process import ROOT
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.data.images import ImageSet, Split
from wdiv.tuning.networks import sources
from wdiv.tuning.networks.models import ModelSpec, build, head_layers, layer_table
from wdiv.tuning.networks.sources import Source
from wdiv.tuning.strategy.freeze import make_plan
from wdiv.tuning.training.recipe import Recipe
from wdiv.tuning.training.run_spec import RunSpec

__all__ = ["MOBILENET", "TASKS", "Task", "Work", "card", "images", "prepare", "weights"]

MOBILENET = "mobilenet_v2:width_mult=0.35"
PEERS = ("torchvision", "timm", "fastai", "lightning")


@dataclass(frozen=True)
class Task:
    """``train`` and ``test`` are numbers of images; ``peers`` the contenders beside wdiv."""

    strategy: str
    model: str
    size: int
    train: int
    test: int
    epochs: int
    precision: str = "fp32"
    batch_size: int = 32
    seed: int = 0
    peers: tuple[str, ...] = PEERS

    @property
    def name(self) -> str:
        """How the command line calls it."""
        return self.strategy if self.precision == "fp32" else f"{self.strategy}:{self.precision}"

    @property
    def title(self) -> str:
        words = (self.name, self.model, f"{self.size} px", f"{self.train} + {self.test} images")
        return ", ".join(words) + f", {self.epochs} epochs"


TASKS = (
    Task("fc", "resnet50", 224, 140, 20, 30),
    Task("bn@stage4+fc", "resnet50", 224, 140, 20, 6, peers=(*PEERS, "torchvision, model.train()")),
    Task("conv+bn+fc", MOBILENET, 96, 300, 150, 15, peers=(*PEERS, "torchvision, channels_last")),
    Task("conv+bn+fc", "resnet50", 224, 140, 20, 5, precision="bf16", peers=("torchvision, fp32", "torchvision")),
)


@dataclass(frozen=True, eq=False)
class Work:
    """A task made ready, which each contender reads from the same file.

    spec, split  what wdiv is told; the pool is the training images and no others
    start        the file of the weights before the first step, the new head's too
    rates        parameter -> learning rate, of those that train
    held         BatchNorm layers whose statistics are frozen
    """

    spec: RunSpec
    split: Split
    start: Path
    rates: Mapping[str, float]
    held: tuple[str, ...]

    @classmethod
    def of(cls, spec: RunSpec, split: Split, start: Path) -> Work:
        """Resolve a run with wdiv, so that contenders need not know of strategies, and write ``start``."""
        import torch

        classes = len(split.pool.classes)
        model, table = build(spec.model, classes, spec.seed), layer_table(spec.model, classes, spec.inputs.size)
        sources.load_into(model, spec.source.read(), spec.model, spec.source.name)
        plan = make_plan(model, table, head_layers(spec.model), spec.parsed, spec.bn_mode)
        torch.save(model.state_dict(), start)
        own = Source(start.name, spec.inputs, spec.model, start)
        held = tuple(layer.name for layer in table.of("bn") if layer.name not in plan.batch_stats)
        return cls(replace(spec, source=own, per_class=None), split, start, plan.lrs, held)


def prepare(task: Task, folder: Path, start: str | None = None) -> Path:
    """Write the task's :class:`Work` into ``folder``; ``start``: weights as in ``--weights``, if not our own."""
    model = ModelSpec.parse(task.model)
    split = _cut(open_split(str(images()), task.size), task.train, task.test)
    source = sources.resolve(start, model) if start else weights(model, split.pool, folder)
    precision = {} if task.precision == "fp32" else {"precision": task.precision}
    recipe = Recipe(epochs=task.epochs, batch_size=task.batch_size, **precision)  # type: ignore[arg-type]
    spec = RunSpec(source.model or model, source, None, task.strategy, "auto", task.seed, recipe, task.size)
    file = folder / "work.pkl"
    file.write_bytes(pickle.dumps(Work.of(spec, split, folder / "start.pth")))
    return file


def _cut(split: Split, train: int, test: int) -> Split:
    """So many images on either side, as many of each class as can be."""

    def some(images: ImageSet, count: int) -> ImageSet:
        turn = np.empty(len(images), dtype=np.int64)  # 0 for the first image of each class, then 1
        for label in range(len(images.classes)):
            turn[images.labels == label] = np.arange((images.labels == label).sum())
        return images.take(np.sort(np.argsort(turn, kind="stable")[:count]))

    return Split(split.name, some(split.pool, train), some(split.test, test))


def weights(model: ModelSpec, images: ImageSet, folder: Path) -> Source:
    """ImageNet's where they lie in ``shared``; else random ones, BatchNorm statistics fitted to the images.

    Without the fit a random network in eval mode says the same about every image.
    """
    found = card()
    if model.label == MOBILENET and found:
        return sources.resolve(str(found))
    import torch

    network = build(model, 1000)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a cumulative average
    with torch.no_grad():
        for part in torch.from_numpy(images.pixels).split(32):
            network(sources.IMAGENET.prepare(part))
    torch.save(network.state_dict(), folder / "random.pth")
    return sources.resolve(str(folder / "random.pth"), model)


def card() -> Path | None:
    """MobileNetV2's ImageNet weights, where they lie in ``shared``."""
    file = _shared() / "weights" / "mobilenet_v2_w035.toml"
    return file if file.exists() else None


def images() -> Path:
    """A folder of images for each class: NEU where it lies in ``shared``, else noise of six textures."""
    neu = _shared() / "data" / "neu"
    return neu if neu.is_dir() else _noise(Path(tempfile.gettempdir()) / "wdiv-bench" / "noise")


def _shared() -> Path:
    return Path(os.environ.get("WDIV_SHARED", ROOT.parent / "shared"))


def _noise(folder: Path, per_class: int = 100) -> Path:
    """Noise blurred along lines, more or less; written once."""
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    for label in range(6):
        place = folder / f"texture{label}"
        place.mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            grey = gaussian_filter(rng.normal(size=(200, 200)), (1 + label, 6 - label))
            pixels = np.clip(128 + 40 * grey / grey.std(), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{i:03d}.png")
    return folder
