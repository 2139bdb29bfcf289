"""The one gradient written by hand is that of the equation, over any axes, once and twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tolerances import assert_close
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from surveylab.normalization import (
    group_norm,
    instance_norm,
    layer_norm,
    standardise,
    standardise_reference,
)

Draw = Callable[..., Tensor]
Normalize = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]

# A method by name, shape of the input, shape of the parameters.
METHODS: list[tuple[Normalize, tuple[int, ...], tuple[int, ...]]] = [
    (lambda x, w, b: layer_norm(x, (4,), w, b, eps=0.1), (3, 4), (4,)),
    (lambda x, w, b: layer_norm(x, (2, 4), w, b, eps=0.1), (3, 2, 4), (2, 4)),
    (lambda x, w, b: instance_norm(x, None, None, w, b, eps=0.1), (2, 3, 4), (3,)),
    (lambda x, w, b: group_norm(x, 2, w, b, eps=0.1), (2, 4, 3), (4,)),
    (lambda x, w, b: group_norm(x, 1, w, b, eps=0.1), (3, 4), (4,)),
]
each_method = pytest.mark.parametrize(
    ("normalize", "shape", "parameters"),
    METHODS,
    ids=["layer", "layer, two axes", "instance", "group", "group, no positions"],
)
# Axes and parameters of every kind over one shape (2, 3, 4): shared along all axes, some or none of them.
ANY = [
    ((-1,), (1, 1, 4)),
    ((-1,), (2, 3, 1)),
    ((-1,), (1, 3, 4)),
    ((-2,), (1, 3, 1)),
    ((-3, -1), (1, 3, 1)),
    ((-2, -1), (1, 3, 1)),
    ((-2, -1), (1, 3, 4)),
    ((-2, -1), (2, 1, 1)),
    ((-3, -2, -1), (1, 1, 4)),
]


@pytest.mark.parametrize("affine", ["both", "weight", "bias", "none"])
@each_method
def test_gradients_by_finite_differences(
    normalize: Normalize, shape: tuple[int, ...], parameters: tuple[int, ...], affine: str, draw: Draw
) -> None:
    input = draw(*shape, dtype=torch.float64).requires_grad_()
    given = {name: draw(*parameters, dtype=torch.float64).requires_grad_() for name in ("weight", "bias")}
    names = [name for name in given if affine in ("both", name)]

    def f(input: Tensor, *left: Tensor) -> Tensor:
        own = dict(zip(names, left, strict=True))
        return normalize(input, own.get("weight"), own.get("bias"))

    leaves = [input, *(given[name] for name in names)]
    assert gradcheck(f, leaves)
    assert gradgradcheck(f, leaves)


@pytest.mark.parametrize("affine", ["both", "weight", "bias", "none"])
@pytest.mark.parametrize(("axes", "parameters"), ANY, ids=str)
def test_any_axes_and_parameters(
    axes: tuple[int, ...], parameters: tuple[int, ...], affine: str, draw: Draw
) -> None:
    """Forward, gradient and, as in a gradient penalty, the derivative of a function of the gradient."""
    input = draw(2, 3, 4, dtype=torch.float64)
    given = {name: draw(*parameters, dtype=torch.float64) for name in ("weight", "bias")}
    given = {name: tensor for name, tensor in given.items() if affine in ("both", name)}

    def fast(input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        return standardise(input, (2, 3, 4), axes, parameters, weight, bias)[0]

    def slow(input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        return standardise_reference(input, axes, weight, bias)

    results = []
    for normalize in (fast, slow):
        leaves = [tensor.clone().requires_grad_() for tensor in (input, *given.values())]
        output = normalize(leaves[0], **dict(zip(given, leaves[1:], strict=True)))
        first = torch.autograd.grad(output.exp().sum(), leaves, create_graph=True)
        penalty = torch.stack([grad.square().sum() for grad in first]).sum()
        results.append([output, *first, *torch.autograd.grad(penalty, leaves)])
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected, offset=1e4 * float(expected.detach().abs().max()))


@each_method
def test_function_transforms(
    normalize: Normalize, shape: tuple[int, ...], parameters: tuple[int, ...], draw: Draw
) -> None:
    """torch.func: a Jacobian, whose gradients alone are vmapped; per-example gradients; a Hessian product."""
    input, tangent = draw(*shape, dtype=torch.float64), draw(*shape, dtype=torch.float64)
    weight, bias = draw(*parameters, dtype=torch.float64), draw(*parameters, dtype=torch.float64)
    jacobian = torch.func.jacrev(normalize, argnums=(0, 1, 2))(input, weight, bias)
    expected = torch.autograd.functional.jacobian(normalize, (input, weight, bias))
    for actual, wanted in zip(jacobian, expected, strict=True):
        assert_close(actual, wanted)

    def loss(weight: Tensor, input: Tensor) -> Tensor:
        return normalize(input.unsqueeze(0), weight, bias).pow(3).sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weight, input)
    for example, grad in zip(input, each, strict=True):
        assert_close(grad, torch.func.grad(loss)(weight, example))

    def product(input: Tensor) -> Tensor:
        return (torch.func.grad(lambda x: normalize(x, weight, bias).pow(3).sum())(input) * tangent).sum()

    leaf = input.clone().requires_grad_()
    (first,) = torch.autograd.grad(normalize(leaf, weight, bias).pow(3).sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad((first * tangent).sum(), leaf)
    assert_close(torch.func.grad(product)(input), second)


@pytest.mark.parametrize("axes", sorted({axes for axes, _ in ANY}), ids=str)
def test_gradient_is_centred_and_orthogonal_to_the_normalized_values(
    axes: tuple[int, ...], draw: Draw
) -> None:
    """As the core's docstring derives; exactly so without eps."""
    input = draw(2, 3, 4, dtype=torch.float64).requires_grad_()
    output, _, _ = standardise(input, (2, 3, 4), axes, (1, 1, 1), eps=1e-30)
    (grad,) = torch.autograd.grad(output, input, draw(2, 3, 4, dtype=torch.float64))
    sums = grad.sum(axes), (grad * output).detach().sum(axes)
    for actual in sums:
        assert_close(actual, torch.zeros_like(actual), offset=1e3)
    assert grad.abs().max() > 0.1
