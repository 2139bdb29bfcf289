"""Why a claim is inconclusive, in words that stand first on its card."""

from __future__ import annotations

from surveylab.claims.arms import undertrained
from surveylab.claims.evidence import Evidence

DIRECTION = "direction shown, size open"
RULED_OUT = "claimed effect ruled out"
UNDERTRAINED = "undertrained"
BUDGET = "a matter of budget"
REPEATS_NOT = "does not repeat"
OPEN = "open"

#: All reasons of *inconclusive*. They are words; none has a badge of its own.
REASONS = (DIRECTION, RULED_OUT, UNDERTRAINED, BUDGET, REPEATS_NOT, OPEN)


def reason_of(low: float | None, high: float | None, *, margin: float, direction: str) -> str:
    """The reason that an interval gives, where it decides nothing.

    - *direction shown, size open*: it excludes 0, that is low > 0 or high < 0
    - *claimed effect ruled out*: else, high < margin (an equivalence claims no effect)
    - *open*: else, also without an interval
    """
    if low is None or high is None:
        return OPEN
    if low > 0 or high < 0:
        return DIRECTION
    return RULED_OUT if high < margin and direction == "greater" else OPEN


def because(evidence: Evidence) -> str | None:
    """The reason of an inconclusive verdict, and what it rests on; None for other verdicts."""
    reason = evidence.reason
    if reason == DIRECTION:
        assert evidence.low is not None and evidence.margin is not None
        if evidence.direction == "equivalent":
            return f"{reason}: there is a difference, but it may be too small to matter"
        if evidence.low > 0:
            return f"{reason}: the effect has the claimed direction, but it may be too small to matter"
        return f"{reason}: the effect runs against the claim, but it may be too small to matter"
    if reason == RULED_OUT:
        return f"{reason}: the interval lies below the margin"
    if reason == UNDERTRAINED:
        names = undertrained(evidence.arms or {})
        return f"{reason}: {', '.join(names)} had not finished learning"
    if reason == BUDGET:
        return f"{reason}: the effect does not keep its sign and half of its size at other budgets"
    if reason == REPEATS_NOT:
        return f"{reason}: fewer than half of at least four replications gave the same verdict"
    if reason == OPEN and evidence.low is None:
        return f"{reason}: all values are equal, and without spread chance cannot be told"
    return reason if reason is None else f"{reason}: the interval meets 0 and the margin"
