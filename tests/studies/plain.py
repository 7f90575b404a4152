"""The figures of a run from its exported network, by Pillow, PyTorch, torchvision and NumPy: nothing of wdiv's.

What has to be done alike for the same bits: images in batches of 16, channels last in memory, the same PyTorch with as
many threads on the same kind of machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from torchvision.models import get_model

BATCH, BINS = 16, 15


class Judged(NamedTuple):
    classes: list[str]
    logits: np.ndarray


def judge(file: Path, pictures: Iterable[Path]) -> Judged:
    """What an exported network gives pictures: float32 (pictures, classes)."""
    with safe_open(file, "pt") as opened:
        told = opened.metadata()
    classes, given, args = (json.loads(told[name]) for name in ("classes", "input", "model_args"))
    network = get_model(told["model"], num_classes=len(classes), **args)
    eps = json.loads(told["bn_eps"])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and eps is not None:
            module.eps = eps
    network.load_state_dict(load_file(file))
    network = network.eval().to(memory_format=torch.channels_last)
    size, (low, high) = (given["size"], given["size"]), given["range"]
    mean, std = (torch.tensor(given[name]).view(3, 1, 1) for name in ("mean", "std"))
    resized = [Image.open(one).convert("RGB").resize(size, Image.Resampling.BILINEAR) for one in pictures]
    x = torch.from_numpy(np.stack([np.asarray(one) for one in resized])).permute(0, 3, 1, 2).float()
    x = ((x * ((high - low) / 255) + low - mean) / std).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return Judged(classes, torch.cat([network(part) for part in x.split(BATCH)]).numpy())


def figures(logits: np.ndarray, labels: Sequence[int]) -> dict[str, Any]:
    """By the names that ``results.csv`` has for them."""
    z = logits.astype(np.float64)
    images, classes = z.shape
    right, answers = np.asarray(labels), z.argmax(axis=1)
    confusion = np.zeros((classes, classes), dtype=int)
    for own, answer in zip(right, answers, strict=True):
        confusion[own, answer] += 1
    hits, own, given = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    true = np.zeros_like(p)
    true[np.arange(images), right] = 1
    found = {
        "last": hits.sum() / images,
        "balanced_accuracy": np.mean([h / n for h, n in zip(hits, own, strict=True) if n]),
        "macro_f1": np.mean([2 * h / (n + m) for h, n, m in zip(hits, own, given, strict=True) if n + m]),
        "majority_share": own.max() / images,
        "log_loss": -np.log(p[np.arange(images), right]).mean(),
        "brier_score": ((p - true) ** 2).sum() / images,
        "calibration_error": _calibration(p.max(axis=1), answers == right),
    }
    if classes == 2:
        pairs = z[:, 1] - z[:, 0]
        above = [(a > b) + (a == b) / 2 for a in pairs[right == 1] for b in pairs[right == 0]]
        found |= {"auc": np.mean(above), "specificity": hits[0] / own[0], "sensitivity": hits[1] / own[1]}
    shares = {"recall": own, "precision": given}
    return {
        "confusion": confusion.tolist(),
        **{name: float(value) for name, value in found.items()},
        **{name: [float(h / n) if n else None for h, n in zip(hits, of, strict=True)] for name, of in shares.items()},
    }


def _calibration(top: np.ndarray, right: np.ndarray) -> float:
    gaps = []
    for i in range(BINS):
        inside = (top > i / BINS) & (top <= (i + 1) / BINS)
        if inside.any():
            gaps.append(inside.mean() * abs(right[inside].mean() - top[inside].mean()))
    return sum(gaps)
