"""How a run is trained, apart from which layers train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput
from wdiv.registry import Registry

if TYPE_CHECKING:
    import torch

__all__ = ["OPTIMIZERS", "Optimizer", "Recipe"]


@dataclass(frozen=True)
class Optimizer:
    """``torch_name`` in :mod:`torch.optim`; ``momentum``: whether it takes one; ``fused``: a fused CPU kernel."""

    name: str
    torch_name: str
    momentum: bool
    fused: bool
    source: str


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer")
for _row in (
    ("adam", "Adam", False, True, "Kingma and Ba (2015)"),
    ("adamw", "AdamW", False, True, "Loshchilov and Hutter (2019)"),
    ("sgd", "SGD", True, True, "Robbins and Monro (1951)"),
    ("rmsprop", "RMSprop", True, False, "Tieleman and Hinton (2012)"),
):
    OPTIMIZERS.add(Optimizer(*_row))


@dataclass(frozen=True)
class Recipe:
    """Rates belong to the strategy; all else is here.

    weight_decay  applies to weights of convolutions and linear layers; to gamma, beta and biases only with
                  ``decay_all``
    """

    optimizer: str = "adam"
    epochs: int = 30
    batch_size: int = 32
    weight_decay: float = 0.0
    momentum: float = 0.0
    decay_all: bool = False

    def __post_init__(self) -> None:
        chosen = OPTIMIZERS[self.optimizer]
        for name, least in (("epochs", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BadInput(f"{name.replace('_', ' ')}: a whole number, at least {least}, not {value!r}")
        for name, most in (("weight_decay", float("inf")), ("momentum", 1.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < most:
                raise BadInput(
                    f"{name.replace('_', ' ')}: a number from 0{' to 1' if most == 1 else ''}, not {value!r}"
                )
            object.__setattr__(self, name, float(value))
        if self.momentum and not chosen.momentum:
            raise BadInput(f"momentum: {self.optimizer} takes none")
        if not isinstance(self.decay_all, bool):
            raise BadInput(f"decay all: true or false, not {self.decay_all!r}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def make_optimizer(self, groups: list[Mapping[str, Any]]) -> torch.optim.Optimizer:
        """The optimizer over parameter groups that carry their own ``lr`` and ``weight_decay``."""
        import torch

        chosen = OPTIMIZERS[self.optimizer]
        extra: dict[str, Any] = {"momentum": self.momentum} if chosen.momentum else {}
        if chosen.fused:
            extra["fused"] = True
        return getattr(torch.optim, chosen.torch_name)(groups, lr=0.0, **extra)
