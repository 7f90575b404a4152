"""What a change of outputs costs. ``python -m benchmarks.outputs``

ResNet-18 and ResNet-50 with random weights, 64 random images of 224 pixels. Inputs are captured once a start; after
that a checkpoint costs what is timed here, beside one forward pass of the images, beside ``relative_l2`` of the same
weights, and beside brute force: a pass of the start network in which hooks run each layer with its parameters of now.
MB is the peak of the process. The checkpoint is the start with every number moved by a hundredth.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import numpy as np

from benchmarks.process import alone, best, peak, timed

COUNT, SIZE, BATCH, ROUNDS = 64, 224, 16, 3
NETWORKS = ("resnet18", "resnet50")


def compare() -> list[dict[str, Any]]:
    """One row a network and rival."""
    rows = []
    for name in NETWORKS:
        ours, hooks = (alone("benchmarks.outputs", side, name) for side in ("ours", "hooks"))
        once = f"captured once a start: {ours['capture']:.0f} s, {ours['kept']:.0f} MB kept"
        off = f"they differ by {abs(ours['value'] / hooks['value'] - 1):.0e} at most, in the mean over layers"
        rivals = {"brute force, hooks": hooks["hooks"], "a forward pass": ours["forward"], "relative_l2": ours["l2"]}
        remarks = dict(zip(rivals, (off, once, ""), strict=True))
        rows += [
            {"work": f"output_change of a checkpoint, {name}, {COUNT} images, {SIZE} px", "ours_s": ours["seconds"],
             "ours_MB": ours["MB"], "theirs": rival, "theirs_s": seconds, "ratio": seconds / ours["seconds"],
             "theirs_MB": hooks["MB"] if rival.startswith("brute") else None, "remark": remarks[rival]}
            for rival, seconds in rivals.items()
        ]  # fmt: skip
    return rows


def measure(side: str, name: str) -> dict[str, Any]:
    import torch
    from torchvision import models

    torch.manual_seed(0)
    start, now = (models.get_model(name).eval() for _ in range(2))
    with torch.no_grad():
        for (key, a), b in zip(start.state_dict().items(), now.state_dict().values(), strict=True):
            b.copy_(a)
            if a.is_floating_point() and not key.endswith(("running_mean", "running_var")):
                b.add_(0.01 * a.abs().mean() * torch.randn_like(a))
    images = torch.randn(COUNT, 3, SIZE, SIZE)
    with torch.no_grad():
        start(images[:2])  # what PyTorch sets up once is nobody's cost
        return (_ours if side == "ours" else _hooks)(start, now, images)


def _ours(start: Any, now: Any, images: Any) -> dict[str, Any]:
    import wdiv
    from wdiv.layers import ROLES
    from wdiv.metrics.outputs import output_change
    from wdiv.outputs.capture import capture
    from wdiv.store.probe import layer_kind

    names = {name: kind for name, module in start.named_modules() if (kind := layer_kind(module))}
    inputs: dict[str, Any] = {}
    captured = timed(lambda: inputs.update(capture(start, images.split(BATCH), names)))
    a, b = ({key: value.numpy() for key, value in side.state_dict().items()} for side in (start, now))
    own = {
        name: {role: key for role in ("weight", "bias", "gamma", "beta") if role in ROLES[kind]
               and (key := f"{name}.{ROLES[kind][role]}") in a}
        for name, kind in names.items()
    }  # fmt: skip

    def rows_of(name: str, state: dict[str, np.ndarray]) -> np.ndarray:
        return np.asarray(inputs[name].rows({role: state[key] for role, key in own[name].items()}))

    rows = {name: rows_of(name, a) for name in names}
    starts = {name: inputs[name].energy(rows[name]).sum() for name in names}

    def change() -> float:
        moved = {name: inputs[name].energy(rows_of(name, b) - rows[name]).sum() for name in names}
        return float(np.mean([output_change(moved[name], starts[name]) for name in names]))

    value = change()
    kept = sum(one.nbytes for one in inputs.values()) / 1e6
    return {
        "seconds": best(change, ROUNDS), "capture": captured, "kept": kept, "value": value, "MB": peak(),
        "forward": best(lambda: [start(batch) for batch in images.split(BATCH)], ROUNDS),
        "l2": best(lambda: wdiv.diff(a, b, "relative_l2"), ROUNDS),
    }  # fmt: skip


def _hooks(start: Any, now: Any, images: Any) -> dict[str, Any]:
    from wdiv.store.probe import layer_kind

    theirs, sums = dict(now.named_modules()), dict[str, np.ndarray]()

    def watch(name: str, _module: Any, given: Any, output: Any) -> None:
        moved = theirs[name](given[0]) - output
        found = np.array([float(one.double().square().sum()) for one in (moved, output)])
        sums[name] = sums.get(name, 0.0) + found

    for name, module in start.named_modules():
        if layer_kind(module):
            module.register_forward_hook(partial(watch, name))

    def change() -> float:
        sums.clear()
        for batch in images.split(BATCH):
            start(batch)
        return float(np.mean([np.sqrt(moved / before) for moved, before in sums.values()]))

    value = change()
    return {"hooks": best(change, ROUNDS), "value": value, "MB": peak()}


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:]) if sys.argv[1:] else compare()))  # noqa: T201
