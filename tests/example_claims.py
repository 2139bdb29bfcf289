"""A claim of each kind to start from, and values with a chosen mean and interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from surveylab.claims import Arm, Baseline, Change, Claim, Evidence, Pilot, Published, judge

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


def everything(make: MakeClaim, draw: Callable[..., np.ndarray]) -> tuple[Claim, Evidence]:
    """A claim and evidence that hold all that version 2 of the rules adds."""
    claim = make(
        unit="points",
        says="Group Norm beats Batch Norm at two examples a batch.",
        effect="Accuracy of Group Norm minus that of Batch Norm.",
        reach="in small convolutional networks on mnist1d and fashion",
        primary=True,
        edition=2,
        replicates=8,
        pilot=Pilot(4.8, 1.1, 4, 1001),
        published=Published(8.0, "ioffe2015batch", "Table 1"),
        history=(Change("2026-01-31", "The margin was 2.", "It was copied.", "supported, +5.1 points."),),
    )
    steps = np.arange(0, 1001, 50)
    curve = {
        name: [[float(step), 2.3 * math.exp(-step / scale) + 0.02] for step in steps]
        for name, scale in (("Group Norm", 120.0), ("Batch Norm", 160.0), ("none", 900.0))
    }
    svm = Baseline("support vector machine on pixels", 64.0)
    score = {"Group Norm": 81.0, "Batch Norm": 76.0}
    arms = {
        name: Arm(
            draw(mean).tolist(),
            loss=draw(0.05, 0.001).tolist(),
            accuracy=np.full((3, 8), 98.5).tolist(),
            curve=curve[name],
            baseline=svm,
            chance=10.0,
        )
        for name, mean in score.items()
    }
    settings = [
        ({"budget": budget, "data": data, "width": 16}, draw(shift + budget, 1.0)[0])
        for data, shift in (("mnist1d", 2.0), ("fashion", -1.0))
        for budget in (0.5, 1, 2)
    ]
    guarded = {0.25: draw(3.0)[0], 0.5: draw(4.2)[0], 2.0: draw(4.9)[0], 4.0: draw(5.2)[0]}
    evidence = judge(
        claim,
        draw(5.0),
        profile="standard",
        seed=0,
        data=None,
        clusters=[[f"style {r % 4}" for r in range(8)]] * 3,
        arms=arms,
        guard=guarded,
        scope_map=settings,
    )
    return claim, evidence
