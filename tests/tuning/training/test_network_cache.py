"""What runs share of a network costs them once, and changes nothing that they write."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tuning.tiny import SMALL, contents, small_run, snapshot, write_weights
from wdiv.tuning.data.images import Split
from wdiv.tuning.networks.models import build
from wdiv.tuning.networks.sources import Source
from wdiv.tuning.training import network_cache, prepared
from wdiv.tuning.training.network_cache import NetworkCache
from wdiv.tuning.training.run import fine_tune
from wdiv.tuning.training.run_spec import RunSpec

CPU = torch.device("cpu")


def grid(weights: Path) -> list[RunSpec]:
    """Runs that leave the network in many states: of one source, but for the two networks."""
    how = {"validation": 0.3, "patience": 1}
    ways = {
        "bn@stage2+fc": "auto", "conv+bn+fc": "adapt", "scratch": "auto", "modular": "auto", "all=1e-3,rgn": "batch",
        "conv@stage2+fc+l2sp=0.1": "adabn", "fc for 1 then bn+fc": "frozen",
    }  # fmt: skip
    first = small_run(weights, "fc", **how)
    runs = [small_run(weights, way, bn_mode=mode, seed=seed, **how) for way, mode in ways.items() for seed in (0, 1)]
    return [first, *(replace(run, source=first.source) for run in runs), first]


def test_runs_that_share_a_network_write_what_runs_with_one_each_write(
    weights: Path, digits: Split, tmp_path: Path
) -> None:
    networks = NetworkCache()
    for spec in grid(weights):
        fine_tune(spec, digits, tmp_path / "shared", device="cpu", networks=networks)
        fine_tune(spec, digits, tmp_path / "apart", device="cpu")
    assert contents(tmp_path / "shared") == contents(tmp_path / "apart")


def test_what_runs_have_in_common_is_done_once(
    weights: Path, digits: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, **how: calls.update([name]) or real(*given, **how))

    for owner, name in ((Source, "read"), (network_cache, "build"), (network_cache, "cut"), (prepared, "write_base")):
        count(owner, name)
    first, networks = small_run(weights, "fc", epochs=1), NetworkCache()
    for strategy in ("fc", "bn@stage2+fc"):
        for size in (3, 4):
            for seed in (0, 1):
                spec = small_run(weights, strategy, per_class=size, seed=seed, epochs=1)
                fine_tune(replace(spec, source=first.source), digits, tmp_path, networks=networks)
    assert calls == {
        "read": 1,
        "build": 2,  # seeds
        "cut": 4,  # strategies, each while training and in eval mode
        "write_base": 1,
    }


def test_a_network_is_as_if_just_built(weights: Path) -> None:
    networks, spec = NetworkCache(), small_run(weights, "fc", seed=3)
    first = networks.prepare(spec, 5, CPU)
    before = snapshot(first.model)
    for parameter in first.model.parameters():
        parameter.data.add_(1.0)
        parameter.grad = torch.ones_like(parameter)
    again = networks.prepare(spec, 5, CPU)
    assert again.model is first.model
    assert all(torch.equal(value, before[key]) for key, value in again.model.state_dict().items())
    assert all(parameter.grad is None for parameter in again.model.parameters())
    head = build(spec.network, 5, seed=3).state_dict()
    assert again.start.new == ("classifier.1.weight", "classifier.1.bias")
    assert all(torch.equal(again.start.tensors[key], head[key]) for key in again.start.new)


@pytest.mark.parametrize("change", ["source", "classes", "network"])
def test_another_source_lets_the_network_go(change: str, weights: Path, tmp_path: Path) -> None:
    networks, spec = NetworkCache(), small_run(weights, "fc")
    found = networks.prepare(spec, 5, CPU)
    held = [weakref.ref(found.model), weakref.ref(found.start.given["features.0.0.weight"])]
    for random in ("scratch", "bn-random"):  # of the same source: it will be asked for again
        networks.prepare(replace(spec, strategy=random), 5, CPU)
    del found
    gc.collect()
    assert all(ref() is not None for ref in held)
    other = {
        "source": small_run(write_weights(tmp_path / "other.pth", SMALL, seed=2), "fc"),
        "classes": spec,
        "network": replace(spec, strategy="modular"),
    }[change]
    networks.prepare(other, 4 if change == "classes" else 5, CPU)
    gc.collect()
    assert all(ref() is None for ref in held)
