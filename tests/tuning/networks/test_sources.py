"""Where starting weights come from, and what is said when they are not what they seem."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.tuning.tiny import MOBILENET, lived_in, tiny_run, write_weights
from wdiv.errors import BadInput, BadWeights, UnknownName
from wdiv.tuning.data.images import Split
from wdiv.tuning.data.inputs import IMAGENET
from wdiv.tuning.networks.models import ModelSpec, build, build_skeleton, head_keys
from wdiv.tuning.networks.sources import Source, check_fits, load_into, names_model, resolve
from wdiv.tuning.training.run import fine_tune

TINY = ModelSpec.parse(MOBILENET)
CARD = """
file = "made.pth"
sha256 = "{sha256}"
model = "mobilenet_v2"
model_args = {{ width_mult = 0.1 }}
bn_eps = 1e-3
trained_on = "nothing"
classes = 10

[input]
size = 96
channels = "BGR"
range = [0.0, 255.0]
mean = [103.939, 116.779, 123.68]
std = [1.0, 1.0, 1.0]
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made weights of a network that a line of text can name."""
    return write_weights(tmp_path_factory.mktemp("weights") / "made.pth")


@pytest.fixture
def card(weights: Path, tmp_path: Path) -> Path:
    """A source card beside its file, called ``tiny.toml``."""
    content = weights.read_bytes()
    (tmp_path / "made.pth").write_bytes(content)
    (tmp_path / "tiny.toml").write_text(CARD.format(sha256=hashlib.sha256(content).hexdigest()))
    return tmp_path / "tiny.toml"


# --- cards ---------------------------------------------------------------------------------------------------------


def test_a_card_says_what_its_file_does_not(card: Path) -> None:
    source = resolve(str(card))
    assert names_model(str(card))
    assert source.model == ModelSpec("mobilenet_v2", {"width_mult": 0.1}, 1e-3)
    assert (source.name, source.label) == ("tiny", "tiny")
    assert (source.input.size, source.input.channels, source.input.mean) == (96, "BGR", (103.939, 116.779, 123.68))
    assert source.read().keys() == build(TINY, 10).state_dict().keys()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("bn_eps", "bn_epsilon", "unknown key 'bn_epsilon'; did you mean 'bn_eps'"),
        ('file = "made.pth"', "", "a source card needs 'file'"),
        ('model = "mobilenet_v2"', "", "a source card needs 'model'"),
        ("[input]", "[inputs]", "unknown key 'inputs'; did you mean 'input'"),
        ("made.pth", "gone.pth", "its file 'gone.pth' is not beside it"),
        ('file = "made.pth"', "file = 5", "file is to be a string, not 5"),
        ('model = "mobilenet_v2"', 'model = ["mobilenet_v2"]', "model is to be a string"),
        ("{ width_mult = 0.1 }", "3", "model_args is to be a table, not 3"),
        ("1e-3", '"small"', "bn_eps is to be a number with a decimal point, not 'small'"),
        ("[input]", "[input", "not a TOML file"),
        ("size = 96", "size = 4", "image size: a whole number of pixels, at least 8, not 4"),
        ("size = 96", "sise = 96", "[input] got an unexpected keyword argument 'sise'"),
        ('"BGR"', '"GBR"', "input channels: 'RGB' or 'BGR', not 'GBR'"),
    ],
)
def test_a_card_that_is_wrong_is_an_error_that_says_where(card: Path, old: str, new: str, words: str) -> None:
    text = card.read_text()
    assert old in text
    card.write_text(text.replace(old, new))
    with pytest.raises((BadWeights, BadInput)) as caught:
        resolve(str(card))
    assert words in str(caught.value)


def test_a_file_with_another_digest_than_its_card_says_is_refused(card: Path) -> None:
    (card.parent / "made.pth").write_bytes(b"other" + (card.parent / "made.pth").read_bytes())
    found = hashlib.sha256((card.parent / "made.pth").read_bytes()).hexdigest()
    with pytest.raises(BadWeights, match=rf"made\.pth: its SHA-256 is {found}, not \w{{64}} as tiny says"):
        resolve(str(card)).read()


def test_a_card_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="no such source card"):
        resolve(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(("name", "convs", "bns"), [("mobilenet_v2_w035", 52, 52), ("squeezenet1_1", 25, 0)])
def test_the_real_cards_load(shared: Path, name: str, convs: int, bns: int) -> None:
    source = resolve(str(shared / "weights" / f"{name}.toml"))
    assert source.model is not None
    model = build(source.model, 6)
    head = {key: model.state_dict()[key].clone() for key in head_keys(source.model)}
    loaded = load_into(model, source.read(), source.model, source.name)
    assert sum(value.dim() == 4 for value in loaded.values()) == convs
    assert sum(key.endswith("running_var") for key in loaded) == bns
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in loaded.items())
    assert all(torch.equal(state[key], value) for key, value in head.items()), "the head stays as it was drawn"
    assert set(state) - set(loaded) - set(head) <= {key for key in state if key.endswith("num_batches_tracked")}
    eps = {module.eps for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert eps == ({1e-3} if bns else set())


def test_the_real_squeezenet_gets_bgr_from_0_to_255(shared: Path) -> None:
    inputs = resolve(str(shared / "weights" / "squeezenet1_1.toml")).input
    rgb = np.random.default_rng(0).integers(0, 256, (2, 3, 17, 17), dtype=np.uint8)
    expected = rgb[:, [2, 1, 0]].astype(float) - np.reshape([103.939, 116.779, 123.68], (1, 3, 1, 1))
    np.testing.assert_allclose(inputs.prepare(torch.from_numpy(rgb)).numpy(), expected, atol=1e-3)


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".pth", ".pt", ".tar", ".safetensors"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_local_file_is_read_whatever_is_around_its_tensors(
    ending: str, wrapped: bool, weights: Path, tmp_path: Path
) -> None:
    state = torch.load(weights)
    file = tmp_path / f"file{ending}"
    prefixed = {f"module.{key}": value for key, value in state.items()} if wrapped else state
    if ending == ".safetensors":
        save_file(prefixed, file)
    else:
        torch.save({"epoch": 3, "state_dict": prefixed} if wrapped else prefixed, file)
    source = resolve(str(file), TINY)
    assert (source.name, source.input, source.model, source.label) == (file.name, IMAGENET, None, None)
    assert not names_model(str(file))
    found = source.read()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize("name", ["gone.pth", "no/such/file.safetensors", "some/folder"])
def test_a_file_that_is_not_there_is_an_error(name: str) -> None:
    with pytest.raises(BadWeights, match=f"{name}: no such file"):
        resolve(name, TINY)


def test_weights_of_another_architecture_are_refused_by_naming_the_first_tensors(weights: Path) -> None:
    state, spec = torch.load(weights), ModelSpec("resnet18")
    with pytest.raises(BadWeights) as caught:
        load_into(build(spec, 5), state, spec, "made.pth")
    message = str(caught.value)
    assert message.startswith("made.pth: not weights for resnet18: ")
    assert "100 tensors missing (conv1.weight)" in message
    assert f"{len(state)} tensors that it does not have (features.0.0.weight)" in message


def test_complex_weights_start_no_network() -> None:
    spec = ModelSpec("squeezenet1_1")
    network = build_skeleton(spec, 3)
    state = network.state_dict()
    for key in ("features.0.weight", "classifier.1.bias"):
        with pytest.raises(BadWeights, match=rf"1 tensors of complex numbers, which it cannot hold \({key}\)"):
            check_fits(network, state | {key: state[key] + 0j}, spec, "x.pth")


def test_weights_of_another_width_are_refused_and_nothing_is_loaded(weights: Path) -> None:
    wide = ModelSpec.parse("mobilenet_v2:width_mult=0.35")
    model = build(wide, 5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(BadWeights, match=r"tensors of another shape \(features\.0\.0\.weight"):
        load_into(model, torch.load(weights), wide, "made.pth")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("drop", "add", "words"),
    [
        ("features.0.0.weight", None, "1 tensors missing (features.0.0.weight)"),
        (None, "features.99.weight", "1 tensors that it does not have (features.99.weight)"),
        ("num_batches_tracked", None, None),
        ("classifier.1", None, None),
    ],
)
def test_what_may_be_missing_and_what_may_not(
    drop: str | None, add: str | None, words: str | None, weights: Path
) -> None:
    state = {key: value for key, value in torch.load(weights).items() if drop is None or drop not in key}
    if add:
        state[add] = torch.zeros(1)
    if words is None:
        assert load_into(build(TINY, 5), state, TINY, "made.pth").keys() == state.keys()
    else:
        with pytest.raises(BadWeights) as caught:
            check_fits(build(TINY, 5), state, TINY, "made.pth")
        assert words in str(caught.value)


def test_inception_may_come_without_its_auxiliary_head_or_with_one_too_many() -> None:
    full, bare = ModelSpec("inception_v3"), ModelSpec.parse("inception_v3:aux_logits=False")
    with_aux, without = build(full, 5).state_dict(), build(bare, 5).state_dict()
    assert load_into(build(full, 3, seed=1), without, full, "x").keys() == without.keys()
    assert load_into(build(bare, 3, seed=1), with_aux, bare, "x").keys() == without.keys()


# --- runs of wdiv --------------------------------------------------------------------------------------------------


def test_an_epoch_of_a_run_is_a_source(weights: Path, digits: Split, tmp_path: Path) -> None:
    spec = tiny_run(weights, "conv+bn+fc", per_class=8, epochs=3)
    run = fine_tune(spec, digits, tmp_path, device="cpu")
    accuracies = [row["test_accuracy"] for row in run.history()]
    best = accuracies.index(max(accuracies))
    for text, epoch in ((f"{run.path}", 3), (f"{run.path}@1", 1), (f"{run.path}@last", 3), (f"{run.path}@best", best)):
        source = resolve(text)
        assert names_model(text)
        assert source.name == f"{run.path.name}@{epoch}"
        assert (source.model, source.input) == (TINY, spec.inputs)
        state, expected = source.read(), run.state_dict(epoch)
        assert all(np.array_equal(state[key].numpy(), expected[key]) for key in expected)
    with pytest.raises(BadInput, match="epoch 4 is not saved; saved: 0 to 3"):
        resolve(f"{run.path}@4")
    with pytest.raises(BadInput, match="epoch 'first': give a number, 'last' or 'best'"):
        resolve(f"{run.path}@first")


# --- torchvision ---------------------------------------------------------------------------------------------------

SQUEEZENET = "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth"


def test_without_a_network_the_message_says_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(url: str, *_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    source = resolve("IMAGENET1K_V1", ModelSpec("squeezenet1_1"))
    assert not source.here
    with pytest.raises(BadWeights) as caught:
        source.read()
    message, file = str(caught.value), tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    assert "no route to host" in message
    assert f"fetch {SQUEEZENET} elsewhere and put it at {file}" in message

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a file that is here is not fetched again")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    write_weights(file, "squeezenet1_1")
    assert source.here
    assert "classifier.1.weight" in source.read()


def test_a_download_is_checked_against_the_digest_in_its_name(tmp_path: Path) -> None:
    content = write_weights(tmp_path / "made.pth").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    for prefix, right in ((digest[:8], True), ("0" * 8, False)):
        origin, file = tmp_path / f"made-{prefix}.pth", tmp_path / "hub" / f"made-{prefix}.pth"
        origin.write_bytes(content)
        source = Source("MADE", IMAGENET, TINY, file, download=SimpleNamespace(url=origin.as_uri()))
        if right:
            source.fetch()
            assert file.read_bytes() == content
        else:
            with pytest.raises(BadWeights, match="invalid hash value"):
                source.fetch()
            assert not file.exists()


@pytest.mark.parametrize(
    ("model", "size", "mean"),
    [
        ("resnet18", 224, (0.485, 0.456, 0.406)),
        ("inception_v3", 299, (0.5, 0.5, 0.5)),
        ("googlenet", 224, (0.5, 0.5, 0.5)),
        ("efficientnet_b1", 240, (0.485, 0.456, 0.406)),
    ],
)
def test_torchvisions_weights_come_with_the_input_they_were_trained_on(
    model: str, size: int, mean: tuple[float, ...]
) -> None:
    source = resolve("IMAGENET1K_V1", ModelSpec(model))
    assert (source.input.size, source.input.mean) == (size, mean)
    assert source.model == ModelSpec(model)


def test_inceptions_input_is_what_torchvision_makes_of_its_own(tmp_path: Path) -> None:
    """torchvision's pretrained Inception turns ImageNet's normalisation into another one inside; ours does not."""
    from torchvision.models import inception_v3

    spec = ModelSpec("inception_v3")
    theirs = lived_in(inception_v3(init_weights=False, transform_input=True)).eval()
    ours = build(spec, 1000)
    ours.load_state_dict(theirs.state_dict())
    pixels = torch.randint(0, 256, (1, 3, 299, 299), dtype=torch.uint8)
    with torch.inference_mode():
        expected = theirs(IMAGENET.at(299).prepare(pixels))
        found = ours.eval()(resolve("IMAGENET1K_V1", spec).input.prepare(pixels))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "model", "error", "words"),
    [
        (
            "IMAGENET1K_V3",
            "resnet18",
            BadInput,
            "unknown weights 'IMAGENET1K_V3' for resnet18, and no such file; did you",
        ),
        ("imagenet", "resnet50", BadInput, "known: DEFAULT, IMAGENET1K_V1, IMAGENET1K_V2, pretrained, random"),
        ("IMAGENET1K_V1", "resnet19", UnknownName, "unknown model 'resnet19'; did you mean 'resnet18'"),
        ("IMAGENET1K_V1", None, BadInput, "weights 'IMAGENET1K_V1': name the model they are for"),
    ],
)
def test_a_name_that_torchvision_does_not_know(text: str, model: str | None, error: type, words: str) -> None:
    with pytest.raises(error) as caught:
        resolve(text, None if model is None else ModelSpec(model))
    assert words in str(caught.value)


def test_random_is_no_source() -> None:
    source = resolve("random", TINY)
    assert source.random
    assert not source.here


def test_an_imported_run_does_not_say_what_its_network_reads(tmp_path: Path) -> None:
    from wdiv.store.imports import import_run

    (tmp_path / "theirs").mkdir()
    for epoch in (1, 2):
        save_file({"fc.weight": torch.ones(2, 3)}, tmp_path / "theirs" / f"{epoch}.safetensors")
    run = import_run(tmp_path / "theirs", out=tmp_path / "store")
    with pytest.raises(BadInput, match="an imported run does not say what its network reads; give its epoch's file"):
        resolve(f"{run.path}@1")
