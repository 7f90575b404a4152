"""One fine-tuning run, from starting weights to its last epoch on disk."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from wdiv.errors import BadInput, WdivError
from wdiv.store.reader import Run
from wdiv.store.record import RunRecord
from wdiv.store.running_metrics import RunningMetrics
from wdiv.store.writer import RunWriter, check_same, clear, frozen_digests, write_base
from wdiv.tuning.data.images import Split
from wdiv.tuning.networks import sources
from wdiv.tuning.networks.models import build, head_layers, layer_table
from wdiv.tuning.prefix.feature_store import FeatureStore
from wdiv.tuning.prefix.frozen_prefix import Cut
from wdiv.tuning.strategy.freeze import FreezePlan, apply_freeze, changing, make_plan
from wdiv.tuning.strategy.l2sp import L2SP
from wdiv.tuning.strategy.segments import Segment, segments
from wdiv.tuning.training import precision
from wdiv.tuning.training.interrupt import Stop
from wdiv.tuning.training.loop import Diverged, Loop, OnDevice, Position
from wdiv.tuning.training.prefix_plan import PrefixPlan, Subset, make_feed, plan_prefix
from wdiv.tuning.training.run_spec import RunSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Silent", "Watcher", "choose_device", "fine_tune"]

COMMIT_EVERY = 1.0
"""Seconds from one commit of epochs to the next, at least."""


class NoMemory(WdivError):
    """Neither the device nor the machine has as much memory as the run needs."""


class Watcher(Protocol):
    """What a run tells whoever looks on."""

    def batch(self, epoch: int, done: int, of: int) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None: ...


class Silent:
    """A watcher that looks away."""

    def batch(self, epoch: int, done: int, of: int) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None: ...


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` (CUDA where there is one), ``cpu`` or ``cuda``."""
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise BadInput(f"device: auto, cpu or cuda, not {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("device cuda: PyTorch finds no CUDA device here; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def fine_tune(
    spec: RunSpec, split: Split, out: Path, *, device: str = "auto", watcher: Watcher | None = None,
    features: FeatureStore | None = None, stop: Stop | None = None,
) -> Run:  # fmt: skip
    """Train one run into the store at ``out``, or continue it, or leave it be if it is finished.

    Every epoch is saved. A run that was killed, or asked to stop, continues where it was saved last and ends with the
    weights it would have had (bit for bit on a CPU with the same number of threads).

    features  what is kept of frozen prefixes; give one to runs that can share
    stop      asked: the step is finished, everything saved, and :class:`~wdiv.tuning.training.interrupt.Stopped` raised

    Raises :class:`~wdiv.tuning.training.loop.Diverged` where the loss is no number, also if it was found so before.
    """
    run = Run(out / "runs" / spec.id(split.name))
    facts = spec.facts(split)
    if (run.path / "run.json").exists():
        check_same(run, facts)
        if _is_over(run):
            return run
    where = choose_device(device)
    precision.check(spec.recipe.precision, where.type)
    features = features or FeatureStore(out / "features")
    try:
        _Session(spec, split, out, facts, where, watcher or Silent(), features, stop or Stop()).run()
    except (MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise
        raise NoMemory(
            f"{run.path.name}: out of memory on {where.type}; lower the batch size, the image size or --jobs"
        ) from None
    return run


def _is_over(run: Run) -> bool:
    """True if it is finished. Raises :class:`~wdiv.tuning.training.loop.Diverged` if it cannot be."""
    if not run.finished and run.diverged is None:
        return False
    clear(run)
    if run.diverged is not None:
        raise Diverged(f"{run.diverged} (found before; delete {run.path} to try again)")
    return True


def _is_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


@dataclass(frozen=True, eq=False)
class _Stage:
    """A stretch of epochs, and how the network is held while it lasts."""

    segment: Segment
    plan: FreezePlan
    prefix: PrefixPlan


class _Session:
    """One process's part in a run: the network, the images and the writer."""

    def __init__(
        self, spec: RunSpec, split: Split, out: Path, facts: Mapping[str, Any], device: torch.device,
        watcher: Watcher, features: FeatureStore, stop: Stop,
    ) -> None:  # fmt: skip
        import torch

        self.spec, self.split, self.device, self.watcher, self.stop = spec, split, device, watcher, stop
        self.features = features
        train, validation = spec.rows(split.pool)
        self.parts = {"train": Subset(split.pool, train), "test": Subset(split.test, np.arange(len(split.test)))}
        if len(validation):
            self.parts["validation"] = Subset(split.pool, validation)
        self.table = layer_table(spec.network, len(split.pool.classes), spec.inputs.size)
        self.model = build(spec.network, len(split.pool.classes), spec.seed)
        self.base, self.new = self._start(out)
        self.pretrained = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.model.to(device, memory_format=torch.channels_last)
        self.stages = self._stages()
        self.writer = RunWriter(out, self._record(facts), COMMIT_EVERY)

    def run(self) -> None:
        with self.writer as writer:
            if _is_over(writer.run):  # by another process, since this one has looked
                return
            kept = writer.resume()
            done = None if kept is None else int(kept["row"]["epoch"])
            position = None if kept is None else kept.get("position")
            if position is not None and position["step"] == 0:  # between two epochs, and maybe two phases
                position = None
            if kept is not None and done is not None:
                self._load(done, kept.get("state") or {})
            self.running_metrics = RunningMetrics(writer.run.path, writer.record, self.pretrained)
            self.images = {name: OnDevice.of(part.taken(), self.device) for name, part in self.parts.items()}
            for stage in self.stages:
                if done is not None and done >= stage.segment.last:
                    continue
                apply_freeze(self.model, stage.plan, self.table, stage.prefix.disabled_dropout)
                within = position is not None or (done is not None and done >= stage.segment.first)
                optimizer = kept["optimizer"] if within and kept is not None else None
                self._train(stage, done, optimizer, None if position is None else Position(**position))
                if writer.rows and "final" in writer.rows[-1]:
                    return
                done, kept, position = stage.segment.last, None, None

    def _start(self, out: Path) -> tuple[str, tuple[str, ...]]:
        """Load the starting weights. Returns the digest of their file, and the keys that they do not give."""
        spec = self.spec
        if spec.start == "random":
            return write_base(out, self.model.state_dict()), ()
        state = sources.load_into(self.model, spec.source.read(), spec.network, spec.source.name)
        return write_base(out, state), sources.not_given(self.model, state, spec.network)

    def _stages(self) -> tuple[_Stage, ...]:
        """What each stretch of epochs trains, and where that cuts the network. Leaves it held to the last of them."""
        spec, head = self.spec, head_layers(self.spec.network)
        spec.parsed.check(self.table, head, spec.network.label)
        found = []
        for segment in segments(spec.parsed, self.table, head, spec.recipe.epochs):
            plan = make_plan(self.model, self.table, head, segment, spec.bn_mode)
            apply_freeze(self.model, plan, self.table)
            found.append(
                _Stage(segment, plan, plan_prefix(self.model, plan, self.table, spec.recipe, spec.inputs.size))
            )
        return tuple(found)

    def _record(self, facts: Mapping[str, Any]) -> RunRecord:
        spec, split, state = self.spec, self.split, self.model.state_dict()
        moving = changing((stage.plan for stage in self.stages), state)
        return RunRecord(
            id=spec.id(split.name),
            label=spec.label,
            classes=len(split.pool.classes),
            class_names=split.pool.classes,
            n_train=sum(len(part.rows) for name, part in self.parts.items() if name != "test"),
            n_test=len(split.test),
            per_class=spec.per_class,
            seed=spec.seed,
            base=self.base,
            keys=tuple(state),
            changing=moving,
            new=self.new,
            frozen=frozen_digests(state, frozenset(state) - frozenset(moving)),
            table=self.table,
            versions=_versions(str(self.device)),
            prefix=tuple({"from_epoch": s.segment.first, **s.prefix.to_json()} for s in self.stages),
            **facts,
        )

    def _load(self, epoch: int, newer: Mapping[str, torch.Tensor]) -> None:
        """The weights after an epoch, and on top of them what was saved in the middle of the next."""
        import torch

        state = {key: torch.from_numpy(value) for key, value in self.writer.run.state_dict(epoch).items()}
        self.model.load_state_dict(state | dict(newer))

    def _train(
        self, stage: _Stage, done: int | None, optimizer: Mapping[str, Any] | None, position: Position | None
    ) -> None:
        spec, recipe, segment = self.spec, self.spec.recipe, stage.segment
        adapts = stage.plan.bn_mode == "adabn" and segment.first == 1 and not done and position is None
        strength = segment.phase.number("l2sp")

        def loop(training: Cut | None, judging: Cut | None) -> Loop:
            at = {"train": training, "test": judging, "validation": judging}
            feeds: dict[str, Any] = {
                f"{name}_feed": make_feed(
                    self.model, at[name], part, self.images[name], spec.inputs, recipe, self.features
                )
                for name, part in self.parts.items()
            }
            return Loop(
                self.model, stage.plan, recipe, spec.inputs, self.images["train"], self.images["test"], seed=spec.seed,
                on_epoch=self._commit, on_batch=self.watcher.batch, on_stop=self._keep, segment=segment, stop=self.stop,
                l2sp=None if strength is None else L2SP(self.model, self.pretrained, self.new, strength), **feeds,
            )  # fmt: skip

        try:
            if adapts:  # what is kept of a prefix depends on its statistics
                before = loop(None, None)
                if done is None:
                    before.begin()
                before.adapt()
                del before
                done = 0
            began = time.perf_counter()
            shown = loop(stage.prefix.training, stage.prefix.judging)
            shown.lead = time.perf_counter() - began
            if optimizer is not None:
                shown.optimizer.load_state_dict(dict(optimizer))
            shown.run(done, position)
        except Diverged as error:
            self.writer.give_up(self.model.state_dict(), str(error))
            raise

    def _commit(self, row: dict[str, Any], optimizer: torch.optim.Optimizer) -> bool:
        """Save an epoch. True if the run ends with it, before its time."""
        row = self._judged(row)
        state = self.model.state_dict()
        self.running_metrics.append(int(row["epoch"]), state)
        self.writer.commit(state, row, {"optimizer": optimizer.state_dict()})
        self.watcher.epoch(row)
        return "final" in row

    def _judged(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row, with the epoch that counts where the run stops early; only the last phase can."""
        recipe, first = self.spec.recipe, self.stages[-1].segment.first
        if not recipe.patience or row["epoch"] < first:
            return row
        losses = {r["epoch"]: r["val_loss"] for r in (*self.writer.rows, row) if r["epoch"] >= first}
        best = min(losses, key=lambda epoch: (losses[epoch], epoch))
        over = row["epoch"] - best >= recipe.patience or row["epoch"] == recipe.epochs
        return row | {"final": best} if over else row

    def _keep(self, position: Position, optimizer: torch.optim.Optimizer) -> None:
        state = self.model.state_dict()
        now = {key: state[key].detach().cpu().clone() for key in self.writer.record.changing}
        self.writer.keep(state, {"optimizer": optimizer.state_dict(), "position": position.to_json(), "state": now})


def _versions(device: str) -> dict[str, str]:
    from importlib.metadata import version

    import torch

    names = ("wdiv", "torch", "torchvision", "numpy", "safetensors")
    here = {"python": platform.python_version(), "device": device, "threads": str(torch.get_num_threads())}
    return {name: version(name) for name in names} | here
