r"""Squeeze-and-Excitation: every channel is scaled by a gate that all channels decide together.

Each channel's mean over all positions (the squeeze) goes through two small layers (the excitation), which
give one factor between 0 and 1 for each channel of each example. What a channel's gate is thus depends on all
channels, but not on where in the map a response lies.

For an example :math:`x` with channels :math:`x_c` of :math:`n` positions:

.. math::

    z_c = \tfrac1n \sum_i x_{c,i}, \qquad
    s = \sigma\bigl(W_2 \, \delta(W_1 z + b_1) + b_2\bigr), \qquad
    y_{c,i} = s_c \, x_{c,i},

with :math:`\delta` the ReLU, :math:`\sigma` the logistic function, :math:`W_1` of shape (S, C) and
:math:`W_2` of shape (C, S), where S is less than C: the paper takes C / 16.

Paper: ``hu2018squeeze``.

Pitfalls:
    * The number of squeezed channels S is given, as in torchvision, and not the factor C / S of the paper.
    * A fresh layer does not pass its input through: its gates begin near 1/2.
    * The paper's equation has no biases. NOTE: here they are, as in torchvision, whose state dicts fit.

The layers take the arguments, parameters and initialisation of `torchvision.ops.SqueezeExcitation`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Axis legend: B batch, C channels, S squeezed channels.


def squeeze_excitation(
    input: Tensor,
    weight1: Tensor,
    bias1: Tensor | None,
    weight2: Tensor,
    bias2: Tensor | None,
    activation: Callable[[Tensor], Tensor] = F.relu,
    scale_activation: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> Tensor:
    """Scale each channel by its gate.

    Args:
        input: Values of shape (B, C, ...), every axis after C being positions.
        weight1: What squeezes, shape (S, C); axes of length 1 may follow, as a convolution's.
        bias1: Shape (S,); 0 if None.
        weight2: What excites, shape (C, S); likewise.
        bias2: Shape (C,); 0 if None.
        activation: Between the two.
        scale_activation: Makes the gates.

    Returns:
        The input scaled: same shape and memory layout.

    Raises:
        ValueError: The input has no positions.
        RuntimeError: A weight that does not fit the input's channels or the other weight.
    """
    if input.dim() < 3 or 0 in input.shape[2:]:
        raise ValueError(
            f"input should have shape (batch, channels, positions, ...), but has {tuple(input.shape)}"
        )
    weight1, weight2 = weight1.flatten(1), weight2.flatten(1)  # (S, C, 1, 1) -> (S, C)
    channels = input.shape[1]
    wanted = (channels, weight1.shape[0])
    for name, weight, shape in (("weight1", weight1, wanted[::-1]), ("weight2", weight2, wanted)):
        if weight.shape != shape:
            raise RuntimeError(
                f"{name} should have shape {shape} for the {channels} channels of the input "
                f"{tuple(input.shape)}, but has {tuple(weight.shape)}"
            )
    pooled = input.flatten(2).mean(-1)  # (B, C); adaptive pooling has no rule for vmap
    squeezed = activation(F.linear(pooled, weight1, bias1))  # (B, S)
    gates = scale_activation(F.linear(squeezed, weight2, bias2))  # (B, C)
    beside = (*gates.shape, *(1 for _ in input.shape[2:]))
    return input * gates.view(beside)


class SqueezeExcitationBase(nn.Module):
    """What the layers share.

    Args:
        input_channels: Number of channels C.
        squeeze_channels: Number of squeezed channels S.
        activation: Makes what stands between the two layers.
        scale_activation: Makes what gives the gates.

    Raises:
        ValueError: A number of channels that is not positive.
    """

    _convolution: type[nn.Conv1d] | type[nn.Conv2d]
    _axes: str  # of an example's positions

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
        scale_activation: Callable[[], nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        for name, count in (("input_channels", input_channels), ("squeeze_channels", squeeze_channels)):
            if count < 1:
                raise ValueError(f"{name} should be a whole number, 1 or more, but is {count}")
        # Convolutions for the sake of torchvision's state dicts and initialisation.
        self.fc1 = self._convolution(input_channels, squeeze_channels, 1)
        self.fc2 = self._convolution(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, input: Tensor) -> Tensor:
        """Scale the channels of a batch, or of one example without an axis for it.

        Raises:
            ValueError: Another number of axes, or no positions.
            RuntimeError: Another number of channels.
        """
        axes = self.fc1.weight.dim()
        if input.dim() == axes - 1:
            return self.forward(input.unsqueeze(0)).squeeze(0)
        if input.dim() != axes:
            raise ValueError(
                f"input should have shape (batch, channels, {self._axes}) or (channels, {self._axes}), "
                f"but has {tuple(input.shape)}"
            )
        return squeeze_excitation(
            input,
            self.fc1.weight,
            self.fc1.bias,
            self.fc2.weight,
            self.fc2.bias,
            self.activation,
            self.scale_activation,
        )


class SqueezeExcitation(SqueezeExcitationBase):
    """Squeeze-and-Excitation of (B, C, height, width) or (C, height, width), as torchvision's."""

    _convolution = nn.Conv2d
    _axes = "height, width"


class SqueezeExcitation1d(SqueezeExcitationBase):
    """Squeeze-and-Excitation of (B, C, length) or (C, length).

    NOTE: torchvision has no such layer, and takes (B, C, length) for one map of B channels.
    """

    _convolution = nn.Conv1d
    _axes = "length"
