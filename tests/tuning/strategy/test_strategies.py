"""Strategies: one spelling, read back as it was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdiv.errors import BadInput, UnknownName
from wdiv.layers import KINDS
from wdiv.tuning.networks.models import ModelSpec, build_skeleton, head_layers, layer_table
from wdiv.tuning.strategy.freeze import make_plan
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.strategy.strategies import BN_MODES, STRATEGIES

ALL: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("text", "name", "terms"),
    [
        ("fc", "fc", [("fc", ALL, 1e-3)]),
        ("fc+bn", "bn+fc", [("bn", ALL, 1e-2), ("fc", ALL, 1e-2)]),
        (" fc , conv ", "conv+fc", [("conv", ALL, 1e-4), ("fc", ALL, 1e-4)]),
        ("fc+bn+conv", "conv+bn+fc", [("conv", ALL, 1e-4), ("bn", ALL, 1e-4), ("fc", ALL, 1e-4)]),
        ("bn", "bn", [("bn", ALL, 1e-2)]),
        ("fc+norm", "norm+fc", [("norm", ALL, 1e-2), ("fc", ALL, 1e-2)]),
        ("norm+conv+bn", "conv+bn+norm", [("conv", ALL, 1e-4), ("bn", ALL, 1e-4), ("norm", ALL, 1e-4)]),
        ("norm@stage2=1e-3,fc", "norm@stage2=1e-3,fc=1e-2", [("norm", ("stage2",), 1e-3), ("fc", ALL, 1e-2)]),
        ("fc=1e-2,bn=0.01", "bn+fc", [("bn", ALL, 1e-2), ("fc", ALL, 1e-2)]),
        ("bn=1e-2+fc=.001", "bn=1e-2,fc=1e-3", [("bn", ALL, 1e-2), ("fc", ALL, 1e-3)]),
        ("bn=1e-3+fc", "bn=1e-3,fc=1e-2", [("bn", ALL, 1e-3), ("fc", ALL, 1e-2)]),
        ("fc=1e+0", "fc=1e0", [("fc", ALL, 1.0)]),
        ("fc=1E+1+bn=2.e+0", "bn=2e0,fc=1e1", [("bn", ALL, 2.0), ("fc", ALL, 10.0)]),
        ("fc=0.00012345678901", "fc=1.2345678901e-4", [("fc", ALL, 0.00012345678901)]),
        ("fc=250", "fc=2.5e2", [("fc", ALL, 250.0)]),
        ("bn@stage4+fc", "bn@stage4+fc", [("bn", ("stage4",), 1e-2), ("fc", ALL, 1e-2)]),
        ("fc+bn@stage3-stage4", "bn@stage3-4+fc", [("bn", ("stage3", "stage4"), 1e-2), ("fc", ALL, 1e-2)]),
        ("conv@stage2-2+fc", "conv@stage2+fc", [("conv", ("stage2",), 1e-4), ("fc", ALL, 1e-4)]),
        (
            "conv+bn@stage3-4+fc",  # @ narrows the term it stands in, not those before it
            "conv+bn@stage3-4+fc",
            [("conv", ALL, 1e-4), ("bn", ("stage3", "stage4"), 1e-4), ("fc", ALL, 1e-4)],
        ),
        ("bn@stem=1e-2,fc@head=1e-3", "bn@stem=1e-2,fc@head=1e-3", [("bn", ("stem",), 1e-2), ("fc", ("head",), 1e-3)]),
        ("bn@stage1-3+fc", "bn@stage1-3+fc", [("bn", ("stage1", "stage2", "stage3"), 1e-2), ("fc", ALL, 1e-2)]),
        ("bn@stage3+bn@stage4+fc", "bn@stage3-4+fc", [("bn", ("stage3", "stage4"), 1e-2), ("fc", ALL, 1e-2)]),
        (
            "conv@stage5+conv@stage1+conv@stage2+fc",
            "conv@stage1-2+conv@stage5+fc",
            [("conv", ("stage1", "stage2"), 1e-4), ("conv", ("stage5",), 1e-4), ("fc", ALL, 1e-4)],
        ),
        (
            "conv@stage1=1e-5+conv@stage2=1e-4,fc",
            "conv@stage1=1e-5,conv@stage2=1e-4,fc=1e-4",
            [("conv", ("stage1",), 1e-5), ("conv", ("stage2",), 1e-4), ("fc", ALL, 1e-4)],
        ),
        ("fc+beside", "fc+beside", [("fc", ALL, 1e-3), ("beside", ALL, 1e-3)]),
        ("fc=1e-3+all=1e-4", "all=1e-4,fc=1e-3", [("all", ALL, 1e-4), ("fc", ALL, 1e-3)]),
        ("decay=.5+fc+conv", "conv+fc+decay=0.5", [("conv", ALL, 1e-4), ("fc", ALL, 1e-4)]),
        ("fc+bn+random", "bn+fc+random", [("bn", ALL, 1e-2), ("fc", ALL, 1e-2)]),
        ("scratch", "scratch", [("all", ALL, 1e-3)]),
        ("scratch=0.001", "scratch", [("all", ALL, 1e-3)]),
        ("scratch=5e-2", "scratch=5e-2", [("all", ALL, 5e-2)]),
    ],
)
def test_spelling(text: str, name: str, terms: list[tuple[str, tuple[str, ...], float]]) -> None:
    parsed = parse(text)
    assert parsed.name == name
    assert [(term.kind, term.stages, term.lr) for term in parsed.last.terms] == terms
    assert parse(name) == parsed
    assert parsed.random == ("scratch" in name or "random" in name)


RATES = st.none() | st.floats(min_value=1e-30, max_value=1e30) | st.sampled_from([1e-2, 1e-3, 1e-4, 1.0, 10.0])
STAGES = st.one_of(
    st.just(""),
    st.sampled_from(["@stem", "@head", "@aux"]),
    st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda pair: f"@stage{min(pair)}-{max(pair)}"),
)


@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
    stages=st.lists(STAGES, min_size=len(KINDS), max_size=len(KINDS)),
    lrs=st.lists(RATES, min_size=len(KINDS), max_size=len(KINDS)),
    signs=st.lists(st.sampled_from("+,"), min_size=len(KINDS), max_size=len(KINDS)),
)
def test_a_name_reads_back_as_the_strategy_it_names(
    kinds: list[str], stages: list[str], lrs: list[float | None], signs: list[str]
) -> None:
    parts = [
        f"{kind}{stage}" + ("" if lr is None else f"={lr!r}")
        for kind, stage, lr in zip(kinds, stages, lrs, strict=False)
    ]
    text = "".join(part + sign for part, sign in zip(parts, signs, strict=False))[:-1]
    parsed = parse(text)
    assert parse(parsed.name) == parsed, "terms and rates to the last digit"
    given_rates = {kind: lr for kind, lr in zip(kinds, lrs, strict=False) if lr is not None}
    assert {t.kind: t.lr for t in parsed.last.terms if t.kind in given_rates} == given_rates
    assert [t.kind for t in parsed.last.terms] == [kind for kind in KINDS if kind in kinds]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bm+fc", "did you mean 'bn+fc'"),
        ("con+fc", "did you mean 'conv+fc'"),
        ("fcc", "did you mean 'fc'"),
        (
            "relu",
            "'relu' is no kind of layer; known: all, beside, bn, conv, decay, fc, gradual, l2sp, linear, norm, random",
        ),
        ("", "is no kind of layer"),
        ("bn++fc", "'' is no kind of layer"),
        ("BN+fc", "is no kind of layer"),
        ("bn@+fc", "is no kind of layer"),
        ("bn@stage3-4+bn@stage4+fc", "'bn' stands twice for stage4"),
        ("bn+bn@stage4+fc", "'bn' stands twice, once for all stages"),
        ("decay", "names nothing that trains"),
        ("fc+decay+spread", "'decay' and 'spread' both say how rates fall"),
        ("fc+decay=2", "decay takes a number above 0 and at most 1, not '2'"),
        ("fc+spread=1", "spread takes a number above 1, not '1'"),
        ("fc+l2sp=0", "l2sp takes a number above 0, not '0'"),
        ("fc+rgn=1", "'rgn' takes no number"),
        ("fc+rgn+rgn", "'rgn' stands twice"),
        ("fc+rgn@stage1", "'rgn' is a method and takes no stage"),
        ("fc then random+bn", "only its first phase can start from random weights"),
        ("fc for 3 then bn+fc for 4", "leave one phase without 'for'"),
        ("fc for 0.5 then bn+fc for 0.5 then all", "shares of 1 in all leave nothing"),
        ("fc for 1.5 then all", "a number of epochs or a share below 1, not '1.5'"),
        ("fc for ever then all", "a number of epochs or a share below 1, not 'ever'"),
        ("bn@layer4+fc", "'layer4' is no stage; write stage4, stage3-4 or stem"),
        ("bn@stage4-3+fc", "from low to high, stage3-4"),
        ("bn@stage10+fc", "'stage10' is no stage"),
        ("scratch+fc", "'scratch' stands alone"),
        ("scratch@stage1", "'scratch' stands alone"),
        ("scratch=0", "a rate is a positive number, not '0'"),
        *((f"fc={lr}", "a rate is a positive number") for lr in ("0", "-1e-3", "nan", "inf", "fast", "1e-3=2")),
    ],
)
def test_errors_say_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text)
    assert words in str(caught.value)
    assert repr(text) in str(caught.value), "the message repeats what came"


ONE_RATE = {"scratch": 1e-3, "fc": 1e-3, "conv+fc": 1e-4, "bn+fc": 1e-2, "conv+bn+fc": 1e-4}
PENG = {name: dict.fromkeys(["all"] if name == "scratch" else name.split("+"), r) for name, r in ONE_RATE.items()}
PENG |= {f"bn@stage{k}+fc": {"bn": 1e-2, "fc": 1e-2} for k in ("4", "3-4", "2-4")}
PENG |= {"by-kind": {"conv": 1e-4, "bn": 1e-2, "fc": 1e-3}}
"""Peng and Wang (2020), sections 3.1 and 3.2 and table 7, copied by hand."""
OTHERS = {
    "by-depth": "all=1e-3,decay=0.75",
    "discriminative": "all=1e-3,spread=100",
    "lp-ft": "fc for 0.5 then all",
    "gradual": "all+gradual",
    "l2-sp": "all+l2sp=0.1",
    "auto-rgn": "all=1e-3,rgn",
    "bn-random": "bn+random",
    "bn-random+fc": "bn+fc+random",
    "modular": "fc+beside",
}
"""Canonical names of the presets of other papers."""


def test_presets_have_the_rates_of_the_paper() -> None:
    assert {name: {t.kind: t.lr for t in parse(name).last.terms} for name in PENG} == PENG
    assert {name: parse(name).name for name in OTHERS} == OTHERS
    assert set(STRATEGIES) == set(PENG) | set(OTHERS), "a new preset needs a row here"
    for preset in STRATEGIES.values():
        assert preset.long_name
        assert ("Peng" in preset.source) == (preset.name in PENG)
        assert parse(preset.spelling) == parse(preset.name), "the preset's rates are its name's defaults"
        assert preset.name in (parse(preset.name).name, "by-kind", *OTHERS)


WITH_BN = ("bn+fc", "conv+bn+fc", "by-kind", "bn@stage4+fc", "bn@stage3-4+fc", "bn@stage2-4+fc")


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        ("resnet18", ()),
        ("densenet121", ()),
        ("mobilenet_v2", ()),
        ("vgg16_bn", ()),
        ("inception_v3", ("bn@stage4+fc", "bn@stage3-4+fc", "bn@stage2-4+fc")),  # it has three stages
        ("vgg16", WITH_BN),
        ("squeezenet1_1", WITH_BN),
    ],
)
def test_every_preset_fits_or_says_what_the_network_lacks(model: str, refused: tuple[str, ...]) -> None:
    spec = ModelSpec(model)
    table, head, network = layer_table(spec, 2, 299), head_layers(spec), build_skeleton(spec, 2)
    for name in PENG:
        if name in refused:
            with pytest.raises(BadInput, match=r"has no bn layer.*its stages: .*stage1, .*head"):
                make_plan(network, table, head, parse(name))
        else:
            plan = make_plan(network, table, head, parse(name))
            assert set(plan.lrs.values()) <= set(PENG[name].values())
            kinds = {"fc" if x.name in head else x.kind for x in table}
            assert {plan.kinds[key] for key in plan.lrs} == (kinds if name == "scratch" else set(PENG[name]) & kinds)


EXPECTED_MODES = {
    # mode -> BatchNorm layers of ResNet-18 that use batch statistics under fc, bn@stage4+fc and bn+fc
    "auto": (0, 5, 20),
    "frozen": (0, 0, 0),
    "batch": (20, 20, 20),
    "adapt": (20, 20, 20),
    "adabn": (0, 0, 0),
}


def test_every_bn_mode_means_something() -> None:
    assert set(BN_MODES) == set(EXPECTED_MODES), "a new mode needs a row here"
    spec = ModelSpec("resnet18")
    table, head, network = layer_table(spec, 2, 32), head_layers(spec), build_skeleton(spec, 2)
    for mode, counts in EXPECTED_MODES.items():
        assert BN_MODES[mode].long_name
        plans = [make_plan(network, table, head, parse(text), mode) for text in ("fc", "bn@stage4+fc", "bn+fc")]
        assert tuple(len(plan.batch_stats) for plan in plans) == counts
        assert {len(plan.estimated) for plan in plans} == {20 if mode in ("adapt", "adabn") else 0}
    with pytest.raises(UnknownName, match="unknown BN mode 'frozn'; did you mean 'frozen'"):
        make_plan(network, table, head, parse("fc"), "frozn")


def test_the_rate_of_a_layer_is_that_of_its_term() -> None:
    spec = ModelSpec("resnet18")
    table, head = layer_table(spec, 2, 32), head_layers(spec)
    parsed = parse("conv@stem=1e-5,bn@stage3-4=1e-2,fc=1e-3").last
    lrs = {layer.name: parsed.lr(layer, head) for layer in table}
    assert lrs["conv1"] == 1e-5
    assert lrs["layer1.0.conv1"] is None
    assert lrs["bn1"] is lrs["layer2.1.bn2"] is None
    assert lrs["layer3.0.bn1"] == lrs["layer4.0.downsample.1"] == 1e-2
    assert lrs["fc"] == 1e-3
    assert sum(lr is not None for lr in lrs.values()) == 1 + 5 + 5 + 1


def test_fc_is_the_classifier_where_that_is_a_convolution() -> None:
    spec = ModelSpec("squeezenet1_1")
    table, head, network = layer_table(spec, 4, 32), head_layers(spec), build_skeleton(spec, 4)
    plan = make_plan(network, table, head, parse("fc"))
    assert set(plan.lrs) == {"classifier.1.weight", "classifier.1.bias"}
    assert {plan.kinds[key] for key in plan.lrs} == {"fc"}
    conv = make_plan(network, table, head, parse("conv"))
    assert "classifier.1.weight" not in conv.lrs
    assert len(conv.lrs) == 2 * 25
