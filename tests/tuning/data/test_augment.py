"""Augmentation against SciPy, NumPy and torchvision, which know nothing of it, and against the laws it states."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from wdiv.errors import BadInput
from wdiv.tuning.data.augment import AUGMENTATIONS, PRESETS, Augment, parse

H, W = 18, 26  # two sides, so that none is taken for the other
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 3, H, W), dtype=np.uint8)
CLOSE = 0.02  # of 255: noise as an image, sampled a hundred-thousandth of a pixel aside


class Scripted:
    """A generator that gives the numbers it is told, image by image."""

    def __init__(self, draws: object) -> None:
        self.draws = np.array(draws, dtype=np.float64)

    def random(self, shape: tuple[int, int]) -> np.ndarray:
        return np.broadcast_to(self.draws, shape).copy()


def run(augment: Augment, draws: object, pixels: np.ndarray = PIXELS) -> np.ndarray:
    return augment(torch.from_numpy(pixels.copy()), Scripted(draws)).numpy()  # type: ignore[arg-type]


def warped(image: np.ndarray, matrix: object, offset: object = (0.0, 0.0)) -> np.ndarray:
    """SciPy's: the place (row, column) in the image of each place in the result, both from the centre."""
    centre = (np.array(image.shape[1:]) - 1) / 2
    matrix = np.array(matrix, dtype=np.float64)
    start = centre - matrix @ centre + offset
    plain = image.astype(np.float64)
    return np.stack([ndimage.affine_transform(c, matrix, start, order=1, mode="nearest") for c in plain])


def crop(image: np.ndarray, strength: float, u: list[float]) -> np.ndarray:
    area = strength + (1 - strength) * u[0]
    fits = [r for r in np.geomspace(3 / 4, 4 / 3, 100001) if area * W * H * r <= W**2 and area * W * H / r <= H**2]
    fits = fits or [area * W / H]  # as square as it can be, the image being wider than 4/3
    aspect = fits[0] * (fits[-1] / fits[0]) ** u[1]
    wide, high = np.sqrt(area * W * H * aspect), np.sqrt(area * W * H / aspect)
    top, left = u[2] * (H - high), u[3] * (W - wide)
    rows, columns = (np.arange(H) + 0.5) * high / H + top - 0.5, (np.arange(W) + 0.5) * wide / W + left - 0.5
    places = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([ndimage.map_coordinates(c, places, order=1, mode="nearest") for c in image.astype(np.float64)])


def rotate(image: np.ndarray, strength: float, u: list[float]) -> np.ndarray:
    angle = np.deg2rad(2 * strength * u[0] - strength)
    return warped(image, [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def shift(image: np.ndarray, strength: float, u: list[float]) -> np.ndarray:
    down, right = strength * H * (1 - 2 * u[0]), strength * W * (1 - 2 * u[1])
    return ndimage.shift(image.astype(np.float64), (0, down, right), order=1, mode="nearest")


def shear(image: np.ndarray, strength: float, u: list[float]) -> np.ndarray:
    angle = np.deg2rad(2 * strength * u[0] - strength)
    return warped(image, [[1, -np.sin(angle)], [0, np.cos(angle)]])


def zoom(image: np.ndarray, strength: float, u: list[float]) -> np.ndarray:
    return warped(image, np.diag([1 - strength + 2 * strength * share for share in u]))


def torchvisions(function: Callable[..., torch.Tensor]) -> Callable[..., np.ndarray]:
    def oracle(image: np.ndarray, strength: float, u: list[float]) -> np.ndarray:
        scaled = torch.from_numpy(image).double() / 255
        return function(scaled, 1 - strength + 2 * strength * u[0]).numpy() * 255

    return oracle


ORACLES: dict[str, Callable[[np.ndarray, float, list[float]], np.ndarray]] = {
    "flip": lambda image, strength, u: image[:, :, ::-1] if u[0] < strength else image,
    "vflip": lambda image, strength, u: image[:, ::-1] if u[0] < strength else image,
    "crop": crop,
    "rotate": rotate,
    "shift": shift,
    "shear": shear,
    "zoom": zoom,
    "light": torchvisions(tv.adjust_brightness),
    "contrast": torchvisions(tv.adjust_contrast),
}
STILL = {"crop": 1.0}  # the draw that changes nothing, where that is not the middle


def test_every_augmentation_has_an_oracle() -> None:
    assert set(ORACLES) == set(AUGMENTATIONS)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_each_does_what_its_oracle_does(name: str, share: float) -> None:
    record = AUGMENTATIONS[name]
    for strength in (record.default, 0.6 * record.most):
        # another draw for each image
        draws = np.random.default_rng(1).random((len(PIXELS), record.draws))
        draws[0] = share
        found = run(parse([f"{name}={strength}"]), draws)
        expected = np.stack([ORACLES[name](i, strength, list(u)) for i, u in zip(PIXELS, draws, strict=True)])
        if record.kind == "mirror":
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(found, expected, atol=CLOSE)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_middle_of_the_draws_is_the_image_itself(name: str) -> None:
    found = run(parse([name]), [STILL.get(name, 0.5)] * AUGMENTATIONS[name].draws)
    np.testing.assert_allclose(found, PIXELS, atol=CLOSE)


def test_the_records_are_whole() -> None:
    for record in AUGMENTATIONS.values():
        assert 0 < record.default <= record.most
        assert record.kind in ("mirror", "map", "tone")
        assert all((record.long_name, record.unit, record.source))
    kinds = [record.kind for record in AUGMENTATIONS.values()]
    assert kinds == sorted(kinds, key=["mirror", "map", "tone"].index), "the registry's order is the order of work"


def test_gupta2020_is_keras_with_their_table() -> None:
    augment = parse(["gupta2020"])
    assert augment.names == ("flip", "rotate=50", "shift=0.2", "shear=0.2", "zoom=0.3")
    draws = np.random.default_rng(2).random((3, 7))
    for image, u, found in zip(PIXELS, draws, run(augment, draws), strict=True):
        flipped = image[:, :, ::-1] if u[0] < 0.5 else image
        theta, slant = np.deg2rad(50 * (2 * u[1] - 1)), np.deg2rad(0.2 * (2 * u[4] - 1))
        matrix = np.eye(3)  # Keras': R T S Z, each in turn from the right
        for part in (
            [[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]],
            [[1, 0, 0.2 * H * (2 * u[2] - 1)], [0, 1, 0.2 * W * (2 * u[3] - 1)], [0, 0, 1]],
            [[1, -np.sin(slant), 0], [0, np.cos(slant), 0], [0, 0, 1]],
            np.diag([0.7 + 0.6 * u[5], 0.7 + 0.6 * u[6], 1]),
        ):
            matrix = matrix @ np.array(part)
        np.testing.assert_allclose(found, warped(flipped, matrix[:2, :2], matrix[:2, 2]), atol=CLOSE)


@pytest.mark.parametrize("degrees", [-30.0, 20.0])
def test_a_turn_is_torchvisions_clockwise_one(degrees: float) -> None:
    theirs = tv.affine(
        torch.from_numpy(PIXELS).float(), degrees, [0, 0], 1.0, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR
    ).numpy()
    ours = run(parse([f"rotate={abs(degrees)}"]), 0.0 if degrees < 0 else 1.0)
    inner = (..., slice(H // 2 - 3, H // 2 + 3), slice(W // 2 - 3, W // 2 + 3))  # they fill with black outside
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=0.05)


def test_a_crop_is_torchvisions_resized_crop() -> None:
    square = np.random.default_rng(3).integers(0, 256, (1, 3, 20, 20), dtype=np.uint8)
    top, left, side = 4, 7, 10  # a quarter of the area
    theirs = tv.resized_crop(torch.from_numpy(square).float(), top, left, side, side, [20, 20]).numpy()
    ours = run(parse(["crop=0.25"]), [0.0, 0.5, top / 10, left / 10], square)
    # they repeat the border of the crop, where the image goes on
    np.testing.assert_allclose(ours[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1], atol=CLOSE)


@given(u=st.lists(st.floats(0, 1), min_size=4, max_size=4), least=st.floats(0.01, 1), h=st.integers(8, 40))
def test_a_crop_lies_in_the_image_and_has_the_area_and_aspect_it_should(u: list[float], least: float, h: int) -> None:
    (matrix,) = AUGMENTATIONS["crop"].act(np.array([u]), least, h, 20)
    high, wide = matrix[0, 0] * h, matrix[1, 1] * 20
    assert high <= h * (1 + 1e-9)
    assert wide <= 20 * (1 + 1e-9)
    assert abs(matrix[0, 2]) <= (h - high) / 2 + 1e-9
    assert abs(matrix[1, 2]) <= (20 - wide) / 2 + 1e-9
    assert high * wide == pytest.approx((least + (1 - least) * u[0]) * h * 20)
    whole = 20 / h  # where no allowed aspect has that area inside the image, the nearest that has
    assert min(3 / 4, whole) * (1 - 1e-9) <= wide / high <= max(4 / 3, whole) * (1 + 1e-9)


@st.composite
def augments(draw: st.DrawFn) -> Augment:
    names = draw(st.sets(st.sampled_from(sorted(AUGMENTATIONS))))
    shares = {name: draw(st.floats(0.01, 1)) for name in sorted(names)}
    return parse([f"{name}={shares[name] * AUGMENTATIONS[name].most!r}" for name in shares])


def batch(seed: int, count: int = 4, side: int = 12) -> torch.Tensor:
    """Noise, black and white: the extremes are where a range is left."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    pixels[0], pixels[1] = 255, np.where(pixels[1] > 127, 255, 0)
    return torch.from_numpy(pixels)


@settings(max_examples=40)
@given(augment=augments(), seed=st.integers(0, 2**32 - 1))
def test_the_laws(augment: Augment, seed: int) -> None:
    pixels = batch(seed)
    before = pixels.clone()
    found = augment(pixels, np.random.default_rng([seed, 1]))
    assert torch.equal(pixels, before), "the images in memory are used again"
    assert (found.dtype, found.shape) == (torch.float32, pixels.shape)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= float(found.min()) <= float(found.max()) <= 255
    assert torch.equal(found, augment(pixels, np.random.default_rng([seed, 1]))), "same state, same bits"

    rng, counted = np.random.default_rng(seed), np.random.default_rng(seed)
    augment(pixels, rng)
    counted.random((len(pixels), sum(AUGMENTATIONS[name].draws for name, _ in augment.strengths)))
    assert rng.bit_generator.state == counted.bit_generator.state, "a fixed count of numbers for each image"


@settings(max_examples=40)
@given(augment=augments(), seed=st.integers(0, 2**32 - 1))
def test_an_image_becomes_the_same_in_any_batch(augment: Augment, seed: int) -> None:
    pixels = batch(seed)
    found = augment(pixels, np.random.default_rng(seed))
    for count in (1, 3):
        assert torch.equal(augment(pixels[:count], np.random.default_rng(seed)), found[:count])
    draws = np.random.default_rng(seed).random((4, sum(AUGMENTATIONS[name].draws for name, _ in augment.strengths)))
    order = [2, 0, 3, 1]
    assert np.array_equal(run(augment, draws[order], pixels[order].numpy()), found[order].numpy())


@given(augment=augments())
def test_the_spelling_is_canonical(augment: Augment) -> None:
    assert parse(augment.names) == augment
    assert parse(augment.names[::-1]) == augment
    assert bool(augment) == bool(augment.names)


def test_no_augmentation_is_the_images_as_floats() -> None:
    nothing, rng = parse([]), np.random.default_rng(0)
    found = nothing(torch.from_numpy(PIXELS), rng)
    assert not nothing
    assert nothing == Augment()
    np.testing.assert_array_equal(found.numpy(), PIXELS)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_entries(name: str) -> None:
    assert parse([name]) == parse(PRESETS[name].entries)
    assert name not in AUGMENTATIONS


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["rotat"], "unknown augmentation 'rotat'; did you mean 'rotate'"),
        (["gupta2002"], "did you mean 'gupta2020'?"),
        (["flip", "flip=0.3"], "augmentation 'flip' stands twice"),
        (["gupta2020", "zoom"], "augmentation 'zoom' stands twice"),
        (["gupta2020=2"], "'gupta2020' takes no strength"),
        (["rotate=0"], "above 0 and at most 180, not '0'"),
        (["rotate=nan"], "not 'nan'"),
        (["shift=two"], "not 'two'"),
        (["zoom="], "above 0 and at most 0.9, not ''"),
        ([3], "unknown augmentation 3"),
        ("flip", "a list of names, not 'flip'"),
    ],
)
def test_what_cannot_be_parsed_is_said_in_a_line(entries: list[str], message: str) -> None:
    with pytest.raises(BadInput) as error:
        parse(entries)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_a_gpu_gives_the_same_images(precision: str) -> None:
    augment, pixels = parse(["gupta2020", "vflip", "crop", "light", "contrast"]), batch(0, 8, 32)
    here = augment(pixels, np.random.default_rng(1))
    torch.set_float32_matmul_precision(precision)
    try:
        there = augment(pixels.cuda(), np.random.default_rng(1))
    finally:
        torch.set_float32_matmul_precision("highest")
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=0.05)
