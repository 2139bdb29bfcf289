"""When a second run reproduces the first: to the last digit on one machine, up to chance on another."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from example_claims import run
from scipy import stats

from surveylab.claims import Claim, Evidence, agreement

Make = Callable[..., Claim]
Draw = Callable[..., np.ndarray]


def compare(a: Evidence, b: Evidence, *, same_machine: bool, comparisons: int = 11) -> str | None:
    return agreement(a, b, same_machine=same_machine, comparisons=comparisons)


def test_the_same_run_agrees(make: Make, draw: Draw) -> None:
    for kind, values in {"experiment": draw(5.0), "identity": np.zeros(20), "source": None}.items():
        evidence = run(make(kind), values)
        for same in (True, False):
            assert compare(evidence, evidence, same_machine=same) is None


@pytest.mark.parametrize("kind", ["experiment", "identity"])
def test_one_last_digit_on_the_same_machine(kind: str, make: Make, draw: Draw) -> None:
    values = draw(5.0) if kind == "experiment" else np.full(20, 1e-3)
    other = values.copy()
    place = (2, 3) if kind == "experiment" else (3,)
    other[place] = math.nextafter(other[place], math.inf)
    a, b = run(make(kind), values), run(make(kind), other)
    message = compare(a, b, same_machine=True)
    assert message is not None
    assert message.startswith("bn-fast: 1 of ")
    assert ("population 2, replicate 3" if kind == "experiment" else "value 3") in message
    assert repr(float(values[place])) in message
    assert repr(float(other[place])) in message
    assert compare(a, b, same_machine=False) is None


def test_another_machine_may_shift_a_little_but_not_a_lot(make: Make, draw: Draw) -> None:
    published = run(make(margin=0.1), draw(5.0))
    shuffled = 5.0 + np.random.default_rng(8).standard_normal((3, 8))
    assert compare(published, run(make(margin=0.1), shuffled), same_machine=False) is None
    assert compare(published, run(make(margin=0.1), draw(5.3)), same_machine=False) is None
    message = compare(published, run(make(margin=0.1), draw(8.0)), same_machine=False)
    assert message is not None
    assert "bn-fast: the values differ by more than chance" in message
    assert "Welch p" in message


@pytest.mark.parametrize("comparisons", [1, 11, 74])
def test_the_welch_test_at_its_boundary(comparisons: int, make: Make, draw: Draw) -> None:
    """The shift at which SciPy's p crosses 0.01 / comparisons is the shift at which the alarm sounds."""
    values, noise = draw(5.0), np.random.default_rng(3).normal(0, 2.0, (3, 8))
    published = run(make(margin=1e-3), values)
    near, far = 0.0, 50.0
    base = noise - noise.mean() + values.mean()
    for _ in range(60):
        middle = (near + far) / 2
        p = stats.ttest_ind(values.ravel(), (base + middle).ravel(), equal_var=False).pvalue
        near, far = (middle, far) if p >= 0.01 / comparisons else (near, middle)
    for shift, quiet in ((near - 1e-6, True), (far + 1e-6, False)):
        again = run(make(margin=1e-3), base + shift)
        said = compare(published, again, same_machine=False, comparisons=comparisons)
        assert (said is None) is quiet


@pytest.mark.parametrize("direction", ["greater", "equivalent"])
def test_never_the_opposite_verdict(direction: str, make: Make, draw: Draw) -> None:
    """Evidence so noisy that Welch sees nothing: the opposite verdict still is an alarm."""
    a = run(make(direction=direction), draw(0.0, 0.01))
    a = dataclasses.replace(a, verdict="supported", values=draw(0.0, 100.0).tolist())
    b = dataclasses.replace(a, verdict="contradicted")
    for first, second in ((a, b), (b, a)):
        message = compare(first, second, same_machine=False)
        assert message is not None
        assert "the opposite" in message
    for verdict in ("inconclusive", "negligible"):
        assert compare(a, dataclasses.replace(a, verdict=verdict), same_machine=False) is None


def test_values_without_spread_on_another_machine(make: Make) -> None:
    five = run(make(), np.full((3, 8), 5.0))
    assert compare(five, run(make(), np.full((3, 8), 5.0 + 1e-12)), same_machine=False) is None
    assert compare(five, run(make(), np.full((3, 8), 6.0)), same_machine=False) is not None
    zero = run(make(), np.zeros((3, 8)))
    assert compare(zero, zero, same_machine=False) is None
    assert compare(zero, five, same_machine=False) is not None


def test_identity_on_another_machine_by_its_verdict(make: Make) -> None:
    claim = make("identity", margin=1e-5)
    held, other, failed = (run(claim, np.full(20, x)) for x in (1e-7, 9e-6, 1e-4))
    assert compare(held, other, same_machine=False) is None
    message = compare(held, failed, same_machine=False)
    assert message is not None
    assert "published as supported and is now contradicted" in message


@pytest.mark.parametrize("same", [True, False])
def test_measurement_by_its_verdict_or_within_a_margin(same: bool, make: Make) -> None:
    claim = make("measurement", margin=0.1)
    rng = np.random.default_rng(0)
    fast, faster, level = (run(claim, rng.normal(x, 0.01, 15)) for x in (0.5, 2.0, 0.0))
    assert compare(fast, faster, same_machine=same) is None
    message = compare(fast, level, same_machine=same)
    assert message is not None
    assert "supported and is now negligible, the estimate as 0." in message
    spread = np.linspace(-0.02, 0.02, 15)
    above, below = run(claim, 0.12 + spread), run(claim, 0.095 + spread)
    assert (above.verdict, below.verdict) == ("supported", "inconclusive")
    assert compare(above, below, same_machine=same) is None
    assert compare(below, above, same_machine=same) is None
    far = run(claim, 0.25 + spread)
    assert compare(far, below, same_machine=same) is not None


@pytest.mark.parametrize("same", [True, False])
def test_measurement_never_the_opposite(same: bool, make: Make) -> None:
    claim = make("measurement", margin=0.001)
    faster, slower = (run(claim, np.full(15, x) + np.linspace(0, 1e-9, 15)) for x in (0.0011, -0.0011))
    message = compare(faster, slower, same_machine=same)
    assert message is not None
    assert "supported and is now contradicted" in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("claim", "bn-slow"),
        ("kind", "identity"),
        ("margin", 1.5),
        ("unit", "points"),
        ("direction", "equivalent"),
        ("statistic", "sign"),
        ("profile", "full"),
    ],
)
def test_another_question_is_no_reproduction(field: str, value: Any, make: Make, draw: Draw) -> None:
    published = run(make(), draw(5.0))
    changed = dataclasses.replace(published, **{field: value})
    for same in (True, False):
        message = compare(published, changed, same_machine=same)
        assert message is not None
        assert f"bn-fast: {field} was published as" in message
        assert repr(value) in message


def test_a_published_verdict_that_does_not_follow(make: Make, draw: Draw) -> None:
    again = run(make(), draw(5.0))
    published = dataclasses.replace(again, verdict="negligible")
    message = compare(published, again, same_machine=True)
    assert message is not None
    assert "from equal values" in message


def test_another_number_of_replicates(make: Make, draw: Draw) -> None:
    few, many = run(make(), draw(5.0)), run(make(), draw(5.0, n=9))
    message = compare(few, many, same_machine=True)
    assert message is not None
    assert "shape (3, 8), now of shape (3, 9)" in message
    assert compare(few, many, same_machine=False) is None
    with pytest.raises(ValueError, match="at least 1, not 0"):
        compare(few, few, same_machine=True, comparisons=0)
