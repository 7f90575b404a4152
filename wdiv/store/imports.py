"""Entering somebody's folder of epochs into a wdiv store, where it opens like any run. Nothing is copied."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wdiv.errors import BadInput, BadWeights
from wdiv.layers import LayerTable
from wdiv.store import imported
from wdiv.store.archive import Contents, contents, look
from wdiv.store.foreign import SUFFIXES, layers_from_shapes, rename
from wdiv.store.imported import FORMAT, NAME, ImportedEpoch
from wdiv.store.match import match_layers
from wdiv.store.reader import Run
from wdiv.store.record import RunRecord
from wdiv.store.seals import file_digest, write_sealed
from wdiv.store.stages import family_of, stages_by_name
from wdiv.store.tensors import Entry

__all__ = ["find_epochs", "import_run"]

EPOCH = "{epoch}"
_NUMBER = re.compile(r"\d+", re.ASCII)
_SHARD = re.compile(r"-\d+-of-\d+\.safetensors$", re.ASCII)
_Layout = dict[str, tuple[int, str, Entry]]
"""Key of the run -> (number of the file, name in it, where it lies there)."""

_Seen = tuple[Sequence[imported.File], _Layout]
"""An epoch, or the base: its files and what of the run lies in them."""


def import_run(
    folder: str | Path,
    pattern: str | None = None,
    *,
    base: str | Path | None = None,
    renames: Sequence[str] = (),
    out: str | Path | None = None,
    name: str | None = None,
    label: str | None = None,
    strategy: str = "foreign",
    dataset: str = "unknown",
    n_train: int = 0,
    seed: int = 0,
) -> Run:
    """Make one run of a wdiv store of a folder of checkpoints, one for each epoch, whoever wrote them.

    The store gets two small files, ``runs/NAME/run.json`` and ``foreign.json``, which say where each tensor of each
    epoch lies; the checkpoints stay where they are and must stay as they are. Importing the same folder again adds
    the epochs that have come since.

    pattern  how an epoch's file is called within the folder: ``{epoch}`` stands for its number, ``*`` and ``?`` for
             any characters of one name, as ``checkpoint-{epoch}/model.safetensors``; without one, the checkpoint
             files whose names differ in one number only
    base     the weights that training started from; its layers are matched to the run's by name, by a change of
             prefix, or by shape and order
    renames  rules ``old=new`` for the beginning of the base's names, which then decide the match alone
    out      the store; ``runs/`` and the folder's name by default
    name     of the run, the folder's by default
    label    the network's name in tables, the run's name by default. Runs with one label open as one tree. If it is
             a torchvision network of a family that wdiv knows, and all names are as there, layers get their stages
    strategy, dataset, n_train, seed  what is known of the training, for tables

    Layers are those of the last epoch. A tensor that another epoch lacks, or has in another shape, reads as NaN.
    Raises :class:`~wdiv.errors.BadInput` and :class:`~wdiv.errors.BadWeights`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    own = folder.resolve().name
    store = Path(out) if out is not None else Path("runs") / own
    name = own if name is None else name
    if not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise BadInput(f"run name {name!r}: give a plain name for a folder with --name")
    label = name if label is None else label.strip("/")
    if not label:
        raise BadInput("label: give the network a name")
    if renames and base is None:
        raise BadInput("rename rules are for the names of the starting weights; give --base too")
    run = Run(store / "runs" / name)
    if (run.path / "run.json").exists() and not (run.path / NAME).exists():
        raise BadInput(f"{run.path}: is a run that wdiv trained itself; give another --name or --out")
    found, pattern = find_epochs(folder, pattern)
    layouts, notes = _look_at_all(found, run)
    last = max(found)
    keys, shapes = tuple(layouts[last][1]), {key: entry.shape for key, (_, _, entry) in layouts[last][1].items()}
    table = _in_stages(layers_from_shapes(shapes), label)
    start, matched = (None, "") if base is None else _start(Path(base), renames, table, shapes)
    notes += _lost(run.imported, found, base)
    book = _Book()
    data = {
        "format": FORMAT, "folder": str(folder.absolute()), "pattern": pattern, "matched": matched, "notes": notes,
        "epochs": [{"epoch": epoch, **book.enter(*layouts[epoch])} for epoch in sorted(layouts)],
        "base": None if start is None else book.enter(*start),
    }  # fmt: skip
    record = RunRecord(
        id=name, label=label, model=label, model_args={}, bn_eps=None,
        classes=next((layer.outputs for layer in reversed(table.of("fc"))), 0), class_names=(),
        source="random" if base is None else Path(base).name, dataset=dataset, data_digest="", n_train=n_train,
        n_test=0, strategy=strategy, bn_mode="unknown", seed=seed, recipe={"epochs": last}, input={}, base="",
        keys=keys, changing=keys, new=() if start is None else tuple(key for key in keys if key not in start[1]),
        frozen={}, table=table,
    )  # fmt: skip
    write_sealed(run.path / NAME, data | book.pages(), indent=None)
    write_sealed(run.path / "run.json", record.to_json())
    return Run(run.path)


# --------------------------------------------------------------------------------------------------------------
# Which file is which epoch


def find_epochs(folder: Path, pattern: str | None = None) -> tuple[dict[int, Path], str]:
    """Epoch -> its checkpoint, and the pattern that found them.

    Raises :class:`~wdiv.errors.BadInput` where nothing fits, several patterns do, or two files are one epoch.
    """
    if pattern is None:
        pattern, matches = _guess(folder)
    else:
        parts = _compile(pattern)
        matches = list(_walk(folder, parts, ""))
    found: dict[int, Path] = {}
    for epoch, path in matches:
        if epoch in found:
            raise BadInput(f"{folder}: {found[epoch].relative_to(folder)} and {path.relative_to(folder)} are both "
                           f"epoch {epoch} of {pattern!r}")  # fmt: skip
        found[epoch] = path
    if not found:
        raise BadInput(f"{folder}: nothing in it is called {pattern!r}")
    return dict(sorted(found.items())), pattern


def _compile(pattern: str) -> list[re.Pattern[str]]:
    if pattern.count(EPOCH) != 1:
        raise BadInput(f"pattern {pattern!r}: {EPOCH} must stand in it once, for the number of the epoch")
    parts = pattern.split("/")
    if "\\" in pattern or "\0" in pattern or not all(parts) or {".", ".."} & set(parts) or Path(pattern).drive:
        raise BadInput(f"pattern {pattern!r}: names within the folder, joined by single '/', without '.' and '..'")
    words = {EPOCH: r"(?<!\d)(\d+)(?!\d)", "*": "[^/]*", "?": "[^/]"}
    return [
        re.compile("".join(words.get(w, re.escape(w)) for w in re.split(r"(\{epoch\}|\*|\?)", re.sub(r"\*+", "*", p))),
                   re.ASCII | re.DOTALL)
        for p in parts
    ]  # fmt: skip


def _walk(folder: Path, parts: list[re.Pattern[str]], number: str) -> Iterator[tuple[int, Path]]:
    """(epoch, path) of everything whose names fit, one part of the pattern for each folder on the way."""
    part, *rest = parts
    for name in sorted(os.listdir(folder)):
        match = part.fullmatch(name)
        if match is None:
            continue
        told = match[1] if match.groups() else number
        if not rest:
            yield _number(told, folder / name), folder / name
        elif (folder / name).is_dir():
            yield from _walk(folder / name, rest, told)


def _number(digits: str, path: Path) -> int:
    if len(digits) > 12:
        raise BadInput(f"{path}: {digits[:12]}… is no number of an epoch")
    return int(digits)


def _guess(folder: Path) -> tuple[str, list[tuple[int, Path]]]:
    """The checkpoints of a folder whose names differ in one number only."""
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name.lower().endswith(SUFFIXES))
    groups: dict[str, list[tuple[int, Path]]] = {}
    for name in names:
        if _SHARD.search(name):
            continue
        for match in _NUMBER.finditer(name):
            pattern = name[: match.start()] + EPOCH + name[match.end() :]
            groups.setdefault(pattern, []).append((_number(match[0], folder / name), folder / name))
    series = {pattern: found for pattern, found in groups.items() if len(found) > 1}
    if len(series) == 1:
        return next(iter(series.items()))
    if series:
        listed = ", ".join(f"{pattern!r} ({len(found)})" for pattern, found in list(series.items())[:8])
        raise BadInput(f"{folder}: several series of checkpoints; give one as --pattern: {listed}")
    have = f"its {len(names)} checkpoint files are no series" if names else "no checkpoint files in it"
    raise BadInput(f"{folder}: {have}; give --pattern, such as 'epoch_{EPOCH}.pth'")


# --------------------------------------------------------------------------------------------------------------
# What lies where


def _look_at_all(found: Mapping[int, Path], run: Run) -> tuple[dict[int, _Seen], list[str]]:
    """Epoch -> its files and the tensors that it has in common with the last one; and what to say of them.

    What an earlier import has seen of a file that has not changed since holds, if the last epoch is still like then.
    """
    before = run.imported
    last = max(found)
    newest = contents(found[last])
    layouts: dict[int, _Seen] = {
        last: (newest.files, {key: (n, key, entry) for key, (n, entry) in newest.entries.items()})
    }
    shapes = {key: entry.shape for key, (_, entry) in newest.entries.items()}
    table = layers_from_shapes(shapes)
    measured = [layer.key(role) for layer in table for role in layer.roles]
    if not measured:
        raise BadWeights(f"{found[last]}: no layer that wdiv measures in it")
    known: dict[str, ImportedEpoch] = {}
    if before is not None and before.epochs:
        state = before.epochs[max(before.epochs)]
        if {key: row.shape for key, row in state.layout.items()} == shapes:
            known = {str(state.files[0].path): state for state in before.epochs.values() if len(state.files) == 1}
    notes, whole = [], 0
    for epoch, path in found.items():
        if epoch != last:
            state_before = known.get(str(path.absolute()))
            if state_before is not None and path.is_file() and state_before.files[0][:4] == look(path)[:4]:
                layouts[epoch] = state_before.files, _layout_of(state_before)
            else:
                layouts[epoch] = _in_common(contents(path), shapes)
        layout = layouts[epoch][1]
        lacking = [key for key in measured if key not in layout]
        if len(lacking) == len(measured):
            raise BadWeights(f"{path}: no tensor in it has the name and shape of one in {found[last]}")
        if lacking:
            notes.append(f"epoch {epoch} lacks {len(lacking)} tensors of the last one, first {lacking[0]}: NaN")
        whole += any(entry.offset == imported.WHOLE for _, _, entry in layout.values())
    if whole:
        notes.append(f"{whole} epochs hold tensors that cannot be read in place; their files are read whole")
    return layouts, notes


def _in_common(seen: Contents, shapes: Mapping[str, tuple[int, ...]]) -> _Seen:
    return seen.files, {
        key: (seen.entries[key][0], key, seen.entries[key][1])
        for key, shape in shapes.items()
        if key in seen.entries and seen.entries[key][1].shape == shape
    }


def _layout_of(state: ImportedEpoch) -> _Layout:
    rows = state.layout.items()
    return {k: (r.file, r.name, Entry(r.dtype, r.shape, state.offsets[r.place], r.strides)) for k, r in rows}


def _start(
    path: Path, renames: Sequence[str], table: LayerTable, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[_Seen, str]:
    """The starting weights by the run's names, those of the same shape; and how they were matched."""
    seen = contents(path)
    named = rename({key: key for key in seen.entries}, renames, seen.prefix)  # name to match by -> name in the file
    theirs = layers_from_shapes({key: seen.entries[name][1].shape for key, name in named.items()})
    if renames:
        pairs = {layer.name: layer.name for layer in table if layer.name in theirs}
        rule = f"by name, with {', '.join(renames)}"
    else:
        matching = match_layers(table, theirs)
        pairs, rule = matching.pairs, matching.rule.replace(" in A", " in the run").replace(" in B", " in the base")
    partners = {key: key for key in shapes if key in named}  # tensors of no layer too, where the name is the same
    for ours, partner in pairs.items():
        layer, other = table[ours], theirs[partner]
        if layer.operation == other.operation:
            partners |= {layer.key(role): other.key(role) for role in layer.roles if role in other.roles}
    layout: _Layout = {}
    for key, shape in shapes.items():
        if key in partners:
            name = named[partners[key]]
            number, entry = seen.entries[name]
            if entry.shape == shape:
                layout[key] = number, name, entry
    have = sum(any(layer.key(role) in layout for role in layer.roles) for layer in table)
    if not have:
        raise BadWeights(f"{path}: no layer of it has a partner of the same shape in the run; see --rename")
    return (seen.files, layout), f"{have} of {len(table)} layers, {rule}"


def _in_stages(table: LayerTable, label: str) -> LayerTable:
    """Stages by name, of a network of a known family all of whose layers are named as there."""
    family = family_of(label)
    if family is None:
        return table
    places = stages_by_name(family, [layer.name for layer in table])
    if not all(stage for stage, _ in places):
        return table
    layers = (replace(x, stage=stage, block=block) for x, (stage, block) in zip(table, places, strict=True))
    return LayerTable(tuple(layers), table.order)


def _lost(before: imported.Imported | None, found: Mapping[int, Path], base: str | Path | None) -> list[str]:
    """What an earlier import had that this one has not."""
    if before is None:
        return []
    gone = sorted(set(before.epochs) - set(found))
    notes = [f"epochs {', '.join(map(str, gone))} were imported before, and are not there now"] if gone else []
    if before.base is not None and base is None:
        notes.append("it had starting weights before, and has none now; give --base again")
    return notes


class _Book:
    """Layouts and offsets, each distinct one written once."""

    def __init__(self) -> None:
        self.layouts: dict[str, tuple[int, dict[str, Any]]] = {}
        self.offsets: dict[tuple[int, ...], int] = {}

    def enter(self, files: Sequence[imported.File], layout: _Layout) -> dict[str, Any]:
        """The row of an epoch, or of the base."""
        rows = {key: [number, name, e.dtype, e.shape, e.strides] for key, (number, name, e) in layout.items()}
        place, _ = self.layouts.setdefault(repr(rows), (len(self.layouts), rows))
        offsets = tuple(entry.offset for _, _, entry in layout.values())
        return {
            "layout": place,
            "offsets": self.offsets.setdefault(offsets, len(self.offsets)),
            "files": [[str(f.path), f.size, f.mtime_ns, f.ctime_ns, f.digest or file_digest(f.path)] for f in files],
        }

    def pages(self) -> dict[str, Any]:
        return {"layouts": [rows for _, rows in self.layouts.values()], "offsets": list(self.offsets)}
