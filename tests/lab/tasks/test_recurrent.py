"""The recurrent networks are torch's without normalisation, and Ba et al.'s with Layer Norm."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from surveylab import lab
from surveylab.lab.tasks.recurrent import GRU, LSTM, RNN, Recurrent
from surveylab.normalization import BatchNorm1d, LayerNorm

B, T, INPUTS, HIDDEN = 5, 7, 3, 4
LENGTHS = torch.tensor([7, 1, 4, 6, 4])
PAIRS: dict[Any, Any] = {RNN: nn.RNN, GRU: nn.GRU, LSTM: nn.LSTM}
each_kind = pytest.mark.parametrize("kind", PAIRS, ids=lambda kind: kind.__name__)


def make(kind: Any, norm: Callable[[int], nn.Module] | None = None, seed: int = 0) -> Recurrent:
    """A network in double precision, all of its parameters random."""
    generator = torch.Generator().manual_seed(seed)
    network = (kind(INPUTS, HIDDEN) if norm is None else kind(INPUTS, HIDDEN, norm)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return network


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(
    ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], parameters: Sequence[Sequence[Tensor]]
) -> None:
    """Outputs, last states and their gradients."""
    grads = [draw(*output.shape, seed=2 + place) for place, output in enumerate(ours)]
    for actual, expected in zip(ours, theirs, strict=True):
        assert_close(actual, expected)
    both = [torch.autograd.grad(out, own, grads) for out, own in zip((ours, theirs), parameters, strict=True)]
    for actual, expected in zip(*both, strict=True):
        assert_close(actual, expected, offset=1e3)


@each_kind
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "masked"])
def test_without_normalisation_they_are_torchs(kind: type[Recurrent], lengths: Tensor | None) -> None:
    ours = make(kind)
    theirs = PAIRS[kind](INPUTS, HIDDEN, batch_first=True).double()
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    inputs = [draw(B, T, INPUTS).requires_grad_() for _ in range(2)]
    found = ours(inputs[0], lengths)
    if lengths is None:
        expected, last = theirs(inputs[1])
    else:
        packed = pack_padded_sequence(inputs[1], lengths, batch_first=True, enforce_sorted=False)
        expected, last = theirs(packed)
        expected, _ = pad_packed_sequence(expected, batch_first=True)
    last = (last[0] if kind is LSTM else last)[0]
    order = [name for name, _ in ours.named_parameters()]
    own = [[inputs[0], *ours.parameters()], [inputs[1], *(theirs.get_parameter(name) for name in order)]]
    assert_same(found, (expected, last), own)


def test_initialisation_is_torchs() -> None:
    for kind, theirs in PAIRS.items():
        torch.manual_seed(0)
        ours = kind(INPUTS, HIDDEN)
        torch.manual_seed(0)
        for name, expected in theirs(INPUTS, HIDDEN).state_dict().items():
            assert torch.equal(ours.state_dict()[name], expected)


def as_published(network: Recurrent, input: Tensor) -> Tensor:
    """The paper's equations, one sequence and one step after another."""
    p = dict(network.named_parameters())
    W, U, b, b_state = (p[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape, p[f"{name}.weight"], p[f"{name}.bias"])

    sequences = []
    for sequence in input:
        h = c = torch.zeros(HIDDEN, dtype=input.dtype)
        steps = []
        for x in sequence:
            if isinstance(network, RNN):
                h = torch.tanh(norm("norm", W @ x + U @ h) + b + b_state)
            elif isinstance(network, LSTM):
                summed = norm("norm_ih", W @ x) + norm("norm_hh", U @ h) + b + b_state
                i, f, g, o = summed.split(HIDDEN)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(norm("norm_memory", c))
            else:
                gates, new = slice(0, 2 * HIDDEN), slice(2 * HIDDEN, None)
                summed = norm("norm_ih", W[gates] @ x) + norm("norm_hh", U[gates] @ h)
                r, z = torch.sigmoid(summed + b[gates] + b_state[gates]).split(HIDDEN)
                inner = norm("norm_hh_candidate", U[new] @ h) + b_state[new]
                n = torch.tanh(norm("norm_ih_candidate", W[new] @ x) + b[new] + r * inner)
                h = (1 - z) * n + z * h
            steps.append(h)
        sequences.append(torch.stack(steps))
    return torch.stack(sequences)


@each_kind
@pytest.mark.parametrize("norm", [LayerNorm, nn.LayerNorm], ids=["ours", "torch"])
def test_layer_norm_goes_where_the_paper_puts_it(kind: type[Recurrent], norm: type[nn.Module]) -> None:
    network, input = make(kind, norm), draw(B, T, INPUTS)
    outputs, last = network(input)
    expected = as_published(network, input)
    own = [list(network.parameters())] * 2
    assert_same((outputs, last), (expected, expected[:, -1]), own)


@each_kind
def test_padding_and_batch_mates_do_not_matter(kind: type[Recurrent]) -> None:
    """With Layer Norm: each sequence by itself gives the same; what pads it is never read."""
    network, input = make(kind, LayerNorm), draw(B, T, INPUTS)
    outputs, last = network(input, LENGTHS)
    padded = torch.arange(T) >= LENGTHS[:, None]
    assert not outputs[padded].any() and outputs[~padded].all()
    grads = torch.autograd.grad((outputs.sum(), last.sum()), list(network.parameters()))
    for anything in (1e3, math.inf, math.nan):
        leaf = input.masked_fill(padded.unsqueeze(-1), anything).requires_grad_()
        found = network(leaf, LENGTHS)
        assert torch.equal(found[0], outputs) and torch.equal(found[1], last)
        on_input, *same = torch.autograd.grad(
            (found[0].sum(), found[1].sum()), [leaf, *network.parameters()], materialize_grads=True
        )
        assert not on_input[padded].any() and on_input[~padded].all()
        for actual, expected in zip(same, grads, strict=True):
            assert torch.equal(actual, expected)
    for b, length in enumerate(LENGTHS.tolist()):
        alone, end = network(input[b : b + 1, :length])
        assert_close(outputs[b, :length], alone[0])
        assert_close(last[b], end[0])


@each_kind
def test_a_population_equals_a_loop(kind: Any) -> None:
    streams = lab.make_streams(3, 4, 1)
    population = lab.Population(lambda: kind(INPUTS, HIDDEN, LayerNorm).double(), streams, strategy="vmap")
    input, lengths = draw(4, B, T, INPUTS), LENGTHS.expand(4, B)
    outputs, last = population(input, lengths)
    grads = torch.autograd.grad((outputs.sum(), last.sum()), list(population.parameters()))
    for r in range(4):
        replica = population.replica(r)
        expected = replica(input[r], LENGTHS)
        assert_close(outputs[r], expected[0])
        assert_close(last[r], expected[1])
        alone = torch.autograd.grad([out.sum() for out in expected], list(replica.parameters()))
        for actual, wanted in zip(grads, alone, strict=True):
            assert_close(actual[r], wanted, offset=1e3)


@each_kind
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "masked"])
def test_gradients_of_offsets_are_the_signals_that_reach_the_states(
    kind: type[Recurrent], lengths: Tensor | None
) -> None:
    network, input = make(kind, LayerNorm), draw(B, T, INPUTS)
    offsets = torch.zeros(T, B, HIDDEN, dtype=torch.float64, requires_grad=True)
    outputs, last = network(input, lengths, offsets=offsets)
    assert all(torch.equal(a, b) for a, b in zip((outputs, last), network(input, lengths), strict=True))
    target = draw(B, HIDDEN)
    (signal,) = torch.autograd.grad((last * target).sum(), offsets)
    ends = torch.full((B,), T) if lengths is None else lengths
    for b, end in enumerate(ends.tolist()):
        assert_close(signal[end - 1, b], target[b])
        assert not signal[end:, b].any()
    for t, h in ((0, 1), (3, 2)):  # by differences
        step = torch.zeros_like(offsets)
        step[t, :, h] = 1e-6
        up, down = ((network(input, lengths, offsets=s)[1] * target).sum(1) for s in (step, -step))
        assert torch.allclose(signal[t, :, h], (up - down).detach() / 2e-6, rtol=1e-5, atol=1e-8)


class Watching(nn.Module):
    """Notes the shape of what it normalises."""

    seen: list[tuple[int, ...]] = []  # noqa: RUF012

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, input: Tensor) -> Tensor:
        self.seen.append((self.features, *input.shape))
        return input


@pytest.mark.parametrize(
    ("kind", "features"),
    [(RNN, [HIDDEN]), (GRU, [8, 8, 4, 4]), (LSTM, [16, 16, 4])],
    ids=["RNN", "GRU", "LSTM"],
)
def test_a_norm_sees_one_step(kind: type[Recurrent], features: list[int]) -> None:
    Watching.seen = []
    make(kind, Watching)(draw(B, 1, INPUTS))
    assert sorted(Watching.seen) == sorted((n, B, n) for n in features)
    make(kind, BatchNorm1d)(draw(B, T, INPUTS))  # so that Batch Norm fits as well


def test_errors() -> None:
    for shape in ((B, INPUTS), (B, 0, INPUTS), (B, T, INPUTS + 1)):
        with pytest.raises(ValueError, match=r"shape \(sequences, steps, 3\) with one step at least"):
            RNN(INPUTS, HIDDEN)(torch.zeros(shape))
    for lengths in (torch.ones(B, 1), torch.ones(B + 1), torch.tensor(1)):
        with pytest.raises(ValueError, match=r"lengths should have shape \(5,\), one for each sequence, but"):
            RNN(INPUTS, HIDDEN)(torch.zeros(B, T, INPUTS), lengths)
    for wrong in (-1, T + 1):
        with pytest.raises(ValueError, match=f"from 0 to the input's 7 steps, but are .*, {wrong}\\]"):
            RNN(INPUTS, HIDDEN)(torch.zeros(B, T, INPUTS), torch.tensor([7, 0, 7, 7, wrong]))
    for shape in ((B, T, HIDDEN), (T, B, 1), (T, 1, HIDDEN)):
        with pytest.raises(ValueError, match=r"offsets should have shape .*\(7, 5, 4\), but has"):
            RNN(INPUTS, HIDDEN)(torch.zeros(B, T, INPUTS), offsets=torch.zeros(shape))
