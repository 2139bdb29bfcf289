"""A claim of each kind to start from, and values with a chosen mean and interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from surveylab.claims import Claim, Evidence, judge

MakeClaim = Callable[..., Claim]


@pytest.fixture
def make() -> MakeClaim:
    """A claim that is right in every field; a test changes what it is about."""

    def claim(kind: str = "experiment", **changes: Any) -> Claim:
        fields: dict[str, Any] = {
            "id": "bn-fast",
            "says": "Batch Norm speeds up convergence.",
            "chapter": "normalization/batch_norm",
            "kind": kind,
        }
        if kind == "source":
            fields |= {"cite": ("ioffe2015batch",), "place": "Table 1"}
        else:
            fields |= {
                "effect": "steps saved",
                "unit": "steps",
                "margin": 1.0,
                "why": "One step is one step.",
            }
        return Claim(**(fields | changes))

    return claim


@pytest.fixture
def draw() -> Callable[..., np.ndarray]:
    """Three populations of eight normal values, the same at each call."""

    def values(mean: float, spread: float = 1.0, n: int = 8) -> np.ndarray:
        return mean + spread * np.random.default_rng(7).standard_normal((3, n))

    return values


def run(claim: Claim, values: Any, profile: str = "standard", **options: Any) -> Evidence:
    """Judge a claim as a chapter does, on seed 0."""
    return judge(claim, values, profile=profile, seed=0, data=None, **options)


def up(x: float) -> float:
    """The next larger number."""
    return math.nextafter(x, math.inf)


def down(x: float) -> float:
    """The next smaller number."""
    return math.nextafter(x, -math.inf)
