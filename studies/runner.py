"""Running a study: resolve it into runs, train what is missing, measure the whole."""

from __future__ import annotations

import itertools
import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studies.progress import Progress
from studies.study import Pretrain, Study
from wdiv.errors import BadInput
from wdiv.store.files import read_json, write_json
from wdiv.tuning import sources
from wdiv.tuning.datasets import open_split
from wdiv.tuning.freeze import make_plan
from wdiv.tuning.images import Split, nested_subset
from wdiv.tuning.loop import Diverged, check_batches
from wdiv.tuning.models import ModelSpec, build_skeleton, head_layers, layer_table
from wdiv.tuning.run import RunSpec, choose_device, fine_tune

__all__ = ["Grid", "Planned", "describe", "plan", "run"]

FREE = ("metrics", "reference", "title", "source")
"""Fields of a study that may change from one time to the next."""
PATHS = ("data", "weights")
"""Fields that are told by their last part: a folder looks different from another folder, and runs check its content."""
AXES = ("models", "per_class", "strategies", "bn_modes", "seeds")


@dataclass(frozen=True)
class Planned:
    """One run to be: how many images it sees, and what its epochs will take on disk."""

    spec: RunSpec
    id: str
    n_train: int
    bytes: int


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
    split = open_split(
        study.data, size.pop(), test_count=study.test_count, test_fraction=study.test_fraction,
        split_seed=study.split_seed, skip_bad=study.skip_bad_images,
    )  # fmt: skip
    if study.pretrain is not None:
        plan(_source_study(study))
    runs: list[Planned] = []
    for _, group in itertools.groupby(specs, key=lambda spec: id(spec.source)):  # one network each
        runs += _plan_runs(list(group), split)
    copies = split.duplicates()
    notes = (f"{split.name}: {copies} test images are, pixel for pixel, also training images",) if copies else ()
    return Grid(study, split, tuple(runs), (*split.notes, *notes))


def _specs(study: Study) -> Iterator[RunSpec]:
    found = _sources(study)
    for source, size, strategy, mode, seed in itertools.product(
        found, study.per_class, study.strategies, study.bn_modes, study.seeds
    ):
        assert source.model is not None
        yield RunSpec(source.model, source, size, strategy, mode, seed, study.recipe, study.image_size)


def _sources(study: Study) -> list[sources.Source]:
    """One source a model, each with the model it is for."""
    models = [ModelSpec.parse(text) for text in study.models]
    if study.pretrain is not None:
        own = replace(sources.resolve("random"), model=ModelSpec.parse(study.pretrain.model))
        own = replace(own, name=_pretrained_name(study.pretrain))
    elif sources.names_model(study.weights):
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


def _pretrained_name(how: Pretrain) -> str:
    return f"{how.data} ({ModelSpec.parse(how.model).label})"


def _plan_runs(specs: list[RunSpec], split: Split) -> Iterator[Planned]:
    """The runs of one source, whose network is looked at once."""
    name, source, classes = specs[0].model, specs[0].source, len(split.pool.classes)
    model, table = build_skeleton(name, classes), layer_table(name, classes, specs[0].inputs.size)
    if source.here and any(spec.start != "random" for spec in specs):
        sources.check_fits(model, source.read(), name, source.name)
    sizes = {key: value.numel() * value.element_size() for key, value in model.state_dict().items()}
    for spec in specs:
        images = nested_subset(split.pool, spec.per_class, spec.seed)
        made = make_plan(model, table, head_layers(name), spec.parsed, spec.bn_mode)
        check_batches(made, spec.recipe, len(images))
        each = sum(sizes[key] for key in made.changing)
        yield Planned(spec, spec.id(split.name), len(images), each * spec.recipe.epochs)


def run(study: Study, out: Path, *, device: str = "auto", progress: Progress | None = None) -> tuple[Path, list[str]]:
    """Train the study's grid into the store at ``out``; what is finished is left, what was stopped goes on.

    Returns the folder and a line for each run whose loss diverged; the others go on regardless.
    """
    progress = progress or Progress(quiet=True)
    choose_device(device)
    grid = plan(study)
    for planned in grid.runs:
        planned.spec.source.fetch()
    _write_study(grid, out)
    for note in grid.notes:
        progress.say(f"note: {note}")
    trained = None if study.pretrain is None else _pretrain(study, out, device, progress)
    diverged = []
    with progress.grid([planned.id for planned in grid.runs]):
        for planned in grid.runs:
            spec = planned.spec if trained is None else replace(planned.spec, source=trained)
            with progress.run(planned.id, study.epochs) as watcher:
                try:
                    fine_tune(spec, grid.split, out, device=device, watcher=watcher)
                except Diverged as error:
                    diverged.append(f"{planned.id}: {error}")
                    progress.say(f"stopped: {diverged[-1]}")
    return out, diverged


def _pretrain(study: Study, out: Path, device: str, progress: Progress) -> sources.Source:
    """Train the study's source network, in a store of its own, and return it as a source."""
    assert study.pretrain is not None
    source, folder = _source_study(study), out / "source"
    run(source, folder, device=device, progress=progress)
    (planned,) = plan(source).runs
    found = sources.resolve(f"{folder / 'runs' / planned.id}@last")
    return replace(found, name=_pretrained_name(study.pretrain))


def _source_study(study: Study) -> Study:
    """The study of one run that trains another study's source network."""
    assert study.pretrain is not None
    how = study.pretrain
    return Study(
        f"{study.name}-source", models=(how.model,), weights="random", data=how.data, per_class=(None,),
        strategies=(f"scratch={how.rate}",), epochs=how.epochs, batch_size=how.batch_size,
        image_size=study.image_size, split_seed=study.split_seed,
    )  # fmt: skip


def _write_study(grid: Grid, out: Path) -> None:
    """``study.json``: the resolved study. Axes grow when a study is run again; all else must stay."""
    file = out / "study.json"
    new = grid.study.to_json()
    planned = [planned.id for planned in grid.runs]
    if file.exists():
        old = read_json(file)
        fixed = [k for k in new if k not in AXES and k not in FREE]
        changed = [k for k in fixed if _told(k, old["study"].get(k)) != _told(k, new[k])]
        if changed:
            what = ", ".join(f"{k} {old['study'].get(k)!r}, now {new[k]!r}" for k in changed)
            raise BadInput(f"{out}: holds this study with {what}; give another --out")
        for axis in AXES:
            new[axis] = list(dict.fromkeys([*old["study"][axis], *new[axis]]))
        planned = list(dict.fromkeys([*old["runs"], *planned]))
    host = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    write_json(file, {"study": new, "runs": planned, "notes": list(grid.notes), "host": host})


def _told(field: str, value: Any) -> Any:
    return Path(value).name if field in PATHS and isinstance(value, str) else value


def describe(grid: Grid) -> dict[str, Any]:
    """What a run of the study would do, as plain data."""
    return {
        "study": grid.study.name,
        "data": grid.split.name,
        "classes": list(grid.split.pool.classes),
        "train_images": len(grid.split.pool),
        "test_images": len(grid.split.test),
        "image_size": grid.runs[0].spec.inputs.size,
        "epochs": grid.study.epochs,
        "runs": [{"run": p.id, "n_train": p.n_train, "bytes": p.bytes} for p in grid.runs],
        "steps": sum(math.ceil(p.n_train / grid.study.batch_size) for p in grid.runs) * grid.study.epochs,
        "bytes": sum(p.bytes for p in grid.runs),
        "notes": list(grid.notes),
    }
