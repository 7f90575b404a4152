"""Gupta and Gupta (2020), Transfer Learning for Small and Different Datasets: table 1, figures 1, 2 and 4.

A VGG-16 of ImageNet learns to tell 'male' from 'female' textbook illustrations, with one of its blocks unfrozen. The
text can be read in two ways, and both are run. "When only layer 4 is being fine-tuned" (Discussion): that block and
the new classifier. "As lower layers are left unfrozen" (Discussion), and table 3, where blocks 4 and 5 are trainable
together: the blocks from that one up. For block 5, and for 0, where the classifier trains alone, they are the same.

From the text: the head (two times 512 units, ReLU, dropout 0.3; table 3 prints one dense layer more than the text
tells of), the loss, RMSprop at 1e-5, batches of 30, 100 steps an epoch, 100 epochs, 150 pixels, and table 2, the
augmentation. Training accuracy is on augmented batches while they train, as Keras has it.

Ours, or otherwise than there:

- two sigmoids, one a class, for their one: with two classes the same question; RMSprop's constants are PyTorch's
- torchvision pools VGG's last map to 7x7 before the head, where Keras flattens 4x4
- colours are normalised as the weights want it, where the paper divides by 255 only
- three seeds, where the paper has one run; every test image counts once, where it draws 50 batches of 65 images
- the images: the paper's lie in a repository of its authors' (its reference 10). Any folder of two classes does; one
  with train and test folders keeps its split, as the paper's 640 and 65 images; else a quarter is set aside

Not tested, for want of images: that more data would raise block 5 above block 4. What the authors left for others to
try is :mod:`studies.gupta2020_subsets` and :mod:`studies.gupta2020_networks`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from studies.spec.claim import Claim
from studies.spec.figure import Figure
from studies.spec.study import Pretrain, Study
from studies.spec.table import Table
from wdiv.tuning.strategy.spelling import parse

__all__ = ["BLOCKS", "MINI", "MINI_RATE", "RATE", "both", "unfrozen"]

BLOCKS = ("stage1", "stage2", "stage3", "stage4", "stage5")
RATE = "1e-5"
"""Of everything that trains: the paper's, for its 10 000 steps."""
MINI_RATE = "1e-4"
"""One that shows in few steps."""
SMALL_CHANGE = 0.01
"""Shares of accuracy that still count as stagnation: the paper's two values are equal."""
EVEN = 0.02
"""By which steps of a linear fall may differ: the paper's do by up to 1.4 points."""
SIMILAR = 0.2
"""Training and validation accuracy that are "similar": the paper's differ by 10 to 18 points."""


def unfrozen(stages: Sequence[str], rate: str = RATE, kind: str = "conv") -> str:
    """The strategy that trains these stages and the classifier, all at one rate.

    >>> unfrozen(["stage4", "stage5"]), unfrozen([])
    ('conv@stage4-5=1e-5,fc=1e-5', 'fc=1e-5')
    """
    return parse("+".join([*(f"{kind}@{stage}={rate}" for stage in stages), f"fc={rate}"])).name


def both(stages: Sequence[str], rate: str = RATE, kind: str = "conv") -> dict[str, dict[str, str]]:
    """Reading -> number of the unfrozen block, the deepest first and 0 for none, -> strategy.

    >>> {reading: strategies["2"] for reading, strategies in both(["stage1", "stage2", "stage3"]).items()}
    {'only': 'conv@stage2=1e-5,fc=1e-5', 'upwards': 'conv@stage2-3=1e-5,fc=1e-5'}
    """
    blocks = range(len(stages), 0, -1)
    none = {"0": unfrozen([], rate, kind)}
    return {
        "only": {str(k): unfrozen(stages[k - 1 : k], rate, kind) for k in blocks} | none,
        "upwards": {str(k): unfrozen(stages[k - 1 :], rate, kind) for k in blocks} | none,
    }


IN_WORDS = {"only": "only block k", "upwards": "from block k up"}


def _claims(reading: str, of: Mapping[str, str]) -> tuple[Claim, ...]:
    """What the paper says of table 1, in one reading of it."""

    def claim(name: str, text: str, where: str, left: str, right: Sequence[str], direction: str, **more: Any) -> Claim:
        sides = ({"strategy": of[left]}, {"strategy": tuple(of[block] for block in right)})
        return Claim(f"{reading}-{name}", text, where, *sides, direction, question=f"k is {IN_WORDS[reading]}", **more)

    def step(name: str, text: str, first: str, second: str, direction: str, **more: Any) -> Claim:
        """Of two steps of a block, such as from 4 to 3, the one beside the other."""
        over = (of[first[0]], of[second[0]])
        return claim(name, text, results, first[1], second[1], direction, over=over, **more)

    training: Mapping[str, Any] = {"of": {"measure": "train_accuracy"}}
    alike: Mapping[str, Any] = {"direction": "same", "margin": EVEN}
    each: Mapping[str, Any] = {"than": "each"}
    table1, results = "table 1", "Results; figure 1"
    steps = zip("4321", "3210", strict=True)
    return (
        claim("rises", "Validation accuracy first rises, from block 5 to block 4.", table1, "4", "5", "more"),
        *(
            claim(f"falls-to-{b}", f"Then it falls, from {a} to {b}.", results, b, a, "less") for a, b in steps
        ),
        step("marked-fall", "From block 4 to 3 it falls markedly, beside the step from 5 to 4.", "43", "54", "less"),
        step("linear-to-1", "It falls linearly: from 2 to 1 as from 3 to 2.", "21", "32", **alike),
        step("linear-to-0", "It falls linearly: from 1 to 0 as from 2 to 1.", "10", "21", **alike),
        claim("stagnates", "Training accuracy is the same for blocks 5 and 4.", table1, "5", "4", "same",
              margin=SMALL_CHANGE, **training),
        claim("trains-worse", "Below block 4 training accuracy falls.", results, "4", "3210", "more", **each,
              **training),
        step("trains-linearly-to-2", "Training accuracy falls linearly: from 3 to 2 as from 4 to 3.", "32", "43",
             **alike, **training),
        step("trains-linearly-to-1", "Training accuracy falls linearly: from 2 to 1 as from 3 to 2.", "21", "32",
             **alike, **training),
        step("trains-less-steeply-to-0", "At last, from 1 to 0, it falls less steeply.", "10", "21", "more",
             **training),
        claim("none-is-worst", "With no block unfrozen accuracy is lowest.", "Discussion", "0", "54321", "less",
              **each),
        claim("none-trains-worst", "With no block unfrozen training accuracy is lowest.", "Discussion", "0", "54321",
              "less", **each, **training),
        Claim(f"{reading}-does-not-overfit", "Training and validation accuracy are similar: no overfitting.",
              "Discussion; figure 2", {"measure": "train_accuracy"}, {"measure": "accuracy"}, "same",
              of={"strategy": tuple(of.values())}, margin=SIMILAR, question=f"k is {IN_WORDS[reading]}"),
    )  # fmt: skip


def _grid(rate: str) -> dict[str, Any]:
    """The fields that name strategies, at one rate."""
    readings = both(BLOCKS, rate)
    measures = {"measure": ("train_accuracy", "accuracy")}
    labels = {"train_accuracy": "training", "accuracy": "validation"}
    blocks = {reading: {name: block for block, name in of.items()} for reading, of in readings.items()}
    shown = {reading: tuple(of.values()) for reading, of in readings.items()}
    return {
        "strategies": tuple(dict.fromkeys(name for names in shown.values() for name in names)),
        "claims": tuple(claim for reading, of in readings.items() for claim in _claims(reading, of)),
        "tables": tuple(
            Table(
                f"table1-{reading}", f"Unfrozen: {IN_WORDS[reading]}", rows=("model", "measure"),
                where={"strategy": shown[reading]}, measure=measures["measure"], of="table1", reading={"block": of},
                labels=blocks[reading] | labels,
            )
            for reading, of in readings.items()
        ),
        "figures": (
            *(
                Figure(f"figure{number}-{reading}", f"Accuracy, unfrozen: {IN_WORDS[reading]}", kind,
                       {"strategy": shown[reading], **measures}, labels=blocks[reading])
                for number, kind in ((1, "lines"), (2, "bars"))
                for reading in readings
            ),
            Figure("figure4", "What augmentation makes of an image of each class", "augmented"),
        ),
    }  # fmt: skip


MINI: Mapping[str, Any] = {
    # a VGG whose blocks are fewer layers; two digits that are nearer to its source than the paper's images to theirs
    "models": ("vgg11:head=mlp512",),
    "pretrain": Pretrain("digits-0-4", epochs=3, rate=3e-4, batch_size=16, per_class=60),
    "data": "digits-5-9", "classes": 2, "test_count": 30, "image_size": 32, "seeds": (0, 1, 2), "epochs": 1,
    "steps_per_epoch": 16, "batch_size": 16,
}  # fmt: skip
"""What is smaller at mini scale, but for the strategies, whose rate is another."""

STUDY = Study(
    "gupta2020",
    title="which block of VGG-16 to unfreeze for a small set that is unlike ImageNet",
    source="A. Gupta and M. Gupta (2020)",
    models=("vgg16",),
    weights="IMAGENET1K_V1",
    head="mlp512",
    data=None,  # the paper's illustrations do not come with wdiv
    seeds=(0, 1, 2),
    optimizer="rmsprop",
    epochs=100,
    steps_per_epoch=100,
    batch_size=30,
    loss="sigmoid",
    augment=("gupta2020",),
    image_size=150,
    reference=0,
    **_grid(RATE),
    mini={**MINI, **_grid(MINI_RATE)},
)
