"""Folders of images: one folder a class, with or without a train/test split."""

from __future__ import annotations

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from wdiv.errors import BadData
from wdiv.tuning.data.images import ImageSet

__all__ = ["class_folders", "decode", "image_files", "picture_side", "read_folder", "split_folders", "try_decode"]

EXTENSIONS = frozenset([".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"])
TRAIN, TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")


def split_folders(root: Path) -> tuple[Path, Path] | None:
    """The folder's own train and test folders, if it has both.

    Raises :class:`~wdiv.errors.BadData` for a folder that cannot be a data set.
    """
    if not root.is_dir():
        raise BadData(f"{root}: no such folder of images" if not root.exists() else f"{root}: not a folder")
    names = {child.name.lower(): child for child in class_folders(root)}
    train = next((names[n] for n in TRAIN if n in names), None)
    test = next((names[n] for n in TEST if n in names), None)
    if train is None or test is None:
        return None
    classes_train, classes_test = ({child.name for child in class_folders(part)} for part in (train, test))
    if classes_train != classes_test:
        odd = ", ".join(sorted(classes_train ^ classes_test))
        raise BadData(f"{root}: the classes of {train.name} and {test.name} differ: {odd}")
    return train, test


def read_folder(root: Path, size: int, *, skip_bad: bool = False) -> tuple[ImageSet, tuple[str, ...]]:
    """Decode ``root/<class>/**/<image>`` to ``size`` x ``size`` pixels. Files are taken in the order of their names.

    Returns the images and a line for each file that could not be read, which are an error
    (:class:`~wdiv.errors.BadData`, naming and counting them) unless ``skip_bad``. Files that do not look like
    images by their ending are passed over.
    """
    classes = tuple(sorted(child.name for child in class_folders(root)))
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "none"
        raise BadData(f"{root}: needs a folder for each of at least two classes; found {found}")
    files = [(path, label) for label, name in enumerate(classes) for path in image_files(root / name)]
    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(lambda item: try_decode(item[0], size), files))
    bad = tuple(f"{path.relative_to(root)}: {result}" for (path, _), result in zip(files, decoded, strict=True)
                if isinstance(result, str))  # fmt: skip
    if bad and not skip_bad:
        shown = "; ".join(bad[:3]) + ("; …" if len(bad) > 3 else "")
        raise BadData(
            f"{root}: {len(bad)} of {len(files)} images cannot be read ({shown}); --skip-bad-images leaves them out"
        )
    good = [
        (path, label, image) for (path, label), image in zip(files, decoded, strict=True) if not isinstance(image, str)
    ]
    empty = set(range(len(classes))) - {label for _, label, _ in good}
    if empty:
        raise BadData(f"{root}: class {classes[min(empty)]!r} has no readable image")
    return (
        ImageSet(
            np.stack([image for *_, image in good]),
            np.array([label for _, label, _ in good], dtype=np.int64),
            classes,
            tuple(str(path.relative_to(root)) for path, *_ in good),
        ),
        bad,
    )


def picture_side(root: Path, most: int = 200) -> int:
    """The median over the pictures of a folder of the square root of their area, in pixels; of ``most`` of them, evenly
    taken, and without decoding any.

    Raises :class:`~wdiv.errors.BadData` where none can be read.
    """
    from PIL import Image

    if not root.is_dir():
        raise BadData(f"{root}: no such folder of images")
    files, sides = image_files(root), []
    for path in files[:: max(1, len(files) // most)]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(path) as file:
                    sides.append(math.sqrt(file.width * file.height))
        except Exception:  # as whoever reads them all will tell
            continue
    if not sides:
        raise BadData(f"{root}: no readable image in it")
    return round(float(np.median(sides)))


def decode(path: Path, size: int) -> np.ndarray:
    """One image as (3, size, size) uint8 RGB.

    EXIF rotation is applied; grey, palette and CMYK images become RGB; transparency is dropped; of 16-bit grey
    the upper byte is kept. The image is resized to a square, both sides by their own factor, bilinear with
    antialiasing: nothing of it is cut off. Raises ``OSError`` or ``ValueError`` where it cannot be read.
    """
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            image = _to_rgb(image)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def _to_rgb(image):  # type: ignore[no-untyped-def]
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow may hold them in 32
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError(f"pixel values {values.min()} to {values.max()}, more than 16 bits")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):
            raise ValueError("floating-point pixels outside 0 to 1")
        image = Image.fromarray(np.round(values * 255).astype(np.uint8))
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return image.convert("RGB")


def try_decode(path: Path, size: int) -> np.ndarray | str:
    """:func:`decode`, or in words why the file cannot be read."""
    try:
        if path.stat().st_size == 0:
            return "empty file"
        return decode(path, size)
    except FileNotFoundError:
        return "no such file"
    except Exception as error:  # Pillow's decoders raise whatever their format suggests
        first = (str(error).splitlines() or [""])[0].replace(str(path), path.name)
        return first[:100] or type(error).__name__


def class_folders(root: Path) -> list[Path]:
    """The folders of a folder, by name, without those of systems and programs."""
    return sorted(child for child in root.iterdir() if child.is_dir() and not _hidden(child.name))


def image_files(root: Path) -> list[Path]:
    """The files beneath a folder that look like images by their ending, by name."""
    return sorted(
        p
        for p in root.rglob("*")
        if p.suffix.lower() in EXTENSIONS
        and not p.name.startswith(".")
        and not any(map(_hidden, p.relative_to(root).parts[:-1]))  # such as .ipynb_checkpoints
        and p.is_file()
    )


def _hidden(name: str) -> bool:
    return name.startswith((".", "__"))
