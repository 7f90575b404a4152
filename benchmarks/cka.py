"""Linear CKA between all layers of two networks: wdiv beside torch_cka. ``python -m benchmarks.cka``

The work: two ResNet-18 with random weights (seeds 0 and 1), 32 random images of 224 pixels, every module of A against
every module of B. Each side runs in a process of its own, so that its peak of memory is its own. A label is right if
the tensor that its row was computed from is what the module of that name gave out. The truth is found with neither:
each module's output is copied to float64 as it appears.

What torch_cka 0.21 does: the same unbiased estimate, for all pairs, so that its diagonal pairs equal modules. Its
labels are in the order of registration (the network itself first), its rows in the order in which outputs first came.
It keeps the tensors until the network has run, by when in-place ReLUs and additions have changed those of the
BatchNorms. Its Gram matrices are of features that are not centred, in float32, where the differences of random networks
drown.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import time
import warnings
from typing import Any

import numpy as np

from benchmarks.process import alone, peak

COUNT, SIZE = 32, 224
WORK = f"linear CKA, ResNet-18, all pairs of modules, {COUNT} images, {SIZE} px"


def compare() -> list[dict[str, Any]]:
    """One row: work, seconds, ratio, the peak of memory above what the networks and images take, and a remark."""
    ours = alone("benchmarks.cka", "ours")
    row: dict[str, Any] = {"work": WORK, "theirs": "torch_cka", "ours_s": ours["seconds"], "ours_MB": ours["MB"]}
    labels = f"wrong labels: wdiv {ours['wrong']} of {ours['rows']}"
    if importlib.util.find_spec("torch_cka") is None:
        nothing = dict.fromkeys(("theirs_s", "ratio", "theirs_MB"))
        return [{**row, **nothing, "remark": f"{labels}; torch_cka is not installed"}]
    theirs = alone("benchmarks.cka", "theirs")
    remark = (
        f"{labels}, torch_cka {theirs['wrong']} of {theirs['rows']}; of its values on the diagonal {theirs['lost']} "
        f"are NaN or inf; where the label is right, others are off by at most {theirs['off']:.1e} "
        f"(wdiv {ours['off']:.1e})"
    )
    ratio = theirs["seconds"] / ours["seconds"]
    return [{**row, "theirs_s": theirs["seconds"], "theirs_MB": theirs["MB"], "ratio": ratio, "remark": remark}]


def _measure(side: str) -> dict[str, Any]:
    import torch
    from torchvision.models import resnet18

    importlib.import_module("wdiv.similarity" if side == "ours" else "torch_cka")
    networks = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        networks.append(resnet18().eval())
    images = torch.randn(COUNT, 3, SIZE, SIZE)
    with torch.no_grad():
        networks[0](images[:2])  # what PyTorch sets up once is nobody's cost
    before, start = peak(), time.perf_counter()
    result = (_ours if side == "ours" else _theirs)(*networks, images)
    seconds, more = time.perf_counter() - start, peak() - before
    return {"seconds": seconds, "MB": more, **_judge(*result, *(_truth(network, images) for network in networks))}


def _ours(a: Any, b: Any, images: Any) -> tuple[list[str], list[float], None]:
    from wdiv.similarity import similarity

    found = similarity(a, b, images, metrics="linear_cka", modules="all", across=True)
    return found.layer.values.tolist(), np.diag(found.linear_cka_across.values).tolist(), None


def _theirs(a: Any, b: Any, images: Any) -> tuple[list[str], list[float], list[np.ndarray]]:
    from torch.utils.data import DataLoader, TensorDataset
    from torch_cka import CKA

    warnings.simplefilter("ignore")  # about many layers
    cka = CKA(a, b, "a", "b")
    loader = DataLoader(TensorDataset(images), batch_size=COUNT)
    try:
        cka.compare(loader, loader)
    except AssertionError as error:  # it refuses its own result where an estimate came out negative
        print(error, file=sys.stderr)  # noqa: T201
    values = np.diag(cka.hsic_matrix.detach().numpy()).tolist()
    for network in (a, b):
        for module in network.modules():
            module._forward_hooks.clear()  # it has no way to take them off
    # row i is the i-th tensor that it kept, whatever its i-th label says
    return cka.model1_info["Layers"], values, [_gram(x) for x in cka.model1_features.values()]


def _gram(x: Any) -> np.ndarray:
    rows = x.detach().flatten(1).double()
    rows = rows - rows.mean(0)
    return np.asarray(rows @ rows.T)


def _truth(network: Any, images: Any) -> dict[str, np.ndarray]:
    """Label -> Gram matrix of what the module gave out, ``name@2`` for its second call."""
    import torch

    grams: dict[str, np.ndarray] = {}

    def watch(name: str) -> Any:
        def hook(_module: Any, _args: Any, out: Any) -> None:
            call = 1 + sum(label.partition("@")[0] == name for label in grams)
            grams[name if call == 1 else f"{name}@{call}"] = _gram(out)

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules()]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()
    return grams


def _cka(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """The unbiased estimate by the formula of Song et al. (2012), of matrices scaled to trace 1."""

    def hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
        n, ones = len(k), np.ones(len(k))
        k, l = (m / np.trace(m) * (1 - np.eye(n)) for m in (k, l))  # noqa: E741
        middle = k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (ones @ k @ l @ ones)
        return float(np.trace(k @ l) + middle)

    return hsic(k, l) / float(np.sqrt(hsic(k, k) * hsic(l, l)))


def _judge(
    labels: list[str],
    values: list[float],
    grams: list[np.ndarray] | None,
    truth_a: dict[str, np.ndarray],
    truth_b: dict[str, np.ndarray],
) -> dict[str, Any]:
    """How many labels are wrong, and how far off the values are where they are right.

    Where a side kept the tensors, a label is right if its row's tensor is what a call of that module gave out; else
    if the row's value is that module's.
    """
    wrong, off = 0, 0.0
    for i, (label, value) in enumerate(zip(labels, values, strict=True)):
        calls = [label] if grams is None else [c for c in truth_a if c == label or c.startswith(f"{label}@")]
        if grams is not None:
            calls = [call for call in calls if np.allclose(grams[i], truth_a[call], rtol=1e-3, atol=1e-6)]
        differences = [abs(value - _cka(truth_a[call], truth_b[call])) for call in calls]
        if not calls or (grams is None and min(differences) > 1e-6):
            wrong += 1
        elif np.isfinite(value):
            off = max(off, min(differences))
    return {"rows": len(labels), "wrong": wrong, "lost": int((~np.isfinite(values)).sum()), "off": off}


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1]) if sys.argv[1:] else compare()))  # noqa: T201
