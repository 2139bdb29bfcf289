"""Planned replicates and the effect a run would have shown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from surveylab.claims.firmness import firmness
from surveylab.claims.intervals import Interval, student_interval, student_quantile, summarise
from surveylab.claims.planning import NINE_IN_TEN, plan, smallest_shown


def expected(effect: float, spread: float, n: int) -> Interval:
    error = spread / math.sqrt(3 * n)
    half = student_quantile(3 * n - 1) * error
    return Interval(effect, effect - half, effect + half, error)


@pytest.mark.parametrize(
    ("effect", "direction", "verdict"),
    [(3.0, "greater", "supported"), (-3.0, "greater", "contradicted"), (3.0, "equivalent", "contradicted")],
)
def test_the_plan_is_the_smallest_that_is_firm(effect: float, direction: str, verdict: str) -> None:
    found = plan(effect, 3.0, margin=1.0, direction=direction)
    assert (found.verdict, found.firm) == (verdict, True)
    assert 8 < found.replicates < 32
    for n, firm in ((found.replicates, True), (found.replicates - 1, False)):
        chance = firmness(verdict, expected(effect, 3.0, n), margin=1.0, direction=direction)
        assert (chance >= 0.9) is firm
    assert found.firmness == pytest.approx(
        firmness(verdict, expected(effect, 3.0, found.replicates), margin=1.0, direction=direction)
    )


def test_the_ends_of_the_range() -> None:
    assert plan(50.0, 1.0, margin=1.0).replicates == 8
    hopeless = plan(1.01, 5.0, margin=1.0)
    assert (hopeless.replicates, hopeless.firm, hopeless.verdict) == (32, False, "inconclusive")
    # Right at the margin every run is inconclusive, firmly so; a plan must decide.
    certain = plan(1.0, 0.1, margin=1.0)
    assert certain.firmness > 0.9
    assert not certain.firm
    assert plan(0.0, 1.0, margin=1.0).verdict == "negligible"
    assert plan(0.0, 1.0, margin=1.0, direction="equivalent").verdict == "supported"


@pytest.mark.parametrize(
    ("effect", "spread", "margin"), [(math.nan, 1, 1), (1, 0, 1), (1, 1, 0), (1, math.inf, 1)]
)
def test_a_pilot_that_plans_nothing(effect: float, spread: float, margin: float) -> None:
    with pytest.raises(ValueError, match="a finite effect, and spread and margin above 0; got effect"):
        plan(effect, spread, margin=margin)


def test_a_planned_run_is_supported_as_often_as_its_size_promises() -> None:
    """If the pilot is right, the run itself shows the effect in more than 19 of 20 times."""
    found = plan(3.0, 3.0, margin=1.0)
    rng = np.random.default_rng(2)
    runs = rng.normal(3.0, 3.0, (4000, 3 * found.replicates))
    shown = np.mean([student_interval(run)[0] > 1.0 for run in runs])
    assert shown > 0.95


def test_the_smallest_effect_shown_in_nine_of_ten_runs() -> None:
    assert pytest.approx(stats.norm.ppf(0.9), rel=1e-14) == NINE_IN_TEN
    rng = np.random.default_rng(8)
    sample = rng.normal(0.0, 2.0, 24)
    found = summarise(sample)
    assert found is not None
    effect = smallest_shown(found, 1.0)
    spread = sample.std(ddof=1)
    runs = rng.normal(effect, spread, (6000, 24))
    shown = np.mean([student_interval(run)[0] > 1.0 for run in runs])
    # Each run has a spread of its own, which costs a little.
    assert abs(shown - 0.9) < 0.03
    assert smallest_shown(Interval(0.0, -3.0, 1.0, 0.5), 1.0) == pytest.approx(1.0 + 3.0 + 0.5 * NINE_IN_TEN)
