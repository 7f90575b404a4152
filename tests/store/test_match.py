"""Which layer is which, in made-up networks where the answer is plain and in real files nobody here wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from wdiv.layers import LayerTable
from wdiv.store.foreign import layers_from_shapes, open_checkpoint
from wdiv.store.match import match_layers

CONV, WIDE, BN, FC = (8, 3, 3, 3), (16, 8, 3, 3), (8,), (10, 16)


def table(**layers: tuple[int, ...]) -> LayerTable:
    """A network from names (``__`` for a dot) and the shapes of their weights; one dimension makes a BatchNorm."""
    shapes = {}
    for name, shape in layers.items():
        owner = name.replace("__", ".")
        shapes[f"{owner}.weight"] = shape
        if len(shape) == 1:
            shapes[f"{owner}.running_mean"] = shape
    return layers_from_shapes(shapes)


def prefixed(prefix: str, layers: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {prefix + name: shape for name, shape in layers.items()}


TRUNK = {"one": CONV, "two": BN, "three": WIDE}


@pytest.mark.parametrize(
    ("a", "b", "pairs", "rule"),
    [
        (TRUNK, TRUNK, {"one": "one", "two": "two", "three": "three"}, "by name"),
        # a name decides, whatever the shape: another number of classes is for the measuring to refuse
        ({**TRUNK, "fc": FC}, {**TRUNK, "fc": (3, 16)}, {n: n for n in (*TRUNK, "fc")}, "by name"),
        # but not across kinds
        ({"one": CONV, "x": BN}, {"one": CONV, "x": FC}, {"one": "one"}, "by name"),
        # what only one of them has stays alone
        ({**TRUNK, "more": (9, 9, 1, 1)}, TRUNK, {n: n for n in TRUNK}, "by name"),
        (
            TRUNK,
            prefixed("body__", TRUNK),
            {n: f"body.{n}" for n in TRUNK},
            "by name, with '' in A for 'body.' in B",
        ),
        (
            prefixed("a__b__", TRUNK),
            prefixed("x__", TRUNK),
            {f"a.b.{n}": f"x.{n}" for n in TRUNK},
            "by name, with 'a.b.' in A for 'x.' in B",
        ),
        # some by name, the rest by one change of prefix
        (
            {**TRUNK, "fc": FC},
            {**prefixed("body__", TRUNK), "fc": (3, 16)},
            {**{n: f"body.{n}" for n in TRUNK}, "fc": "fc"},
            "by name, with '' in A for 'body.' in B",
        ),
        # under the prefix too, a layer of another shape is no partner
        (
            TRUNK,
            {**prefixed("body__", TRUNK), "body__three": (5, 5, 5, 5)},
            {"one": "body.one", "two": "body.two"},
            "by name, with '' in A for 'body.' in B",
        ),
        ({"p": CONV, "q": BN}, {"x": CONV, "y": BN}, {"p": "x", "q": "y"}, "by shape and order"),
        # the smaller network finds its layers within the larger, from either side
        (
            {"p": CONV, "q": WIDE},
            {"x": CONV, "y": BN, "z": WIDE, "w": WIDE},
            {"p": "x", "q": "z"},
            "by shape and order",
        ),
        (
            {"x": CONV, "y": BN, "z": WIDE, "w": WIDE},
            {"p": CONV, "q": WIDE},
            {"x": "p", "z": "q"},
            "by shape and order",
        ),
        # all of them or none: the order is only believed whole
        (
            {"p": CONV, "q": WIDE},
            {"x": WIDE, "y": CONV},
            {},
            "no layer of one has a partner in the other",
        ),
        ({"p": CONV}, {"x": BN}, {}, "no layer of one has a partner in the other"),
        ({"p": CONV}, {}, {}, "no layer of one has a partner in the other"),
    ],
)
def test_partners(
    a: dict[str, tuple[int, ...]], b: dict[str, tuple[int, ...]], pairs: dict[str, str], rule: str
) -> None:
    matching = match_layers(table(**a), table(**b))
    assert matching.pairs == pairs
    assert matching.rule == rule


def blocks(pattern: str) -> LayerTable:
    """Four stages of two blocks, all of the same shapes."""
    names = [pattern.format(s, s + 1, b) for s in range(4) for b in range(2)]
    return table(**{f"{name}__{n}": shape for name in names for n, shape in (("conv", CONV), ("bn", BN))})


def test_a_prefix_that_fits_the_smaller_part_is_not_believed() -> None:
    """'layer1.' is 'stages.0.' and 'layer2.' is 'stages.1.': one change of prefix would leave six of eight blocks."""
    a, b = blocks("layer{1}__{2}"), blocks("stages__{0}__{2}")
    matching = match_layers(a, b)
    assert matching.rule == "by shape and order"
    assert list(matching.pairs.items()) == [(x.name, y.name) for x, y in zip(a, b, strict=True)]


def test_no_layer_has_two_partners() -> None:
    rng = np.random.default_rng(0)
    shapes, heads, tails = (CONV, BN, WIDE), ("", "a__", "b__", "a__b__"), ("x", "y", "z", "0", "1")
    for _ in range(200):
        a, b = (
            table(
                **{
                    heads[rng.integers(4)] + tails[rng.integers(5)]: shapes[rng.integers(3)]
                    for _ in range(rng.integers(1, 12))
                }
            )
            for _ in range(2)
        )
        pairs = match_layers(a, b).pairs
        assert len(set(pairs.values())) == len(pairs)
        assert all(x in a and y in b and a[x].kind == b[y].kind for x, y in pairs.items())
        assert all(x == y or a[x].shape == b[y].shape for x, y in pairs.items())


# A detector fine-tuned from ImageNet weights, by strangers


def kl(a: np.ndarray, b: np.ndarray) -> float:
    """KL(A‖B) of the Gaussians with the arrays' means and standard deviations."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.log(b.std() / a.std()) + (a.var() + (a.mean() - b.mean()) ** 2) / (2 * b.var()) - 0.5)


@pytest.fixture(scope="module")
def divergence(shared: Path) -> dict[int, float]:
    """Epoch -> mean KL of the convolutions' kernels, ImageNet against the detector's backbone."""
    pytest.importorskip("torch")
    folder, found = shared / "checkpoints", {}
    a = open_checkpoint(folder / "mobilenet_v1_x025_imagenet.pth.tar")
    assert a.peeled == ("state_dict", "module.")
    for epoch in (10, 40, 140, 245):
        b = open_checkpoint(folder / f"mobilenet0.25_epoch_{epoch}.pth")
        matching = match_layers(a.table, b.table)
        assert matching.rule == "by name, with '' in A for 'body.' in B"
        assert all(y == f"body.{x}" for x, y in matching.pairs.items())
        kinds = [a.table[x].kind for x in matching.pairs]
        assert (kinds.count("conv"), kinds.count("bn"), kinds.count("fc")) == (27, 27, 0)
        pairs = [(a.table[x], b.table[y]) for x, y in matching.pairs.items() if a.table[x].kind == "conv"]
        found[epoch] = float(np.mean([kl(a.tensor(x, "weight"), b.tensor(y, "weight")) for x, y in pairs]))
    return found


def test_the_backbone_of_a_real_detector_is_found_and_drifts(divergence: dict[int, float]) -> None:
    assert divergence[245] == pytest.approx(0.037993, rel=1e-4)
    assert divergence[10] == pytest.approx(1.2077e-5, rel=1e-4)
    assert divergence[10] < divergence[40] < divergence[140] < divergence[245]
