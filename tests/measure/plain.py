"""The same numbers, worked out the plain way: files read whole, by their names, with no code of wdiv's."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import xarray as xr
from safetensors.numpy import load_file

from wdiv.measure import Flag

METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "gaussian_kl": lambda a, b: (
        np.log(b.std() / a.std()) + (a.var() + (a.mean() - b.mean()) ** 2) / (2 * b.var()) - 0.5
    ),
    "relative_l2": lambda a, b: np.linalg.norm(a - b) / np.linalg.norm(a),
    "cosine_distance": lambda a, b: 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)),
}
SUFFIX = {"gamma": "weight", "beta": "bias"}
Place = tuple[str, str, str]  # kind, layer, role


class PlainRun:
    """One run of a store, read with json and safetensors alone."""

    def __init__(self, folder: Path) -> None:
        self.facts = json.loads((folder / "run.json").read_text())
        base = load_file(folder.parent.parent / "bases" / f"{self.facts['base']}.safetensors")
        rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        self.epochs = [row["epoch"] for row in rows]
        files = {epoch: load_file(folder / "epochs" / f"{epoch:04d}.safetensors") for epoch in self.epochs}
        self.states = {epoch: base | files[0] | files[epoch] for epoch in self.epochs}
        self.source = {} if self.facts["source"] == "random" else {k: base[k] for k in base if k not in files[0]}

    def has(self, place: Place) -> bool:
        _, layer, role = place
        return any(x["name"] == layer and role in x["roles"] for x in self.facts["table"]["layers"])

    def before(self, epoch: int, reference: str | int, runs: dict[str, PlainRun]) -> dict[str, np.ndarray] | Flag:
        """The state that an epoch is set against, or what is in the way."""
        if reference == "pretrained":
            return self.source
        if reference == "previous":
            return self.states.get(epoch - 1, Flag.FIRST_EPOCH)
        run, at = (runs[reference], epoch) if isinstance(reference, str) else (self, reference)
        return run.states.get(at, Flag.NOT_SAVED)


def runs_of(store: Path) -> dict[str, PlainRun]:
    return {folder.name: PlainRun(folder) for folder in sorted((store / "runs").iterdir())}


def key(place: Place) -> str:
    return f"{place[1]}.{SUFFIX.get(place[2], place[2])}"


def flat(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64).ravel()


def assert_divergence(div: xr.DataTree, store: Path, reference: str | int) -> int:
    """Hold every value and flag of a divergence tree to the files; returns how many values were compared."""
    runs, compared = runs_of(store), 0
    for kind, node in div.children.items():
        flags, values = node["flag"].values, {name: node[name].values for name in METRICS}
        labels = [node[dim].values.tolist() for dim in ("run", "epoch", "layer", "role")]
        for index, here in zip(np.ndindex(flags.shape), product(*labels), strict=True):
            run, epoch, place = runs[here[0]], here[1], (kind, *here[2:])
            before = run.before(epoch, reference, runs)
            if not run.has(place):
                expected: Flag = Flag.ABSENT
            elif epoch not in run.states:
                expected = Flag.NOT_SAVED
            elif isinstance(before, Flag):
                expected = before
            else:
                expected = Flag(0) if key(place) in before else Flag.NO_START
            assert flags[index] == expected, (here, flags[index], expected)
            for name, metric in METRICS.items():
                if expected:
                    assert np.isnan(values[name][index]), (here, name)
                else:
                    assert not isinstance(before, Flag)
                    wanted = metric(flat(before[key(place)]), flat(run.states[epoch][key(place)]))
                    assert abs(values[name][index] - wanted) <= 1e-9 * wanted + 1e-12, (here, name, wanted)
                    compared += 1
    return compared
