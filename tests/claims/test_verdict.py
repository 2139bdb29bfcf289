"""Every rule of a verdict at its boundary, a hair above and a hair below."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from example_claims import down, run, up

from surveylab.claims import Claim, Evidence, EvidenceError, judge
from surveylab.claims.verdict import decide

Make = Callable[..., Claim]
Draw = Callable[..., np.ndarray]
DATA = {"name": "digits", "sha256": "ab" * 32}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (up(1.0), 2.0, "supported"),
        (1.0, 2.0, "inconclusive"),
        (down(1.0), 2.0, "inconclusive"),
        (-2.0, down(-1.0), "contradicted"),
        (-2.0, -1.0, "inconclusive"),
        (-2.0, up(-1.0), "inconclusive"),
        (up(-1.0), down(1.0), "negligible"),
        (-1.0, 0.5, "inconclusive"),
        (-0.5, 1.0, "inconclusive"),
        (-0.5, up(1.0), "inconclusive"),
        (0.2, 0.4, "negligible"),
        (-2.0, 2.0, "inconclusive"),
    ],
)
def test_the_interval_against_the_margin(low: float, high: float, verdict: str) -> None:
    means = [(low + high) / 2] * 3
    assert decide(low, high, means, margin=1.0, direction="greater") == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (up(-1.0), down(1.0), "supported"),
        (-1.0, 0.0, "inconclusive"),
        (0.0, 1.0, "inconclusive"),
        (down(-1.0), 0.0, "inconclusive"),
        (up(1.0), 2.0, "contradicted"),
        (1.0, 2.0, "inconclusive"),
        (down(1.0), 2.0, "inconclusive"),
        (-2.0, down(-1.0), "contradicted"),
        (-2.0, -1.0, "inconclusive"),
        (-2.0, 2.0, "inconclusive"),
    ],
)
def test_equivalence(low: float, high: float, verdict: str) -> None:
    assert decide(low, high, [(low + high) / 2] * 3, margin=1.0, direction="equivalent") == verdict


@pytest.mark.parametrize(
    ("weakest", "verdict"), [(up(1.0), "supported"), (1.0, "inconclusive"), (down(1.0), "inconclusive")]
)
def test_every_population_stands_guard(weakest: float, verdict: str) -> None:
    for place in range(3):
        means = [5.0, 5.0, 5.0]
        means[place] = weakest
        assert decide(2.0, 8.0, means, margin=1.0, direction="greater") == verdict
        mirrored = verdict.replace("supported", "contradicted")
        assert decide(-8.0, -2.0, [-m for m in means], margin=1.0, direction="greater") == mirrored


def test_the_guard_works_on_values(make: Make) -> None:
    rows = np.array([[0.9], [8.0], [8.0]]) + np.linspace(-0.1, 0.1, 8)
    evidence = run(make(), rows)
    assert evidence.low is not None
    assert evidence.low > 1.0
    assert evidence.verdict == "inconclusive"
    rows[0] += 0.2
    assert run(make(), rows).verdict == "supported"


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [(5.0, "supported"), (-5.0, "contradicted"), (1.0, "inconclusive"), (-1.0, "inconclusive")],
)
def test_an_experiment(mean: float, verdict: str, make: Make, draw: Draw) -> None:
    values = draw(mean)
    evidence = run(make(), values)
    assert evidence.verdict == verdict
    assert evidence.estimate == pytest.approx(values.mean())
    assert evidence.low is not None
    assert evidence.high is not None
    assert evidence.low < values.mean() < evidence.high
    error = values.std(ddof=1) / math.sqrt(24)
    assert evidence.detectable == pytest.approx(1.0 + (evidence.high - evidence.low) / 2 + 1.28155 * error)
    assert (evidence.level, evidence.replicates, evidence.values) == (0.99, [3, 8], values.tolist())
    assert (evidence.unit, evidence.direction, evidence.statistic) == ("steps", "greater", "mean")


def test_negligible_and_equivalent(make: Make, draw: Draw) -> None:
    values = draw(0.0, 0.1)
    assert run(make(), values).verdict == "negligible"
    assert run(make(direction="equivalent"), values).verdict == "supported"
    assert run(make(direction="equivalent"), values + 5).verdict == "contradicted"
    assert run(make(direction="equivalent"), values - 5).verdict == "contradicted"


def test_the_margin_is_met_exactly(make: Make, draw: Draw) -> None:
    """The same run under a margin at, just below and just above its lower bound."""
    values = draw(5.0)
    values -= values.mean(axis=1, keepdims=True) - 5  # equal populations: the guard stands aside
    low = run(make(), values).low
    assert low is not None
    assert run(make(margin=low), values).verdict == "inconclusive"
    assert run(make(margin=down(low)), values).verdict == "supported"
    assert run(make(margin=up(low)), values).verdict == "inconclusive"


def test_no_spread_decides_nothing(make: Make) -> None:
    for direction in ("greater", "equivalent"):
        evidence = run(make(direction=direction), np.full((3, 8), 5.0))
        assert (evidence.verdict, evidence.estimate) == ("inconclusive", 5.0)
        assert (evidence.low, evidence.high, evidence.detectable) == (None, None, None)
    rounding = np.full((3, 8), 0.3)
    rounding[0, 0] = 0.1 + 0.2
    assert run(make(margin=0.1), rounding).low is None
    rounding[0, 0] = 0.3 + 1e-9
    assert run(make(margin=0.1), rounding).low is not None


def test_sign_statistic(make: Make) -> None:
    claim = make(statistic="sign", margin=0.25)
    ones = np.ones((3, 8))
    evidence = run(claim, ones)
    assert (evidence.verdict, evidence.estimate) == ("supported", 1.0)  # no spread, yet an interval
    assert evidence.low is not None
    assert evidence.low < 0.75
    assert run(claim, -ones).verdict == "contradicted"
    assert run(claim, 0 * ones).verdict == "negligible"
    mixed = ones.copy()
    mixed[:, ::2] = -1
    assert run(claim, mixed).verdict == "inconclusive"
    mostly = run(claim, np.where(np.arange(8) < 5, 1.0, 0.0) * ones)  # reaches farther down than up
    low, estimate, high = mostly.low or 0.0, mostly.estimate or 0.0, mostly.high or 0.0
    assert estimate - low > high - estimate
    error = (high - low) / (2 * 2.57583)
    assert mostly.detectable == pytest.approx(0.25 + estimate - low + 1.28155 * error)
    with pytest.raises(EvidenceError, match="bn-fast: statistic sign takes values -1, 0 and 1"):
        run(claim, 0.5 * ones)


def test_sign_statistic_with_the_guard(make: Make) -> None:
    """160 of 192 runs in favour, but one population evenly split: the interval passes, the guard does not."""
    values = np.ones((3, 64))
    values[0, :32] = -1
    evidence = run(make(statistic="sign", margin=0.25), values)
    assert evidence.low is not None
    assert evidence.low > 0.25
    assert evidence.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("largest", "verdict"), [(1e-5, "supported"), (down(1e-5), "supported"), (up(1e-5), "contradicted")]
)
def test_identity_at_its_tolerance(largest: float, verdict: str, make: Make) -> None:
    errors = np.zeros(20)
    errors[13] = largest
    evidence = run(make("identity", margin=1e-5), errors)
    assert (evidence.verdict, evidence.estimate) == (verdict, largest)
    assert (evidence.low, evidence.high, evidence.level, evidence.detectable) == (None, None, None, None)
    assert evidence.replicates == [20]


def test_measurement(make: Make) -> None:
    claim = make("measurement", margin=0.1)
    ratios = 0.5 + 0.01 * np.random.default_rng(0).standard_normal(15)
    assert run(claim, ratios).verdict == "supported"
    assert run(claim, -ratios).verdict == "contradicted"
    assert run(claim, ratios - 0.5).verdict == "negligible"
    assert run(make("measurement", margin=0.5), ratios).verdict == "inconclusive"
    counted = run(claim, np.full(15, math.log(3)))  # operation counts repeat exactly, and are certain
    assert (counted.verdict, counted.low, counted.high) == ("supported", counted.estimate, counted.estimate)
    assert counted.estimate == pytest.approx(math.log(3))


def test_source(make: Make) -> None:
    evidence = run(make("source"), None)
    assert evidence.verdict == "cited"
    assert (evidence.estimate, evidence.values, evidence.replicates, evidence.margin) == (None,) * 4
    with pytest.raises(EvidenceError, match="bn-fast: a source is cited"):
        run(make("source"), [1.0])


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("experiment", [[5.0, 6.0], [5.0, 6.0], [5.0, 6.5]]),
        ("experiment", [[5.0]]),
        ("experiment", [[5.0] * 8] * 3),
        ("identity", [0.0]),
        ("measurement", [1.0]),
        ("measurement", [1.0, 2.0]),
        ("source", None),
    ],
)
def test_smoke_decides_nothing(kind: str, values: Any, make: Make) -> None:
    evidence = run(make(kind), values, "smoke")
    assert evidence.verdict == "not-decided"
    assert evidence.low is None or math.isfinite(evidence.low)


@pytest.mark.parametrize(
    ("kind", "shape", "needed"),
    [
        ("experiment", (3, 7), r"\(3, n\) with n >= 8"),
        ("experiment", (2, 12), r"\(3, n\)"),
        ("experiment", (4, 8), r"\(3, n\)"),
        ("experiment", (24,), r"\(3, n\)"),
        ("experiment", (3, 8, 1), r"\(3, n\)"),
        ("identity", (19,), r"\(k,\) with k >= 20"),
        ("identity", (20, 1), r"\(k,\)"),
        ("measurement", (14,), r"\(k,\) with k >= 15"),
    ],
)
def test_too_few_or_in_the_wrong_shape(kind: str, shape: tuple[int, ...], needed: str, make: Make) -> None:
    values = np.random.default_rng(0).random(shape)
    for profile in ("standard", "full"):
        with pytest.raises(EvidenceError, match=f"bn-fast: values of shape .*{needed}"):
            run(make(kind), values, profile)


@pytest.mark.parametrize(
    ("kind", "shape"), [("experiment", (3, 8)), ("identity", (20,)), ("measurement", (15,))]
)
def test_just_enough(kind: str, shape: tuple[int, ...], make: Make) -> None:
    assert run(make(kind), np.random.default_rng(0).random(shape)).replicates == list(shape)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite(bad: float, make: Make, draw: Draw) -> None:
    values = draw(5.0)
    values[1, 6] = bad
    for profile in ("standard", "smoke"):
        with pytest.raises(EvidenceError, match=r"bn-fast: 1 of 24 .* population 1, replicate 6"):
            run(make(), values, profile)
    with pytest.raises(EvidenceError, match=r"at value 3"):
        run(make("identity"), [0.0] * 3 + [bad] + [0.0] * 20)


def test_other_values_that_cannot_be_judged(make: Make, draw: Draw) -> None:
    with pytest.raises(EvidenceError, match="bn-fast: kind experiment needs values"):
        run(make(), None)
    with pytest.raises(EvidenceError, match="bn-fast: the values are not a regular array"):
        run(make(), [[1.0], [1.0, 2.0]])
    with pytest.raises(EvidenceError, match="bn-fast: an error is negative"):
        run(make("identity"), [-1.0] + [0.0] * 20)
    with pytest.raises(EvidenceError, match="unknown profile 'standart'; choose smoke, standard, full"):
        run(make(), draw(5.0), "standart")
    with pytest.raises(EvidenceError, match="data must be"):
        judge(make(), draw(5.0), profile="standard", seed=0, data={"name": "digits"})
    for profile in ("standard", "smoke"):
        with pytest.raises(EvidenceError, match="values of shape"):
            run(make(), np.empty((3, 0)), profile)


def test_evidence_survives_the_notebook(make: Make, draw: Draw) -> None:
    third = 1 / 3
    cases: list[tuple[Claim, Any]] = [
        (make(), draw(third, 0.1)),
        (make(), np.full((3, 8), third)),
        (make(statistic="sign"), np.ones((3, 8))),
        (make("identity"), np.full(20, 1e-300)),
        (make("measurement"), np.linspace(0, third, 15)),
        (make("source"), None),
    ]
    for claim, values in cases:
        evidence = judge(claim, values, profile="standard", seed=3, data=DATA)
        stored = json.dumps(evidence.to_metadata())
        assert Evidence.from_metadata(json.loads(stored)) == evidence
        assert judge(claim, evidence.values, profile="standard", seed=3, data=DATA) == evidence


def test_evidence_that_cannot_be_read(make: Make, draw: Draw) -> None:
    metadata = run(make(), draw(5.0)).to_metadata()
    del metadata["high"]
    metadata["hgih"] = 1.0
    with pytest.raises(EvidenceError, match="bn-fast: not evidence: fields missing: high; unknown: hgih"):
        Evidence.from_metadata(metadata)
    with pytest.raises(EvidenceError, match="must be a mapping"):
        Evidence.from_metadata([])  # type: ignore[arg-type]


def test_evidence_is_not_changed_behind_its_back(make: Make, draw: Draw) -> None:
    values = draw(5.0)
    evidence = run(make(), values)
    before = json.dumps(evidence.to_metadata())
    values[:] = 0
    evidence.to_metadata()["values"][0][0] = 0.0
    assert json.dumps(evidence.to_metadata()) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        evidence.verdict = "supported"  # type: ignore[misc]
