"""The intervals: equal to SciPy's, and true to their level in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from surveylab.claims.intervals import LEVEL, sign_interval, student_interval

RUNS = 8_000
# Binomial error of a coverage of 0.99 over 8,000 runs: 0.0011. Four of them on either side.
BAND = 4 * np.sqrt(LEVEL * (1 - LEVEL) / RUNS)


def coverage(level: float) -> float:
    """How often Student's interval holds the true mean of 24 normal values."""
    samples = np.random.default_rng(20260131).normal(2.5, 3.0, (RUNS, 24))
    bounds = np.array([student_interval(sample, level) for sample in samples])
    return float(((bounds[:, 0] <= 2.5) & (bounds[:, 1] >= 2.5)).mean())


def test_students_interval_holds_its_level_on_normal_values() -> None:
    assert abs(coverage(LEVEL) - 0.99) < BAND


@pytest.mark.parametrize("level", [0.90, 0.95, 0.98])
def test_the_simulation_would_notice_a_wrong_level(level: float) -> None:
    assert abs(coverage(level) - 0.99) > BAND


@pytest.mark.parametrize(
    "probabilities", [(0.7, 0.2), (0.98, 0.01), (0.5, 0.5), (0.05, 0.05), (0.3, 0.0), (1.0, 0.0)]
)
def test_the_sign_interval_covers_at_least_its_level(probabilities: tuple[float, float]) -> None:
    plus, minus = probabilities
    draws = np.random.default_rng(5).multinomial(24, [plus, minus, 1 - plus - minus], 4000)
    kinds, counts = np.unique(draws, axis=0, return_counts=True)
    covered = 0
    for (n_plus, n_minus, n_zero), count in zip(kinds, counts, strict=True):
        low, high = sign_interval([1.0] * n_plus + [-1.0] * n_minus + [0.0] * n_zero)
        covered += int(count) * (low <= plus - minus <= high)
    assert covered / 4000 >= LEVEL


@pytest.mark.parametrize("size", [2, 15, 24, 192])
def test_students_interval_is_scipys(size: int) -> None:
    sample = np.random.default_rng(size).gamma(2.0, size=size)
    reference = stats.t.interval(0.99, size - 1, sample.mean(), stats.sem(sample))
    assert student_interval(sample) == pytest.approx(reference, rel=1e-12)


@pytest.mark.parametrize(("plus", "minus"), [(24, 0), (0, 24), (0, 0), (18, 2), (1, 23), (12, 12)])
def test_the_sign_interval_is_two_of_scipys(plus: int, minus: int) -> None:
    values = [1.0] * plus + [-1.0] * minus + [0.0] * (24 - plus - minus)
    p = stats.binomtest(plus, 24).proportion_ci(0.995, method="exact")
    m = stats.binomtest(minus, 24).proportion_ci(0.995, method="exact")
    assert sign_interval(values) == pytest.approx((p.low - m.high, p.high - m.low), rel=1e-10, abs=1e-12)
