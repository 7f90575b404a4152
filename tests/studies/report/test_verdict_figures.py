"""The figure of a question's claims: what is in it, and names that are not a file's or a figure's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studies.report.figures import verdicts
from studies.report.figures.common import TALLEST, new, saved
from studies.report.verdicts import judge
from tests.studies.observed import claim, row, table

VALUES = {("fc", 0): 0.5, ("fc", 1): 0.51, ("bn+fc", 0): 0.61, ("bn+fc", 1): 0.6}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were saved."""
    found: list[Any] = []
    monkeypatch.setattr(verdicts, "saved", lambda figure, out: found.append(figure) or saved(figure, out))
    return found


def some(*models: str, **fields: Any) -> Any:
    rows = [row(v, strategy=s, seed=seed, model=model) for model in models for (s, seed), v in VALUES.items()]
    return judge([claim(**fields)], table(rows))


def test_each_cell_is_a_line_and_its_name_is_no_formula(tmp_path: Path, drawn: list[Any]) -> None:
    verdicts.draw(some("net$a_b$", r"$\wrong$"), tmp_path)
    labels = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert labels == ["made", r"$\wrong$", "net$a_b$"]


@pytest.mark.parametrize("fields", [{"scale": "ratio"}, {"direction": "same", "margin": 0.2}])
def test_every_kind_is_drawn(fields: dict[str, Any], tmp_path: Path) -> None:
    assert verdicts.draw(some("a", "b", **fields), tmp_path)[""].exists()


def test_questions_that_are_spelled_alike_have_files_of_their_own(tmp_path: Path) -> None:
    asked = [some("a", question=question)[0] for question in ("Which one?", "Which one!", "")]
    found = verdicts.draw(asked, tmp_path)
    assert [file.name for file in found.values()] == ["claims-Which-one-.png", "claims-Which-one--2.png", "claims.png"]


def test_what_was_not_compared_is_not_drawn(tmp_path: Path) -> None:
    assert verdicts.draw(some("a", left={"strategy": "svm"}), tmp_path) == {}


def test_what_is_too_tall_is_drawn_with_fewer_dots(tmp_path: Path) -> None:
    figure, _ = new(1, 1, 0.5, 1000)
    with Image.open(saved(figure, tmp_path / "tall.png")) as image:
        assert image.size[1] == pytest.approx(TALLEST, abs=2)
