"""Stores made of whole cloth: known numbers, written with NumPy and safetensors, no torch and no training.

The network: conv 'stem.conv' (4, 3, 3, 3), BN 'stem.bn' (4), conv 'stage.conv' (6, 4, 3, 3) with bias, BN 'stage.bn'
(6), fc 'head' (classes, 6). Execution order is that order; 'head' is new in every run that has a source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from wdiv.layers import Layer, LayerTable
from wdiv.store import predictions
from wdiv.store.files import sha256
from wdiv.store.reader import Run
from wdiv.store.record import RunRecord
from wdiv.store.seals import fast_digest, pack, read_sealed, sealed_lines, unsealed_lines, write_sealed, write_with_tail
from wdiv.store.tensors import tensor_digest

BN = ("gamma", "beta", "running_mean", "running_var")
TABLE = LayerTable(
    (
        Layer("stem.conv", "conv", ("weight",), (4, 3, 3, 3), 0, "stem"),
        Layer("stem.bn", "bn", BN, (4,), 1, "stem"),
        Layer("stage.conv", "conv", ("weight", "bias"), (6, 4, 3, 3), 2, "stage1", 0),
        Layer("stage.bn", "bn", BN, (6,), 3, "stage1", 0),
        Layer("head", "fc", ("weight", "bias"), (3, 6), 4, "head"),
    )
)
KEYS = tuple(layer.key(role) for layer in TABLE for role in layer.roles)
HEAD = ("head.weight", "head.bias")
CHANGES = {
    "fc": HEAD,
    "bn+fc": tuple(k for k in KEYS if k.startswith(("stem.bn", "stage.bn", "head"))),
    "conv+fc": tuple(k for k in KEYS if k.startswith(("stem.conv", "stage.conv", "head"))),
    "scratch": KEYS,
}


def base_state(seed: int = 0, classes: int = 3) -> dict[str, np.ndarray]:
    """Every tensor of the network, drawn from a seed; running variances are positive."""
    rng = np.random.default_rng(seed)
    state = {}
    for layer in TABLE:
        for role in layer.roles:
            shape = layer.shape_of(role)
            shape = (classes, *shape[1:]) if layer.name == "head" else shape
            values = rng.normal(1.0 if role == "gamma" else 0.0, 0.5, shape)
            state[layer.key(role)] = (np.abs(values) + 0.1 if role == "running_var" else values).astype(np.float32)
    return state


def epoch_state(base: dict[str, np.ndarray], strategy: str, seed: int, epoch: int) -> dict[str, np.ndarray]:
    """The network after an epoch: the tensors that the strategy changes have drifted by ``epoch`` steps."""
    head = base_state(1000 + seed)
    state = {key: head[key] if key in HEAD else value for key, value in base.items()}
    for index, key in enumerate(CHANGES[strategy]):
        rng = np.random.default_rng([seed, index])
        drift = rng.normal(0.0, 0.05, state[key].shape) * epoch
        state[key] = (state[key] + (np.abs(drift) if key.endswith("running_var") else drift)).astype(np.float32)
    return state


def run_states(strategy: str, seed: int, epochs: int) -> list[dict[str, np.ndarray]]:
    """The network of a run at epoch 0, 1, …: what its files must give back."""
    scratch = strategy == "scratch"
    start = base_state(seed + 50) if scratch else base_state()
    first = start if scratch else epoch_state(start, strategy, seed, 0)
    return [first, *(epoch_state(start, strategy, seed, epoch) for epoch in range(1, epochs + 1))]


def source_state() -> dict[str, np.ndarray]:
    """The starting weights of every run but those from scratch: a head of ten classes on the same trunk."""
    return base_state() | {
        "head.weight": base_state(5, classes=10)["head.weight"],
        "head.bias": np.zeros(10, np.float32),
    }


def run_record(
    strategy: str,
    seed: int,
    planned: int,
    base: str,
    start: dict[str, np.ndarray],
    label: str = "toynet",
    size: int = 2,
    given: Mapping[str, str] | None = None,
) -> RunRecord:
    """The record of a run that starts as ``start``. given: the digests of the tensors in its base."""
    scratch, changing = strategy == "scratch", CHANGES[strategy]
    return RunRecord(
        id=f"{label}-toy-n{size}-{strategy}-auto-s{seed}", label=label, model="toynet", model_args={}, bn_eps=None,
        classes=3, class_names=("a", "b", "c"), source="random" if scratch else "toy weights", dataset="toy",
        data_digest="0" * 64, n_train=3 * size, n_test=9, strategy=strategy, bn_mode="auto", seed=seed,
        recipe={"epochs": planned, "optimizer": "adam"}, input={"size": 8}, base=base, keys=KEYS,
        changing=changing, new=() if scratch else HEAD, table=TABLE, per_class=size,
        frozen={k: tensor_digest(start[k]) for k in KEYS if k not in changing}, start=given or {},
    )  # fmt: skip


def make_store(
    out: Path,
    strategies: tuple[str, ...] = ("fc", "bn+fc"),
    seeds: tuple[int, ...] = (0, 1),
    epochs: int = 3,
    *,
    label: str = "toynet",
    planned: int | None = None,
    sizes: tuple[int, ...] = (2,),
    predicted: bool = False,
) -> Path:
    """Write a store; ``planned`` epochs more than ``epochs`` leave every run unfinished.

    sizes  images of each class; a run of another size than 2 drifts as that of seed :func:`drift_seed` does
    predicted  with the :func:`logits` of each epoch, of nine test images and of those that :func:`held_out` says
    """
    pretrained = source_state()
    for strategy in strategies:
        for seed, size in product(seeds, sizes):
            scratch = strategy == "scratch"
            source = base_state(drift_seed(seed, size) + 50) if scratch else pretrained
            content, given = save(source), {key: fast_digest(value).hex() for key, value in source.items()}
            digest = hashlib.sha256(content).hexdigest()
            (out / "bases").mkdir(parents=True, exist_ok=True)
            (out / "bases" / f"{digest}.safetensors").write_bytes(content)
            _write_run(out, strategy, seed, epochs, planned or epochs, label, digest, size, given, predicted)
    runs = sorted(path.name for path in (out / "runs").iterdir())
    write_sealed(out / "study.json", {"format": 2, "study": {"name": "toy"}, "runs": runs, "notes": []})
    return out


def drift_seed(seed: int, size: int) -> int:
    """The seed of what a run's epochs add, so that sizes differ; from scratch, also of its starting weights."""
    return seed + 100 * (size - 2)


LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
"""Of the test images, ``test/0.png`` and on."""


def held_out(seed: int) -> np.ndarray:
    """Which images of the pool a run of this seed validates on: two of three, so that seeds share one."""
    return np.array([seed % 3, (seed + 1) % 3])


def logits(strategy: str, seed: int, epoch: int) -> dict[str, np.ndarray]:
    """What a run's network gives after an epoch: those of the test images, and of those held out."""
    rng = np.random.default_rng([*strategy.encode(), seed, epoch])
    return {part: rng.normal(size=(n, 3)).astype(np.float32) for part, n in (("test", 9), ("validation", 2))}


def write_predictions(run: Run, epoch: int, seed: int, given: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Write what a run's network gives. Returns what the epoch's row says of it."""
    rows = {"test": np.arange(9), "validation": held_out(seed)}
    names = {"test": "test/{}.png", "validation": "pool/{}.png"}
    labels = {"test": LABELS, "validation": held_out(seed)}
    told = predictions.write_logits(predictions.file_of(run, epoch), given, predictions.origin_of(run, epoch))
    return {
        part: {
            "images": predictions.write_images(
                run.root, tuple(map(names[part].format, rows[part])), labels[part], rows[part]
            ),
            "logits": digest,
        }
        for part, digest in told.items()
    }


def _write_run(
    out: Path, strategy: str, seed: int, epochs: int, planned: int, label: str, base: str, size: int,
    given: Mapping[str, str], predicted: bool,
) -> None:  # fmt: skip
    states = run_states(strategy, drift_seed(seed, size), epochs)
    record = run_record(strategy, seed, planned, base, states[0], label, size, given)
    folder = out / "runs" / record.id
    (folder / "epochs").mkdir(parents=True)
    write_sealed(folder / "run.json", record.to_json())
    rows: list[dict[str, Any]] = []
    for epoch, state in enumerate(states):
        tensors = {key: state[key] for key in (record.new if epoch == 0 else record.changing)}
        content = save(tensors)
        (folder / "epochs" / f"{epoch:04d}.safetensors").write_bytes(content)
        rows.append(
            {
                "epoch": epoch,
                "train_loss": None if epoch == 0 else 1.0 / epoch,
                "train_accuracy": None if epoch == 0 else 0.5,
                "test_accuracy": min(1.0, 0.3 + 0.1 * epoch + 0.01 * seed),
                "seconds": 0.5,
                "lr": {} if epoch == 0 else {"fc": 0.01},
                "sha256": hashlib.sha256(content).hexdigest(),
                "frozen_intact": True,
                "tensors": pack({key: fast_digest(value) for key, value in tensors.items()}),
            }
        )
        if predicted:
            found = logits(strategy, drift_seed(seed, size), epoch)
            rows[-1]["predictions"] = write_predictions(Run(folder), epoch, seed, found)
    (folder / "history.jsonl").write_text(sealed_lines(rows))


def edit_rows(run: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Let a run's history say something else, as if it had been written so."""
    file = run / "history.jsonl"
    rows = unsealed_lines(file.read_bytes(), file, required=True)
    change(rows)
    file.write_text(sealed_lines(rows))


def edit_record(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Let a run's record say something else, as if it had been written so."""
    record = read_sealed(run / "run.json")
    change(record)
    write_sealed(run / "run.json", record)


def shorten(store: Path, run: str, epochs: int, *, early: bool = False) -> None:
    """Let a run have saved no more than these epochs, as if it were still being made, or early: had stopped then."""
    history = store / "runs" / run / "history.jsonl"
    history.write_text("".join(history.read_text().splitlines(keepends=True)[: epochs + 1]))
    for file in (store / "runs" / run / "epochs").iterdir():
        if int(file.stem) > epochs:
            file.unlink()
    if early:
        edit_rows(store / "runs" / run, lambda rows: rows[-1].update(final=epochs))


def diverge(store: Path, run: str, why: str) -> None:
    """Let a run have stopped for good."""
    write_with_tail(store / "runs" / run / "diverged.txt", lambda temporary: temporary.write_text(why))


def rewrite(file: Path, changes: Mapping[str, Callable[[np.ndarray], np.ndarray]]) -> None:
    """Change some tensors of a file in place; of a store's epoch or base, as if they had been saved so."""
    state = load_file(file)
    state |= {key: change(state[key]).astype(np.float32) for key, change in changes.items()}
    file.write_bytes(save(state))
    digests = {key: fast_digest(value) for key, value in state.items()}
    if file.parent.name == "epochs":
        told = {"sha256": sha256(file), "tensors": pack(digests)}
        edit_rows(file.parent.parent, lambda rows: rows[int(file.stem)].update(told))
    elif file.parent.name == "bases":
        start = {key: digest.hex() for key, digest in digests.items()}
        for run in file.parent.parent.glob("runs/*"):
            edit_record(run, lambda record: record.update(start=start) if record["base"] == file.stem else None)
