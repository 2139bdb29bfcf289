"""The small networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from surveylab.lab.models import (
    MeanOverPositions,
    count_parameters,
    multiply_adds,
    small_cnn,
    strided_cnn,
    widths_for,
)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_means_are_those_of_adaptive_pooling(parts: int) -> None:
    input = torch.randn(3, 5, 8, 12, generator=torch.Generator().manual_seed(0))
    expected = nn.AdaptiveAvgPool2d(parts)(input).flatten(1)
    torch.testing.assert_close(MeanOverPositions(parts)(input), expected)


@pytest.mark.parametrize(("parts", "features"), [(1, 16), (2, 64)])
def test_a_head_sees_each_part(parts: int, features: int) -> None:
    model = small_cnn(nn.BatchNorm2d, channels=3, classes=4, parts=parts)
    assert model[-1].in_features == features
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 4)
    # Inputs in one corner reach the parts of that corner alone, but for the convolutions' rims.
    quarter = small_cnn(channels=1, parts=2)[:-1]
    image = torch.zeros(1, 1, 32, 32)
    dark = quarter(image).view(16, 2, 2)
    image[..., :8, :8] = 1
    moved = (quarter(image).view(16, 2, 2) != dark).flatten(1).any(0)
    assert moved.tolist() == [True, False, False, False]


@pytest.mark.parametrize(("size", "left"), [((40,), (5,)), ((14, 14), (2, 2)), ((7,), (1,))])
def test_a_strided_network_halves_its_map_in_each_block(size: tuple[int, ...], left: tuple[int, ...]) -> None:
    network = strided_cnn(lambda channels: nn.PReLU(channels), size=size, widths=(4, 5, 6), channels=2)
    x = torch.randn(3, 2, *size)
    assert network(x).shape == (3, 10)
    assert network[:9](x).shape == (3, 6, *left)
    assert [layer.num_parameters for layer in network if isinstance(layer, nn.PReLU)] == [4, 5, 6]


def test_widths_for_a_number_of_parameters() -> None:
    def build(widths: tuple[int, ...]) -> nn.Module:
        return strided_cnn(lambda channels: nn.PReLU(channels), size=(40,), widths=widths)

    plain = count_parameters(strided_cnn(size=(40,), widths=(24, 24, 24)))
    widths = widths_for(build, plain, (24, 24, 24))
    assert widths != (24, 24, 24)
    assert abs(count_parameters(build(widths)) / plain - 1) <= 0.005
    assert widths_for(build, count_parameters(build((24, 24, 24))), (24, 24, 24)) == (24, 24, 24)
    with pytest.raises(ValueError, match=r"no widths within a quarter of \(24, 24, 24\) give 100 parameters"):
        widths_for(build, 100, (24, 24, 24))


def test_a_strided_network_with_other_convolutions_and_ends_of_blocks() -> None:
    made = []

    def conv(before: int, after: int, kernel: int, **kwargs: Any) -> nn.Module:
        made.append((before, after, kernel))
        return nn.Conv1d(before, after, kernel, **kwargs)

    network = strided_cnn(size=(40,), widths=(4, 5, 6), conv=conv, after=lambda channels: nn.PReLU(channels))
    assert made == [(4, 5, 3), (5, 6, 3)]  # the first convolution stays torch's own
    assert [layer.num_parameters for layer in list(network)[3::4] if isinstance(layer, nn.PReLU)] == [4, 5, 6]
    assert network(torch.randn(2, 1, 40)).shape == (2, 10)


def test_a_strided_network_begins_with_the_same_weights_whatever_ends_its_blocks() -> None:
    torch.manual_seed(0)
    plain = strided_cnn(size=(40,), widths=(4, 5))
    torch.manual_seed(0)
    ended = strided_cnn(size=(40,), widths=(4, 5), after=lambda channels: nn.Identity())
    assert [layer for layer in ended.state_dict().values() if layer.dim()][-1].equal(plain[-1].bias)


def test_multiply_adds_are_those_of_convolutions_and_matrix_products() -> None:
    network = strided_cnn(size=(7, 7), widths=(3, 5))
    # 4x4 positions of 3 kernels of 5x5, 2x2 positions of 5 kernels of 3x3x3, and 20 features to 10 classes
    assert multiply_adds(network, (1, 7, 7)) == 16 * 3 * 25 + 4 * 5 * 27 + 20 * 10
    assert network.training


def test_widths_for_a_number_of_multiply_adds() -> None:
    def build(widths: tuple[int, ...]) -> nn.Module:
        return strided_cnn(size=(40,), widths=widths)

    def count(network: nn.Module) -> int:
        return multiply_adds(network, (1, 40))

    widths = widths_for(build, 40_000, (28, 28, 28), count)
    assert abs(count(build(widths)) / 40_000 - 1) <= 0.005
    with pytest.raises(ValueError, match="give 100 operations"):
        widths_for(build, 100, (4, 4, 4), count)
