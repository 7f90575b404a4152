"""A sample of a study's augmentation: one image of each class, and what becomes of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from studies.report.figures.asked import StudyFigure
from studies.report.figures.common import new, titled
from studies.spec.study import Study
from wdiv.errors import BadInput
from wdiv.tuning.data.augment import parse

__all__ = ["MOST", "TIMES", "augmented", "sample"]

TIMES = 6
"""How often an image is shown."""
MOST = 4
"""Classes that are shown, the first ones."""


def augmented(asked: StudyFigure) -> Any:
    """An image of each class, and what augmentation makes of it."""
    if asked.study is None:
        raise BadInput(f"figure {asked.figure.name!r}: no study whose images it could show")
    return sample(asked.study, asked.title)


def sample(study: Study, title: str) -> Any:
    """The first training image of each class, as it is and as training shows it: a row a class, a matplotlib figure.

    Of a study with conditions, the first that augments. Reads the study's images. Raises
    :class:`~wdiv.errors.BadInput` for a study without augmentation, and what reading its images raises.
    """
    import torch

    from studies.grid.conditions import bare
    from studies.grid.planning import open_data, sources_of
    from studies.spec.study import override

    grids = [override(bare(study), condition.values) for condition in study.conditions] or [study]
    found = next((grid for grid in grids if grid.augment), None)
    if found is None:
        raise BadInput(f"study {study.name!r} augments nothing")
    size = sources_of(found)[0].input.at(found.image_size).size
    pool = open_data(found, size).pool
    classes = pool.classes[:MOST]
    rng = np.random.default_rng(0)
    figure, grid = new(len(classes), TIMES + 1, 1.1 * (TIMES + 1), 1.2 * len(classes) + 0.5)
    for label, axes in enumerate(grid):
        image = pool.pixels[np.flatnonzero(pool.labels == label)[0]]
        seen = parse(found.augment)(torch.from_numpy(np.stack([image] * TIMES)), rng)
        for ax, one in zip(axes, (image, *seen.round().to(torch.uint8).numpy()), strict=True):
            ax.imshow(one.transpose(1, 2, 0))
            ax.set(xticks=[], yticks=[])
        axes[0].set_ylabel(classes[label])
    grid[0, 0].set_title("as it is", fontsize=8)
    grid[0, 1].set_title("as training shows it", fontsize=8, loc="left")
    return titled(figure, f"{title}: {', '.join(found.augment)}", size=9)
