"""Kernels in groups: their spectra are those of what they do, wherever the groups are known from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.linalg import norm
from scipy.linalg import block_diag

import wdiv
from tests.measure.plain import SPECTRAL
from wdiv.store.foreign import layers_from_shapes

torch = pytest.importorskip("torch")
nn = torch.nn


@pytest.mark.parametrize("made", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_spectra_of_grouped_kernels_are_those_of_the_operator(made: Any, groups: int) -> None:
    """Against a dense kernel that does the same: outputs see nothing of other groups' inputs."""
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        models.append(nn.Sequential(made(6, 12, 3, groups=groups, bias=False)))
    found = wdiv.diff(*models, metrics="spectral")["conv"].to_dataset()

    def dense(model: Any) -> np.ndarray:
        blocks = np.split(model[0].weight.detach().numpy().astype(np.float64), groups)
        if made is nn.ConvTranspose2d:  # whose first axis is that of inputs
            blocks = [block.swapaxes(0, 1) for block in blocks]
        return block_diag(*(block.reshape(len(block), -1) for block in blocks))

    a, b = map(dense, models)
    for name, wanted in SPECTRAL.items():
        assert found[name].item() == pytest.approx(wanted(a, b), rel=1e-6), name


def test_depthwise_kernels_are_known_by_their_shapes() -> None:
    """One behind a layer of several outputs; a first one may as well look at one channel."""
    from wdiv.tuning.networks.models import ModelSpec, build_skeleton

    layers = layers_from_shapes({"a.weight": (8, 1, 3, 3), "b.weight": (8, 1, 3, 3), "c.weight": (4, 8, 1, 1)})
    assert [layer.groups for layer in layers] == [1, 8, 1]
    network = build_skeleton(ModelSpec("mobilenet_v2"), 5)
    table = layers_from_shapes({key: value.shape for key, value in network.state_dict().items()})
    built = {name: module.groups for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    assert {layer.name: layer.groups for layer in table.of("conv")} == built


def test_a_file_beside_a_model_has_the_groups_of_the_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    a, b = (nn.Sequential(nn.Conv2d(8, 8, 3, groups=2)) for _ in range(2))
    torch.save(b.state_dict(), tmp_path / "b.pth")
    change = (b[0].weight - a[0].weight).detach().double().numpy()
    wanted = norm(change) ** 2 / max(norm(block.reshape(4, -1), 2) for block in np.split(change, 2)) ** 2
    for other in (b, tmp_path / "b.pth"):
        found = wdiv.diff(a, other, metrics="delta_stable_rank")["conv/delta_stable_rank"].sel(role="weight")
        assert found.item() == pytest.approx(wanted)


def test_a_depthwise_layer_of_a_run_is_measured_as_the_operator_it_is(tmp_path: Path) -> None:
    """Along its epochs and between runs, in memory and in chunks."""
    from tests.tuning.tiny import SMALL, small_run, write_weights
    from wdiv.tuning.data.datasets import open_split
    from wdiv.tuning.training.run import fine_tune

    split, weights = open_split("digits-5-9", 32, test_count=3), write_weights(tmp_path / "made.pth", SMALL)
    runs = [
        fine_tune(small_run(weights, "conv+fc=1e-2", seed=seed, epochs=1), split, tmp_path / "s", device="cpu")
        for seed in (0, 1)
    ]
    layer, tree = next(one for one in runs[0].record.table if one.groups > 1), wdiv.open(tmp_path / "s")
    raw = tree[f"weights/{layer.name}/weight"].values.astype(np.float64)
    start = tree[f"pretrained/weights/{layer.name}/weight"].values.astype(np.float64)

    def rank(change: np.ndarray) -> float:
        return float(norm(change) ** 2 / max(norm(row) for row in change) ** 2)  # each output sees one input

    place = {"layer": layer.name, "role": "weight"}
    for chunked in (tree, tree.chunk()):
        found = wdiv.divergence(chunked, "delta_stable_rank")["conv/delta_stable_rank"].sel(place)
        assert found.values[0, 1] == pytest.approx(rank(raw[0, 1] - start[0]))
    between = wdiv.pairwise(tree, "delta_stable_rank")["conv/delta_stable_rank"].sel(place)
    assert between.values[0, 1] == pytest.approx(rank(raw[1, 1] - raw[0, 1]))
