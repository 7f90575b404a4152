"""Predictions: what a network, or a baseline, gave each test image and each validation image.

``runs/<run>/predictions/0007.safetensors``   float32 (images, classes) logits after an epoch, a tensor a part: ``test``
                                              and, where images are held out, ``validation``
``images/<sha256>.json``                      which images those are: their names, labels, and rows in the split's test
                                              set or pool; once for all runs that were asked about the same

An epoch's history row has, for each part, the digest of its list of images and of its logits: ``{"predictions":
{"test": {"images": …, "logits": …}}}``. What is read is held to them, once a process. An epoch whose row has none was
made before there were any, or is not kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from wdiv.errors import BadStore, Damaged
from wdiv.store import tensors
from wdiv.store.files import check_format, sha256, write_atomically
from wdiv.store.kept import fingerprint
from wdiv.store.reader import Run, epoch_name
from wdiv.store.record import RunRecord
from wdiv.store.tensors import Proof, tensor_digest

__all__ = [
    "ImageList", "Predictions", "asked", "damaged", "file_of", "forget", "is_whole", "logits_digest", "of_run",
    "origin_of", "read_images", "read_logits", "spelled", "write_images", "write_logits",
]  # fmt: skip

FORMAT = 1
"""Of a list of images. Raised when one of an older wdiv could no longer be read."""
Digests = Mapping[str, Mapping[str, str]]
"""Part -> ``images`` and ``logits`` -> digest."""


@dataclass(frozen=True, eq=False)
class ImageList:
    """Which images were asked about: of each its name, its label and its row in the split's test set or pool.

    digest: its own, by which a store keeps it.
    """

    digest: str
    names: tuple[str, ...]
    labels: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was answered about some images.

    logits         (images, classes) float32; or the logarithms of probabilities, or decision values
    probabilities  what makes them of the logits, a name of :data:`~wdiv.numerics.classification.PROBABILITIES`; None:
                   nothing does
    """

    logits: np.ndarray
    images: ImageList
    classes: tuple[str, ...]
    probabilities: str | None


def of_run(run: Run, epoch: int | None = None, part: str = "test") -> Predictions | None:
    """What a run's network gave the images of a part after an epoch; None where that is not kept.

    epoch: by default the one that counts. Raises :class:`~wdiv.errors.BadStore` where it is damaged.
    """
    epoch = run.final if epoch is None else epoch
    digests = _digests(run).get(-1 if epoch is None else epoch, {}).get(part)
    if epoch is None or digests is None:
        return None
    logits = read_logits(file_of(run, epoch), part, digests["logits"])
    images = read_images(run.root, digests["images"])
    return Predictions(logits, images, run.record.class_names, spelled(run.record))


def spelled(record: RunRecord) -> str:
    """What makes probabilities of a run's logits, as :class:`Predictions` spells it: the loss it was trained with."""
    return str(record.recipe.get("loss", "softmax"))


def asked(run: Run) -> dict[str, ImageList]:
    """Part -> the images that a run was asked about; reads no logits. Empty where it has kept no predictions.

    Without a part whose list is damaged: nothing of it can be told, and all else goes on.
    """
    digests, found = _digests(run), {}
    for part, known in (digests[max(digests)] if digests else {}).items():
        with suppress(BadStore):
            found[part] = read_images(run.root, known["images"])
    return found


def file_of(run: Run, epoch: int) -> Path:
    """Where an epoch's predictions are, if they are kept."""
    return run.path / "predictions" / epoch_name(epoch)


def write_logits(file: Path, logits: Mapping[str, np.ndarray], origin: str) -> dict[str, str]:
    """Write a file of predictions, atomically. Returns part -> digest.

    origin  what they are and whose, for who reads the file without wdiv
    """
    content = _content(logits, origin)
    write_atomically(file, lambda temporary: temporary.write_bytes(content))
    return {part: logits_digest(values) for part, values in logits.items()}


def _content(logits: Mapping[str, np.ndarray], origin: str) -> bytes:
    """Of a file of predictions; equal for equal logits of one origin."""
    from safetensors.numpy import save

    return save({part: np.ascontiguousarray(values) for part, values in logits.items()}, {"origin": origin})


def is_whole(file: Path, digests: Mapping[str, str], origin: str) -> bool:
    """True if a file is, byte for byte, what :func:`write_logits` wrote. digests: part -> what that returned.

    Raises :class:`~wdiv.errors.BadStore` where it cannot be read, or its predictions are others.
    """
    kept = {part: read_logits(file, part, digest) for part, digest in digests.items()}
    return file.read_bytes() == _content(kept, origin)


def origin_of(run: Run, epoch: int) -> str:
    """What a run's file of predictions says that it is."""
    return f"logits of {run.record.id}@{epoch}"


def logits_digest(values: np.ndarray) -> str:
    """By which predictions that are read are told from others: of their type, shape and bytes."""
    return tensor_digest(values)


def read_logits(file: Path, part: str, digest: str) -> np.ndarray:
    """The predictions of a part. The one way to them: raises :class:`~wdiv.errors.BadStore` for others than were kept.

    digest: as :func:`write_logits` gave it.
    """
    return tensors.read(file, part, proof=Proof(tensor=digest))


def write_images(root: Path, names: tuple[str, ...], labels: np.ndarray, rows: np.ndarray) -> str:
    """Keep a list of images in a store, under the SHA-256 of its file, once. Returns the SHA-256."""
    told = {"format": FORMAT, "names": names, "labels": labels.tolist(), "rows": rows.tolist()}
    content = json.dumps(told, ensure_ascii=False).encode()
    digest = hashlib.sha256(content).hexdigest()
    file = _images_file(root, digest)
    if not file.exists() or sha256(file) != digest:  # a damaged one is made again
        write_atomically(file, lambda temporary: temporary.write_bytes(content))
    return digest


def read_images(root: Path, digest: str) -> ImageList:
    """A list of images that a store keeps. Raises :class:`~wdiv.errors.BadStore` where it is missing or damaged."""
    file = _images_file(root, digest)
    return _read_images(file, digest, *fingerprint(file))


def _images_file(root: Path, digest: str) -> Path:
    return root / "images" / f"{digest}.json"


@lru_cache(maxsize=256)
def _read_images(file: Path, digest: str, *fingerprint: int) -> ImageList:
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise Damaged(file, "its SHA-256 is not its name")
    told = json.loads(content)
    check_format(told, file, FORMAT)
    labels, rows = (np.array(told[name], dtype=np.int64) for name in ("labels", "rows"))
    return ImageList(digest, tuple(told["names"]), labels, rows)


def _digests(run: Run) -> dict[int, Digests]:
    """Epoch -> what its history row says of its predictions, of those that are kept as of now."""
    return {row["epoch"]: row["predictions"] for row in run.history() if "predictions" in row}


def forget(run: Run) -> None:
    """Remove the files of predictions that no history row tells of: epochs that cannot count any more."""
    kept = {epoch_name(epoch) for epoch in _digests(run)}
    for file in (run.path / "predictions").glob("*.safetensors"):
        if file.name not in kept:
            file.unlink(missing_ok=True)


def damaged(run: Run) -> Iterator[str]:
    """In a line each, what of a run's predictions is not what was kept."""
    for epoch, digests in _digests(run).items():
        file = file_of(run, epoch)
        try:
            if not is_whole(file, {part: known["logits"] for part, known in digests.items()}, origin_of(run, epoch)):
                yield str(Damaged(file))
            for part, known in digests.items():
                logits = tensors.read(file, part)
                if len(read_images(run.root, known["images"]).labels) != len(logits):
                    yield f"{file}: not of the {part} images that it should be of"
        except BadStore as error:
            yield str(error)
