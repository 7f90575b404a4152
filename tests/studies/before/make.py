"""Makes a small store of before, by the code of before: ``store.tar.xz``, which lies beside this file.

    git archive 533fa42 | tar -x -C /tmp/before
    PYTHONPATH=/tmp/before python tests/studies/before/make.py tests/studies/before/store.tar.xz

Two runs of two epochs, a third that was stopped in the middle of its second epoch, and a baseline, of a network so thin
that all of it takes some kilobytes, its weights drawn on the spot. ``expected.json`` is what the code of before made
of the store, and of a copy of it in which the third run went on to its end. The weights that the runs started from are
the one file in ``store/bases``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODEL = "mobilenet_v3_small:width_mult=0.01,reduced_tail=True"
WEIGHTS = "toy.safetensors"
METRICS = ("gaussian_kl", "relative_l2", "cosine_distance", "path_length")
STUDY: dict[str, Any] = {
    "models": [MODEL],
    "weights": WEIGHTS,
    "data": "digits-5-9",
    "classes": 2,
    "per_class": [4],
    "strategies": ["fc", "bn@stage3+fc"],
    "seeds": [0],
    "baselines": ["ncm@bottleneck"],
    "epochs": 2,
    "batch_size": 4,
    "image_size": 16,
    "test_count": 3,
    "metrics": ["relative_l2"],
    "claims": [{
        "name": "bn-beats-fc", "text": "Tuning BN beats the classifier alone.", "left": {"strategy": "bn@stage3+fc"},
        "right": {"strategy": "fc"}, "direction": "more",
    }],
    "tables": [{"name": "accuracy", "title": "by size", "rows": ["per_class"]}],
}  # fmt: skip
MORE: dict[str, Any] = {"strategies": ["bn@stage3+fc"], "seeds": [0, 1], "baselines": []}
"""What is run afterwards, and stopped."""


def main(to: Path) -> None:
    from safetensors.torch import save_file
    from studies.runner import run
    from studies.study import Study, override
    from wdiv.tuning.models import ModelSpec, build
    from wdiv.tuning.stopping import Stopped

    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    state = build(ModelSpec.parse(MODEL), 3, seed=1).state_dict()
    save_file({key: lived_in(key, value) for key, value in state.items()}, WEIGHTS)
    study = override(Study("toy"), STUDY)
    run(study, Path("store"), device="cpu")
    try:
        run(override(study, MORE), Path("store"), device="cpu", progress=stopping())
    except Stopped:
        pass
    else:
        raise AssertionError("it was not stopped")
    shutil.copytree("store", "whole")
    run(override(study, MORE), Path("whole"), device="cpu")
    expected = {"stopped": seen(Path("store")), "whole": seen(Path("whole"))}
    Path("expected.json").write_text(json.dumps(expected, indent=1))
    for live in sorted(Path("store").rglob("live.jsonl"))[1:]:
        live.unlink()  # one will do: they are the largest files of all
    with tarfile.open(to, "w:xz", preset=9) as out:
        for file in sorted(path for path in Path().rglob("*") if path.is_file()):
            if file.parts[0] in ("store", "expected.json") and file.suffix != ".nc" and file.name != ".lock":
                out.add(file, filter=of_nobody)
    shutil.rmtree(folder)


def lived_in(key: str, value: Any) -> Any:
    """A BatchNorm's numbers are those of a trained one, so that none is 0 or 1 throughout."""
    import torch

    if value.ndim != 1 or not value.is_floating_point():
        return value.contiguous()
    drawn = torch.rand(value.shape, generator=torch.Generator().manual_seed(len(key)))
    return 0.5 + drawn if key.endswith(("weight", "running_var")) else 0.2 * drawn


def of_nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uname = entry.gname = ""
    entry.uid = entry.gid = 0
    return entry


def stopping() -> Any:
    """Asks to stop, as Ctrl-C does, after the first step of a second epoch."""
    from studies.progress import Progress

    class Stopping(Progress):
        @contextmanager
        def run(self, run: str, epochs: int) -> Iterator[Any]:
            with super().run(run, epochs) as watcher:
                watcher.batch = lambda epoch, done, of: os.kill(os.getpid(), signal.SIGINT) if epoch == 2 else None
                yield watcher

    return Stopping(quiet=True)


def seen(store: Path) -> dict[str, Any]:
    """What wdiv makes of a store: states, results, the mean of each run's divergence, what a report is made of."""
    from studies.observations import observe
    from studies.results import results
    from studies.state import states

    import wdiv
    from wdiv import summary

    div = wdiv.measured(store, METRICS, 0)
    moved = {
        name: {
            f"{run} {kind}:{role}": value
            for (run, kind, role), value in summary.layers(div, name)
            .dropna(subset="value").groupby(["run", "kind", "role"])["value"].mean().items()
        }
        for name in METRICS
    }  # fmt: skip
    return {
        "states": {state.run: [state.state, state.epoch, state.last] for state in states(store)},
        "results": results(store)[["run", "n_train", "strategy", "seed", "last"]].to_dict("records"),
        "moved": moved,
        "observed": observe({"": store})[["run", "per_class", "measure", "layers", "part"]].to_dict("records"),
        "verified": [[one.run, list(one.problems)] for one in wdiv.verify(store)],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
