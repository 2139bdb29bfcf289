r"""Ghost Batch Norm: Batch Norm whose training statistics come from a few examples of a larger batch.

A batch is divided into groups of a few examples each, and each group is normalised by itself. As over which
examples statistics are taken no longer hangs on how many a step is made of, the two can be studied apart
[hoffer2017train]. It is also what several devices do that do not exchange their statistics.

The running statistics are those of the whole batch.
    NOTE: Hoffer et al. average those of the groups. The mean of the groups' variances leaves out how far the
    groups' means lie apart, so that at inference the output would be too large.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surveylab.normalization.batch_norm import BatchNorm2d
from surveylab.normalization.checks import check_channels, check_input, check_parameters, checked
from surveylab.normalization.standardise import moments, move_running, standardise, statistics_dtype

# Axis legend: B examples, K examples a group, C channels, S positions (all spatial axes as one).


def ghost_batch_norm(
    input: Tensor, group: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each channel by the statistics of each group of examples, as in training.

    Args:
        input: Values of shape (B, C) or (B, C, ...), every axis after C being positions.
        group: Consecutive examples whose statistics are taken together, K; B must be a multiple of it.
        weight: Scale of each channel, shape (C,); 1 if None.
        bias: Shift of each channel, shape (C,); 0 if None.
        eps: Added to the variance inside the root.

    Returns:
        The normalised input: same shape and dtype.

    Raises:
        ValueError: The batch cannot be divided into such groups, a group has one value per channel, or eps is
            negative.
        RuntimeError: A shape or dtype that does not fit the input's.
        NotImplementedError: The input is not floating point.
    """
    check_channels(input)
    check_input(input, eps)
    check_parameters(input, {"weight": weight, "bias": bias}, input.shape[1:2], "one value for each channel")
    batch, channels, positions = *input.shape[:2], math.prod(input.shape[2:])  # (B, C, ...) -> (B, C, S)
    if group < 1 or batch % group:
        raise ValueError(f"group should divide the batch of {batch} examples, but is {group}")
    if group * positions == 1:
        raise ValueError(
            f"Expected more than 1 value per channel and group, but the input has shape {tuple(input.shape)} "
            "and group is 1: its variance is 0 and its output the bias. Use larger groups"
        )
    shape = (batch // group, group, channels, positions)  # (B, C, S) -> (B / K, K, C, S)
    return standardise(input, shape, (-3, -1), (1, 1, channels, 1), weight, bias, eps)[0]


@checked
class GhostBatchNorm2d(BatchNorm2d):
    """Ghost Batch Norm of (B, C, height, width); at inference it is Batch Norm.

    Args:
        num_features: Number of channels C.
        group: Examples whose statistics are taken together in training.
        eps: Added to the variance inside the root.
        momentum: Weight of a batch in the running statistics; None for the plain average of all batches.
        affine: Learn a scale (`weight`) and a shift (`bias`) for each channel.
        track_running_stats: Keep running statistics for evaluation, which else uses the groups' own.
        device: Where parameters and buffers live.
        dtype: Their dtype.
        bias: Learn the shift, if affine.

    Raises:
        ValueError: An argument that is out of range.
    """

    def __init__(
        self,
        num_features: int,
        group: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.group = group

    def _normalize(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        training: bool,
        momentum: float | Tensor,
    ) -> Tensor:
        if not training:
            return super()._normalize(input, running_mean, running_var, training, momentum)
        output = ghost_batch_norm(input, self.group, self.weight, self.bias, self.eps)
        n = input.shape[0] * math.prod(input.shape[2:])
        if running_mean is not None and running_var is not None and n > 0:
            mean, var, _ = moments(input.detach().to(statistics_dtype(input.dtype)), (0, 2, 3))
            move_running(running_mean, mean, momentum)
            move_running(running_var, var * n / (n - 1), momentum)
        return output

    def extra_repr(self) -> str:
        """Show the arguments, as torch does."""
        return f"{super().extra_repr()}, group={self.group}"
