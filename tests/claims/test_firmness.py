"""Firmness: the closed form against simulation, at its boundaries, and against runs that are repeated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from surveylab.claims.firmness import firmness, normal_cdf, verdict_probabilities
from surveylab.claims.intervals import Interval, student_quantile
from surveylab.claims.verdict import decide

T = student_quantile(23)


def interval(estimate: float, error: float = 1.0, below: float = 1.0, above: float = 1.0) -> Interval:
    """An interval with half-widths of ``below`` and ``above`` times Student's."""
    return Interval(estimate, estimate - below * T * error, estimate + above * T * error, error)


def test_the_normal_distribution_is_scipys() -> None:
    x = np.linspace(-8, 8, 33)
    assert [normal_cdf(v) for v in x] == pytest.approx(stats.norm.cdf(x), rel=1e-12)


@pytest.mark.parametrize("direction", ["greater", "equivalent"])
@pytest.mark.parametrize("shape", [(1.0, 1.0), (0.7, 1.2)])
@pytest.mark.parametrize(("estimate", "error"), [(6.0, 1.0), (3.0, 1.0), (0.5, 0.2), (-4.5, 1.0), (0.0, 3.0)])
def test_the_closed_form_is_what_drawing_gives(
    estimate: float, error: float, shape: tuple[float, float], direction: str
) -> None:
    found = interval(estimate, error, *shape)
    odds = verdict_probabilities(found, margin=1.0, direction=direction)
    assert math.fsum(odds.values()) == pytest.approx(1.0, abs=1e-12)
    draws = np.random.default_rng(6).normal(estimate, math.sqrt(2) * error, 20_000)
    verdicts = [
        decide(e - shape[0] * T * error, e + shape[1] * T * error, [e], margin=1.0, direction=direction)
        for e in draws
    ]
    # The guard is left out: with an interval beyond the margin its centre is beyond it too.
    for verdict, probability in odds.items():
        share = verdicts.count(verdict) / len(verdicts)
        assert abs(share - probability) < 4 * math.sqrt(0.25 / len(draws))
        assert firmness(verdict, found, margin=1.0, direction=direction) == probability


def test_firm_at_nine_in_ten() -> None:
    """The estimate at which supported is exactly 0.9: m + h + 1.2816 √2 s."""
    edge = 1.0 + T + math.sqrt(2) * stats.norm.ppf(0.9)
    for shift, firm in ((1e-9, True), (-1e-9, False)):
        assert (firmness("supported", interval(edge + shift), margin=1.0) >= 0.9) is firm
        assert (firmness("contradicted", interval(-edge - shift), margin=1.0) >= 0.9) is firm
    assert firmness("supported", interval(1.0 + T), margin=1.0) == pytest.approx(0.5)


def test_no_error_repeats_exactly() -> None:
    exact = Interval(1.5, 1.5, 1.5, 0.0)
    assert verdict_probabilities(exact, margin=1.0)["supported"] == 1.0
    assert verdict_probabilities(exact, margin=2.0)["negligible"] == 1.0
    assert verdict_probabilities(exact, margin=1.5)["inconclusive"] == 1.0
    assert verdict_probabilities(exact._replace(estimate=-1.5, low=-1.5, high=-1.5), margin=1.0) == {
        "supported": 0.0,
        "contradicted": 1.0,
        "negligible": 0.0,
        "inconclusive": 0.0,
    }


@pytest.mark.parametrize("spread", [1.0, 6.0])
def test_repeats_come_as_often_as_predicted(spread: float) -> None:
    """Two independent runs of 24 values for each of many true effects; the first predicts the second.

    With guard and with each run's own spread, so that what the closed form leaves out is in the test.
    """
    rng = np.random.default_rng(31)
    runs = 20_000
    truth = rng.uniform(-16, 16, runs)
    first, second = rng.normal(truth, spread, (2, 3, 8, runs))

    def judged(values: np.ndarray) -> tuple[list[str], list[Interval]]:
        mean = values.mean(axis=(0, 1))
        error = values.reshape(24, runs).std(axis=0, ddof=1) / math.sqrt(24)
        rows = values.mean(axis=1).T
        found = [Interval(m, m - T * s, m + T * s, s) for m, s in zip(mean, error, strict=True)]
        verdicts = [
            decide(i.low, i.high, means, margin=1.0, direction="greater")
            for i, means in zip(found, rows, strict=True)
        ]
        return verdicts, found

    verdicts, intervals = judged(first)
    again, _ = judged(second)
    predicted = np.array([firmness(v, i, margin=1.0) for v, i in zip(verdicts, intervals, strict=True)])
    repeated = np.array([a == b for a, b in zip(verdicts, again, strict=True)])
    assert abs(repeated.mean() - predicted.mean()) < 0.015
    for low, high in ((0.4, 0.6), (0.6, 0.75), (0.75, 0.9), (0.9, 1.01)):
        chosen = (predicted >= low) & (predicted < high)
        assert chosen.sum() > 150
        assert abs(repeated[chosen].mean() - predicted[chosen].mean()) < 0.05
    firm = predicted >= 0.9
    assert repeated[firm].mean() > 0.95
