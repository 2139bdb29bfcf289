"""The small networks that the chapters' experiments train.

Each takes ``norm``, which makes a normalisation layer for a number of channels (`torch.nn.Identity` for
none), so that arms of a comparison differ in that layer and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
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
