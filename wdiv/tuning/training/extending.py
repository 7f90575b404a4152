"""More epochs for a run that is over: where it goes on as the longer run would have, and where it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wdiv.errors import BadInput
from wdiv.store.keep import EXTEND
from wdiv.store.reader import Run
from wdiv.tuning.strategy.segments import phase_lengths
from wdiv.tuning.training.early_stopping import final_epoch
from wdiv.tuning.training.recipe import Recipe
from wdiv.tuning.training.run_spec import RunSpec

__all__ = ["check_extension", "is_longer", "stays_stopped"]


def is_longer(run: Run, spec: RunSpec) -> bool:
    """True if a run that is there is asked for more epochs than it was made for."""
    return (run.path / "run.json").exists() and run.record.recipe.get("epochs", 0) < spec.recipe.epochs


def check_extension(run: Run, spec: RunSpec) -> None:
    """Raise :class:`~wdiv.errors.BadInput` where a run that :func:`is_longer` would not be the run that was asked for
    so many epochs from its start."""
    before, now = int(run.record.recipe["epochs"]), spec.recipe.epochs
    why = _other_steps(spec, before)
    if not why and run.finished and not (run.path / EXTEND).exists() and not _has_no_state(spec.recipe):
        why = "what more epochs would go on from is kept with keep 'all' or 'resume' alone"
    if why:
        raise BadInput(f"{run.path}: made for epochs {before}, now {now}: {why}; give another --out to train it anew")


def _other_steps(spec: RunSpec, before: int) -> str:
    """Why the first ``before`` epochs of the longer run are other epochs; empty where they are the same."""
    recipe, phases = spec.recipe, spec.parsed.phases
    if recipe.schedule != "constant":
        return f"schedule {recipe.schedule!r} is spread over all epochs, so that the first would have had other rates"
    short, long = (phase_lengths(spec.parsed, epochs) for epochs in (before, recipe.epochs))
    if short[:-1] != long[:-1]:
        return "its phases are shares of the epochs, and would have been longer; a number of epochs each would not"
    if short[-1] == long[-1] or phases[-1].has("gradual"):
        return "what its last phase trains is spread over its epochs"
    if recipe.warmup >= short[-1]:
        return f"its warm-up of {recipe.warmup:g} epochs was cut short by its end"
    return ""


def _has_no_state(recipe: Recipe) -> bool:
    """True of plain gradient descent, which goes on from the weights alone."""
    return recipe.optimizer == "sgd" and not recipe.momentum


def stays_stopped(rows: Sequence[Mapping[str, Any]], spec: RunSpec) -> bool:
    """True if a history is at its end however many epochs there might be: patience was at its own."""
    if not spec.recipe.patience:
        return False
    first = sum(phase_lengths(spec.parsed, spec.recipe.epochs)[:-1]) + 1
    return final_epoch(rows, first, spec.recipe.epochs, spec.recipe.patience) is not None
