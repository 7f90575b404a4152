"""The same numbers, worked out the plain way: files read whole, by their names, with no code of wdiv's."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.linalg import norm
from safetensors.numpy import load_file
from scipy import stats

from wdiv.measure import Flag

DEFAULT = ("gaussian_kl", "relative_l2", "cosine_distance")
METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "gaussian_kl": lambda a, b: (
        np.log(b.std() / a.std()) + (a.var() + (a.mean() - b.mean()) ** 2) / (2 * b.var()) - 0.5
    ),
    "relative_l2": lambda a, b: norm(a - b) / norm(a),
    "cosine_distance": lambda a, b: 1 - a @ b / (norm(a) * norm(b)),
    "mean_shift": lambda a, b: (b.mean() - a.mean()) / a.std(),
    "wasserstein2_gaussian": lambda a, b: np.hypot(a.mean() - b.mean(), a.std() - b.std()),
    "mean_abs": lambda a, b: np.abs(a - b).mean(),
    "sign_flips": lambda a, b: (a * b < 0).mean(),
    "wasserstein1": lambda a, b: stats.wasserstein_distance(a, b),
    "kolmogorov_smirnov": lambda a, b: stats.ks_2samp(a, b, method="asymp").statistic,
}
"""Of two vectors; some of every family that takes them."""
SPECTRAL: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "spectral_norm_change": lambda a, b: norm(b, 2) / norm(a, 2) - 1,
    "stable_rank_change": lambda a, b: (norm(b) / norm(b, 2)) ** 2 - (norm(a) / norm(a, 2)) ** 2,
    "delta_stable_rank": lambda a, b: (norm(b - a) / norm(b - a, 2)) ** 2 if (a != b).any() else 0.0,
}
"""Of two matrices (outputs, the rest)."""
SUFFIX = {"gamma": "weight", "beta": "bias"}
Place = tuple[str, str, str]  # kind, layer, role
State = dict[str, np.ndarray]


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
        self.layers = self.facts["table"]["layers"]

    def has(self, place: Place) -> bool:
        _, layer, role = place
        return any(x["name"] == layer and role in x["roles"] for x in self.layers)

    def before(self, epoch: int, reference: str | int, runs: dict[str, PlainRun]) -> State | Flag:
        """The state that an epoch is set against, or what is in the way."""
        if reference == "pretrained":
            return self.source
        if reference == "previous":
            return self.states.get(epoch - 1, Flag.FIRST_EPOCH)
        run, at = (runs[reference], epoch) if isinstance(reference, str) else (self, reference)
        return run.states.get(at, Flag.NOT_SAVED)

    def units(self, kind: str, reduction: str) -> list[Callable[[State, str], np.ndarray | None]]:
        """What takes each unit's values of a role out of a state; None where no layer has that role."""
        layers = [x for x in self.layers if x["kind"] == kind]

        def of(chosen: list[dict[str, object]], row: int | None) -> Callable[[State, str], np.ndarray | None]:
            def take(state: State, role: str) -> np.ndarray | None:
                found = [state[f"{x['name']}.{SUFFIX.get(role, role)}"] for x in chosen if role in x["roles"]]  # type: ignore[operator]
                rows = [flat(array if row is None else array[row]) for array in found]
                return np.concatenate(rows) if rows else None

            return take

        if reduction == "stage":
            stages = dict.fromkeys(x["stage"] for x in layers)
            return [of([x for x in layers if x["stage"] == stage], None) for stage in stages]
        if reduction == "filter":
            outputs = {x["name"]: len(self.states[0][f"{x['name']}.weight"]) for x in layers}
            return [of([x], row) for x in layers for row in range(outputs[x["name"]])]
        return [of([x], None) for x in layers]


def runs_of(store: Path) -> dict[str, PlainRun]:
    return {folder.name: PlainRun(folder) for folder in sorted((store / "runs").iterdir())}


def key(place: Place) -> str:
    return f"{place[1]}.{SUFFIX.get(place[2], place[2])}"


def flat(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64).ravel()


def near(found: float, wanted: float) -> bool:
    return bool(abs(found - wanted) <= 1e-9 * abs(wanted) + 1e-12)


def assert_divergence(
    div: xr.DataTree, store: Path, reference: str | int, reduction: str = "layer", metrics: Sequence[str] = DEFAULT
) -> int:
    """Hold every value and flag of a divergence tree to the files; returns how many values were compared."""
    runs, compared = runs_of(store), 0
    for kind, node in div.children.items():
        flags, values = node["flag"].values, {name: node[name].values for name in metrics}
        labels = [node[dim].values.tolist() for dim in ("run", "epoch", "role")]
        units = next(iter(runs.values())).units(kind, reduction)
        assert flags.shape == (len(labels[0]), len(labels[1]), len(units), len(labels[2]))
        for (i, name_of_run), (j, epoch), (k, role) in product(*map(enumerate, labels)):
            run = runs[name_of_run]
            before = run.before(epoch, reference, runs)
            for u, take in enumerate(run.units(kind, reduction)):
                index = (i, j, u, k)
                a, expected = _reference(run, take, role, epoch, before)
                assert flags[index] == expected, (name_of_run, epoch, u, role, flags[index], expected)
                for name in metrics:
                    if a is None:
                        assert np.isnan(values[name][index]), (index, name)
                        continue
                    wanted = METRICS[name](a, take(run.states[epoch], role))  # type: ignore[arg-type]
                    if np.isfinite(wanted):
                        assert near(values[name][index], wanted), (name_of_run, epoch, u, role, name, wanted)
                        compared += 1
    return compared


def _reference(
    run: PlainRun, take: Callable[[State, str], np.ndarray | None], role: str, epoch: int, before: State | Flag
) -> tuple[np.ndarray | None, Flag]:
    if take(run.states[0], role) is None:
        return None, Flag.ABSENT
    if epoch not in run.states:
        return None, Flag.NOT_SAVED
    if isinstance(before, Flag):
        return None, before
    try:
        return take(before, role), Flag(0)
    except KeyError:
        return None, Flag.NO_START


def paths(store: Path, reduction: str) -> Iterator[tuple[tuple[str, str, int, str], dict[str, list[float]]]]:
    """(run, kind, unit, role) -> metrics of its path, at each epoch that it has saved."""
    for name, run in runs_of(store).items():
        for kind in ("conv", "bn", "fc"):
            roles = ("gamma", "beta", "running_mean", "running_var") if kind == "bn" else ("weight", "bias")
            for (u, take), role in product(enumerate(run.units(kind, reduction)), roles):
                way = [take(run.states[epoch], role) for epoch in run.epochs]
                if way[0] is None:
                    continue
                steps = [0.0, *(float(norm(b - a)) for a, b in itertools.pairwise(way))]  # type: ignore[operator]
                moved = [float(norm(w - way[0])) for w in way]  # type: ignore[operator]
                length = np.cumsum(steps).tolist()
                straight = [m / s if s else np.nan for m, s in zip(moved, length, strict=True)]
                yield (
                    (name, kind, u, role),
                    {"epoch_step": steps, "displacement": moved, "path_length": length, "straightness": straight},
                )
