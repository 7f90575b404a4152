"""What cannot be scored is refused in one line that says what, what is allowed and what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from baselines.transferability import SCORES, frechet_diagonal, logme
from tests.baselines.transferability.facts import example
from wdiv.errors import BadData, BadInput, WdivError

FIRST = {"features": "features", "probabilities": "probabilities", "source": "features"}


def but(array: np.ndarray, worth: float) -> np.ndarray:
    changed = array.copy()
    changed[1, 0] = worth
    return changed


MATRICES: dict[str, tuple[Callable[[np.ndarray], Any], type[WdivError], str]] = {
    "a vector": (lambda x: x[:, 0], BadInput, r"a matrix, a row per image and at least one column; got shape \(6,\)"),
    "a map": (lambda x: x[:, :, None], BadInput, r"a matrix, .* got shape \(6, 3, 1\)"),
    "no columns": (lambda x: x[:, :0], BadInput, r"at least one column; got shape \(6, 0\)"),
    "one image": (lambda x: x[:1], BadData, "at least 2 images; got 1"),
    "no images": (lambda x: x[:0], BadData, "at least 2 images; got 0"),
    "NaN": (lambda x: but(x, np.nan), BadInput, "finite numbers of at most 1e[+]64; got 1 of 18 that are not"),
    "infinity": (lambda x: but(x, -np.inf), BadInput, "got 1 of 18 that are not"),
    "too large": (lambda x: but(x, 1e65), BadInput, "got 1 of 18 that are not"),
    "text": (lambda x: x.astype(str), BadInput, "an array of real numbers; got <U"),
    "complex": (lambda x: x + 1j, BadInput, "an array of real numbers; got complex128"),
    "ragged": (lambda x: [[1.0, 2.0], [3.0]], BadInput, "an array; got list: "),
    "nothing": (lambda x: None, BadInput, "an array of real numbers; got object"),
}


@pytest.mark.parametrize("fault", MATRICES)
@pytest.mark.parametrize("name", SCORES)
def test_matrices(name: str, fault: str) -> None:
    spoil, error, message = MATRICES[fault]
    x, y = example(name, n=6, d=3)
    refused(lambda: SCORES[name].function(spoil(x), y), error, f"^{FIRST[SCORES[name].takes]}: .*{message}")
    if SCORES[name].takes == "source":
        refused(lambda: SCORES[name].function(x, spoil(y[:6])), error, f"^source_features: .*{message}")


LABELS: dict[str, tuple[Callable[[np.ndarray], Any], type[WdivError], str]] = {
    "too few": (lambda y: y[:-1], BadInput, r"one for each of the 6 rows; got shape \(5,\)"),
    "one-hot": (lambda y: np.eye(3)[y], BadInput, r"one for each of the 6 rows; got shape \(6, 3\)"),
    "ragged": (lambda y: [[0], [1, 2]], BadInput, "an array; got list: "),
    "one class": (lambda y: ["cat"] * 6, BadData, r"at least 2 classes; got 1 \(cat\)"),
    "fractions": (lambda y: y / 2, BadInput, "whole numbers or names; got float64"),
    "a mixture": (lambda y: np.array([1, "a", None, 2, 3, 4], object), BadInput, "whole numbers or names; got object"),
}


@pytest.mark.parametrize("fault", LABELS)
@pytest.mark.parametrize("name", [name for name in SCORES if SCORES[name].takes != "source"])
def test_labels(name: str, fault: str) -> None:
    spoil, error, message = LABELS[fault]
    x, y = example(name, n=6, d=3)
    refused(lambda: SCORES[name].function(x, spoil(y)), error, f"^labels: .*{message}")


@pytest.mark.parametrize("name", [name for name in SCORES if SCORES[name].takes == "probabilities"])
def test_probabilities(name: str) -> None:
    x, y = example(name, n=6, d=3)
    score = SCORES[name].function
    refused(lambda: score(but(x, -0.25), y), BadInput, r"^probabilities: none below 0; got -0.25 \(are they logits\?\)")
    refused(lambda: score(x * 1.5, y), BadInput, "each row sums to 1, within 0.001; got a row that sums to 1.5")
    refused(lambda: score(x * 0, y), BadInput, "got a row that sums to 0")


@pytest.mark.parametrize("name", [name for name in SCORES if SCORES[name].takes == "source"])
def test_sets_of_features_have_the_same_columns(name: str) -> None:
    x, y = example(name, n=6, d=3)
    message = r"^features and source_features: as many columns; got shapes \(6, 3\) and \(9, 2\)"
    refused(lambda: SCORES[name].function(x, y[:, :2]), BadInput, message)


@pytest.mark.parametrize("options", [{"tolerance": -1.0}, {"tolerance": np.nan}, {"steps": 0}])
def test_options_of_logme(options: dict[str, Any]) -> None:
    message = "^logme: tolerance at least 0 and steps at least 1; got"
    refused(lambda: logme(*example("logme", n=6, d=3), **options), BadInput, message)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([0.0], [-1.0], [0.0], [1.0]), "^var: no variance is below 0; got -1"),
        (([0.0], [1.0], [0.0], [-2.0]), "^other_var: no variance is below 0; got -2"),
        (([0.0, 1.0], [1.0], [0.0], [1.0]), r"^mean, .*: vectors of one length; got shapes \(2,\), \(1,\)"),
        (([[0.0]], [[1.0]], [[0.0]], [[1.0]]), r"vectors of one length; got shapes \(1, 1\)"),
        (([np.nan], [1.0], [0.0], [1.0]), "^mean: finite numbers"),
    ],
)
def test_diagonals(given: tuple[list[float], ...], message: str) -> None:
    refused(lambda: frechet_diagonal(*given), BadInput, message)


def refused(call: Callable[[], float], error: type[WdivError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
