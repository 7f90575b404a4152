"""An epoch as one ordinary file."""

from __future__ import annotations

import json
from pathlib import Path

from wdiv.errors import BadInput
from wdiv.store.files import write_atomically
from wdiv.store.reader import find_run

__all__ = ["export"]


def export(run: str | Path, epoch: int | str, out: str | Path) -> Path:
    """Write the full state dict of a run after an epoch (a number, ``last`` or ``best``) as safetensors.

    torchvision loads it strictly into the model named in the file's metadata, with as many classes. The metadata
    also says what a state dict cannot: BatchNorm epsilon, input normalisation, class names.
    """
    from safetensors.numpy import save

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
    metadata = {
        "model": record.model,
        "model_args": json.dumps(dict(record.model_args)),
        "bn_eps": json.dumps(record.bn_eps),
        "classes": json.dumps(record.class_names),
        "input": json.dumps(dict(record.input)),
        "run": record.id,
        "epoch": str(number),
    }
    content = save(state, metadata)
    return write_atomically(out, lambda temporary: temporary.write_bytes(content))
