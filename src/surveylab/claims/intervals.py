"""Confidence intervals: what the values of a run say about the effect behind them.

One function for each way of reading the values, all at the same level of 99 %:

- *mean*: Student's interval, for values that behave
- *median*: order statistics, where single runs fail
- *tango*: Tango's score interval, for paired counts such as +1, 0, −1
- *sign*: two exact binomial intervals, for the same counts; conservative, kept for older editions
- clusters: Student's interval over the means of clusters, where replicates share something

SciPy is imported where it is used, so that importing this package stays fast.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: The confidence of every interval, 0.99.
LEVEL = 0.99

Array = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate with its interval and its standard error."""

    estimate: float
    low: float
    high: float
    error: float


def student_interval(values: npt.ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """Student's t interval for the mean of N independent values.

    x̄ ± t(N − 1, (1 + level) / 2) · s / √N, with s the standard deviation over N − 1.
    """
    sample = _flat(values)
    half = student_quantile(sample.size - 1, level) * standard_error(sample)
    mean = float(sample.mean())
    return mean - half, mean + half


def median_interval(values: npt.ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """Order statistics that hold the median of N independent values of any distribution.

    [x₍ₖ₎, x₍N+1−k₎] with the largest k for which 1 − 2 P(B < k) ≥ level, B ~ Binomial(N, ½). Of 24 values
    the 6th and the 19th, which hold the median in 99.3 % of all runs.

    Raises:
        ValueError: If there are too few values for the level; 99 % needs 8.
    """
    sample = np.sort(_flat(values))
    k = _rank(sample.size, level)
    return float(sample[k - 1]), float(sample[sample.size - k])


def median_level(size: int, level: float = LEVEL) -> float:
    """How often `median_interval` holds the median of ``size`` values: 1 − 2 P(B < k), at least ``level``."""
    return 1 - 2 * _binomial_tail(_rank(size, level) - 1, size)


def tango_interval(values: npt.ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """Tango's score interval for the difference of two paired proportions (Statistics in Medicine 17, 1998).

    Of N pairs b count for (+1), c against (−1), the others are even (0). All Δ are in the interval of
    Δ = P(+1) − P(−1) for which

    −z ≤ (b − c − N Δ) / √(N (2 q + Δ (1 − Δ))) ≤ z,

    where q is the likeliest P(−1) given Δ: with B = −b − c + (2N − b + c) Δ it is
    (√(B² + 8 N c Δ (1 − Δ)) − B) / 4N. It needs no spread: 24 pairs that all count for give [0.57, 1].
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    sample = _flat(values)
    n, b, c = sample.size, int((sample == 1).sum()), int((sample == -1).sum())
    square = float(ndtri((1 + level) / 2)) ** 2
    estimate = (b - c) / n

    def excess(delta: float) -> float:
        """Below 0 inside the interval, above 0 outside."""
        linear = -b - c + (2 * n - b + c) * delta
        q = (math.sqrt(max(0.0, linear**2 + 8 * n * c * delta * (1 - delta))) - linear) / (4 * n)
        return (b - c - n * delta) ** 2 - square * n * (2 * q + delta * (1 - delta))

    # At the estimate itself the excess may be exactly 0 (all pairs alike): begin a hair away from it.
    low = brentq(excess, -1.0, max(-1.0, estimate - 1e-12), xtol=1e-14)
    high = brentq(excess, min(1.0, estimate + 1e-12), 1.0, xtol=1e-14)
    return float(low), float(high)


def sign_interval(values: npt.ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """An interval for P(+1) − P(−1) from values in {−1, 0, 1}.

    Two Clopper-Pearson intervals, each with half of the error (Bonferroni): conservative, and valid at any
    count, so that zero variance needs no exception.
    """
    sample = _flat(values)
    each = 1 - (1 - level) / 2
    plus = _clopper_pearson(int((sample == 1).sum()), sample.size, each)
    minus = _clopper_pearson(int((sample == -1).sum()), sample.size, each)
    return plus[0] - minus[1], plus[1] - minus[0]


def cluster_interval(
    values: npt.ArrayLike, clusters: npt.ArrayLike, level: float = LEVEL
) -> tuple[float, float]:
    """Student's interval over clusters: values that share something count as one.

    With the means x̄₁ … x̄_G of the G clusters it is their mean ± t(G − 1) · s(x̄) / √G. Where clusters are of
    equal size, the estimate is the mean of all values and the error the cluster-robust one.

    Args:
        values: The values, of any shape.
        clusters: What each value shares, of the same shape: a number or a name.

    Raises:
        ValueError: If the shapes differ or there is only one cluster.
    """
    return student_interval(cluster_means(values, clusters), level)


def cluster_means(values: npt.ArrayLike, clusters: npt.ArrayLike) -> Array:
    """The mean of each cluster, in the order of their sorted labels."""
    sample, labels = np.asarray(values, dtype=np.float64), np.asarray(clusters)
    if sample.shape != labels.shape:
        raise ValueError(f"clusters needs one label a value, shape {sample.shape}, but has {labels.shape}")
    names, index = np.unique(labels.ravel(), return_inverse=True)
    if len(names) < 2:
        raise ValueError("clusters names one cluster for all values; name on the card what all share instead")
    return np.bincount(index.ravel(), weights=sample.ravel()) / np.bincount(index.ravel())


def summarise(
    values: npt.ArrayLike,
    statistic: str = "mean",
    *,
    clusters: npt.ArrayLike | None = None,
    scale: float = 0.0,
) -> Interval | None:
    """Estimate, interval and standard error of a statistic.

    Student's standard error is s / √N. The other intervals need not be symmetric; theirs is the width of the
    interval over 2 z, the error that a normal estimate with this interval would have.

    Args:
        values: The values, of any shape.
        statistic: mean, median, tango or sign.
        clusters: What each value shares; with the mean only.
        scale: What counts as large beside rounding, such as the margin; see `spreadless`.

    Returns:
        The four numbers, or None where the values allow no interval: too few, or all equal.
    """
    from scipy.special import ndtri

    sample = _flat(values)
    if statistic in ("tango", "sign"):
        low, high = tango_interval(sample) if statistic == "tango" else sign_interval(sample)
        return Interval(float(sample.mean()), low, high, (high - low) / (2 * float(ndtri((1 + LEVEL) / 2))))
    if clusters is not None:
        sample = cluster_means(values, clusters)
    if sample.size < 2 or spreadless(sample, scale):
        return None
    if statistic == "median":
        if sample.size < 8:  # possible at smoke only
            return None
        low, high = median_interval(sample)
        width = 2 * float(ndtri((1 + median_level(sample.size)) / 2))
        return Interval(float(np.median(sample)), low, high, (high - low) / width)
    low, high = student_interval(sample)
    return Interval(float(sample.mean()), low, high, standard_error(sample))


def estimate(values: npt.ArrayLike, statistic: str = "mean") -> float:
    """The estimate alone: the median for ``median``, else the mean."""
    sample = _flat(values)
    return float(np.median(sample)) if statistic == "median" else float(sample.mean())


def spreadless(values: npt.ArrayLike, scale: float) -> bool:
    """Whether all values are equal, up to rounding: a difference of two equal accuracies is rarely exact."""
    array = np.asarray(values, dtype=np.float64)
    return float(np.ptp(array)) <= 1e-12 * max(float(np.abs(array).max()), scale)


def standard_error(sample: Array) -> float:
    """The standard error of a mean: s / √N."""
    return float(sample.std(ddof=1)) / math.sqrt(sample.size)


def student_quantile(freedom: int, level: float = LEVEL) -> float:
    """t with ``freedom`` degrees at (1 + level) / 2: half the width of an interval, in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def _rank(size: int, level: float) -> int:
    """The largest k for which the k-th values from both ends hold the median with this level."""
    ranks = [k for k in range(1, size // 2 + 1) if 1 - 2 * _binomial_tail(k - 1, size) >= level]
    if not ranks:
        raise ValueError(f"{size} values are too few for an interval of the median at {100 * level:g} %")
    return ranks[-1]


def _binomial_tail(count: int, size: int) -> float:
    """P(B ≤ count) of a Binomial(size, ½)."""
    return math.fsum(math.comb(size, i) for i in range(count + 1)) / 2**size


def _clopper_pearson(count: int, size: int, level: float) -> tuple[float, float]:
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = 0.0 if count == 0 else float(betaincinv(count, size - count + 1, tail))
    high = 1.0 if count == size else float(betaincinv(count + 1, size - count, 1 - tail))
    return low, high


def _flat(values: npt.ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64).ravel()
