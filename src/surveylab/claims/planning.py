"""How many replicates a claim needs, and what a run of that size can show.

Planned from a pilot on seeds of its own, before the run, and never added to after a look.
"""

from __future__ import annotations

import dataclasses
import math

from surveylab.claims.firmness import FIRM, verdict_probabilities
from surveylab.claims.intervals import Interval, student_quantile

POPULATIONS = 3
FEWEST = 8
MOST = 32

#: Φ⁻¹(0.9): nine of ten runs lie above their expected value minus 1.28 standard errors.
NINE_IN_TEN = 1.2815515655446004


@dataclasses.dataclass(frozen=True)
class Plan:
    """The replicates of a population, and the verdict to expect with its firmness."""

    replicates: int
    verdict: str
    firmness: float

    @property
    def firm(self) -> bool:
        """Whether the plan is enough: the verdict would decide, and be firm."""
        return self.verdict != "inconclusive" and self.firmness >= FIRM


def plan(effect: float, spread: float, *, margin: float, direction: str = "greater") -> Plan:
    """The smallest n from 8 to 32 for which the verdict would be firm if the pilot's effect and spread hold.

    With N = 3n values of standard deviation σ a run expects the estimate e = ``effect``, the standard error
    s = σ / √N and the half-width h = t(N − 1) s. The likeliest verdict follows, and its firmness.

    Args:
        effect: The pilot's mean value.
        spread: The standard deviation σ of the pilot's values, above 0.
        margin: The claim's margin.
        direction: greater or equivalent.

    Returns:
        The plan. Where even 32 are not enough it has 32, and `Plan.firm` is False.

    Raises:
        ValueError: If spread or margin are not above 0, or a number is not finite.
    """
    if not (math.isfinite(effect) and 0 < spread < math.inf and 0 < margin < math.inf):
        raise ValueError(
            f"a plan needs a finite effect, and spread and margin above 0; got effect {effect}, spread "
            f"{spread}, margin {margin}"
        )
    for n in range(FEWEST, MOST + 1):
        values = POPULATIONS * n
        error = spread / math.sqrt(values)
        half = student_quantile(values - 1) * error
        odds = verdict_probabilities(
            Interval(effect, effect - half, effect + half, error), margin=margin, direction=direction
        )
        verdict = max(odds, key=lambda name: odds[name])
        found = Plan(n, verdict, odds[verdict])
        if found.firm:
            break
    return found


def smallest_shown(interval: Interval, margin: float) -> float:
    """The smallest effect the run would have shown in nine of ten runs: m + h + 1.28 s.

    At this true effect the estimate exceeds m + h in nine of ten runs, and with it the whole interval the
    margin m. h is the distance from the estimate to the farther end of the interval, s the standard error.
    """
    half = max(interval.estimate - interval.low, interval.high - interval.estimate)
    return margin + half + NINE_IN_TEN * interval.error
