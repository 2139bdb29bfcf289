"""The loop: which examples in which order, at which rate, and what is measured along the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn
from toy_data import toy

from surveylab import lab
from surveylab.lab.tasks import landscape

STREAMS = lab.make_streams(0, 3, 1)


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double()


def small(**sizes: int) -> tuple[lab.Population, lab.Split]:
    split = toy().split(STREAMS, **({"train": 20, "validation": 5, "test": 10} | sizes))
    return lab.Population(linear, STREAMS), split


# --------------------------------------------------------------------------------------------- batches


def test_every_epoch_is_a_shuffle_of_all() -> None:
    order = lab.batch_order(STREAMS, 20, 50)
    assert order.shape == (3, 50)
    for row in order:
        first, second, rest = row.split([20, 20, 10])
        assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(20))
        assert first.tolist() != second.tolist() != list(range(20))
        assert len(rest.unique()) == 10
    assert len({tuple(row.tolist()) for row in order}) == 3


def test_order_depends_on_the_stream_alone() -> None:
    long = lab.batch_order(STREAMS, 20, 70)
    assert torch.equal(lab.batch_order(STREAMS, 20, 33), long[:, :33])
    assert torch.equal(lab.batch_order(STREAMS[1:2], 20, 70), long[1:2])


@pytest.mark.parametrize("batch", [2, 4, 8])
def test_batches_of_any_size_walk_the_same_examples(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    population, split = small()
    seen: list[Tensor] = []
    get = lab.Split.get

    def noted(self: lab.Split, index: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(index)
        return get(self, index)

    monkeypatch.setattr(lab.Split, "get", noted)
    lab.train(population, split, steps=48 // batch, batch=batch, rates=0.1)
    assert [index.shape for index in seen] == [(3, batch)] * (48 // batch)
    expected = split.train.gather(1, lab.batch_order(STREAMS, 20, 48))
    assert torch.equal(torch.cat(seen, dim=1), expected)


# ------------------------------------------------------------------------------------------ optimisers

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": torch.optim.SGD,
    "momentum, decay": partial(torch.optim.SGD, momentum=0.9, weight_decay=0.01),
    "Nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "Adam": torch.optim.Adam,
    "AMSGrad": partial(torch.optim.Adam, amsgrad=True, weight_decay=0.1),
    "AdamW": partial(torch.optim.AdamW, weight_decay=0.1),
    "RMSprop": partial(torch.optim.RMSprop, momentum=0.5, eps=1e-4),
    "Adagrad": partial(torch.optim.Adagrad, lr_decay=0.01),
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "ours by default": lab.sgd,
}
RATES = [0.01, 0.002, 0.005]


def by_torch(
    stream: lab.Stream, make: Callable[..., torch.optim.Optimizer], rate: float, clip: float | None
) -> nn.Module:
    """One replica as anyone would train it with torch: its own optimiser, LambdaLR and clipping."""
    model = lab.Population(linear, [stream]).replica(0).train()
    split = toy().split([stream], train=20, test=10)
    optimiser = make(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda t: min(1, (t + 1) / 4) * (1 + math.cos(math.pi * t / 40)) / 2
    )
    for index in split.train[0][lab.batch_order([stream], 20, 160)[0]].split(4):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(split.data.x[index]), split.data.y[index]).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        schedule.step()
    return model


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("rates", [RATES, [0.01] * 3], ids=["own rates", "one rate"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_as_a_plain_loop_with_the_same_optimiser_and_schedule(
    name: str, rates: list[float], clip: float | None
) -> None:
    population, split = small()
    start = {key: value.detach().clone() for key, value in population.state.items()}
    lab.train(
        population,
        split,
        steps=40,
        batch=4,
        rates=torch.tensor(rates, dtype=torch.float64),
        optimizer=OPTIMIZERS[name],
        schedule=lab.schedules.cosine(warmup=0.1),
        clip=clip,
    )
    for r, stream in enumerate(STREAMS):
        for key, expected in by_torch(stream, OPTIMIZERS[name], rates[r], clip).named_parameters():
            torch.testing.assert_close(population.state[key][r], expected, rtol=0, atol=1e-12)
            assert (start[key][r] - expected).abs().max() > 1e-4


def test_a_single_replica_is_torchs_loop() -> None:
    alone = lab.Population(linear, STREAMS[:1])
    split = toy().split(STREAMS[:1], train=20, test=10)
    lab.train(
        alone,
        split,
        steps=40,
        batch=4,
        rates=torch.tensor([0.01]),
        optimizer=torch.optim.Adam,
        schedule=lab.schedules.cosine(warmup=0.1),
    )
    for key, expected in by_torch(
        STREAMS[0], torch.optim.Adam, torch.tensor(0.01).item(), None
    ).named_parameters():
        torch.testing.assert_close(alone.state[key][0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [torch.optim.Rprop, torch.optim.ASGD, torch.optim.Adafactor])
def test_an_optimiser_not_proportional_to_its_rate_is_refused(make: Callable[..., Any]) -> None:
    population, split = small()
    before = {key: value.detach().clone() for key, value in population.state.items()}
    with pytest.raises(ValueError, match=f"optimizer {make.__name__} cannot .* proportional to its rate"):
        lab.train(population, split, steps=2, batch=2, rates=0.1, optimizer=make)
    assert all(torch.equal(value, before[key]) for key, value in population.state.items())


def test_an_optimiser_with_a_closure_is_refused() -> None:
    population, split = small()
    with pytest.raises(ValueError, match=r"optimizer LBFGS cannot train a population: .* without a closure"):
        lab.train(population, split, steps=2, batch=2, rates=0.1, optimizer=torch.optim.LBFGS)


def test_momentum_is_nine_tenths_and_the_rate_falls_to_zero_unless_said_otherwise() -> None:
    population, split = small()
    other, _ = small()
    lab.train(population, split, steps=8, batch=2, rates=0.1)
    given: dict[str, Any] = {"schedule": lab.schedules.linear(), "optimizer": lab.sgd}
    lab.train(other, split, steps=8, batch=2, rates=0.1, **given)
    for key, value in population.state.items():
        assert torch.equal(value, other.state[key])
    assert lab.sgd.keywords == {"momentum": 0.9}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (lab.schedules.constant(), [1, 1, 1, 1, 1, 1, 1, 1]),
        (lab.schedules.linear(), [1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        (lab.schedules.constant(0.5), [1 / 4, 2 / 4, 3 / 4, 1, 1, 1, 1, 1]),
        (lab.schedules.linear(0.25), [1 / 2, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        (lab.schedules.cosine(), [(1 + math.cos(math.pi * t / 8)) / 2 for t in range(8)]),
    ],
)
def test_schedules(schedule: Callable[[int, int], float], expected: list[float]) -> None:
    assert [schedule(t, 8) for t in range(8)] == pytest.approx(expected)


def test_a_clipped_gradient_of_zero_stays_zero() -> None:
    population, split = small()
    before = [value.detach().clone() for value in population.parameters()]
    nothing = lambda population, batch: 0 * population(batch.x).sum((1, 2))  # noqa: E731
    lab.train(population, split, nothing, steps=2, batch=4, rates=0.1, clip=1.0)
    for value, expected in zip(population.parameters(), before, strict=True):
        assert torch.equal(value, expected)


def test_frozen_parameters_stay() -> None:
    population, split = small()
    before = {key: value.detach().clone() for key, value in population.state.items()}
    decay = partial(torch.optim.SGD, weight_decay=0.1)  # would move it without any gradient
    lab.train(population, split, steps=2, batch=4, rates=0.1, frozen=["1.weight"], optimizer=decay)
    assert torch.equal(population.state["1.weight"], before["1.weight"])
    assert not torch.equal(population.state["1.bias"], before["1.bias"])


# ------------------------------------------------------------------------------------------- callbacks


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(6, 2, [0, 2, 4, 6]), (5, 2, [0, 2, 4, 5]), (4, 0, [4]), (3, 9, [0, 3])],
)
def test_callback(steps: int, every: int, expected: list[int]) -> None:
    population, split = small()
    modes: list[bool] = []

    def callback(step: int) -> int:
        population.eval()
        return 10 * step

    def objective(population: lab.Population, batch: lab.Batch) -> Tensor:
        modes.append(population.replica(0).training)
        return lab.cross_entropy(population(batch.x), batch.y)

    population.eval()
    plan: dict[str, Any] = {"steps": steps, "batch": 2, "rates": 0.1, "every": every}
    found = lab.train(population, split, objective, **plan, callback=callback)
    assert found.steps == expected and found.values == [10 * step for step in expected]
    assert modes == [True] * steps
    assert population.replica(0).training
    assert lab.train(population, split, steps=2, batch=2, rates=0.1, every=1).values == []


def test_the_training_loss_is_recorded_before_each_update() -> None:
    population, split = small()
    first = split.train.gather(1, lab.batch_order(STREAMS, 20, 4))
    expected = lab.cross_entropy(population(split.data.x[first]), split.data.y[first])
    found = lab.train(population, split, steps=9, batch=4, rates=0.1)
    assert found.losses.shape == (9, 3)
    assert_close(found.losses[0], expected.detach())


# ------------------------------------------------------------------------------------------ objectives


def test_tokens_regression_and_labels_that_do_not_count() -> None:
    logits, labels = torch.randn(2, 3, 5, 4), torch.randint(0, 4, (2, 3, 5))
    labels[0, 1:, 2:] = -100
    found = lab.cross_entropy(logits, labels)
    for r in range(2):
        assert_close(found[r], nn.functional.cross_entropy(logits[r].flatten(0, 1), labels[r].flatten()))
    assert lab.cross_entropy(logits, torch.full_like(labels, -100)).tolist() == [0, 0]
    outputs, targets = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    assert_close(lab.squared_error(outputs, targets)[1], nn.functional.mse_loss(outputs[1], targets[1]))
    with pytest.raises(ValueError, match=r"shape of the outputs, \(2, 5, 3\); got \(2, 5\)"):
        lab.squared_error(outputs, targets[..., 0])


def test_accuracy_of_tokens_leaves_out_what_does_not_count() -> None:
    class Echo(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.one_hot(x, 3).double()

    x = torch.tensor([[0, 1, 2], [2, 2, 2]])
    y = torch.tensor([[0, 1, 0], [2, -100, -100]])
    data = lab.Dataset("tokens", x, y, ("a", "b", "c"), None, "")
    split = lab.Split(data, torch.tensor([[0, 1]]), torch.tensor([[0]]), torch.tensor([[0, 1]]))
    found = lab.accuracy(lab.Population(Echo, STREAMS[:1]), split, split.test)
    assert found.tolist() == [0.75]


def test_a_batchs_random_numbers_are_the_replicas_own() -> None:
    def drawn(streams: list[lab.Stream], step: int = 3) -> tuple[Tensor, Tensor]:
        nothing = torch.zeros(len(streams), 2)
        batch = lab.Batch(nothing, nothing, step, 9, streams)
        return batch.rand(4, 2), batch.randn(5)

    uniform, normal = drawn(STREAMS)
    assert uniform.shape == (3, 4, 2) and normal.shape == (3, 5)
    assert uniform.min() >= 0 and uniform.max() < 1
    alone = drawn(STREAMS[1:2])
    assert torch.equal(alone[0][0], uniform[1]) and torch.equal(alone[1][0], normal[1])
    assert not torch.equal(drawn(STREAMS, 4)[0], uniform)


def test_the_draws_of_a_step_are_independent() -> None:
    nothing = torch.zeros(3, 2)
    batch = lab.Batch(nothing, nothing, 0, 9, STREAMS)
    draws = [batch.rand(4000), batch.rand(4000), batch.randn(4000), batch.randn(4000)]
    rows = torch.stack([draw[0] for draw in draws] + [draws[2][0].square()])
    assert (torch.corrcoef(rows) - torch.eye(5))[torch.triu(torch.ones(5, 5), 1) > 0][:-2].abs().max() < 0.08
    assert draws[0][0, 0] != batch.rand(1)[0, 0]


def test_an_adversarial_objective_can_also_be_evaluated() -> None:
    def fast_gradient_sign(population: lab.Population, batch: lab.Batch) -> Tensor:
        x = batch.x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(lab.cross_entropy(population(x), batch.y).sum(), x)
        return lab.cross_entropy(population(x + 0.1 * slope.sign()), batch.y)

    population, split = small()
    lab.train(population, split, fast_gradient_sign, steps=4, batch=4, rates=0.01)
    worse = lab.mean_loss(population, split, split.test, fast_gradient_sign)
    assert not worse.requires_grad
    assert (worse > lab.mean_loss(population, split, split.test)).all()


def test_the_mean_loss_of_tokens_is_over_those_that_count() -> None:
    class Echo(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.randn(5, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.logits[x]

    x = torch.randint(0, 5, (6, 4))
    y = torch.randint(0, 3, (6, 4))
    y[:3, 1:] = -100
    data = lab.Dataset.of(x, y)
    every = torch.arange(6).expand(3, 6)
    split = lab.Split(data, every, every, every)
    population = lab.Population(Echo, STREAMS)
    whole = lab.cross_entropy(population(x[every]), y[every]).detach()
    for chunk in (1, 2, 6):
        assert_close(lab.mean_loss(population, split, every, chunk=chunk), whole)


def test_parameter_groups_keep_their_own_options() -> None:
    def grouped(parameters: list[Tensor], lr: float) -> torch.optim.Optimizer:
        groups = [
            {"params": [p for p in parameters if p.ndim > 2], "weight_decay": 0.5},
            {"params": [p for p in parameters if p.ndim <= 2], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr)

    population, split = small()
    plain, _ = small()
    lab.train(population, split, steps=20, batch=4, rates=torch.tensor(RATES), optimizer=grouped)
    lab.train(
        plain,
        split,
        steps=20,
        batch=4,
        rates=torch.tensor(RATES),
        optimizer=partial(torch.optim.AdamW, weight_decay=0.0),
    )
    assert (population.state["1.weight"].norm() < plain.state["1.weight"].norm()) and population.state[
        "1.weight"
    ].ndim == 3


def test_an_objective_of_ones_own_trains_with_the_one_loop() -> None:
    """Mixup: what it needs beyond a loss on labels is in the batch."""
    seen: list[int] = []

    def mixup(population: lab.Population, batch: lab.Batch) -> Tensor:
        seen.append(batch.step)
        share = batch.rand(1).double()
        mixed = share[..., None, None, None] * batch.x + (1 - share[..., None, None, None]) * batch.x.flip(1)
        logits = population(mixed)
        there, back = (lab.cross_entropy(logits, y) for y in (batch.y, batch.y.flip(1)))
        return share[:, 0] * there + (1 - share[:, 0]) * back

    population, split = small()
    found = lab.train(population, split, mixup, steps=30, batch=4, rates=0.01)
    assert seen == list(range(30))
    assert found.losses[-5:].mean() < found.losses[:5].mean()


# ----------------------------------------------------------------------------------------- measurement


def test_cross_entropy_of_each_replica() -> None:
    logits, labels = torch.randn(3, 5, 4), torch.randint(0, 4, (3, 5))
    found = lab.cross_entropy(logits, labels)
    for r in range(3):
        assert_close(found[r], nn.functional.cross_entropy(logits[r], labels[r]))


def test_accuracy_and_prediction_in_pieces() -> None:
    population, split = small()
    logits = lab.predict(population, split, split.test)
    assert logits.shape == (3, 10, 3) and not logits.requires_grad
    assert_close(lab.predict(population, split, split.test, chunk=3), logits)
    for r in range(3):
        assert_close(logits[r], population.replica(r)(split.data.x[split.test[r]]).detach())
    found = lab.accuracy(population, split, split.test)
    right = [(logits[r].argmax(1) == split.data.y[split.test[r]]).sum() / 10 for r in range(3)]
    assert found.tolist() == pytest.approx([float(value) for value in right])
    assert found.min() > 0 and found.max() < 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_wrong(bad: float) -> None:
    population, split = small()
    split = replace(split, data=replace(split.data, y=torch.zeros_like(split.data.y)))
    with torch.no_grad():
        population.state["1.weight"].zero_()
        population.state["1.bias"].copy_(torch.tensor([1.0, 0.0, 0.0]).expand(3, 3))
    assert lab.accuracy(population, split, split.test).tolist() == [1, 1, 1]
    with torch.no_grad():
        population.state["1.bias"][1, 0] = bad
        population.state["1.bias"][2, 2] = bad  # whichever logit it is
    assert lab.accuracy(population, split, split.test).tolist() == [1, 0, 0]


def test_prediction_takes_the_first_of_several_outputs() -> None:
    class Two(nn.Linear):
        def forward(self, input: Tensor) -> Any:
            output = super().forward(input.flatten(1))
            return output, -output

    population = lab.Population(lambda: Two(36, 3).double(), STREAMS)
    _, split = small()
    logits = lab.predict(population, split, split.test)
    assert_close(logits[1], population.replica(1)(split.data.x[split.test[1]])[0].detach())


def test_the_mean_loss_is_that_of_all_examples_however_they_are_divided() -> None:
    population, split = small()
    whole = lab.cross_entropy(lab.predict(population, split, split.test), split.get(split.test)[1])
    assert_close(lab.mean_loss(population, split, split.test).double(), whole)
    assert_close(lab.mean_loss(population, split, split.test, chunk=3).double(), whole)


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    population, split = small()
    lab.train(population, split, steps=2, batch=2, rates=0.1, label="arm")
    assert capsys.readouterr() == ("", "")


def bad(**given: Any) -> None:
    population, split = small()
    lab.train(population, given.pop("split", split), **({"steps": 2, "batch": 2, "rates": 0.1} | given))


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: bad(steps=0), "steps and batch must be at least 1; got 0 and 2"),
    (lambda: bad(batch=0), "got 2 and 0"),
    (lambda: bad(rates=torch.ones(2)), r"one number or one a replica \(3\); got \(2,\)"),
    (lambda: bad(rates=torch.ones(3, 1)), r"got \(3, 1\)"),
    (lambda: bad(frozen=["2.weight"]), "frozen names no parameter: 2.weight; there are 1.weight, 1.bias"),
    (lambda: bad(frozen=["1.weight", "1.bias"]), "frozen leaves no parameter to train"),
    (lambda: bad(frozen="0.weight"), "frozen names no parameter: 0.weight"),
    (
        lambda: bad(objective=lambda population, batch: population(batch.x).sum()),
        r"objective must give one loss a replica \(3\); got \(\)",
    ),
    (lambda: lab.schedules.linear(2), "warmup must be a share of the steps, from 0 to 1; got 2"),
    (lambda: bad(split=toy().split(lab.make_streams(0, 4, 1), train=9, test=1)), "for 4 replicas, .* has 3"),
    (lambda: lab.batch_order(STREAMS, 0, 5), "examples must be at least 1; got 0"),
]


@pytest.mark.parametrize(("act", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input(act: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        act()


def test_gradients_and_moves_leave_the_population_alone() -> None:
    build = lambda: lab.models.small_cnn(nn.BatchNorm2d, width=2, classes=3).double()  # noqa: E731
    population = lab.Population(build, STREAMS)
    split = toy().split(STREAMS, train=20, test=10)
    x, y = split.get(split.train)
    before = {k: v.clone() for k, v in {**population.state, **population.buffers}.items()}
    losses, found = landscape.gradients(population, x, y)
    there = landscape.moved(population.state, found, torch.tensor([0.0, -0.5, 0.5]), only=["0.weight"])
    further, _ = landscape.gradients(population, x, y, there)
    for name, value in {**population.state, **population.buffers}.items():
        assert torch.equal(value, before[name])
        if name in population.state:
            assert population.state[name].grad is None
    assert set(found) == set(population.state)
    for r in range(3):
        model = population.replica(r)
        loss = nn.functional.cross_entropy(model(x[r]), y[r])
        loss.backward()
        assert_close(losses[r], loss.detach())
        for name, own in model.named_parameters():
            assert own.grad is not None
            assert_close(found[name][r], own.grad)
            step = [0.0, -0.5, 0.5][r] if name == "0.weight" else 0.0
            assert_close(there[name][r], (own + step * own.grad).detach())
    assert_close(further[0], losses[0])
    assert further[1] < losses[1]  # a step down the gradient
    squares = sum(float(found[name][2].square().sum()) for name in ("0.weight", "0.bias"))
    assert float(landscape.norms(found, ["0.weight", "0.bias"])[2]) == pytest.approx(squares**0.5)
    assert_close(landscape.norms(found), landscape.norms(found, found))
