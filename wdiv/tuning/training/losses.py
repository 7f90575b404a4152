"""What the network's outputs are compared with: the losses, label smoothing, mixup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wdiv.errors import BadInput
from wdiv.registry import Registry

if TYPE_CHECKING:
    import torch

__all__ = ["LOSSES", "Loss", "loss", "mix"]


@dataclass(frozen=True)
class Loss:
    """``of(outputs, labels, smoothing, weights)``: outputs (n, classes) before any softmax or sigmoid, int64 labels
    (n,), the mean over the batch as a scalar tensor, each image times the weight of its class where there are weights.

    Both losses compare with (1 − ε) · one-hot + ε / classes, and are linear in it.
    """

    name: str
    long_name: str
    formula: str
    source: str
    of: Callable[[torch.Tensor, torch.Tensor, float, torch.Tensor | None], torch.Tensor]


def _softmax(
    outputs: torch.Tensor, labels: torch.Tensor, smoothing: float, weights: torch.Tensor | None
) -> torch.Tensor:
    from torch.nn.functional import cross_entropy

    if weights is None:
        return cross_entropy(outputs, labels, label_smoothing=smoothing)
    return (cross_entropy(outputs, labels, label_smoothing=smoothing, reduction="none") * weights[labels]).mean()


def _sigmoid(
    outputs: torch.Tensor, labels: torch.Tensor, smoothing: float, weights: torch.Tensor | None
) -> torch.Tensor:
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    classes = outputs.shape[1]
    targets = torch.full_like(outputs, smoothing / classes)
    targets.scatter_(1, labels[:, None], 1 - smoothing + smoothing / classes)
    if weights is None:
        return binary_cross_entropy_with_logits(outputs, targets)
    return binary_cross_entropy_with_logits(outputs, targets, weights[labels, None].expand_as(outputs))


LOSSES: Registry[Loss] = Registry(
    "loss",
    [
        Loss(
            "softmax",
            "cross-entropy of the softmax: one class of all",
            "−Σ_k t_k log softmax(z)_k",
            "Bridle (1990); smoothing as Szegedy et al. (2016), section 7",
            _softmax,
        ),
        Loss(
            "sigmoid",
            "binary cross-entropy of each class against the rest, mean over the classes",
            "−mean_k [t_k log σ(z_k) + (1 − t_k) log(1 − σ(z_k))]",
            "Gupta et al. (2020), with two classes; of more, Wightman et al. (2021), who smooth alike",
            _sigmoid,
        ),
    ],
)


def mix(
    x: torch.Tensor, labels: torch.Tensor, alpha: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Mixup: λ x + (1 − λ) x[partner], the labels of the partners, and λ ~ Beta(α, α), one for the batch.

    x: (n, ...) floating, not modified. The partner of each image is another's place in a permutation of the batch,
    at times its own. Only ``rng`` is drawn from, on the host. With ``alpha`` 0 nothing is drawn, and x and labels come
    back as they are, with λ = 1. Source: Zhang et al. (2018), and their code for one λ a batch. Raises
    :class:`~wdiv.errors.BadInput` for an alpha that is no finite number from 0.

    >>> import torch
    >>> x, partner, lam = mix(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), 1.0, np.random.default_rng(3))
    >>> partner.tolist(), round(lam, 3), x.flatten().tolist() == [0.0, 1.0]
    ([1, 0], 0.266, False)
    """
    import torch

    if not 0 <= alpha < float("inf"):
        raise BadInput(f"mixup: a finite number from 0, not {alpha!r}")
    if alpha == 0:
        return x, labels, 1.0
    lam = float(rng.beta(alpha, alpha))
    partner = torch.from_numpy(rng.permutation(len(x))).to(x.device)
    return x.lerp(x[partner], 1 - lam), labels[partner], lam


def loss(
    outputs: torch.Tensor,
    labels: torch.Tensor,
    partner: torch.Tensor,
    lam: float = 1.0,
    smoothing: float = 0.0,
    kind: str = "softmax",
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """λ · loss(labels) + (1 − λ) · loss(partner), a scalar tensor: the loss against the mixed, smoothed targets, since
    both losses are linear in them.

    outputs: (n, classes) before softmax or sigmoid; labels, partner: int64 (n,), as :func:`mix` gives them; weights:
    (classes,), of an image's loss by its label, or None. The mean is over the images, not over their weights, so that
    on average over batches it is that over all images. With λ = 1 it is the plain loss, bit for bit. Raises
    :class:`~wdiv.errors.BadInput` for a smoothing that is not from 0 to 1, :class:`~wdiv.errors.UnknownName` for a kind
    that is not in LOSSES.

    >>> import torch
    >>> labels = torch.tensor([0, 1])
    >>> round(float(loss(torch.zeros(2, 4), labels, labels)), 4)  # log 4: nothing is known of four classes
    1.3863
    """
    if not 0 <= smoothing < 1:
        raise BadInput(f"label smoothing: a number from 0 to 1, 1 excluded, not {smoothing!r}")
    of = LOSSES[kind].of
    main = of(outputs, labels, smoothing, weights)
    return main if lam == 1 else lam * main + (1 - lam) * of(outputs, partner, smoothing, weights)
