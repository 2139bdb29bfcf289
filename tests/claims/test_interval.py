"""The intervals: equal to SciPy's or to the definition, and true to their level in simulation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, stats

from surveylab.claims.intervals import (
    LEVEL,
    cluster_interval,
    cluster_means,
    median_interval,
    median_level,
    sign_interval,
    spreadless,
    standard_error,
    student_interval,
    summarise,
    tango_interval,
)

RUNS = 8_000
# Binomial error of a coverage of 0.99 over 8,000 runs: 0.0011. Four of them on either side.
BAND = 4 * np.sqrt(LEVEL * (1 - LEVEL) / RUNS)


def covered(interval: Callable[..., tuple[float, float]], samples: np.ndarray, truth: float) -> float:
    """The share of samples, one a row, whose interval holds the truth."""
    bounds = np.array([interval(sample) for sample in samples])
    return float(((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).mean())


def counts(plus: int, minus: int, size: int = 24) -> list[float]:
    return [1.0] * plus + [-1.0] * minus + [0.0] * (size - plus - minus)


def covered_counts(
    interval: Callable[..., tuple[float, float]], plus: float, minus: float, size: int = 24
) -> float:
    """The exact coverage for paired counts: over every outcome, by its probability."""
    total = 0.0
    law = stats.multinomial(size, [plus, minus, 1 - plus - minus])
    for b in range(size + 1):
        for c in range(size + 1 - b):
            weight = law.pmf([b, c, size - b - c])
            if weight > 1e-7:
                low, high = interval(counts(b, c, size))
                total += weight * (low <= plus - minus <= high)
    return total


# ------------------------------------------------------------------------------------------ Student


def coverage(level: float) -> float:
    """How often Student's interval holds the true mean of 24 normal values."""
    samples = np.random.default_rng(20260131).normal(2.5, 3.0, (RUNS, 24))
    return covered(lambda sample: student_interval(sample, level), samples, 2.5)


def test_students_interval_holds_its_level_on_normal_values() -> None:
    assert abs(coverage(LEVEL) - 0.99) < BAND


@pytest.mark.parametrize("level", [0.90, 0.95, 0.98])
def test_the_simulation_would_notice_a_wrong_level(level: float) -> None:
    assert abs(coverage(level) - 0.99) > BAND


@pytest.mark.parametrize("size", [2, 15, 24, 192])
def test_students_interval_is_scipys(size: int) -> None:
    sample = np.random.default_rng(size).gamma(2.0, size=size)
    reference = stats.t.interval(0.99, size - 1, sample.mean(), stats.sem(sample))
    assert student_interval(sample) == pytest.approx(reference, rel=1e-12)


# ------------------------------------------------------------------------------------------ median


def test_of_24_values_the_6th_and_the_19th() -> None:
    ordered = np.arange(1.0, 25.0)
    shuffled = np.random.default_rng(0).permutation(ordered).reshape(3, 8)
    assert median_interval(shuffled) == (6.0, 19.0)
    assert median_level(24) == pytest.approx(0.99339, abs=1e-5)


@pytest.mark.parametrize("size", [8, 9, 24, 25, 96])
def test_the_order_statistics_are_the_innermost_that_hold_the_level(size: int) -> None:
    low, high = median_interval(np.arange(1.0, size + 1))
    k = round(low)
    assert high == size + 1 - k
    assert median_level(size) == pytest.approx(1 - 2 * stats.binom.cdf(k - 1, size, 0.5), abs=1e-14)
    assert median_level(size) >= LEVEL > 1 - 2 * stats.binom.cdf(k, size, 0.5)


def test_the_median_of_too_few_values() -> None:
    with pytest.raises(ValueError, match="7 values are too few for an interval of the median at 99 %"):
        median_interval(np.arange(7.0))


def test_the_interval_of_the_median_holds_its_level_where_students_fails() -> None:
    """One run in twenty fails by 50: the mean's interval is lost, the median's is not."""
    rng = np.random.default_rng(11)
    samples = rng.normal(1.0, 1.0, (4000, 24)) - 50.0 * (rng.random((4000, 24)) < 0.05)
    truth = float(np.median(rng.normal(1.0, 1.0, 2_000_000) - 50.0 * (rng.random(2_000_000) < 0.05)))
    error = math.sqrt(0.99339 * (1 - 0.99339) / 4000)
    assert abs(covered(median_interval, samples, truth) - 0.99339) < 4 * error
    assert covered(student_interval, samples, 1.0 - 50.0 * 0.05) < 0.80


# ------------------------------------------------------------------------------------------ Tango


def score(b: int, c: int, n: int, delta: float) -> float:
    """Tango's statistic with P(-1) from maximising the likelihood itself, not from the formula."""
    low, high = max(0.0, -delta), (1 - delta) / 2

    def loss(q: float) -> float:
        shares = ((b, q + delta), (c, q), (n - b - c, 1 - delta - 2 * q))
        return -sum(count * math.log(max(share, 1e-300)) for count, share in shares if count)

    # Several stretches, since the likelihood may be highest at an end.
    edges = np.linspace(low, high, 9)
    fits = [
        optimize.minimize_scalar(loss, bounds=pair, method="bounded", options={"xatol": 1e-12})
        for pair in itertools.pairwise(edges)
    ]
    q = min((float(fit.x) for fit in fits), key=loss)
    return (b - c - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))


@pytest.mark.parametrize(
    ("b", "c", "n"), [(18, 2, 24), (5, 3, 24), (1, 23, 24), (12, 12, 24), (9, 0, 24), (40, 11, 96)]
)
def test_tangos_bounds_are_where_his_statistic_is_z(b: int, c: int, n: int) -> None:
    low, high = tango_interval(counts(b, c, n))
    z = stats.norm.ppf(0.995)
    assert -1 < low < (b - c) / n < high < 1
    assert score(b, c, n, low) == pytest.approx(z, rel=1e-4)
    assert score(b, c, n, high) == pytest.approx(-z, rel=1e-4)


def test_tangos_interval_where_all_pairs_are_alike() -> None:
    """There the bounds have a closed form; no spread is needed."""
    z2 = stats.norm.ppf(0.995) ** 2
    end = (24 - z2) / (24 + z2)
    assert tango_interval(counts(24, 0)) == pytest.approx((end, 1.0), abs=1e-9)
    assert tango_interval(counts(0, 24)) == pytest.approx((-1.0, -end), abs=1e-9)
    reach = z2 / (24 + z2)
    assert tango_interval(counts(0, 0)) == pytest.approx((-reach, reach), abs=1e-9)
    low, high = tango_interval(counts(7, 2))
    assert tango_interval(counts(2, 7)) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize(("plus", "minus"), [(0.7, 0.2), (0.5, 0.5), (0.15, 0.15), (0.3, 0.1), (0.9, 0.05)])
def test_tangos_interval_holds_its_level_for_24_pairs(plus: float, minus: float) -> None:
    """Counts are discrete, so no interval meets its level everywhere; exact, not simulated."""
    assert 0.980 < covered_counts(tango_interval, plus, minus) < 0.998


def test_tangos_interval_is_shorter_than_two_binomial_ones() -> None:
    for plus, minus in ((24, 0), (18, 2), (12, 12), (5, 0)):
        tango, exact = tango_interval(counts(plus, minus)), sign_interval(counts(plus, minus))
        assert tango[1] - tango[0] < exact[1] - exact[0]


# ------------------------------------------------------------------------------------------ sign


@pytest.mark.parametrize(
    "probabilities", [(0.7, 0.2), (0.98, 0.01), (0.5, 0.5), (0.05, 0.05), (0.3, 0.0), (1.0, 0.0)]
)
def test_the_sign_interval_covers_at_least_its_level(probabilities: tuple[float, float]) -> None:
    plus, minus = probabilities
    draws = np.random.default_rng(5).multinomial(24, [plus, minus, 1 - plus - minus], 4000)
    kinds, found = np.unique(draws, axis=0, return_counts=True)
    hits = 0
    for (n_plus, n_minus, _), count in zip(kinds, found, strict=True):
        low, high = sign_interval(counts(n_plus, n_minus))
        hits += int(count) * (low <= plus - minus <= high)
    assert hits / 4000 >= LEVEL


@pytest.mark.parametrize(("plus", "minus"), [(24, 0), (0, 24), (0, 0), (18, 2), (1, 23), (12, 12)])
def test_the_sign_interval_is_two_of_scipys(plus: int, minus: int) -> None:
    p = stats.binomtest(plus, 24).proportion_ci(0.995, method="exact")
    m = stats.binomtest(minus, 24).proportion_ci(0.995, method="exact")
    expected = (p.low - m.high, p.high - m.low)
    assert sign_interval(counts(plus, minus)) == pytest.approx(expected, rel=1e-10, abs=1e-12)


# ------------------------------------------------------------------------------------------ clusters


def test_clusters_of_equal_size_give_the_mean_and_the_cluster_robust_error() -> None:
    rng = np.random.default_rng(3)
    styles = np.repeat(np.arange(8), 3)
    values = rng.normal(0, 1, 24) + rng.normal(0, 2, 8)[styles]
    low, high = cluster_interval(values, styles)
    assert (low + high) / 2 == pytest.approx(values.mean(), rel=1e-12)
    # The sandwich: sums of residuals within clusters, squared.
    sums = np.array([(values[styles == s] - values.mean()).sum() for s in range(8)])
    robust = math.sqrt(8 / 7 * (sums**2).sum()) / 24
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.995, 7) * robust, rel=1e-12)


def test_clusters_may_have_names_and_several_dimensions() -> None:
    values = np.array([[1.0, 2.0], [3.0, 8.0]])
    assert cluster_means(values, [["rain", "sun"], ["rain", "sun"]]).tolist() == [2.0, 5.0]
    with pytest.raises(ValueError, match=r"one label a value, shape \(2, 2\), but has \(2,\)"):
        cluster_means(values, [0, 1])
    with pytest.raises(ValueError, match="one cluster for all values; name on the card what all share"):
        cluster_means(values, [[4, 4], [4, 4]])


def test_the_interval_over_clusters_holds_its_level_where_students_fails() -> None:
    """24 values that share ten styles: as if there were 24, the interval is far too narrow."""
    rng = np.random.default_rng(17)
    styles = np.arange(24) % 10
    samples = rng.normal(0, 0.5, (4000, 24)) + rng.normal(0, 1.5, (4000, 10))[:, styles]
    band = 4 * math.sqrt(LEVEL * (1 - LEVEL) / 4000)
    held = covered(lambda sample: cluster_interval(sample, styles), samples, 0.0)
    assert abs(held - LEVEL) < band
    assert covered(student_interval, samples, 0.0) < 0.95


# ------------------------------------------------------------------------------------------ summary


def test_a_summary_of_each_statistic() -> None:
    values = np.random.default_rng(4).normal(2.0, 1.0, 24)
    mean = summarise(values)
    assert mean is not None
    assert mean == pytest.approx((values.mean(), *student_interval(values), standard_error(values)))
    median = summarise(values, "median")
    assert median is not None
    assert median[:3] == pytest.approx((np.median(values), *median_interval(values)))
    # 2.713: the two-sided normal quantile of 99.339 %.
    assert median.error == pytest.approx(
        (median.high - median.low) / (2 * stats.norm.ppf(1 - 0.00661 / 2)), rel=1e-4
    )
    for name, interval in (("tango", tango_interval), ("sign", sign_interval)):
        found = summarise(counts(18, 2), name)
        assert found is not None
        assert found[:3] == pytest.approx((16 / 24, *interval(counts(18, 2))))
        assert found.error == pytest.approx((found.high - found.low) / (2 * stats.norm.ppf(0.995)))
    styles = np.arange(24) % 6
    clustered = summarise(values, clusters=styles)
    assert clustered is not None
    means = cluster_means(values, styles)
    assert clustered == pytest.approx((means.mean(), *student_interval(means), standard_error(means)))


def test_values_that_allow_no_interval() -> None:
    assert summarise([1.0]) is None
    assert summarise(np.full(24, 5.0)) is None
    assert summarise(np.full(24, 5.0), "median") is None
    assert summarise(np.arange(7.0), "median") is None
    assert summarise([0.0, 5.0, 0.0, 5.0], clusters=[0, 0, 1, 1]) is None  # the clusters are alike
    assert summarise(np.ones(24), "tango") is not None


def test_spreadless_at_its_boundary() -> None:
    assert spreadless([1.0, 1.0 + 0.9e-12], 1e-3)
    assert not spreadless([1.0, 1.0 + 1.2e-12], 1e-3)
    assert spreadless([0.0, 0.9e-12], 1.0)
    assert not spreadless([0.0, 1.2e-12], 1.0)
