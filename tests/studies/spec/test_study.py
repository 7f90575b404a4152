"""Studies as data: those that come with wdiv, and a user's own."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studies.cli.catalogue import _SINGULAR, CATALOGUE, facts, trained_layers
from studies.grid.conditions import parts
from studies.grid.planning import open_data, source_study, sources_of
from studies.spec.registry import OF_DATA, STUDIES, load, named_in
from studies.spec.study import Condition, Pretrain, Study, override
from tests.conftest import ROOT
from wdiv.errors import BadInput, UnknownName, WdivError
from wdiv.metrics import METRICS
from wdiv.tuning.data.datasets import DATASETS
from wdiv.tuning.networks.models import MODELS, ModelSpec, head_layers, layer_table
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.strategy.strategies import BN_MODES

NAMES = (
    "quickstart", "compare-strategies", "peng2020", "gupta2020", "gupta2020-subsets", "gupta2020-networks",
    "chadha2020", "neychev2017", "li2020",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_study_that_comes_with_wdiv_resolves(name: str) -> None:
    study = load(name)
    assert study is STUDIES[name]
    assert study.title
    assert study.source
    assert set(study.models) <= set(MODELS)
    assert set(study.metrics) <= set(METRICS)
    assert set(study.bn_modes) <= set(BN_MODES)
    assert study.data is None or study.data in DATASETS
    if study.pretrain is not None:
        assert study.models
        assert study.pretrain.data in DATASETS
    for model in study.models:
        spec = ModelSpec.parse(model)
        for strategy in map(parse, study.strategies):
            network = spec.but(beside=True) if strategy.beside else spec
            strategy.check(layer_table(network, 3, 64), head_layers(network), model)


def test_no_study_is_forgotten() -> None:
    assert set(STUDIES) == set(NAMES), "a new study needs a name above"
    files = {f"{name.replace('-', '_')}.py" for name in STUDIES}
    there = {path.name for path in (ROOT / "studies").glob("*.py")} - {"__init__.py"}
    assert files == there, "one file per study, and nothing else beside them"


PAPERS = (
    "scratch", "fc", "conv+fc", "bn+fc", "conv+bn+fc", "conv=1e-4,bn=1e-2,fc=1e-3",
    "bn@stage4+fc", "bn@stage3-4+fc", "bn@stage2-4+fc",
)  # fmt: skip


def test_peng2020_is_the_papers_grid() -> None:
    study = load("peng2020")
    assert study.models == ("densenet121", "densenet201", "resnet18", "resnet50", "resnet152")
    assert study.per_class == (20, 40, None)
    assert {parse(name).name for name in PAPERS} < set(study.strategies)
    assert (study.optimizer, study.weights, study.data) == ("adam", "IMAGENET1K_V1", "ferrographs")


# --- a user's file -------------------------------------------------------------------------------------------------


def test_steps_are_equal_parts_of_each_epoch_and_one_way_to_say_them_replaces_the_other() -> None:
    study = Study("s", epochs=4, steps=20)
    assert study.recipe == Study("s", epochs=4, steps_per_epoch=5).recipe == override(study, {"epochs": 4}).recipe
    each = override(study, {"steps_per_epoch": 3})
    assert (each.steps, each.recipe.steps_per_epoch) == (None, 3)
    again = override(each, {"steps": 8})
    assert (again.steps_per_epoch, again.recipe.steps_per_epoch) == (None, 2)
    passes = override(study, {"steps": "none"})
    assert (passes.steps, passes.recipe.steps_per_epoch) == (None, None)
    assert override(study, {"epochs": 5}).recipe.steps_per_epoch == 4, "as many steps, more checkpoints"


def test_a_toml_file_is_a_study(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        """
        models = ["resnet18", "resnet50"]
        data = "digits"
        per_class = [5, "all", 5]
        strategies = ["fc+bn", "bn+fc", "conv=1e-4,fc=1e-4"]
        bn_modes = "frozen"
        seeds = 3
        optimizer = "sgd"
        momentum = 0.9
        weight_decay = 1
        reference = 0

        [pretrain]
        data = "digits"
        epochs = 2
        rate = 1e-2
        """
    )
    study = load(str(file))
    assert study == Study(
        "mine", models=("resnet18", "resnet50"), data="digits", per_class=(5, None), strategies=("bn+fc", "conv+fc"),
        bn_modes=("frozen",), seeds=(3,), optimizer="sgd", momentum=0.9, weight_decay=1, reference=0,
        pretrain=Pretrain("digits", 2, 1e-2),
    )  # fmt: skip
    file.write_text('name = "yours"')
    assert load(str(file)) == Study("yours")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("strategy = ['fc']", "unknown key 'strategy'; did you mean 'strategies'"),
        ("epoch = 3", "unknown key 'epoch'; did you mean 'epochs'"),
        ("epochs = '3'", "epochs: int, not '3'"),
        ("epochs = 3.0", "epochs: int, not 3.0"),
        ("epochs = true", "epochs: int, not True"),
        ("epochs = 0", "epochs: a whole number, at least 1"),
        ("steps = 0", "steps: a whole number, at least 1, not 0"),
        ("steps = true", "steps: int, not True"),
        ("steps = 20\nsteps_per_epoch = 5", "steps or steps_per_epoch, not both"),
        (
            "epochs = 10\nsteps = 43",
            "43 steps do not divide into 10 epochs, which are the checkpoints of a run; give 40 "
            "or 50 steps, or 1 or 43 epochs",
        ),
        ("epochs = 10\nsteps = 24", "give 20 or 30 steps, or 8 or 12 epochs"),
        ("epochs = 10\nsteps = 3", "give 10 steps, or 3 epochs"),
        ("weight_decay = 'much'", "weight_decay: float, not 'much'"),
        ("skip_bad_images = 1", "skip_bad_images: bool, not 1"),
        ("data = 5", "data: str, not 5"),
        ("models = [1]", "models: a list of str, with 1 in it"),
        ("seeds = [0, 1.5]", "seeds: a list of int, with 1.5 in it"),
        ("seeds = []", "seeds is a list of at least one entry"),
        ("per_class = [0]", "per_class: whole numbers from 1, or 'all', not 0"),
        ("per_class = ['some']", "per_class: whole numbers from 1, or 'all', not 'some'"),
        ("strategies = ['bm+fc']", "did you mean 'bn+fc'"),
        ("bn_modes = ['frozn']", "unknown BN mode 'frozn'; did you mean 'frozen'"),
        ("metrics = ['gausian_kl']", "unknown metric 'gausian_kl'; did you mean 'gaussian_kl'"),
        ("optimizer = 'adamm'", "unknown optimizer 'adamm'; did you mean 'adam"),
        ("momentum = 0.9", "momentum: adam takes none"),
        ("pretrain = 'yes'", "pretrain: Pretrain, not 'yes'"),
        ("[pretrain]\nrate = 0.1", "[pretrain] needs data, epochs"),
        ("[pretrain]\ndta = 'digits'", "unknown key 'dta' in [pretrain]; did you mean 'data'"),
        ("[pretrain]\ndata = 5", "[pretrain] data: str, not 5"),
        ("[pretrain]\nepochs = 'two'", "[pretrain] epochs: int, not 'two'"),
        ("epochs =", "not a TOML file"),
    ],
)
def test_a_file_that_is_wrong_is_an_error_that_names_it(line: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(line)
    with pytest.raises(WdivError) as caught:
        load(str(file))
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(file)) or isinstance(caught.value, UnknownName)


def test_a_study_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown study 'quickstrat'; did you mean 'quickstart'"):
        load("quickstrat")
    with pytest.raises(BadInput, match="no such study file"):
        load(str(tmp_path / "none.toml"))


# --- what is given beside a study ----------------------------------------------------------------------------------

PLAIN = Study("plain", models=("resnet18",), test_count=5)
QUICK = load("quickstart")


@pytest.mark.parametrize(
    ("study", "values", "expected"),
    [
        (PLAIN, {"seeds": [1, 2, 1]}, {"seeds": (1, 2)}),
        (PLAIN, {"per_class": ["all", 3]}, {"per_class": (None, 3)}),
        (PLAIN, {"strategies": "fc+bn"}, {"strategies": ("bn+fc",)}),
        (PLAIN, {"models": ["resnet50"]}, {"models": ("resnet50",), "weights": "IMAGENET1K_V1"}),
        (PLAIN, {"weights": "card.toml"}, {"models": (), "weights": "card.toml"}),
        (PLAIN, {"weights": "file.pth"}, {"models": ("resnet18",), "weights": "file.pth"}),
        (PLAIN, {"weights": "x.toml", "models": ["resnet50"]}, {"models": ("resnet50",), "weights": "x.toml"}),
        (PLAIN, {"test_fraction": 0.5}, {"test_count": None, "test_fraction": 0.5}),
        (PLAIN, {"test_fraction": 0.5, "test_count": 3}, {"test_count": 3, "test_fraction": 0.5}),
        (QUICK, {"weights": "random"}, {"pretrain": None, "weights": "random"}),
        (QUICK, {"models": ["resnet34"]}, {"pretrain": Pretrain("digits-0-4", 4), "models": ("resnet34",)}),
        (
            QUICK,
            {"models": ["vgg16"], "weights": "random"},
            {"pretrain": None, "weights": "random", "models": ("vgg16",)},
        ),
        (QUICK, {}, {}),
    ],
    ids=lambda value: None if isinstance(value, Study) else str(value),
)
def test_what_is_given_replaces_what_it_names(study: Study, values: dict[str, Any], expected: dict[str, Any]) -> None:
    found = override(study, values)
    for field in fields(Study):
        assert getattr(found, field.name) == expected.get(field.name, getattr(study, field.name)), field.name


def test_a_study_trains_a_source_network_for_each_of_its_models() -> None:
    study = override(QUICK, {"models": ["resnet18", "resnet34"]})
    names = [source.name for source in sources_of(study)]
    assert names == ["digits-0-4 (resnet18)", "digits-0-4 (resnet34)"]
    assert source_study(study).models == study.models


def test_what_conditions_vary_cannot_be_given_besides() -> None:
    two = override(QUICK, {"conditions": [{"name": name, "values": {"epochs": n}} for name, n in (("a", 1), ("b", 2))]})
    with pytest.raises(BadInput, match="epochs: each condition of study 'quickstart' has its own"):
        override(two, {"epochs": 3})
    assert override(two, {"seeds": [4]}).seeds == (4,)
    one = replace(two, conditions=(two.conditions[0], Condition("plain", {})))
    given = [part.study.epochs for part in parts(override(one, {"epochs": 3}), Path("out"))]
    assert given == [1, 3], "for those that do not say their own"
    found = parts(two, Path("out"))
    assert [(part.condition, part.study.epochs, part.out) for part in found] == [
        ("a", 1, Path("out/a")), ("b", 2, Path("out/b")),
    ]  # fmt: skip
    assert {part.sources for part in found} == {Path("out/sources/digits-0-4")}, "trained once"
    assert not any(part.study.conditions for part in found)


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ([{"name": "a", "values": {"epoch": 1}}], "condition 'a': unknown key 'epoch'; did you mean 'epochs'"),
        ([{"name": "a", "values": {}}, {"name": "a", "values": {}}], "two conditions are called 'a'"),
        ([{"name": "../a", "values": {}}], "condition '../a': letters, digits"),
        ([{"name": "a", "values": {"mini": {}}}], "condition 'a': cannot replace mini"),
        ([{"name": "a"}], "[[conditions]] 'a' needs values"),
        (["a"], "conditions: a list of Condition, with 'a' in it"),
    ],
)
def test_conditions_that_cannot_be(conditions: list[Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        override(QUICK, {"conditions": conditions})
    assert words in str(caught.value)


def test_a_mini_that_cannot_be_is_found_at_once_and_one_that_is_not_there_named() -> None:
    with pytest.raises(BadInput, match="mini: unknown key 'epoch'"):
        override(QUICK, {"mini": {"epoch": 1}})
    with pytest.raises(BadInput, match="'quickstart' has no mini scale"):
        load("quickstart", "mini")


def test_a_run_is_weights_that_name_their_network(trained: Path) -> None:
    (run, _) = sorted((trained / "runs").iterdir())
    assert override(PLAIN, {"weights": f"{run}@1"}).models == ()


def test_json_holds_every_field_and_reads_back() -> None:
    for study in (QUICK, PLAIN, load("peng2020")):
        data = json.loads(json.dumps(study.to_json()))
        assert set(data) == {field.name for field in fields(Study)}
        values = {key: value for key, value in data.items() if value is not None}
        assert override(Study(values.pop("name")), values) == study
    assert load("peng2020").to_json()["per_class"] == [20, 40, "all"]


# --- the catalogue -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shelf", CATALOGUE)
def test_everything_that_is_listed_can_be_shown(shelf: str) -> None:
    registry = CATALOGUE[shelf].registry
    names = list(registry) if shelf != "models" else ["resnet18", "vgg16_bn", "squeezenet1_1"]
    assert [row["name"] for row in CATALOGUE[shelf].rows()] == list(registry)
    for name in names:
        (found,) = [one for one in facts(name) if one["what"] == _SINGULAR[shelf]]
        assert name in found.values()
        json.dumps(found)


def test_a_name_of_no_shelf_may_still_be_known() -> None:
    assert facts("vit_b_16")[0]["what"] == "model"
    assert facts("mobilenet_v2:width_mult=0.35")[0]["source"] == "torchvision"
    assert facts("conv@stage2+fc=1e-1")[0]["canonical"] == "conv@stage2=1e-4,fc=1e-1"
    assert facts("fc for 0.5 then all")[0]["what"] == "strategy"
    assert [one["what"] for one in facts("gradual")] == ["strategy", "method"]
    assert len(trained_layers("fc for 150 then all+gradual", "resnet18")) > 20
    with pytest.raises(UnknownName, match="nothing is named 'gausian_kl'; did you mean 'gaussian_kl'"):
        facts("gausian_kl")


def test_the_layers_that_a_strategy_trains() -> None:
    rows = {(row["stage"], row["kind"]): row for row in trained_layers("bn@stage3-4+fc", "resnet18")}
    assert rows["stage4", "bn"] == {"stage": "stage4", "kind": "bn", "trains": 5, "of": 5, "rate": "0.01"}
    assert rows["stage2", "bn"] == {"stage": "stage2", "kind": "bn", "trains": 0, "of": 5, "rate": ""}
    assert rows["head", "fc"]["trains"] == 1
    assert sum(row["of"] for row in rows.values()) == 20 + 20 + 1
    assert {row["kind"] for row in trained_layers("fc", "squeezenet1_1")} == {"conv", "fc"}
    assert trained_layers("fc", "vit_b_16")
    with pytest.raises(BadInput, match="vgg16 has no bn layer"):
        trained_layers("bn+fc", "vgg16")


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if study.mini])
def test_what_a_mini_says_of_its_images_is_not_said_of_others(name: str) -> None:
    paper, mini = load(name), load(name, "mini")
    assert load(name, "mini", {"seeds": [5]}) == override(mini, {"seeds": [5]})
    yours = load(name, "mini", {"data": "photos"})
    assert [getattr(yours, key) for key in OF_DATA] == [getattr(paper, key) for key in OF_DATA]
    assert (yours.data, yours.image_size, yours.models) == ("photos", mini.image_size, mini.models)
    assert load(name, "mini", {"data": "photos", "test_count": 3, "classes": 2}).test_count == 3


def test_a_mini_takes_a_folder_with_a_test_set_of_its_own_and_one_of_few_images(tmp_path: Path) -> None:
    for place in ("split/train/a", "split/train/b", "split/test/a", "split/test/b", "few/a", "few/b"):
        (tmp_path / place).mkdir(parents=True)
        for i in range(5):
            Image.new("L", (8, 8), i).save(tmp_path / place / f"{i}.png")
    split = open_data(load("peng2020", "mini", {"data": str(tmp_path / "split")}), 8)
    assert (len(split.pool), len(split.test)) == (10, 10)
    few = open_data(load("peng2020", "mini", {"data": str(tmp_path / "few")}), 8)
    assert len(few.pool) + len(few.test) == 10


@pytest.mark.parametrize("networks", [0, -1, "x", 1.5, True])
def test_networks_are_counted(networks: Any) -> None:
    with pytest.raises(BadInput, match=f"networks is a whole number from 1, not {networks!r}"):
        Pretrain("digits", 1, networks=networks)


def test_a_file_may_change_a_registered_study(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('base = "compare-strategies"\ndata = "digits"\nstrategies = ["fc"]\n')
    assert load(str(file)) == override(STUDIES["compare-strategies"], {"data": "digits", "strategies": ["fc"]})
    assert named_in(str(file)) == {"data": "digits", "strategies": ["fc"]}
    assert named_in("digits") == {}
    file.write_text('base = "compare-strategy"\n')
    with pytest.raises(BadInput, match=r"mine.toml: .*did you mean 'compare-strategies'"):
        load(str(file))
