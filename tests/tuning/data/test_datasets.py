"""Data sets by name and by folder: the same images for everyone, and one test set whatever is trained."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wdiv.errors import BadData, BadInput
from wdiv.tuning.data.datasets import DATASETS, DEFAULT_TEST_FRACTION, open_split
from wdiv.tuning.data.images import nested_subset


def fill(root: Path, classes: str = "abc", count: int = 8) -> Path:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng([label, i]).integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.mark.parametrize("name", DATASETS)
def test_a_registered_data_set_is_what_its_record_says(name: str) -> None:
    record = DATASETS[name]
    images = record.read(12)
    assert len(images) == record.images == len(images.pixels) == len(images.names)
    assert len(images.classes) == record.classes
    assert images.pixels.shape[1:] == (3, 12, 12)
    assert images.pixels.dtype == np.uint8
    assert images.counts().min() > 100
    assert images.pixels.max() > 250
    assert record.source
    assert record.long_name


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    data, images = load_digits(), DATASETS["digits"].read(8)
    assert images.labels.tolist() == data.target.tolist()
    for channel in range(3):
        np.testing.assert_allclose(images.pixels[:, channel] / 255 * 16, data.images, atol=0.05)
    halves = [DATASETS[name].read(8) for name in ("digits-0-4", "digits-5-9")]
    assert sum(map(len, halves)) == len(images)
    assert halves[1].classes == ("5", "6", "7", "8", "9")
    assert np.array_equal(halves[1].labels + 5, data.target[data.target >= 5])


def test_one_test_set_for_all_sizes_and_seeds_of_the_training_set() -> None:
    split = open_split("digits-5-9", 8, test_count=50)
    assert split.test.counts().tolist() == [50] * 5
    assert split.digest == open_split("digits-5-9", 8, test_count=50).digest
    test = set(split.test.names)
    for size, seed in ((5, 0), (20, 0), (20, 1), (None, 2)):
        train = split.pool.take(nested_subset(split.pool, size, seed))
        assert not test & set(train.names)
    other = open_split("digits-5-9", 8, test_count=50, split_seed=1)
    assert set(other.test.names) != test
    assert open_split("digits-5-9", 32, test_count=50).test.names == split.test.names, "nor does the image size matter"


def test_a_quarter_is_set_aside_unless_something_else_is_said() -> None:
    split = open_split("digits-5-9", 8)
    whole = split.pool.counts() + split.test.counts()
    assert DEFAULT_TEST_FRACTION == 0.25
    assert split.test.counts().tolist() == [round(n / 4) for n in whole]
    assert open_split("digits-5-9", 8, test_fraction=0.25).digest == split.digest
    assert open_split("digits-5-9", 8, test_fraction=0.5).test.counts().tolist() == [round(n / 2) for n in whole]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"test_count": 5, "test_fraction": 0.5}, "give a test count or a test fraction, not both"),
        ({"test_count": 0}, "test count: at least 1 image of each class, not 0"),
        ({"test_fraction": 0.0}, "test fraction: between 0 and 1, not 0.0"),
        ({"test_fraction": 1.0}, "test fraction: between 0 and 1, not 1.0"),
        ({"test_fraction": float("nan")}, "test fraction: between 0 and 1"),
    ],
    ids=str,
)
def test_a_split_that_cannot_be_is_an_error(how: dict, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        open_split("digits", 8, **how)


def test_a_folder_is_split_by_name_and_seed_and_not_by_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill(tmp_path / "images")
    split = open_split(str(root), 8, test_count=2)
    assert split.name == "images"
    assert (split.pool.counts().tolist(), split.test.counts().tolist()) == ([6] * 3, [2] * 3)
    assert split.notes == ()
    monkeypatch.chdir(root)
    for name in (".", "../images", f"..{os.sep}images{os.sep}"):
        again = open_split(name, 8, test_count=2)
        assert (again.name, again.digest, again.test.names) == ("images", split.digest, split.test.names)


def test_a_folder_with_its_own_split_keeps_it(tmp_path: Path) -> None:
    root = tmp_path / "images"
    fill(root / "train", count=5)
    fill(root / "val", count=3)
    split = open_split(str(root), 8)
    assert split.name == "images"
    assert (split.pool.counts().tolist(), split.test.counts().tolist()) == ([5] * 3, [3] * 3)
    assert split.copies().sum() == 9, "the same pictures stand in both here, and that is seen"
    for how in ({"test_count": 1}, {"test_fraction": 0.5}):
        with pytest.raises(BadInput, match="has its own test folder 'val'; leave the test count or fraction out"):
            open_split(str(root), 8, **how)
    (root / "val" / "c").rename(root / "val" / "d")
    with pytest.raises(BadData, match="the classes of train and val differ: c, d"):
        open_split(str(root), 8)


@pytest.mark.parametrize("own", [False, True])
def test_images_left_out_are_noted(own: bool, tmp_path: Path) -> None:
    root = tmp_path / "images"
    for part in ("train", "test") if own else (".",):
        fill(root / part)
        (root / part / "a" / "9.png").write_bytes(b"")
    with pytest.raises(BadData, match="1 of 25 images cannot be read"):
        open_split(str(root), 8)
    (note,) = open_split(str(root), 8, skip_bad=True).notes
    assert note.startswith(f"images: {1 + own} images left out: a/9.png: empty file")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digitz", "no data set and no folder 'digitz'; did you mean 'digits'"),
        ("no/such/folder", "no/such/folder: no such folder of images"),
        ("digits-5", "did you mean 'digits-5-9'"),
    ],
)
def test_data_that_is_not_there_is_an_error(name: str, words: str) -> None:
    with pytest.raises(BadData, match=words):
        open_split(name, 8)


def test_the_real_steel_surfaces(shared: Path) -> None:
    split = open_split(str(shared / "data" / "neu"), 16, test_count=60)
    assert split.name == "neu"
    assert len(split.pool.classes) == 6
    assert split.pool.counts().tolist() == [240] * 6
    assert split.test.counts().tolist() == [60] * 6
    everything = np.concatenate([split.pool.pixels, split.test.pixels])
    assert len(everything) == 1800
    assert len({image.tobytes() for image in everything}) == 1799, "patches_101 = patches_105"
    names = set(split.pool.names + split.test.names)
    assert {"patches/patches_101.jpg", "patches/patches_105.jpg"} <= names
    assert (everything[:, 0] == everything[:, 1]).all(), "grey, stored as RGB"
