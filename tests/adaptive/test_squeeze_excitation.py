"""Squeeze-and-Excitation against the published formula in loops and against what torchvision computes."""

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

from surveylab.adaptive import SqueezeExcitation, SqueezeExcitation1d, squeeze_excitation


class TestSqueezeExcitation(MethodTests):
    cases = (
        Case("pictures", lambda: SqueezeExcitation(4, 2), [(4, 4, 3, 2)], dynamic=[(0, 2, 3)]),
        Case("sequences", lambda: SqueezeExcitation1d(4, 2), [(3, 4, 5)], dynamic=[(0, 2)]),
        Case("one picture", lambda: SqueezeExcitation(4, 2, nn.SiLU), [(4, 3, 2)], dynamic=[(1, 2)]),
        Case(
            "as in MobileNet",
            lambda: SqueezeExcitation(4, 3, nn.Tanh, nn.Softplus),
            [(4, 4, 3, 2)],
            dynamic=[(0, 2, 3)],
        ),
    )


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def weights(channels: int, squeezed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shapes = [(squeezed, channels), (squeezed,), (channels, squeezed), (channels,)]
    first, second, third, fourth = (random(*shape, seed=i) for i, shape in enumerate(shapes, 1))
    return first, second, third, fourth


def as_published(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """Equations 2 to 4 of Hu et al. (2018), number by number, with biases."""
    output = torch.empty_like(x)
    for b, maps in enumerate(x.flatten(2).tolist()):
        z = [math.fsum(channel) / len(channel) for channel in maps]
        hidden = []
        for row, shift in zip(w1.tolist(), b1.tolist(), strict=True):
            hidden.append(max(0.0, math.fsum(w * value for w, value in zip(row, z, strict=True)) + shift))
        for c, (row, shift) in enumerate(zip(w2.tolist(), b2.tolist(), strict=True)):
            score = math.fsum(w * value for w, value in zip(row, hidden, strict=True)) + shift
            output[b, c] = x[b, c] / (1 + math.exp(-score))
    return output


def as_torchvision(block: SqueezeExcitation, x: Tensor) -> Tensor:
    """Adaptive pooling, two convolutions of size 1, the gates times the input."""
    scale = nn.AdaptiveAvgPool2d(1)(x)
    scale = block.activation(block.fc1(scale))
    return block.scale_activation(block.fc2(scale)) * x


@pytest.mark.parametrize("shape", [(5, 6, 7, 3), (5, 6, 7), (1, 6, 1, 1), (2, 6, 2, 3, 4)])
def test_it_is_the_published_formula(shape: tuple[int, ...]) -> None:
    x, parameters = random(*shape), weights(6, 2)
    assert_close(squeeze_excitation(x, *parameters), as_published(x, *parameters))


@pytest.mark.parametrize("squeezed", [1, 2, 9])
@pytest.mark.parametrize(
    "kinds", [(), (nn.ReLU, nn.Hardsigmoid), (nn.SiLU, nn.Sigmoid)], ids=["default", "V3", "Efficient"]
)
def test_it_computes_what_torchvision_does(squeezed: int, kinds: tuple[Any, ...]) -> None:
    """Outputs and all gradients, for a batch and for one picture."""
    block = SqueezeExcitation(6, squeezed, *kinds).double()
    for shape in ((3, 6, 5, 4), (6, 5, 4)):
        leaves = [random(*shape).requires_grad_(), *block.parameters()]
        ours, theirs = block(leaves[0]), as_torchvision(block, leaves[0])
        assert_close(ours, theirs)
        pull = random(*shape, seed=9)
        for found, wanted in zip(
            torch.autograd.grad(ours, leaves, pull), torch.autograd.grad(theirs, leaves, pull), strict=True
        ):
            assert_close(found, wanted)


def test_state_dict_and_initialisation_are_torchvisions() -> None:
    torch.manual_seed(0)
    block = SqueezeExcitation(input_channels=8, squeeze_channels=2, activation=nn.ReLU)
    torch.manual_seed(0)
    theirs = {"fc1": nn.Conv2d(8, 2, 1), "fc2": nn.Conv2d(2, 8, 1)}
    assert {name: tuple(value.shape) for name, value in block.state_dict().items()} == {
        "fc1.weight": (2, 8, 1, 1),
        "fc1.bias": (2,),
        "fc2.weight": (8, 2, 1, 1),
        "fc2.bias": (8,),
    }
    for name, value in block.state_dict().items():
        layer, kind = name.split(".")
        assert torch.equal(value, getattr(theirs[layer], kind))
    assert SqueezeExcitation1d(8, 2).fc1.weight.shape == (2, 8, 1)


def test_gates_are_of_all_channels_and_of_no_position() -> None:
    """A channel's gate moves when another channel does; it stays when positions change places."""
    block = SqueezeExcitation(4, 4, nn.Identity).double()
    with torch.no_grad():
        block.fc1.weight.fill_(0.5)
        block.fc2.weight.fill_(0.25)
    x = random(2, 4, 3, 3)
    moved = x.clone()
    moved[0, 1] += 1
    gates = block(x) / x
    changed = block(moved) / moved
    assert ((gates > 0) & (gates < 1)).all()
    assert (gates[0] - changed[0]).abs().min() > 1e-3
    assert_close(changed[1], gates[1])
    assert_close(gates, gates[..., :1, :1].expand_as(gates))
    assert_close(block(x.flip(-1)), block(x).flip(-1))


def test_mean_of_many_large_values() -> None:
    x = (random(2, 3, 64, 64) + 1e4).float()
    w1, b1, w2, b2 = (value.float() for value in weights(3, 2))
    exact = squeeze_excitation(x.double(), w1.double(), b1.double(), w2.double(), b2.double())
    torch.testing.assert_close(squeeze_excitation(x, w1, b1, w2, b2).double(), exact, rtol=2e-3, atol=1e-2)


def test_layout_is_kept() -> None:
    x = random(2, 4, 5, 6).to(memory_format=torch.channels_last)
    assert SqueezeExcitation(4, 2).double()(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SqueezeExcitation(0, 2), ValueError, "input_channels should be a whole number, 1 or more"),
        (lambda: SqueezeExcitation(4, 0), ValueError, "squeeze_channels should be a whole number"),
        (lambda: SqueezeExcitation(4, 2)(torch.ones(2, 4)), ValueError, "(batch, channels, height, width)"),
        (lambda: SqueezeExcitation1d(4, 2)(torch.ones(2, 4, 3, 3)), ValueError, "(batch, channels, length)"),
        (lambda: SqueezeExcitation(4, 2)(torch.ones(2, 4, 0, 3)), ValueError, "has (2, 4, 0, 3)"),
        (
            lambda: SqueezeExcitation(4, 2)(torch.ones(2, 3, 5, 5)),
            RuntimeError,
            "weight1 should have shape (2",
        ),
        (
            lambda: squeeze_excitation(torch.ones(2, 4, 3), torch.ones(2, 4), None, torch.ones(4, 3), None),
            RuntimeError,
            "weight2 should have shape (4, 2) for the 4 channels of the input (2, 4, 3), but has (4, 3)",
        ),
    ],
)
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()
