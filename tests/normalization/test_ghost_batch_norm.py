"""Ghost Batch Norm against Batch Norm, of each group by itself and of the whole batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surveylab.lab import Population, make_streams
from surveylab.normalization import GhostBatchNorm2d, ghost_batch_norm


def tensors(batch: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    input = torch.randn(batch, 3, 4, 5, generator=generator, dtype=torch.double) * 2 + 7
    weight, bias = torch.randn(2, 3, generator=generator, dtype=torch.double)
    return input, weight, bias


@pytest.mark.parametrize("group", [1, 2, 4, 8])
def test_each_group_is_normalised_as_a_batch(group: int) -> None:
    arguments = [tensor.requires_grad_() for tensor in tensors()]
    input, weight, bias = arguments
    parts = [F.batch_norm(part, None, None, weight, bias, training=True) for part in input.split(group)]
    theirs = torch.cat(parts)
    ours = ghost_batch_norm(input, group, weight, bias)
    torch.testing.assert_close(ours, theirs)
    grad = torch.randn_like(theirs)
    for mine, other in zip(
        torch.autograd.grad(ours, arguments, grad), torch.autograd.grad(theirs, arguments, grad), strict=True
    ):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("group", [2, 8])
def test_running_statistics_are_those_of_the_whole_batch(group: int) -> None:
    ours, theirs = GhostBatchNorm2d(3, group).double(), nn.BatchNorm2d(3).double()
    input, *_ = tensors()
    for factor in (1, 3):
        ours(factor * input), theirs(factor * input)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(input), theirs.eval()(input))


def test_replicas_are_those_that_run_alone() -> None:
    streams = make_streams(0, 1)
    population = Population(lambda: GhostBatchNorm2d(3, 2), streams)
    inputs = torch.randn(len(streams), 8, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    together = population.train()(inputs)
    for replica, input in enumerate(inputs):
        alone = GhostBatchNorm2d(3, 2)
        torch.testing.assert_close(together[replica], alone(input))
        torch.testing.assert_close(population.buffers["running_var"][replica], alone.running_var)


def test_what_cannot_be_divided_is_refused() -> None:
    input = torch.randn(6, 3, 2, 2)
    with pytest.raises(ValueError, match="group should divide the batch of 6 examples, but is 4"):
        ghost_batch_norm(input, 4)
    with pytest.raises(ValueError, match="more than 1 value per channel and group"):
        ghost_batch_norm(input[:, :, 0, 0], 1)
