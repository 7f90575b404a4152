"""The long table: every value against the files of the store, by plain NumPy; what is left out; the way to disk."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from studies.report.gains import change_and_gain
from studies.report.observations import layer_distances, observe, read_observations, write_observations
from studies.spec.columns import (
    COLUMNS,
    DISTANCES,  # fmt: skip
    LAYERS,
    OPTIONAL,
)
from tests.fabric import CHANGES, drift_seed, edit_rows, make_store, rewrite, run_states, shorten
from wdiv.errors import BadStore, UnknownName
from wdiv.store.seals import read_sealed, write_sealed

STRATEGIES, SEEDS, SIZES, EPOCHS = ("fc", "bn+fc", "conv+fc", "scratch"), (0, 1), (2, 4, 9), 2
KEYS = {
    "conv:weight": {"stem": "stem.conv.weight", "stage1": "stage.conv.weight"},
    "bn:gamma": {"stem": "stem.bn.weight", "stage1": "stage.bn.weight"},
    "bn:beta": {"stem": "stem.bn.bias", "stage1": "stage.bn.bias"},
    "fc:weight": {"head": "head.weight"},
}
MEMBERS = {"all": ("stem", "stage1"), "shallow": ("stem",), "deep": ("stage1",), "last": ("stage1",)}
METRIC = ("relative_l2", "l2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("seen") / "store", STRATEGIES, SEEDS, EPOCHS, sizes=SIZES)


@pytest.fixture(scope="module")
def distances(folder: Path) -> pd.DataFrame:
    return layer_distances({"": folder}, METRIC)


@pytest.fixture(scope="module")
def table(folder: Path, distances: pd.DataFrame) -> pd.DataFrame:
    return observe({"": folder}, METRIC, distances=distances)


def far(a: np.ndarray, b: np.ndarray, measure: str) -> float:
    moved = np.sqrt(((b.astype(float) - a.astype(float)) ** 2).sum())
    return float(moved / (np.sqrt((a.astype(float) ** 2).sum()) if measure == "relative_l2" else 1.0))


@cache
def states(strategy: str, seed: int, size: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    first, *_, last = run_states(strategy, drift_seed(seed, int(size)), EPOCHS)
    return first, last


def wanted(row: Mapping[str, Any], stage: str) -> float:
    """By the drift that the store was made with."""
    first, last = states(row["strategy"], row["seed"], row["per_class"])
    key = KEYS[row["layers"]][stage]
    if row["against"] == "start":
        return far(first[key], last[key], row["measure"])
    return far(last[key], states(row["strategy"], row["seed"], row["against"])[1][key], row["measure"])


def test_every_divergence_is_what_the_files_say(table: pd.DataFrame) -> None:
    rows = table[table["part"].ne("")].to_dict("records")
    for row in rows:
        mean = np.median([wanted(row, stage) for stage in MEMBERS.get(row["part"], (row["part"],))])
        assert row["value"] == pytest.approx(mean, rel=1e-6), row
    runs, pairs = len(STRATEGIES) * len(SEEDS) * len(SIZES), len(STRATEGIES) * len(SEEDS) * 3
    assert len(rows) == len(METRIC) * (runs + pairs) * (3 * 6 + 1), "parts of three roles, and the head"


def test_every_layer_is_what_the_files_say(distances: pd.DataFrame) -> None:
    stages = {layer: stage for stage, layer in (("stem", "stem"), ("stage1", "stage"), ("head", "head"))}
    for row in distances.to_dict("records"):
        assert row["stage"] == stages[row["layer"].split(".")[0]]
        assert row["value"] == pytest.approx(wanted(row, row["stage"]), rel=1e-6), row


def test_pairs_are_of_runs_that_differ_in_size_alone_and_told_of_the_smaller(distances: pd.DataFrame) -> None:
    pairs = distances[distances["against"].ne("start")]
    assert set(zip(pairs["per_class"], pairs["against"], strict=True)) == {("2", "4"), ("2", "9"), ("4", "9")}
    assert pairs["run"].str.contains("-n" + pairs["per_class"].iloc[0]).any()
    assert (pairs["n_train"] == 3 * pairs["per_class"].astype(int)).all()
    assert not pairs.duplicated(["run", "measure", "against", "layers", "layer"]).any()


def test_a_frozen_layer_counts_as_unmoved(table: pd.DataFrame) -> None:
    frozen = table[table["layers"].eq("conv:weight") & table["strategy"].isin(["fc", "bn+fc"])]
    assert len(frozen)
    assert frozen["value"].eq(0).all()
    assert "stem.conv.weight" not in CHANGES["bn+fc"]


def test_accuracies_are_those_of_the_history(folder: Path, table: pd.DataFrame) -> None:
    rows = table[table["measure"].isin(["accuracy", "train_accuracy"])]
    assert len(rows) == 2 * len(STRATEGIES) * len(SEEDS) * len(SIZES)
    for row in rows.to_dict("records"):
        history = (folder / "runs" / row["run"] / "history.jsonl").read_text().splitlines()
        name = {"accuracy": "test_accuracy"}.get(row["measure"], row["measure"])
        assert row["value"] == json.loads(history[-1])[name]
        assert (row["against"], row["layers"], row["part"]) == ("", "", "")


def test_columns_and_types(table: pd.DataFrame, distances: pd.DataFrame) -> None:
    for found, columns in ((table, COLUMNS), (distances, DISTANCES), (observe({}), COLUMNS)):
        assert tuple(found.columns) == (*columns, *OPTIONAL)
        assert {name: str(found[name].dtype) for name in ("n_train", "seed", "value")} == {
            "n_train": "int64", "seed": "int64", "value": "float64",
        }  # fmt: skip
    assert set(distances["layers"]) <= set(LAYERS)
    assert layer_distances({}).empty


def test_steps_and_who_has_trained_stand_in_each_row_of_a_run(tmp_path: Path) -> None:
    """Those that are not known are not guessed, and such a table is as good."""
    store = make_store(tmp_path / "s", ("fc", "bn+fc"), (0,), 2, sizes=(2, 4))
    known = {"toynet-toy-n4-fc-auto-s0": (0.2, "no"), "toynet-toy-n4-bn+fc-auto-s0": (1.0, "yes")}
    for run, (accuracy, _) in known.items():
        fitted = {"fitted_accuracy": accuracy, "n_fitted": 12, "fitted_majority": 1 / 3}
        edit_rows(store / "runs" / run, lambda rows, fitted=fitted: rows[-1].update(fitted))
        edit_rows(store / "runs" / run, lambda rows: [row.update(steps=5 * (row["epoch"] > 0)) for row in rows])
    table, distances = observe({"": store}), layer_distances({"": store})
    for found in (table, distances):
        for run, rows in found.groupby("run"):
            accuracy, trained = known.get(run, (np.nan, ""))
            assert set(rows["trained"]) == {trained}
            assert (rows["steps"].eq(10) if run in known else rows["steps"].isna()).all()
    fitted = table[table["measure"].eq("fitted_accuracy")].set_index("run")["value"]
    assert fitted.to_dict() == {run: accuracy for run, (accuracy, _) in known.items()}
    for found in (table, distances, table[list(COLUMNS)], distances[list(DISTANCES)]):
        pd.testing.assert_frame_equal(read_observations(write_observations(found, tmp_path / "o.csv")), found)
    plain = observe({"": store}, distances=distances[list(DISTANCES)])
    assert plain.loc[plain["measure"].eq("relative_l2"), "value"].tolist() == (
        table.loc[table["measure"].eq("relative_l2"), "value"].tolist()
    )


def test_the_epoch_that_counts_is_taken(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("bn+fc",), (0,), 3, sizes=(2, 4))
    shorten(store, "toynet-toy-n4-bn+fc-auto-s0", 1, early=True)
    found = observe({"": store}, "l2")
    gamma = found[found["layers"].eq("bn:gamma") & found["part"].eq("stem")].set_index(["per_class", "against"])[
        "value"
    ]
    small, large = (run_states("bn+fc", drift_seed(0, size), 3) for size in (2, 4))
    key = "stem.bn.weight"
    assert gamma["2", "start"] == pytest.approx(far(small[0][key], small[3][key], "l2"), rel=1e-6)
    assert gamma["4", "start"] == pytest.approx(far(large[0][key], large[1][key], "l2"), rel=1e-6)
    assert gamma["2", "4"] == pytest.approx(far(small[3][key], large[1][key], "l2"), rel=1e-6)


def test_what_is_undefined_is_left_out_of_the_mean_and_kept_by_layer(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("bn+fc",), (0,), 1)
    file = store / "runs" / "toynet-toy-n2-bn+fc-auto-s0" / "epochs" / "0001.safetensors"
    rewrite(file, {"stage.bn.weight": lambda values: values * np.nan})
    layers = layer_distances({"": store})
    gamma = layers[layers["layers"].eq("bn:gamma")].set_index("stage")["value"]
    assert np.isnan(gamma["stage1"])
    found = observe({"": store})
    parts = found[found["layers"].eq("bn:gamma")].set_index("part")["value"]
    assert parts.to_dict() == {"all": gamma["stem"], "shallow": gamma["stem"], "stem": gamma["stem"]}


def test_conditions_are_kept_apart(folder: Path, table: pd.DataFrame) -> None:
    both = observe({"near": folder, "far": folder}, METRIC)
    for condition in ("near", "far"):
        mine = both[both["condition"].eq(condition)].assign(condition="")
        order = [name for name in COLUMNS if name != "value"]
        pd.testing.assert_frame_equal(
            mine.sort_values(order, ignore_index=True), table.sort_values(order, ignore_index=True)
        )


def test_nothing_is_measured_twice(folder: Path, distances: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    import wdiv.cache.measures
    import wdiv.cache.pairs

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(wdiv.cache.measures, "divergence", never)
    monkeypatch.setattr(wdiv.cache.pairs, "pairwise", never)
    pd.testing.assert_frame_equal(layer_distances({"": folder}, METRIC), distances)
    assert len(layer_distances({"": folder}, "l2")) == len(distances) / 2
    with pytest.raises(AssertionError, match="measured again"):
        layer_distances({"": folder}, "cosine_distance")


def test_how_many_images_of_each_class_is_what_run_json_says(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("fc",), (0, 1), 1)
    for run, size in zip(sorted((store / "runs").iterdir()), ({"per_class": None}, {}), strict=True):
        told = read_sealed(run / "run.json")
        del told["per_class"]  # the second as before run.json said it
        write_sealed(run / "run.json", told | size)
    assert observe({"": store}).groupby("seed")["per_class"].unique().map(list).to_dict() == {0: ["all"], 1: ["2"]}


def test_a_store_of_baselines_alone_and_one_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "baselines").mkdir()
    facts = {
        "id": "toynet-toy-n20-svm@stage1-frozen-s3", "model": "toynet", "source": "toy", "dataset": "toy",
        "data_digest": "", "image_size": 8, "n_train": 60, "n_test": 9, "strategy": "svm@stage1", "baseline": "svm",
        "layer": "stage1", "pooling": "avg", "seed": 3, "cv": 5, "n_features": 6,
        "scores": {"accuracy": {"value": 0.75}}, "layer_chosen": None, "cost": None, "cv_score": None, "fallback": "",
        "seconds": 1.0,
    }  # fmt: skip
    (tmp_path / "baselines" / "x.json").write_text(json.dumps(facts))
    (row,) = observe({"c": tmp_path}).to_dict("records")
    assert row == {
        "condition": "c", "model": "toynet", "source": "toy", "dataset": "toy", "per_class": "20", "n_train": 60,
        "strategy": "svm@stage1", "bn_mode": "frozen", "seed": 3, "run": facts["id"], "measure": "accuracy",
        "against": "", "layers": "", "part": "", "value": 0.75, "steps": pytest.approx(np.nan, nan_ok=True),
        "trained": "",
    }  # fmt: skip
    (tmp_path / "baselines" / "x.json").write_text(json.dumps(facts | {"per_class": 30}))
    (row,) = observe({"c": tmp_path}).to_dict("records")
    assert row["per_class"] == "30", "what is written goes before a name"
    with pytest.raises(BadStore, match="holds no runs and no baselines"):
        observe({"": tmp_path / "none"})


def test_an_unknown_metric(folder: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'relative_l2'"):
        observe({"": folder}, "relativ_l2")


def test_what_stands_beside_the_trunk_counts_for_itself_alone(
    folder: Path, distances: pd.DataFrame, table: pd.DataFrame
) -> None:
    beside = distances[distances["stage"].eq("stage1")].assign(stage="beside", layer="beside.0", depth=99, value=7.0)
    found = observe({"": folder}, METRIC, distances=pd.concat([distances, beside], ignore_index=True))
    apart = found["part"].eq("beside")
    assert found.loc[apart, "value"].unique().tolist() == [7.0]
    pd.testing.assert_frame_equal(found[~apart].reset_index(drop=True), table)
    pd.testing.assert_frame_equal(change_and_gain(found), change_and_gain(table))


# ------------------------------------------------------------------------------------------------------------ disk


def test_what_is_written_comes_back(table: pd.DataFrame, distances: pd.DataFrame, tmp_path: Path) -> None:
    odd = table.head(3).assign(condition=["", "NA", 'a,"b"'], per_class=["020", "all", "nan"])
    for one, name in itertools.product((table, distances.assign(value=np.nan), odd, table.head(0)), ("csv", "csv.gz")):
        pd.testing.assert_frame_equal(read_observations(write_observations(one, tmp_path / "new" / f"o.{name}")), one)


def test_packed_files_are_smaller_and_equal_for_equal_tables(distances: pd.DataFrame, tmp_path: Path) -> None:
    packed, again, plain = (
        write_observations(distances, tmp_path / name) for name in ("a.csv.gz", "b.csv.gz", "c.csv")
    )
    assert packed.read_bytes() == again.read_bytes()
    assert packed.stat().st_size < plain.stat().st_size / 2
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()


@pytest.mark.parametrize("damage", ["cut off", "other bytes", "nothing packed"])
def test_a_damaged_packed_file_is_one_line(distances: pd.DataFrame, tmp_path: Path, damage: str) -> None:
    file = write_observations(distances, tmp_path / "o.csv.gz")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(
        {"cut off": content[: len(content) // 2], "other bytes": content, "nothing packed": b"a,b"}[damage]
    )
    with pytest.raises(BadStore, match=r"o\.csv\.gz: damaged") as error:
        read_observations(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "damaged"),
        (b"\xff\xfe\x00", "damaged"),
        (b"a,b\n1,2\n", "no column 'condition'"),
        ((",".join(COLUMNS) + ",more\n").encode(), "other columns"),
        ((",".join(COLUMNS) + "\n" + "x," * (len(COLUMNS) - 1) + "0.5\n").encode(), "damaged"),
        ((",".join(COLUMNS) + "\n" + "1,2\n" + '"').encode(), "damaged"),
        (None, "no such file"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "o.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadStore) as error:
        read_observations(file)
    assert says in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)
