"""Studies written out as TOML: to start from, and to read back."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest

from studies.grid.conditions import bare, parts
from studies.spec.registry import STUDIES, load
from studies.spec.study import Study, override
from studies.spec.template import WORDS, commented, written_out
from tests.studies.cli.test_cli import strictly, wdiv
from tests.studies.toy import TOY
from tests.tuning.tiny import MOBILENET

load("quickstart")  # registers them all


def test_every_field_has_its_words() -> None:
    assert [*WORDS] == [field.name for field in fields(Study) if field.name != "name"]


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_a_study_that_is_written_out_reads_back(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.toml"
    file.write_text(written_out(STUDIES[name]), encoding="utf-8")
    for scale in ("paper", "mini") if STUDIES[name].mini else ("paper",):
        read, given = load(str(file), scale), load(name, scale)
        plain = {"conditions": (), "mini": {}}
        assert replace(read, **plain) == replace(given, **plain)
        resolved = [
            [replace(part, study=bare(part.study)) for part in parts(study, tmp_path / "out")]
            for study in (read, given)
        ]
        assert resolved[0] == resolved[1]


def test_conditions_titles_and_all_sizes_read_back(tmp_path: Path) -> None:
    file = tmp_path / "toy.toml"
    file.write_text(TOY)
    study = override(load(str(file)), {"conditions": [{"name": "a", "values": {"per_class": [3, None]}}]})
    file.write_text(written_out(study))
    again = load(str(file))
    assert again.conditions[0].values == {"per_class": [3, "all"]}
    assert (again.figures, again.claims, again.tables) == (study.figures, study.claims, study.tables)


def test_what_is_commented_out_is_a_study_too(tmp_path: Path) -> None:
    text = commented("mine")
    assert set(tomllib.loads(text)) == {"name", "data", "per_class", "strategies", "seeds"}
    bare = re.sub(r"^# (?=\[|[a-z_]+ = )", "", text, flags=re.MULTILINE)
    data = tomllib.loads(bare)
    usual = Study("mine").to_json()
    assert set(data) | {key for key, value in usual.items() if value in (None, [], {}, "")} == set(usual)
    del data["mini"], data["conditions"]  # each is an example, and they need not fit one another
    del data["steps_per_epoch"], data["folds"]  # each stands there instead of another
    found = override(Study(data.pop("name")), data)
    assert found.recipe.steps_per_epoch == 100
    assert [claim.name for claim in found.claims] == ["bn-beats-fc"]
    for key in ("optimizer", "epochs", "weights", "metrics", "loss"):
        assert getattr(found, key) == getattr(Study("mine"), key)


def test_a_file_that_was_written_runs_when_the_images_are_filled_in(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    assert wdiv("init", file).stdout == f"wrote {file}; edit it, then: wdiv run {file} --dry-run\n"
    wdiv("init", file, code=2)
    wdiv("init", file, "--force")
    file.write_text(file.read_text().replace("path/to/images", "digits"))
    options = ["--model", MOBILENET, "--weights", "random", "--strategy", "scratch", "--image-size", 32]
    plan = strictly(wdiv("run", file, *options, "--out", tmp_path / "out", "--dry-run", "--json").stdout)
    assert (plan["study"], len(plan["runs"])) == ("mine", 1)
    wdiv("init", tmp_path / "quick.toml", "--study", "quickstart")
    quick = load(str(tmp_path / "quick.toml"))
    assert (quick.name, quick.pretrain) == ("quick", STUDIES["quickstart"].pretrain)
