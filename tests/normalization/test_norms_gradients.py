"""The one gradient written by hand is that of the equation, over any axes, once and twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tolerances import assert_close
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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


def leaf_by_leaf(expected: Any, actual: Any) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(tree_leaves(actual), tree_leaves(expected), strict=True)


@pytest.mark.parametrize(("axes", "parameters"), ANY, ids=str)
def test_forward_mode(axes: tuple[int, ...], parameters: tuple[int, ...], draw: Draw) -> None:
    """A directional derivative of each argument; second derivatives by every mix of the two modes."""
    values = tuple(draw(*shape, dtype=torch.float64) for shape in ((2, 3, 4), parameters, parameters))
    tangents = tuple(draw(*shape, dtype=torch.float64) for shape in ((2, 3, 4), parameters, parameters))

    def fast(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return standardise(input, (2, 3, 4), axes, parameters, weight, bias, eps=0.1)[0]

    def slow(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return standardise_reference(input, axes, weight, bias, eps=0.1)

    def forward_over_backward(f: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        """Without `torch.func`, where a backward pass does not expect to be differentiated again."""
        with forward_ad.dual_level():
            leaves = [
                forward_ad.make_dual(value.clone().requires_grad_(), tangent)
                for value, tangent in zip(values, tangents, strict=True)
            ]
            grads = torch.autograd.grad(f(*leaves).pow(3).sum(), leaves)
            return tuple(forward_ad.unpack_dual(grad)[1] for grad in grads)

    every = (0, 1, 2)
    jacfwd, jacrev = torch.func.jacfwd, torch.func.jacrev
    ways: list[Callable[[Callable[..., Tensor]], Any]] = [
        lambda f: torch.func.jvp(f, values, tangents),
        lambda f: [jacfwd(f, place)(*values) for place in every],  # the others have no tangent
        lambda f: jacfwd(jacrev(lambda *given: f(*given).pow(3).sum(), every), every)(*values),
        lambda f: jacrev(jacfwd(lambda *given: f(*given).pow(3).sum(), every), every)(*values),
        lambda f: jacfwd(jacfwd(lambda *given: f(*given).pow(3).sum(), every), every)(*values),
        forward_over_backward,
    ]
    for way in ways:
        for actual, expected in leaf_by_leaf(way(slow), way(fast)):
            assert_close(actual, expected, offset=1e4)


def test_forward_mode_equals_torchs(draw: Draw) -> None:
    """Of the methods themselves, without parameters too; and over replicas."""
    input, along = draw(4, 6, 5, dtype=torch.float64), draw(4, 6, 5, dtype=torch.float64)
    weight = draw(6, dtype=torch.float64)
    pairs: list[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = [
        (lambda x: layer_norm(x, (6, 5)), lambda x: F.layer_norm(x, (6, 5))),
        (lambda x: group_norm(x, 3, weight), lambda x: F.group_norm(x, 3, weight)),
        (lambda x: instance_norm(x, weight=weight), lambda x: F.instance_norm(x, weight=weight)),
    ]
    for ours, theirs in pairs:
        expected = torch.func.jvp(theirs, (input,), (along,))[1]
        assert_close(torch.func.jvp(ours, (input,), (along,))[1], expected)
        both = torch.stack([input, 2 * input]), torch.stack([along, along])
        replicas = torch.func.jvp(torch.func.vmap(ours), both[:1], both[1:])[1]
        assert_close(replicas[0], expected)
        assert_close(replicas[1], torch.func.jvp(theirs, (2 * input,), (along,))[1])
        hessians = [torch.func.hessian(lambda x, f=f: f(x).pow(3).sum())(input[:1]) for f in (ours, theirs)]
        assert_close(*hessians, offset=1e3)


FROZEN = [names for n in range(3) for names in itertools.combinations(("input", "weight", "bias"), n)]


@pytest.mark.parametrize("frozen", FROZEN, ids=str)
@pytest.mark.parametrize(("axes", "parameters"), ANY, ids=str)
def test_what_is_frozen_leaves_the_other_gradients_as_they_are(
    axes: tuple[int, ...], parameters: tuple[int, ...], frozen: tuple[str, ...], draw: Draw
) -> None:
    """Once and twice, and for each of many gradients at once."""
    given = {"input": draw(2, 3, 4, dtype=torch.float64)}
    given |= {name: draw(*parameters, dtype=torch.float64) for name in ("weight", "bias")}
    free = [name for name in given if name not in frozen]
    grad = draw(2, 3, 4, dtype=torch.float64)

    def fast(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return standardise(input, (2, 3, 4), axes, parameters, weight, bias, eps=0.1)[0]

    def slow(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return standardise_reference(input, axes, weight, bias, eps=0.1)

    results = []
    for normalize in (fast, slow):
        own = {name: value.clone().requires_grad_(name in free) for name, value in given.items()}
        leaves = [own[name] for name in free]
        output, pull = normalize(**own), grad.clone().requires_grad_()
        first = torch.autograd.grad(output, leaves, pull, create_graph=True)
        penalty = torch.stack([found.square().sum() for found in first]).sum()
        second = torch.autograd.grad(penalty, [pull, *leaves], materialize_grads=True)

        def with_free(*values: Tensor, normalize: Callable[..., Tensor] = normalize) -> Tensor:
            return normalize(**(given | dict(zip(free, values, strict=True))))

        jacobian = torch.func.jacrev(with_free, tuple(range(len(free))))(*(given[name] for name in free))
        results.append([*first, *second, *jacobian])
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected, offset=1e4)


class Counting(TorchDispatchMode):
    """Counts the operations that read or write values, views left out."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@each_method
def test_what_is_frozen_is_not_worked_out(
    normalize: Normalize, shape: tuple[int, ...], parameters: tuple[int, ...], draw: Draw
) -> None:
    counts = {}
    for frozen in FROZEN:
        given = {"input": draw(*shape), "weight": draw(*parameters), "bias": draw(*parameters)}
        leaves = [tensor.requires_grad_() for name, tensor in given.items() if name not in frozen]
        output = normalize(*given.values())
        with Counting() as counted:
            torch.autograd.grad(output, leaves, draw(*shape))
        counts[frozen] = counted.count
    assert counts["input", "weight"] < counts["input",] < counts[()]
    assert counts["weight", "bias"] < counts["weight",] < counts[()] > counts["bias",]


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
