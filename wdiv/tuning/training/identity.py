"""A run is its weights, its images and what trains in it, and not what these are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wdiv.errors import BadInput, BadStore
from wdiv.store.reader import CheckpointStore, Run
from wdiv.store.writer import check_same

__all__ = ["check_identity"]


def check_identity(
    store: CheckpointStore, run: Run, label: str, facts: Mapping[str, Any], base: str | None,
    changing: Sequence[str] | None = None,
) -> None:  # fmt: skip
    """Raise :class:`~wdiv.errors.BadInput` if the run that is there was made in another way, or if another run of the
    store has other images, or other weights, by the names of this one's.

    facts     :meth:`~wdiv.tuning.training.run_spec.RunSpec.facts` of the run
    base      SHA-256 of its starting weights, as ``run.json`` has it; None of random ones, which its seed draws
    changing  the tensors that it may change; None where they are not known yet
    """
    if (run.path / "run.json").exists():
        more = {"base": base, "changing": None if changing is None else tuple(changing)}
        check_same(run, {**facts, **{name: value for name, value in more.items() if value is not None}})
    for other in store.folders():
        try:
            record = other.record
        except BadStore:  # whoever reads the store names it
            continue
        alike = {
            "images": (record.dataset == facts["dataset"], record.data_digest, facts["data_digest"], record.dataset),
            "weights": ((record.source, record.label) == (facts["source"], label), record.base, base, record.source),
        }
        for what, (same_name, theirs, ours, name) in alike.items():
            if same_name and theirs and ours and theirs != ours:
                raise BadInput(
                    f"{store.path}: {other.path.name} is of other {what} called {name!r} "
                    f"(SHA-256 {theirs[:12]}…, now {ours[:12]}…); give another --out"
                )
