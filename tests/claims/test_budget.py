"""The guard at other budgets, at each boundary."""

from __future__ import annotations

import math

import pytest

from surveylab.claims.budget import holds_at_other_budgets


@pytest.mark.parametrize(
    ("others", "holds"),
    [
        ({0.5: 0.1, 2: 2.0}, True),  # exactly half remains
        ({0.5: 0.1, 2: math.nextafter(2.0, 0)}, False),
        ({0.5: 0.1, 2: 9.0}, True),
        ({0.5: 1e-9, 2: 4.0}, True),  # at a smaller budget the sign is enough
        ({0.5: 0.0, 2: 4.0}, False),
        ({0.5: -0.1, 2: 4.0}, False),
        ({0.5: 4.0, 2: -4.0}, False),
        ({0.25: 4.0, 0.5: 4.0, 2: 3.0, 4: 1.9}, False),
        ({0.25: 4.0, 2: 1.9, 4: 4.0}, False),
        ({0.25: 4.0, 4: 2.0}, True),
    ],
)
def test_sign_and_half_of_the_effect(others: dict[float, float], holds: bool) -> None:
    assert holds_at_other_budgets(4.0, others, margin=1.0) is holds
    mirrored = {budget: -effect for budget, effect in others.items()}
    assert holds_at_other_budgets(-4.0, mirrored, margin=1.0) is holds


@pytest.mark.parametrize(
    ("others", "holds"),
    [
        ({0.5: 0.9, 2: -0.9}, True),
        ({0.5: 1.0, 2: 0.0}, False),
        ({0.5: 0.0, 2: -1.0}, False),
        ({0.5: math.nextafter(1.0, 0), 2: math.nextafter(-1.0, 0)}, True),
    ],
)
def test_what_lies_within_the_margin_stays_there(others: dict[float, float], holds: bool) -> None:
    assert holds_at_other_budgets(0.1, others, margin=1.0, within=True) is holds


@pytest.mark.parametrize(
    "budgets",
    [
        (),
        (0.5,),
        (2,),
        (0.5, 0.25),
        (2, 4),
        (0.5, 1, 2),
        (0, 2),
        (-1, 2),
        (0.999, 1.001),
        (0.6, 2),
        (0.5, 1.9),
    ],
)
def test_a_guard_needs_both_sides(budgets: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"a budget of at most 0\.5 and one of at least 2 of the run's; got"):
        holds_at_other_budgets(4.0, dict.fromkeys(budgets, 4.0), margin=1.0)
