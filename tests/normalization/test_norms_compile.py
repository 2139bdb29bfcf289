"""Layer, Instance and Group Norm and AdaIN compile without a graph break, forward and backward."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn

from surveylab.normalization import AdaIN, GroupNorm, InstanceNorm2d, LayerNorm

Draw = Callable[..., Tensor]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (LayerNorm(5), [(4, 6, 5)]),
        (GroupNorm(2, 6), [(4, 6, 5, 5)]),
        (InstanceNorm2d(5, affine=True, track_running_stats=True), [(4, 5, 6, 6)]),
        (InstanceNorm2d(5, affine=True, track_running_stats=True).eval(), [(4, 5, 6, 6)]),
        (AdaIN(5, 3), [(4, 5, 6, 6), (4, 3)]),
    ],
    ids=["layer", "group", "instance", "instance, evaluation", "adaptive"],
)
def test_compiled_equals_eager(layer: nn.Module, shapes: list[tuple[int, ...]], draw: Draw) -> None:
    eager, original = copy.deepcopy(layer), copy.deepcopy(layer)
    compiled: nn.Module = torch.compile(original, fullgraph=True)  # type: ignore[assignment]
    for _ in range(2):
        inputs, grad = [draw(*shape) for shape in shapes], draw(*shapes[0])
        results = []
        for module in (compiled, eager):
            leaves = [input.clone().requires_grad_() for input in inputs]
            output = module(*leaves)
            results.append([output, *torch.autograd.grad(output, [*leaves, *module.parameters()], grad)])
        for actual, expected in zip(*results, strict=True):
            assert_close(actual, expected, offset=float(grad.abs().sum()))  # some are sums of many terms
    for name, expected in eager.state_dict().items():
        assert_close(original.state_dict()[name], expected)
