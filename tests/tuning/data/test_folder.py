"""Folders of images as people keep them: every kind of file, and every kind of accident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wdiv.errors import BadData
from wdiv.tuning.data import folder
from wdiv.tuning.data.folder import decode, read_folder, split_folders

SIZE = 8
COLOUR = (200, 100, 50)


def picture(seed: int = 0, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Classes ``a`` and ``b`` with three pictures each."""
    for label, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(picture(10 * label + i)).save(tmp_path / name / f"{i}.png")
    return tmp_path


# --- one file ------------------------------------------------------------------------------------------------------

GREY16 = (np.arange(SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE) * 1024) + 77
UNIT = (np.arange(SIZE * SIZE, dtype=np.float32) / 63).reshape(SIZE, SIZE)


def kinds() -> dict[str, tuple[Image.Image, dict[str, Any], np.ndarray]]:
    """File name -> the image, how it is saved, and the (size, size, 3) pixels it is to become."""
    rgb = picture()
    grey = rgb[..., 0]
    alpha = np.full((SIZE, SIZE), 90, np.uint8)
    palette = Image.fromarray(grey % 4).convert("P")
    palette.putpalette([*COLOUR, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    colours = np.array([COLOUR, (1, 2, 3), (4, 5, 6), (7, 8, 9)], np.uint8)
    bits = grey > 127
    as_grey = np.repeat(grey[..., None], 3, 2)
    upper = np.repeat((GREY16 >> 8).astype(np.uint8)[..., None], 3, 2)
    return {
        "rgb.png": (Image.fromarray(rgb), {}, rgb),
        "rgb.bmp": (Image.fromarray(rgb), {}, rgb),
        "rgb.webp": (Image.fromarray(rgb), {"lossless": True}, rgb),
        "rgb.ppm": (Image.fromarray(rgb), {}, rgb),
        "grey.png": (Image.fromarray(grey), {}, as_grey),
        "grey.pgm": (Image.fromarray(grey), {}, as_grey),
        "RGBA.PNG": (Image.fromarray(np.dstack([rgb, alpha])), {}, rgb),
        "la.png": (Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), {}, as_grey),
        "palette.png": (palette, {}, colours[grey % 4]),
        "palette.gif": (palette, {}, colours[grey % 4]),
        "seethrough.png": (palette, {"transparency": 0}, colours[grey % 4]),
        "bits.png": (Image.fromarray(bits), {}, np.repeat(bits[..., None] * np.uint8(255), 3, 2)),
        "bits.tif": (Image.fromarray(bits), {}, np.repeat(bits[..., None] * np.uint8(255), 3, 2)),
        "grey16.png": (Image.fromarray(GREY16), {}, upper),
        "grey16.tif": (Image.fromarray(GREY16), {}, upper),
        "grey32.tif": (Image.fromarray(GREY16.astype(np.int32)), {}, upper),
        "float.tiff": (Image.fromarray(UNIT), {}, np.repeat(np.round(UNIT * 255).astype(np.uint8)[..., None], 3, 2)),
    }


@pytest.mark.parametrize("name", kinds())
def test_every_kind_of_image_becomes_rgb(name: str, tmp_path: Path) -> None:
    image, how, expected = kinds()[name]
    image.save(tmp_path / name, **how)
    found = decode(tmp_path / name, SIZE)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.array_equal(found, expected.transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "L"])
def test_jpeg_of_every_colour_space(mode: str, tmp_path: Path) -> None:
    flat = Image.new("RGB", (SIZE, SIZE), COLOUR).convert(mode)
    flat.save(tmp_path / "x.jpg", quality=100)
    expected = np.asarray(flat.convert("RGB")).transpose(2, 0, 1).astype(int)
    assert np.abs(decode(tmp_path / "x.jpg", SIZE).astype(int) - expected).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_its_camera_says(orientation: int, tmp_path: Path) -> None:
    upright = picture()
    turn = {  # orientation -> what the file holds, such that the tag turns it upright
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright, 1), 7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(turn)).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(decode(tmp_path / "x.png", SIZE).transpose(1, 2, 0), upright)


def test_nothing_is_cut_off_and_both_sides_are_scaled(tmp_path: Path) -> None:
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, :10] = 255  # the left quarter, all of its height
    Image.fromarray(wide).save(tmp_path / "x.png")
    found = decode(tmp_path / "x.png", 16)
    assert found.shape == (3, 16, 16)
    assert (found[:, :, :3] == 255).all()
    assert (found[:, :, 5:] == 0).all()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.fromarray(np.full((SIZE, SIZE), 70000, np.int32)), "pixel values 70000 to 70000, more than 16 bits"),
        (Image.fromarray(np.full((SIZE, SIZE), 1.5, np.float32)), "floating-point pixels outside 0 to 1"),
        (Image.fromarray(np.full((SIZE, SIZE), np.nan, np.float32)), "floating-point pixels outside 0 to 1"),
    ],
)
def test_pixels_whose_scale_nobody_knows_are_an_error(image: Image.Image, words: str, tmp_path: Path) -> None:
    image.save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=words):
        decode(tmp_path / "x.tif", SIZE)


def test_a_decompression_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(picture(size=40)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises((Image.DecompressionBombWarning, Image.DecompressionBombError)):
        decode(tmp_path / "x.png", SIZE)


# --- a folder ------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_the_order_of_its_names(root: Path) -> None:
    images, bad = read_folder(root, SIZE)
    assert images.names == ("a/0.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png", "b/2.png")
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.classes == ("a", "b")
    assert bad == ()
    for pixels, seed in zip(images.pixels, (0, 1, 2, 10, 11, 12), strict=True):
        assert np.array_equal(pixels.transpose(1, 2, 0), picture(seed))


def test_the_order_is_not_the_file_systems(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_folder(root, SIZE)[0]
    iterdir, rglob = Path.iterdir, Path.rglob
    monkeypatch.setattr(Path, "iterdir", lambda self: sorted(iterdir(self), reverse=True))
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: sorted(rglob(self, pattern), reverse=True))
    found = read_folder(root, SIZE)[0]
    assert (found.names, found.digest) == (expected.names, expected.digest)


def test_names_may_be_any_text_and_folders_may_be_nested(root: Path) -> None:
    deep = root / "Verschleiß 磨损" / "2019" / "März"
    deep.mkdir(parents=True)
    Image.fromarray(picture(5)).save(deep / "Bild Ü – 1.PNG")
    images, _ = read_folder(root, SIZE)
    assert images.classes == ("Verschleiß 磨损", "a", "b")
    assert images.names[0] == "Verschleiß 磨损/2019/März/Bild Ü – 1.PNG"
    assert np.array_equal(images.pixels[0].transpose(1, 2, 0), picture(5))


def test_what_is_hidden_or_no_image_is_passed_over(root: Path) -> None:
    expected = read_folder(root, SIZE)[0].digest
    for name in (".git/x.png", "__MACOSX/a/x.png", "a/.ipynb_checkpoints/0-checkpoint.png", "a/._0.png", "b/.x/y/z.png",
                 "a/notes.txt", "a/Thumbs.db", "readme.png", "b/labels.csv", "a/__MACOSX/0.png"):  # fmt: skip
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(77)).save(file, format="png")
    (root / "a" / "folder.png").mkdir()
    images, bad = read_folder(root, SIZE)
    assert images.digest == expected
    assert bad == ()


def spoil(root: Path) -> list[str]:
    """Bad files of four kinds; what is said of each."""
    (root / "a" / "empty.png").write_bytes(b"")
    (root / "a" / "text.jpg").write_text("no image")
    whole = (root / "b" / "0.png").read_bytes()
    (root / "b" / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.full((SIZE, SIZE), 9.0, np.float32)).save(root / "b" / "far.tif")
    return [
        "a/empty.png: empty file",
        "a/text.jpg: cannot identify image file 'text.jpg'",
        "b/cut.png: ",
        "b/far.tif: ",
    ]


def test_bad_files_are_counted_and_named(root: Path) -> None:
    lines = spoil(root)
    with pytest.raises(BadData) as caught:
        read_folder(root, SIZE)
    message = str(caught.value)
    assert "4 of 10 images cannot be read" in message
    assert all(line in message for line in lines[:3])
    assert message.count("…") == 1, "three are shown"
    assert "--skip-bad-images leaves them out" in message


def test_bad_files_are_left_out_on_request_and_told(root: Path) -> None:
    expected = read_folder(root, SIZE)[0].digest
    lines = spoil(root)
    images, bad = read_folder(root, SIZE, skip_bad=True)
    assert images.digest == expected
    assert len(bad) == 4
    assert all(found.startswith(line) for found, line in zip(bad, lines, strict=True))


def test_a_class_whose_images_are_all_bad_is_an_error_even_then(root: Path) -> None:
    (root / "c").mkdir()
    (root / "c" / "x.png").write_bytes(b"")
    with pytest.raises(BadData, match="class 'c' has no readable image"):
        read_folder(root, SIZE, skip_bad=True)


def test_a_class_without_images_is_an_error(root: Path) -> None:
    (root / "c").mkdir()
    with pytest.raises(BadData, match="class 'c' has no readable image"):
        read_folder(root, SIZE)


@pytest.mark.parametrize(
    ("classes", "found"), [([], "none"), (["only"], "only 'only'"), ([".hidden", "x"], "only 'x'")]
)
def test_fewer_than_two_classes_are_an_error(classes: list[str], found: str, tmp_path: Path) -> None:
    for name in classes:
        (tmp_path / name).mkdir()
    with pytest.raises(BadData, match=f"needs a folder for each of at least two classes; found {found}"):
        read_folder(tmp_path, SIZE)


# --- a folder with its own split -----------------------------------------------------------------------------------


def layout(root: Path, folders: dict[str, str]) -> None:
    for name, classes in folders.items():
        for label in classes:
            (root / name / label).mkdir(parents=True)


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        ({"train": "ab", "test": "ab"}, ("train", "test")),
        ({"Training": "ab", "Validation": "ab"}, ("Training", "Validation")),
        ({"train": "ab", "test": "ab", "val": "xy"}, ("train", "test")),
        ({"train": "ab", "valid": "ab", "extra": "q"}, ("train", "valid")),
        ({"train": "ab"}, None),
        ({"cats": "", "dogs": ""}, None),
        ({"test": "ab", "other": "ab"}, None),
    ],
)
def test_own_folders_for_train_and_test_are_found(
    folders: dict[str, str], found: tuple[str, str] | None, tmp_path: Path
) -> None:
    layout(tmp_path, folders)
    own = split_folders(tmp_path)
    assert (own and tuple(part.name for part in own)) == found


def test_own_folders_must_have_the_same_classes(tmp_path: Path) -> None:
    layout(tmp_path, {"train": "abc", "test": "abd"})
    with pytest.raises(BadData, match="the classes of train and test differ: c, d"):
        split_folders(tmp_path)


def test_what_is_no_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadData, match="file: not a folder"):
        split_folders(tmp_path / "file")
    with pytest.raises(BadData, match="gone: no such folder of images"):
        split_folders(tmp_path / "gone")


def test_every_ending_is_tested() -> None:
    tested = {Path(name).suffix.lower() for name in kinds()} | {".jpg", ".jpeg"}
    assert tested == folder.EXTENSIONS
