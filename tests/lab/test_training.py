"""The loop: which examples in which order, at which rate, and what is measured along the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn
from toy_data import toy

from surveylab import lab

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


# ----------------------------------------------------------------------------------------------- rates


def moves(**given: Any) -> list[Tensor]:
    """How far each replica's only weight moves at every update where the gradient is always -1."""

    class Weight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return self.weight + 0 * x.sum()

    population = lab.Population(Weight, STREAMS)
    _, split = small()
    at: list[Tensor] = lab.train(
        population,
        split,
        batch=2,
        loss=lambda output, labels: -output,
        every=1,
        watch=lambda step: population.state["weight"].detach().clone(),
        **given,
    )
    return [after - before for before, after in pairwise(at)]


@pytest.mark.parametrize(("decay", "warmup"), [(True, 0), (False, 0), (True, 4), (False, 4)])
def test_rates_momentum_decay_and_warmup(decay: bool, warmup: int) -> None:
    rates, velocity = torch.tensor([0.5, 0.25, 0.125]), torch.zeros(3, dtype=torch.float64)
    found = moves(steps=8, rates=rates, momentum=0.5, decay=decay, warmup=warmup)
    assert len(found) == 8
    for t, move in enumerate(found):
        fade = (1 - t / 8 if decay else 1) * (min(1, (t + 1) / 4) if warmup else 1)
        velocity = 0.5 * velocity + rates * fade
        assert_close(move, velocity)


def test_momentum_is_nine_tenths_and_the_rate_decays_unless_said_otherwise() -> None:
    first, second = moves(steps=2, rates=0.5)
    assert_close(first, torch.full((3,), 0.5))
    assert_close(second, torch.full((3,), 0.9 * 0.5 + 0.25, dtype=torch.float64))


def test_a_gradient_longer_than_clip_is_shortened_to_it_and_no_other_is() -> None:
    rates, clip = torch.tensor([0.5, 0.25, 0.125]), 2.5  # exact in single precision
    population, split = small()
    models = [population.replica(r) for r in range(3)]
    lab.train(population, split, steps=6, batch=4, rates=rates, decay=False, clip=clip)
    order = split.train.gather(1, lab.batch_order(STREAMS, 20, 24))
    lengths = []
    for r, model in enumerate(models):
        optimiser = torch.optim.SGD(model.parameters(), lr=float(rates[r]), momentum=0.9)
        for batch in order[r].split(4):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(split.data.x[batch]), split.data.y[batch]).backward()
            length = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
            lengths.append(float(length))
            for p in model.parameters():
                assert p.grad is not None
                p.grad *= min(1.0, clip / lengths[-1])
            optimiser.step()
        for value, expected in zip(population.replica(r).parameters(), model.parameters(), strict=True):
            assert_close(value, expected)
    assert min(lengths) < clip < max(lengths)


def test_a_clipped_gradient_of_zero_stays_zero() -> None:
    population, split = small()
    before = [value.detach().clone() for value in population.parameters()]
    nothing = lambda output, labels: 0 * output.sum((1, 2))  # noqa: E731
    lab.train(population, split, steps=2, batch=4, rates=0.1, clip=1.0, loss=nothing)
    for value, expected in zip(population.parameters(), before, strict=True):
        assert torch.equal(value, expected)


# ----------------------------------------------------------------------------------------------- watch


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(6, 2, [0, 2, 4, 6]), (5, 2, [0, 2, 4, 5]), (4, 0, [4]), (3, 9, [0, 3])],
)
def test_watch(steps: int, every: int, expected: list[int]) -> None:
    population, split = small()
    modes: list[bool] = []

    def watch(step: int) -> int:
        population.eval()
        return step

    def loss(output: Tensor, labels: Tensor) -> Tensor:
        modes.append(population.replica(0).training)
        return lab.cross_entropy(output, labels)

    population.eval()
    found = lab.train(population, split, steps=steps, batch=2, rates=0.1, every=every, watch=watch, loss=loss)
    assert found == expected
    assert modes == [True] * steps
    assert population.replica(0).training
    assert lab.train(population, split, steps=2, batch=2, rates=0.1, every=1) == []


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


def test_sweep_trains_each_rate_alike() -> None:
    rates = [0.03125, 0.25]
    plan: dict[str, Any] = {"steps": 12, "batch": 4}
    scores = lab.sweep(linear, toy(), STREAMS, rates, train_examples=20, validation=10, **plan)
    assert scores.shape == (2, 3)
    split = toy().split(STREAMS, train=20, validation=10, test=0)
    for row, rate in zip(scores, rates, strict=True):
        population = lab.Population(linear, STREAMS)
        lab.train(population, split, rates=rate, **plan)
        assert row.tolist() == lab.accuracy(population, split, split.validation).tolist()
    assert scores[0].tolist() != scores[1].tolist()


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
    losses, found = lab.gradients(population, x, y)
    there = lab.moved(population.state, found, torch.tensor([0.0, -0.5, 0.5]), only=["0.weight"])
    further, _ = lab.gradients(population, x, y, there)
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
    assert float(lab.norms(found, ["0.weight", "0.bias"])[2]) == pytest.approx(squares**0.5)
    assert_close(lab.norms(found), lab.norms(found, found))
