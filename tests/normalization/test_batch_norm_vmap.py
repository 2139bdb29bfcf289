"""A population of replicas under vmap trains as each replica does alone."""

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

from surveylab.normalization import BatchNorm1d, BatchNorm2d, batch_norm
from surveylab.normalization.batch_norm import BatchNormBase

Draw = Callable[..., Tensor]

R = 4  # replicas


@pytest.fixture(autouse=True)
def no_slow_fallback() -> Iterator[None]:
    """vmap warns where it loops for want of a batching rule."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def replicas(kind: type[BatchNormBase], channels: int, **options: Any) -> list[BatchNormBase]:
    """Layers with different parameters and running statistics."""
    layers = [kind(channels, **options) for _ in range(R)]
    generator = torch.Generator().manual_seed(3)
    for layer in layers:
        for tensor in layer.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(channels, generator=generator) + 0.5)
    return layers


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": None}, {"affine": False}, {"bias": False}, {"track_running_stats": False}],
    ids=str,
)
@pytest.mark.parametrize(("kind", "shape"), [(BatchNorm1d, (8, 5)), (BatchNorm2d, (3, 5, 4, 2))], ids=str)
def test_population_equals_a_loop(
    kind: type[BatchNormBase], shape: tuple[int, ...], options: dict[str, Any], training: bool, draw: Draw
) -> None:
    layers = [layer.train(training) for layer in replicas(kind, shape[1], **options)]
    parameters, buffers = stack_module_state(layers)
    template = copy.deepcopy(layers[0]).to("meta")

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], input: Tensor) -> Tensor:
        return functional_call(template, (parameters, buffers), (input,))

    for step in range(3):
        input = (draw(R, *shape) + step).requires_grad_()
        output = vmap(one)(parameters, buffers, input)
        grad = draw(R, *shape)
        wanted = [input, *parameters.values()]
        grads = torch.autograd.grad(output, wanted, grad)
        for r, layer in enumerate(layers):
            alone = input.detach()[r].requires_grad_()
            expected = layer(alone)
            assert_close(output[r], expected)
            expected_grads = torch.autograd.grad(expected, [alone, *layer.parameters()], grad[r])
            for actual, wanted_grad in zip(grads, expected_grads, strict=True):
                assert_close(actual[r], wanted_grad)
            for name, buffer in layer.named_buffers():
                assert_close(buffers[name][r], buffer)
    if training and "num_batches_tracked" in buffers:
        assert buffers["num_batches_tracked"].tolist() == [3] * R


def test_torch_fails_where_a_population_averages_all_batches(draw: Draw) -> None:
    """Why momentum=None needs a tensor: torch's layer takes the count to the host."""
    parameters, buffers = stack_module_state([nn.BatchNorm1d(5, momentum=None) for _ in range(R)])
    template = nn.BatchNorm1d(5, momentum=None)
    with pytest.raises(RuntimeError, match="item"):
        vmap(lambda p, b, x: functional_call(template, (p, b), (x,)))(parameters, buffers, draw(R, 8, 5))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_shared_parameters_and_any_replica_axis(axis: int, draw: Draw) -> None:
    """The gradient of what the replicas share is the sum of theirs."""
    stacked = draw(R, 3, 5, 4)
    weight, bias = draw(5).requires_grad_(), draw(5).requires_grad_()
    input = stacked.movedim(0, axis).contiguous().requires_grad_()
    grad = draw(R, 3, 5, 4)

    def one(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return batch_norm(input, None, None, weight, bias, training=True)

    output = vmap(one, in_dims=(axis, None, None))(input, weight, bias)
    grads = torch.autograd.grad(output, [input, weight, bias], grad)

    leaves = stacked.clone().requires_grad_(), weight, bias
    expected = torch.stack([one(replica, weight, bias) for replica in leaves[0]])
    expected_grads = torch.autograd.grad(expected, leaves, grad)
    assert_close(output, expected)
    assert_close(grads[0], expected_grads[0].movedim(0, axis))
    assert_close(grads[1], expected_grads[1])
    assert_close(grads[2], expected_grads[2])


def test_population_of_populations(draw: Draw) -> None:
    """Per-example gradients in every replica: vmap over grad over vmap."""
    input, weight = draw(2, R, 6, 3), draw(2, R, 3)

    def loss(weight: Tensor, input: Tensor) -> Tensor:
        return batch_norm(input, None, None, weight, training=True).pow(3).sum()

    grads = vmap(vmap(torch.func.grad(loss)))(weight, input)
    for i in range(2):
        for r in range(R):
            assert_close(grads[i, r], torch.func.grad(loss)(weight[i, r], input[i, r]))


def test_layout_of_a_vmapped_convolution_needs_no_copy(draw: Draw) -> None:
    """It folds replicas into channels, (B, R, C, H, W) in memory; that layout passes through."""
    input = draw(3, R, 5, 4, 4).transpose(0, 1)  # logically (R, B, C, H, W)
    output = vmap(lambda input: batch_norm(input, None, None, training=True))(input)
    assert output.stride() == input.stride()
    assert_close(output[1], batch_norm(input[1], None, None, training=True))
