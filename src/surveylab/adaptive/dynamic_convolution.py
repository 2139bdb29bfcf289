r"""Dynamic convolution: each example is convolved with its own mixture of K kernels.

A small network looks at the mean of every channel and gives K weights that sum to 1, the attention; the
kernels are mixed with them before the convolution. So the layer costs little more than one convolution, with
K times the parameters.

For an example :math:`x` with the means :math:`z` of its channels, kernels :math:`W_k` and biases :math:`b_k`:

.. math::

    \pi(x) = \mathrm{softmax}\bigl((A_2 \, \mathrm{relu}(A_1 z + a_1) + a_2) / \tau\bigr), \qquad
    y = \Bigl(\sum_k \pi_k(x) W_k\Bigr) * x + \sum_k \pi_k(x) b_k .

A convolution is linear in its kernel: mixing the outputs of K convolutions gives the same at K times the
cost. A high temperature :math:`\tau` makes the attention nearly uniform, so that early in training every
kernel learns; the paper lowers it from 30 to 1, linearly over the first epochs (`annealed_temperature`).

All examples of a batch are convolved at once, as the groups of a single convolution: (B, C, ...) is seen as
(1, B · C, ...), whose group b holds the channels of example b.

Paper: ``chen2020dynamic``.

Pitfalls:
    * The attention sums to 1, unlike gates that each lie between 0 and 1: the mixtures are the convex hull of
      the kernels.
    * The temperature belongs to the state: at another one, the same weights are another function. NOTE: it
      is a buffer, so that it is saved with the model.
    * No layer lowers the temperature by itself: call `set_temperature` in training.
    * Beside a loop over examples a convolution in groups gains least where each group has few input channels,
      as in a first layer (``tests/benchmarks/bench_components.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.utils import _pair, _single

# Axis legend: B batch, C input channels, O output channels, G groups, K kernels, H hidden features.
_CONVOLUTIONS = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}

Sizes = int | tuple[int, ...]


def annealed_temperature(step: int, steps: int, start: float = 30.0, end: float = 1.0) -> float:
    """The temperature at a step: linear from ``start`` at step 0 to ``end`` at ``steps``, and there it stays.

    Args:
        step: Which one, from 0.
        steps: Over how many it is lowered.
        start: The paper's.
        end: The paper's.

    Raises:
        ValueError: A temperature that is not positive, or no steps.
    """
    _check_temperature("start", start)
    _check_temperature("end", end)
    if steps < 1 or step < 0:
        raise ValueError(f"step should be 0 or more and steps 1 or more, but they are {step} and {steps}")
    return start + (end - start) * min(step / steps, 1.0)


@torch.no_grad()
def set_temperature(model: nn.Module | Mapping[str, Tensor], temperature: float) -> None:
    """Set the temperature of every dynamic convolution in a model.

    In a population it is set for all replicas. An objective that lowers it over the first tenth of the steps
    begins with::

        if batch.steps > 1:  # not where a loss is only looked at, which counts as one step
            temperature = annealed_temperature(batch.step, max(batch.steps // 10, 1))
            set_temperature(population.buffers, temperature)

    Args:
        model: A module; or buffers by name, of which those called ``temperature`` are set.
        temperature: Positive. It must not change between a forward pass and its backward pass.

    Raises:
        ValueError: The temperature is not positive, or there is no dynamic convolution.
    """
    _check_temperature("temperature", temperature)
    if isinstance(model, nn.Module):
        found = [layer.temperature for layer in model.modules() if isinstance(layer, DynamicConvBase)]
    else:
        found = [buffer for name, buffer in model.items() if name.split(".")[-1] == "temperature"]
    if not found:
        raise ValueError("model should have a dynamic convolution, but no layer of it has a temperature")
    for buffer in found:
        buffer.fill_(temperature)


def kernel_attention(
    input: Tensor,
    weight1: Tensor,
    bias1: Tensor | None,
    weight2: Tensor,
    bias2: Tensor | None,
    temperature: float | Tensor = 1.0,
) -> Tensor:
    """How much of each kernel each example takes.

    Args:
        input: Values of shape (B, C, ...), every axis after C being positions.
        weight1: Of the first layer, shape (H, C).
        bias1: Shape (H,); 0 if None.
        weight2: Of the second layer, shape (K, H).
        bias2: Shape (K,); 0 if None.
        temperature: What the scores are divided by.

    Returns:
        Shape (B, K), each row positive with sum 1, in float32 at least.
    """
    pooled = input.flatten(2).mean(-1)  # (B, C)
    scores = F.linear(F.relu(F.linear(pooled, weight1, bias1)), weight2, bias2)  # (B, K)
    if scores.dtype in (torch.float16, torch.bfloat16):  # too few digits for a sum that is to be 1
        scores = scores.float()
    return torch.softmax(scores / temperature, dim=-1)


def dynamic_convolution(
    input: Tensor,
    attention: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve each example with its mixture of the kernels, all examples at once.

    Args:
        input: Values of shape (B, C, ...), with one to three axes of positions.
        attention: Weight of each kernel for each example, shape (B, K).
        weight: The kernels, shape (K, O, C / G, ...).
        bias: Their biases, shape (K, O); 0 if None.
        stride, padding, dilation, groups: As for `torch.nn.functional.conv2d`.

    Returns:
        What torch's convolution gives for each example with its own kernel and bias: (B, O, ...).

    Raises:
        ValueError: The input has not one axis less than the kernels.
        RuntimeError: A shape that does not fit.
    """
    if input.dim() not in _CONVOLUTIONS or weight.dim() != input.dim() + 1:
        raise ValueError(
            "input should have shape (batch, channels, positions, ...) and weight one axis more, but they "
            f"have {tuple(input.shape)} and {tuple(weight.shape)}"
        )
    batch, channels = input.shape[:2]
    kernels, outputs = weight.shape[:2]
    if attention.shape != (batch, kernels):
        raise RuntimeError(
            f"attention should have shape (batch, kernels), {(batch, kernels)}, but has "
            f"{tuple(attention.shape)}"
        )
    if weight.shape[2] * groups != channels or outputs % groups != 0:
        raise RuntimeError(
            f"weight should have shape (kernels, outputs, channels / groups, ...) with outputs a multiple of "
            f"the {groups} groups and {channels} channels, but has {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != (kernels, outputs):
        raise RuntimeError(
            f"bias should have shape (kernels, outputs), {(kernels, outputs)}, but has {tuple(bias.shape)}"
        )
    convolution = _CONVOLUTIONS[input.dim()]
    attention = attention.to(weight.dtype)
    if torch.jit.is_tracing() or batch == 0:  # a trace would keep the number of groups; 0 are not allowed
        biases = [None] * kernels if bias is None else bias.unbind()
        each = [
            convolution(input, one, shift, stride, padding, dilation, groups)
            for one, shift in zip(weight.unbind(), biases, strict=True)
        ]
        shares = attention.view(*attention.shape, *(1 for _ in input.shape[1:]))  # (B, K, 1, ...)
        return (shares * torch.stack(each, 1)).sum(1)
    mixed = (attention @ weight.flatten(1)).view(-1, *weight.shape[2:])  # (B O, C / G, ...)
    shift = None if bias is None else (attention @ bias).view(-1)  # (B O,)
    grouped = input.reshape(1, batch * channels, *input.shape[2:])  # (B, C, ...) -> (1, B C, ...)
    output = convolution(grouped, mixed, shift, stride, padding, dilation, batch * groups)
    return output.view(batch, outputs, *output.shape[2:])  # (1, B O, ...) -> (B, O, ...)


class DynamicConvBase(nn.Module):
    """What the layers share.

    Args:
        in_channels: Number of input channels C.
        out_channels: Number of output channels O.
        kernel_size: Of each kernel.
        stride, padding, dilation, groups, bias: As for `torch.nn.Conv2d`, whose initialisation each kernel
            has.
        kernels: Their number K.
        reduction: The attention has C / reduction hidden features, at least one.
        temperature: What the attention's scores are divided by, to begin with.
        device: Where parameters live.
        dtype: Their dtype.

    Attributes:
        weight: The kernels, (K, O, C / G, ...).
        bias: Their biases, (K, O), or None.
        fc1, fc2: The attention's layers.
        temperature: A buffer of one number; see `set_temperature`.

    Raises:
        ValueError: An argument that is out of range.
    """

    temperature: Tensor
    bias: nn.Parameter | None
    _positions: int  # axes of them

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        kernels: int = 4,
        reduction: int = 4,
        temperature: float = 30.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_temperature("temperature", temperature)
        counts = {"in_channels": in_channels, "out_channels": out_channels, "groups": groups}
        for name, count in (counts | {"kernels": kernels, "reduction": reduction}).items():
            if count < 1:
                raise ValueError(f"{name} should be a whole number, 1 or more, but is {count}")
        for name in ("in_channels", "out_channels"):
            if counts[name] % groups != 0:
                raise ValueError(f"{name} should be a multiple of groups, {groups}, but is {counts[name]}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"padding should be a number, 'same' or 'valid', but is {padding!r}")
        ntuple = {1: _single, 2: _pair}[self._positions]
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = ntuple(kernel_size)
        self.stride = ntuple(stride)
        self.padding = padding if isinstance(padding, str) else ntuple(padding)
        self.dilation = ntuple(dilation)
        self.groups = groups
        self.kernels = kernels
        self.reduction = reduction
        hidden = max(in_channels // reduction, 1)
        shape = (kernels, out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = nn.Parameter(torch.empty((kernels, out_channels), device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.fc1 = nn.Linear(in_channels, hidden, device=device, dtype=dtype)
        self.fc2 = nn.Linear(hidden, kernels, device=device, dtype=dtype)
        self.register_buffer("temperature", torch.tensor(float(temperature), device=device, dtype=dtype))
        self._reset_kernels()

    def reset_parameters(self) -> None:
        """Draw the parameters anew; the temperature stays."""
        self.fc1.reset_parameters()
        self.fc2.reset_parameters()
        self._reset_kernels()

    def _reset_kernels(self) -> None:
        bound = 1 / math.sqrt(math.prod(self.weight.shape[2:]))  # as torch's convolutions
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def attention(self, input: Tensor) -> Tensor:
        """How much of each kernel each example of (B, C, ...) takes: (B, K), each row with sum 1."""
        return kernel_attention(
            input, self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias, self.temperature
        )

    def forward(self, input: Tensor) -> Tensor:
        """Convolve a batch (B, C, ...), or one example (C, ...).

        Raises:
            ValueError: Another number of axes, or no positions.
            RuntimeError: Another number of channels.
        """
        shape = tuple(input.shape)
        if len(shape) == self._positions + 1:
            return self.forward(input.unsqueeze(0)).squeeze(0)
        if len(shape) != self._positions + 2 or 0 in shape[2:]:
            raise ValueError(
                f"input should have {self._positions + 2} axes, (batch, channels, positions, ...), or one "
                f"less without the batch, but has shape {shape}"
            )
        if shape[1] != self.in_channels:
            raise RuntimeError(f"input should have {self.in_channels} channels, but has shape {shape}")
        return dynamic_convolution(
            input,
            self.attention(input),
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )

    def extra_repr(self) -> str:
        """Show the arguments."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding!r}, dilation={self.dilation}, groups={self.groups}, "
            f"bias={self.bias is not None}, kernels={self.kernels}, reduction={self.reduction}"
        )


class DynamicConv1d(DynamicConvBase):
    """Dynamic convolution of (B, C, length) or (C, length)."""

    _positions = 1


class DynamicConv2d(DynamicConvBase):
    """Dynamic convolution of (B, C, height, width) or (C, height, width)."""

    _positions = 2


def _check_temperature(name: str, temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise ValueError(f"{name} should be positive and finite, but is {temperature}")
