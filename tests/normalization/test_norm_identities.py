"""What the methods are to each other, and what each is blind to: the axes are the only difference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tolerances import assert_close
from torch import Tensor

from surveylab.normalization import (
    batch_norm,
    conditional_instance_norm,
    group_norm,
    instance_norm,
    layer_norm,
)

Draw = Callable[..., Tensor]

METHODS: dict[str, Callable[[Tensor], Tensor]] = {
    "batch": lambda x: batch_norm(x, None, None, training=True),
    "layer": lambda x: layer_norm(x, tuple(x.shape[1:])),
    "instance": instance_norm,
    "group": lambda x: group_norm(x, 2),
}
OF_AN_EXAMPLE = ["layer", "instance", "group"]


def assert_same_function(
    first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor], input: Tensor
) -> None:
    """The same outputs and gradients."""
    results = []
    grad = torch.randn(input.shape, generator=torch.Generator().manual_seed(5), dtype=input.dtype)
    for normalize in (first, second):
        leaf = input.clone().requires_grad_()
        output = normalize(leaf)
        results.append([output, *torch.autograd.grad(output, leaf, grad)])
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (2, 6, 7), (3, 6)], ids=str)
def test_one_group_is_layer_norm_over_channels_and_positions(shape: tuple[int, ...], draw: Draw) -> None:
    input = draw(*shape, dtype=torch.float64)
    assert_same_function(lambda x: group_norm(x, 1), lambda x: layer_norm(x, shape[1:]), input)


def test_their_scales_differ(draw: Draw) -> None:
    """One a channel and one a value: Layer Norm's are the more; equal along positions, they agree."""
    input, weight, bias = draw(4, 6, 5, 3, dtype=torch.float64), draw(6).double(), draw(6).double()
    spread = weight.view(6, 1, 1).expand(6, 5, 3), bias.view(6, 1, 1).expand(6, 5, 3)
    assert_same_function(
        lambda x: group_norm(x, 1, weight, bias), lambda x: layer_norm(x, (6, 5, 3), *spread), input
    )


@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (1, 6, 7)], ids=str)
def test_a_group_for_each_channel_is_instance_norm(shape: tuple[int, ...], draw: Draw) -> None:
    input = draw(*shape, dtype=torch.float64)
    weight, bias = draw(6).double(), draw(6).double()
    assert_same_function(
        lambda x: group_norm(x, 6, weight, bias),
        lambda x: instance_norm(x, None, None, weight, bias),
        input,
    )


def test_batch_norm_of_one_example_is_instance_norm(draw: Draw) -> None:
    input = draw(1, 6, 5, 3, dtype=torch.float64)
    assert_same_function(METHODS["batch"], instance_norm, input)


def test_instance_norm_is_batch_norm_with_examples_as_channels(draw: Draw) -> None:
    """As torch computes it: (B, C, H, W) -> (1, B C, H, W)."""
    input = draw(4, 6, 5, 3, dtype=torch.float64)
    assert_same_function(
        instance_norm, lambda x: METHODS["batch"](x.reshape(1, 24, 5, 3)).reshape(x.shape), input
    )


def test_instance_norm_with_a_scale_for_each_example_is_conditional(draw: Draw) -> None:
    input, weight, bias = draw(4, 6, 5, dtype=torch.float64), draw(6).double(), draw(6).double()
    assert_same_function(
        lambda x: conditional_instance_norm(x, weight.expand(4, 6), bias.expand(4, 6)),
        lambda x: instance_norm(x, None, None, weight, bias),
        input,
    )


@pytest.mark.parametrize("method", METHODS)
def test_who_is_blind_to_what(method: str, draw: Draw) -> None:
    """A positive scale and a shift of all values that are normalised together change nothing; others do.

    Only Instance Norm is blind to a change of contrast and brightness of every channel of every example.
    """
    input = draw(4, 6, 5, 3, dtype=torch.float64)
    blind = {
        "each channel of each example": (4, 6, 1, 1),
        "each example": (4, 1, 1, 1),
        "each channel": (1, 6, 1, 1),
        "all": (1, 1, 1, 1),
    }
    expected = {
        "batch": {"each channel", "all"},
        "layer": {"each example", "all"},
        "instance": set(blind),
        "group": {"each example", "all"},
    }
    found = set()
    for name, shape in blind.items():
        scale, shift = torch.rand(shape).double() + 0.5, torch.randn(shape).double()
        before, after = METHODS[method](input), METHODS[method](input * scale + shift)
        if torch.allclose(before, after, atol=1e-3):  # but for eps
            found.add(name)
        else:
            assert (before - after).abs().max() > 0.1
    assert found == expected[method]


@pytest.mark.parametrize("method", METHODS)
def test_only_batch_norm_depends_on_batch_mates(method: str, draw: Draw) -> None:
    """Bit for bit, whoever else is in the batch and however many."""
    input, others = draw(5, 6, 4, 3), draw(5, 6, 4, 3)
    others[0] = input[0]
    outputs = [METHODS[method](batch)[0] for batch in (input, others, input[:1], input[:3])]
    same = [torch.equal(output, outputs[0]) for output in outputs[1:]]
    assert same == [method != "batch"] * 3


@pytest.mark.parametrize("method", METHODS)
def test_gradients_stay_within_what_is_normalised_together(method: str, draw: Draw) -> None:
    """One output's gradient: exactly 0 outside, almost surely not inside."""
    input = draw(3, 4, 5, dtype=torch.float64).requires_grad_()
    (grad,) = torch.autograd.grad(METHODS[method](input)[1, 2, 3], input)
    inside = torch.zeros(3, 4, 5, dtype=torch.bool)
    together = {"batch": (slice(None), 2), "layer": (1,), "instance": (1, 2), "group": (1, slice(2, 4))}
    inside[together[method]] = True
    assert torch.equal(grad != 0, inside)
