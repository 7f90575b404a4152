"""Losses and mixup against torch's own, against NumPy, and against what they say of themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, one_hot

from wdiv.errors import BadInput, UnknownName
from wdiv.tuning.training.losses import LOSSES, loss, mix

CLASSES = 5
OUTPUTS = torch.from_numpy(np.random.default_rng(0).normal(0, 3, (7, CLASSES)))
LABELS = torch.tensor([0, 4, 1, 1, 2, 3, 0])
PARTNER = LABELS[torch.tensor([3, 1, 0, 6, 5, 2, 4])]


def soft_targets(lam: float, smoothing: float) -> np.ndarray:
    mixed = lam * one_hot(LABELS, CLASSES).numpy() + (1 - lam) * one_hot(PARTNER, CLASSES).numpy()
    return (1 - smoothing) * mixed + smoothing / CLASSES


def softmax(outputs: torch.Tensor, targets: np.ndarray) -> float:
    return float(cross_entropy(outputs, torch.from_numpy(targets)))


def sigmoid(outputs: torch.Tensor, targets: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-outputs.numpy()))
    return float(-(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean())


ORACLES: dict[str, Callable[[torch.Tensor, np.ndarray], float]] = {"softmax": softmax, "sigmoid": sigmoid}


def test_every_loss_has_an_oracle() -> None:
    assert set(ORACLES) == set(LOSSES)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_a_loss_is_its_formula_with_soft_targets(kind: str, lam: float, smoothing: float) -> None:
    found = loss(OUTPUTS, LABELS, PARTNER, lam, smoothing, kind)
    assert found.shape == ()
    assert float(found) == pytest.approx(ORACLES[kind](OUTPUTS, soft_targets(lam, smoothing)), rel=1e-12)


def test_the_plain_loss_is_torchs_bit_for_bit() -> None:
    outputs = OUTPUTS.float()
    assert torch.equal(loss(outputs, LABELS, PARTNER), cross_entropy(outputs, LABELS))
    assert torch.equal(
        loss(outputs, LABELS, LABELS, smoothing=0.1), cross_entropy(outputs, LABELS, label_smoothing=0.1)
    )


@pytest.mark.parametrize("kind", LOSSES)
def test_outputs_of_a_thousand_stay_finite_and_have_gradients(kind: str) -> None:
    outputs = (OUTPUTS.float() * 1000).requires_grad_()
    found = loss(outputs, LABELS, PARTNER, 0.4, 0.1, kind)
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(outputs.grad).all()


def test_two_classes_with_the_sigmoid_are_gupta_s_one_output_twice() -> None:
    z = torch.from_numpy(np.random.default_rng(1).normal(size=6))
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    p, y = 1 / (1 + np.exp(-z.numpy())), labels.numpy()
    theirs = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert float(loss(torch.stack([-z, z], 1), labels, labels, kind="sigmoid")) == pytest.approx(theirs)


@given(alpha=st.floats(1e-3, 100), seed=st.integers(0, 2**32 - 1))
def test_mixup_is_a_mean_of_two_images(alpha: float, seed: int) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(7, 3, 4, 5))).float()
    x = x.contiguous(memory_format=torch.channels_last)
    before = x.clone()
    mixed, partner, lam = mix(x, LABELS, alpha, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    assert lam == rng.beta(alpha, alpha)
    order = rng.permutation(7)
    assert 0 <= lam <= 1
    assert partner.tolist() == LABELS.numpy()[order].tolist()
    plain = x.numpy().astype(np.float64)
    np.testing.assert_allclose(mixed.numpy(), lam * plain + (1 - lam) * plain[order], atol=1e-5)
    assert torch.equal(x, before)
    assert mixed.dtype == torch.float32
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_the_shares_are_beta_s() -> None:
    from scipy import stats

    rng = np.random.default_rng(0)
    x = torch.zeros(2, 1)
    shares = [mix(x, LABELS[:2], 0.4, rng)[2] for _ in range(500)]
    assert stats.kstest(shares, stats.beta(0.4, 0.4).cdf).pvalue > 0.01


def test_no_mixup_draws_nothing() -> None:
    rng, x = np.random.default_rng(0), OUTPUTS
    mixed, partner, lam = mix(x, LABELS, 0.0, rng)
    assert mixed is x
    assert partner is LABELS
    assert lam == 1
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), float("inf")])
def test_a_share_needs_a_positive_alpha(alpha: float) -> None:
    with pytest.raises(BadInput, match="mixup: a finite number from 0, not"):
        mix(OUTPUTS, LABELS, alpha, np.random.default_rng(0))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_has_a_range(smoothing: float) -> None:
    with pytest.raises(BadInput, match="label smoothing: a number from 0 to 1"):
        loss(OUTPUTS, LABELS, LABELS, smoothing=smoothing)


def test_an_unknown_loss_is_named() -> None:
    with pytest.raises(UnknownName, match="unknown loss 'sigmod'; did you mean 'sigmoid'"):
        loss(OUTPUTS, LABELS, LABELS, kind="sigmod")
