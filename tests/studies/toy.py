"""A study with conditions, source networks of its own, baselines, claims, tables and figures that takes seconds."""

from __future__ import annotations

from tests.tuning.tiny import MOBILENET

TOY = f"""
title = "a toy | with <b>signs</b>"
source = "nobody (2020)"
models = ["{MOBILENET}"]
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
