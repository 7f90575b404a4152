"""What chance alone makes of metrics of distributions, as their docstrings tell it by size."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.metrics.facts import value
from wdiv.metrics import METRICS

TOLD = ("gaussian_kl", "jeffreys", "kolmogorov_smirnov", "histogram_js")


@pytest.mark.parametrize("name", TOLD)
def test_two_draws_of_one_distribution_come_to_what_the_docstring_says(name: str) -> None:
    text = METRICS[name].function.__doc__ or ""
    sizes, values = (re.search(rf"^ *{word} +([\d. ]+)$", text, re.MULTILINE) for word in ("n", "value"))
    assert sizes is not None
    assert values is not None
    rng = np.random.default_rng(0)
    for n, wanted in zip(map(int, sizes[1].split()), map(float, values[1].split()), strict=True):
        draws = rng.normal(size=(2, max(60, 2**19 // n // 4), n))
        assert value(METRICS[name], *draws).mean() == pytest.approx(wanted, rel=0.2), n
