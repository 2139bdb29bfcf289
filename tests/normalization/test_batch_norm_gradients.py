"""The gradient written by hand is that of the equation, once and twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tolerances import assert_close
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from surveylab.normalization import batch_norm, batch_norm_reference

Draw = Callable[..., Tensor]

SHAPES = [(6, 3), (3, 2, 4), (2, 3, 2, 2)]


@pytest.mark.parametrize("affine", ["both", "weight", "bias", "none"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_training_gradients_by_finite_differences(shape: tuple[int, ...], affine: str, draw: Draw) -> None:
    input = draw(*shape, dtype=torch.float64).requires_grad_()
    weight = draw(shape[1], dtype=torch.float64).requires_grad_() if affine in ("both", "weight") else None
    bias = draw(shape[1], dtype=torch.float64).requires_grad_() if affine in ("both", "bias") else None

    def f(input: Tensor, *parameters: Tensor) -> Tensor:
        left = list(parameters)
        scale, shift = (None if given is None else left.pop(0) for given in (weight, bias))
        return batch_norm(input, None, None, scale, shift, training=True, eps=0.1)

    leaves = [tensor for tensor in (input, weight, bias) if tensor is not None]
    assert gradcheck(f, leaves)
    assert gradgradcheck(f, leaves)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_evaluation_gradients_by_finite_differences(shape: tuple[int, ...], draw: Draw) -> None:
    tensors = [draw(*shape, dtype=torch.float64), *(draw(shape[1], dtype=torch.float64) for _ in range(2))]
    running = draw(shape[1], dtype=torch.float64), draw(shape[1], dtype=torch.float64).square()

    def f(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return batch_norm(input, *running, weight, bias)

    leaves = [tensor.requires_grad_() for tensor in tensors]
    assert gradcheck(f, leaves)
    assert gradgradcheck(f, leaves)


def test_the_equation_left_to_autograd_agrees_twice(draw: Draw) -> None:
    """With a gradient penalty, as in a GAN: the derivative of a function of the gradient."""
    results = []
    tensors = [draw(5, 4, 3, dtype=torch.float64), draw(4, dtype=torch.float64), draw(4, dtype=torch.float64)]

    def by_hand(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return batch_norm(input, None, None, weight, bias, training=True)

    normalizers: list[Callable[..., Tensor]] = [by_hand, batch_norm_reference]
    for normalize in normalizers:
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        first = torch.autograd.grad(normalize(*leaves).exp().sum(), leaves, create_graph=True)
        penalty = torch.stack([grad.square().sum() for grad in first]).sum()
        results.append([*first, *torch.autograd.grad(penalty, leaves)])
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected, offset=1e3 * float(expected.detach().abs().max()))


def test_function_transforms(draw: Draw) -> None:
    """torch.func's gradient and Hessian-vector product see the same function."""
    input, tangent = draw(5, 4, 3, dtype=torch.float64), draw(5, 4, 3, dtype=torch.float64)

    def loss(normalize: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda input: normalize(input).pow(3).sum()

    ours = loss(lambda input: batch_norm(input, None, None, training=True))
    expected = loss(batch_norm_reference)
    assert_close(torch.func.grad(ours)(input), torch.func.grad(expected)(input))
    products = [
        torch.func.grad(lambda input, f=f: (torch.func.grad(f)(input) * tangent).sum())(input)
        for f in (ours, expected)
    ]
    assert_close(*products)


def test_gradient_is_centred_and_orthogonal_to_the_normalized_values(draw: Draw) -> None:
    """As the module's docstring derives; exactly so without eps."""
    input = draw(6, 3, 5, dtype=torch.float64).requires_grad_()
    output = batch_norm(input, None, None, training=True, eps=1e-30)
    (grad,) = torch.autograd.grad(output, input, draw(6, 3, 5, dtype=torch.float64))
    zeros = torch.zeros(3, dtype=torch.float64)
    assert_close(grad.sum((0, 2)), zeros)
    assert_close((grad * output).detach().sum((0, 2)), zeros)
    assert grad.abs().max() > 0.1
