"""A network as one file for others: its weights, or the network itself for ONNX and for torch.export."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput
from wdiv.inference.choice import Weights, choose
from wdiv.inference.network import load
from wdiv.registry import Registry
from wdiv.store import predictions
from wdiv.store.export import about, write_state
from wdiv.store.files import write_atomically, write_json
from wdiv.tuning.data.inputs import InputSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["FORMATS", "Format", "export"]

INPUT, OUTPUT = "images", "logits"
"""What the input and the output of a graph are called."""
OPSET = 18
"""Of ONNX: what the exporter writes without converting."""
RESIZE = "the whole image to size x size pixels, each side by its own factor, bilinear with antialiasing"


@dataclass(frozen=True)
class Format:
    """A kind of file, by its name's ending.

    needs  packages that wdiv does without;  graph: it holds the network, and not its weights alone
    """

    name: str
    long_name: str
    needs: tuple[str, ...] = ()
    graph: bool = True


FORMATS: Registry[Format] = Registry(
    "kind of file",
    [
        Format(".safetensors", "the state dict, which torchvision's network loads strictly", graph=False),
        Format(".onnx", f"the network as ONNX, opset {OPSET}", ("onnx", "onnxscript")),
        Format(".pt2", "the network by torch.export, which torch.export.load reads"),
    ],
)


def export(
    run: str | Path, epoch: int | str | None, out: str | Path, *, average: str | None = None,
    dataset: str | None = None, pixels: bool = False,
) -> Path:  # fmt: skip
    """Write a network as one file, of the kind that its name's ending says, one of :data:`FORMATS`.

    run      a run's folder, or a store's: then that of its best run
    epoch    a number, ``last`` or ``best``; None: the one that counts
    average  ``last5``: the mean of the weights of the last five epochs (:func:`~wdiv.inference.choice.choose`)
    dataset  of a store of several data sets, which
    pixels   the graph takes images as they are decoded, (n, 3, size, size) uint8 RGB, and scales and normalises them

    A graph takes any number of images, float32 (n, 3, size, size) as :class:`~wdiv.tuning.data.inputs.InputSpec`
    prepares them, and gives logits (n, classes), in eval mode. What is to be done to an image before stands in its
    metadata (``metadata_props`` of ONNX, ``wdiv.json`` among torch.export's ``extra_files``) and in ``FILE.json``
    beside it. Weights of the three kinds are the same, bit for bit.

    Raises :class:`~wdiv.errors.BadInput` for what cannot be written so.
    """
    out = Path(out)
    kind = _format(out)
    if average == "seeds":
        raise BadInput(
            "average seeds: every seed drew a head of its own, and the mean of their weights is no network; 'wdiv "
            "predict --average seeds' averages what they answer, and 'wdiv export --average last5' epochs of one"
        )
    if pixels and not kind.graph:
        raise BadInput(f"{out}: holds weights alone; what is done to pixels is for {', '.join(_graphs())}")
    weights = choose(run, average, dataset, epoch).members[0]
    first, last = weights.epochs[0], weights.epochs[-1]
    metadata = about(weights.run.record, str(last) if first == last else f"mean of {first} to {last}")
    if not kind.graph:
        return write_state(weights.state_dict(), metadata, out)
    told = _told(weights, metadata, pixels)
    content = _WRITERS[kind.name](_traced(*_module(weights, pixels)), told)
    write_atomically(out, lambda temporary: temporary.write_bytes(content))
    write_json(out.with_name(f"{out.name}.json"), told)
    return out


def _format(out: Path) -> Format:
    if out.suffix not in FORMATS:
        raise BadInput(f"{out}: the file's name must end in {', '.join(FORMATS)}")
    kind = FORMATS[out.suffix]
    missing = [name for name in kind.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(f"{out}: needs {' and '.join(missing)}, which wdiv does without: pip install 'wdiv[onnx]'")
    return kind


def _graphs() -> list[str]:
    return [name for name, kind in FORMATS.items() if kind.graph]


def _told(weights: Weights, metadata: Mapping[str, str], pixels: bool) -> dict[str, Any]:
    """All that one needs to use the graph, as plain data."""
    plain: dict[str, Any] = {
        name: text if name in ("model", "run", "epoch") else json.loads(text) for name, text in metadata.items()
    }
    size = plain["input"]["size"]
    return plain | {
        "resize": RESIZE,
        "takes": {"name": INPUT, "shape": ["n", 3, size, size], "type": "uint8" if pixels else "float32",
                  "values": "0 to 255, RGB" if pixels else "range, then (value - mean) / std of each of the channels"},
        "gives": {"name": OUTPUT, "shape": ["n", len(plain["classes"])], "type": "float32",
                  "probabilities": predictions.spelled(weights.run.record)},
    }  # fmt: skip


def _module(weights: Weights, pixels: bool) -> tuple[nn.Module, torch.Tensor]:
    """The network and images to trace it by."""
    import torch
    from torch import nn

    inputs, network = InputSpec(**weights.run.record.input), load(weights)
    shown = torch.zeros(2, 3, inputs.size, inputs.size, dtype=torch.uint8)

    class FromPixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.network(inputs.prepare(images).contiguous())
            return found

    if pixels:
        return FromPixels().eval(), shown
    return network, inputs.prepare(shown).contiguous()


def _traced(network: nn.Module, images: torch.Tensor) -> Any:
    """The network's graph, for any number of images."""
    import torch

    with _without_talk(), torch.no_grad():
        return torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim("n")},))


def _pt2(graph: Any, told: Mapping[str, Any]) -> bytes:
    import torch

    content = io.BytesIO()
    with _without_talk():
        torch.export.save(graph, content, extra_files={"wdiv.json": json.dumps(told)})
    return content.getvalue()


def _onnx(graph: Any, told: Mapping[str, Any]) -> bytes:
    import torch

    names = {"input_names": [INPUT], "output_names": [OUTPUT]}
    with _without_talk():
        program = torch.onnx.export(graph, dynamo=True, opset_version=OPSET, verbose=False, **names)
        model = program.model_proto
    for name, value in told.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value if isinstance(value, str) else json.dumps(value)
    content: bytes = model.SerializeToString()
    return content


@contextlib.contextmanager
def _without_talk() -> Iterator[None]:
    """PyTorch's exporters warn of their own ways, log operators that the network does not have, and print."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


_WRITERS: Mapping[str, Callable[[Any, Mapping[str, Any]], bytes]] = {".onnx": _onnx, ".pt2": _pt2}
