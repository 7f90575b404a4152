"""Files as they are given: found, read ahead in order, and told where they cannot be."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.inference.conftest import write_images
from wdiv.errors import BadData, BadInput
from wdiv.inference import files
from wdiv.inference.files import decoded, listed
from wdiv.tuning.data.folder import decode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_images(tmp_path / "new", 3)


def test_folders_files_and_lists(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = sorted(folder.rglob("*.png"))
    assert listed([folder]) == tuple(every)
    assert listed([every[4], folder]) == (every[4], *(file for file in every if file != every[4])), "each once"
    (folder / "notes.md").write_text("no image by its ending")
    assert listed([folder]) == tuple(every)
    assert listed([folder / "notes.md"]) == (folder / "notes.md",), "what is named is asked for"
    text = tmp_path / "these.txt"
    text.write_text("\ufeffnew/dark/1.png\r\n\n  new/dark/0.png \n/nowhere/x.png\n", encoding="utf-8")
    monkeypatch.chdir(folder)
    assert listed([text]) == (folder / "dark/1.png", folder / "dark/0.png", Path("/nowhere/x.png"))
    monkeypatch.chdir(tmp_path)
    assert listed(["these.txt"])[0] == Path("new/dark/1.png")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="none: no such file or folder of images"):
        listed([tmp_path / "none"])
    with pytest.raises(BadData, match="no images there"):
        listed([tmp_path])
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="not a list of files"):
        listed([tmp_path / "x.txt"])


def test_blocks_are_full_and_in_order_and_what_cannot_be_read_is_told(folder: Path) -> None:
    bad = folder / "dark" / "1.png"
    bad.write_bytes(b"no image")
    given = (*listed([folder]), folder / "gone.png")
    blocks = list(decoded(given, 16, 3))
    assert [len(block.pixels) for block in blocks] == [3, 3, 2]
    assert [block.seen for block in blocks] == [3, 7, 10]
    rows = np.concatenate([block.rows for block in blocks])
    assert rows.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    for row, image in zip(rows, np.concatenate([block.pixels for block in blocks]), strict=True):
        np.testing.assert_array_equal(image, decode(given[row], 16))
    assert [row for block in blocks for row, _ in block.bad] == [4, 9]
    assert blocks[-1].bad == ((9, "no such file"),)


def test_nothing_readable_is_one_empty_block(tmp_path: Path) -> None:
    (block,) = decoded([tmp_path / "a.png"], 16, 4)
    assert (block.pixels.shape, block.rows.tolist(), block.bad) == ((0, 3, 16, 16), [], ((0, "no such file"),))


def test_no_more_than_a_few_blocks_are_decoded_ahead(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in memory does not grow with the number of files."""
    begun, lock, real = [0], threading.Lock(), files.try_decode

    def count(path: Path, size: int) -> np.ndarray | str:
        with lock:
            begun[0] += 1
        return real(path, size)

    monkeypatch.setattr(files, "try_decode", count)
    given = [folder / "dark" / "0.png"] * 200
    for number, block in enumerate(decoded(given, 8, 5), start=1):
        assert len(block.pixels) == 5
        assert begun[0] <= 5 * (number + files.AHEAD)
    assert begun[0] == 200


def test_whoever_stops_listening_stops_the_decoding(folder: Path) -> None:
    before = threading.active_count()
    blocks = decoded([folder / "dark" / "0.png"] * 100, 8, 5)
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_images_are_prepared_as_those_of_a_data_set(tmp_path: Path) -> None:
    """Sixteen bits and a palette, as the loader of training images reads them."""
    Image.fromarray(np.full((9, 7), 40000, np.uint16)).save(tmp_path / "deep.png")
    (block,) = decoded([tmp_path / "deep.png"], 8, 4)
    np.testing.assert_array_equal(block.pixels[0], decode(tmp_path / "deep.png", 8))
