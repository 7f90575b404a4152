"""Advice before any training: what can be measured in a minute, and rules that turn it into a study."""

from baselines.advice.findings import Findings, Place, look
from baselines.advice.gains import Gain, larger_images, more_images
from baselines.advice.rules import RULES, Advice, Rule, advise

__all__ = [
    "RULES", "Advice", "Findings", "Gain", "Place", "Rule", "advise", "larger_images", "look", "more_images",
]  # fmt: skip
