"""Random data for the tests of normalisation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Draw = Callable[..., Tensor]


@pytest.fixture
def draw() -> Draw:
    """Draw random values, the same in every run; each channel gets a mean and a spread of its own."""
    generator = torch.Generator().manual_seed(20150211)

    def values(*shape: int, dtype: torch.dtype = torch.float32, mean: float = 0.0) -> Tensor:
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if len(shape) > 1:
            per_channel = (shape[1],) + (1,) * (len(shape) - 2)
            noise = noise * (0.5 + 2 * torch.rand(per_channel, generator=generator, dtype=torch.float64))
            noise = noise + torch.randn(per_channel, generator=generator, dtype=torch.float64)
        return (noise + mean).to(dtype)

    return values
