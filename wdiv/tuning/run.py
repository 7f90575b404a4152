"""One fine-tuning run, from starting weights to its last epoch on disk."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wdiv.errors import BadInput
from wdiv.store.reader import Run
from wdiv.store.record import RunRecord
from wdiv.store.writer import RunWriter, check_same, frozen_digests, write_base
from wdiv.tuning import sources, strategies
from wdiv.tuning.freeze import Plan, hold, make_plan
from wdiv.tuning.images import ImageSet, Split, nested_subset
from wdiv.tuning.inputs import InputSpec
from wdiv.tuning.loop import Loop, OnDevice
from wdiv.tuning.models import ModelSpec, build, head_keys, head_layers, layer_table
from wdiv.tuning.recipe import Recipe
from wdiv.tuning.sources import Source

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["RunSpec", "Watcher", "choose_device", "fine_tune"]


class Watcher(Protocol):
    """What a run tells whoever looks on."""

    def batch(self, epoch: int, done: int, of: int) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None: ...


class _Silent:
    def batch(self, epoch: int, done: int, of: int) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class RunSpec:
    """What makes one run. ``per_class`` None: all training images."""

    model: ModelSpec
    source: Source
    per_class: int | None
    strategy: str
    bn_mode: str
    seed: int
    recipe: Recipe
    image_size: int | None = None

    def __post_init__(self) -> None:
        strategies.parse(self.strategy)
        strategies.BN_MODES[self.bn_mode]  # raises for an unknown one
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise BadInput(f"seed: a whole number from 0, not {self.seed!r}")
        if self.per_class is not None and self.per_class < 1:
            raise BadInput(f"images per class: at least 1, or 'all', not {self.per_class!r}")

    @property
    def label(self) -> str:
        """The architecture in tables and folder names: the source card's name, or the model's."""
        return self.source.label or self.model.label

    @property
    def parsed(self) -> strategies.Strategy:
        return strategies.parse(self.strategy)

    @property
    def start(self) -> str:
        """The source that this run starts from: none if its strategy is ``scratch``."""
        return "random" if self.parsed.scratch else self.source.name

    @property
    def inputs(self) -> InputSpec:
        return self.source.input.at(self.image_size)

    def id(self, dataset: str) -> str:
        """The run's name, and its folder's."""
        size = "all" if self.per_class is None else f"n{self.per_class}"
        parts = (self.label, dataset, size, self.parsed.name, self.bn_mode, f"s{self.seed}")
        return "-".join(re.sub(r"[^\w.+@=,]+", "-", part).strip("-") for part in parts)

    def facts(self, split: Split) -> dict[str, Any]:
        """What must agree for a run on disk to be this run."""
        return {
            "source": self.start,
            "dataset": split.name,
            "data_digest": split.digest,
            "recipe": self.recipe.to_json() | {"rates": {t.kind: t.rate for t in self.parsed.terms}},
            "input": self.inputs.to_json(),
            "strategy": self.parsed.name,
            "bn_mode": self.bn_mode,
            "model": self.model.name,
            "model_args": dict(self.model.args),
            "bn_eps": self.model.bn_eps,
        }


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` (CUDA where there is one), ``cpu`` or ``cuda``."""
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise BadInput(f"device: auto, cpu or cuda, not {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("device cuda: PyTorch finds no CUDA device here; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def fine_tune(spec: RunSpec, split: Split, out: Path, *, device: str = "auto", watcher: Watcher | None = None) -> Run:
    """Train one run into the store at ``out``, or continue it, or leave it be if it is finished.

    Every epoch is saved as it ends. A run that was killed continues where it stopped and ends with the weights it
    would have had (bit for bit on a CPU with the same number of threads).
    """
    watcher = watcher or _Silent()
    run = Run(out / "runs" / spec.id(split.name))
    facts = spec.facts(split)
    if (run.path / "run.json").exists():
        check_same(run, facts)
        if run.finished:
            return run
    where = choose_device(device)
    train = split.pool.take(nested_subset(split.pool, spec.per_class, spec.seed))
    model, record, plan = _prepare(spec, split, train, out, facts, str(where))
    with RunWriter(out, record) as writer:
        _train(model, plan, spec, record, writer, train, split.test, where, watcher)
    return run


def _prepare(
    spec: RunSpec, split: Split, train: ImageSet, out: Path, facts: dict[str, Any], device: str
) -> tuple[nn.Module, RunRecord, Plan]:
    """The network at its start, frozen as the strategy says, and its record."""
    classes, inputs, strategy = len(split.pool.classes), spec.inputs, spec.parsed
    table = layer_table(spec.model, classes, inputs.size)
    model = build(spec.model, classes, spec.seed)
    keys = tuple(model.state_dict())
    new: tuple[str, ...] = ()
    if spec.start == "random":
        base = write_base(out, model.state_dict())
    else:
        state = sources.load_into(model, spec.source.read(), spec.model, spec.source.name)
        base, new = write_base(out, state), tuple(k for k in keys if k not in state or k in head_keys(spec.model))
    plan = make_plan(model, table, head_layers(spec.model), strategy, spec.bn_mode)
    hold(model, plan, table)
    record = RunRecord(
        id=spec.id(split.name),
        label=spec.label,
        classes=classes,
        class_names=split.pool.classes,
        n_train=len(train),
        n_test=len(split.test),
        seed=spec.seed,
        base=base,
        keys=keys,
        changing=plan.changing,
        new=new,
        frozen=frozen_digests(model.state_dict(), frozenset(plan.frozen)),
        table=table,
        versions=_versions(device),
        **facts,
    )
    return model, record, plan


def _train(
    model: nn.Module, plan: Plan, spec: RunSpec, record: RunRecord, writer: RunWriter, train: ImageSet,
    test: ImageSet, device: torch.device, watcher: Watcher,
) -> None:  # fmt: skip
    import torch

    kept = writer.resume()
    after = None if kept is None else int(kept["row"]["epoch"])
    if after is not None:
        state = writer.run.state_dict(after)
        model.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    model.to(device, memory_format=torch.channels_last)

    def commit(row: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
        writer.commit(model.state_dict(), row, {"optimizer": optimizer.state_dict()})
        watcher.epoch(row)

    loop = Loop(
        model, plan, spec.recipe, spec.inputs, _put(train, device), _put(test, device),
        seed=spec.seed, on_epoch=commit, on_batch=watcher.batch,
    )  # fmt: skip
    if kept is not None:
        loop.optimizer.load_state_dict(kept["optimizer"])
    loop.run(after)


def _put(images: ImageSet, device: torch.device) -> OnDevice:
    import torch

    return OnDevice(torch.from_numpy(images.pixels).to(device), torch.from_numpy(images.labels).to(device))


def _versions(device: str) -> dict[str, str]:
    from importlib.metadata import version

    names = ("wdiv", "torch", "torchvision", "numpy", "safetensors")
    return {name: version(name) for name in names} | {"python": platform.python_version(), "device": device}
