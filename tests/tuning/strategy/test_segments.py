"""When each phase trains: every epoch in exactly one stretch, and stages that open in order and never close."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdiv.errors import BadInput
from wdiv.tuning.networks.models import ModelSpec, head_layers, layer_table
from wdiv.tuning.strategy.segments import phase_lengths, segments
from wdiv.tuning.strategy.spelling import parse

RESNET = ModelSpec("resnet18")
TABLE, HEAD = layer_table(RESNET, 3, 32), head_layers(RESNET)
FROM_THE_END = ["head", "stage4", "stage3", "stage2", "stage1", "stem"]
LENGTHS = st.integers(1, 9).map(str) | st.sampled_from(["0.01", "0.1", "0.3", "0.25"])
WORDS = st.sampled_from(["fc", "bn+fc", "conv@stage2-4+fc", "all", "all+gradual", "conv+bn+gradual", "fc+gradual"])


@given(phases=st.lists(st.tuples(WORDS, st.none() | LENGTHS), max_size=3), last=WORDS, epochs=st.integers(1, 40))
def test_every_epoch_stands_in_one_stretch(phases: list[tuple[str, str | None]], last: str, epochs: int) -> None:
    text = " then ".join([*(w if n is None else f"{w} for {n}" for w, n in phases), last])
    strategy = parse(text)
    asked = [max(1, round(float(n) * epochs)) if float(n) < 1 else int(n) for _, n in phases if n is not None]
    if sum(asked) + 1 + sum(n is None for _, n in phases) > epochs:
        with pytest.raises(BadInput, match=f"{epochs} epochs are too few for its {len(phases) + 1} phases"):
            segments(strategy, TABLE, HEAD, epochs)
        return
    found = segments(strategy, TABLE, HEAD, epochs)
    assert [epoch for segment in found for epoch in range(segment.first, segment.last + 1)] == [*range(1, epochs + 1)]
    order = [strategy.phases.index(segment.phase) for segment in found]
    if len(set(strategy.phases)) == len(strategy.phases):
        assert order == sorted(order)
        assert set(order) == set(range(len(strategy.phases))), "no phase is left out"
    for phase, length in zip(strategy.phases, phase_lengths(strategy, epochs), strict=True):
        if phase.length is not None:
            assert length == (int(phase.length) if phase.length >= 1 else max(1, round(phase.length * epochs)))


@given(epochs=st.integers(1, 40), before=st.integers(0, 5))
def test_stages_open_from_the_last_to_the_first_and_never_close(epochs: int, before: int) -> None:
    text = f"fc for {before} then all+gradual" if before else "gradual"
    found = [s for s in segments(parse(text), TABLE, HEAD, epochs + before) if s.phase.has("gradual")]
    opened = [FROM_THE_END if s.stages is None else [stage for stage in FROM_THE_END if s.opens(stage)] for s in found]
    assert [FROM_THE_END[: len(stages)] for stages in opened] == opened, "in order, without a gap"
    assert [len(stages) for stages in opened] == sorted({len(stages) for stages in opened}), "more each time"
    assert opened[-1] == FROM_THE_END, "and in the end everything"
    lasting = [s.last - s.first + 1 for s in found]
    if epochs >= 6:
        assert len(found) == 6
        assert max(lasting) - min(lasting) <= 1
    else:
        assert lasting == [1] * epochs, "several stages at once where there are fewer epochs than stages"


@pytest.mark.parametrize(
    ("text", "epochs", "opened"),
    [
        ("gradual", 6, [["head"], ["stage4"], ["stage3"], ["stage2"], ["stage1"], ["stem"]]),
        ("gradual", 3, [["head", "stage4"], ["stage3", "stage2"], ["stage1", "stem"]]),
        ("conv@stage2-4+gradual", 3, [["stage4"], ["stage3"], ["stage2"]]),
        ("conv@stage1+conv@stage4+fc+gradual", 3, [["head"], ["stage4"], ["stage1"]]),
        ("fc+gradual", 5, [["head"]]),
    ],
)
def test_only_stages_that_train_take_their_turn(text: str, epochs: int, opened: list[list[str]]) -> None:
    found = segments(parse(text), TABLE, HEAD, epochs)
    have: set[str] = set()
    for segment, new in zip(found, opened, strict=True):
        have |= set(new)
        assert segment.stages == (have if segment is not found[-1] else None)


def test_what_is_beside_and_auxiliary_opens_with_the_head() -> None:
    spec = ModelSpec("inception_v3", {"beside": True})
    first = segments(parse("all+gradual"), layer_table(spec, 3, 299), head_layers(spec), 5)[0]
    assert first.stages == {"head", "aux", "beside"}


@pytest.mark.parametrize(
    ("text", "epochs", "wanted"),
    [
        ("lp-ft", 30, (15, 15)),
        ("lp-ft", 3, (2, 1)),
        ("fc for 1 then all", 2, (1, 1)),
        ("fc for 0.01 then all", 10, (1, 9)),
        ("fc then bn+fc then all", 11, (4, 4, 3)),
        ("fc for 4 then bn+fc then all for 0.5", 20, (4, 6, 10)),
    ],
)
def test_lengths_add_up(text: str, epochs: int, wanted: tuple[int, ...]) -> None:
    assert phase_lengths(parse(text), epochs) == wanted


@pytest.mark.parametrize(("text", "epochs"), [("lp-ft", 1), ("fc for 5 then all", 5), ("fc then fc then all", 2)])
def test_too_few_epochs_are_an_error(text: str, epochs: int) -> None:
    with pytest.raises(BadInput, match=rf"{epochs} epochs are too few for its \d phases"):
        phase_lengths(parse(text), epochs)
