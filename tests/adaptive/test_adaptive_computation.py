"""Adaptive computation time is the published procedure: beside a loop over examples, and by identities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from methods import Case, MethodTests
from tolerances import assert_close
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call, vmap
from torch.nn import functional as F

from surveylab import lab
from surveylab.adaptive import AdaptiveComputationTime, GRUCell, Pondered, act_step

B, T, I, H = 6, 3, 2, 4  # noqa: E741
MOST = 7


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def make(
    kind: type[nn.Module] = GRUCell, *, bias: float = -1.0, spread: float = 3.0, **options: Any
) -> AdaptiveComputationTime:
    """A layer in double precision whose examples halt after different numbers of updates."""
    torch.manual_seed(0)
    states = 2 if kind is nn.LSTMCell else 1
    cell: Any = kind(I + 1, H)  # type: ignore[call-arg]
    layer = AdaptiveComputationTime(cell, H, **{"max_steps": MOST, "states": states, **options}).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(spread)
        layer.halting.bias.fill_(bias)
    return layer


def pondered(layer: AdaptiveComputationTime, sequence: Tensor) -> dict[str, Tensor]:
    """The paper's equations for one sequence (T, I), one update after another."""
    cell: Any = layer.cell
    weight, bias = layer.halting.weight[0], layer.halting.bias[0]
    state: Any = torch.zeros(H, dtype=sequence.dtype)
    if layer.states == 2:
        state = (state, state)
    rows: dict[str, list[Any]] = {"output": [], "ponder": [], "steps": [], "weights": []}
    for x in sequence:
        states: list[Any] = []
        h: list[Tensor] = []
        while True:
            flag = torch.ones(1) if not states else torch.zeros(1)
            given = torch.cat([x, flag.to(x.dtype)])
            previous = states[-1] if states else state
            states.append(
                cell(given, previous) if isinstance(cell, nn.LSTMCell) else update(cell, given, previous)
            )
            hidden = states[-1][0] if layer.states == 2 else states[-1]
            h.append(torch.sigmoid((weight * hidden).sum() + bias))
            if sum(value.item() for value in h) >= 1 - layer.epsilon or len(h) == layer.max_steps:
                break
        remainder = 1 - sum(h[:-1], torch.zeros((), dtype=x.dtype))
        p = [*h[:-1], remainder]
        if layer.states == 2:
            state = tuple(sum(w * s[part] for w, s in zip(p, states, strict=True)) for part in range(2))
        else:
            state = sum(w * s for w, s in zip(p, states, strict=True))
        rows["output"].append(state[0] if layer.states == 2 else state)
        rows["ponder"].append(len(h) + remainder)
        rows["steps"].append(torch.tensor(len(h)))
        rows["weights"].append(torch.stack([*p, *[0 * remainder] * (layer.max_steps - len(h))]))
    return {name: torch.stack(values) for name, values in rows.items()}


def update(cell: Any, given: Tensor, state: Tensor) -> Tensor:
    """A GRU's step, as torch documents it, for one example."""
    W, U, b, c = (getattr(cell, f"{name}_{part}") for name in ("weight", "bias") for part in ("ih", "hh"))
    i_r, i_z, i_n = (W @ given + b).split(H)
    h_r, h_z, h_n = (U @ state + c).split(H)
    r, z = torch.sigmoid(i_r + h_r), torch.sigmoid(i_z + h_z)
    n = torch.tanh(i_n + r * h_n)
    return (1 - z) * n + z * state


class Flat(nn.Module):
    """All that the layer gives that has a gradient, as one tensor of the input's dtype."""

    def __init__(self, layer: AdaptiveComputationTime) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, input: Tensor) -> Tensor:
        found = self.layer(input)
        parts = [found.output.flatten(1), found.state, found.ponder, found.weights.flatten(1)]
        return torch.cat([part.to(input.dtype) for part in parts], 1)


def hesitant() -> Flat:
    layer = AdaptiveComputationTime(GRUCell(3, 2), 2, max_steps=4)
    nn.init.constant_(layer.halting.bias, -2.5)
    return Flat(layer)


class TestAdaptiveComputationTime(MethodTests):
    cases = (
        Case(
            "published", lambda: Flat(AdaptiveComputationTime(GRUCell(3, 2), 2)), [(3, 1, 2)], dynamic=[(0,)]
        ),
        Case("to the maximum", hesitant, [(3, 2, 2)], dynamic=[(0,)]),
    )


class TestGRUCell(MethodTests):
    cases = (Case("cell", lambda: GRUCell(2, 3), [(4, 2), (4, 3)], dynamic=[(0,), (0,)]),)


def assert_published(layer: AdaptiveComputationTime, input: Tensor, found: Pondered) -> None:
    """Values, and gradients of everything in everything."""
    each = [pondered(layer, sequence) for sequence in input]
    expected = {name: torch.stack([row[name] for row in each]) for name in each[0]}
    assert torch.equal(found.steps, expected.pop("steps"))
    pulls = {name: draw(*value.shape, seed=3) for name, value in expected.items()}
    for name, value in expected.items():
        assert_close(getattr(found, name), value, offset=10)
    leaves = [input, *layer.parameters()]
    totals = [
        torch.stack([(values[name] * pull).sum() for name, pull in pulls.items()]).sum()
        for values in (found._asdict(), expected)
    ]
    grads = [torch.autograd.grad(total, leaves) for total in totals]
    for actual, wanted in zip(*grads, strict=True):
        assert_close(actual, wanted, offset=1e4)


@pytest.mark.parametrize("kind", [GRUCell, nn.GRUCell, nn.LSTMCell])
def test_values_and_gradients_are_the_published_ones(kind: type[nn.Module]) -> None:
    layer, input = make(kind), draw(B, T, I, scale=2).requires_grad_()
    found = layer(input)
    assert len(found.steps.unique()) >= 4  # a batch of fast and slow ones
    assert_published(layer, input, found)


def test_the_first_update_is_flagged() -> None:
    """And no other; with one update at most the layer is its cell."""
    seen: list[Tensor] = []

    class Watched(GRUCell):
        def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
            seen.append(input)
            return super().forward(input, hx)

    layer, input = make(Watched, bias=-50.0), draw(B, 1, I)
    layer(input)
    assert [set(given[:, -1].tolist()) for given in seen] == [{1.0}, *[{0.0}] * (MOST - 1)]
    assert all(torch.equal(given[:, :-1], input[:, 0]) for given in seen)
    once = make(max_steps=1)
    found = once(input)
    assert torch.equal(found.output[:, 0], once.cell(F.pad(input[:, 0], (0, 1), value=1.0)))
    assert (found.steps == 1).all() and (found.ponder == 2).all() and (found.weights == 1).all()


def test_halting_weights_sum_to_one() -> None:
    for bias in (-50.0, -3.0, -1.0, 1.0, 50.0):
        found = make(bias=bias)(draw(B, T, I, scale=2))
        assert_close(found.weights.sum(-1), torch.ones(B, T, dtype=torch.float64))
        assert (found.weights >= 0).all()
        assert torch.equal((found.weights > 0).sum(-1), found.steps)
        remainder = found.ponder - found.steps
        last = found.weights.gather(-1, found.steps.unsqueeze(-1) - 1).squeeze(-1)
        assert_close(remainder, last, offset=MOST)
        assert (remainder > 0.01).all() and (remainder <= 1).all()


def test_who_halts_at_once_and_who_never_does() -> None:
    eager, slow = make(bias=50.0)(draw(B, T, I)), make(bias=-50.0)(draw(B, T, I))
    assert (eager.steps == 1).all() and (eager.ponder == 2).all()
    assert (slow.steps == MOST).all()
    assert_close(slow.ponder, torch.full((B, T), MOST + 1, dtype=torch.float64), offset=10)
    # Within epsilon of one is enough: sigmoid(5) = 0.9933, and 0.9900 is its bound.
    layer = make(bias=5.0)
    nn.init.zeros_(layer.halting.weight)
    assert (layer(draw(B, T, I)).steps == 1).all()
    layer.epsilon = 0.001
    assert (layer(draw(B, T, I)).steps == 2).all()


def scripted(logits: Tensor) -> Pondered:
    """Adaptive computation whose halting units have these inputs, (B, n), update by update."""
    column = iter(logits.unbind(1))
    one = torch.ones(1, dtype=logits.dtype)
    state = torch.zeros(len(logits), 1, dtype=logits.dtype)

    def cell(input: Tensor, state: Tensor) -> Tensor:
        return next(column).unsqueeze(1)

    return act_step(cell, state, state, one.view(1, 1), 0 * one, max_steps=logits.shape[1])


def test_by_hand() -> None:
    """Probabilities 0.5, 0.4, 0.3: 0.5 + 0.4 < 0.99, so N = 3, R = 0.1 and the cost is 3.1."""
    h = torch.tensor([[0.5, 0.4, 0.3, 0.2]], dtype=torch.float64)
    found = scripted(h.logit())
    assert found.steps.item() == 3 and math.isclose(found.ponder.item(), 3.1)
    assert_close(found.weights, torch.tensor([[0.5, 0.4, 0.1, 0.0]], dtype=torch.float64))
    mean = 0.5 * math.log(1) + 0.4 * math.log(0.4 / 0.6) + 0.1 * math.log(0.3 / 0.7)
    assert math.isclose(found.output.item(), mean)


def test_gradient_of_the_ponder_cost() -> None:
    """-1 for each probability before the last and 0 for the last, as in the paper; and by differences."""
    logits = draw(B, MOST, scale=2).requires_grad_()
    found = scripted(logits)
    assert len(found.steps.unique()) >= 3
    (grad,) = torch.autograd.grad(found.ponder.sum(), logits)
    before_last = torch.arange(MOST) < found.steps.unsqueeze(1) - 1
    h = logits.detach().sigmoid()
    assert_close(grad, torch.where(before_last, -h * (1 - h), 0))
    assert gradcheck(lambda logits: scripted(logits).ponder, logits)
    layer, input = make(), draw(B, T, I, scale=2)
    names = [name for name, _ in layer.named_parameters()]

    def cost(*values: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, values, strict=True)), (input,)).ponder

    assert gradcheck(cost, tuple(parameter.detach().requires_grad_() for parameter in layer.parameters()))


def test_the_mean_of_linear_outputs_is_the_output_of_the_mean() -> None:
    """So that the paper's mean over outputs needs nothing but a linear layer on top."""
    states: list[Tensor] = []

    class Kept(GRUCell):
        def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
            states.append(super().forward(input, hx))
            return states[-1]

    layer, readout = make(Kept), nn.Linear(H, 2).double()
    found = layer(draw(B, 1, I, scale=2))
    outputs = torch.stack([readout(state) for state in states], 1)
    mean = (found.weights[:, 0, : len(states)].unsqueeze(-1) * outputs).sum(1)
    assert_close(readout(found.output[:, 0]), mean)


def test_ends_when_all_have_halted_with_the_same_result() -> None:
    """As vmap, which cannot look, and runs to the maximum."""
    calls = 0

    class Counted(GRUCell):
        def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
            nonlocal calls
            calls += 1
            return super().forward(input, hx)

    layer, input = make(Counted, bias=0.0, max_steps=20), draw(B, 1, I)
    early = layer(input)
    assert calls == early.steps.max() < 20
    calls = 0
    full = vmap(layer)(input.unsqueeze(0))
    assert calls == 20
    for actual, expected in zip(full, early, strict=True):
        assert torch.equal(actual[0], expected)
    leaves = list(layer.parameters())
    both = [torch.autograd.grad(f.output.sum() + f.ponder.sum(), leaves) for f in (early, full)]
    for actual, expected in zip(*both, strict=True):
        assert_close(actual, expected, offset=100)


def test_batch_mates_do_not_matter() -> None:
    layer, input = make(), draw(B, T, I, scale=2)
    together = layer(input)
    for b in range(B):
        for actual, expected in zip(layer(input[b : b + 1]), together, strict=True):
            assert_close(actual[0], expected[b])


def test_what_comes_after_halting_is_never_read() -> None:
    """A cell that overflows at its third update spoils nothing of an example that halts at its second."""

    def cell(input: Tensor, state: Tensor) -> Tensor:
        return torch.where(state > 1.5, math.inf, state + 1)

    logits = torch.tensor([[3.0]], dtype=torch.float64, requires_grad=True)
    start = torch.tensor([[0.0], [-9.0]], dtype=torch.float64, requires_grad=True)
    bias = torch.tensor([-3.0], dtype=torch.float64)
    found = act_step(cell, start[:, :0], start, logits, bias, max_steps=6)
    assert found.steps.tolist() == [2, 6]
    assert found.output.isfinite().all() and found.weights.isfinite().all()
    for grad in torch.autograd.grad(found.output.sum() + found.ponder.sum(), [logits, start]):
        assert grad.isfinite().all()


def test_a_state_goes_on() -> None:
    layer, input = make(), draw(B, T, I)
    whole = layer(input)
    first = layer(input[:, :1])
    rest = layer(input[:, 1:], first.state)
    assert torch.equal(torch.cat([first.output, rest.output], 1), whole.output)
    assert torch.equal(rest.state, whole.state) and torch.equal(whole.state, whole.output[:, -1])


def test_half_precision_halts_as_float32_does() -> None:
    """Twenty probabilities of 0.05: in bfloat16 their sum would be off by more than epsilon."""
    layer = AdaptiveComputationTime(GRUCell(I + 1, H), H, max_steps=30).bfloat16()
    nn.init.zeros_(layer.halting.weight)
    nn.init.constant_(layer.halting.bias, math.log(0.05 / 0.95))
    found = layer(torch.zeros(2, 1, I, dtype=torch.bfloat16))
    assert found.output.dtype == torch.bfloat16 and found.ponder.dtype == torch.float32
    assert (found.steps == 20).all()
    assert_close(found.weights.sum(-1), torch.ones(2, 1))


def test_a_population_equals_a_loop() -> None:
    streams = lab.make_streams(0, 4, 1)
    population = lab.Population(lambda: make(spread=1.0), streams, strategy="vmap")
    with torch.no_grad():
        for value in population.parameters():
            value.add_(draw(*value.shape, seed=5))
    input = draw(4, B, T, I)
    found = population(input)
    assert len(found.steps.unique()) >= 4
    grads = torch.autograd.grad(found.output.sum() + found.ponder.sum(), list(population.parameters()))
    for r in range(4):
        replica = population.replica(r)
        expected = replica(input[r])
        for actual, wanted in zip(found, expected, strict=True):
            assert_close(actual[r], wanted)
        alone = torch.autograd.grad(expected.output.sum() + expected.ponder.sum(), list(replica.parameters()))
        for actual, wanted in zip(grads, alone, strict=True):
            assert_close(actual[r], wanted, offset=1e4)


@pytest.mark.parametrize("bias", [True, False])
def test_the_cell_is_torchs(bias: bool) -> None:
    ours, theirs = GRUCell(I, H, bias).double(), nn.GRUCell(I, H, bias).double()
    ours.load_state_dict(theirs.state_dict())
    input, state = draw(B, I), draw(B, H)
    assert_close(ours(input, state), theirs(input, state))
    assert_close(ours(input), theirs(input))


def test_the_halting_bias_begins_at_one() -> None:
    assert AdaptiveComputationTime(GRUCell(3, 4), 4).halting.bias.item() == 1


def learns(penalty: float) -> tuple[float, Tensor]:
    """Train on the sum of two bits, modulo two, and give the last loss and the mean updates."""
    torch.manual_seed(0)
    layer, readout = AdaptiveComputationTime(GRUCell(3, 8), 8, max_steps=5), nn.Linear(8, 1)
    x = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)])
    y = (x.prod(1, keepdim=True) > 0).float()
    optimizer = torch.optim.Adam([*layer.parameters(), *readout.parameters()], lr=2e-2)
    for _ in range(150):
        found = layer(x.unsqueeze(1))
        loss = F.binary_cross_entropy_with_logits(readout(found.output[:, 0]), y)
        optimizer.zero_grad()
        (loss + penalty * found.ponder.mean()).backward()
        optimizer.step()
    return loss.item(), found.steps.double().mean()


def test_a_penalty_saves_updates() -> None:
    (loss, steps), (dear_loss, dear_steps) = learns(0.0), learns(0.1)
    assert loss < 0.05 and dear_loss < 0.1
    assert dear_steps < 0.5 * steps


def wrong(*shapes: Sequence[int]) -> list[Tensor]:
    return [torch.zeros(tuple(shape)) for shape in shapes]


def test_errors() -> None:
    cell = GRUCell(I + 1, H)
    for input in wrong((B, I), (B, 0, I), (B, T, I, 1)):
        with pytest.raises(
            ValueError, match=r"input should have shape \(sequences, steps, features\) with one"
        ):
            AdaptiveComputationTime(cell, H)(input)
    state, weight, bias = torch.zeros(B, H), torch.zeros(1, H), torch.zeros(1)
    for input in wrong((I,), (B, T, I)):
        with pytest.raises(ValueError, match=r"input should have shape \(examples, features\), but has"):
            act_step(cell, input, state, weight, bias)
    for most in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"max_steps should be a whole number, 1 or more, but is {most}"):
            AdaptiveComputationTime(cell, H, most)  # type: ignore[arg-type]
    for epsilon in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match=f"epsilon should be from 0 to less than 1, but is {epsilon}"):
            act_step(cell, torch.zeros(B, I), state, weight, bias, epsilon=epsilon)
    with pytest.raises(ValueError, match="hidden_size should be a whole number, 1 or more, but is 0"):
        AdaptiveComputationTime(cell, 0)
    with pytest.raises(ValueError, match="state should have 1 tensors, but has 2"):
        AdaptiveComputationTime(cell, H)(torch.zeros(B, T, I), (state, state))
    with pytest.raises(ValueError, match=r"shapes that it is given, \[\(6, 4\)\], but returned \[\(6, 3\)\]"):
        act_step(lambda input, state: state[:, :3], torch.zeros(B, I), state, weight, bias)


@pytest.mark.parametrize("early", [[0.5], [0.2, 0.3], []])
def test_when_an_update_falls_away_the_cost_drops_by_one_less_its_predecessors_probability(
    early: list[float],
) -> None:
    """`early` probabilities, then one that nearly completes the sum, then one that always does."""

    def cost(missing: float) -> Pondered:
        before_last = 0.99 - sum(early) - missing
        states = iter(torch.tensor([*early, before_last, 0.9], dtype=torch.float64).logit())
        zeros, ones = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
        return act_step(lambda input, state: next(states).view(1, 1), zeros, zeros, ones, zeros[0])

    above, below = cost(1e-9), cost(-1e-9)
    assert above.steps.item() - below.steps.item() == 1
    drop = above.ponder.item() - below.ponder.item()
    assert drop == pytest.approx(1 - (0.99 - sum(early)), abs=1e-6)
