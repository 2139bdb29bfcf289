"""A population is its replicas, trained together: nothing about one depends on the others."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn
from torch.nn import functional as F
from toy_data import toy

from surveylab import lab
from surveylab.lab import population as module
from surveylab.lab.models import Norm, small_cnn
from surveylab.normalization import BatchNorm2d

STEPS, BATCH, REPLICAS = 10, 4, 4
# Exact in single precision, in which the lab keeps rates.
RATES = [0.0625, 0.03125, 0.125, 0.25]
NORMS = pytest.mark.parametrize("norm", [BatchNorm2d, nn.BatchNorm2d], ids=["ours", "torch"])
STREAMS = lab.make_streams(7, REPLICAS, 1)


def cnn(norm: Norm) -> nn.Module:
    """The chapter's network, narrow, in double precision: any difference but rounding stands out."""
    return small_cnn(norm, width=3, classes=3).double()


def trained(
    streams: list[lab.Stream], norm: Norm, rates: list[float], **given: Any
) -> tuple[lab.Population, Tensor]:
    """A population after some steps, and what it then answers in evaluation mode."""
    split = toy().split(streams, train=24, test=8)
    population = lab.Population(lambda: cnn(norm), streams, strategy=given.pop("strategy", "vmap"))
    lab.train(population, split, steps=STEPS, batch=BATCH, rates=torch.tensor(rates), **given)
    return population, lab.predict(population, split, split.test)


def plain(stream: lab.Stream, norm: Norm, rate: float) -> tuple[nn.Module, Tensor]:
    """The same for one replica, as anyone would write it with torch; nothing of the lab but the data."""
    split = toy().split([stream], train=24, test=8)
    torch.manual_seed(stream.torch_seed("init"))
    model = cnn(norm)
    optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    order = torch.as_tensor(lab.batch_order([stream], 24, STEPS * BATCH)[0])
    for index in split.train[0][order].split(BATCH):
        loss = F.cross_entropy(model(split.data.x[index]), split.data.y[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        return model, model(split.data.x[split.test[0]])


def assert_same_state(population: lab.Population, r: int, expected: dict[str, Tensor]) -> None:
    both = population.state | population.buffers
    assert both.keys() == expected.keys()
    for name, value in both.items():
        if value.is_floating_point():
            assert_close(value[r].detach(), expected[name].detach())
        else:
            assert torch.equal(value[r], expected[name])


@NORMS
def test_together_as_each_alone(norm: Norm) -> None:
    together, outputs = trained(STREAMS, norm, RATES)
    for r, stream in enumerate(STREAMS):
        alone, output = trained([stream], norm, RATES[r : r + 1])
        assert_same_state(together, r, {k: v[0] for k, v in (alone.state | alone.buffers).items()})
        assert_close(outputs[r], output[0])
    assert not torch.allclose(outputs[0], outputs[1])


@NORMS
def test_as_a_plain_loop_in_torch(norm: Norm) -> None:
    together, outputs = trained(STREAMS, norm, RATES, schedule=lab.schedules.constant())
    for r, stream in enumerate(STREAMS):
        model, output = plain(stream, norm, RATES[r])
        assert_same_state(together, r, model.state_dict(keep_vars=True))
        assert_close(outputs[r], output)


@NORMS
def test_the_loop_agrees(norm: Norm) -> None:
    together, outputs = trained(STREAMS, norm, RATES)
    looped, others = trained(STREAMS, norm, RATES, strategy="loop")
    assert looped.strategy == "loop"
    for r in range(REPLICAS):
        assert_same_state(together, r, {k: v[r] for k, v in (looped.state | looped.buffers).items()})
    assert_close(outputs, others)


def test_a_diverged_replica_harms_no_other() -> None:
    calm, _ = trained(STREAMS, nn.BatchNorm2d, RATES)
    wild, outputs = trained(STREAMS, nn.BatchNorm2d, [*RATES[:3], float("inf")])
    for r in range(3):
        assert_same_state(wild, r, {k: v[r] for k, v in (calm.state | calm.buffers).items()})
    assert not outputs[3].isfinite().any()


def test_initialisation_is_the_streams_own() -> None:
    state = torch.get_rng_state()
    many = lab.Population(lambda: nn.Linear(3, 2), STREAMS)
    few = lab.Population(lambda: nn.Linear(3, 2), [STREAMS[2]])
    assert torch.equal(many.state["weight"][2], few.state["weight"][0])
    assert not torch.equal(many.state["weight"][1], many.state["weight"][2])
    assert torch.equal(torch.get_rng_state(), state)  # and the caller's generator is left alone


def test_one_replica_bypasses_vmap(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("vmap was called")

    monkeypatch.setattr(module, "vmap", forbidden)
    for strategy in ("auto", "vmap", "loop"):
        population = lab.Population(lambda: nn.Linear(3, 2), STREAMS[:1], strategy=cast(Any, strategy))
        assert population(torch.randn(1, 5, 3)).shape == (1, 5, 2)
    with pytest.raises(AssertionError, match="vmap was called"):
        lab.Population(lambda: nn.Linear(3, 2), STREAMS[:2])(torch.randn(2, 5, 3))


# ---------------------------------------------------------------------------------------- the fallback


class Counted(nn.Module):
    """Counts its calls in a buffer, then does what cannot be vectorised, if asked."""

    def __init__(self, only_training: bool = False) -> None:
        super().__init__()
        self.only_training = only_training
        self.linear = nn.Linear(3, 2)
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, input: Tensor) -> Tensor:
        self.calls.add_(1)
        output = self.linear(input)
        if self.training or not self.only_training:
            output = output * (2 if output.sum().item() > -1e9 else 1)
        return output


def test_fallback_agrees_warns_and_restores_buffers() -> None:
    population = lab.Population(Counted, STREAMS)
    x = torch.randn(REPLICAS, 5, 3)
    with pytest.warns(UserWarning, match=r"Counted cannot be vectorised .*\.item\(\)") as caught:
        outputs = population(x)
    assert caught[0].filename == __file__
    assert population.buffers["calls"].tolist() == [1] * REPLICAS  # the failed attempt left no trace
    assert population.strategy == "loop"
    for r in range(REPLICAS):
        expected = 2 * F.linear(x[r], population.state["linear.weight"][r])
        assert_close(outputs[r], expected + 2 * population.state["linear.bias"][r])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        population(x)


def test_a_model_that_vectorises_in_evaluation_only() -> None:
    population = lab.Population(lambda: Counted(only_training=True), STREAMS)
    x = torch.randn(REPLICAS, 5, 3)
    population.eval()(x)
    assert population.strategy == "auto"
    with pytest.warns(UserWarning, match="cannot be vectorised"):
        population.train()(x)
    assert population.buffers["calls"].tolist() == [2] * REPLICAS


def test_vmap_on_demand_does_not_fall_back() -> None:
    with pytest.raises(RuntimeError, match=r"\.item\(\)"):
        lab.Population(Counted, STREAMS, strategy="vmap")(torch.randn(REPLICAS, 5, 3))


def test_an_error_of_the_models_own_is_raised_as_itself() -> None:
    population = lab.Population(lambda: nn.Linear(3, 2), STREAMS)
    with (
        warnings.catch_warnings(),
        pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught,
    ):
        warnings.simplefilter("error")
        population(torch.randn(REPLICAS, 5, 4))
    assert caught.value.__context__ is None
    assert population.strategy == "auto"
    population(torch.randn(REPLICAS, 5, 3))
    assert population.strategy == "auto"


class Noisy(nn.Module):
    """Draws in every way that layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(3, 8), nn.Dropout(0.5)

    def forward(self, input: Tensor) -> Tensor:
        x = self.dropout(self.linear(input))
        if not self.training:
            return x
        x = x + torch.randn_like(x) + torch.rand(8) + torch.bernoulli(torch.full((8,), 0.5))
        x = x[torch.randperm(len(x))] + torch.randint(0, 9, (8,))
        return F.dropout1d(x.unsqueeze(0), 0.2).squeeze(0) + torch.empty_like(x).normal_(1, 2).detach()


@pytest.mark.parametrize("strategy", ["vmap", "loop"])
def test_random_layers_draw_from_each_replicas_stream(strategy: Any) -> None:
    x = torch.randn(REPLICAS, 5, 3)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    together = lab.Population(Noisy, STREAMS, strategy=strategy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing falls back
        first, second = together(x), together(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, second)
    for r, stream in enumerate(STREAMS):
        torch.manual_seed(r)  # whatever the global generator says
        alone = lab.Population(Noisy, [stream])
        assert_close(alone(x[r : r + 1])[0], first[r])
        assert_close(alone(x[r : r + 1])[0], second[r])


def test_looking_in_evaluation_mode_leaves_what_training_draws() -> None:
    x = torch.randn(REPLICAS, 5, 3)
    one, two = (lab.Population(Noisy, STREAMS) for _ in range(2))
    assert torch.equal(one.eval()(x), one(x))
    assert torch.equal(one.train()(x), two(x))
    assert not torch.equal(one(x), one(x))


def test_what_noise_does_not_know_is_drawn_from_the_replicas_stream_in_the_loop() -> None:
    class Cauchy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.empty_like(x).cauchy_()

    x = torch.zeros(REPLICAS, 5)
    with pytest.warns(UserWarning, match="cannot be vectorised"):
        population = lab.Population(Cauchy, STREAMS)
        first, second = population(x), population(x)
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])
    alone = lab.Population(Cauchy, STREAMS[2:3])
    assert torch.equal(alone(x[:1])[0], first[2]) and torch.equal(alone(x[:1])[0], second[2])


# ------------------------------------------------------------------------------ the rule for the strategy


def test_large_operations_run_in_the_loop_by_a_rule_from_sizes() -> None:
    small, large = torch.zeros(2, 16, 64), torch.zeros(2, 16, 2048)
    wide = lab.Population(lambda: nn.Sequential(nn.Linear(2048, 2048)), STREAMS[:2])
    assert wide.plan(large) == "loop"  # 2 · 16 · 2048² = 2²⁷ operations
    assert lab.Population(lambda: nn.Linear(64, 64), STREAMS[:2]).plan(small) == "vmap"
    assert lab.Population(lambda: nn.Linear(64, 64), STREAMS[:2], strategy="loop").plan(small) == "loop"
    forced = lab.Population(lambda: nn.Linear(2048, 2048), STREAMS[:2], strategy="vmap")
    assert forced.plan(large) == "vmap"


def test_the_rule_looks_without_leaving_a_trace() -> None:
    population = lab.Population(lambda: nn.Sequential(nn.BatchNorm1d(3), Noisy()), STREAMS)
    x = torch.randn(REPLICAS, 5, 3)
    before = {name: value.clone() for name, value in population.buffers.items()}
    assert population.plan(x) == "vmap"
    assert all(torch.equal(value, before[name]) for name, value in population.buffers.items())
    fresh = lab.Population(lambda: nn.Sequential(nn.BatchNorm1d(3), Noisy()), STREAMS, strategy="vmap")
    assert torch.equal(population(x), fresh(x))


# ------------------------------------------------------------------------------------- another start


def test_load_sets_all_replicas_or_each() -> None:
    population = lab.Population(lambda: nn.BatchNorm1d(3), STREAMS)
    weight, mean = torch.rand(3), torch.rand(REPLICAS, 3)
    population.load({"weight": weight, "running_mean": mean})
    assert torch.equal(population.state["weight"], weight.expand(REPLICAS, 3))
    assert torch.equal(population.buffers["running_mean"], mean)
    assert population.state["weight"].requires_grad
    with pytest.raises(ValueError, match="'scale', which the model has not; it has weight, bias"):
        population.load({"scale": weight})
    with pytest.raises(ValueError, match=r"'bias' must have shape \(3,\), or \(4, 3\) .* got \(2,\)"):
        population.load({"bias": torch.zeros(2)})


# ----------------------------------------------------------------------------- one replica as a module


class Tied(nn.Module):
    """Tied weights, a frozen one, and a buffer that no state_dict holds."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.two.weight = self.one.weight
        self.two.bias.requires_grad_(False)
        self.shift: Tensor
        self.register_buffer("shift", torch.rand(3), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        return self.two(self.one(input)) + self.shift


@pytest.mark.parametrize("strategy", ["vmap", "loop"])
def test_ties_frozen_weights_and_unsaved_buffers(strategy: Any) -> None:
    population = lab.Population(Tied, STREAMS, strategy=strategy)
    x = torch.randn(REPLICAS, 5, 3)
    outputs = population(x)
    outputs.square().sum().backward()
    for r in range(REPLICAS):
        model = population.replica(r)
        assert isinstance(model, Tied) and model.two.weight is model.one.weight
        assert_close(model(x[r]), outputs[r].detach())
        model(x[r]).square().sum().backward()
        for name, own in model.named_parameters():
            stacked = population.state[name]
            assert own.requires_grad == stacked.requires_grad == (name != "two.bias")
            if own.requires_grad:
                assert own.grad is not None and stacked.grad is not None
                assert_close(stacked.grad[r], own.grad)


def test_a_replica_is_independent_of_its_population() -> None:
    population, _ = trained(STREAMS, nn.BatchNorm2d, RATES)
    before = copy.deepcopy((population.state, population.buffers))
    model = population.replica(1)
    assert not model.training  # as the population was
    other = population.replica(1)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.add_(1)
    for name, value in {**population.state, **population.buffers}.items():
        assert torch.equal(value, {**before[0], **before[1]}[name])
        assert torch.equal(value[1], {**dict(other.named_parameters()), **dict(other.named_buffers())}[name])
    x = toy().x[:5]
    assert_close(other(x), population(x.expand(REPLICAS, *x.shape))[1].detach())


def test_state_and_buffers_of_another_time() -> None:
    population = lab.Population(lambda: cnn(nn.BatchNorm2d), STREAMS)
    x = toy().x[:6].expand(REPLICAS, 6, 1, 6, 6)
    own = {name: value.clone() for name, value in population.buffers.items()}
    state = {name: value.detach() + 1 for name, value in reversed(population.state.items())}
    spare = {name: value.clone() for name, value in population.buffers.items()}
    outputs = population(x, state=state, buffers=spare)
    for name, value in own.items():
        assert torch.equal(population.buffers[name], value)
        assert not torch.equal(spare[name], value)
    model = population.replica(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert_close(outputs[0].detach(), model(x[0]).detach())


# ------------------------------------------------------------------------------------------- bad input


def call(*inputs: Any, **given: Any) -> Any:
    return lab.Population(Tied, STREAMS)(*inputs, **given)


RIGHT = torch.randn(REPLICAS, 5, 3)
BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: lab.Population(Tied, []), ValueError, "streams is empty"),
    (lambda: lab.Population(Tied, STREAMS, strategy=cast(Any, "fast")), ValueError, "'loop'; got 'fast'"),
    (lambda: lab.Population(Tied().float, STREAMS), ValueError, "the same model twice"),
    (lambda: call(RIGHT[:3]), ValueError, r"\(4\); got shape \(3, 5, 3\)"),
    (lambda: call({"a": (RIGHT, torch.tensor(1.0))}), ValueError, r"got shape \(\)"),
    (lambda: call(3), TypeError, "must be tensors, .* got 3"),
    (lambda: call(RIGHT, state={}), ValueError, "state must have the keys .* differ: one.bias"),
    (lambda: call(RIGHT, buffers={"a": RIGHT}), ValueError, "buffers must have the keys .* differ: a, shift"),
]


@pytest.mark.parametrize(("act", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_input(act: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        act()
