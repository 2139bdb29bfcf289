"""The guard at other budgets: an effect that training longer removes is one of the budget.

Population 0 is run again at half of the budget or less, and at twice or more, with rates found anew. With the
run's estimate e and the estimates e_b at the other budgets b, a verdict holds if

    sign(e_b) = sign(e) at all b,   and   e_b / e ≥ ½ at all b > 1.

*Negligible*, and an equivalence that is supported, say that nothing above the margin is there: these hold if
−margin < e_b < margin at all b.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Share of the effect that must remain at a larger budget.
REMAINS = 0.5
#: A guard's smallest budget is at most, its largest at least so much of the run's.
MOST_BELOW, LEAST_ABOVE = 0.5, 2.0


def holds_at_other_budgets(
    estimate: float, others: Mapping[float, float], *, margin: float, within: bool = False
) -> bool:
    """Whether an effect is there at other budgets too.

    Args:
        estimate: The run's estimate.
        others: The estimate at each other budget, in units of the run's: 0.5 for half.
        margin: The claim's margin.
        within: Whether the verdict is that the effect lies within the margin.

    Raises:
        ValueError: If no budget is at most half, or none at least twice, that of the run.
    """
    budgets = sorted(others)
    if not budgets or not 0 < budgets[0] <= MOST_BELOW < LEAST_ABOVE <= budgets[-1] or 1 in budgets:
        raise ValueError(
            f"the guard needs a budget of at most {MOST_BELOW:g} and one of at least {LEAST_ABOVE:g} "
            "of the run's; got " + (", ".join(f"{b:g}" for b in budgets) or "none")
        )
    if within:
        return all(abs(effect) < margin for effect in others.values())
    same = all(effect * estimate > 0 for effect in others.values())
    return same and all(abs(others[b]) >= REMAINS * abs(estimate) for b in budgets if b > 1)
