"""Features: what the network gives, labelled, and computed once for baselines and runs together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import wdiv
from baselines.features import bottleneck, features, places_of
from tests.tuning.tiny import shown_to_prefixes, tiny_run
from wdiv.errors import BadInput, BadWeights
from wdiv.tuning.data.images import Split
from wdiv.tuning.networks.models import ModelSpec, build
from wdiv.tuning.networks.sources import Source, load_into, resolve
from wdiv.tuning.prefix.feature_store import FeatureStore
from wdiv.tuning.training.run import fine_tune


def test_the_bottleneck_is_what_the_classifier_of_the_loaded_network_reads(source: Source, digits: Split) -> None:
    assert source.model is not None
    model = build(source.model, 2).eval()
    load_into(model, source.read(), source.model, source.name)
    seen: list[torch.Tensor] = []
    model.classifier[1].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model(source.input.at(32).prepare(torch.from_numpy(digits.test.pixels)))
    found = bottleneck(source, digits.test, device="cpu")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, seen[0].numpy(), rtol=1e-4, atol=1e-5)
    tree = features(source, digits.test, ["stage2", "bottleneck"], device="cpu")
    np.testing.assert_allclose(tree["bottleneck"].features, found, rtol=1e-4, atol=1e-5)


def test_samples_carry_their_names_and_classes_whatever_rows_are_asked_for(source: Source, digits: Split) -> None:
    rows = np.array([30, 2, 17])
    tree = features(source, digits.test, ["stage1", "stage3"], rows=rows, device="cpu")
    assert tree.sample.values.tolist() == [digits.test.names[i] for i in rows]
    assert tree.label.values.tolist() == digits.test.labels[rows].tolist()
    assert tree.class_name.values.tolist() == [digits.test.classes[digits.test.labels[i]] for i in rows]
    assert "group" not in tree.coords
    groups = tuple(f"writer {i // 4}" for i in range(len(digits.test)))
    grouped = features(source, replace(digits.test, groups=groups), ["stage1"], rows=rows, device="cpu")
    assert grouped.group.values.tolist() == ["writer 7", "writer 0", "writer 4"]
    whole = features(source, digits.test, ["stage1", "stage3"], device="cpu")
    for name in ("stage1", "stage3"):
        assert tree[name].attrs["stage"] == name
        np.testing.assert_array_equal(tree[name].features, whole[name].features.values[rows])


def test_they_go_to_netcdf_and_come_back(source: Source, digits: Split, tmp_path: Path) -> None:
    tree = features(source, digits.test, ["stage1", "features.4.conv.1"], device="cpu")
    back = wdiv.load(wdiv.save(tree, tmp_path / "features.nc"))
    xr.testing.assert_identical(back, tree)


def test_a_run_that_trains_the_classifier_and_the_bottleneck_share_what_they_compute(
    weights: Path, source: Source, digits: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore()
    fine_tune(tiny_run(weights, "fc", epochs=1), digits, tmp_path, device="cpu", features=store)
    shown = shown_to_prefixes(monkeypatch)
    features(source, digits.test, device="cpu", store=store)
    assert [n for n in shown if n > 2] == [], "a trial of two images at most"
    features(source, digits.test, ["stage4"], device="cpu", store=store)
    assert sum(n for n in shown if n > 2) == len(digits.test)


@pytest.mark.parametrize("pooling", ["avg", "max", "grid=2"])
def test_pooling_is_of_maps(pooling: str, source: Source, digits: Split) -> None:
    one = features(source, digits.test, ["stage1", "stage2"], pooling=pooling, device="cpu")
    channels = {"stage1": 8, "stage2": 8}
    assert {name: one.children[name].sizes["feature"] for name in one.children} == {
        name: width * (4 if pooling == "grid=2" else 1) for name, width in channels.items()
    }
    assert one.attrs["pooling"] == pooling


def test_places_are_the_stages_and_the_bottleneck(source: Source) -> None:
    assert places_of(source, 32) == ("stem", "stage1", "stage2", "stage3", "stage4", "bottleneck")


def test_errors_say_what_is_wrong(source: Source, digits: Split) -> None:
    with pytest.raises(BadInput, match="did you mean 'stage4'"):
        features(source, digits.test, ["stage5"])
    with pytest.raises(BadWeights, match="not weights for resnet18"):
        features(replace(source, model=ModelSpec("resnet18")), digits.test)
    with pytest.raises(BadInput, match="do not say which network"):
        features(resolve("random"), digits.test)
