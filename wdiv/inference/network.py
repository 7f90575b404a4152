"""A network as it answers: built, filled with a run's weights, and shown images as the run showed them to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from wdiv.errors import BadInput
from wdiv.inference.choice import Choice, Weights
from wdiv.numerics.classification import PROBABILITIES
from wdiv.store import predictions
from wdiv.tuning.data.inputs import InputSpec
from wdiv.tuning.networks.models import ModelSpec, build
from wdiv.tuning.prefix.feature_store import block_size
from wdiv.tuning.training.device import choose_device
from wdiv.tuning.training.precision import computing

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Network", "load"]


class Network:
    """One network, or several whose probabilities are averaged, in eval mode on a device.

    classes        in the order of the outputs
    inputs         what an image is turned into
    probabilities  what makes them of :meth:`logits`, a name of :data:`~wdiv.numerics.classification.PROBABILITIES`
    block          images that it is shown at once: as many as training judges at once, for the same bits
    """

    def __init__(self, choice: Choice, device: str = "auto") -> None:
        record, where = choice.first.record, choose_device(device)
        self.choice, self.device, self.block = choice, where, block_size(where)
        self.classes, self.inputs = record.class_names, InputSpec(**record.input)
        self._spelled = [predictions.spelled(one.run.record) for one in choice.members]
        self._precision = [str(one.run.record.recipe.get("precision", "fp32")) for one in choice.members]
        self.probabilities = self._spelled[0] if len(choice.members) == 1 else "softmax"
        self._models = [_on(load(one), where) for one in choice.members]

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """What it gives images, (n, 3, size, size) uint8 -> (n, classes) float32: its outputs; of several networks, the
        logarithm of the mean of their probabilities.

        In blocks from the first image on, in the precision of the training.
        """
        given = [self._outputs(number, pixels) for number in range(len(self._models))]
        if len(given) == 1:
            return given[0]
        p = [np.exp(PROBABILITIES[how](one.astype(np.float64))) for how, one in zip(self._spelled, given, strict=True)]
        with np.errstate(divide="ignore"):
            return np.log(np.mean(p, axis=0)).astype(np.float32)

    def probabilities_of(self, logits: np.ndarray) -> np.ndarray:
        """(n, classes) float64 that sum to 1."""
        return np.exp(PROBABILITIES[self.probabilities](np.asarray(logits, dtype=np.float64)))

    def _outputs(self, number: int, pixels: np.ndarray) -> np.ndarray:
        import torch

        model, found = self._models[number], []
        with torch.inference_mode(), computing(self._precision[number], self.device.type):
            for start in range(0, len(pixels), self.block):
                here = torch.from_numpy(pixels[start : start + self.block]).to(self.device)
                found.append(model(self.inputs.prepare(here)).float().cpu().numpy())
        return np.concatenate(found) if found else np.empty((0, len(self.classes)), np.float32)


def load(weights: Weights) -> nn.Module:
    """The network in eval mode with these weights, on the CPU.

    Raises :class:`~wdiv.errors.BadInput` where it cannot be built here, or the weights are not its own.
    """
    import torch

    record = weights.run.record
    model = build(ModelSpec(record.model, record.model_args, record.bn_eps), record.classes)
    state = {key: torch.from_numpy(np.array(value)) for key, value in weights.state_dict().items()}
    own = model.state_dict()
    if unfit := _unfit(own, state):
        raise BadInput(f"{weights.run.path}: network {record.label!r} as it is built here has other tensors than the "
                       f"run, first {unfit[0]}; was it trained with another torchvision?")  # fmt: skip
    model.load_state_dict(state)
    return model.eval()


def _unfit(own: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> Sequence[str]:
    keys = dict.fromkeys((*own, *state))
    return [key for key in keys if key not in own or key not in state or own[key].shape != state[key].shape]


def _on(model: nn.Module, device: torch.device) -> nn.Module:
    import torch

    return model.to(device, memory_format=torch.channels_last)
