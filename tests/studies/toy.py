"""A study with conditions, source networks of its own, baselines, claims, tables and figures that takes seconds.

Its network is a MobileNetV2 of a block a stage, which torchvision builds once this file is imported: what a study does
for each layer of each run takes a third of the time.
"""

from __future__ import annotations

from typing import Any

from torchvision.models import MobileNetV2
from torchvision.models._api import register_model

NETWORK = "mobilenet_toy"


@register_model(name=NETWORK)
def _network(weights: None = None, **how: Any) -> MobileNetV2:
    blocks = [[1, 16, 1, 1], [6, 24, 1, 2], [6, 32, 1, 2], [6, 64, 1, 2], [6, 160, 1, 2]]
    return MobileNetV2(width_mult=0.1, inverted_residual_setting=blocks, **how)


_network.__module__ = f"torchvision.models.{NETWORK}"  # those of other modules, as of segmentation, are no classifiers

TOY = f"""
title = "a toy | with <b>signs</b>"
source = "nobody (2020)"
models = ["{NETWORK}"]
data = "digits-5-9"
classes = 3
per_class = [3]
strategies = ["scratch", "bn+fc"]
bn_modes = ["batch", "frozen"]
seeds = [0, 1]
baselines = ["ncm@bottleneck"]
epochs = 1
batch_size = 9
image_size = 32
test_count = 4
metrics = ["relative_l2"]
reference = 0

[pretrain]
data = "digits-0-4"
epochs = 1
per_class = 4

[[conditions]]
name = "plain"
values = {{}}

[[conditions]]
name = "steps"
values = {{ steps_per_epoch = 2 }}

[[claims]]
name = "bn-beats-scratch"
text = "Tuning BN beats scratch | always."
left = {{ strategy = "fc+bn" }}
right = {{ strategy = "scratch" }}
direction = "more"
question = "1"

[[claims]]
name = "more-steps-move-more"
text = "More steps move gamma farther."
where = "figure 1"
left = {{ condition = "steps" }}
right = {{ condition = "plain" }}
of = {{ measure = "gaussian_kl", against = "start", layers = "bn:gamma", part = "all", strategy = "bn+fc" }}
direction = "more"

[[tables]]
name = "accuracies"
title = "by condition"
rows = ["condition"]

[[figures]]
name = "bars"
title = "how well"
kind = "bars"

[[figures]]
name = "nowhere"
title = ""
kind = "corners"
where = {{ condition = ["plain", "elsewhere"], per_class = ["3", "5"] }}
"""
RUNS = 2 * 2 * (1 + 2)
"""Conditions, seeds, and training from scratch in one BN mode only."""
