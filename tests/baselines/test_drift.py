"""Drift: the statistics that BatchNorm keeps, against what new images make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from baselines.drift import drift, source_probabilities
from tests.tuning.tiny import write_weights
from wdiv.tuning.data.images import ImageSet, Split
from wdiv.tuning.networks.models import ModelSpec, build
from wdiv.tuning.networks.sources import Source, load_into


def loaded(source: Source) -> torch.nn.Module:
    assert source.model is not None
    model = build(source.model, 10)
    load_into(model, source.read(), source.model, source.name)
    return model.eval()


def test_it_is_the_formula_layer_by_layer(source: Source, digits: Split) -> None:
    """By loops over channels, from what hooks see."""
    model, seen = loaded(source), {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda m, given, name=name: seen.update({name: (m, given[0].double())}))
    with torch.no_grad():
        model(source.input.at(32).prepare(torch.from_numpy(digits.test.pixels)))
    found = drift(source, digits.test, device="cpu")
    assert found is not None
    assert set(found.layer.values) == set(seen)
    for name, (module, x) in seen.items():
        channels = []
        for c in range(x.shape[1]):
            values, scale = x[:, c].numpy(), float(module.running_var[c]) ** 0.5
            z = (values.mean() - float(module.running_mean[c])) / scale
            channels.append(z**2 + (values.std() / scale - 1) ** 2)
        assert float(found.sel(layer=name)) == pytest.approx(np.mean(channels), rel=1e-6)


def test_it_is_small_for_images_like_those_that_the_statistics_are_of(source: Source, digits: Split, tmp_path) -> None:
    model = loaded(source).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean of all batches
    with torch.no_grad():
        for part in torch.from_numpy(digits.pool.pixels[:256]).split(64):
            model(source.input.at(32).prepare(part))
    torch.save(model.state_dict(), tmp_path / "adapted.pth")
    adapted = replace(source, file=tmp_path / "adapted.pth", name="adapted.pth")
    noise = ImageSet(
        np.random.default_rng(0).integers(0, 256, digits.test.pixels.shape, dtype=np.uint8),
        digits.test.labels, digits.test.classes, digits.test.names,
    )  # fmt: skip
    like, unlike = (drift(adapted, images, device="cpu") for images in (digits.test, noise))
    assert like is not None
    assert unlike is not None
    first = like.depth.values.argmin()
    assert float(like[first]) < 0.05 < float(unlike[first])
    assert float(like.mean()) < float(unlike.mean())


def test_a_network_without_batchnorm_says_nothing_of_drift(digits: Split) -> None:
    from wdiv.tuning.networks.sources import resolve

    bare = replace(resolve("random"), model=ModelSpec("squeezenet1_1"))
    assert drift(bare, digits.test, np.arange(4), device="cpu") is None
    assert source_probabilities(bare, digits.test, np.arange(4), device="cpu") is None


def test_the_sources_own_classifier_is_asked(source: Source, digits: Split, tmp_path) -> None:
    assert source.model is not None
    rows = np.array([3, 1])
    found = source_probabilities(source, digits.test, rows, device="cpu")
    assert found is not None
    model = build(source.model, 10)
    model.load_state_dict(source.read())
    with torch.no_grad():
        logits = model.eval()(source.input.at(32).prepare(torch.from_numpy(digits.test.pixels[rows])))
    np.testing.assert_allclose(found, torch.softmax(logits.double(), 1), rtol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1)
    state = {key: value for key, value in source.read().items() if not key.startswith("classifier")}
    torch.save(state, tmp_path / "bare.pth")
    bare = replace(source, file=tmp_path / "bare.pth")
    assert source_probabilities(bare, digits.test, rows, device="cpu") is None


def test_made_weights_are_what_these_tests_take_them_for(tmp_path) -> None:
    assert any(key.startswith("classifier") for key in torch.load(write_weights(tmp_path / "w.pth"), weights_only=True))
