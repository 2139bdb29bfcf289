"""Two layers that should be one: a forward and a backward pass of both, compared in all they leave behind."""

from __future__ import annotations

import torch
from tolerances import assert_close
from torch import Tensor, nn


def assert_same_step(ours: nn.Module, theirs: nn.Module, input: Tensor, *, offset: float = 0.0) -> None:
    """Outputs, gradients and buffers agree, element by element and in dtype.

    Args:
        ours: The layer under test.
        theirs: The layer it should equal.
        input: What both are given.
        offset: See `tolerances.assert_close`; for outputs and gradients.
    """
    results = []
    for layer in (ours, theirs):
        layer.zero_grad()
        leaf = input.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        output = layer(leaf)
        grad = torch.randn(input.shape, generator=torch.Generator().manual_seed(2)).to(input.dtype)
        output.backward(grad)
        results.append(
            {"output": output, "input": leaf.grad} | {n: p.grad for n, p in layer.named_parameters()}
        )
    assert results[0].keys() == results[1].keys()
    for name, expected in results[1].items():
        assert results[0][name].dtype == expected.dtype, name
        assert_close(results[0][name], expected, offset=offset)
    buffers = dict(ours.named_buffers())
    for name, expected in theirs.named_buffers():
        assert buffers[name].dtype == expected.dtype, name
        assert_close(buffers[name], expected)
