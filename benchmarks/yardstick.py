"""One yardstick beside the others: what each would make one believe of the same runs.

``python -m benchmarks.yardstick FOLDER`` trains (or continues) quickstart and a study of steel surfaces in the folder,
ten minutes on two cores, imports a detector's epochs that somebody else trained, prints the tables and writes them
into ``docs/yardstick.md``. The steel images, the weights and the detector need ``WDIV_SHARED``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wdiv
from studies.grid.study_runner import run
from studies.report.observations import layer_distances, observe
from studies.spec.registry import load
from studies.spec.study import Study, override
from wdiv.outputs import output_change
from wdiv.summary import layers

if TYPE_CHECKING:
    from torch import nn

PAGE = Path(__file__).parent.parent / "docs" / "yardstick.md"
SHARED = Path(os.environ.get("WDIV_SHARED", Path(__file__).parent.parent.parent / "shared"))
SERIES = SHARED / "checkpoints"
MEASURES = ("output_change", "output_change_proxy", "relative_l2", "gaussian_kl")
COLUMNS = (
    ("output_change", "conv:weight"), ("output_change", "bn:affine"), ("output_change", "bn:statistics"),
    ("output_change_proxy", "conv:weight"), ("output_change_proxy", "bn:affine"),
    ("relative_l2", "bn:gamma"), ("relative_l2", "bn:beta"),
    ("gaussian_kl", "conv:weight"), ("gaussian_kl", "bn:gamma"), ("gaussian_kl", "bn:beta"),
)  # fmt: skip
"""relative_l2 of a kernel is the proxy."""


def neu() -> Study:
    return override(
        Study("neu", epochs=15, metrics=("output_change", "relative_l2"), reference=0, seeds=(0, 1), per_class=(20,)),
        {"data": str(SHARED / "data" / "neu"), "weights": str(SHARED / "weights" / "mobilenet_v2_w035.toml")},
    )


def table(store: Path, per_class: str = "20") -> Iterator[str]:
    """Mean over the trunk's layers and the seeds, from each run's start: a line a strategy."""
    distances = layer_distances({"": store}, MEASURES)
    found = observe({"": store}, MEASURES, distances=distances)
    found = found[found["part"].eq("all") & found["against"].eq("start") & found["per_class"].eq(per_class)]
    means = found.pivot_table(index="strategy", columns=["measure", "layers"], values="value")
    yield from _lines("strategy", ((name, means.loc[name]) for name in means.index))


def series(out: Path) -> Iterator[str]:
    """A detector's epochs from ImageNet's weights, of which only the backbone is run, on steel surfaces."""
    imported = wdiv.import_run(
        SERIES, "mobilenet0.25_epoch_{epoch}.pth", base=SERIES / "mobilenet_v1_x025_imagenet.pth.tar", out=out,
        name="detector",
    )  # fmt: skip
    trees = [wdiv.divergence(wdiv.open(out), MEASURES[1:])]
    trees.append(output_change(out, SHARED / "data" / "neu", model=backbone()))
    rows = []
    for epoch in imported.epochs():
        row: dict[tuple[str, str], float] = {}
        for measure, which in COLUMNS:
            kind, role = which.split(":")
            found = layers(trees[measure == "output_change"], measure, epoch)
            mine = found[found["kind"].eq(kind) & found["role"].eq(role) & found["layer"].str.startswith("body.")]
            row[measure, which] = float(mine["value"].mean())
        rows.append((f"epoch {epoch}", row))
    yield from _lines("", rows)


def backbone() -> nn.Module:
    """MobileNetV1 ×0.25 (Howard et al., 2017) as the detector has it: ``body.stage1.0.0`` and so on, 13 depthwise
    separable blocks, leaky ReLUs of 0.1."""
    from collections import OrderedDict

    from torch import nn

    def conv(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        kernel = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
        return [kernel, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)]

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Sequential(*conv(inputs, inputs, 3, stride, inputs), *conv(inputs, outputs, 1))

    widths = {
        "stage1": [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)],
        "stage2": [(64, 128, 2), *[(128, 128, 1)] * 5],
        "stage3": [(128, 256, 2), (256, 256, 1)],
    }
    stages = {name: [block(*row) for row in rows] for name, rows in widths.items()}
    stages["stage1"].insert(0, nn.Sequential(*conv(3, 8, 3, 2)))
    body = nn.Sequential(OrderedDict((name, nn.Sequential(*blocks)) for name, blocks in stages.items()))
    return nn.Sequential(OrderedDict(body=body))


def _lines(first: str, rows: Any) -> Iterator[str]:
    yield f"| {first} | " + " | ".join(f"`{measure}` {layers.replace(':', ' ')}" for measure, layers in COLUMNS) + " |"
    yield "| --- |" + " ---: |" * len(COLUMNS)
    for name, values in rows:
        yield f"| {name} | " + " | ".join(_number(values.get(column, float("nan"))) for column in COLUMNS) + " |"


def _number(value: float) -> str:
    return "–" if value != value else "0" if value == 0 else f"{value:.2g}"


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print("python -m benchmarks.yardstick FOLDER", file=sys.stderr)  # noqa: T201
        return 2
    out = Path(arguments[0])
    for study, name in ((load("quickstart"), "quickstart"), (neu(), "neu")):
        run(study, out / name)
    made = {
        "quickstart": table(out / "quickstart"), "neu": table(out / "neu"), "detector": series(out / "detector"),
    }  # fmt: skip
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in made.items():
        found = "\n".join(lines)
        print(found)  # noqa: T201
        mark = f"<!-- {name}: python -m benchmarks.yardstick -->"
        before, after = text.split(mark)
        text = f"{before}{mark}\n{found}\n<!-- end -->{after.partition('<!-- end -->')[2]}"
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
