"""The papers' numbers: against the papers' own text where it is, and against what must be true of them anywhere."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest

from studies.papers import PAPERS, published
from studies.spec.columns import ACCURACIES
from studies.spec.table import CONDITIONS
from wdiv.errors import UnknownName
from wdiv.tuning.networks.models import MODELS, ModelSpec
from wdiv.tuning.strategy.spelling import parse

Cell = tuple[str, ...]
FC, BN, BOTH = "Transfer weights and train FC layers", "BN & FC", "CNN, BN & FC"
HEADINGS = {
    "Train from scratch": "scratch", FC: "fc", "FC": "fc", "CNN & FC": "conv+fc", BN: "bn+fc", BOTH: "conv+bn+fc",
    "Learning rate 0.0001 for CNN, BN & FC layers": "conv+bn+fc",
    "Learning rate 0.01 for BN & FC layers": "bn+fc",
    "Learning rate 0.01, 0.001, 0.0001 for BN, FC & CNN layers": "by-kind",
    "Layer 4": "bn@stage4+fc", "Layer 3 & 4": "bn@stage3-4+fc", "Layer 2, 3 & 4": "bn@stage2-4+fc",
    "All BN layers": "bn+fc",
}  # fmt: skip
SIZES = {"140": "20", "280": "40", "909": "all"}
"""Images of seven classes -> images a class."""


def as_printed(study: str) -> list[dict[str, str]]:
    text = files("studies.papers").joinpath(f"{study}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def tables_of(text: str) -> Iterator[tuple[str, str, list[dict[str, str]]]]:
    """(number, section, rows by heading) of each caption that is followed by a table."""
    section, number, of, caption, heads = "", "", "", "", list[str]()
    rows: list[dict[str, str]] = []
    for line in [*text.splitlines(), "Table 0 the end"]:
        if (found := re.match(r"Table (\d+)\.? ", line)) and "\t" not in line:
            if rows:
                yield number, of, [{"caption": caption} | row for row in rows]
            number, of, caption, heads, rows = found[1], section, line, [], []
        elif heading := re.match(r"#+ (\d\.\d)", line):
            section = heading[1]
        elif "\t" in line:
            cells = line.split("\t")
            if heads:
                rows.append(dict(zip(heads, cells, strict=True)))
            heads = heads or cells


def test_every_cell_of_tables_1_to_8_is_the_papers(shared: Path) -> None:
    (file,) = (shared / "seeds").glob("peng2020*.txt")
    found: dict[Cell, str] = {}
    for number, section, rows in tables_of(file.read_text(encoding="utf-8")):
        for row in rows:
            caption = row.pop("caption")
            model = (row.pop("Models", "") or row.pop("Model")).lower()
            size = SIZES[row.pop("Data set", caption.rpartition("FI")[2].rstrip(". ")).removeprefix("FI")]
            for heading, value in row.items():
                strategy = parse(HEADINGS[heading]).name
                found[f"table{number}", f"section {section}", model, size, strategy, "accuracy"] = value
    assert len(found) == 159
    ours = as_printed("peng2020")
    names = ("table", "where", "model", "per_class", "strategy", "measure")
    assert {tuple(row[name] for name in names): row["value"] for row in ours} == found
    assert len(ours) == 159


def test_every_cell_of_guptas_table_1_is_the_papers(shared: Path) -> None:
    (file,) = (shared / "seeds").glob("gupta2020*.txt")
    heads, training, validation = (
        re.findall(r"\t *([\d.]+)", line)
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.match(r"(Unfrozen Layer|Training Accuracy|Validation accuracy)\t", line)
    )
    assert heads == ["5", "4", "3", "2", "1", "0"]
    found = {("train_accuracy", block): value for block, value in zip(heads, training, strict=True)}
    found |= {("accuracy", block): value for block, value in zip(heads, validation, strict=True)}
    ours = as_printed("gupta2020")
    assert {(row["measure"], row["block"]): row["value"] for row in ours} == found
    assert len(ours) == len(found) == 12


TOTALS = {
    ("peng2020", "table1"): (10, "557.4347"),
    ("peng2020", "table2"): (10, "627.3554"),
    ("peng2020", "table3"): (10, "793.6435"),
    ("peng2020", "table4"): (20, "1284.2222"),
    ("peng2020", "table5"): (20, "1431.3279"),
    ("peng2020", "table6"): (20, "1734.3926"),
    ("peng2020", "table7"): (45, "3571.1689"),
    ("peng2020", "table8"): (24, "1810.8967"),
    ("gupta2020", "table1"): (12, "1040.42"),
}
"""Cells and their sum, added up from the printed tables: a cell that is lost, doubled or mistyped shows anywhere."""


def test_the_totals_of_every_table() -> None:
    found: dict[tuple[str, str], list[Decimal]] = {}
    for study in PAPERS:
        for row in as_printed(study):
            found.setdefault((study, row["table"]), []).append(Decimal(row["value"]))
    assert {key: (len(values), str(sum(values))) for key, values in found.items()} == TOTALS


@pytest.mark.parametrize("study", PAPERS)
def test_a_papers_numbers_are_spelled_as_runs_are(study: str) -> None:
    table = published(study)
    told = [name for name in CONDITIONS if name in table]
    assert set(table) <= {"table", "where", "block", "value", *CONDITIONS}
    assert not table.duplicated([name for name in table if name not in ("where", "value")]).any()
    assert not table.drop(columns="value").eq("").any(axis=None)
    assert table["value"].between(0, 100, inclusive="neither").all()
    assert {"model", "per_class", "measure"} <= set(told)
    assert {ModelSpec.parse(model).name for model in table["model"]} <= set(MODELS)
    assert set(table["per_class"]) <= {"20", "40", "all"}
    assert set(table["measure"]) <= set(ACCURACIES)
    assert all(parse(name).name == name for name in table.get("strategy", ()))
    assert all(isinstance(value, str) for name in told for value in table[name])


def test_pengs_numbers_are_whole_counts_of_881_test_images() -> None:
    """The paper does not say so; a digit that was mistyped would be no share of 881 images."""
    for row in as_printed("peng2020"):
        value = Decimal(row["value"])
        right = round(value * 881 / 100)
        assert round(Decimal(100 * right) / 881, 4) == value, row


def test_what_peng_prints_in_several_tables_is_the_same_number() -> None:
    values: dict[Cell, set[str]] = {}
    times: Counter[Cell] = Counter()
    for row in as_printed("peng2020"):
        cell = row["model"], row["per_class"], row["strategy"]
        values.setdefault(cell, set()).add(row["value"])
        times[cell] += 1
    assert {cell for cell, numbers in values.items() if len(numbers) > 1} == set()
    assert Counter(times.values()) == {1: 63, 2: 39, 3: 6}


def test_each_table_has_the_shape_of_the_papers() -> None:
    table = published("peng2020")
    for number, (models, sizes, strategies) in {
        "1": (5, 1, 2), "2": (5, 1, 2), "3": (5, 1, 2), "4": (5, 1, 4), "5": (5, 1, 4), "6": (5, 1, 4), "7": (5, 3, 3),
        "8": (2, 3, 4),
    }.items():  # fmt: skip
        one = table[table["table"].eq(f"table{number}")]
        assert tuple(one[["model", "per_class", "strategy"]].nunique()) == (models, sizes, strategies)
        assert len(one) == models * sizes * strategies


def test_published_numbers_are_a_tidy_table() -> None:
    table = published("peng2020")
    assert isinstance(table, pd.DataFrame)
    assert table["value"].dtype == float
    assert len(table) == 159
    assert table["per_class"].iloc[0] == "20"


@pytest.mark.parametrize(
    ("name", "near"), [("peng2002", "did you mean 'peng2020'"), ("../x", "known: gupta2020, peng")]
)
def test_a_paper_without_numbers_is_said_to_be_unknown(name: str, near: str) -> None:
    with pytest.raises(UnknownName, match=near):
        published(name)
