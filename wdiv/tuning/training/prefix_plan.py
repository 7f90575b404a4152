"""What each set of images is shown as: whole, or as what the frozen prefix makes of it once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wdiv.layers import LayerTable
from wdiv.tuning.prefix.frozen_prefix import Cut, NoPrefix, asleep, cut
from wdiv.tuning.strategy.freeze import FreezePlan
from wdiv.tuning.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

__all__ = ["WORTH", "PrefixPlan", "plan_prefix"]

WORTH = 0.1
"""Share of the multiply-adds of a forward pass that a prefix must save to be kept."""


@dataclass(frozen=True, eq=False)
class PrefixPlan:
    """Where the network is cut, in training and in eval mode; None where it is not.

    why     in words, of the training images:  "kept: …", or "not kept: …"
    disabled_dropout  random modules between frozen layers, in every BN mode, which are off whether anything is kept or
             not
    """

    training: Cut | None
    judging: Cut | None
    why: str
    disabled_dropout: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        kept = self.training or self.judging
        size: Mapping[str, Any] = {} if kept is None else {"bytes_per_image": kept.bytes_per_image, "share": kept.share}
        return {"kept": self.training is not None, "judging_kept": self.judging is not None, "why": self.why, **size}


def plan_prefix(
    model: nn.Module, plan: FreezePlan, table: LayerTable, recipe: Recipe, size: int, cut: Callable[..., Cut] = cut
) -> PrefixPlan:
    """Where a network that is held to a plan can be cut, and whether that is worth it and exact.

    Images that are augmented or blended are new each time, so that only test and validation images can be kept.

    cut  :func:`~wdiv.tuning.prefix.frozen_prefix.cut`, or what remembers its answers
    """
    first = min(table, key=lambda layer: layer.depth)
    if plan.moving.intersection(map(first.key, first.roles)):  # nothing to find out
        return PrefixPlan(None, None, "not kept: the first layer is not frozen")
    disabled_dropout = asleep(model, plan.lrs, size)
    try:
        training = cut(model, plan.moving, size, training=True)
        judging = cut(model, plan.moving, size, training=False)
    except NoPrefix as error:
        return PrefixPlan(None, None, f"not kept: {error}", disabled_dropout)
    for wrong, why in (
        (not recipe.keep_prefix, "the recipe says so"),
        (plan.bn_mode == "adapt", "its statistics are estimated over the images after every epoch"),
        (recipe.compile, "the network is compiled as a whole"),
        (training.share < WORTH, f"the prefix is {training.share:.1%} of the work"),
    ):
        if wrong:
            return PrefixPlan(None, None, f"not kept: {why}", disabled_dropout)
    if recipe.same_every_time is not None:
        return PrefixPlan(None, judging, f"kept for test images only: {recipe.same_every_time}", disabled_dropout)
    return PrefixPlan(
        training, judging, f"kept: {training.share:.1%} of the work is done once an image", disabled_dropout
    )
