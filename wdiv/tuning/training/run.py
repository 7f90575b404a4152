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
from wdiv.store.keep import ALL, Keep
from wdiv.store.names import taken
from wdiv.store.predictions import write_images
from wdiv.store.reader import CheckpointStore, Run, StoreLike
from wdiv.store.record import RunRecord
from wdiv.store.running_metrics import RunningMetrics
from wdiv.store.writer import Logits, RunWriter, clear
from wdiv.tuning.data.images import Split
from wdiv.tuning.prefix.feature_store import FeatureStore
from wdiv.tuning.prefix.frozen_prefix import Cut
from wdiv.tuning.strategy.freeze import FreezePlan, apply_freeze
from wdiv.tuning.strategy.segments import Segment
from wdiv.tuning.training import precision
from wdiv.tuning.training.device import choose_device
from wdiv.tuning.training.early_stopping import best_epoch, final_epoch
from wdiv.tuning.training.extending import is_longer, stays_stopped
from wdiv.tuning.training.identity import check_identity
from wdiv.tuning.training.interrupt import Stop
from wdiv.tuning.training.loop import Diverged, Loop, OnDevice, Position, check_batches
from wdiv.tuning.training.network_cache import NetworkCache
from wdiv.tuning.training.prefix_plan import PrefixPlan
from wdiv.tuning.training.run_spec import RunSpec
from wdiv.tuning.training.small_maps import check_maps

if TYPE_CHECKING:
    import torch

__all__ = ["Silent", "Watcher", "fine_tune"]

COMMIT_EVERY = 1.0
"""Seconds from one commit of epochs to the next, at least."""


class NoMemory(WdivError):
    """Neither the device nor the machine has as much memory as the run needs."""


class Watcher(Protocol):
    """What a run tells whoever looks on."""

    def batch(self, epoch: int, done: int, of: int) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None:
        """row: of the history, and how many test images its accuracy is of, ``n_test``"""


class Silent:
    """A watcher that looks away."""

    def batch(self, epoch: int, done: int, of: int) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None: ...


def fine_tune(
    spec: RunSpec, split: Split, out: StoreLike, *, device: str = "auto", watcher: Watcher | None = None,
    features: FeatureStore | None = None, networks: NetworkCache | None = None, stop: Stop | None = None,
    keep: Keep = ALL, extend: bool = False,
) -> Run:  # fmt: skip
    """Train one run into a store, or continue it, or leave it be if it is finished.

    Every epoch is saved, and those stay that ``keep`` says; the numbers of none depend on it. A run that was killed, or
    asked to stop, continues where it was saved last and ends with the weights it would have had (bit for bit on a CPU
    with the same number of threads).

    extend    a run that is over and is asked for more epochs goes on with them, and ends as if it had been asked for
              them at first. Until then what counted counts. Where that cannot be, an error says why
    features  what is kept of frozen prefixes;  networks: what is known of networks; give one to runs that can share
    stop      asked: the step is finished, everything saved, and :class:`~wdiv.tuning.training.interrupt.Stopped` raised
    out       the store's folder, or the store that was opened there

    Raises :class:`~wdiv.tuning.training.loop.Diverged` where the loss is no number, also if it was found so before, and
    :class:`~wdiv.errors.BadInput` where the run that is there was made in another way, or where it or another of the
    store is of other weights or images by the same name.
    """
    store = CheckpointStore.at(out)
    out = store.path
    run = Run(out / "runs" / spec.id(split.name))
    where, facts = choose_device(device), spec.facts(split)
    networks, classes = networks or NetworkCache(), len(split.pool.classes)
    try:
        base, known = networks.base(spec, classes, where), taken(store.folders())
        check_identity(store, spec, split, base, known=known, extend=extend)
        longer = extend and is_longer(run, spec)
        if (run.path / "run.json").exists() and (not longer or run.diverged is not None) and _is_over(run):
            changing = networks.prepare(spec, classes, where).changing
            check_identity(store, spec, split, base, changing, known, extend)
            return run
        precision.check(spec.recipe.precision, where.type)
        check_maps(spec, classes, where.type)
        features = features or FeatureStore(out / "features")
        _Session(spec, split, out, facts, where, watcher or Silent(), features, networks, stop or Stop(), keep).run()
    except (MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise
        raise NoMemory(
            f"{run.path.name}: out of memory on {where.type}; lower the batch size, the image size or --jobs"
        ) from None
    return Run(run.path)  # its record may be another now


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
    """A segment of a run, and how the network is frozen in it."""

    segment: Segment
    plan: FreezePlan
    prefix: PrefixPlan


class _Session:
    """One process's part in a run: the network, the images and the writer."""

    def __init__(
        self, spec: RunSpec, split: Split, out: Path, facts: Mapping[str, Any], device: torch.device,
        watcher: Watcher, features: FeatureStore, networks: NetworkCache, stop: Stop, keep: Keep,
    ) -> None:  # fmt: skip
        self.spec, self.split, self.device, self.watcher, self.stop = spec, split, device, watcher, stop
        self.features = features
        train, validation = spec.rows(split)
        self.images = {
            "train": OnDevice(split.pool, device, train),
            "test": OnDevice(split.test, device, spec.test_rows(split)),
        }
        if len(validation):
            self.images["validation"] = OnDevice(split.pool, device, validation)
        self.asked = {name: _list_images(out, part) for name, part in self.images.items() if name != "train"}
        self.network = networks.prepare(spec, len(split.pool.classes), device)
        self.model = self.network.model
        self.stages = [_Stage(segment, *self.network.freeze(segment)) for segment in self.network.segments]
        for stage in self.stages:
            check_batches(stage.plan, spec.recipe, len(train), stage.segment.last - stage.segment.first + 1)
        self.writer = RunWriter(
            out, self._record(facts, self.network.start.write_base(out)), COMMIT_EVERY, keep, keep.resume
        )

    def run(self) -> None:
        with self.writer as writer:
            if not writer.extends and _is_over(writer.run):  # by another process, since this one has looked
                return
            if writer.extends and writer.is_over:  # a kill came before it could say so
                writer.conclude()
                return
            kept = writer.resume()
            if writer.extends and stays_stopped(writer.rows, self.spec):
                writer.conclude()
                return
            done = None if kept is None else int(kept["row"]["epoch"])
            position = None if kept is None else kept.get("position")
            if position is not None and position["step"] == 0:  # between two epochs, and maybe two phases
                position = None
            if kept is not None and done is not None:
                self._load(done, kept.get("state") or {})
            self.running_metrics = RunningMetrics(writer.run.path, writer.record, self.network.start.tensors)
            for stage in self.stages:
                if done is not None and done >= stage.segment.last:
                    continue
                apply_freeze(self.model, stage.plan, self.network.table, stage.prefix.disabled_dropout)
                within = position is not None or (done is not None and done >= stage.segment.first)
                optimizer = kept["optimizer"] if within and kept is not None else None
                self._train(stage, done, optimizer, None if position is None else Position(**position))
                if writer.rows and "final" in writer.rows[-1]:
                    return
                done, kept, position = stage.segment.last, None, None

    def _record(self, facts: Mapping[str, Any], base: str) -> RunRecord:
        spec, split, state = self.spec, self.split, self.model.state_dict()
        moving = self.network.changing
        return RunRecord(
            id=spec.id(split.name),
            label=spec.label,
            classes=len(split.pool.classes),
            class_names=split.pool.classes,
            n_train=sum(len(images) for name, images in self.images.items() if name != "test"),
            n_test=len(self.images["test"]),
            per_class=spec.per_class,
            seed=spec.seed,
            base=base,
            start=self.network.start.given_digests(),
            keys=tuple(state),
            changing=moving,
            new=self.network.start.new,
            frozen=self.network.start.digest(frozenset(state) - frozenset(moving)),
            table=self.network.table,
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

        def loop(training: Cut | None, judging: Cut | None) -> Loop:
            at = {"train": training, "test": judging, "validation": judging}
            frozen = self.writer.record.frozen
            feeds: dict[str, Any] = {
                f"{name}_feed": self.network.feed(at[name], images, recipe, self.features, frozen)
                for name, images in self.images.items()
            }
            return Loop(
                self.model, stage.plan, recipe, spec.inputs, self.images["train"], self.images["test"], seed=spec.seed,
                on_epoch=self._commit, on_batch=self.watcher.batch, on_stop=self._keep, segment=segment, stop=self.stop,
                l2sp=self.network.l2sp(segment), **feeds,
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
            self.loop = shown
            if optimizer is not None:
                self._restore(shown.optimizer, optimizer)
            shown.run(done, position)
        except Diverged as error:
            self.writer.give_up(self.model.state_dict(), str(error))
            raise

    def _restore(self, optimizer: torch.optim.Optimizer, kept: Mapping[str, Any]) -> None:
        """The optimizer as it was left. It would bring its own rates along: they are to be those of now."""
        now, before = ([[g[k] for k in ("keys", "base", "weight_decay")] for g in groups]
                       for groups in (optimizer.param_groups, kept["param_groups"]))  # fmt: skip
        if now != before:
            raise BadInput(
                f"{self.writer.run.path}: begun with other rates or weight decay of its tensors than this wdiv gives "
                "them; give another --out, or delete it to start it again"
            )
        optimizer.load_state_dict(dict(kept))

    def _commit(self, row: dict[str, Any], optimizer: torch.optim.Optimizer, logits: Mapping[str, np.ndarray]) -> bool:
        """Save an epoch. True if the run ends with it, before its time."""
        recipe, first, best = self.spec.recipe, self.stages[-1].segment.first, None
        if recipe.patience:  # only the last phase can stop early
            rows = [*self.writer.rows, row]
            best, final = best_epoch(rows, first), final_epoch(rows, first, recipe.epochs, recipe.patience)
            row = row if final is None else row | {"final": final}
        if row["epoch"] == (best if recipe.patience else recipe.epochs):  # it counts, as things stand
            row = row | self._fitted()
        state = self.model.state_dict()
        self.running_metrics.append(int(row["epoch"]), state)
        given = {part: Logits(self.asked[part], values) for part, values in logits.items()}
        self.writer.commit(state, row, {"optimizer": optimizer.state_dict()}, given, best)
        self.watcher.epoch(row | {"n_test": len(self.images["test"])})
        return "final" in row

    def _fitted(self) -> dict[str, float]:
        """What a history row says of how far the run has learned the images that it trains on."""
        counts = np.bincount(self.images["train"].labels.cpu().numpy())
        return {
            "fitted_accuracy": self.loop.fitted_accuracy(),
            "n_fitted": int(counts.sum()),
            "fitted_majority": float(counts.max() / counts.sum()),
        }

    def _keep(self, position: Position, optimizer: torch.optim.Optimizer) -> None:
        state = self.model.state_dict()
        now = {key: state[key].detach().cpu().clone() for key in self.writer.record.changing}
        self.writer.keep(state, {"optimizer": optimizer.state_dict(), "position": position.to_json(), "state": now})


def _list_images(out: Path, part: OnDevice) -> str:
    """Keep in the store which images those are. Returns the list's digest."""
    names = tuple(part.images.names[row] for row in part.rows)
    return write_images(out, names, part.images.labels[part.rows], part.rows)


def _versions(device: str) -> dict[str, str]:
    from importlib.metadata import version

    import torch

    names = ("wdiv", "torch", "torchvision", "numpy", "safetensors")
    here = {"python": platform.python_version(), "device": device, "threads": str(torch.get_num_threads())}
    return {name: version(name) for name in names} | here
