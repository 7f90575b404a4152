"""How far a target lies from its source: beside plain formulas on the same features, kept, and read without images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from studies.grid import domain_distance
from studies.grid.conditions import parts
from studies.grid.planning import plan_grid, source_study, trained_sources
from studies.grid.runner import run_grid
from studies.report.observations import COLUMNS, OPTIONAL, observe_distances
from studies.report.verdicts import judge
from studies.spec.claim import Claim
from studies.spec.columns import SCORED
from studies.spec.study import Condition, Pretrain, Study
from studies.spec.table import Table
from tests.conftest import once
from tests.tuning.tiny import MOBILENET
from wdiv.errors import BadStore
from wdiv.store.seals import read_sealed, write_sealed
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.data.images import Split, nested_subset
from wdiv.tuning.networks.models import build
from wdiv.tuning.networks.sources import Source, load_into

pytestmark = once

FAR = Claim(
    "far", "far is farther", "", {"condition": "far"}, {"condition": "near"}, "more", of={"measure": "frechet_distance"}
)
STUDY = Study(
    "apart", models=(MOBILENET,), pretrain=Pretrain("digits-0-4", 1, steps_per_epoch=2), data="digits-5-9",
    conditions=(Condition("near", {}), Condition("far", {"data": "digits", "classes": 5})), per_class=(3, 70),
    seeds=(0, 1), strategies=("fc",), image_size=32, test_count=9, epochs=1, steps_per_epoch=1, claims=(FAR,),
)  # fmt: skip


def measure(study: Study, out: Path) -> list[Path | None]:
    found = [(part, plan_grid(part.study)) for part in parts(study, out)]
    return [domain_distance.measure(grid, part, device="cpu") for part, grid in found]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("apart")
    run_grid(source_study(STUDY), folder / "sources" / "digits-0-4", device="cpu")
    measure(STUDY, folder)
    return folder


def seen(source: Source, images: Split, rows: np.ndarray, *, test: bool = False) -> np.ndarray:
    """The bottleneck, by torchvision's own network: what its classifier is given."""
    assert source.model is not None
    model = build(source.model, 5).eval()
    load_into(model, source.read(), source.model, source.name)
    model.classifier = torch.nn.Identity()
    pixels = torch.from_numpy((images.test if test else images.pool).pixels[rows])
    with torch.no_grad():
        return np.asarray(model(source.input.at(32).prepare(pixels)).double())


def plainly(x: np.ndarray, s: np.ndarray) -> tuple[float, float]:
    one, other = np.cov(x.T), np.cov(s.T)
    root = np.sqrt(np.linalg.eigvals(one @ other).real.clip(0)).sum()
    frechet = np.sum((x.mean(0) - s.mean(0)) ** 2) + np.trace(one + other) - 2 * root
    rows, n, m = np.vstack([x, s]), len(x), len(s)
    apart = cdist(rows, rows)
    kernel = np.exp(-(apart**2) / (2 * np.median(apart[np.triu_indices(n + m, 1)]) ** 2))
    off = kernel - np.eye(n + m)
    within = off[:n, :n].sum() / (n * (n - 1)) + off[n:, n:].sum() / (m * (m - 1))
    return frechet, within - 2 * kernel[:n, n:].mean()


def test_is_that_of_the_images_which_the_runs_train_on_from_source_images_that_nobody_has_seen(out: Path) -> None:
    (source,) = trained_sources(plan_grid(parts(STUDY, out)[0].study), out / "sources" / "digits-0-4").values()
    theirs = open_split("digits-0-4", 32)
    near = open_split("digits-5-9", 32, test_count=9)
    far = open_split("digits", 32, test_count=9).first_classes(5)
    for condition, split in (("near", near), ("far", far)):
        kept = domain_distance.load(out / condition)
        assert [(one.per_class, one.seed) for one in kept] == [(3, 0), (3, 1), (70, 0), (70, 1)]
        assert [(one.n_train, one.n_source) for one in kept] == [(15, 15)] * 2 + [(350, 225)] * 2, "all 225 there are"
        for one in kept:
            x = seen(source, split, nested_subset(split.pool, one.per_class, one.seed))
            drawn = np.random.default_rng(one.seed).permutation(225)[: len(x)]
            frechet, discrepancy = plainly(x, seen(source, theirs, drawn, test=True))
            scale = np.trace(np.cov(x.T))  # the thin network varies little: in float32 few digits are left
            assert one.frechet_distance == pytest.approx(frechet, rel=2e-2, abs=1e-4 * scale)
            assert one.mmd == pytest.approx(discrepancy, rel=2e-2, abs=1e-3)


def test_is_observed_beside_the_runs_without_their_images(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.grid.planning.open_data", None)
    table = observe_distances({"near": out / "near", "far": out / "far"})
    assert list(table.columns) == [*COLUMNS, *OPTIONAL]
    assert table.groupby(["condition", "measure"]).size().to_dict() == {
        (condition, measure): 4 for condition in ("near", "far") for measure in SCORED
    }
    assert set(table["per_class"]) == {"3", "70"}
    assert set(table["n_train"]) == {15, 350}
    (verdict,) = judge([FAR], table)
    assert (verdict.pairs, verdict.seeds) == (4, 2), "each size and seed, though the data sets have other names"
    values = table[table["measure"].eq("frechet_distance")].groupby("condition")["value"].mean()
    assert verdict.effect == pytest.approx(values["far"] - values["near"])


def test_only_what_is_new_is_measured(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [out / name / domain_distance.FILE for name in ("near", "far")]
    before = [file.read_text() for file in files]
    monkeypatch.setattr("baselines.features.features", None)
    assert measure(STUDY, out) == files
    assert [file.read_text() for file in files] == before
    monkeypatch.undo()

    fewer = replace(STUDY, seeds=(2,), per_class=(3,))
    stale = read_sealed(files[0])
    stale["distances"][0] |= {"weights": "other", "mmd": 9.0}
    write_sealed(files[0], stale)
    measure(fewer, out)
    assert [(one.per_class, one.seed) for one in domain_distance.load(out / "near")][-1] == (3, 2), (
        "what was there stays"
    )
    measure(STUDY, out)
    again = {one.cell: one.mmd for one in domain_distance.load(out / "near")}
    assert again[MOBILENET, 3, 0] == json.loads(before[0])["distances"][0]["mmd"], "of other weights: measured anew"
    assert len(again) == 5


def test_is_measured_where_something_is_said_of_it() -> None:
    table = Table("apart", columns=("measure",), measure=SCORED)
    assert domain_distance.asked(STUDY)
    assert domain_distance.asked(replace(STUDY, claims=(), tables=(table,)))
    assert not domain_distance.asked(replace(STUDY, claims=()))


def test_weights_from_elsewhere_have_no_known_images(tmp_path: Path) -> None:
    alone = replace(STUDY, pretrain=None, weights="random", conditions=())
    assert measure(alone, tmp_path) == [None]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{}", '{"distances": [{"model": "x"}]}'])
def test_a_file_that_holds_no_distances(tmp_path: Path, text: str) -> None:
    assert domain_distance.load(tmp_path) == []
    (tmp_path / domain_distance.FILE).write_text(text)
    with pytest.raises(BadStore, match="not the distances of a study"):
        domain_distance.load(tmp_path)
