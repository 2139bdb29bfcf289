"""Dynamic convolution against a loop over examples, and the identities of its mixture."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from methods import Case, MethodTests
from tolerances import assert_close
from torch import Tensor, nn
from torch.nn import functional as F

from surveylab.adaptive import (
    DynamicConv1d,
    DynamicConv2d,
    annealed_temperature,
    dynamic_convolution,
    kernel_attention,
    set_temperature,
)
from surveylab.lab import Population, make_streams

CONVOLUTIONS: dict[int, Any] = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


class TestDynamicConvolution(MethodTests):
    cases = (
        Case("pictures", lambda: DynamicConv2d(4, 2, 2, temperature=2), [(3, 4, 3, 3)], dynamic=[(0, 2, 3)]),
        Case(
            "sequences, groups, stride",
            lambda: DynamicConv1d(4, 2, 3, 2, padding=1, groups=2, bias=False, kernels=3, temperature=1),
            [(3, 4, 5)],
            dynamic=[(0, 2)],
        ),
        Case(
            "evaluation, same size, dilated",
            lambda: DynamicConv2d(3, 2, (3, 1), padding="same", dilation=2, kernels=2, temperature=1).eval(),
            [(2, 3, 5, 2)],
            dynamic=[(0, 2, 3)],
        ),
        Case("one sequence", lambda: DynamicConv1d(4, 2, 2, kernels=2), [(4, 5)], dynamic=[(1,)]),
    )


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def attention_as_published(layer: Any, example: Tensor) -> list[float]:
    """Section 3.2 of Chen et al. (2020) for one example, number by number."""
    z = [math.fsum(channel) / len(channel) for channel in example.flatten(1).tolist()]

    def dense(linear: nn.Linear, values: list[float]) -> list[float]:
        return [
            math.fsum(w * v for w, v in zip(row, values, strict=True)) + shift
            for row, shift in zip(linear.weight.tolist(), linear.bias.tolist(), strict=True)
        ]

    scores = dense(layer.fc2, [max(0.0, value) for value in dense(layer.fc1, z)])
    powers = [math.exp(score / layer.temperature.item()) for score in scores]
    return [power / math.fsum(powers) for power in powers]


def as_published(layer: Any, x: Tensor) -> Tensor:
    """One example after another: its kernel, and one convolution with it."""
    outputs = []
    for example in x:
        shares = attention_as_published(layer, example)
        kernel = sum(p * w for p, w in zip(shares, layer.weight, strict=True))
        bias = None if layer.bias is None else sum(p * b for p, b in zip(shares, layer.bias, strict=True))
        convolve = CONVOLUTIONS[x.dim()]
        outputs.append(
            convolve(
                example[None], kernel, bias, layer.stride, layer.padding, layer.dilation, groups=layer.groups
            )
        )
    return torch.cat(outputs)


SETTINGS = [
    {},
    {"bias": False, "kernels": 1},
    {"stride": 2, "padding": 1, "kernels": 7},
    {"padding": "same", "dilation": 2},
    {"padding": "valid", "groups": 2},
    {"groups": 6, "reduction": 1, "padding": 2},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: " ".join(settings) or "default")
@pytest.mark.parametrize(("kind", "size"), [(DynamicConv1d, (9,)), (DynamicConv2d, (8, 7))])
def test_it_is_the_loop_over_examples(
    kind: type[DynamicConv2d], size: tuple[int, ...], settings: dict[str, Any]
) -> None:
    """Outputs, and the gradients of the input and of every parameter."""
    torch.manual_seed(0)
    layer = kind(6, 6, 3, temperature=0.5, **settings).double()
    x = random(5, 6, *size).requires_grad_()
    ours, theirs = layer(x), as_published(layer, x)
    assert_close(ours, theirs, offset=10)
    kept = [x, layer.weight, *([] if layer.bias is None else [layer.bias])]
    attention = layer.attention(x).detach()  # the loop's is no tensor: its gradient is tested by differences
    fixed = dynamic_convolution(
        x,
        attention,
        layer.weight,
        layer.bias,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
    )
    pull = random(*ours.shape, seed=3)
    for found, wanted in zip(
        torch.autograd.grad(fixed, kept, pull), torch.autograd.grad(theirs, kept, pull), strict=True
    ):
        assert_close(found, wanted, offset=100)


def test_it_is_the_mixture_of_the_outputs() -> None:
    """A convolution is linear in its kernel."""
    x, weight, bias = random(4, 3, 6, 5), random(5, 2, 3, 3, 3, seed=1), random(5, 2, seed=2)
    attention = random(4, 5, seed=3)  # true for any weights, not only those of a softmax
    each = torch.stack([F.conv2d(x, weight[k], bias[k], padding=1) for k in range(5)], 1)
    mixture = torch.einsum("bk,bkohw->bohw", attention, each)
    assert_close(dynamic_convolution(x, attention, weight, bias, padding=1), mixture, offset=100)


def test_three_axes_of_positions() -> None:
    x, weight = random(3, 2, 4, 3, 3), random(1, 4, 2, 2, 2, 2, seed=1)
    attention = torch.ones(3, 1, dtype=torch.float64)
    assert_close(dynamic_convolution(x, attention, weight), F.conv3d(x, weight[0]), offset=10)


def test_equal_kernels_are_one_convolution() -> None:
    """Whatever the attention is, since it sums to 1."""
    layer = DynamicConv2d(3, 4, 3, temperature=0.1).double()
    plain = nn.Conv2d(3, 4, 3).double()
    for name, value in plain.state_dict().items():
        layer.state_dict()[name].copy_(value)
    x = random(5, 3, 6, 6)
    assert_close(layer(x), plain(x), offset=10)


def test_attention() -> None:
    """It sums to 1 and differs between examples; a high temperature makes it uniform, a low one hard."""
    torch.manual_seed(1)
    layer = DynamicConv2d(8, 4, 3, temperature=1).double()
    x = 5 * random(6, 8, 5, 5)
    found = layer.attention(x)
    assert found.shape == (6, 4) and (found > 0).all()
    assert_close(found.sum(1), torch.ones(6, dtype=torch.float64))
    wanted = [attention_as_published(layer, example) for example in x]
    assert_close(found, torch.tensor(wanted, dtype=torch.float64))
    assert (found - found[0]).abs().max() > 0.01
    spread = [found.sub(0.25).abs().max()]
    for temperature in (30.0, 1e3, 1e9):
        set_temperature(layer, temperature)
        spread.append(layer.attention(x).sub(0.25).abs().max())
    assert spread == sorted(spread, reverse=True) and spread[-1] < 1e-8
    set_temperature(layer, 1e-6)
    assert_close(layer.attention(x).amax(1), torch.ones(6, dtype=torch.float64))


def test_attention_of_half_precision_sums_to_one() -> None:
    layer = DynamicConv1d(8, 4, 3, kernels=7, temperature=1).to(torch.bfloat16)
    shares = layer.attention(random(6, 8, 5).to(torch.bfloat16))
    assert shares.dtype == torch.float32
    assert_close(shares.sum(1), torch.ones(6))


def test_temperature_falls_linearly_and_stays() -> None:
    assert [annealed_temperature(step, 4) for step in (0, 1, 2, 4, 9)] == [30.0, 22.75, 15.5, 1.0, 1.0]
    assert annealed_temperature(1, 2, start=4, end=2) == 3.0


def test_temperature_is_set_in_every_layer_and_saved() -> None:
    model = nn.Sequential(DynamicConv1d(2, 4, 3), nn.Sequential(nn.ReLU(), DynamicConv1d(4, 4, 3)))
    assert model[0].temperature == 30
    set_temperature(model, 2.5)
    assert model.state_dict()["1.1.temperature"] == 2.5 and model[0].temperature == 2.5
    fresh = nn.Sequential(DynamicConv1d(2, 4, 3), nn.Sequential(nn.ReLU(), DynamicConv1d(4, 4, 3)))
    fresh.load_state_dict(model.state_dict())
    x = torch.randn(2, 2, 9)
    assert torch.equal(fresh(x), model(x))


@pytest.mark.filterwarnings("error")
def test_population() -> None:
    """Replicas together are each alone, and a temperature reaches all of them."""

    def build() -> nn.Module:
        return nn.Sequential(DynamicConv2d(3, 6, 3, padding=1), nn.ReLU(), DynamicConv2d(6, 4, 3, groups=2))

    population = Population(build, make_streams(0, 3, 1), strategy="vmap")
    set_temperature(population.buffers, 1.5)
    alone = [population.replica(r) for r in range(3)]
    assert all(model.get_buffer("2.temperature") == 1.5 for model in alone)
    x = random(3, 5, 3, 6, 6).float()
    output = population(x)
    grads = torch.autograd.grad(output.square().sum(), list(population.parameters()))
    for r, model in enumerate(alone):
        expected = model(x[r])
        assert_close(output[r], expected)
        wanted = torch.autograd.grad(expected.square().sum(), list(model.parameters()))
        for found, grad in zip(grads, wanted, strict=True):
            assert_close(found[r], grad, offset=100)


def test_parameters() -> None:
    """Shapes, and each kernel begins as torch's does."""
    layer = DynamicConv2d(8, 6, (3, 5), groups=2)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "weight": (4, 6, 4, 3, 5),
        "bias": (4, 6),
        "fc1.weight": (2, 8),
        "fc1.bias": (2,),
        "fc2.weight": (4, 2),
        "fc2.bias": (4,),
        "temperature": (),
    }
    large, plain = DynamicConv2d(64, 64, 3), nn.Conv2d(64, 64, 3)
    for ours, theirs in ((large.weight, plain.weight), (large.bias, plain.bias)):
        assert ours is not None and theirs is not None
        torch.testing.assert_close(ours.abs().max(), theirs.abs().max(), rtol=0.1, atol=0)
        torch.testing.assert_close(ours.std(), theirs.std(), rtol=0.1, atol=0)
    torch.manual_seed(0)
    first = DynamicConv1d(2, 3, 3)
    torch.manual_seed(0)
    second = DynamicConv1d(2, 3, 3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    second.reset_parameters()
    assert not any(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


ONES = torch.ones(2, 4, 5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: DynamicConv1d(0, 2, 3), ValueError, "in_channels should be a whole number, 1 or more"),
        (lambda: DynamicConv1d(4, 2, 3, kernels=0), ValueError, "kernels should be a whole number"),
        (lambda: DynamicConv1d(4, 2, 3, reduction=0), ValueError, "reduction should be a whole number"),
        (lambda: DynamicConv1d(4, 3, 3, groups=2), ValueError, "out_channels should be a multiple of groups"),
        (lambda: DynamicConv1d(3, 4, 3, groups=2), ValueError, "in_channels should be a multiple of groups"),
        (lambda: DynamicConv1d(4, 2, 3, temperature=0), ValueError, "temperature should be positive"),
        (lambda: DynamicConv1d(4, 2, 3, padding="full"), ValueError, "but is 'full'"),
        (lambda: DynamicConv1d(4, 2, 3)(torch.ones(2, 4, 5, 5)), ValueError, "input should have 3 axes"),
        (lambda: DynamicConv2d(4, 2, 3)(torch.ones(2, 4)), ValueError, "input should have 4 axes"),
        (lambda: DynamicConv1d(4, 2, 3)(torch.ones(2, 4, 0)), ValueError, "has shape (2, 4, 0)"),
        (lambda: DynamicConv1d(3, 2, 3)(ONES), RuntimeError, "input should have 3 channels"),
        (
            lambda: dynamic_convolution(ONES, torch.ones(2, 3), torch.ones(4, 2, 4, 3)),
            RuntimeError,
            "attention should have shape (batch, kernels), (2, 4), but has (2, 3)",
        ),
        (
            lambda: dynamic_convolution(ONES, torch.ones(2, 3), torch.ones(3, 2, 2, 3)),
            RuntimeError,
            "but has (3, 2, 2, 3)",
        ),
        (
            lambda: dynamic_convolution(ONES, torch.ones(2, 3), torch.ones(3, 2, 4, 3), torch.ones(2)),
            RuntimeError,
            "bias should have shape (kernels, outputs), (3, 2), but has (2,)",
        ),
        (
            lambda: dynamic_convolution(ONES, torch.ones(2, 3), torch.ones(2, 4, 3)),
            ValueError,
            "weight one axis more",
        ),
        (lambda: annealed_temperature(0, 0), ValueError, "steps 1 or more"),
        (lambda: annealed_temperature(0, 1, end=0), ValueError, "end should be positive"),
        (lambda: set_temperature(nn.ReLU(), 1), ValueError, "model should have a dynamic convolution"),
        (lambda: set_temperature({"mean": ONES}, 1), ValueError, "model should have a dynamic convolution"),
        (lambda: set_temperature(DynamicConv1d(4, 2, 3), -1), ValueError, "temperature should be positive"),
    ],
)
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()


def test_pure_attention_takes_no_biases() -> None:
    x, weight1, weight2 = random(3, 4, 5), random(2, 4, seed=1), random(3, 2, seed=2)
    zeros = [torch.zeros(n, dtype=torch.float64) for n in (2, 3)]
    plain = kernel_attention(x, weight1, None, weight2, None)
    assert_close(plain, kernel_attention(x, weight1, zeros[0], weight2, zeros[1]))
