"""What groups are for: pictures in which nothing tells the classes apart, and plates photographed four times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from baselines import trials
from baselines.estimators import BASELINES, LinearSVM
from baselines.trials import Trial
from tests import folders
from tests.tuning.tiny import MOBILENET
from wdiv.errors import BadInput
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.data.images import ImageSet, Split
from wdiv.tuning.networks.models import ModelSpec
from wdiv.tuning.networks.sources import Source, resolve

GROUP = r"^\w/plate\d+"


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders.plates(tmp_path_factory.mktemp("steel"), count=16)


def rows(images: ImageSet) -> np.ndarray:
    return images.pixels.reshape(len(images), -1) / 255


def random_network() -> Source:
    return replace(resolve("random"), model=ModelSpec.parse(MOBILENET))


def test_a_random_split_finds_what_is_not_there(plates: Path) -> None:
    leaking, sound = open_split(str(plates), 16), open_split(str(plates), 16, group=GROUP)
    found = {}
    for name, split in (("leaking", leaking), ("sound", sound)):
        svm = LinearSVM(folds=4).fit(rows(split.pool), split.pool.labels, groups=split.pool.groups or None)
        found[name] = svm.score(rows(split.test), split.test.labels), svm.cv_score_
    assert min(found["leaking"]) > 0.95
    assert max(found["sound"]) < 0.75, "in cross-validation too"


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_holds_groups_out_together(name: str, plates: Path) -> None:
    split = open_split(str(plates), 16, group=GROUP)
    few = split.pool.take(np.flatnonzero(np.arange(len(split.pool)) % 4 < 2))
    estimator = BASELINES[name].make(4, 0).fit(rows(few)[:, :64], few.labels, groups=few.groups)
    assert estimator.cv_score_ < 0.8
    assert estimator.fallback_ is None


def test_groups_are_part_of_what_an_outcome_is(plates: Path, tmp_path: Path) -> None:
    source, split = random_network(), open_split(str(plates), 32, group=GROUP)
    bare = Split(split.name, *(ImageSet(p.pixels, p.labels, p.classes, p.names) for p in (split.pool, split.test)))
    (outcome,) = trials.run(source, split, [Trial("ncm", "bottleneck", 6)], device="cpu")
    (best,) = trials.run(source, split, [Trial("ncm", "best", 6)], device="cpu")
    assert max(outcome.cv_score, best.cv_score) < 0.9
    trials.save(outcome, tmp_path)
    assert outcome.grouping == split.pool.grouping != "none"
    assert [*trials.kept(tmp_path, source, split)] == [outcome.id]
    assert bare.digest == split.digest
    with pytest.raises(BadInput, match=r"another split, or other images, .*now none"):
        trials.kept(tmp_path, source, bare)
