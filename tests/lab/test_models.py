"""The small networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from surveylab.lab.models import MeanOverPositions, small_cnn


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
