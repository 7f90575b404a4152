"""An epoch as one ordinary file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wdiv.errors import BadInput
from wdiv.store.files import write_atomically
from wdiv.store.reader import find_run
from wdiv.store.record import RunRecord

__all__ = ["about", "export", "write_state"]


def export(run: str | Path, epoch: int | str, out: str | Path) -> Path:
    """Write the full state dict of a run after an epoch (a number, ``last`` or ``best``) as safetensors.

    torchvision loads it strictly into the model named in the file's metadata, with as many classes. The metadata
    also says what a state dict cannot: BatchNorm epsilon, input normalisation, class names.
    """
    found = find_run(f"{run}@{epoch}")
    if found is None:
        raise BadInput(f"{run}: not a run of a wdiv store; give the folder that holds its run.json")
    source, number = found
    record, out = source.record, Path(out)
    if out.suffix != ".safetensors":
        raise BadInput(f"{out}: the file's name must end in .safetensors")
    state = source.state_dict(number)
    missing = [key for key in record.keys if key not in state]
    if missing:  # somebody's epoch
        raise BadInput(f"{source.path}: epoch {number} lacks {len(missing)} of the run's tensors, first {missing[0]}")
    return write_state(state, about(record, str(number)), out)


def about(record: RunRecord, epoch: str) -> dict[str, str]:
    """What a run's weights do not say themselves, as the metadata of a file: texts and JSON."""
    return {
        "model": record.model,
        "model_args": json.dumps(dict(record.model_args)),
        "bn_eps": json.dumps(record.bn_eps),
        "classes": json.dumps(record.class_names),
        "input": json.dumps(dict(record.input)),
        "run": record.id,
        "epoch": epoch,
    }


def write_state(state: Mapping[str, np.ndarray], metadata: Mapping[str, str], out: Path) -> Path:
    """Write tensors as safetensors, atomically."""
    from safetensors.numpy import save

    content = save(dict(state), dict(metadata))
    return write_atomically(out, lambda temporary: temporary.write_bytes(content))
