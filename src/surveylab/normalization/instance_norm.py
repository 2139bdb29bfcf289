r"""Instance Normalisation: every channel of every example is standardised over its own positions.

What a channel's mean and spread say about one picture, such as its contrast, is removed; a learned scale
:math:`\gamma` and shift :math:`\beta` for each channel are optional and off by default. Nothing depends on
the batch, unless running statistics are asked for: then evaluation normalises with these instead.

For one channel of one example with :math:`n` positions :math:`x_i`:

.. math::

    \mu = \tfrac1n \sum_i x_i, \qquad
    \sigma^2 = \tfrac1n \sum_i (x_i - \mu)^2, \qquad
    y_i = \gamma \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta .

The gradient is worked out in `surveylab.normalization.standardise`. The layers are torch's,
`nn.InstanceNorm2d` and its like, with another computation.

Paper: ``ulyanov2016instance``; ``ulyanov2017improved`` with experiments.

Pitfalls:
    * The running variance averages the unbiased variance (over n - 1) of each example; it says nothing of how
      the means differ between examples, as Batch Norm's does.
    * With one position the output is always :math:`\beta`: an error.
    * `momentum=None` means 0 here, as in torch: the running statistics never move.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.modules.instancenorm import _InstanceNorm

from surveylab.normalization.batch_norm import batch_norm
from surveylab.normalization.checks import (
    check_input,
    check_parameters,
    check_positions,
    check_running,
    checked,
)
from surveylab.normalization.standardise import move_running, standardise

# Axis legend: B batch, C channels, S positions (all spatial axes as one).
# The n = S values of a channel lie along this axis of an input (B, C, S):
_POSITIONS = (-1,)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each example, with the signature of `torch.nn.functional.instance_norm`.

    Args:
        input: Values of shape (B, C, ...), every axis after C being positions.
        running_mean: Running mean of shape (C,); updated in place if use_input_stats. May be None then.
        running_var: Running unbiased variance of shape (C,); likewise.
        weight: Scale of each channel, shape (C,); 1 if None.
        bias: Shift of each channel, shape (C,); 0 if None.
        use_input_stats: Normalise with the example's own statistics if true, else with the running ones.
        momentum: Weight of this batch in the running statistics.
            NOTE: may be a tensor here, so that vmapped replicas can each have their own.
        eps: Added to the variance inside the root.

    Returns:
        The normalised input: same shape and dtype.
        NOTE: its memory layout is that of the input, whatever that is (torch: contiguous).

    Raises:
        ValueError: One position, a negative eps (NOTE: torch takes it), or one running statistic alone.
        RuntimeError: A shape or dtype that does not fit the input's, or running statistics missing.
        NotImplementedError: The input is not floating point.
    """
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("running_mean and running_var must be given when use_input_stats is false")
        return batch_norm(input, running_mean, running_var, weight, bias, training=False, eps=eps)
    shape = tuple(input.shape)
    check_positions(input)
    check_running(running_mean, running_var)
    check_input(input, eps)
    per_channel = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    check_parameters(input, per_channel, shape[1:2], "one value for each channel")
    batch, channels, positions = *shape[:2], math.prod(shape[2:])
    seen, beside = (batch, channels, positions), (1, channels, 1)  # (B, C, ...) -> (B, C, S)
    output, mean, var = standardise(input, seen, _POSITIONS, beside, weight, bias, eps)
    if running_mean is not None and running_var is not None and input.numel() > 0:
        move_running(running_mean, mean.mean(0), momentum)
        move_running(running_var, var.mean(0) * positions / (positions - 1), momentum)
    return output


@checked
class InstanceNormBase(_InstanceNorm):
    """What the layers share: torch's Instance Norm with the computation of `instance_norm`.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance inside the root.
        momentum: Weight of a batch in the running statistics; None for 0.
        affine: Learn a scale (`weight`) and a shift (`bias`) for each channel.
        track_running_stats: Keep running statistics and use them in evaluation.
        device: Where parameters and buffers live.
        dtype: Their dtype.
        bias: Learn the shift, if affine.

    Raises:
        ValueError: An argument that is out of range. NOTE: torch takes no channels, a negative eps and any
            momentum.
    """

    def _apply_instance_norm(self, input: Tensor) -> Tensor:
        """What torch's `forward` calls once it has checked the input and given it a batch axis if need be."""
        return instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )


class InstanceNorm1d(InstanceNormBase, nn.InstanceNorm1d):
    """Instance Norm of (C, length) or (B, C, length)."""


class InstanceNorm2d(InstanceNormBase, nn.InstanceNorm2d):
    """Instance Norm of (C, height, width) or (B, C, height, width)."""


class InstanceNorm3d(InstanceNormBase, nn.InstanceNorm3d):
    """Instance Norm of (C, depth, height, width) or (B, C, depth, height, width)."""
