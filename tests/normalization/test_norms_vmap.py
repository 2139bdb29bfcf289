"""A population of replicas under vmap trains as each replica does alone: Layer, Instance, Group Norm."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from surveylab.normalization import (
    AdaIN,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    LayerNorm,
    group_norm,
    instance_norm,
    layer_norm,
)

Draw = Callable[..., Tensor]

R = 4  # replicas
# What makes a layer, and the shapes of its inputs.
LAYERS: list[tuple[Callable[[], nn.Module], list[tuple[int, ...]]]] = [
    (lambda: LayerNorm(5), [(8, 5)]),
    (lambda: LayerNorm((5, 3), bias=False), [(4, 2, 5, 3)]),
    (lambda: LayerNorm(5, elementwise_affine=False), [(8, 5)]),
    (lambda: GroupNorm(2, 6), [(3, 6, 4, 2)]),
    (lambda: GroupNorm(2, 6), [(8, 6)]),
    (lambda: GroupNorm(3, 6, affine=False), [(3, 6, 4)]),
    (lambda: InstanceNorm2d(5), [(3, 5, 4, 2)]),
    (lambda: InstanceNorm2d(5, affine=True, track_running_stats=True), [(3, 5, 4, 2)]),
    (lambda: InstanceNorm1d(5, affine=True, track_running_stats=True), [(5, 4)]),  # no batch axis
    (lambda: AdaIN(5, 3), [(4, 5, 6), (4, 3)]),
]
IDS = ["LN", "LN, two axes", "LN, plain", "GN", "GN, no positions", "GN, plain"]
IDS += ["IN", "IN, running", "IN, no batch axis", "AdaIN"]


@pytest.fixture(autouse=True)
def no_slow_fallback() -> Iterator[None]:
    """vmap warns where it loops for want of a batching rule."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("make", "shapes"), LAYERS, ids=IDS)
def test_population_equals_a_loop(
    make: Callable[[], nn.Module], shapes: list[tuple[int, ...]], training: bool, draw: Draw
) -> None:
    layers = [make().train(training) for _ in range(R)]
    generator = torch.Generator().manual_seed(3)
    for layer in layers:
        for tensor in layer.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    parameters, buffers = stack_module_state(layers)
    template = copy.deepcopy(layers[0]).to("meta")

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *inputs: Tensor) -> Tensor:
        return functional_call(template, (parameters, buffers), inputs)

    for step in range(2):
        inputs = [(draw(R, *shape) + step).requires_grad_() for shape in shapes]
        output = vmap(one)(parameters, buffers, *inputs)
        grad = draw(R, *shapes[0])
        grads = torch.autograd.grad(output, [*inputs, *parameters.values()], grad)
        for r, layer in enumerate(layers):
            alone = [input.detach()[r].requires_grad_() for input in inputs]
            expected = layer(*alone)
            assert_close(output[r], expected)
            expected_grads = torch.autograd.grad(expected, [*alone, *layer.parameters()], grad[r])
            for actual, wanted in zip(grads, expected_grads, strict=True):
                assert_close(actual[r], wanted)
            for name, buffer in layer.named_buffers():
                assert_close(buffers[name][r], buffer)
    if training and "running_mean" in buffers:
        assert not torch.allclose(buffers["running_mean"][0], buffers["running_mean"][1])


METHODS: dict[str, tuple[Callable[..., Tensor], tuple[int, ...]]] = {
    "layer": (lambda x, w, b: layer_norm(x, (5, 4), w, b), (5, 4)),
    "instance": (lambda x, w, b: instance_norm(x, None, None, w, b), (5,)),
    "group": (lambda x, w, b: group_norm(x, 1, w, b), (5,)),
}


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("method", METHODS)
def test_shared_parameters_and_any_replica_axis(method: str, axis: int, draw: Draw) -> None:
    """The gradient of what the replicas share is the sum of theirs."""
    one, parameters = METHODS[method]
    stacked = draw(R, 3, 5, 4)
    weight, bias = draw(*parameters).requires_grad_(), draw(*parameters).requires_grad_()
    input = stacked.movedim(0, axis).contiguous().requires_grad_()
    grad = draw(R, 3, 5, 4)
    output = vmap(one, in_dims=(axis, None, None))(input, weight, bias)
    grads = torch.autograd.grad(output, [input, weight, bias], grad)

    leaves = stacked.clone().requires_grad_(), weight, bias
    expected = torch.stack([one(replica, weight, bias) for replica in leaves[0]])
    expected_grads = torch.autograd.grad(expected, leaves, grad)
    assert_close(output, expected)
    assert_close(grads[0], expected_grads[0].movedim(0, axis))
    assert_close(grads[1], expected_grads[1])
    assert_close(grads[2], expected_grads[2])


@pytest.mark.parametrize("method", METHODS)
def test_parameters_stacked_along_any_axis_over_one_input(method: str, draw: Draw) -> None:
    one, parameters = METHODS[method]
    input, weight, bias = draw(3, 5, 4), draw(*parameters, R), draw(*parameters, R)
    output = vmap(one, in_dims=(None, -1, -1))(input, weight, bias)
    for r in range(R):
        assert_close(output[r], one(input, weight[..., r], bias[..., r]))


@pytest.mark.parametrize("method", METHODS)
def test_population_of_populations(method: str, draw: Draw) -> None:
    """Per-example gradients in every replica: vmap over vmap over grad; and a Jacobian in every replica."""
    one, parameters = METHODS[method]
    input, weight = draw(2, R, 3, 5, 4), draw(2, R, *parameters)

    def loss(weight: Tensor, input: Tensor) -> Tensor:
        return one(input, weight, None).pow(3).sum()

    grads = vmap(vmap(torch.func.grad(loss)))(weight, input)
    for i in range(2):
        for r in range(R):
            assert_close(grads[i, r], torch.func.grad(loss)(weight[i, r], input[i, r]))

    def summary(weight: Tensor, input: Tensor) -> Tensor:
        return one(input, weight, None).pow(3).flatten(1).sum(1)

    jacobians: Any = vmap(torch.func.jacrev(summary))(weight[0], input[0])
    for r in range(R):
        assert_close(jacobians[r], torch.func.jacrev(summary)(weight[0, r], input[0, r]))


def test_layout_of_a_vmapped_convolution_needs_no_copy(draw: Draw) -> None:
    """It folds replicas into channels, (B, R, C, H, W) in memory; that layout passes through."""
    input = draw(3, R, 6, 4, 4).transpose(0, 1)  # logically (R, B, C, H, W)
    for normalize in (lambda x: group_norm(x, 3), instance_norm):
        output = vmap(normalize)(input)
        assert output.stride() == input.stride()
        assert_close(output[1], normalize(input[1]))
