"""What is kept of a layer's inputs: enough for Σ|f(x)|² of any parameters, and so of any difference of parameters.

Two records, each with the same two questions: which numbers ``rows`` the parameters are, one row an output, and how
much ``energy`` such rows give out, Σ over images and positions of (row · x)².
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["ChannelInputs", "KernelInputs", "LayerInputs"]

Parameters = Mapping[str, np.ndarray]
"""Role -> tensor, of one layer at one time."""


@dataclass(frozen=True, eq=False)
class KernelInputs:
    """Inputs of a convolution or a linear layer: the vectors x that each output's row is multiplied with.

    columns     (groups, d, n): the vectors themselves, where there are fewer of them than they have elements
    moment      (groups, d, d) float64 instead: Σ x xᵀ
    transposed  the kernel is (in, out / groups, …), and what it is multiplied with is upside down
    bias        the last element of every x is 1
    """

    columns: np.ndarray | None
    moment: np.ndarray | None
    transposed: bool = False
    bias: bool = False

    @property
    def groups(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        return self._kept.nbytes

    @property
    def _kept(self) -> np.ndarray:
        kept = self.columns if self.columns is not None else self.moment
        assert kept is not None
        return kept

    def rows(self, parameters: Parameters) -> np.ndarray:
        """(outputs, d) float64: the kernel, a row an output, and its bias."""
        weight = np.asarray(parameters["weight"], dtype=np.float64)
        if self.transposed:
            inputs, outputs, *_ = weight.shape
            weight = np.flip(weight.reshape(self.groups, inputs // self.groups, outputs, -1), axis=-1).swapaxes(1, 2)
            weight = weight.reshape(self.groups * outputs, -1)
        weight = weight.reshape(len(weight), -1)
        return np.hstack([weight, np.asarray(parameters["bias"], np.float64)[:, None]]) if self.bias else weight

    def energy(self, rows: np.ndarray) -> np.ndarray:
        """(outputs,) Σ (row · x)². Of a sum that cancels, about eight digits of its root are exact."""
        grouped = rows.reshape(self.groups, len(rows) // self.groups, -1)
        if self.columns is not None:
            return np.asarray(np.square(grouped @ self.columns).sum(-1).reshape(-1))
        return np.maximum(((grouped @ self.moment) * grouped).sum(-1).reshape(-1), 0.0)


@dataclass(frozen=True, eq=False)
class ChannelInputs:
    """Inputs of a normalisation as it left them at the start, before its own γ and β: x̂, a number a channel.

    count          positions, over all images;  mean, variance: (channels,) float64, of x̂ over them
    running_mean, running_var, eps   of the start, where x̂ was made with them; None where images make their own
    """

    count: int
    mean: np.ndarray
    variance: np.ndarray
    running_mean: np.ndarray | None = None
    running_var: np.ndarray | None = None
    eps: float = 0.0

    @property
    def nbytes(self) -> int:
        return self.mean.nbytes + self.variance.nbytes

    def rows(self, parameters: Parameters) -> np.ndarray:
        """(channels, 2) float64: the factor and the summand that the layer gives x̂.

        They are γ and β wherever the statistics are the start's: other ones are a factor and a summand more.
        """
        gamma = np.asarray(parameters.get("gamma", np.ones_like(self.mean)), dtype=np.float64)
        beta = np.asarray(parameters.get("beta", np.zeros_like(self.mean)), dtype=np.float64)
        if self.running_mean is None or self.running_var is None or "running_var" not in parameters:
            return np.stack([gamma, beta], axis=-1)
        mean, variance = (np.asarray(parameters[name], np.float64) for name in ("running_mean", "running_var"))
        scale = gamma * np.sqrt((self.running_var + self.eps) / (variance + self.eps))
        shift = gamma * ((self.running_mean - mean) / np.sqrt(variance + self.eps))
        return np.stack([scale, beta + shift], axis=-1)

    def energy(self, rows: np.ndarray) -> np.ndarray:
        """(channels,) Σ (factor · x̂ + summand)², by moments about the mean, so that nothing cancels."""
        factor, summand = rows[..., 0], rows[..., 1]
        return np.asarray(self.count * (factor**2 * self.variance + (factor * self.mean + summand) ** 2))


LayerInputs = KernelInputs | ChannelInputs
