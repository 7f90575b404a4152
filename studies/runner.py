"""Running a study: resolve it into runs, train what is missing, measure the whole."""

from __future__ import annotations

import itertools
import math
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from baselines import trials
from baselines.features import label_of
from studies.jobs import side_by_side
from studies.progress import Progress
from studies.stored import STUDY, merged, told
from studies.study import Pretrain, Study
from wdiv.errors import BadInput
from wdiv.layers import LayerTable
from wdiv.registry import did_you_mean
from wdiv.store.files import write_json
from wdiv.store.reader import Run
from wdiv.store.writer import is_being_written
from wdiv.tuning import precision, sources
from wdiv.tuning.cost import estimate
from wdiv.tuning.datasets import open_split
from wdiv.tuning.features import FeatureStore
from wdiv.tuning.freeze import Plan, changing, make_plan
from wdiv.tuning.images import Split
from wdiv.tuning.loop import Diverged, check_batches
from wdiv.tuning.models import ModelSpec, build_skeleton, head_layers, layer_table
from wdiv.tuning.run import RunSpec, choose_device, fine_tune
from wdiv.tuning.spelling import parse
from wdiv.tuning.stopping import Stop, Stopped, asked_by_signals
from wdiv.tuning.stretches import stretches

__all__ = ["Grid", "Planned", "describe", "open_data", "plan", "run", "source_study", "sources_of", "trained_sources"]


@dataclass(frozen=True)
class Planned:
    """One run to be: how many images it sees, what its epochs will take on disk, and how many images it trains on."""

    spec: RunSpec
    id: str
    n_train: int
    bytes: int
    n_step: int

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.spec.recipe.steps_per_epoch or math.ceil(self.n_step / self.spec.recipe.batch_size)


@dataclass(frozen=True)
class Grid:
    """A study, resolved against its data and its weights."""

    study: Study
    split: Split
    runs: tuple[Planned, ...]
    notes: tuple[str, ...]


def plan(study: Study) -> Grid:
    """Resolve everything that can be wrong before the first step is taken; trains and writes nothing.

    Raises any of wdiv's errors: unknown names, missing data, too few images, weights for another network.
    """
    if study.data is None:
        raise BadInput(
            f"study {study.name!r} brings no images; give --data FOLDER, or a name from 'wdiv list datasets'"
        )
    specs = [*_specs(study)]
    size = {spec.inputs.size for spec in specs}
    if len(size) > 1:
        raise BadInput(f"the weights want images of {sorted(size)} pixels; give one --image-size for all")
    split = open_data(study, size.pop())
    if study.pretrain is not None:
        plan(source_study(study))
    runs: list[Planned] = []
    for _, group in itertools.groupby(specs, key=lambda spec: id(spec.source)):  # one network each
        runs += _plan_runs(list(group), split)
    _check_reference(study, [planned.id for planned in runs])
    for source in _networks(specs):
        trials.check(source, _trials(study), split.pool.pixels.shape[-1])
    copies = split.duplicates()
    notes = (f"{split.name}: {copies} test images are, pixel for pixel, also training images",) if copies else ()
    return Grid(study, split, tuple(runs), (*split.notes, *notes))


def _check_reference(study: Study, runs: Sequence[str]) -> None:
    """What cannot be measured against when all is trained is an error before."""
    text = str(study.reference)
    if text.isdecimal():
        if int(text) > study.epochs:
            raise BadInput(f"reference {text}: an epoch from 0 to {study.epochs}")
    elif text not in ("pretrained", "previous", *runs):
        known = did_you_mean(text, ["pretrained", "previous", *runs])
        raise BadInput(f"reference {text!r}: an epoch number, or {known}")


def open_data(study: Study, size: int) -> Split:
    """The study's images at a size in pixels, split."""
    assert study.data is not None
    found = open_split(
        study.data, size, test_count=study.test_count, test_fraction=study.test_fraction,
        split_seed=study.split_seed, skip_bad=study.skip_bad_images,
    )  # fmt: skip
    return found if study.classes is None else found.first_classes(study.classes)


def _specs(study: Study) -> Iterator[RunSpec]:
    found = sources_of(study)
    for source, size, strategy, mode, seed in itertools.product(
        found, study.per_class, study.strategies, study.bn_modes, study.seeds
    ):
        assert source.model is not None
        if mode == "frozen" and parse(strategy).random and len(study.bn_modes) > 1:
            continue  # statistics of no network at all, never updated: the other modes say what scratch can do
        model = source.model if study.head is None else source.model.but(head=study.head)
        yield RunSpec(model, source, size, strategy, mode, seed, study.recipe, study.image_size)


def sources_of(study: Study) -> list[sources.Source]:
    """One source a model, each with the model it is for.

    Raises :class:`~wdiv.errors.BadInput` for weights that are for another model or for no known one.
    """
    models = [ModelSpec.parse(text) for text in study.models]
    if study.pretrain is not None:
        if not models:
            raise BadInput(f"study {study.name!r} trains its own source networks; give --model")
        none = sources.resolve("random")
        return [replace(none, model=model, name=_pretrained_name(study.pretrain, model)) for model in models]
    if sources.names_model(study.weights):
        own = sources.resolve(study.weights)
    elif models:
        return [replace(sources.resolve(study.weights, model), model=model) for model in models]
    else:
        raise BadInput(f"weights {study.weights!r} do not say which network they are for; give --model")
    assert own.model is not None
    other = next((model for model in models if (model.name, model.args) != (own.model.name, own.model.args)), None)
    if other is not None:
        raise BadInput(f"weights {study.weights!r} are for {own.model.label}, and cannot start a {other.label}")
    return [own]


def _pretrained_name(how: Pretrain, model: ModelSpec) -> str:
    return f"{how.title} ({model.label})"


def _plan_runs(specs: list[RunSpec], split: Split) -> Iterator[Planned]:
    """The runs of one source, whose networks are looked at once each."""
    source, classes = specs[0].source, len(split.pool.classes)
    weights = source.read() if source.here and any(spec.start != "random" for spec in specs) else None
    looks: dict[str, _Look] = {}
    for spec in specs:
        if spec.network.label not in looks:
            look = looks[spec.network.label] = _Look.at(spec.network, classes, spec.inputs.size)
            if weights is not None:
                sources.check_fits(look.model, weights, spec.network, source.name)
        each = looks[spec.network.label].bytes_per_epoch(spec)
        train, validation = spec.rows(split.pool)
        looks[spec.network.label].check(spec, len(train))
        images = len(train) + len(validation)
        yield Planned(spec, spec.id(split.name), images, each * spec.recipe.epochs, len(train))


@dataclass(frozen=True, eq=False)
class _Look:
    """A network without numbers, and what its layers are."""

    model: Any
    table: LayerTable
    head: frozenset[str]

    @classmethod
    def at(cls, network: ModelSpec, classes: int, size: int) -> _Look:
        return cls(build_skeleton(network, classes), layer_table(network, classes, size), head_layers(network))

    def _plans(self, spec: RunSpec) -> list[Plan]:
        spec.parsed.check(self.table, self.head, spec.network.label)
        parts = stretches(spec.parsed, self.table, self.head, spec.recipe.epochs)
        return [make_plan(self.model, self.table, self.head, part, spec.bn_mode) for part in parts]

    def check(self, spec: RunSpec, images: int) -> None:
        for plan in self._plans(spec):
            check_batches(plan, spec.recipe, images)

    def bytes_per_epoch(self, spec: RunSpec) -> int:
        state = self.model.state_dict()
        return sum(state[key].numel() * state[key].element_size() for key in changing(self._plans(spec), state))


def run(
    study: Study, out: Path, *, device: str = "auto", progress: Progress | None = None, jobs: int = 1,
    source_store: Path | None = None, grid: Grid | None = None,
) -> tuple[Path, list[str]]:  # fmt: skip
    """Train the study's grid into the store at ``out``; what is finished is left, what was stopped goes on.

    Its baselines follow, on the same images. Conditions are not looked at: :mod:`studies.whole` does.

    jobs          runs that train side by side, each in a process of its own
    source_store  where the study's own source networks are trained; by default ``source`` beneath ``out``
    grid          what :func:`plan` made of the study, where that is at hand: its images need not be read again

    Returns the folder and a line for each run whose loss diverged; the others go on regardless. SIGINT and SIGTERM
    finish the step, save it, and raise :class:`~wdiv.tuning.stopping.Stopped`.
    """
    progress = progress or Progress(quiet=True)
    precision.check(study.precision, choose_device(device).type)
    grid = grid or plan(study)
    for planned in grid.runs:
        planned.spec.source.fetch()
    write_json(out / STUDY, _resolved(grid, out))
    for note in grid.notes:
        progress.say(f"note: {note}")
    trained = {} if study.pretrain is None else _pretrain(study, source_store or out / "source", device, progress)
    specs = [replace(p.spec, source=trained.get(p.spec.source.name, p.spec.source)) for p in grid.runs]
    names = [planned.id for planned in grid.runs]
    with asked_by_signals() as stop, progress.grid(names):
        train = _one_by_one if jobs == 1 else partial(side_by_side, jobs=jobs)
        diverged = train(specs, names, grid.split, out, device, progress, stop)
        _baselines(study, specs, grid.split, out, device, progress, stop)
    if not any(is_being_written(Run(path)) for path in (out / "runs").iterdir()):  # by another process
        shutil.rmtree(out / "features", ignore_errors=True)  # what did not fit in memory
    return out, diverged


def _one_by_one(
    specs: Sequence[RunSpec], names: Sequence[str], split: Split, out: Path, device: str, progress: Progress,
    stop: Stop,
) -> list[str]:  # fmt: skip
    features, diverged = FeatureStore(out / "features"), []
    for spec, name in zip(specs, names, strict=True):
        if stop.signum is not None:
            raise Stopped(f"stopped before {name}", stop.signum)
        try:
            with progress.run(name, spec.recipe.epochs) as watcher:
                fine_tune(spec, split, out, device=device, watcher=watcher, features=features, stop=stop)
        except Diverged as error:
            diverged.append(f"{name}: {error}")
            progress.say(f"stopped: {diverged[-1]}")
        except Stopped as error:
            raise Stopped(f"{name}: {error}", error.signum) from None
    return diverged


def _baselines(
    study: Study, specs: Sequence[RunSpec], split: Split, out: Path, device: str, progress: Progress, stop: Stop
) -> None:
    """The study's baselines on each source that is kept nowhere yet."""
    wanted = _trials(study)
    kept = {outcome.id for outcome in trials.load(out) if outcome.data_digest == split.digest} if wanted else set()
    store = FeatureStore(out / "features")
    for source in _networks(specs):
        missing = [trial for trial in wanted if trial.id(source, split) not in kept]
        for outcome in trials.run(source, split, missing, device=device, store=store) if missing else ():
            trials.save(outcome, out)
            progress.say(f"{outcome.id}: test {100 * outcome.accuracy:.1f} %, {outcome.seconds:.1f} s")
            if stop.signum is not None:
                raise Stopped(f"stopped after {outcome.id}", stop.signum)


def _trials(study: Study) -> list[trials.Trial]:
    return [
        trials.Trial.named(name, size, seed)
        for size, name, seed in itertools.product(study.per_class, study.baselines, study.seeds)
    ]


def _networks(specs: Sequence[RunSpec]) -> list[sources.Source]:
    """The sources of some runs, each once: several networks may start from weights of one name, such as ``random``."""
    return list({(spec.source.name, label_of(spec.source)): spec.source for spec in specs}.values())


def _pretrain(study: Study, folder: Path, device: str, progress: Progress) -> dict[str, sources.Source]:
    """Train the study's source networks, in a store of their own, and return them as sources by name."""
    assert study.pretrain is not None
    source = source_study(study)
    _, diverged = run(source, folder, device=device, progress=progress)
    if diverged:
        raise Diverged(f"the source network: {diverged[0]}")
    return trained_sources(study, folder)


def trained_sources(study: Study, folder: Path) -> dict[str, sources.Source]:
    """The source networks that a study with ``pretrain`` has trained into a folder, by the names they have in tables.

    Raises :class:`~wdiv.errors.WdivError` where one is not there.
    """
    assert study.pretrain is not None
    found = {}
    for planned in plan(source_study(study)).runs:
        name = _pretrained_name(study.pretrain, planned.spec.model)
        found[name] = replace(sources.resolve(f"{folder / 'runs' / planned.id}@last"), name=name)
    return found


def source_study(study: Study) -> Study:
    """The study that trains another study's source networks, one run each."""
    assert study.pretrain is not None
    how = study.pretrain
    return Study(
        f"{study.name}-source", models=study.models, weights="random", data=how.data, classes=how.classes,
        per_class=(how.per_class,), strategies=(f"scratch={how.rate}",), epochs=how.epochs,
        batch_size=how.batch_size, steps_per_epoch=how.steps_per_epoch, image_size=study.image_size,
        split_seed=study.split_seed,
    )  # fmt: skip


def _resolved(grid: Grid, out: Path) -> dict[str, Any]:
    """What ``study.json`` shall say. Axes grow when a study is run again; all else must stay."""
    planned = list(dict.fromkeys([*told(out)["runs"], *(planned.id for planned in grid.runs)]))
    host = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    return {"study": merged(grid.study, out), "runs": planned, "notes": list(grid.notes), "host": host}


def describe(grid: Grid, out: Path, device: str = "auto") -> dict[str, Any]:
    """What a run of the study into ``out`` would do, as plain data; the seconds from a short trial on the device.

    Runs that are finished there are left out, and one that was stopped counts as a whole. The training of a study's
    own source network is not in it. Raises :class:`~wdiv.errors.BadInput` where ``out`` holds another study.
    """
    precision.check(grid.study.precision, choose_device(device).type)
    _resolved(grid, out)
    runs = [planned for planned in grid.runs if not Run(out / "runs" / planned.id).finished]
    seconds = estimate([planned.spec for planned in runs], grid.split, device)
    return {
        "study": grid.study.name,
        "data": grid.split.name,
        "classes": list(grid.split.pool.classes),
        "train_images": len(grid.split.pool),
        "test_images": len(grid.split.test),
        "image_size": grid.runs[0].spec.inputs.size,
        "epochs": grid.study.epochs,
        "runs": [
            {"run": p.id, "n_train": p.n_train, "bytes": p.bytes, "seconds": round(s, 1)}
            for p, s in zip(runs, seconds, strict=True)
        ],
        "finished": len(grid.runs) - len(runs),
        "steps": sum(planned.steps for planned in runs) * grid.study.epochs,
        "bytes": sum(p.bytes for p in runs),
        "seconds": round(sum(seconds), 1),
        "notes": list(grid.notes),
    }
