"""A registry holds each name once, and points at the nearest one when asked for a name it lacks."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from wdiv.errors import UnknownName, WdivError
from wdiv.registry import MANY, Registry, did_you_mean


@dataclass(frozen=True)
class Fruit:
    name: str
    colour: str = "green"


@pytest.fixture
def fruits() -> Registry[Fruit]:
    registry: Registry[Fruit] = Registry("fruit")
    for name in ("plum", "apple", "pineapple"):
        registry.add(Fruit(name))
    return registry


def test_is_a_mapping_in_the_order_of_registration(fruits: Registry[Fruit]) -> None:
    assert list(fruits) == ["plum", "apple", "pineapple"]
    assert len(fruits) == 3
    assert fruits["apple"] == Fruit("apple")
    assert "apple" in fruits
    assert "pear" not in fruits
    assert fruits.get("pear") is None
    assert [record.name for record in fruits.values()] == list(fruits)


def test_add_returns_the_record(fruits: Registry[Fruit]) -> None:
    pear = Fruit("pear")
    assert fruits.add(pear) is pear
    assert fruits["pear"] is pear


def test_a_second_record_of_a_name_is_refused_and_the_first_stays(fruits: Registry[Fruit]) -> None:
    with pytest.raises(ValueError, match="fruit 'plum' is registered twice"):
        fruits.add(Fruit("plum", "blue"))
    assert fruits["plum"].colour == "green"
    assert len(fruits) == 3


@pytest.mark.parametrize("error", [UnknownName, WdivError, KeyError])
def test_an_unknown_name_is_a_key_error_that_reads_as_one_line(fruits: Registry[Fruit], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        fruits["aple"]
    assert str(caught.value) == "unknown fruit 'aple'; did you mean 'apple' or 'pineapple'?"


@pytest.mark.parametrize(
    ("asked", "names", "answer"),
    [
        ("bn+cf", ["fc", "bn+fc", "scratch"], "did you mean 'bn+fc'?"),
        ("aple", ["apple", "pineapple"], "did you mean 'apple' or 'pineapple'?"),
        ("zzz", ["fc", "bn+fc"], "known: bn+fc, fc"),
        ("", ["fc"], "known: fc"),
        ("fc", [], "known: "),
    ],
)
def test_did_you_mean(asked: str, names: list[str], answer: str) -> None:
    assert did_you_mean(asked, names) == answer


def test_did_you_mean_names_at_most_three_the_nearest_first() -> None:
    answer = did_you_mean("conv1", ["conv1x", "conv11", "conv12", "conv13", "conv1yyy"])
    assert answer.count("'") == 6
    assert "conv1yyy" not in answer


def test_a_long_list_of_names_is_cut() -> None:
    names = [f"model{i:03d}" for i in range(80)] * 2
    hint = did_you_mean("zzz", names)
    assert hint.count("model") == MANY
    assert hint.endswith(", …")
