"""When an arm has learnt, at each boundary."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from surveylab.claims import Arm, Baseline
from surveylab.claims.arms import checked_arms, has_learnt, stopped_falling, undertrained

SCORES = [[60.0] * 8] * 3
# Ten points; those at 25 and 30 lie in the third quarter, at 35, 40 and 45 in the last.
STEPS = list(range(0, 50, 5))


def curve(before: float, last: float, first: float = 2.0) -> list[list[float]]:
    losses = [first, 1.8, 1.7, 1.6, 1.5, before, before, last, last, last]
    return [[s, v] for s, v in zip(STEPS, losses, strict=True)]


FALLING = curve(1.0, 0.5)


@pytest.mark.parametrize(
    ("before", "last", "stopped"),
    [
        (1.05 - 1e-9, 1.0, True),  # 0.05 of a whole fall of 1
        (1.05 + 1e-9, 1.0, False),
        (1.04, 1.0, True),
        (1.0, 1.1, True),  # it rises again
        (1.0, 0.5, False),
        (2.0, 2.0, False),  # it never fell
        (2.0, 2.5, False),
    ],
)
def test_a_loss_that_has_stopped_falling(before: float, last: float, stopped: bool) -> None:
    assert stopped_falling(curve(before, last)) is stopped


def test_a_point_at_three_quarters_counts_as_before() -> None:
    losses = [2.0, 1.8, 1.7, 1.6, 1.5, 1.0, 1.2, 1.05, 1.05]  # before: 1.1, last: 1.05, of a fall of 0.95
    assert not stopped_falling(list(enumerate(losses)))
    losses[6] = 1.19
    assert stopped_falling(list(enumerate(losses)))


def test_an_exponential_fall_stops_after_some_four_time_constants() -> None:
    steps = np.linspace(0, 1, 101)
    stopped = [length for length in range(1, 8) if stopped_falling(np.c_[steps, np.exp(-length * steps)])]
    assert stopped == [5, 6, 7]
    assert not stopped_falling(np.c_[steps, np.exp(-4.0 * steps)])
    assert stopped_falling(np.c_[steps, np.exp(-4.3 * steps)])


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (curve(1.0, 0.5)[:7], r"at least 8 pairs \(step, loss\); got shape \(7, 2\)"),
        ([[1.0]] * 9, r"got shape \(9, 1\)"),
        (curve(1.0, 0.5)[::-1], "the steps of a curve must rise"),
        ([[s, 1.0] for s in (0, 1, 2, 3, 4, 5, 6, 100)], "a point in each of the last two quarters"),
    ],
)
def test_a_curve_that_cannot_tell(points: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stopped_falling(points)


def accuracy(mean: float) -> list[list[float]]:
    """Some replicates above, as many below."""
    return [[mean + 1, mean - 1] * 4] * 3


@pytest.mark.parametrize(
    ("arm", "learnt"),
    [
        (Arm(SCORES, accuracy=accuracy(95.0)), True),
        (Arm(SCORES, accuracy=accuracy(94.999)), False),
        (Arm(SCORES, accuracy=accuracy(50.0), curve=curve(1.01, 1.0)), True),
        (Arm(SCORES, accuracy=accuracy(50.0), curve=FALLING), False),
        (Arm(SCORES, curve=FALLING, baseline=Baseline("SVM", 60.0)), True),
        (Arm(SCORES, curve=FALLING, baseline=Baseline("SVM", 60.001)), False),
        (Arm(SCORES), False),
    ],
)
def test_three_ways_of_having_learnt(arm: Arm, learnt: bool) -> None:
    assert has_learnt(arm) is learnt
    assert undertrained({"good": Arm(SCORES, accuracy=accuracy(97)), "this": arm}) == (
        [] if learnt else ["this"]
    )


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({}, "arms holds no arm"),
        (
            {"BN": Arm([[1.0] * 8] * 2)},
            r"arm BN: values has shape \(2, 8\); the claim's values have \(3, 8\)",
        ),
        ({"BN": Arm(SCORES, loss=[[1.0] * 7] * 3)}, r"arm BN: loss has shape \(3, 7\)"),
        ({"BN": Arm([[math.nan] * 8] * 3)}, "arm BN: values is not finite everywhere; count failed runs"),
        ({"BN": Arm(SCORES, accuracy=[[100.1] * 8] * 3)}, "arm BN: accuracy is in per cent, from 0 to 100"),
        ({"BN": Arm(SCORES, curve=[[0, 1.0]])}, "arm BN: a curve needs at least 8"),
    ],
)
def test_arms_that_cannot_be_kept(arms: dict[str, Arm], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_arms(arms, (3, 8))


def test_arms_are_kept_as_plain_lists() -> None:
    given = {"BN": Arm(np.full((3, 8), 60.0), loss=np.ones((3, 8)), curve=np.array(FALLING), chance=10.0)}  # type: ignore[arg-type]
    arm = checked_arms(given, (3, 8))["BN"]
    assert arm == Arm(SCORES, loss=[[1.0] * 8] * 3, curve=FALLING, chance=10.0)
    assert type(arm.values) is list
    short = {"BN": Arm([[1.0]], curve=[[0, 1.0]])}
    assert checked_arms(short, (1, 1), short=True)["BN"].curve == [[0, 1.0]]
