"""How a run is trained, apart from which layers train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput
from wdiv.registry import Registry
from wdiv.tuning.data import augment
from wdiv.tuning.training import balance, losses, precision, schedules

if TYPE_CHECKING:
    import torch

__all__ = ["OPTIMIZERS", "Optimizer", "Recipe"]


@dataclass(frozen=True)
class Optimizer:
    """``torch_name`` in :mod:`torch.optim`; ``momentum``: whether it takes one; ``fused``: a fused CPU kernel.

    cycled  the group's entry that a schedule of the momentum sets; None where there is none
    """

    name: str
    torch_name: str
    momentum: bool
    fused: bool
    cycled: str | None
    source: str


OPTIMIZERS: Registry[Optimizer] = Registry(
    "optimizer",
    [
        *(
            Optimizer(*_row)
            for _row in (
                ("adam", "Adam", False, True, "betas", "Kingma and Ba (2015)"),
                ("adamw", "AdamW", False, True, "betas", "Loshchilov and Hutter (2019)"),
                ("sgd", "SGD", True, True, "momentum", "Robbins and Monro (1951)"),
                ("rmsprop", "RMSprop", True, False, "momentum", "Tieleman and Hinton (2012)"),
            )
        ),
    ],
)

_WHOLE = {"epochs": 1, "batch_size": 1, "steps_per_epoch": 1, "patience": 0}
_LATER = ("class_weights", "sampling")
_INF = float("inf")
_RANGES = {
    "weight_decay": (_INF, ""), "warmup": (_INF, ""), "mixup": (_INF, ""),
    "momentum": (1.0, " to 1"), "label_smoothing": (1.0, " to 1"), "validation": (1.0, " to 1"),
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Rates belong to the strategy; all else is here.

    weight_decay    applies to weights of convolutions and linear layers; to gamma, beta, biases, layer scales, tokens
                    and positions only with ``decay_all``; not where a strategy has ``l2sp``, which stands in for it
    steps_per_epoch None: one pass over the training images; else so many batches, pass after pass
    schedule        of the rate, over the steps of each phase, or of each stage that opens where they open one by one
    warmup          epochs at the start of each in which the rate rises from 0 first
    augment         names, as ``wdiv list augmentations`` has them, each with its strength after ``=``
    mixup           alpha of the Beta distribution that pairs of images are blended by; 0: none
    class_weights   ``none``, or ``balanced``: an image's loss counts n / (k n_c), n_c of the n training images being of
                    its class, one of k
    sampling        ``shuffled``, or ``balanced``: each class is drawn as often as another
    validation      share of each class's training images that is held out, to stop by
    patience        epochs without a better validation loss after which the run stops, and the best one counts; 0:
                    all epochs are trained
    precision       ``fp32``, ``tf32`` or ``bf16``
    compile         by :func:`torch.compile`, with CUDA graphs on a GPU
    keep_prefix     compute what is frozen once an image, where that is exact
    """

    optimizer: str = "adam"
    epochs: int = 30
    batch_size: int = 32
    weight_decay: float = 0.0
    momentum: float = 0.0
    decay_all: bool = False
    steps_per_epoch: int | None = None
    schedule: str = "constant"
    warmup: float = 0.0
    loss: str = "softmax"
    label_smoothing: float = 0.0
    augment: tuple[str, ...] = ()
    mixup: float = 0.0
    validation: float = 0.0
    patience: int = 0
    precision: str = "fp32"
    compile: bool = False
    keep_prefix: bool = True
    class_weights: str = "none"
    sampling: str = "shuffled"

    def __post_init__(self) -> None:
        chosen = OPTIMIZERS[self.optimizer]
        schedules.SCHEDULES[self.schedule], losses.LOSSES[self.loss], precision.PRECISIONS[self.precision]
        balance.CLASS_WEIGHTS[self.class_weights], balance.SAMPLINGS[self.sampling]
        for name, least in _WHOLE.items():
            value = getattr(self, name)
            if value is None and name == "steps_per_epoch":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BadInput(f"{_words(name)}: a whole number, at least {least}, not {value!r}")
        for name, (most, upto) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < most:
                raise BadInput(f"{_words(name)}: a number from 0{upto}, not {value!r}")
            object.__setattr__(self, name, float(value))
        for name in ("decay_all", "compile", "keep_prefix"):
            if not isinstance(getattr(self, name), bool):
                raise BadInput(f"{_words(name)}: true or false, not {getattr(self, name)!r}")
        object.__setattr__(self, "augment", augment.parse(self.augment).names)
        if self.momentum and not chosen.momentum:
            raise BadInput(f"momentum: {self.optimizer} takes none")
        if self.patience and not self.validation:
            raise BadInput("patience: needs a share of validation images to judge by; the test images are not for that")
        if self.warmup > self.epochs:
            raise BadInput(f"warmup: at most the {self.epochs} epochs there are, not {self.warmup:g}")
        if self.warmup and schedules.SCHEDULES[self.schedule].warms_up:
            raise BadInput(f"warmup: schedule {self.schedule!r} has its own; leave one of them out")

    @property
    def same_every_time(self) -> str | None:
        """None if an image looks the same whenever it is shown; else the words for why it does not."""
        if self.augment:
            return "images are augmented"
        return "images are blended by mixup" if self.mixup else None

    def to_json(self) -> dict[str, Any]:
        """What a run's record says. Fields that recipes of before had not are left out where they are as usual, so that
        such runs are of the same recipe."""
        told = asdict(self) | {"augment": list(self.augment)}
        return {name: value for name, value in told.items() if name not in _LATER or value != getattr(Recipe, name)}

    def make_optimizer(self, groups: list[Mapping[str, Any]]) -> torch.optim.Optimizer:
        """The optimizer over parameter groups that carry their own ``lr`` and ``weight_decay``."""
        import torch

        chosen = OPTIMIZERS[self.optimizer]
        extra: dict[str, Any] = {"momentum": self.momentum} if chosen.momentum else {}
        if chosen.fused:
            extra["fused"] = True
        return getattr(torch.optim, chosen.torch_name)(groups, lr=0.0, **extra)


def _words(name: str) -> str:
    return name.replace("_", " ")
