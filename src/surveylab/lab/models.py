"""The small networks that the chapters' experiments train.

Each takes what the arms of a comparison differ in, such as ``norm``, which makes a normalisation layer for a
number of channels (`torch.nn.Identity` for none), or ``activation``, likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Norm = Callable[[int], nn.Module]
Activation = Callable[[int], nn.Module]
Convolution = Callable[..., nn.Module]
Widths = tuple[int, ...]
Model = TypeVar("Model", bound=nn.Module)


def no_norm(channels: int) -> nn.Module:
    """No normalisation: the identity."""
    return nn.Identity()


def small_cnn(
    norm: Norm = no_norm, *, channels: int = 1, width: int = 8, classes: int = 10, parts: int = 1
) -> nn.Sequential:
    """Three 3x3 convolutions, each followed by ``norm`` and ReLU; means over positions; a linear head.

    Convolutions carry a bias: where a normalisation follows it is removed by it and harmless, where none
    follows the arm needs it.

    Args:
        norm: Makes a normalisation for a number of channels.
        channels: Of the images.
        width: Channels of the first two convolutions; the last has twice as many.
        classes: Outputs.
        parts: The head sees the means over parts x parts equal fields of the map. With 1, the mean over all
            of it, a norm over positions, such as Instance Norm, leaves it little to tell by: behind it each
            channel has the same mean and variance for every image.
    """
    layers: list[nn.Module] = []
    plan = [(channels, width), (width, width), (width, 2 * width)]
    for place, (before, after) in enumerate(plan):
        layers += [nn.Conv2d(before, after, 3, padding=1), norm(after), nn.ReLU()]
        if place == 1:
            layers.append(nn.MaxPool2d(2))
    # (B, 2 width, H/2, W/2) -> (B, 2 width parts²)
    head = nn.Linear(2 * width * parts**2, classes)
    return he_init(nn.Sequential(*layers, MeanOverPositions(parts), head))


def relu(channels: int) -> nn.Module:
    """ReLU, whatever the number of channels."""
    return nn.ReLU()


def strided_cnn(
    activation: Activation = relu,
    *,
    size: Sequence[int],
    widths: Sequence[int],
    channels: int = 1,
    classes: int = 10,
    conv: Convolution | None = None,
    after: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    """Blocks of a convolution, Batch Norm and ``activation``, each halving the map; then a linear layer.

    The first kernel is 5 wide, the others 3; all have stride 2.

    Args:
        activation: Makes an activation for a number of channels.
        size: Of an input: ``(40,)`` for a signal, ``(14, 14)`` for an image.
        widths: Channels of each block.
        channels: Of the inputs.
        classes: Outputs.
        conv: Makes the convolutions after the first, with the arguments of `torch.nn.Conv2d`; torch's own
            by default.
        after: Makes what ends each block, for a number of channels; nothing by default.
    """
    plain, norm = {1: (nn.Conv1d, nn.BatchNorm1d), 2: (nn.Conv2d, nn.BatchNorm2d)}[len(size)]
    layers: list[nn.Module] = []
    before, positions = channels, list(size)
    for place, width in enumerate(widths):
        kernel = 3 if place else 5
        make = conv if place and conv is not None else plain
        layers += [make(before, width, kernel, stride=2, padding=kernel // 2, bias=False), norm(width)]
        layers.append(activation(width))
        if after is not None:
            layers.append(after(width))
        before, positions = width, [-(-length // 2) for length in positions]
    head = nn.Linear(before * prod(positions), classes)
    return nn.Sequential(*layers, nn.Flatten(), head)


def count_parameters(model: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-adds of one forward pass of a single example, by `torch.utils.flop_counter`.

    It counts matrix products and convolutions; what is done element by element, such as an activation, a mean
    or a scaling, does not count.

    Args:
        model: In whatever mode it is; it is counted in evaluation mode.
        shape: Of one example, without the axis of the batch.
    """
    device = next(model.parameters()).device
    training = model.training
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, *shape, device=device))
    model.train(training)
    return counter.get_total_flops() // 2  # a multiplication and an addition count as two


def widths_for(
    build: Callable[[Widths], nn.Module],
    wanted: int,
    around: Sequence[int],
    count: Callable[[nn.Module], int] = count_parameters,
) -> Widths:
    """The widths, as near to others as can be, with which a network has a number of parameters within 0.5 %.

    Args:
        build: Makes the network of given widths.
        wanted: The number.
        around: The widths to stay near to; each may change by up to a quarter.
        count: What is counted, if not the parameters; such as `multiply_adds`.

    Raises:
        ValueError: No such widths.
    """
    ranges = [range(max(width - width // 4, 1), width + width // 4 + 1) for width in around]

    def changed(widths: Widths) -> int:
        return sum((a - b) ** 2 for a, b in zip(widths, around, strict=True))

    with torch.device("meta"):  # only sizes are asked for
        for widths in sorted(product(*ranges), key=changed):
            if abs(count(build(widths)) - wanted) <= 0.005 * wanted:
                return widths
    counted = "parameters" if count is count_parameters else "operations"
    raise ValueError(
        f"no widths within a quarter of {tuple(around)} give {wanted} {counted} within 0.5 %; change around"
    )


def he_init(model: Model) -> Model:
    """Draw weights before a ReLU from N(0, 2 / fan-in), biases 0; leave the last layer's as torch sets them.

    The initialisation that keeps signals level without normalisation [he2015delving]: the arm without
    normalisation needs it to have a fair chance.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers[:-1]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return model


class MeanOverPositions(nn.Module):
    """Average pooling over each of parts x parts equal fields: (B, C, H, W) → (B, C parts²).

    By hand, since adaptive pooling cannot be vectorised.

    Args:
        parts: Fields a side; H and W must be multiples of it.
    """

    def __init__(self, parts: int = 1) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, input: Tensor) -> Tensor:
        if self.parts == 1:
            return input.flatten(2).mean(2)
        fields = input.unflatten(3, (self.parts, -1)).unflatten(2, (self.parts, -1))  # (B, C, p, h, p, w)
        return fields.mean((3, 5)).flatten(1)
