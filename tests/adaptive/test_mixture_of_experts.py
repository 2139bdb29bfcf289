"""Mixtures of experts against the published formulas, written out with loops over tokens and experts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from labml_nn.transformers.feed_forward import FeedForward
from labml_nn.transformers.switch import SwitchFeedForward
from methods import Case, MethodTests
from tolerances import assert_close
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from surveylab.adaptive import (
    MixtureOfExperts,
    SparseMixtureOfExperts,
    SwitchMixtureOfExperts,
    competitive_loss,
    cooperative_loss,
    cv_squared,
    noisy_logits,
    selection_probability,
    switch_balance,
    top_k_gates,
)
from surveylab.lab import Population, make_streams

IN, HIDDEN, OUT, EXPERTS = 5, 7, 3, 4
SIZES = (IN, HIDDEN, OUT, EXPERTS)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def randomised(layer: nn.Module, seed: int = 0) -> Any:
    """The layer in double precision with all parameters at random, also those that begin at zero."""
    layer = layer.double()
    with torch.no_grad():
        for i, parameter in enumerate(layer.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=100 * seed + i))
    return layer


class FixedNoise(SparseMixtureOfExperts):
    """With noise that is the same in every call and no straight line over the experts."""

    def _noise(self, clean: Tensor) -> Tensor:
        places = torch.arange(clean.shape[-2], device=clean.device).unsqueeze(-1) * clean.shape[-1]
        places = places + torch.arange(clean.shape[-1], device=clean.device)
        return (7.0 * places.to(clean.dtype)).sin().expand_as(clean)


class WithLoss(nn.Module):
    """Of all that a mixture gives, one tensor: the output with what else is learnt from."""

    def __init__(self, mixture: nn.Module) -> None:
        super().__init__()
        self.mixture = mixture

    def forward(self, input: Tensor) -> Tensor:
        given = self.mixture(input)
        if isinstance(self.mixture, MixtureOfExperts):
            loss = competitive_loss(given.outputs, given.logits, given.output.sin()).unsqueeze(-1)
        else:
            loss = given.loss
        return given.output + loss


class TestMethods(MethodTests):
    cases = (
        Case("dense", lambda: WithLoss(MixtureOfExperts(3, 4, 2, 3)), [(4, 3)], dynamic=[(0,)]),
        Case("noisy", lambda: WithLoss(FixedNoise(2, 3, 2, 3, k=2)), [(4, 2)], dynamic=[(0,)]),
        Case(
            "every expert, linear, of sequences",
            lambda: WithLoss(SparseMixtureOfExperts(3, None, 2, 3, k=3, noisy=False)),
            [(2, 2, 3)],
            dynamic=[(0, 1)],
        ),
        Case(
            "with a capacity",
            lambda: WithLoss(SparseMixtureOfExperts(2, 3, 2, 3, k=2, noisy=False, capacity_factor=0.6)),
            [(6, 2)],
            dynamic=[(0,)],
        ),
        Case("switch", lambda: WithLoss(SwitchMixtureOfExperts(2, 3, 2, 3)), [(5, 2)], dynamic=[(0,)]),
    )


# ------------------------------------------------------------------------------- the formulas, with loops


def one_expert(experts: Any, i: int, x: Tensor) -> Tensor:
    """What expert i gives for one token: (D,) → (O,)."""
    hidden = (x @ experts.weight1[i] + experts.bias1[i]).clamp_min(0)
    return hidden @ experts.weight2[i] + experts.bias2[i]


def largest(values: Tensor, k: int) -> list[int]:
    return sorted(range(len(values)), key=lambda i: -values[i].item())[:k]


def squared_variation(values: list[Tensor]) -> Any:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values) / mean**2


def normal_cdf(z: Tensor) -> Tensor:
    return (1 + torch.erf(z / 2**0.5)) / 2


def by_loop(layer: Any, tokens: Tensor, noise: Tensor | None, capacity: int) -> dict[str, Any]:
    """Noisy top-k gating, token by token and expert by expert."""
    k, experts = layer.k, layer.experts.num_experts
    importance, load = [tokens.new_zeros(())] * experts, [tokens.new_zeros(())] * experts
    gates, chosen = [], []
    for t, x in enumerate(tokens):
        clean = x @ layer.gate_weight
        noisy = clean
        if noise is not None:
            scale = (1 + (x @ layer.noise_weight).exp()).log()
            noisy = clean + noise[t] * scale
        chosen.append(largest(noisy, k))
        total = sum(noisy[i].exp() for i in chosen[t])
        gates.append({i: noisy[i].exp() / total for i in chosen[t]})
        for i in range(experts):
            importance[i] = importance[i] + gates[t].get(i, 0.0)
            if noise is None or k == experts:
                load[i] = load[i] + float(i in chosen[t])
            else:
                others = torch.cat([noisy[:i], noisy[i + 1 :]])
                kth_excluding = others[largest(others, k)[-1]]
                load[i] = load[i] + normal_cdf((clean[i] - kth_excluding) / scale[i])
    counts, dropped = [0] * experts, 0
    output = [torch.zeros(layer.experts.out_features, dtype=tokens.dtype) for _ in tokens]
    for choice in range(k):  # all first choices before the second ones
        for t, x in enumerate(tokens):
            i = chosen[t][choice]
            if counts[i] == capacity:
                dropped += 1
                continue
            counts[i] += 1
            output[t] = output[t] + gates[t][i] * one_expert(layer.experts, i, x)
    loss = layer.importance_weight * squared_variation(importance)
    loss = loss + layer.load_weight * squared_variation(load)
    return {
        "output": torch.stack(output),
        "loss": loss,
        "importance": torch.stack(importance),
        "load": torch.stack(load),
        "counts": torch.tensor(counts),
        "dropped": torch.tensor(dropped),
    }


@pytest.mark.parametrize("factor", [None, 1.0, 0.5])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("k", "tokens"), [(1, 9), (2, 9), (2, 1), (3, 10), (4, 6)])
def test_sparse_mixture_is_the_published_formula(
    k: int, tokens: int, training: bool, factor: float | None
) -> None:
    """Every value that it gives, and the gradients of output and loss."""
    kwargs: dict[str, Any] = {"importance_weight": 0.3, "load_weight": 0.2, "capacity_factor": factor}
    layer = randomised(FixedNoise(*SIZES, k=k, **kwargs)).train(training)
    x = normal(tokens, IN, seed=1).requires_grad_()
    given = layer(x)
    noise = layer._noise(torch.empty(tokens, EXPERTS, dtype=torch.float64)) if training else None
    share = k * tokens / EXPERTS
    capacity = tokens if factor is None else int(-(-share * factor // 1))
    expected = by_loop(layer, x, noise, capacity)
    for name, wanted in expected.items():
        assert_close(getattr(given, name), wanted, offset=100)
    leaves = [x, *layer.parameters()]
    along = normal(tokens, OUT, seed=2)
    scalars = [(found["output"] * along).sum() + 10 * found["loss"] for found in (given._asdict(), expected)]
    assert factor != 0.5 or expected["dropped"] > 0 or tokens == 1
    ours, theirs = (torch.autograd.grad(s, leaves, allow_unused=True) for s in scalars)
    for mine, other in zip(ours, theirs, strict=True):
        wanted = torch.zeros_like(mine) if mine is not None and other is None else other
        assert (mine is None) == (wanted is None)
        if mine is not None and wanted is not None:
            assert_close(mine, wanted, offset=1e4)


@pytest.mark.parametrize("factor", [None, 1.25, 0.5])
def test_switch_is_the_published_formula(factor: float | None) -> None:
    layer = randomised(SwitchMixtureOfExperts(*SIZES, balance_weight=0.3, capacity_factor=factor))
    tokens = 11
    x = normal(tokens, IN, seed=1).requires_grad_()
    given = layer(x)
    capacity = {None: tokens, 1.25: 4, 0.5: 2}[factor]  # 11 / 4 = 2.75: 3.4 and 1.4, rounded up
    output = [torch.zeros(OUT, dtype=torch.float64) for _ in x]
    counts, wanted = [0] * EXPERTS, [0] * EXPERTS
    mean = torch.zeros(EXPERTS, dtype=torch.float64)
    for t, token in enumerate(x):
        p = (token @ layer.gate_weight).exp()
        p = p / p.sum()
        mean = mean + p / tokens
        i = int(p.argmax())
        wanted[i] += 1
        if counts[i] < capacity:
            counts[i] += 1
            output[t] = p[i] * one_expert(layer.experts, i, token)
    balance: Any = EXPERTS * sum(wanted[i] / tokens * mean[i] for i in range(EXPERTS))
    assert_close(given.output, torch.stack(output), offset=100)
    assert_close(given.loss, 0.3 * balance)
    assert given.counts.tolist() == counts and given.load.tolist() == wanted
    assert int(given.dropped) == tokens - sum(counts)
    assert (given.dropped > 0) == (factor == 0.5)
    leaves = [x, *layer.parameters()]
    ours = torch.autograd.grad(given.output.sin().sum() + given.loss, leaves)
    theirs = torch.autograd.grad(torch.stack(output).sin().sum() + 0.3 * balance, leaves)
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine, other, offset=1e3)


@pytest.mark.parametrize("drop", [False, True])
def test_switch_is_that_of_another_library(drop: bool) -> None:
    """labml-nn's layer has a bias in the gate, and lets dropped tokens through; which it drops is random."""
    factor = 1.0
    theirs = SwitchFeedForward(
        capacity_factor=factor,
        drop_tokens=drop,
        is_scale_prob=True,
        n_experts=EXPERTS,
        expert=FeedForward(IN, HIDDEN, dropout=0.0),
        d_model=IN,
    ).double()
    ours = randomised(
        SwitchMixtureOfExperts(IN, HIDDEN, IN, EXPERTS, capacity_factor=factor if drop else None)
    )
    with torch.no_grad():
        theirs.switch.weight.copy_(ours.gate_weight.mT)
        theirs.switch.bias.zero_()
        for i, expert in enumerate(theirs.experts):
            for layer, weight, bias in (
                (expert.layer1, ours.experts.weight1, ours.experts.bias1),
                (expert.layer2, ours.experts.weight2, ours.experts.bias2),
            ):
                layer.weight.copy_(weight[i].mT)
                layer.bias.copy_(bias[i])
    x = normal(20, IN, seed=1)
    output, counts, probabilities, dropped, _ = theirs(x.unsqueeze(1))
    given = ours(x)
    assert_close(given.load, counts)
    assert_close(given.importance, probabilities)
    assert int(given.dropped) == dropped and (dropped > 0) == drop
    if not drop:
        assert_close(given.output, output[:, 0], offset=100)


@pytest.mark.parametrize("hidden", [HIDDEN, None])
def test_dense_mixture_and_its_losses_are_the_published_formulas(hidden: int | None) -> None:
    layer = randomised(MixtureOfExperts(IN, hidden, OUT, EXPERTS))
    x, target = normal(2, 3, IN, seed=1), normal(2, 3, OUT, seed=2)
    given = layer(x)
    competitive, cooperative = (
        loss(given.outputs, given.logits, target) for loss in (competitive_loss, cooperative_loss)
    )
    assert given.output.shape == (2, 3, OUT) and competitive.shape == cooperative.shape == (2, 3)
    for place in [(0, 0), (0, 2), (1, 1)]:
        p = (layer.gate.weight @ x[place] + layer.gate.bias).exp()
        p = p / p.sum()
        if hidden is None:
            o = [x[place] @ w + b for w, b in zip(layer.experts.weight1, layer.experts.bias1, strict=True)]
        else:
            o = [one_expert(layer.experts, i, x[place]) for i in range(EXPERTS)]
        mean = sum(p[i] * o[i] for i in range(EXPERTS))
        squares = [((target[place] - o[i]) ** 2).sum() for i in range(EXPERTS)]
        assert_close(given.output[place], mean, offset=100)
        assert_close(cooperative[place], ((target[place] - mean) ** 2).sum(), offset=100)
        likelihood = [p[i] * torch.exp(-squares[i] / 2) for i in range(EXPERTS)]
        assert_close(competitive[place], -torch.log(sum(likelihood)), offset=1e3)
        # Equation 1.5: each expert is drawn to the target by its responsibility.
        grads = torch.autograd.grad(competitive[place], given.outputs, retain_graph=True)[0][place]
        for i in range(EXPERTS):
            responsibility = likelihood[i] / sum(likelihood)
            assert_close(grads[i], -responsibility * (target[place] - o[i]), offset=1e3)


def test_competitive_loss_of_far_outputs_is_finite() -> None:
    """exp(-½ ‖d - o‖²) is 0 in any precision when the distance is 100; p of the second is 0 in float32."""
    outputs = torch.tensor([[[0.0], [1.0]]], requires_grad=True)
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = competitive_loss(outputs, logits, torch.tensor([[100.0]]))
    assert_close(loss, torch.tensor([5000.0]))
    loss.sum().backward()
    assert outputs.grad is not None and outputs.grad.isfinite().all()
    assert_close(outputs.grad, torch.tensor([[[-100.0], [0.0]]]))


# --------------------------------------------------------------------------------------- gating and load


def test_load_is_the_chance_of_being_chosen_when_noise_is_drawn_anew() -> None:
    """By drawing it: first of one expert's noise alone, as the estimator reads; then of all."""
    draws, k = 40_000, 2
    clean, raw = normal(EXPERTS, seed=3), normal(EXPERTS, seed=4)
    noise = normal(EXPERTS, seed=5)
    noisy = noisy_logits(clean, raw, noise)
    p = selection_probability(clean, raw, noisy, k)
    for i in range(EXPERTS):
        again = noise.repeat(draws, 1)
        again[:, i] = normal(draws, seed=6 + i)
        _, index = top_k_gates(noisy_logits(clean, raw, again), k)
        share = (index == i).any(-1).double().mean()
        assert abs(share - p[i]) < 4 * (p[i] * (1 - p[i]) / draws).sqrt() + 1e-9
    everything = noisy_logits(clean, raw, normal(draws, EXPERTS, seed=20))
    estimate = selection_probability(clean.expand_as(everything), raw.expand_as(everything), everything, k)
    _, index = top_k_gates(everything, k)
    for i in range(EXPERTS):
        assert abs((index == i).any(-1).double().mean() - estimate[:, i].mean()) < 0.015


def test_load_without_any_noise_left_is_a_count() -> None:
    """Where softplus underflows, an expert is chosen or not."""
    clean = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    raw = torch.full((1, 3), -1000.0, requires_grad=True)
    p = selection_probability(clean, raw, noisy_logits(clean, raw, torch.ones(1, 3)), 2)
    assert p.tolist() == [[1.0, 0.0, 1.0]]
    p.sum().backward()
    assert clean.grad is not None and raw.grad is not None
    assert clean.grad.isfinite().all() and raw.grad.isfinite().all()


def test_variation_by_hand() -> None:
    assert_close(cv_squared(torch.tensor([[1.0, 3.0], [2.0, 2.0], [0.0, 0.0]])), torch.tensor([0.25, 0, 0]))
    assert_close(cv_squared(torch.tensor([0.0, 0.0, 0.0, 8.0])), torch.tensor(3.0))


def test_switch_balance_is_between_one_and_the_number_of_experts() -> None:
    even = torch.full((8, 4), 0.25)
    assert_close(switch_balance(even, torch.arange(8) % 4), torch.tensor(1.0))
    one = torch.eye(4)[torch.zeros(8, dtype=torch.int64)]
    assert_close(switch_balance(one, torch.zeros(8, dtype=torch.int64)), torch.tensor(4.0))


def test_noise_is_standard_normal_and_only_in_training() -> None:
    layer = SparseMixtureOfExperts(*SIZES)
    torch.manual_seed(0)
    noise = layer._noise(torch.zeros(20_000, EXPERTS))
    assert abs(noise.mean()) < 0.015 and abs(noise.std() - 1) < 0.015
    x = torch.randn(50, IN)
    assert not layer.gate_weight.any() and layer.noise_weight is not None and not layer.noise_weight.any()
    assert not torch.equal(layer(x).counts, layer(x).counts)
    with torch.no_grad():
        layer.gate_weight.normal_()
    layer.eval()
    for name, first in layer(x)._asdict().items():
        assert torch.equal(first, getattr(layer(x), name)), name
    assert layer(x).load.tolist() == layer(x).counts.tolist()


def test_one_kept_gate_learns_nothing_from_the_output_but_the_switch_does() -> None:
    x = normal(9, IN)
    sparse, switch = (
        randomised(layer)
        for layer in (SparseMixtureOfExperts(*SIZES, k=1, noisy=False), SwitchMixtureOfExperts(*SIZES))
    )
    for layer, learns in ((sparse, False), (switch, True)):
        (grad,) = torch.autograd.grad(layer(x).output.sum(), [layer.gate_weight])
        assert bool(grad.any()) == learns


# --------------------------------------------------------------------------------------- what is run


def only_first(layer: Any, experts: int) -> Tensor:
    """Tokens for which a mixture chooses among its first experts alone."""
    x = normal(12, IN, seed=1)
    x[:, 0] = 1
    with torch.no_grad():
        layer.gate_weight.copy_(normal(*layer.gate_weight.shape))
        layer.gate_weight[0, experts:] -= 100
    return x


@pytest.mark.parametrize("kind", [SparseMixtureOfExperts, SwitchMixtureOfExperts])
def test_experts_that_are_not_chosen_do_not_run_and_get_no_gradient(kind: Callable[..., Any]) -> None:
    """They could hold anything, even NaN, and nothing would come of it."""
    layer = randomised(kind(*SIZES)).eval()
    x = only_first(layer, 2)
    with torch.no_grad():
        for parameter in layer.experts.parameters():
            parameter[2:] = torch.nan
    given = layer(x)
    assert given.output.isfinite().all() and not given.counts[2:].any() and given.counts[:2].all()
    (given.output.sin().sum() + given.loss).backward()
    for name, parameter in layer.experts.named_parameters():
        assert (parameter.grad[2:] == 0).all(), name
        assert parameter.grad[:2].any() and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("k", [1, 2, 3])
def test_exactly_k_experts_run_for_a_token(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that enter a matrix product, counted where it is called; and operations, by torch's counter."""
    rows: list[int] = []
    multiply = torch.addmm

    def counted(bias: Tensor, left: Tensor, right: Tensor, **rest: Any) -> Tensor:
        rows.append(left.shape[0])
        return multiply(bias, left, right, **rest)

    x = normal(10, IN)
    operations = []
    for experts in (4, 32):
        layer = randomised(SparseMixtureOfExperts(IN, HIDDEN, OUT, experts, k=k))
        with FlopCounterMode(display=False) as counter:
            layer(x)
        operations.append(counter.get_total_flops() - 2 * 2 * 10 * IN * experts)  # less the gate's two
        rows.clear()
        with monkeypatch.context() as patched, torch.no_grad():
            patched.setattr(torch, "addmm", counted)
            given = layer(x)
        assert sum(rows) == 2 * k * 10  # of two layers
        assert int(given.counts.sum()) == k * 10
    assert operations[0] == operations[1] == 2 * k * 10 * (IN * HIDDEN + HIDDEN * OUT)


def test_every_expert_kept_equals_the_dense_mixture() -> None:
    sparse = randomised(SparseMixtureOfExperts(*SIZES, k=EXPERTS, noisy=False))
    dense = MixtureOfExperts(*SIZES).double()
    dense.experts.load_state_dict(sparse.experts.state_dict())
    with torch.no_grad():
        dense.gate.weight.copy_(sparse.gate_weight.mT)
        dense.gate.bias.zero_()
    x = normal(3, 4, IN, seed=1)
    assert_close(sparse(x).output, dense(x).output, offset=100)


def test_no_capacity_drops_everything() -> None:
    for layer in (
        SparseMixtureOfExperts(*SIZES, capacity_factor=0),
        SwitchMixtureOfExperts(*SIZES, capacity_factor=0),
    ):
        given = randomised(layer)(normal(6, IN))
        assert not given.output.any() and not given.counts.any()
        assert int(given.dropped) == 6 * getattr(layer, "k", 1)
        given.output.sum().backward()
        for parameter in layer.experts.parameters():
            assert parameter.grad is not None and not parameter.grad.any()


@pytest.mark.parametrize("k", [1, 4])
def test_one_token_and_none(k: int) -> None:
    layer = randomised(SparseMixtureOfExperts(*SIZES, k=k))
    assert layer(normal(1, IN)).counts.sum() == k
    given = layer(normal(2, 0, IN))
    assert given.output.shape == (2, 0, OUT) and given.loss == 0 and int(given.dropped) == 0
    assert randomised(SwitchMixtureOfExperts(*SIZES))(normal(0, IN)).loss == 0


def test_many_tokens_of_one_expert() -> None:
    """The extreme of imbalance: all rows are one group."""
    layer = randomised(SwitchMixtureOfExperts(*SIZES, capacity_factor=None))
    x = only_first(layer, 1)
    given = layer(x)
    assert given.counts.tolist() == [12, 0, 0, 0]
    p = (x @ layer.gate_weight).softmax(-1)
    assert_close(given.output, p[:, :1] * layer.experts(x)[:, 0], offset=100)


# --------------------------------------------------------------------------------------- in a population


@pytest.mark.parametrize(
    "build",
    [
        lambda: SparseMixtureOfExperts(*SIZES),
        lambda: SparseMixtureOfExperts(*SIZES, capacity_factor=0.75),
        lambda: SwitchMixtureOfExperts(*SIZES, capacity_factor=0.75),
    ],
    ids=["noisy", "capacity", "switch"],
)
@pytest.mark.filterwarnings("error")
def test_replicas_are_those_that_run_alone(build: Callable[[], nn.Module]) -> None:
    """Together, one after another, and each by itself: outputs, losses, counts, gradients, and noise."""
    streams = make_streams(0, 4)
    x = normal(len(streams), 10, IN, seed=1)

    def run(strategy: Any, members: slice) -> dict[str, Tensor]:
        with torch.random.fork_rng():
            population = Population(lambda: build().double(), streams[members], strategy=strategy)
        with torch.no_grad():
            for name, value in population.state.items():
                value.copy_(value + torch.arange(value[0].numel()).view(value.shape[1:]).sin())
                assert value.shape[0] == len(population), name
        given = population(x[members])
        objective = given.output.square().mean((1, 2)) + given.loss
        objective.sum().backward()
        grads = {name: value.grad for name, value in population.state.items()}
        return {name: value.detach() for name, value in (given._asdict() | grads).items()}

    together, looped = (run(strategy, slice(None)) for strategy in ("vmap", "loop"))
    alone = run("vmap", slice(2, 3))
    assert not torch.equal(together["counts"][0], together["counts"][1])
    for name, value in together.items():
        assert_close(value, looped[name], offset=10)
        assert_close(value[2:3], alone[name], offset=10)


# --------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda: SparseMixtureOfExperts(*SIZES, k=5), ValueError, "k should be at most the number of exp.*5"),
        (lambda: SparseMixtureOfExperts(*SIZES, k=0), ValueError, "k should be a whole number, 1 or more"),
        (lambda: SparseMixtureOfExperts(IN, HIDDEN, OUT, 0), ValueError, "num_experts should .* but is 0"),
        (lambda: MixtureOfExperts(IN, 0, OUT, 2), ValueError, "hidden_features should .* but is 0"),
        (lambda: MixtureOfExperts(IN, 2, OUT, True), ValueError, "num_experts should .* but is True"),
        (lambda: SparseMixtureOfExperts(*SIZES, load_weight=-1), ValueError, "load_weight should be zero or"),
        (lambda: SwitchMixtureOfExperts(*SIZES, balance_weight=-1), ValueError, "balance_weight should be"),
        (lambda: SwitchMixtureOfExperts(*SIZES, capacity_factor=-1), ValueError, "capacity_factor should be"),
        (lambda: top_k_gates(torch.zeros(2, 3), 4), ValueError, "k should be from 1 to .* 3, but is 4"),
        (lambda: SparseMixtureOfExperts(*SIZES)(torch.zeros(2, 9)), ValueError, r"\(tokens, 5\).*\(2, 9\)"),
        (lambda: SwitchMixtureOfExperts(*SIZES)(torch.zeros(IN)), ValueError, r"\(tokens, 5\).*\(5,\)"),
        (lambda: MixtureOfExperts(*SIZES)(torch.zeros(2, IN).long()), TypeError, "should be floating point"),
        (
            lambda: competitive_loss(torch.zeros(2, 4, 3), torch.zeros(2, 4), torch.zeros(2, 4)),
            ValueError,
            r"target should have shape \(2, 3\)",
        ),
        (
            lambda: cooperative_loss(torch.zeros(2, 4, 3), torch.zeros(4), torch.zeros(2, 3)),
            ValueError,
            r"logits should have shape \(2, 4\)",
        ),
    ],
)
def test_errors_say_what_would_be_right(call: Callable[[], Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        call()


def test_dtypes_that_differ_are_refused_and_double_precision_outlasts_autocast() -> None:
    layer = randomised(SparseMixtureOfExperts(*SIZES, noisy=False))
    with pytest.raises(RuntimeError, match="dtype"):
        layer(normal(4, IN).float())
    plain = layer(normal(4, IN)).output
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(normal(4, IN)).output, plain)


def test_parameters_begin_as_those_of_a_linear_layer() -> None:
    experts = MixtureOfExperts(100, 25, 50, 8).experts
    for parameter, bound in ((experts.weight1, 0.1), (experts.bias1, 0.1), (experts.weight2, 0.2)):
        assert parameter is not None
        assert 0.95 * bound < parameter.abs().max() <= bound
        assert abs(parameter.std() - bound / 3**0.5) < 0.05 * bound
