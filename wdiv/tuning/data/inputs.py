"""What an image is turned into before the first layer. Weights only work with the inputs they were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput

if TYPE_CHECKING:
    import torch

__all__ = ["IMAGENET", "InputSpec"]


@dataclass(frozen=True)
class InputSpec:
    """Pixels 0–255 are mapped to ``range``, put in the order of ``channels``, then normalised.

    mean, std: per channel, in that order and on that range.
    """

    size: int
    channels: str = "RGB"
    range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or self.size < 8:
            raise BadInput(f"image size: a whole number of pixels, at least 8, not {self.size!r}")
        if self.channels not in ("RGB", "BGR"):
            raise BadInput(f"input channels: 'RGB' or 'BGR', not {self.channels!r}")
        for name, count in (("range", 2), ("mean", 3), ("std", 3)):
            values = tuple(getattr(self, name))
            if len(values) != count or not all(isinstance(v, (int, float)) for v in values):
                raise BadInput(f"input {name}: {count} numbers, not {values!r}")
            object.__setattr__(self, name, tuple(float(v) for v in values))
        if min(self.std) <= 0:
            raise BadInput(f"input std: positive numbers, not {self.std!r}")

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any], where: object) -> InputSpec:
        try:
            return cls(**data)
        except TypeError as error:
            raise BadInput(f"{where}: [input] {str(error).partition(') ')[2] or error}") from None

    def at(self, size: int | None) -> InputSpec:
        """The same normalisation at another image size."""
        return replace(self, size=size) if size else self

    def to_json(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def prepare(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) RGB of 0 to 255, uint8 or floating, to the float32 batch the network reads, channels last.

        >>> import torch
        >>> white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
        >>> InputSpec(8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).prepare(white).unique().tolist()
        [1.0]
        """
        import torch

        low, high = self.range
        mean = torch.tensor(self.mean, device=pixels.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, 3, 1, 1)
        x = pixels.flip(1) if self.channels == "BGR" else pixels
        x = (x.float() * ((high - low) / 255.0)).add_(low).sub_(mean).div_(std)
        return x.contiguous(memory_format=torch.channels_last)


IMAGENET = InputSpec(224)
