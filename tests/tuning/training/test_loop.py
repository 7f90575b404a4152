"""The training loop, against plain arithmetic and PyTorch's own optimizers."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from tests.tuning.tiny import INPUTS, Log, images, make_loop, moved, net, planned, snapshot
from wdiv.errors import BadInput, UnknownName
from wdiv.tuning.data.inputs import InputSpec
from wdiv.tuning.training import loop as loops
from wdiv.tuning.training.loop import AUX_WEIGHT, Diverged, Loop
from wdiv.tuning.training.losses import LOSSES
from wdiv.tuning.training.recipe import OPTIMIZERS, Recipe
from wdiv.tuning.training.schedules import SCHEDULES, factor

STANDSTILL = 1e-30
"""A rate at which float32 weights stay where they are."""


# --- batches -------------------------------------------------------------------------------------------------------


def batches_of(images_: int, recipe: Recipe, statistics: bool = False) -> list[list[int]]:
    """What a loop of seed 5 takes from so many images in its epoch 2."""
    plan = SimpleNamespace(batch_stats=frozenset(["bn"] if statistics else []))
    stub = SimpleNamespace(seed=5, recipe=recipe, train_set=images(images_), plan=plan)
    return [batch.tolist() for batch in Loop.batches(stub, 2)]


@given(n=st.integers(2, 200), batch_size=st.integers(2, 64), statistics=st.booleans())
def test_batches_are_of_nearly_equal_size_and_never_of_one_image(n: int, batch_size: int, statistics: bool) -> None:
    batches = batches_of(n, Recipe(batch_size=batch_size), statistics)
    sizes = [len(batch) for batch in batches]
    order = np.random.default_rng([5, 2]).permutation(n)
    assert [image for batch in batches for image in batch] == order.tolist()
    assert max(sizes) - min(sizes) <= 1
    if statistics:
        assert min(sizes) >= 2
    assert max(sizes) <= batch_size or (statistics and max(sizes) == 3 and batch_size == 2)
    assert len(sizes) <= math.ceil(n / batch_size)


@given(n=st.integers(2, 60), batch_size=st.integers(2, 70), steps=st.integers(1, 40))
def test_so_many_steps_an_epoch_pass_through_all_images_evenly(n: int, batch_size: int, steps: int) -> None:
    batches = batches_of(n, Recipe(batch_size=batch_size, steps_per_epoch=steps), statistics=True)
    assert [len(batch) for batch in batches] == [min(batch_size, n)] * steps
    shown = np.bincount([image for batch in batches for image in batch], minlength=n)
    assert shown.max() - shown.min() <= 1, "none is shown again before all have been"


@pytest.mark.parametrize("count", [{"batch_size": 1}, {"train": images(1)}], ids=["batch", "image"])
def test_one_image_has_no_batch_statistics(count: dict) -> None:
    with pytest.raises(BadInput, match="at least 2 images; raise the batch size or freeze BN"):
        make_loop(net(), "bn+fc", **count)
    loop, log = make_loop(net(), "fc", epochs=1, **count)
    loop.run()
    assert log.rows[-1]["epoch"] == 1


# --- randomness ----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_gives_others() -> None:
    ends = []
    for seed, noise in ((3, 0), (3, 99), (4, 0)):
        torch.manual_seed(noise)  # what the generators held before is of no account
        np.random.seed(noise)  # noqa: NPY002 - the old generator is the one that leaks
        loop, log = make_loop(net(), seed=seed)
        loop.run()
        ends.append(log.states)
    assert all(not moved(a, b) for a, b in zip(ends[0], ends[1], strict=True))
    assert moved(ends[0][-1], ends[2][-1])


def test_what_an_epoch_draws_depends_on_seed_and_epoch_alone() -> None:
    """A loop that takes over after epoch 2 goes on exactly as the loop that trained it did."""
    loop, log = make_loop(net(), epochs=4, optimizer="adam")
    loop.run()
    other, rest = make_loop(net(seed=9), epochs=4, optimizer="adam")
    other.model.load_state_dict(log.states[2])
    other.optimizer.load_state_dict(log.optimizer[2])
    other.run(after=2)
    assert [row["epoch"] for row in rest.rows] == [3, 4]
    assert not moved(log.states[4], rest.states[-1])


def test_every_epoch_has_an_order_and_a_dropout_of_its_own() -> None:
    orders: dict[tuple[int, int], list[int]] = {}
    dropouts: list[int] = []
    for seed in (0, 1):
        loop, _ = make_loop(net(), "fc", seed=seed, epochs=3, train=images(12))
        feed, seen = loop.train_feed, []
        loop.train_feed = lambda rows, rng, real=feed, keep=seen: keep.extend(rows.tolist()) or real(rows, rng)
        loop.on_batch = lambda epoch, done, of: dropouts.append(torch.initial_seed())
        loop.run()
        orders |= {(seed, epoch): seen[12 * epoch : 12 * epoch + 12] for epoch in range(3)}
    assert all(sorted(order) == list(range(12)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 6
    assert len(set(dropouts)) == len(dropouts) == 18, "each step its own, so that a run goes on from any"


# --- BatchNorm modes -----------------------------------------------------------------------------------------------


def batchnorm_inputs(loop: Loop) -> list[torch.Tensor]:
    """What bn1 sees in the epoch that follows, batch by batch."""
    seen: list[torch.Tensor] = []
    loop.model.bn1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    return seen


def test_frozen_mode_uses_the_running_statistics_while_training() -> None:
    model = net(dropout=0.0)
    loop, _ = make_loop(model, "conv+bn+fc", "frozen")
    before = snapshot(model)
    pixels = INPUTS.prepare(loop.train_set.pixels)
    truth = model.eval()(pixels)
    assert torch.equal(model.train()(pixels), truth)
    loop.run()
    changed = moved(before, snapshot(model))
    assert changed == {name for name, _ in model.named_parameters()}


def test_batch_mode_updates_the_running_statistics_as_pytorch_does() -> None:
    model = net()
    mean, var = model.bn1.running_mean.double(), model.bn1.running_var.double()
    loop, _ = make_loop(model, "fc", "batch")
    seen = batchnorm_inputs(loop)
    loop.train_epoch(1)
    for x in seen:
        x = x.double().transpose(0, 1).flatten(1)
        mean, var = 0.9 * mean + 0.1 * x.mean(1), 0.9 * var + 0.1 * x.var(1)
    torch.testing.assert_close(model.bn1.running_mean.double(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.bn1.running_var.double(), var, rtol=1e-5, atol=1e-6)
    assert int(model.bn1.num_batches_tracked) == 7 + len(seen)


def test_adapt_mode_estimates_the_statistics_over_the_training_images() -> None:
    model = net(dropout=0.5)
    loop, log = make_loop(model, "conv+fc", "adapt", epochs=1, train=images(12))
    loop.run()
    for bn in (model.bn1, model.bn2):
        assert bn.momentum == 0.1
        assert int(bn.num_batches_tracked) == 3
    x = model.conv1(INPUTS.prepare(loop.train_set.pixels)).double()  # bn1 sees the images through conv1 alone
    torch.testing.assert_close(model.bn1.running_mean.double(), x.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    order = np.random.default_rng(loop.seed).permutation(12)
    variances = [x[part].transpose(0, 1).flatten(1).var(1) for part in np.array_split(order, 3)]
    torch.testing.assert_close(model.bn1.running_var.double(), sum(variances) / 3, rtol=1e-5, atol=1e-6)
    assert log.rows[-1]["test_accuracy"] == loop.evaluate(), "the row's accuracy is that of the adapted network"
    before = snapshot(model)
    loop.adapt()
    assert not moved(before, snapshot(model)), "nothing of what was there before goes in"


# --- optimizers ----------------------------------------------------------------------------------------------------

ORACLES = {
    "adam": lambda params, **how: torch.optim.Adam(params, lr=0.01, betas=(0.9, 0.999), eps=1e-8, **how),
    "adamw": lambda params, **how: torch.optim.AdamW(params, lr=0.01, betas=(0.9, 0.999), eps=1e-8, **how),
    "sgd": lambda params, **how: torch.optim.SGD(params, lr=0.01, momentum=0.9, **how),
    "rmsprop": lambda params, **how: torch.optim.RMSprop(params, lr=0.01, alpha=0.99, momentum=0.9, **how),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_each_optimizer_steps_as_pytorchs_own(name: str, decay: float) -> None:
    assert set(ORACLES) == set(OPTIMIZERS), "a new optimizer needs an oracle"
    assert OPTIMIZERS[name].source
    momentum = 0.9 if OPTIMIZERS[name].momentum else 0.0
    model, twin = net(dropout=0.0), net(dropout=0.0)
    loop, _ = make_loop(model, "conv=1e-2,fc=1e-2", "frozen", optimizer=name, weight_decay=decay, momentum=momentum)
    loop.train_epoch(1)

    weights = [twin.conv1.weight, twin.conv2.weight, twin.fc.weight]
    biases = [twin.conv1.bias, twin.conv2.bias, twin.fc.bias]
    groups = [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]
    plain = ORACLES[name](groups, foreach=False)
    twin.eval()
    for part in np.array_split(np.random.default_rng([0, 1]).permutation(11), 3):
        plain.zero_grad()
        data = loop.train_set
        cross_entropy(twin(INPUTS.prepare(data.pixels[part])), data.labels[part]).backward()
        plain.step()
    for (key, ours), theirs in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-6, msg=key)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("everything", [False, True])
def test_weight_decay_is_for_weights_alone_unless_asked(optimizer: str, everything: bool) -> None:
    ends = []
    for decay in (0.0, 0.5):
        loop, log = make_loop(
            net(), "conv=1e-1,bn=1e-1,fc=1e-1", optimizer=optimizer, weight_decay=decay, decay_all=everything,
            epochs=1, train=images(4),
        )  # fmt: skip  # a single step, so that nothing follows from another tensor's decay
        loop.run()
        ends.append(log.states[-1])
    parameters = {name for name, _ in net().named_parameters()}
    weights = {"conv1.weight", "conv2.weight", "fc.weight"}
    assert moved(*ends) == (parameters if everything else weights)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"epochs": 0}, "epochs: a whole number, at least 1, not 0"),
        ({"epochs": 1.0}, "epochs: a whole number"),
        ({"epochs": True}, "epochs: a whole number"),
        ({"batch_size": 0}, "batch size: a whole number, at least 1"),
        ({"weight_decay": -1}, "weight decay: a number from 0, not -1"),
        ({"weight_decay": math.nan}, "weight decay: a number"),
        ({"weight_decay": "much"}, "weight decay: a number"),
        ({"optimizer": "sgd", "momentum": 1.0}, "momentum: a number from 0 to 1, not 1.0"),
        ({"momentum": 0.9}, "momentum: adam takes none"),
        ({"decay_all": 1}, "decay all: true or false, not 1"),
        ({"steps_per_epoch": 0}, "steps per epoch: a whole number, at least 1, not 0"),
        ({"label_smoothing": 1}, "label smoothing: a number from 0 to 1, not 1"),
        ({"validation": -0.1}, "validation: a number from 0 to 1, not -0.1"),
        ({"mixup": math.inf}, "mixup: a number from 0, not inf"),
        ({"keep_prefix": None}, "keep prefix: true or false, not None"),
        ({"patience": 1}, "patience: needs a share of validation images"),
        ({"warmup": 31}, "warmup: at most the 30 epochs there are, not 31"),
        ({"warmup": 1, "schedule": "one-cycle"}, "warmup: schedule 'one-cycle' has its own"),
    ],
    ids=str,
)
def test_a_recipe_is_checked_when_it_is_made(fields: dict, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Recipe(**fields)


def test_an_unknown_optimizer_is_an_error_with_a_hint() -> None:
    with pytest.raises(UnknownName, match="unknown optimizer 'adm'; did you mean 'adam'"):
        Recipe(optimizer="adm")
    assert Recipe(weight_decay=1).to_json() == Recipe(weight_decay=1.0).to_json()


# --- what is reported ----------------------------------------------------------------------------------------------


def test_epoch_0_is_before_the_first_step() -> None:
    model = net()
    before = snapshot(model)
    loop, log = make_loop(model, epochs=2)
    loop.run()
    assert [row["epoch"] for row in log.rows] == [0, 1, 2]
    assert not moved(before, log.states[0])
    first, second, _ = log.rows
    assert (first["train_loss"], first["train_accuracy"], first["lr"]) == (None, None, {})
    assert second["lr"] == {"conv": 1e-4, "bn": 1e-4, "fc": 1e-4}
    assert all(row["seconds"] >= 0 for row in log.rows)


@pytest.mark.parametrize("chunk", [256, 4, 3])
def test_accuracy_is_the_share_of_right_answers_in_eval_mode(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(loops, "block_size", lambda device: chunk)
    data = images(50, seed=5)
    loop, _ = make_loop(net(dropout=0.9), "fc", test=data)
    loop.model.train()
    found = loop.evaluate()
    x = (data.pixels.numpy() / 255.0 - 0.5) / 0.25
    with torch.no_grad():
        answers = loop.model.eval()(torch.from_numpy(x).float()).numpy().argmax(1)
    right = sum(int(answer) == int(label) for answer, label in zip(answers, data.labels, strict=True))
    assert 0 < right < 50
    assert found == right / 50


@pytest.mark.parametrize("chunk", [256, 4])
def test_the_logits_of_an_epoch_are_those_that_its_accuracies_are_made_of(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """Of one pass over each part: nothing is shown to the network twice."""
    monkeypatch.setattr(loops, "block_size", lambda device: chunk)
    loop, log = make_loop(net(), epochs=2, test=images(9, seed=1))
    held = images(7, seed=2)
    feed = loop.validation_feed = loops.Pixels(loop.model, INPUTS, held, loop.recipe)
    shown: list[int] = []
    loop.model.get_submodule("fc").register_forward_hook(
        lambda module, x, y: None if loop.model.training else shown.append(len(y))
    )
    loop.run()
    assert sum(shown) == 3 * (9 + 7)
    for row, made, state in zip(log.rows, log.logits, log.states, strict=True):
        assert {part: (logits.dtype, logits.shape) for part, logits in made.items()} == {
            "test": (np.float32, (9, 3)), "validation": (np.float32, (7, 3)),
        }  # fmt: skip
        loop.model.load_state_dict(state)
        for part, data in (("test", loop.test_set), ("validation", held)):
            with torch.no_grad():
                wanted = loop.model.eval()(INPUTS.prepare(data.pixels)).numpy()
            np.testing.assert_allclose(made[part], wanted, rtol=1e-4, atol=1e-5)
        assert row["test_accuracy"] == (made["test"].argmax(1) == loop.test_set.labels.numpy()).mean()
        assert row["val_accuracy"] == (made["validation"].argmax(1) == feed.labels.numpy()).mean()
        loss = cross_entropy(torch.from_numpy(made["validation"]), held.labels)
        assert row["val_loss"] == pytest.approx(float(loss), rel=1e-6)


def test_training_loss_and_accuracy_are_means_over_the_images() -> None:
    model = net(dropout=0.0)
    loop, _ = make_loop(model, f"fc={STANDSTILL}", optimizer="sgd")  # batches of 4, 4 and 3
    loss, accuracy = loop.train_epoch(1)
    with torch.no_grad():
        outputs = model(INPUTS.prepare(loop.train_set.pixels)).double()
    assert loss == pytest.approx(float(cross_entropy(outputs, loop.train_set.labels)), rel=1e-6)
    assert accuracy == pytest.approx(float((outputs.argmax(1) == loop.train_set.labels).double().mean()))


def test_dropout_is_on_in_training_and_off_in_evaluation() -> None:
    losses = []
    for dropout in (0.0, 0.8):
        loop, _ = make_loop(net(dropout=dropout), f"fc={STANDSTILL}", optimizer="sgd")
        losses.append((loop.train_epoch(1)[0], loop.evaluate()))
    assert losses[0][0] != pytest.approx(losses[1][0], rel=1e-3)
    assert losses[0][1] == losses[1][1]


class TwoHeads(nn.Module):
    """Returns its answer and an auxiliary one while it trains, as Inception does."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc, self.aux = nn.Conv2d(3, 2, 8), nn.Linear(2, 3), nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        x = self.body(x).flatten(1)
        return (self.fc(x), self.aux(x)) if self.training else self.fc(x)


def test_the_loss_of_an_auxiliary_head_counts_two_fifths() -> None:
    assert AUX_WEIGHT == 0.4
    torch.manual_seed(0)
    model, data = TwoHeads(), images(4)
    _, plan = planned(model, f"fc={STANDSTILL}", head=frozenset(["fc", "aux"]))
    loop = Loop(model, plan, Recipe("sgd", 1, 4), INPUTS, data, data, seed=0, on_epoch=Log(model))
    loss, accuracy = loop.train_epoch(1)
    main, aux = model.train()(INPUTS.prepare(data.pixels))
    expected = cross_entropy(main, data.labels) + 0.4 * cross_entropy(aux, data.labels)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-6)
    assert accuracy == float((main.argmax(1) == data.labels).double().mean())


def test_a_loss_that_is_no_number_stops_the_run_before_the_epoch_is_reported() -> None:
    loop, log = make_loop(net(), "fc=1e38", optimizer="sgd", epochs=5)
    told = r"the loss is (nan|inf) in epoch \d; the largest gradient was that of fc\.(weight|bias), \S+; lower the rate"
    with pytest.raises(Diverged, match=told):
        loop.run()
    assert all(row["train_loss"] is None or math.isfinite(row["train_loss"]) for row in log.rows)
    assert len(log.rows) < 6


def test_every_batch_is_announced() -> None:
    seen = []
    loop, _ = make_loop(net(), "fc", epochs=2)
    loop.on_batch = lambda *event: seen.append(event)
    loop.run()
    assert seen == [(epoch, done, 3) for epoch in (1, 2) for done in (1, 2, 3)]


# --- rates ---------------------------------------------------------------------------------------------------------


class Rates:
    """Every group's rate and momentum as each step is taken."""

    def __init__(self, loop: Loop) -> None:
        self.steps: list[list[dict]] = []
        loop.optimizer.register_step_pre_hook(self)

    def __call__(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        self.steps.append([{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups])


@pytest.mark.parametrize("warmup", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_sets_the_rate_of_every_group_in_every_step(name: str, warmup: float) -> None:
    schedule = SCHEDULES[name]
    if schedule.warms_up and warmup:
        return
    base = {"conv1.weight": 1e-3, "bn1.weight": 1e-2, "fc.weight": 1e-1}
    loop, log = make_loop(net(), "conv=1e-3,bn=1e-2,fc=1e-1", epochs=3, schedule=name, warmup=warmup)
    rates = Rates(loop)
    loop.run()
    shares = [factor(schedule, step, 9, round(warmup * 3)) for step in range(9)]
    for share, groups in zip(shares, rates.steps, strict=True):
        found = {key: group["lr"] for group in groups for key in group["keys"]}
        assert {key: found[key] for key in base} == {key: rate * share for key, rate in base.items()}
    assert log.rows[-1]["lr"] == {"conv": 1e-3 * shares[-1], "bn": 1e-2 * shares[-1], "fc": 1e-1 * shares[-1]}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_cycle_turns_the_momentum_as_pytorchs_own_scheduler(optimizer: str) -> None:
    """The rate too, of an optimizer that the loop steps and of one that PyTorch's scheduler leads."""
    loop, _ = make_loop(net(), "fc=1e-1", epochs=4, schedule="one-cycle", optimizer=optimizer)
    rates = Rates(loop)
    loop.run()
    own = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}
    extra = {"momentum": 0.9} if OPTIMIZERS[optimizer].momentum else {}
    other = own[optimizer]([torch.zeros(1, requires_grad=True)], lr=0.1, **extra)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(other, max_lr=0.1, total_steps=12)
    for groups in rates.steps:
        (theirs,) = other.param_groups
        for ours in groups:
            assert ours["lr"] == pytest.approx(theirs["lr"], rel=1e-12)
            for name in ("betas", "momentum"):
                assert ours.get(name) == pytest.approx(theirs.get(name))
        other.step()
        if groups is not rates.steps[-1]:
            scheduler.step()


def test_without_a_cycle_the_momentum_is_the_recipes() -> None:
    loop, _ = make_loop(net(), "fc", optimizer="sgd", momentum=0.7, schedule="cosine")
    rates = Rates(loop)
    loop.run()
    assert {group["momentum"] for groups in rates.steps for group in groups} == {0.7}


# --- what the outputs are compared with ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_recipe_says_what_the_loss_is(kind: str, smoothing: float) -> None:
    model = net(dropout=0.0)
    loop, _ = make_loop(model, f"fc={STANDSTILL}", optimizer="sgd", loss=kind, label_smoothing=smoothing)
    with torch.no_grad():
        outputs = model.eval()(INPUTS.prepare(loop.train_set.pixels)).double()
    targets = (1 - smoothing) * nn.functional.one_hot(loop.train_set.labels, 3).double() + smoothing / 3
    if kind == "softmax":
        wanted = -(targets * outputs.log_softmax(1)).sum(1).mean()
    else:
        p = outputs.sigmoid()
        wanted = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    assert loop.train_epoch(1)[0] == pytest.approx(float(wanted), rel=1e-6)


def test_mixup_blends_the_images_and_their_labels() -> None:
    """By hand: one lambda and one permutation a batch, drawn from (seed, epoch, step)."""
    model = net(dropout=0.0)
    loop, _ = make_loop(model, f"fc={STANDSTILL}", optimizer="sgd", mixup=0.4)
    pixels, labels = INPUTS.prepare(loop.train_set.pixels), loop.train_set.labels
    total = 0.0
    for step, rows in enumerate(loop.batches(1)):
        rng = np.random.default_rng(np.random.SeedSequence([0, 1, step, 1]))
        lam, partner = rng.beta(0.4, 0.4), rng.permutation(len(rows))
        with torch.no_grad():
            outputs = model.eval()(lam * pixels[rows] + (1 - lam) * pixels[rows][partner])
        one, two = (float(cross_entropy(outputs, labels[which])) for which in (rows, rows[partner]))
        total += len(rows) * (lam * one + (1 - lam) * two)
    assert loop.train_epoch(1)[0] == pytest.approx(total / 11, rel=1e-5)


def test_only_training_images_are_augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else looks at images sees them as they are: the test, and the statistics of adapt."""
    model = net()
    loop, _ = make_loop(model, "bn+fc", "adapt", epochs=1, augment=("flip", "rotate=50"))
    looked: list[tuple[bool, torch.Tensor]] = []
    prepare = InputSpec.prepare
    monkeypatch.setattr(InputSpec, "prepare", lambda self, x: looked.append((in_step[0], x)) or prepare(self, x))
    in_step, real = [False], loop.train_feed

    def training(*given: object) -> object:
        in_step[0] = True
        found = real(*given)
        in_step[0] = False
        return found

    loop.train_feed = training
    loop.run()
    plain = {image.numpy().tobytes() for data in (loop.train_set, loop.test_set) for image in data.pixels}
    as_they_are = {step: [i.numpy().tobytes() in plain for s, x in looked if s == step for i in x] for step in (0, 1)}
    assert len(as_they_are[0]) == 9 + 11 + 9, "the test before, the statistics, the test after"
    assert all(as_they_are[0])
    assert len(as_they_are[1]) == 11
    assert not all(as_they_are[1])


def test_a_validation_loss_that_is_no_number_stops_the_run_too() -> None:
    """The last step of an epoch can be the one that breaks the weights."""
    loop, log = make_loop(net(), "conv=1e30,fc=1e30", optimizer="sgd", epochs=5, batch_size=11)
    loop.validation_feed = loop.test_feed
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) in epoch 1; the largest gradient was that of "):
        loop.run()
    assert [row["epoch"] for row in log.rows] == [0]


@pytest.mark.parametrize("recipe", [{"batch_size": 16}, {"steps_per_epoch": 1}])
def test_one_cycle_is_refused_where_its_only_step_would_be_its_last(recipe: dict) -> None:
    """At 4e-6 of the rate nothing is learned."""
    with pytest.raises(BadInput, match=r"^schedule 'one-cycle': needs 2 steps .* or stage has 1; train"):
        make_loop(net(), schedule="one-cycle", epochs=1, **recipe)
    make_loop(net(), schedule="one-cycle", epochs=2, **recipe)
    make_loop(net(), schedule="cosine", epochs=1, **recipe)
