"""What the interval decides and what overrules it: reasons, arms, budgets, clusters, statistics, versions."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from example_claims import down, run, up

from surveylab.claims import REASONS, RULES, Arm, Baseline, Claim, Evidence, EvidenceError, because
from surveylab.claims.firmness import firmness
from surveylab.claims.intervals import Interval, cluster_interval, median_interval, tango_interval
from surveylab.claims.reasons import reason_of

Make = Callable[..., Claim]
Draw = Callable[..., np.ndarray]

FITTED = Arm([[60.0] * 8] * 3, loss=[[0.1] * 8] * 3, accuracy=[[99.0] * 8] * 3)
LAGGING = dataclasses.replace(
    FITTED,
    accuracy=[[80.0] * 8] * 3,
    curve=[[s, 2 - 0.1 * s] for s in range(10)],
    baseline=Baseline("SVM on colour moments", 64.0),
)


# ------------------------------------------------------------------------------------------- reasons


@pytest.mark.parametrize(
    ("low", "high", "reason"),
    [
        (up(0.0), 2.0, "direction shown, size open"),
        (0.0, 2.0, "open"),
        (down(0.0), 2.0, "open"),
        (-2.0, down(0.0), "direction shown, size open"),
        (-2.0, 0.0, "claimed effect ruled out"),
        (-2.0, down(1.0), "claimed effect ruled out"),
        (-2.0, 1.0, "open"),
        (-2.0, up(1.0), "open"),
        (2.0, 3.0, "direction shown, size open"),  # a population disagrees
        (None, None, "open"),
    ],
)
def test_the_reason_at_its_boundaries(low: float | None, high: float | None, reason: str) -> None:
    assert reason_of(low, high, margin=1.0, direction="greater") == reason
    if low is not None and low <= 0:
        expected = "open" if reason == "claimed effect ruled out" else reason
        assert reason_of(low, high, margin=1.0, direction="equivalent") == expected


@pytest.mark.parametrize(
    ("mean", "direction", "words"),
    [
        (1.0, "greater", "direction shown, size open: the effect has the claimed direction"),
        (-1.0, "greater", "direction shown, size open: the effect runs against the claim"),
        (1.0, "equivalent", "direction shown, size open: there is a difference"),
    ],
)
def test_a_reason_says_which_way(mean: float, direction: str, words: str, make: Make, draw: Draw) -> None:
    evidence = run(make(direction=direction), draw(mean, 0.5) - draw(0.0, 0.5).mean())
    assert evidence.verdict == "inconclusive"
    assert (because(evidence) or "").startswith(words)


def test_every_reason_has_its_words_first(make: Make, draw: Draw) -> None:
    inconclusive = run(make(), draw(1.0))
    for reason in REASONS:
        words = because(dataclasses.replace(inconclusive, reason=reason))
        assert (words or "").startswith(f"{reason}: ")
    assert because(run(make(), draw(5.0))) is None
    alike = run(make(), np.full((3, 8), 5.0))
    assert (alike.reason, alike.firmness, alike.firm) == ("open", None, None)
    assert "all values are equal" in (because(alike) or "")


def test_a_decided_claim_has_no_reason(make: Make, draw: Draw) -> None:
    for mean, spread in ((5.0, 1.0), (-5.0, 1.0), (0.0, 0.1)):
        assert run(make(), draw(mean, spread)).reason is None
    assert run(make(), draw(1.0), "smoke").reason is None


# ------------------------------------------------------------------------------------------ firmness


def test_firmness_is_that_of_the_interval(make: Make, draw: Draw) -> None:
    values = draw(2.0)
    evidence = run(make(), values)
    assert evidence.estimate is not None and evidence.low is not None and evidence.high is not None
    error = values.std(ddof=1) / math.sqrt(24)
    interval = Interval(evidence.estimate, evidence.low, evidence.high, error)
    assert evidence.firmness == pytest.approx(firmness(evidence.verdict, interval, margin=1.0), rel=1e-12)
    assert run(make(), draw(5.0)).firm is True
    barely = draw(0.0)
    barely += 1.55 - barely.mean(axis=1, keepdims=True)
    assert (run(make(), barely).verdict, run(make(), barely).firm) == ("supported", False)


def test_firm_from_nine_in_ten_on(make: Make, draw: Draw) -> None:
    evidence = run(make(), draw(5.0))
    for chance, firm in ((0.9, True), (down(0.9), False), (1.0, True), (None, None)):
        assert dataclasses.replace(evidence, firmness=chance).firm is firm


def test_no_firmness_without_an_interval_that_decides(make: Make, draw: Draw) -> None:
    assert run(make("identity"), np.zeros(20)).firmness is None
    assert run(make("source"), None).firmness is None
    assert run(make(), draw(5.0), "smoke").firmness is None
    assert run(make(), draw(5.0), arms={"BN": LAGGING}).firmness is None
    assert run(make(), draw(5.0), guard={0.5: [5.0] * 8, 2: [0.1] * 8}).firmness is None
    assert run(make("measurement"), np.full(15, 2.0)).firmness == 1.0  # counts repeat exactly


# ---------------------------------------------------------------------------------------------- arms


def test_an_arm_that_has_not_learnt_decides_nothing(make: Make, draw: Draw) -> None:
    for mean in (5.0, -5.0, 1.0):
        evidence = run(make(), draw(mean), arms={"BN": FITTED, "LN": LAGGING})
        assert (evidence.verdict, evidence.reason) == ("inconclusive", "undertrained")
        assert because(evidence) == "undertrained: LN had not finished learning"
        assert evidence.low is not None  # what the values gave is told all the same
    evidence = run(make(), draw(5.0), arms={"BN": FITTED, "LN": FITTED})
    assert (evidence.verdict, evidence.reason) == ("supported", None)
    matched = dataclasses.replace(LAGGING, baseline=Baseline("SVM", 60.0))
    assert run(make(), draw(5.0), arms={"LN": matched}).verdict == "supported"


def test_smoke_keeps_arms_and_looks_at_none(make: Make) -> None:
    short = Arm([[60.0] * 2], curve=[[0, 1.0], [1, 0.5]])
    evidence = run(make(), [[1.0, 2.0]], "smoke", arms={"BN": short})
    assert (evidence.verdict, evidence.reason) == ("not-decided", None)
    assert evidence.arms == {"BN": short}


# -------------------------------------------------------------------------------------------- budgets


def test_an_effect_that_goes_at_another_budget_is_a_matter_of_budget(make: Make, draw: Draw) -> None:
    values = draw(5.0)
    half = values.mean() / 2
    for larger, verdict in (
        (half * 1.001, "supported"),
        (half * 0.999, "inconclusive"),
        (-5.0, "inconclusive"),
    ):
        evidence = run(make(), values, guard={2.0: np.full(8, larger), 0.5: values[0]})
        assert evidence.verdict == verdict
        assert evidence.reason == (None if verdict == "supported" else "a matter of budget")
        assert evidence.guard is not None
        assert [cell.at for cell in evidence.guard] == [{"budget": 0.5}, {"budget": 2.0}]
        assert evidence.guard[0].estimate == pytest.approx(values[0].mean())
        assert evidence.guard[0].low is not None


def test_a_negligible_effect_must_stay_within_the_margin(make: Make, draw: Draw) -> None:
    values = draw(0.0, 0.1)
    for claim, verdict in ((make(), "negligible"), (make(direction="equivalent"), "supported")):
        assert run(claim, values, guard={0.5: [-0.9] * 8, 2: [0.9] * 8}).verdict == verdict
        grown = run(claim, values, guard={0.5: [0.0] * 8, 2: [1.1] * 8})
        assert (grown.verdict, grown.reason) == ("inconclusive", "a matter of budget")
    # An equivalence that is contradicted rests on an effect, which has a sign.
    differs = run(make(direction="equivalent"), values + 5, guard={0.5: [5.0] * 8, 2: [-5.0] * 8})
    assert differs.reason == "a matter of budget"


def test_a_direction_that_turns_with_the_budget_is_a_matter_of_budget(make: Make, draw: Draw) -> None:
    assert run(make(), draw(1.0)).reason == "direction shown, size open"
    keeps = run(make(), draw(1.0), guard={0.5: [1.0] * 8, 2: [5.0] * 8})
    turns = run(make(), draw(1.0), guard={0.5: [1.0] * 8, 2: [-5.0] * 8})
    assert keeps.reason == "direction shown, size open"
    assert (turns.verdict, turns.reason) == ("inconclusive", "a matter of budget")


def test_an_open_interval_speaks_before_the_budget(make: Make) -> None:
    values = np.resize([4.0, -4.0], (3, 8))
    assert run(make(), values, guard={0.5: [1.0] * 8, 2: [-5.0] * 8}).reason == "open"


def test_a_guard_that_cannot_tell(make: Make, draw: Draw) -> None:
    for mean in (5.0, 1.0):
        with pytest.raises(EvidenceError, match=r"bn-fast: the guard needs a budget of at most 0\.5 and one"):
            run(make(), draw(mean), guard={2.0: [5.0] * 8})
    with pytest.raises(EvidenceError, match=r"bn-fast: at budget 2.0: values of shape \(7,\); .* n >= 8"):
        run(make(), draw(5.0), guard={0.5: [5.0] * 8, 2.0: [5.0] * 7})
    with pytest.raises(EvidenceError, match=r"bn-fast: at budget 0.5: .* all finite"):
        run(make(), draw(5.0), guard={0.5: [math.nan] * 8, 2.0: [5.0] * 8})
    assert run(make(), [[5.0, 6.0]], "smoke", guard={0.5: [5.0], 2.0: [5.0]}).verdict == "not-decided"


def test_the_scope_map_decides_nothing(make: Make, draw: Draw) -> None:
    cells = [
        ({"budget": 4, "data": "fashion"}, draw(-5.0)[0]),
        ({"budget": 4, "data": "mnist1d"}, draw(5.0)[1]),
    ]
    evidence = run(make(), draw(5.0), scope_map=cells)
    assert evidence.verdict == "supported"
    assert evidence.map is not None
    assert [cell.at["data"] for cell in evidence.map] == ["fashion", "mnist1d"]
    assert evidence.map[0].estimate == pytest.approx(draw(-5.0)[0].mean())
    assert evidence.map[0].low is not None
    assert evidence.map[0].low < evidence.map[0].estimate


# -------------------------------------------------------------------------- statistics and clusters


def test_the_median_where_single_runs_fail(make: Make, draw: Draw) -> None:
    values = draw(5.0)
    values[1, 3] = values[2, 4] = -200.0
    assert run(make(), values).verdict == "inconclusive"
    evidence = run(make(statistic="median"), values)
    assert evidence.verdict == "supported"
    assert evidence.estimate == pytest.approx(np.median(values))
    assert (evidence.low, evidence.high) == median_interval(values)
    values[0] = np.linspace(-9, 2.1, 8)  # the guard is of medians too
    assert run(make(statistic="median", margin=0.1), values).verdict == "inconclusive"


def test_paired_counts_by_tango(make: Make) -> None:
    values = np.ones((3, 8))
    values[:, 0] = -1
    evidence = run(make(statistic="tango", margin=0.25), values)
    assert evidence.estimate == pytest.approx(0.75)
    assert (evidence.low, evidence.high) == tango_interval(values)
    assert run(make(statistic="tango", margin=0.25), np.ones((3, 8))).verdict == "supported"
    with pytest.raises(EvidenceError, match="statistic tango takes values -1, 0 and 1"):
        run(make(statistic="tango"), 0.5 * values)
    with pytest.raises(EvidenceError, match=r"at budget 0.5: statistic tango takes values -1, 0 and 1"):
        run(make(statistic="tango"), values, guard={0.5: [0.5] * 8, 2: [1] * 8})


def test_values_that_share_something_count_by_cluster(make: Make) -> None:
    styles = np.arange(24).reshape(3, 8) % 8
    values = 2.0 + np.linspace(-2, 2, 8)[styles] + np.random.default_rng(0).normal(0, 0.1, (3, 8))
    alone, shared = run(make(), values), run(make(), values, clusters=styles)
    assert alone.verdict == "supported"
    assert shared.verdict == "inconclusive"
    assert (shared.low, shared.high) == cluster_interval(values, styles)
    assert shared.clusters == styles.tolist()
    assert run(make(), values, clusters=[[f"style {s}" for s in row] for row in styles]).low == shared.low
    with pytest.raises(EvidenceError, match="bn-fast: clusters need the statistic mean, not median"):
        run(make(statistic="median"), values, clusters=styles)
    with pytest.raises(EvidenceError, match=r"bn-fast: clusters needs one label a value, shape \(3, 8\)"):
        run(make(), values, clusters=styles.ravel())
    with pytest.raises(EvidenceError, match="one cluster for all values"):
        run(make(), values, clusters=np.zeros((3, 8), dtype=int))


def test_planned_replicates_are_kept(make: Make, draw: Draw) -> None:
    claim = make(replicates=12)
    assert run(claim, draw(5.0, n=12)).replicates == [3, 12]
    for n in (8, 11, 13):
        with pytest.raises(
            EvidenceError, match=r"12 replicates a population were planned, and none are added"
        ):
            run(claim, draw(5.0, n=n))
    assert run(claim, [[5.0, 6.0]], "smoke").verdict == "not-decided"


@pytest.mark.parametrize("kind", ["identity", "measurement", "source"])
def test_only_an_experiment_has_arms_and_budgets(kind: str, make: Make) -> None:
    values = None if kind == "source" else np.full(20, 0.5)
    with pytest.raises(EvidenceError, match=f"arms, guard means nothing for a claim of kind {kind}"):
        run(make(kind), values, arms={"BN": FITTED}, guard={0.5: [1] * 8, 2: [1] * 8})


# -------------------------------------------------------------------------------- record and version


def test_all_of_it_survives_the_notebook(make: Make, draw: Draw) -> None:
    styles = [[f"style {i % 5}" for i in range(8)]] * 3
    evidence = run(
        make(edition=3),
        draw(1 / 3),
        clusters=styles,
        arms={"BN": FITTED, "LN": LAGGING},
        guard={0.5: draw(1 / 3)[0], 4: draw(1 / 7)[1]},
        scope_map=[({"width": 16, "data": "fashion"}, draw(1 / 9)[2])],
    )
    assert (evidence.edition, evidence.rules) == (3, RULES)
    stored = json.loads(json.dumps(evidence.to_metadata()))
    assert stored["arms"]["LN"]["baseline"] == {"name": "SVM on colour moments", "score": 64.0}
    assert Evidence.from_metadata(stored) == evidence


def test_evidence_of_another_version_of_the_rules_is_refused(make: Make, draw: Draw) -> None:
    with pytest.raises(EvidenceError, match="judged by version 1 of the rules; the present one is 2"):
        run(make(), draw(5.0), rules=1)


@pytest.mark.parametrize("part", [{"arms": {"BN": {"scores": []}}}, {"guard": [{"at": {}}]}, {"arms": [1]}])
def test_a_record_whose_parts_cannot_be_read(part: dict[str, Any], make: Make, draw: Draw) -> None:
    with pytest.raises(EvidenceError, match="claim bn-fast: not evidence: "):
        Evidence.from_metadata(run(make(), draw(5.0)).to_metadata() | part)
