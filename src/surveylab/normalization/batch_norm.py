r"""Batch Normalisation: every channel is standardised with the mean and variance of the current batch.

Each channel of a layer's input is shifted and scaled to mean 0 and variance 1 over the batch and all
positions; a learned scale :math:`\gamma` and shift :math:`\beta` then restore whatever range is useful. In
evaluation, running averages gathered in training replace the batch's statistics, so that an output does not
depend on its batch mates.

For one channel with :math:`n` values :math:`x_i` (all examples, all positions):

.. math::

    \mu = \tfrac1n \sum_i x_i, \qquad
    \sigma^2 = \tfrac1n \sum_i (x_i - \mu)^2, \qquad
    \hat x_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad
    y_i = \gamma \hat x_i + \beta .

The gradient is worked out in `surveylab.normalization.standardise`, which the other methods share: here
values are standardised together if they share a channel.

Paper: ``ioffe2015batch``.

Pitfalls:
    * :math:`E[x^2] - E[x]^2` in place of the centred sum cancels to noise, even below 0, when the mean is
      large.
    * :math:`\epsilon` belongs inside the root. The batch is normalised with the biased variance (over n),
      while the running variance stores the unbiased one (over n - 1).
    * With one value per channel the output is always :math:`\beta`: an error in training, not a warning.
    * In training the examples of a batch are not independent: padding or an outlier in one changes all
      outputs.

The layers are torch's, `nn.BatchNorm2d` and its like, with another `forward`: constructor, parameters,
buffers, state dicts and representation are inherited, and whatever looks for torch's layers finds them.
"""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from surveylab.normalization.checks import (
    check_channels,
    check_input,
    check_parameters,
    check_running,
    checked,
)
from surveylab.normalization.standardise import move_running, recomputing, standardise, statistics_dtype

# Axis legend: B batch, C channels, S positions (all spatial axes as one).
# The n = B * S values of a channel lie along these two axes of an input (B, C, S):
_BATCH_AND_POSITIONS = (-3, -1)


def batch_norm_reference(
    input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Batch Norm in training as its equation reads, the gradient left to autograd. Slow: see `batch_norm`.

    Args:
        input: Values of shape (B, C, S).
        weight: Scale of each channel, shape (C,); 1 if None.
        bias: Shift of each channel, shape (C,); 0 if None.
        eps: Added to the variance inside the root.

    Returns:
        The normalised input, same shape.
    """
    mean = input.mean((0, 2), keepdim=True)
    var = (input - mean).square().mean((0, 2), keepdim=True)
    normalized = (input - mean) / (var + eps).sqrt()
    return normalized * (1 if weight is None else weight[:, None]) + (0 if bias is None else bias[:, None])


def _check(input: Tensor, per_channel: dict[str, Tensor | None], training: bool, eps: float) -> None:
    """Raise what torch raises, and say what would be right."""
    shape = tuple(input.shape)
    check_channels(input)
    check_input(input, eps)
    check_running(per_channel["running_mean"], per_channel["running_var"])
    if training and eps == 0:
        raise ValueError(f"eps should be positive in training, but is {eps}")
    if not training and per_channel["running_mean"] is None:
        raise RuntimeError("running_mean and running_var must be given when training=False")
    check_parameters(input, per_channel, shape[1:2], "one value for each channel")
    if training and shape[0] * math.prod(shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, but the input has shape {shape}: its "
            "variance is 0 and its output the bias. Use a larger batch, drop an incomplete last one "
            "(DataLoader(drop_last=True)), or call .eval()"
        )


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel, with the signature of `torch.nn.functional.batch_norm`.

    Args:
        input: Values of shape (B, C) or (B, C, ...), every axis after C being positions.
        running_mean: Running mean of shape (C,); updated in place if training. May be None if training.
        running_var: Running unbiased variance of shape (C,); likewise.
        weight: Scale of each channel, shape (C,); 1 if None.
        bias: Shift of each channel, shape (C,); 0 if None.
        training: Normalise with the batch's statistics if true, else with the running ones.
        momentum: Weight of this batch in the running statistics.
            NOTE: may be a tensor here, so that vmapped replicas can each have their own.
        eps: Added to the variance inside the root.

    Returns:
        The normalised input: same shape and dtype.
        NOTE: its memory layout is that of the input, whatever that is (torch: contiguous or channels-last).

    Raises:
        ValueError: One value per channel in training, eps out of range, one running statistic alone, or no
            axis of channels (NOTE: torch passes an input of shape (0,)).
        RuntimeError: A shape or dtype that does not fit the input's, or no running statistics in evaluation.
        NotImplementedError: The input is not floating point.
    """
    per_channel = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    _check(input, per_channel, training, eps)
    batch, channels, positions = *input.shape[:2], math.prod(input.shape[2:])  # (B, C, ...) -> (B, C, S)
    beside = (1, channels, 1)  # (C,) -> (1, C, 1)
    if training:
        shape = (batch, channels, positions)
        output, mean, var = standardise(input, shape, _BATCH_AND_POSITIONS, beside, weight, bias, eps)
        n = batch * positions
        if running_mean is not None and running_var is not None and n > 0:
            move_running(running_mean, mean, momentum)
            move_running(running_var, var * n / (n - 1), momentum)
        return output
    assert running_mean is not None and running_var is not None  # as checked
    values = input.reshape(batch, channels, positions).to(statistics_dtype(input.dtype))
    centred = values - running_mean.view(beside)
    scale = torch.rsqrt(running_var.to(values.dtype) + eps).view(beside)
    if weight is not None:
        scale = scale * weight.view(beside)
    if bias is None:
        output = centred * scale
    else:
        output = torch.addcmul(bias.view(beside).to(values.dtype), centred, scale)
    return output.to(input.dtype).view(input.shape)


@checked
class BatchNormBase(_BatchNorm):
    """What the layers share: torch's Batch Norm with the computation of `batch_norm`.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance inside the root.
        momentum: Weight of a batch in the running statistics; None for the plain average of all batches.
        affine: Learn a scale (`weight`) and a shift (`bias`) for each channel.
        track_running_stats: Keep running statistics for evaluation, which else uses the batch's own.
        device: Where parameters and buffers live.
        dtype: Their dtype.
        bias: Learn the shift, if affine.

    Raises:
        ValueError: An argument that is out of range. NOTE: torch takes no channels, a negative eps and any
            momentum.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a batch; in training, also update the running statistics.

        NOTE: once a batch. Under checkpointing, torch's layers count it and move the statistics twice.
        """
        self._check_input_dim(input)
        momentum: float | Tensor = self.momentum or 0.0
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            if not recomputing():
                self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the average of all batches so far; stays a tensor, for vmap
                momentum = 1.0 / self.num_batches_tracked.double()
        read = self.track_running_stats or not self.training
        return self._normalize(
            input,
            self.running_mean if read else None,
            self.running_var if read else None,
            self.training or (self.running_mean is None and self.running_var is None),
            momentum,
        )

    def _normalize(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        training: bool,
        momentum: float | Tensor,
    ) -> Tensor:
        return batch_norm(
            input, running_mean, running_var, self.weight, self.bias, training, momentum, self.eps
        )


class BatchNorm1d(BatchNormBase, nn.BatchNorm1d):
    """Batch Norm of (B, C) or (B, C, length)."""


class BatchNorm2d(BatchNormBase, nn.BatchNorm2d):
    """Batch Norm of (B, C, height, width)."""


class BatchNorm3d(BatchNormBase, nn.BatchNorm3d):
    """Batch Norm of (B, C, depth, height, width)."""


def _let_torch_fuse_them() -> None:
    """`torch.ao.quantization.fuse_modules` goes by a table of exact types: enter these."""
    ours = {nn.BatchNorm1d: BatchNorm1d, nn.BatchNorm2d: BatchNorm2d, nn.BatchNorm3d: BatchNorm3d}
    with contextlib.suppress(ImportError):  # torch means to give it up
        from torch.ao.quantization.fuser_method_mappings import _DEFAULT_OP_LIST_TO_FUSER_METHOD as table

        for kinds, fuse in list(table.items()):
            table.setdefault(tuple(ours.get(kind, kind) for kind in kinds), fuse)


_let_torch_fuse_them()
