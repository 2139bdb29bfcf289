"""The arms of an experiment: what each scored, and whether it has learnt.

A comparison of networks that have not finished learning measures their speed. So an experiment decides only
if every arm has learnt, in one of three ways:

1. It fits its training data: a mean training accuracy of at least 95 %.
2. Its training loss has stopped falling: with the mean of the curve over the last quarter of the steps, that
   over the quarter before it, and its first point,
   before − last ≤ 0.05 (first − last), and last < first.
   (An exponential fall e^(−t/τ) passes after about four τ, when 98 % of it is done. A schedule that lowers
   the rate to zero flattens any curve at its very end, which a quarter of the steps does not overlook.)
3. It scores no worse than a named classical baseline on the same split.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

#: Per cent of its training data that an arm which has learnt gets right.
FITS = 95.0
#: Share of the whole fall of the loss that may fall within the last quarter of the steps.
STILL_FALLING = 0.05
#: Fewest points of a learning curve.
POINTS = 8


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A classical method on the same splits, and its mean score in the unit of the arm's."""

    name: str
    score: float


@dataclasses.dataclass(frozen=True)
class Arm:
    """What one arm of an experiment did.

    Attributes:
        values: Its score in every replicate, (3, n), higher is better.
        loss: Its training loss at the end of training in every replicate, (3, n).
        accuracy: Its training accuracy in per cent in every replicate, (3, n).
        curve: Its training loss, the mean over replicates, as pairs (step, loss) with rising steps.
        baseline: What it should not be worse than.
        chance: The score of guessing.
    """

    values: Sequence[Sequence[float]]
    loss: Sequence[Sequence[float]] | None = None
    accuracy: Sequence[Sequence[float]] | None = None
    curve: Sequence[Sequence[float]] | None = None
    baseline: Baseline | None = None
    chance: float | None = None


def has_learnt(arm: Arm) -> bool:
    """Whether an arm fits its training data, has stopped improving on them, or matches its baseline."""
    if arm.accuracy is not None and float(np.mean(arm.accuracy)) >= FITS:
        return True
    if arm.curve is not None and stopped_falling(arm.curve):
        return True
    return arm.baseline is not None and float(np.mean(arm.values)) >= arm.baseline.score


def undertrained(arms: Mapping[str, Arm]) -> list[str]:
    """The names of the arms that have not learnt."""
    return [name for name, arm in arms.items() if not has_learnt(arm)]


def stopped_falling(curve: npt.ArrayLike) -> bool:
    """Whether a training loss has stopped falling; see above.

    Args:
        curve: At least 8 pairs (step, loss), with some in each of the last two quarters of the steps.

    Raises:
        ValueError: If the curve is too short or too uneven to tell.
    """
    points = np.asarray(curve, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < POINTS:
        raise ValueError(f"a curve needs at least {POINTS} pairs (step, loss); got shape {points.shape}")
    steps, losses = points.T
    if not (np.diff(steps) > 0).all():
        raise ValueError("the steps of a curve must rise")
    share = (steps - steps[0]) / (steps[-1] - steps[0])
    late, before = losses[share > 0.75], losses[(share > 0.5) & (share <= 0.75)]
    if not len(before):
        raise ValueError("a curve needs a point in each of the last two quarters of its steps")
    last = float(late.mean())
    fall = float(losses[0]) - last
    return fall > 0 and float(before.mean()) - last <= STILL_FALLING * fall


def checked_arms(arms: Mapping[str, Arm], shape: tuple[int, ...], *, short: bool = False) -> dict[str, Arm]:
    """The arms with plain lists of floats, all finite and of the shape of the claim's values.

    Args:
        arms: What each arm did, by name.
        shape: That of the claim's values.
        short: Whether curves may be too short to tell if they have stopped falling, as at smoke.

    Raises:
        ValueError: If there is none, or a value is missing, not finite or of another shape.
    """
    if not arms:
        raise ValueError("arms holds no arm; name each with its `Arm`, or leave arms out")
    return {str(name): _checked(str(name), arm, shape, short) for name, arm in arms.items()}


def _checked(name: str, arm: Arm, shape: tuple[int, ...], short: bool) -> Arm:
    plain: dict[str, Any] = {}
    for field in ("values", "loss", "accuracy", "curve"):
        given = getattr(arm, field)
        if given is None:
            continue
        array = np.asarray(given, dtype=np.float64)
        if field != "curve" and array.shape != shape:
            raise ValueError(f"arm {name}: {field} has shape {array.shape}; the claim's values have {shape}")
        if not np.isfinite(array).all():
            raise ValueError(
                f"arm {name}: {field} is not finite everywhere; count failed runs in a claim of their own"
            )
        plain[field] = array.tolist()
    if "accuracy" in plain and not (((a := np.asarray(plain["accuracy"])) >= 0) & (a <= 100)).all():
        raise ValueError(f"arm {name}: accuracy is in per cent, from 0 to 100")
    if "curve" in plain and not short:
        try:
            stopped_falling(plain["curve"])
        except ValueError as error:
            raise ValueError(f"arm {name}: {error}") from error
    return dataclasses.replace(arm, **plain)
