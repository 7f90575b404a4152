"""What Gupta and Gupta (2020) left for others to try: VGG-19, Inception and ResNet, "and so on" (Discussion).

A condition a network, because each has blocks of its own. The recipe and both readings are those of
:mod:`studies.gupta2020`; the paper's hypothesis, that validation accuracy first rises and then falls, is tested on
each.

vgg19         stages 1 to 5, as VGG-16
inception_v3  the stem, and stages 1 to 3, its modules on three sizes of map; without the auxiliary head, which 150
              pixels are too few for
resnet50      the stem, and stages 1 to 4

A block's BatchNorm trains with its convolutions, as Keras' ``trainable`` has it. The mini leaves Inception out: it
takes 75 pixels at least, and longer than both others together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from studies import gupta2020
from studies.gupta2020 import BLOCKS, IN_WORDS, MINI, MINI_RATE, RATE, both
from studies.spec.claim import Claim
from studies.spec.study import Condition
from studies.spec.table import Table

__all__ = ["NETWORKS", "SMALL", "Network"]


@dataclass(frozen=True)
class Network:
    """A condition: its network, the blocks from the first, and the term that trains a block."""

    name: str
    model: str
    blocks: tuple[str, ...]
    kind: str = "all"

    def readings(self, rate: str) -> dict[str, dict[str, str]]:
        """Reading -> block -> strategy: :func:`studies.gupta2020.both`."""
        return both(self.blocks, rate, self.kind)

    def strategies(self, rate: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for of in self.readings(rate).values() for name in of.values()))


NETWORKS = (
    Network("vgg19", "vgg19", BLOCKS, "conv"),
    Network("inception_v3", "inception_v3:aux_logits=False", ("stem", *BLOCKS[:3])),
    Network("resnet50", "resnet50", ("stem", *BLOCKS[:4])),
)
SMALL = (
    Network("vgg11", "vgg11:head=mlp512", BLOCKS, "conv"),
    Network("resnet18", "resnet18:head=mlp512", ("stem", *BLOCKS[:4])),
)
"""In their place at mini scale."""


def _claims(network: Network, rate: str) -> Iterator[Claim]:
    """The hypothesis, in both readings."""
    for reading, of in network.readings(rate).items():
        deepest, next_to_it, *others = of.values()
        where: Mapping[str, Any] = {
            "of": {"condition": network.name},
            "question": f"{network.name}: {IN_WORDS[reading]}",
        }
        name = f"{network.name.replace('_', '-')}-{reading}"
        yield Claim(f"{name}-rises", "Validation accuracy first rises, from the last block to the one before it.",
                    "Introduction", {"strategy": next_to_it}, {"strategy": deepest}, "more", **where)  # fmt: skip
        yield Claim(f"{name}-falls", "Then it falls as lower blocks are unfrozen.", "Introduction",
                    {"strategy": tuple(others)}, {"strategy": next_to_it}, "less", than="each", **where)  # fmt: skip


def _grid(networks: Sequence[Network], rate: str) -> dict[str, Any]:
    return {
        "models": (networks[0].model,),
        "strategies": networks[0].strategies(rate),
        "conditions": tuple(
            Condition(network.name, {"models": (network.model,), "strategies": network.strategies(rate)})
            for network in networks
        ),
        "claims": tuple(claim for network in networks for claim in _claims(network, rate)),
        "tables": (
            Table("networks", "Blocks unfrozen, both readings", rows=("condition", "strategy"), columns=("measure",),
                  measure=("train_accuracy", "accuracy"),
                  labels={"train_accuracy": "training", "accuracy": "validation"}),
        ),
    }  # fmt: skip


STUDY = replace(
    gupta2020.STUDY,
    name="gupta2020-networks",
    title="which block of VGG-19, Inception and ResNet to unfreeze for a small set that is unlike ImageNet",
    figures=(),
    **_grid(NETWORKS, RATE),
    mini={**MINI, **_grid(SMALL, MINI_RATE), "seeds": (0,)},
)
