"""A run is its weights, its images and what trains in it, and not what these are called."""

from __future__ import annotations

from collections.abc import Sequence

from wdiv.errors import BadInput
from wdiv.store.names import Names, conflicts, taken
from wdiv.store.reader import CheckpointStore, Run
from wdiv.store.writer import check_same
from wdiv.tuning.data.images import Split
from wdiv.tuning.training.extending import check_extension, is_longer
from wdiv.tuning.training.run_spec import RunSpec

__all__ = ["check_identity"]


def check_identity(
    store: CheckpointStore, spec: RunSpec, split: Split, base: str | None, changing: Sequence[str] | None = None,
    known: Names | None = None, extend: bool = False,
) -> None:  # fmt: skip
    """Raise :class:`~wdiv.errors.BadInput` if the run that is there was made in another way, or if another run of the
    store has other images, other weights or another recipe by the names of this one's.

    base      SHA-256 of its starting weights, as ``run.json`` has it; None of random ones, which its seed draws
    changing  the tensors that it may change; None where they are not known yet
    known     what the store's runs go by, where that is at hand
    extend    fewer epochs are no other recipe: the run that is there, and those beside it, may be given more
    """
    run, facts = Run(store.path / "runs" / spec.id(split.name)), spec.facts(split)
    if extend and is_longer(run, spec):
        check_extension(run, spec)
        facts |= {"recipe": {**facts["recipe"], "epochs": run.record.recipe["epochs"]}}
    more = {"base": base, "changing": None if changing is None else tuple(changing)}
    ours = {**facts, **more, "label": spec.label, "per_class": spec.per_class}
    for what, name, other, how in conflicts(
        ours, taken(store.folders()) if known is None else known, epochs=not extend
    ):
        if other != run.path.name:
            raise BadInput(f"{store.path}: {other} is of other {what} called {name!r} ({how}); give another --out")
    if (run.path / "run.json").exists():
        check_same(run, {**facts, **{name: value for name, value in more.items() if value is not None}})
