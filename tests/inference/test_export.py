"""An exported network is the network, whoever runs it."""

from __future__ import annotations

import importlib.util
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.conftest import ROOT, once
from tests.tuning.tiny import thin
from wdiv.errors import BadInput
from wdiv.inference import export as module
from wdiv.inference.choice import choose
from wdiv.inference.export import FORMATS, export
from wdiv.inference.network import Network
from wdiv.store import predictions

ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
needs_onnx = pytest.mark.skipif(not ONNX, reason="onnx, onnxscript and onnxruntime are not here: wdiv[onnx]")


def of_onnx(file: Path, images: torch.Tensor) -> np.ndarray:
    import onnxruntime

    found: np.ndarray = onnxruntime.InferenceSession(str(file)).run(None, {"images": images.numpy()})[0]
    return found


def of_pt2(file: Path, images: torch.Tensor, told: dict[str, str] | None = None) -> np.ndarray:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # PyTorch's own
        loaded = torch.export.load(str(file), extra_files=told)
        found: np.ndarray = loaded.module()(images).numpy()
    return found


def agree(store: Path, folder: Path, ask: Any, ending: str) -> None:
    """With and without pixels, of one image and of many."""
    network = Network(choose(store), "cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), np.uint8)
    wanted = network.logits(pixels)
    file = export(store, None, folder / f"x{ending}")
    prepared = network.inputs.prepare(torch.from_numpy(pixels)).contiguous()
    np.testing.assert_allclose(ask(file, prepared), wanted, atol=1e-4)
    np.testing.assert_allclose(ask(file, prepared[:1]), wanted[:1], atol=1e-4)


def test_torch_export_agrees_and_says_what_it_takes(used: Path, tmp_path: Path) -> None:
    agree(used, tmp_path, of_pt2, ".pt2")
    beside, within = json.loads((tmp_path / "x.pt2.json").read_text()), {"wdiv.json": ""}
    of_pt2(tmp_path / "x.pt2", torch.zeros(1, 3, 32, 32), within)
    assert json.loads(within["wdiv.json"]) == beside
    assert beside["classes"] == ["bright", "dark", "red one"]
    assert (beside["input"]["size"], beside["takes"]["shape"]) == (32, ["n", 3, 32, 32])
    assert beside["gives"]["probabilities"] == "softmax"


def test_pixels_are_scaled_within(used: Path, tmp_path: Path) -> None:
    network = Network(choose(used), "cpu")
    pixels = np.random.default_rng(1).integers(0, 256, (3, 3, 32, 32), np.uint8)
    file = export(used, None, tmp_path / "x.pt2", pixels=True)
    np.testing.assert_allclose(of_pt2(file, torch.from_numpy(pixels)), network.logits(pixels), atol=1e-4)
    assert json.loads((tmp_path / "x.pt2.json").read_text())["takes"]["type"] == "uint8"


@needs_onnx
def test_onnx_agrees_and_says_what_it_takes(used: Path, tmp_path: Path) -> None:
    import onnx

    agree(used, tmp_path, of_onnx, ".onnx")
    told = {entry.key: entry.value for entry in onnx.load(tmp_path / "x.onnx").metadata_props}
    beside = json.loads((tmp_path / "x.onnx.json").read_text())
    assert {
        name: told[name] if isinstance(value, str) else json.loads(told[name]) for name, value in beside.items()
    } == beside
    assert json.loads(told["input"])["mean"] == beside["input"]["mean"]


@needs_onnx
def test_the_script_in_the_documents_answers_as_the_run_did(
    used: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without wdiv: every accuracy is the exported network's."""
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "using.md").read_text(), re.DOTALL)
    assert "wdiv" not in script
    kept = predictions.of_run(choose(used).first)
    assert kept is not None
    asked = [str(images / name) for name in kept.images.names]
    monkeypatch.setattr("sys.argv", ["script", str(export(used, None, tmp_path / "x.onnx")), *asked])
    exec(compile(script, "using.md", "exec"), {})
    answers = [line.partition(".png ")[2] for line in capsys.readouterr().out.splitlines()]
    assert answers == [kept.classes[label] for label in kept.logits.argmax(axis=1)]


@needs_onnx
def test_a_residual_network_agrees(tmp_path: Path) -> None:
    all_agree(thin("resnet18").eval(), tmp_path)


@once
@needs_onnx
def test_the_real_mobilenet_agrees(shared: Path, tmp_path: Path) -> None:
    """With the epsilon of its card; its head as it is drawn."""
    from wdiv.tuning.networks.models import build
    from wdiv.tuning.networks.sources import load_into, resolve

    card = resolve(str(shared / "weights" / "mobilenet_v2_w035.toml"))
    assert card.model is not None
    network = build(card.model, 1000)
    network.load_state_dict(
        load_into(network, card.read(), card.model, card.name), strict=False
    )  # its head stays as drawn
    all_agree(network.eval(), tmp_path)


def all_agree(network: torch.nn.Module, folder: Path) -> None:
    """Written by one trace, and run by others."""
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 4 - 2
    with torch.no_grad():
        wanted = network(images).numpy()
    graph = module._traced(network, images[:2])
    for ending, ask in ((".onnx", of_onnx), (".pt2", of_pt2)):
        (folder / f"x{ending}").write_bytes(module._WRITERS[ending](graph, {}))
        np.testing.assert_allclose(ask(folder / f"x{ending}", images), wanted, atol=1e-4)


def test_weights_alone_are_the_run_s_and_a_mean_of_epochs_is_told(used: Path, tmp_path: Path) -> None:
    run = choose(used).first
    file = export(run.path, None, tmp_path / "x.safetensors")
    for key, value in run.state_dict(6).items():
        assert torch.equal(load_file(file)[key], torch.from_numpy(value))
    assert not (tmp_path / "x.safetensors.json").exists(), "its own metadata say it"
    export(used, 5, tmp_path / "x.safetensors", average="last3")
    (wanted,) = choose(f"{run.path}@5", "last3").members
    for key, value in wanted.state_dict().items():
        assert torch.equal(load_file(tmp_path / "x.safetensors")[key], torch.from_numpy(value))
    with safe_open(tmp_path / "x.safetensors", "numpy") as opened:
        assert opened.metadata()["epoch"] == "mean of 3 to 5"


def test_what_cannot_be_written_so(used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match=r"must end in \.safetensors, \.onnx, \.pt2"):
        export(used, None, tmp_path / "x.pth")
    with pytest.raises(BadInput, match="the mean of their weights is no network"):
        export(used, None, tmp_path / "x.pt2", average="seeds")
    with pytest.raises(BadInput, match=r"holds weights alone; what is done to pixels is for \.onnx, \.pt2"):
        export(used, None, tmp_path / "x.safetensors", pixels=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"x\.onnx: needs onnx and onnxscript, .* pip install 'wdiv\[onnx\]'"):
        export(used, None, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_kinds_of_files_are_known_by_their_ending() -> None:
    assert set(module._WRITERS) == {name for name, kind in FORMATS.items() if kind.graph}
