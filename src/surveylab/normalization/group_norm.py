r"""Group Normalisation: every example is standardised group of channels by group of channels.

The channels are divided into groups of equally many neighbours; the mean and variance of a group are taken
over its channels and all positions of one example. Nothing depends on the batch. One group is Layer Norm over
channels and positions (with a scale for each channel instead of each value), a group for each channel is
Instance Norm.

For one group of one example with :math:`n` values :math:`x_i`, where :math:`c(i)` is the channel of the i-th:

.. math::

    \mu = \tfrac1n \sum_i x_i, \qquad
    \sigma^2 = \tfrac1n \sum_i (x_i - \mu)^2, \qquad
    y_i = \gamma_{c(i)} \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta_{c(i)} .

The gradient is worked out in `surveylab.normalization.standardise`. The layer is torch's `nn.GroupNorm` with
another `forward`.

Paper: ``wu2018group``.

Pitfalls:
    * :math:`\gamma` and :math:`\beta` belong to channels, not to groups.
    * A group of one channel at one position is a single value: its output is always :math:`\beta`.
    * Which channels are neighbours is arbitrary at initialisation: the network learns to make use of it.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from surveylab.normalization.checks import autocasted, check_input, check_parameters, checked
from surveylab.normalization.standardise import standardise

# Axis legend: B batch, C channels, G groups, K channels of a group, S positions (all spatial axes as one).
# The n = K * S values of a group lie along these two axes of an input (B, G, K, S):
_CHANNELS_OF_GROUP_AND_POSITIONS = (-2, -1)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each group of channels, with the signature of `torch.nn.functional.group_norm`.

    Args:
        input: Values of shape (B, C) or (B, C, ...), every axis after C being positions.
        num_groups: Number of groups; divides C.
        weight: Scale of each channel, shape (C,); 1 if None.
        bias: Shift of each channel, shape (C,); 0 if None.
        eps: Added to the variance inside the root.

    Returns:
        The normalised input: same shape and dtype (float32 under autocast on CUDA).
        NOTE: its memory layout is that of the input, whatever that is (torch: contiguous or channels-last).

    Raises:
        ValueError: eps is negative (NOTE: torch takes it), or a batch of one has a single value for each
            group (as in torch, whose larger batches pass with outputs that are all bias).
        RuntimeError: A shape or dtype that does not fit the input's, or groups that do not divide C.
        NotImplementedError: The input is not floating point.
    """
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise RuntimeError(f"input should have shape (batch, channels, ...), but has {shape}")
    batch, channels = shape[:2]
    positions = math.prod(shape[2:])
    if num_groups < 1 or channels % num_groups:
        raise RuntimeError(f"num_groups should divide the input's {channels} channels, but is {num_groups}")
    if batch * positions * channels == num_groups:
        raise ValueError(
            f"Expected more than 1 value per channel when training, but the input has shape {shape} and "
            f"num_groups is {num_groups}: each group is one value and its output the bias. Use fewer groups"
        )
    check_input(input, eps)
    input, weight, bias = autocasted(input, weight, bias)
    check_parameters(input, {"weight": weight, "bias": bias}, shape[1:2], "one value for each channel")
    size = channels // num_groups
    grouped = (batch, num_groups, size, positions)  # (B, C, ...) -> (B, G, K, S)
    beside = (1, num_groups, size, 1)  # (C,) -> (1, G, K, 1)
    axes = _CHANNELS_OF_GROUP_AND_POSITIONS
    output, _, _ = standardise(input, grouped, axes, beside, weight, bias, eps)
    return output


@checked
class GroupNorm(nn.GroupNorm):
    """torch's Group Norm with the computation of `group_norm`.

    Args:
        num_groups: Number of groups; divides num_channels.
        num_channels: Number of channels C.
        eps: Added to the variance inside the root.
        affine: Learn a scale (`weight`) and a shift (`bias`) for each channel.
        device: Where parameters live.
        dtype: Their dtype.
        bias: Learn the shift, if affine.

    Raises:
        ValueError: An argument that is out of range. NOTE: torch takes no channels and a negative eps.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each group of channels of each example."""
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)
