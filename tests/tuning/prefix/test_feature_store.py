"""The cache of what the frozen prefix makes of images: each block once, the same bits whoever asks and when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.forked import forking
from wdiv.tuning.data.inputs import InputSpec
from wdiv.tuning.prefix.feature_store import BLOCK, FeatureStore, NoRoom, feature_key
from wdiv.tuning.prefix.frozen_prefix import cut

IMAGES = 4 * BLOCK + 3  # the last block is short
SIZE = 8


class SomePrefix:
    """Two boundary tensors, one of them channels last; counts what it is called with."""

    def __init__(self, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(3, 6, 3)
        self.blocks: list[int] = []

    def __call__(self, block: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.blocks.append(len(block))
        maps = self.conv((block.float() / 255).contiguous(memory_format=torch.channels_last))
        return maps.contiguous(memory_format=torch.channels_last), maps.mean((2, 3))


def pixels(count: int = IMAGES) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def every(count: int = IMAGES) -> np.ndarray:
    return np.arange(count)


BYTES = IMAGES * (6 * 6 * 6 + 6) * 4


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path, limit=BYTES if request.param == "memory" else 0)


def test_rows_are_what_the_stem_gives_in_its_own_layout(store: FeatureStore) -> None:
    prefix = SomePrefix()
    rows = torch.tensor([IMAGES - 1, 3, 3, BLOCK])
    maps, means = store.features("key", pixels(), rows.numpy(), prefix)[rows]
    with torch.no_grad():
        for row, one, mean in zip(rows.tolist(), maps, means, strict=True):
            start = row // BLOCK * BLOCK
            expected = prefix(pixels()[start : start + BLOCK])
            assert torch.equal(one, expected[0][row - start])
            assert torch.equal(mean, expected[1][row - start])
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert not maps.is_inference()
    weight = torch.ones(6, requires_grad=True)
    (means * weight).sum().backward()  # what is cached may be saved for a backward pass


def test_only_whole_blocks_with_wanted_rows_are_computed(store: FeatureStore) -> None:
    prefix = SomePrefix()
    store.features("key", pixels(), np.array([BLOCK, IMAGES - 1]), prefix)
    first_look = [] if store.limit else [BLOCK]  # at the layout: a file may hold the block already
    assert prefix.blocks == [*first_look, BLOCK, 3]


def test_each_block_is_computed_once_and_shared(store: FeatureStore) -> None:
    prefix = SomePrefix()
    store.features("key", pixels(), np.array([0]), prefix)
    store.features("key", pixels(), every(), prefix)
    layout = prefix.blocks.copy()
    store.features("key", pixels(), every(), prefix)
    again = prefix.blocks[len(layout) :]
    assert len(again) == (0 if store.limit else 1), "a file's layout is looked at, and no block computed"
    assert sum(layout) <= IMAGES + 2 * BLOCK


def test_the_bits_do_not_depend_on_who_asked_before(tmp_path: Path) -> None:
    rows = torch.arange(IMAGES)
    orders = ([every()], [every()[::-1].copy()], [np.array([40]), np.array([3, 20]), every()])
    found = []
    for limit in (BYTES, 0):
        for number, order in enumerate(orders):
            store, prefix = FeatureStore(tmp_path / f"{limit}-{number}", limit=limit), SomePrefix()
            for wanted in order:
                kept = store.features("key", pixels(), wanted, prefix)
            found.append([tensor.numpy().tobytes() for tensor in kept[rows]])
    assert all(each == found[0] for each in found)


def test_the_least_recently_used_leave_memory_first() -> None:
    store, prefix = FeatureStore(limit=2 * BYTES), SomePrefix()

    def computed(key: str) -> bool:
        before = len(prefix.blocks)
        store.features(key, pixels(), every(), prefix)
        return len(prefix.blocks) > before

    assert [computed(key) for key in "ab"] == [True, True]
    assert [computed(key) for key in "ac"] == [False, True], "b has left"
    assert [computed(key) for key in "acb"] == [False, False, True]
    assert [computed(key) for key in "ca"] == [False, True]


def test_what_does_not_fit_needs_a_folder() -> None:
    with pytest.raises(NoRoom, match=r"^the features of 67 images take .* GB, more than there is memory for; name a"):
        FeatureStore(limit=BYTES - 1).features("key", pixels(), every(), SomePrefix())


def test_without_a_limit_there_is_room_for_little_things() -> None:
    assert len(FeatureStore().features("key", pixels(), every(), SomePrefix())[torch.arange(2)]) == 2


# --- files


def computed_by_another(folder: Path, seed: int = 0) -> tuple[list[int], list[bytes]]:
    """The blocks that a store of its own computes beyond its look at the layout, and the features' bytes."""
    prefix = SomePrefix(seed)
    kept = FeatureStore(folder, limit=0).features("key", pixels(), every(), prefix)
    return prefix.blocks[1:], [tensor.numpy().tobytes() for tensor in kept[torch.arange(IMAGES)]]


ALL = [BLOCK] * 4 + [3]


def test_a_file_is_read_by_the_next_process(tmp_path: Path) -> None:
    first, bytes_ = computed_by_another(tmp_path)
    assert first == ALL
    assert computed_by_another(tmp_path) == ([], bytes_)
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.suffix != ".lock") == [".features", ".json"]


def test_bfloat16_goes_through_a_file(tmp_path: Path) -> None:
    def prefix(block: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (block.float().mean((2, 3)).bfloat16(),)

    (found,) = FeatureStore(tmp_path, limit=0).features("key", pixels(), every(), prefix)[torch.tensor([5])]
    assert torch.equal(found, prefix(pixels()[5:6])[0])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, note: data.write_bytes(data.read_bytes()[:-64]),
        lambda data, note: data.unlink(),
        lambda data, note: note.unlink(),
        lambda data, note: note.write_text("{"),
        lambda data, note: note.write_text("[]"),
        lambda data, note: note.write_text(note.read_text().replace('"key": "key"', '"key": "other"')),
        lambda data, note: note.write_text(note.read_text().replace("float32", "float64")),
    ],
    ids=["cut short", "gone", "no note", "half a note", "another note", "foreign", "another layout"],
)
def test_what_is_not_this_file_is_computed_anew(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    _, bytes_ = computed_by_another(tmp_path)
    damage(tmp_path / "key.features", tmp_path / "key.json")
    assert computed_by_another(tmp_path) == (ALL, bytes_)
    assert computed_by_another(tmp_path) == ([], bytes_)


def test_a_spoilt_block_is_computed_anew_alone(tmp_path: Path) -> None:
    _, bytes_ = computed_by_another(tmp_path)
    with (tmp_path / "key.features").open("r+b") as file:
        file.seek(BLOCK * 6 * 6 * 6 * 4 + 100)  # in the first tensor's second block
        file.write(b"\xff")
    assert computed_by_another(tmp_path) == ([BLOCK], bytes_)


def test_what_is_done_at_an_interrupt_is_kept(tmp_path: Path) -> None:
    class Tired(SomePrefix):
        def __call__(self, block: torch.Tensor) -> tuple[torch.Tensor, ...]:
            if len(self.blocks) == 3:
                raise KeyboardInterrupt
            return super().__call__(block)

    with pytest.raises(KeyboardInterrupt):
        FeatureStore(tmp_path, limit=0).features("key", pixels(), every(), Tired())
    assert computed_by_another(tmp_path)[0] == ALL[2:]


def test_a_folder_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoRoom, match=r"key\.features: "):
        FeatureStore(tmp_path / "file" / "in", limit=0).features("key", pixels(), every(), SomePrefix())


def _work(folder: Path, results) -> None:  # type: ignore[no-untyped-def]
    torch.set_num_threads(1)
    results.put(computed_by_another(folder))


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    context = forking()
    results = context.Queue()
    workers = [context.Process(target=_work, args=(tmp_path, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(blocks for blocks, _ in found) == [[], ALL]
    assert found[0][1] == found[1][1]


# --- the key


def test_the_key_follows_all_that_the_bits_follow_from() -> None:
    def network(stride: int = 1, shift: float = 0.0) -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Conv2d(3, 4, 3, stride), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        model[0].bias.data += shift
        return model

    def key(model: nn.Sequential, size: int = 8, data: str = "d", device: str = "cpu", precision: str = "fp32") -> str:
        parts = cut(model, {"3.weight", "3.bias"}, size, training=True)
        return feature_key(parts, model, InputSpec(size), data, device, precision)

    trained = network()
    trained[3].weight.data += 1
    assert key(network()) == key(trained)
    others = (
        key(network()), key(network(stride=2)), key(network(shift=1.0)), key(network(), size=9),
        key(network(), data="e"), key(network(), precision="bf16"),
    )  # fmt: skip
    assert len(set(others)) == len(others)
