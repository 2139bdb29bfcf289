"""From claims to a statement, and what stands beside a verdict."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from surveylab.claims import (
    Change,
    Claim,
    badge,
    combine,
    judge,
    standing,
    statement_verdict,
    with_replications,
)

Make = Callable[..., Claim]
Draw = Callable[..., np.ndarray]


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ([], "missing"),
        (["supported"], "supported"),
        (["supported", "supported"], "supported"),
        (["supported", "contradicted"], "mixed"),
        (["supported", "inconclusive"], "inconclusive"),
        (["supported", "inconclusive", "contradicted"], "mixed"),
        (["cited", "inconclusive"], "inconclusive"),
        (["cited"], "cited"),
        (["cited", "cited"], "cited"),
        (["cited", "supported"], "supported"),
        (["cited", "supported", "negligible"], "mixed"),
        (["not-decided", "not-decided"], "not-decided"),
        (["not-seen"], "not-seen"),
        (["not-seen", "contradicted"], "contradicted"),
        (["not-seen", "supported"], "mixed"),
    ],
)
def test_a_statement_of_several_claims(parts: list[str], whole: str) -> None:
    assert combine(parts) == whole
    assert combine(reversed(parts)) == whole


@pytest.mark.parametrize(
    ("primary", "part", "whole"),
    [
        ("supported", "supported", "supported"),
        ("supported", "inconclusive", "supported"),
        ("supported", "negligible", "supported"),
        ("supported", "cited", "supported"),
        ("supported", "contradicted", "mixed"),
        ("contradicted", "supported", "mixed"),
        ("contradicted", "negligible", "contradicted"),
        ("negligible", "supported", "negligible"),
        ("inconclusive", "supported", "inconclusive"),
        ("inconclusive", "contradicted", "inconclusive"),
        ("cited", "supported", "cited"),
        ("cited", "contradicted", "mixed"),
    ],
)
def test_the_primary_claim_is_the_statements_verdict(primary: str, part: str, whole: str, make: Make) -> None:
    first = make(covers=("bn-fast",), primary=True)
    other = make(covers=("bn-fast", "bn-slow"))
    beside = make(covers=("bn-else",), primary=True)
    parts = [(other, part), (first, primary), (beside, "contradicted")]
    assert statement_verdict("bn-fast", parts) == whole
    assert statement_verdict("bn-slow", parts) == part  # no primary claim: as all parts together
    assert statement_verdict("bn-none", parts) == "missing"


def test_contradicted_in_a_scaled_down_setting_is_not_seen(make: Make) -> None:
    own, scaled = make(setting="own"), make(setting="scaled")
    assert badge(own, "contradicted") == "contradicted"
    assert badge(scaled, "contradicted") == "not-seen"
    for verdict in ("supported", "negligible", "inconclusive", "not-decided", "cited"):
        assert badge(scaled, verdict) == badge(own, verdict) == verdict
    primary = make(covers=("a",), primary=True, setting="scaled")
    part = make(covers=("a",), setting="scaled")
    assert statement_verdict("a", [(primary, "contradicted"), (part, "negligible")]) == "not-seen"
    assert statement_verdict("a", [(primary, "contradicted"), (part, "supported")]) == "mixed"
    assert statement_verdict("a", [(primary, "supported"), (part, "contradicted")]) == "mixed"


def test_registered_or_revised(make: Make) -> None:
    assert standing(make()) == "registered"
    change = Change("2026-11-22", "margin 1 to 2", "below the resolution", "supported, +1.4")
    assert standing(make(history=(change,))) == "revised"


@pytest.mark.parametrize(
    ("repeated", "runs", "holds"),
    [
        (0, 3, True),
        (2, 4, True),
        (1, 4, False),
        (2, 5, False),
        (3, 5, True),
        (0, 4, False),
        (4, 4, True),
        (0, 0, True),
    ],
)
def test_what_seldom_repeats_decides_nothing(
    repeated: int, runs: int, holds: bool, make: Make, draw: Draw
) -> None:
    for values in (draw(5.0), draw(-5.0), draw(0.0, 0.1)):
        evidence = judge(make(), values, profile="standard", seed=0, data=None)
        found = with_replications(evidence, repeated=repeated, runs=runs)
        if holds:
            assert found == evidence
        else:
            assert (found.verdict, found.reason, found.firmness) == ("inconclusive", "does not repeat", None)
            assert (found.low, found.values) == (evidence.low, evidence.values)
    open_ = judge(make(), draw(1.0), profile="standard", seed=0, data=None)
    assert with_replications(open_, repeated=repeated, runs=runs) == open_


def test_more_repeats_than_runs(make: Make, draw: Draw) -> None:
    evidence = judge(make(), draw(5.0), profile="standard", seed=0, data=None)
    with pytest.raises(ValueError, match="between 0 and runs; got 5 of 4"):
        with_replications(evidence, repeated=5, runs=4)
