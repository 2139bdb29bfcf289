"""Random pictures with random labels: what a test trains on that needs no real data."""

from __future__ import annotations

import torch

from surveylab import lab


def toy(examples: int = 40, *, dtype: torch.dtype = torch.float64, side: int = 6) -> lab.Dataset:
    """Random pictures with random labels of three classes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(examples, 1, side, side, generator=generator, dtype=dtype)
    y = torch.randint(0, 3, (examples,), generator=generator)
    return lab.Dataset("toy", x, y, ("a", "b", "c"), None, "0" * 64)
