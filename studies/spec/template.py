"""A study as a TOML file to start from: every field, what it means, and its usual value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studies.spec.fields import entry_kind, needed
from studies.spec.study import Study
from wdiv.store.files import as_toml

__all__ = ["WORDS", "commented", "written_out"]

WORDS: Mapping[str, str] = {
    "title": "One line on what is asked.",
    "source": "Whose study it is.",
    "models": "Networks: 'wdiv list models'. Leave out where the weights say which network they are for.",
    "weights": "A torchvision name, a file, a source card, RUN_DIR@EPOCH, or 'random'.",
    "pretrain": "Or source networks trained first; also: rate, batch_size, classes, per_class, networks.",
    "data": "A name of 'wdiv list datasets', or a folder with one folder of images a class.",
    "per_class": "Training images of each class; \"all\" is all there are.",
    "strategies": "What trains: 'wdiv list strategies', or in free spelling: bn@stage4+fc, conv=1e-4,fc=1e-3.",
    "bn_modes": "What BatchNorm's statistics do: 'wdiv list bn-modes'.",
    "seeds": "Each draws its own images, order and new head. Claims need several.",
    "baselines": "On frozen features, beside the runs: svm, svm@bottleneck, ncm@stage3: 'wdiv list baselines'.",
    "conditions": "The whole grid once more with fields replaced, each in a store of its own.",
    "optimizer": "'wdiv list optimizers'; the rates belong to the strategies.",
    "epochs": "Of each run, which is kept after each of them.",
    "keep": "Which of them stay on disk: all, or of first, best, last, 'last 5', 'every 5', with commas.",
    "steps": "Of each run, however many images it has: equal steps for all sizes, kept after each of its epochs.",
    "batch_size": "Images of a step.",
    "weight_decay": "Of weights; of gamma, beta and biases only with decay_all.",
    "momentum": "Of optimizers that take one.",
    "decay_all": "Decay gamma, beta and biases too.",
    "steps_per_epoch": "Or batches of an epoch. Neither: an epoch is one pass over the images.",
    "schedule": "Of the rate: 'wdiv list schedules'.",
    "warmup": "Epochs in which the rate rises from 0 first.",
    "loss": "softmax or sigmoid.",
    "label_smoothing": "A share from 0 to 1.",
    "class_weights": "Of an image's loss: none, or balanced, so that every class counts alike.",
    "sampling": "shuffled, or balanced: each class is drawn as often as another.",
    "augment": "'wdiv list augmentations'.",
    "mixup": "Blend pairs of images; 0: no.",
    "validation": "Share of the training images held out to stop by.",
    "patience": "Epochs without a better validation loss before a run stops; 0: never.",
    "precision": "fp32, tf32 (CUDA) or bf16.",
    "compile": "Compile the network, with CUDA graphs on a GPU.",
    "keep_prefix": "Compute what is frozen once an image.",
    "head": "In place of the network's own classifier: 'wdiv list heads'.",
    "image_size": "Pixels; left out: what the weights were trained on.",
    "classes": "The first classes of the data only.",
    "test_count": "Images of each class set aside for the test;",
    "test_fraction": "or a share of each. Neither: a quarter.",
    "folds": "Or cross-validation: every image is tested once, by the run that was trained without its fold.",
    "repeats": "Of the folds, drawn anew each; each seed becomes so many.",
    "group": "A regular expression on class/file, (…) in it the group: one patient, part or plate is on one side.",
    "small_classes": "Of fewer images than asked for: refuse, keep (take all), or drop or merge those below least.",
    "least": "Images from which on a class is neither dropped nor merged.",
    "split_seed": "Draws the test images.",
    "skip_bad_images": "Leave out files that cannot be read.",
    "metrics": "What is measured: 'wdiv list metrics'.",
    "reference": "Measured from: \"pretrained\", \"previous\", an epoch, or a run.",
    "paper": "Whose published numbers stand beside yours: peng2020 or gupta2020.",
    "claims": "What should come out, and is judged in the report.",
    "tables": "Of the report: which accuracies, in which rows and columns.",
    "figures": "Of the report.",
    "recommend": "Settle what is not given here by the images, and begin the report with what to do.",
    "notes": "What is to be said of how it was planned.",
    "mini": "Fields replaced by --scale mini.",
}  # fmt: skip
EXAMPLES = {
    "image_size": 96, "classes": 2, "test_count": 50, "test_fraction": 0.25, "folds": 5, "steps": 3000,
    "steps_per_epoch": 100,
    "head": "mlp512", "group": "plate(\\d+)",
    "pretrain": {"data": "digits-0-4", "epochs": 4}, "data": "path/to/images",
    "conditions": [{"name": "plain", "values": {}}, {"name": "flipped", "values": {"augment": ["flip"]}}],
    "claims": [{
        "name": "bn-beats-fc", "text": "Training BatchNorm too is better than the classifier alone.", "where": "",
        "left": {"strategy": "bn+fc"}, "right": {"strategy": "fc"}, "direction": "more",
        "of": {"per_class": "smallest"},
    }],
    "tables": [{"name": "accuracy", "title": "by size", "rows": ["per_class"], "columns": ["strategy"]}],
    "figures": [{"name": "sizes", "title": "accuracy by size", "kind": "accuracy"}],
    "paper": "peng2020", "mini": {"epochs": 2, "seeds": [0]}, "baselines": ["svm"], "augment": ["flip"],
}  # fmt: skip
"""For fields that are empty as a rule."""


def commented(name: str) -> str:
    """A study of its user's to fill in: what must be said stands there, all else as a comment with its usual value."""
    usual = Study(name).to_json()
    lines = [f"# The study {name!r}, for: wdiv run {name}.toml", as_toml({"name": name}), ""]
    tables: list[str] = []
    for key, words in WORDS.items():
        value = EXAMPLES.get(key) if usual[key] in (None, [], {}, "") and key in EXAMPLES else usual[key]
        written = _entry(key, value)
        if key in ("data", "per_class", "strategies", "seeds"):
            lines += [f"# {words}", *written]
        else:
            (tables if written[0].startswith("[") else lines).extend([f"# {words}", *(f"# {one}" for one in written)])
    return "\n".join([*lines, "", *tables]) + "\n"


def written_out(study: Study) -> str:
    """A study written out: what is as usual is left out.

    >>> print(written_out(Study("mine", data="photos", seeds=(0, 1))))
    name = "mine"
    <BLANKLINE>
    # A name of 'wdiv list datasets', or a folder with one folder of images a class.
    data = "photos"
    <BLANKLINE>
    # Each draws its own images, order and new head. Claims need several.
    seeds = [0, 1]
    <BLANKLINE>
    """
    usual, data = Study(study.name).to_json(), study.to_json()
    given = {key: data[key] for key in WORDS if data[key] != usual[key]}
    parts: dict[bool, list[str]] = {False: [as_toml({"name": study.name}), ""], True: []}
    for key, value in given.items():
        written = _entry(key, value)
        parts[written[0].startswith("[")] += [f"# {WORDS[key]}", *written, ""]
    return "\n".join([*parts[False], *parts[True]])


def _entry(key: str, value: Any) -> list[str]:
    """A field's lines. Lists of tables, and tables, have headings of their own and must follow all else."""
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
        must = needed(entry_kind(Study, key))
        empty: tuple[object, ...] = (None, "", {}, [], ())
        value = [{name: one for name, one in row.items() if name in must or one not in empty} for row in value]
    return [line for line in as_toml({key: value}).splitlines() if line]
