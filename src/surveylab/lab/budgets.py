"""The same arms with less and more training: the guard of a claim about quality, and its scope map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from surveylab.lab.comparison import Comparison
from surveylab.lab.session import current

Found = TypeVar("Found")


def at_budgets(
    comparison: Comparison, trained: Callable[[Comparison], Found], *, budgets: Sequence[float] = (0.5, 2.0)
) -> dict[float, Found]:
    """Train population 0 again at other budgets, at rates found anew.

    Args:
        comparison: The run's own.
        trained: Trains the arms of a comparison and returns them.
        budgets: In units of the comparison's training examples.

    Returns:
        What ``trained`` returned, by budget.
    """
    if not budgets or min(budgets) <= 0 or 1 in budgets:
        raise ValueError(f"budgets must be positive and other than 1, such as (0.5, 2); got {budgets}")
    return {budget: trained(comparison.variant(f"{budget:g} × budget", budget=budget)) for budget in budgets}


def over_budgets(
    values: Tensor, guard: Mapping[float, Tensor], **at: Any
) -> list[tuple[dict[str, Any], Tensor]]:
    """Settings of a scope map along the budget: population 0 of the run between those of the guard.

    Args:
        values: The effect, one value a replicate, (3n,) or (3, n).
        guard: The same effect of population 0 at other budgets, as for `surveylab.lab.check`.
        **at: What else the settings have, such as ``data="fashion"``.

    Returns:
        Settings and effects, from the smallest budget to the largest, as `surveylab.lab.check` takes them.
    """
    own = current().by_population(torch.as_tensor(values))[0]
    effects = {1.0: own, **guard}
    return [
        ({**at, "updates": "as run" if budget == 1 else f"{budget:g} ×"}, effects[budget])
        for budget in sorted(effects)
    ]
