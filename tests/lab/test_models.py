"""The small networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from surveylab.lab.models import MeanOverPositions, count_parameters, small_cnn, strided_cnn, widths_for


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
