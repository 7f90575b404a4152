"""What it costs to ask a network about new images. ``python -m benchmarks.predicting``

5,000 images, and a run that was trained for an epoch: how many images a second ``wdiv predict`` asks it about, beside
the evaluation that ends each epoch of training, on the same pixels; and beside decoding the same images as JPEG files,
from which ``wdiv predict`` answers end to end, the network being busy while threads decode. All in one process, the
sides in turn, a thread for PyTorch; where nothing is decoded, the seconds are the processor's: what else the machine
does is not counted.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.process import alone, peak, timed

COUNT, SIDE, ROUNDS = 5_000, 200, 3
"""Images, the pixels of their files' sides, and how often each side takes its turn."""
NETWORKS = (("mobilenet_v2:width_mult=0.35", 64), ("resnet18", 64))


def compare() -> list[dict[str, Any]]:
    """One row a network and rival."""
    rows = []
    for label, size in NETWORKS:
        found = alone("benchmarks.predicting", label, size, COUNT)
        work, each = f"{COUNT:,} images, {label}, {size} px", f"{COUNT / found['asked']:.0f} images/s"
        more = f"{COUNT / found['files']:.0f} images/s; decoding alone {COUNT / found['decoding']:.0f}"
        rows += [
            {"work": f"{work}, decoded", "ours_s": found["asked"], "ours_MB": found["MB"],
             "theirs": "the loop's own evaluation", "theirs_s": found["loop"],
             "ratio": found["loop"] / found["asked"], "remark": f"{each}; the same bits: {found['alike']}"},
            {"work": f"{work}, JPEG files of {SIDE} px", "ours_s": found["files"], "theirs": "decoding, then the loop",
             "theirs_s": found["decoding"] + found["loop"],
             "ratio": (found["decoding"] + found["loop"]) / found["files"], "remark": more},
        ]  # fmt: skip
    return rows


def measure(label: str, size: int, count: int) -> dict[str, Any]:
    """Seconds of each side, the least of its turns."""
    import torch

    from wdiv.inference.choice import choose
    from wdiv.inference.files import decoded
    from wdiv.inference.network import Network
    from wdiv.inference.predict import predict

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        files = _write(Path(temporary) / "images", count)
        loop, run = _trained(label, size, Path(temporary) / "store", count)
        network, pixels = Network(choose(run), "cpu"), loop.test_set.images.pixels
        work = {
            "loop": lambda: loop._judge(loop.test_feed),
            "asked": lambda: network.logits(pixels),
            "decoding": lambda: [block.seen for block in decoded(files, size, network.block)],
            "files": lambda: predict(network, files),
        }
        turns = [
            {name: (timed if name in ("decoding", "files") else _worked)(side) for name, side in work.items()}
            for _ in range(ROUNDS)
        ]
        alike = loop._judge(loop.test_feed)[0].tobytes() == network.logits(pixels).tobytes()
        return {name: min(turn[name] for turn in turns) for name in work} | {"alike": alike, "MB": peak()}


def _worked(work: Callable[[], Any]) -> float:
    """Seconds of the processor."""
    start = time.process_time()
    work()
    return time.process_time() - start


def _write(folder: Path, count: int) -> list[Path]:
    """Blurred noise, as large as photographs' thumbnails are as files."""
    from PIL import Image

    folder.mkdir()
    files = [folder / f"{i}.jpg" for i in range(count)]
    for i, file in enumerate(files):
        coarse = np.random.default_rng(i).integers(0, 256, (SIDE // 8, SIDE // 8, 3), np.uint8)
        Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file)
    return files


def _trained(label: str, size: int, store: Path, count: int) -> tuple[Any, Path]:
    """The loop of a run after its only epoch, and the run's folder."""
    import torch

    from wdiv.tuning.data.images import ImageSet, Split
    from wdiv.tuning.data.inputs import IMAGENET
    from wdiv.tuning.networks.models import ModelSpec
    from wdiv.tuning.networks.sources import Source
    from wdiv.tuning.training.feeds import OnDevice, Pixels
    from wdiv.tuning.training.loop import Loop
    from wdiv.tuning.training.network_cache import NetworkCache
    from wdiv.tuning.training.recipe import Recipe
    from wdiv.tuning.training.run import fine_tune
    from wdiv.tuning.training.run_spec import RunSpec

    rng, cpu = np.random.default_rng(0), torch.device("cpu")
    images = ImageSet(
        rng.integers(0, 256, (12, 3, size, size), np.uint8), np.arange(12) % 6, tuple("abcdef"), ("",) * 12
    )
    many = ImageSet(rng.integers(0, 256, (count, 3, size, size), np.uint8), np.arange(count) % 6, images.classes,
                    ("",) * count)  # fmt: skip
    recipe = Recipe(epochs=1, batch_size=6)
    spec = RunSpec(ModelSpec.parse(label), Source("random", IMAGENET), None, "scratch", "auto", 0, recipe, size)
    run = fine_tune(spec, Split("noise", images, images), store, device="cpu")
    network = NetworkCache().prepare(spec, 6, cpu)
    plan, _ = network.freeze(network.segments[0])
    network.model.load_state_dict({key: torch.from_numpy(value) for key, value in run.state_dict(1).items()})
    test = OnDevice(many, cpu)
    loop = Loop(
        network.model, plan, recipe, spec.inputs, OnDevice(images, cpu), test, seed=0,
        on_epoch=lambda row, optimizer, logits: None, test_feed=Pixels(network.model, spec.inputs, test, recipe),
    )  # fmt: skip
    return loop, run.path


if __name__ == "__main__":
    told = sys.argv[1:]
    print(json.dumps(measure(told[0], int(told[1]), int(told[2])) if told else compare()))  # noqa: T201
