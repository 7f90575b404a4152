"""A study: the grid of runs, the recipe, and what to measure. Data; one file per study, or a user's TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from wdiv.errors import BadInput
from wdiv.metrics import metric_names
from wdiv.registry import Registry, did_you_mean
from wdiv.store.files import read_toml
from wdiv.tuning.heads import HEADS
from wdiv.tuning.recipe import Recipe
from wdiv.tuning.sources import names_model
from wdiv.tuning.spelling import parse
from wdiv.tuning.strategies import BN_MODES

__all__ = ["STUDIES", "Pretrain", "Study", "load", "override"]


@dataclass(frozen=True)
class Pretrain:
    """A source network to train first, from scratch, on all training images of a data set."""

    model: str
    data: str
    epochs: int
    rate: float = 1e-3
    batch_size: int = 32


@dataclass(frozen=True)
class Study:
    """The axes are ``models``, ``per_class``, ``strategies``, ``bn_modes`` and ``seeds``: every combination is a run.

    models        empty where the weights name their own network (a source card, another run)
    weights       as in ``--weights``; ``pretrain`` instead trains a source network on the spot
    data          a data set's name or a folder; None: the user must give one
    head          in place of the networks' own classifier; None: that one stays
    per_class     training images of each class; None (in TOML ``"all"``) is all of them
    image_size    None: what the weights were trained on
    test_count    images of each class set aside; or ``test_fraction``; neither: a quarter
    reference     of the divergence that is measured when the grid is done
    """

    name: str
    title: str = ""
    source: str = ""
    models: tuple[str, ...] = ("resnet18",)
    weights: str = "IMAGENET1K_V1"
    pretrain: Pretrain | None = None
    data: str | None = None
    per_class: tuple[int | None, ...] = (None,)
    strategies: tuple[str, ...] = ("fc", "conv+fc", "bn+fc", "conv+bn+fc")
    bn_modes: tuple[str, ...] = ("auto",)
    seeds: tuple[int, ...] = (0,)
    optimizer: str = Recipe.optimizer
    epochs: int = Recipe.epochs
    batch_size: int = Recipe.batch_size
    weight_decay: float = Recipe.weight_decay
    momentum: float = Recipe.momentum
    decay_all: bool = Recipe.decay_all
    steps_per_epoch: int | None = Recipe.steps_per_epoch
    schedule: str = Recipe.schedule
    warmup: float = Recipe.warmup
    loss: str = Recipe.loss
    label_smoothing: float = Recipe.label_smoothing
    augment: tuple[str, ...] = Recipe.augment
    mixup: float = Recipe.mixup
    validation: float = Recipe.validation
    patience: int = Recipe.patience
    precision: str = Recipe.precision
    compile: bool = Recipe.compile
    keep_prefix: bool = Recipe.keep_prefix
    head: str | None = None
    image_size: int | None = None
    test_count: int | None = None
    test_fraction: float | None = None
    split_seed: int = 0
    skip_bad_images: bool = False
    metrics: tuple[str, ...] = ("gaussian_kl", "gaussian_kl_peng2020", "relative_l2", "cosine_distance")
    reference: str | int = "pretrained"

    def __post_init__(self) -> None:
        for name in ("models", "per_class", "strategies", "bn_modes", "seeds", "metrics"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or not (values or name == "models"):
                raise BadInput(f"study {self.name!r}: {name} is a list of at least one entry, not {values!r}")
        names = tuple(dict.fromkeys(parse(text).name for text in self.strategies))
        object.__setattr__(self, "strategies", names)
        for name in ("models", "per_class", "bn_modes", "seeds", "metrics"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
        for mode in self.bn_modes:
            BN_MODES[mode]
        object.__setattr__(self, "metrics", metric_names(self.metrics))
        if self.head is not None:
            HEADS[self.head]
        object.__setattr__(self, "augment", self.recipe.augment)

    @property
    def recipe(self) -> Recipe:
        return Recipe(**{field.name: getattr(self, field.name) for field in fields(Recipe)})

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers; ``all`` for every training image."""
        data = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        data["per_class"] = ["all" if n is None else n for n in self.per_class]
        return data


STUDIES: Registry[Study] = Registry("study")


def load(name: str) -> Study:
    """A registered study, or one from a TOML file. Raises :class:`~wdiv.errors.BadInput` and ``UnknownName``."""
    import studies.peng2020
    import studies.quickstart  # noqa: F401 - importing registers

    path = Path(name)
    if path.suffix == ".toml":
        return _from_toml(path)
    return STUDIES[name]


def _from_toml(path: Path) -> Study:
    data = read_toml(path, "study file", BadInput)
    try:
        return override(Study(str(data.pop("name", path.stem))), data)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def override(study: Study, values: Mapping[str, Any]) -> Study:
    """The study with some fields replaced; unknown names are errors with a did-you-mean.

    Lists and single values both do for an axis, and ``all`` for a data size.
    """
    types = {f.name: str(f.type) for f in fields(Study)}
    changed: dict[str, Any] = {}
    for key, value in values.items():
        if key not in types:
            raise BadInput(f"unknown key {key!r}; {did_you_mean(key, types)}")
        if key == "pretrain" and isinstance(value, Mapping):
            value = _pretrain(value)
        elif types[key].startswith("tuple"):
            value = tuple(value) if isinstance(value, (list, tuple)) else (value,)
            if key == "per_class":
                value = tuple(_size(entry) for entry in value)
            _check_entries(key, value, types[key])
        elif not _fits(value, types[key]):
            raise BadInput(f"{key}: {types[key].replace(' | None', '')}, not {value!r}")
        changed[key] = value
    return replace(study, **_reconciled(study, changed))


def _reconciled(study: Study, changed: dict[str, Any]) -> dict[str, Any]:
    """Weights that name their own network replace the axis of models, unless both are given; and a test count
    replaces a test fraction, or the other way round."""
    for one, other in (("test_count", "test_fraction"), ("test_fraction", "test_count")):
        if changed.get(one) is not None:
            changed.setdefault(other, None)
    if "weights" in changed:
        changed.setdefault("pretrain", None)
        if "models" not in changed and names_model(changed["weights"]):
            changed["models"] = ()
    elif "models" in changed and study.pretrain is not None and "pretrain" not in changed:
        if len(changed["models"]) > 1:
            raise BadInput(f"study {study.name!r} trains its own source network; give one model, or --weights")
        changed["pretrain"] = replace(study.pretrain, model=changed["models"][0])
    return changed


def _pretrain(value: Mapping[str, Any]) -> Pretrain:
    known = {f.name: str(f.type) for f in fields(Pretrain)}
    for key, entry in value.items():
        if key not in known:
            raise BadInput(f"unknown key {key!r} in [pretrain]; {did_you_mean(key, known)}")
        if not _fits(entry, known[key]):
            raise BadInput(f"[pretrain] {key}: {known[key]}, not {entry!r}")
    missing = {"model", "data", "epochs"} - value.keys()
    if missing:
        raise BadInput(f"[pretrain] needs {', '.join(sorted(missing))}")
    return Pretrain(**value)


def _size(entry: Any) -> int | None:
    if entry is None or entry == "all":
        return None
    if isinstance(entry, bool) or not isinstance(entry, int) or entry < 1:
        raise BadInput(f"per_class: whole numbers from 1, or 'all', not {entry!r}")
    return entry


def _check_entries(key: str, values: tuple[Any, ...], annotation: str) -> None:
    wanted = annotation.removeprefix("tuple[").removesuffix(", ...]")
    for value in values:
        if not _fits(value, wanted):
            raise BadInput(f"{key}: a list of {wanted.replace(' | None', '')}, with {value!r} in it")


def _fits(value: Any, annotation: str) -> bool:
    kinds = {"str": str, "int": int, "float": (int, float), "bool": bool, "None": type(None), "Pretrain": Pretrain}
    return any(
        isinstance(value, kinds[name]) and (not isinstance(value, bool) or name == "bool")  # type: ignore[arg-type]
        for name in annotation.split(" | ")
    )
