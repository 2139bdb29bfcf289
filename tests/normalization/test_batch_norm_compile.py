"""Batch Norm compiles without a graph break, forward and backward, buffers included."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn

from surveylab.normalization import BatchNorm1d, BatchNorm2d
from surveylab.normalization.batch_norm import BatchNormBase

Draw = Callable[..., Tensor]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (BatchNorm2d(5), (4, 5, 6, 6)),
        (BatchNorm1d(5, momentum=None), (16, 5)),
        (BatchNorm2d(5).eval(), (4, 5, 6, 6)),
    ],
    ids=["training", "average of all batches", "evaluation"],
)
def test_compiled_equals_eager(layer: BatchNormBase, shape: tuple[int, ...], draw: Draw) -> None:
    eager, original = copy.deepcopy(layer), copy.deepcopy(layer)
    compiled: nn.Module = torch.compile(original, fullgraph=True)  # type: ignore[assignment]
    for _ in range(2):
        input, grad = draw(*shape), torch.randn(shape, generator=torch.Generator().manual_seed(4))
        results = []
        for module in (compiled, eager):
            leaf = input.clone().requires_grad_()
            output = module(leaf)
            results.append([output, *torch.autograd.grad(output, [leaf, *module.parameters()], grad)])
        for actual, expected in zip(*results, strict=True):
            assert_close(actual, expected)
    for name, expected in eager.state_dict().items():
        assert_close(original.state_dict()[name], expected)
