"""Simulated ferrographs: the same for everyone, as many as the paper's, what their labels say, and not too easy."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from wdiv.errors import BadInput
from wdiv.tuning.data.datasets import DATASETS, open_split
from wdiv.tuning.data.ferrographs import CLASSES, COUNTS, SIDE, draw, read, scene
from wdiv.tuning.data.images import ImageSet, Split
from wdiv.tuning.data.particles import PARTICLE_KINDS

FEW = [(split, label, index) for split in COUNTS for label in range(len(CLASSES)) for index in (0, 39)]

PINNED = "5c46128a5f664e89adef17a037bf17dd3335a58e3237bd4ba24f46b2c7cee85d"
"""Of the images in FEW. Only uniform numbers and bytes are drawn, and everything is computed in float64 and rounded to
uint8 at the end, so that another platform's last bit of an exponential reaches one pixel in some 1e12."""


def digest(images: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return read(SIDE)


@pytest.fixture(scope="module")
def small() -> Split:
    return open_split("ferrographs", 8)


def test_pictures_stay_what_they_were() -> None:
    assert digest([draw(scene(*one)) for one in FEW]) == PINNED


def test_pictures_are_the_same_in_every_process_and_order() -> None:
    program = (
        "from wdiv.tuning.data.ferrographs import *\n"
        "from tests.tuning.data.test_ferrographs import FEW, digest\n"
        "found = {one: draw(scene(*one)) for one in FEW[::-1]}\n"
        "print(digest([found[one] for one in FEW]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == PINNED


def test_as_many_images_as_in_the_paper(small: Split, images: ImageSet) -> None:
    assert (len(small.pool), len(small.test)) == (909, 881)
    assert small.pool.counts().tolist() == list(COUNTS["train"])
    assert small.test.counts().tolist() == list(COUNTS["test"])
    assert small.pool.counts().min() >= 40, "40 of each class are trained on"
    assert len(set(COUNTS["train"])) > 1
    assert len(small.pool.classes) == 7
    assert small.pool.names + small.test.names == images.names
    assert all(name.startswith("train/") for name in small.pool.names)
    assert all(name.startswith("test/") for name in small.test.names)
    assert all(name.split("/")[1] == images.classes[i] for name, i in zip(images.names, images.labels, strict=True))


def test_no_two_images_are_alike(images: ImageSet) -> None:
    assert len({image.tobytes() for image in images.pixels}) == len(images) == len(set(images.names))


def test_a_picture_is_the_one_its_name_says(images: ImageSet) -> None:
    for split, label, index in FEW:
        at = images.names.index(f"{split}/{images.classes[label]}/{index:03d}")
        np.testing.assert_array_equal(images.pixels[at], draw(scene(split, label, index)))


def test_labels_are_the_kinds_of_the_particles() -> None:
    for split, counts in COUNTS.items():
        for label, (kinds, count) in enumerate(zip(CLASSES.values(), counts, strict=True)):
            for index in range(count):
                shown = scene(split, label, index)
                assert {particle.kind for particle in shown.particles} == set(kinds)
                for particle in shown.particles:
                    low, high = PARTICLE_KINDS[particle.kind].sizes
                    assert low <= particle.size <= high
                    assert 0 < particle.x < shown.field
                    assert 0 < particle.y < shown.field
    assert set().union(*CLASSES.values()) == set(PARTICLE_KINDS)


@pytest.mark.parametrize("label", [i for i, kinds in enumerate(CLASSES.values()) if kinds])
def test_every_kind_that_an_image_is_labelled_with_can_be_seen(label: int) -> None:
    for index in range(12):
        shown = scene("test", label, index)
        whole = draw(shown).astype(int)
        for kind in CLASSES[tuple(CLASSES)[label]]:
            without = draw(replace(shown, particles=tuple(p for p in shown.particles if p.kind != kind))).astype(int)
            changed = (abs(whole - without).max(axis=0) > 25).sum()
            assert changed >= 12, f"{kind} in test image {index}"


def test_a_mean_colour_tells_the_classes_no_better_than_guessing(images: ImageSet) -> None:
    """Nearest class mean: 21 % are right; the largest class alone is 19 %."""
    train = DATASETS["ferrographs"].n_train
    colour = images.pixels.mean(axis=(2, 3))
    centres = np.stack([colour[:train][images.labels[:train] == label].mean(axis=0) for label in range(len(CLASSES))])
    nearest = ((colour[train:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == images.labels[train:]).mean() < 0.3


@pytest.mark.parametrize("size", [32, 64, 150])
def test_sizes(size: int, images: ImageSet) -> None:
    found = read(size)
    assert found.pixels.shape == (len(images), 3, size, size)
    assert found.pixels.dtype == np.uint8
    assert (found.names, found.labels.tolist()) == (images.names, images.labels.tolist())
    mean = images.pixels.mean(axis=(2, 3))
    np.testing.assert_allclose(found.pixels.mean(axis=(2, 3)), mean, atol=1.5, err_msg="the same pictures, smaller")


def test_its_split_is_its_own(small: Split) -> None:
    assert open_split("ferrographs", 8, split_seed=5).digest == small.digest
    for how in ({"test_count": 5}, {"test_fraction": 0.5}):
        with pytest.raises(BadInput, match="ferrographs: has its own test images; leave the test count or fraction"):
            open_split("ferrographs", 8, **how)
