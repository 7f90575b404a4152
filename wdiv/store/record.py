"""What ``run.json`` says of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

from wdiv.errors import BadStore
from wdiv.layers import LayerTable
from wdiv.store import legacy
from wdiv.store.classifier import classified
from wdiv.store.files import check_format
from wdiv.store.seals import SEALED

__all__ = ["FORMAT", "RunRecord"]

FORMAT = 2
"""Of ``run.json`` and all else in a run's folder, which is sealed from format 2 on."""


@dataclass(frozen=True)
class RunRecord:
    """One run: what it was, which tensors it may change, and the proof of those it may not.

    model       torchvision name;  model_args, bn_eps, classes: what else it takes to build it
    label       the architecture's name in tables; runs of one label share a layer table
    table       its layers; those that a wdiv of before called ``fc`` in the trunk read as ``linear``
    source      where the starting weights came from, as given;  ``random`` where there were none
    n_train     training images in all;  class_names: in the order of the head's outputs
    per_class   those drawn of each class; None: all there were, and of an imported run, where it is not known
    recipe      optimizer, epochs, batch size, rates … as trained
    input       what the images are turned into before the first layer
    base        SHA-256 of the starting weights, as a file: the source's tensors that the network has a place for, its
                own head among them; of a run from scratch, the network as it was drawn. Empty of an imported run
    keys        every tensor of the state dict, in order
    changing    those an epoch may change: trainable parameters and the statistics of running layers
    new         those that did not come from the base (a fresh head); they are saved at epoch 0
    frozen      the others: key -> digest of type, shape and bytes
    prefix      of each phase: its first epoch, and whether what is frozen was computed once an image, or why not
    grouping    SHA-256 of which training images are of one group; ``none`` where no groups are known
    small_classes  ``keep``, or ``refuse``: what was done where a class had fewer images than asked for
    fold        of cross-validation, as a :class:`wdiv.tuning.data.folds.Fold`: ``number`` ``of`` how many, in which
                ``repeat``, drawn by which ``seed``; None where there is a test set
    start       each tensor of the base -> its :func:`~wdiv.store.seals.fast_digest` in hexadecimal; empty of format 1
    """

    id: str
    label: str
    model: str
    model_args: Mapping[str, Any]
    bn_eps: float | None
    classes: int
    class_names: tuple[str, ...]
    source: str
    dataset: str
    data_digest: str
    n_train: int
    n_test: int
    strategy: str
    bn_mode: str
    seed: int
    recipe: Mapping[str, Any]
    input: Mapping[str, Any]
    base: str
    keys: tuple[str, ...]
    changing: tuple[str, ...]
    new: tuple[str, ...]
    frozen: Mapping[str, str]
    table: LayerTable
    versions: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[Mapping[str, Any], ...] = ()
    per_class: int | None = None
    grouping: str = "none"
    small_classes: str = "refuse"
    fold: Mapping[str, int] | None = None
    start: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def sealed(self) -> bool:
        """True if all files of the run are."""
        return self.format >= SEALED

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimizer steps of an epoch, where the recipe alone says how many: runs of before have no more than that.

        None of an imported run, and where it also depends on which images were held out, or on whose statistics a
        batch of one image would have been of.
        """
        given, size = self.recipe.get("steps_per_epoch"), self.recipe.get("batch_size")
        if given is not None or size is None or self.recipe.get("validation"):
            return given
        parts = math.ceil(self.n_train / size)
        return parts if parts <= self.n_train // 2 else None

    def to_json(self) -> dict[str, Any]:
        return {"format": self.format} | asdict(self) | {"table": self.table.to_json()}

    def upgraded(self, start: Mapping[str, str]) -> RunRecord:
        """The record of a run of format 1 from now on."""
        return replace(self, start=start, format=FORMAT)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: object) -> RunRecord:
        """The record back; :class:`~wdiv.errors.BadStore` names ``where`` if it is not one."""
        check_format(data, where, FORMAT, oldest=1)
        names = {f.name for f in fields(cls)}
        missing = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING} - data.keys()
        if missing:
            raise BadStore(f"{where}: lacks {', '.join(sorted(missing))}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in names}
        if "per_class" not in data:
            values["per_class"] = legacy.per_class(
                data["id"], *(data[name] for name in ("label", "dataset", "strategy", "bn_mode", "seed"))
            )
        try:
            return cls(**values | {"table": classified(LayerTable.from_json(data["table"]))})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadStore(f"{where}: damaged: not the record of a run ({error!r})") from None
