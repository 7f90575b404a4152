"""Where a layer stands in its network: stage and block, from the module names of the families wdiv knows.

The head is the classifier and only it; whatever follows the last block in the trunk belongs to the last stage.
A family that is not listed is divided by the resolution of its feature maps (:func:`stages_by_resolution`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from wdiv.registry import Registry

__all__ = ["BESIDE", "MODEL_FAMILIES", "OUTSIDE", "ModelFamily", "family_of", "stages_by_name", "stages_by_resolution"]

BESIDE = "beside"
"""The module, and the stage, of a network that wdiv puts beside another one, whatever that is."""
OUTSIDE = ("head", "aux", BESIDE)
"""Stages that are no part of the trunk."""


@dataclass(frozen=True)
class ModelFamily:
    """``rules``: (pattern, stage), the first match of a layer's name wins; a group named ``block`` is its block.

    ``\\1`` in a stage is filled from the match.
    """

    name: str
    models: str
    rules: tuple[tuple[str, str], ...]
    source: str


_VGG_POOLS = {  # convolutions (with their BN) between two poolings: index ranges in ``features``
    "vgg11": (3, 6, 11, 16, 21),
    "vgg13": (5, 10, 15, 20, 25),
    "vgg16": (5, 10, 17, 24, 31),
    "vgg19": (5, 10, 19, 28, 37),
    "vgg11_bn": (4, 8, 15, 22, 29),
    "vgg13_bn": (7, 14, 21, 28, 35),
    "vgg16_bn": (7, 14, 24, 34, 44),
    "vgg19_bn": (7, 14, 27, 40, 53),
}


def _vgg_rules(ends: Sequence[int]) -> tuple[tuple[str, str], ...]:
    starts = (0, *ends)
    ranges = ("|".join(map(str, range(a, b))) for a, b in zip(starts, ends, strict=False))
    features = tuple((rf"features\.({one_of})$", f"stage{i}") for i, one_of in enumerate(ranges, start=1))
    return (*features, (r"classifier\.", "head"))


MODEL_FAMILIES: Registry[ModelFamily] = Registry(
    "family",
    [
        *(
            ModelFamily(
                _name, rf"{_name}", _vgg_rules(_ends), "Simonyan and Zisserman (2015): five blocks, each ends in a pool"
            )
            for _name, _ends in _VGG_POOLS.items()
        ),
        ModelFamily(
            "resnet",
            r"(wide_)?resne(x)?t\d+.*",
            (
                (r"(conv1|bn1)$", "stem"),
                (r"layer(\d)\.(?P<block>\d+)\.", r"stage\1"),
                (r"fc(\.|$)", "head"),
            ),
            "He et al. (2016): conv2_x … conv5_x are stages 1 … 4",
        ),
        ModelFamily(
            "densenet",
            r"densenet\d+",
            (
                (r"features\.(conv0|norm0)$", "stem"),
                (r"features\.denseblock(\d)\.denselayer(?P<block>\d+)\.", r"stage\1"),
                (r"features\.transition(\d)\.", r"stage\1"),
                (r"features\.norm5$", "stage4"),
                (r"classifier(\.|$)", "head"),
            ),
            "Huang et al. (2017): four dense blocks; a transition belongs to the block it ends",
        ),
        ModelFamily(
            "inception_v3",
            r"inception_v3",
            (
                (r"Conv2d_", "stem"),
                (r"Mixed_5(?P<block>\w)\.", "stage1"),
                (r"Mixed_6(?P<block>\w)\.", "stage2"),
                (r"Mixed_7(?P<block>\w)\.", "stage3"),
                (r"AuxLogits\.", "aux"),
                (r"fc(\.|$)", "head"),
            ),
            "Szegedy et al. (2016): modules on the 35, 17 and 8 pixel grids",
        ),
        ModelFamily(
            "mobilenet_v2",
            r"mobilenet_v2",
            (
                (r"features\.(?P<block>0)\.", "stem"),
                (r"features\.(?P<block>1)\.", "stem"),
                (r"features\.(?P<block>[23])\.", "stage1"),
                (r"features\.(?P<block>[456])\.", "stage2"),
                (r"features\.(?P<block>7|8|9|10|11|12|13)\.", "stage3"),
                (r"features\.(?P<block>14|15|16|17|18)\.", "stage4"),
                (r"classifier\.", "head"),
            ),
            "Sandler et al. (2018), divided where the resolution halves, so that stage k has output stride 2^(k+1) "
            "as in ResNet",
        ),
        ModelFamily(
            "squeezenet1_1",
            r"squeezenet1_1",
            (
                (r"features\.0$", "stem"),
                (r"features\.(?P<block>[34])\.", "stage1"),
                (r"features\.(?P<block>[67])\.", "stage2"),
                (r"features\.(?P<block>9|10|11|12)\.", "stage3"),
                (r"classifier\.", "head"),
            ),
            "Iandola et al. (2016): fire modules between poolings",
        ),
    ],
)


def family_of(model: str) -> ModelFamily | None:
    """The family of a torchvision model's name, or None.

    >>> family_of("wide_resnet50_2").name, family_of("convnext_tiny")
    ('resnet', None)
    """
    return next((family for family in MODEL_FAMILIES.values() if re.fullmatch(family.models, model)), None)


def stages_by_name(family: ModelFamily, names: Sequence[str]) -> list[tuple[str, int]]:
    """(stage, block) of each layer; blocks are numbered from 0 within their stage, -1 outside any block.

    >>> stages_by_name(MODEL_FAMILIES["resnet"], ["conv1", "layer1.0.conv1", "layer1.1.bn1", "layer2.0.conv1", "fc"])
    [('stem', -1), ('stage1', 0), ('stage1', 1), ('stage2', 0), ('head', -1)]
    """
    found: list[tuple[str, str | None]] = []
    rules = (*family.rules, (rf"{BESIDE}\.", BESIDE))
    for name in names:
        match = next(((m, stage) for pattern, stage in rules if (m := re.match(pattern, name))), None)
        found.append((match[0].expand(match[1]), match[0].groupdict().get("block")) if match else ("", None))
    return _number_blocks(found)


def stages_by_resolution(
    names: Sequence[str],
    sizes: Sequence[Sequence[int]],
    image_size: int,
    head: Collection[str],
    blocks: Mapping[str, str] = MappingProxyType({}),
    auxiliary: Collection[str] = (),
) -> list[tuple[str, int]]:
    """(stage, block) of each layer from the area of the maps it reads and writes, for any network.

    sizes: (input area, output area) in pixels, 0 for a layer without a map. A layer that writes maps of stride s
    is in stage log2(s) − 1, which is ResNet's own numbering; strides 1 and 2 are the stem. Layers that read a
    single pixel (squeeze-and-excitation) or no map stand with the layer before them; a stage never goes back, and
    after the first layer it rises by one at a time. A block is whole: it stands in the stage that it ends in.

    head, auxiliary: the layers of the classifier, and of auxiliary ones. blocks: layer -> what names its block.
    """
    found: list[tuple[str, str | None]] = []
    level = 0
    for name, (area_in, area_out) in zip(names, sizes, strict=True):
        if name.startswith(f"{BESIDE}.") or name in auxiliary or name in head:
            found.append((BESIDE if name.startswith(f"{BESIDE}.") else "aux" if name in auxiliary else "head", None))
            continue
        if area_in > 1 and area_out > 0:
            reached = round(math.log2(max(image_size / math.sqrt(area_out), 1.0)))
            level = max(level, min(reached, level + 1) if found else reached)
        found.append((f"stage{level - 1}" if level > 1 else "stem", blocks.get(name)))
    ends = {block: stage for stage, block in found if block is not None}
    return _number_blocks([(stage if block is None else ends[block], block) for stage, block in found])


def _number_blocks(found: Sequence[tuple[str, str | None]]) -> list[tuple[str, int]]:
    seen: dict[str, dict[str, int]] = {}
    numbered = []
    for stage, block in found:
        blocks = seen.setdefault(stage, {})
        numbered.append((stage, -1 if block is None else blocks.setdefault(block, len(blocks))))
    return numbered
