"""From values to a verdict: the rules by which every claim of the book is judged.

One 99 % interval over the values of all populations decides, and the centre of each population stands guard:

- *supported*: the interval, and every population mean, above the margin
- *contradicted*: the interval, and every population mean, below minus the margin
- *negligible*: the interval inside plus or minus the margin
- *inconclusive*: anything else, with its reason (`surveylab.claims.reasons`)

A claim of equivalence is supported where others are negligible, and contradicted where the interval lies
wholly outside plus or minus the margin. All comparisons are strict: a bound that meets the margin exactly
decides nothing.

What the interval decides is inconclusive all the same if an arm has not learnt (`surveylab.claims.arms`), or
if the effect goes at another budget (`surveylab.claims.budget`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from surveylab.claims import reasons
from surveylab.claims.arms import Arm, checked_arms, undertrained
from surveylab.claims.budget import holds_at_other_budgets
from surveylab.claims.evidence import RULES, Cell, Evidence, EvidenceError
from surveylab.claims.firmness import firmness
from surveylab.claims.intervals import LEVEL, Array, Interval, estimate, summarise
from surveylab.claims.planning import smallest_shown
from surveylab.claims.registry import Claim
from surveylab.claims.values import COUNTED, FEWEST_REPLICATES, checked_data, checked_values, margin_of

#: The verdicts that a claim can have.
VERDICTS = ("supported", "contradicted", "negligible", "inconclusive", "not-decided", "cited")


def judge(
    claim: Claim,
    values: Any,
    *,
    profile: str,
    seed: int,
    data: dict[str, str] | None,
    clusters: Any = None,
    arms: Mapping[str, Arm] | None = None,
    guard: Mapping[float, Any] | None = None,
    scope_map: Iterable[tuple[Mapping[str, Any], Any]] | None = None,
    rules: int = RULES,
) -> Evidence:
    """Judge a claim by the values of a run.

    Args:
        claim: The claim, with its margin.
        values: For an experiment (3, n) with n >= 8, oriented so that the claimed direction is positive; for
            an identity at least 20 errors; for a measurement at least 15 natural logarithms of ratios; None
            for a source. At smoke any number will do.
        profile: smoke, standard or full. At smoke nothing is decided.
        seed: The seed of the run.
        data: Name and sha256 of the data the values come from, or None.
        clusters: For an experiment whose replicates share something: what each value shares, a number or a
            name, in the shape of the values. The interval is then over clusters.
        arms: For an experiment what each arm did. An arm that has not learnt makes the claim inconclusive.
        guard: For an experiment the values of population 0 at other budgets, in units of the run's: at least
            one below and one above 1. An effect that goes there makes the claim inconclusive.
        scope_map: For an experiment settings and the values in them, such as
            ``[({"budget": 2, "data": "fashion"}, values), ...]``. It decides nothing.
        rules: The version of the rules that the evidence names.

    Returns:
        The evidence, with its verdict.

    Raises:
        EvidenceError: If the values have the wrong shape, are too few, or are not all finite.
    """
    extras = {"clusters": clusters, "arms": arms, "guard": guard, "scope_map": scope_map}
    given = [name for name, extra in extras.items() if extra is not None]
    if rules != RULES:
        raise EvidenceError(
            f"claim {claim.id}: judged by version {rules!r} of the rules; the present one is {RULES}; "
            "run the chapter anew"
        )
    if given and claim.kind != "experiment":
        raise EvidenceError(
            f"claim {claim.id}: {', '.join(given)} means nothing for a claim of kind {claim.kind}; "
            "leave it out"
        )
    array = checked_values(claim, values, profile)
    found = _bare(claim, array, profile=profile, seed=seed, data=checked_data(claim, data))
    if array is None:
        return _final(found)
    if claim.kind == "identity":
        largest = float(array.max())
        verdict = "supported" if largest <= margin_of(claim) else "contradicted"
        return _final(dataclasses.replace(found, estimate=largest, verdict=verdict))
    fewest = 1 if profile == "smoke" else FEWEST_REPLICATES
    try:
        found = dataclasses.replace(
            found,
            clusters=None if clusters is None else np.asarray(clusters).tolist(),
            arms=None if arms is None else checked_arms(arms, array.shape, short=profile == "smoke"),
            guard=None
            if guard is None
            else [_cell(claim, {"budget": float(b)}, there, fewest) for b, there in sorted(guard.items())],
            map=None if scope_map is None else [_cell(claim, at, there, fewest) for at, there in scope_map],
        )
        return _final(_by_interval(claim, array, found))
    except (TypeError, ValueError) as error:
        raise EvidenceError(f"claim {claim.id}: {error}") from error


def decide(low: float, high: float, means: Iterable[float], *, margin: float, direction: str) -> str:
    """The verdict on an interval, guarded by the population means."""
    means = list(means)
    inside = -margin < low and high < margin
    if direction == "equivalent":
        outside = low > margin or high < -margin
        return "supported" if inside else "contradicted" if outside else "inconclusive"
    if low > margin and all(mean > margin for mean in means):
        return "supported"
    if high < -margin and all(mean < -margin for mean in means):
        return "contradicted"
    return "negligible" if inside else "inconclusive"


def _bare(
    claim: Claim, array: Array | None, *, profile: str, seed: int, data: dict[str, str] | None
) -> Evidence:
    """The evidence before anything follows from its values."""
    has_interval = claim.kind in ("experiment", "measurement")
    return Evidence(
        claim=claim.id,
        kind=claim.kind,
        verdict="cited",
        estimate=None,
        low=None,
        high=None,
        margin=claim.margin,
        level=LEVEL if has_interval else None,
        unit=claim.unit,
        direction=claim.direction if has_interval else None,
        statistic=claim.statistic if has_interval else None,
        replicates=None if array is None else list(array.shape),
        values=None if array is None else array.tolist(),
        detectable=None,
        profile=profile,
        seed=int(seed),
        data=data,
        edition=claim.edition,
    )


def _by_interval(claim: Claim, array: Array, found: Evidence) -> Evidence:
    """Interval, verdict and all that follows from them: arms speak first, then the interval, then budgets."""
    margin, direction = margin_of(claim), claim.direction
    interval = _interval(claim, array, found.clusters)
    centre = estimate(array, claim.statistic) if interval is None else interval.estimate
    verdict, reason = "inconclusive", reasons.reason_of(None, None, margin=margin, direction=direction)
    if interval is not None:
        # A measurement is one run: it has no populations to guard it.
        rows = array if claim.kind == "experiment" else array[None]
        means = [estimate(row, claim.statistic) for row in rows]
        verdict = decide(interval.low, interval.high, means, margin=margin, direction=direction)
        reason = reasons.reason_of(interval.low, interval.high, margin=margin, direction=direction)
        found = dataclasses.replace(
            found,
            low=interval.low,
            high=interval.high,
            detectable=smallest_shown(interval, margin),
            firmness=firmness(verdict, interval, margin=margin, direction=direction),
        )
    found = dataclasses.replace(
        found, estimate=centre, verdict=verdict, reason=reason if verdict == "inconclusive" else None
    )
    overruled = None
    if found.guard is not None:
        # Looked at whatever the verdict: an incomplete guard raises, and not only where it is needed.
        others = {cell.at["budget"]: cell.estimate for cell in found.guard}
        within = verdict == ("supported" if direction == "equivalent" else "negligible")
        holds = holds_at_other_budgets(centre, others, margin=margin, within=within)
        # Of an effect that is too small to decide on, its direction is all that is said.
        if not holds and found.reason in (None, reasons.DIRECTION):
            overruled = reasons.BUDGET
    if found.arms is not None and found.profile != "smoke" and undertrained(found.arms):
        overruled = reasons.UNDERTRAINED
    if overruled is not None:
        found = dataclasses.replace(found, verdict="inconclusive", reason=overruled, firmness=None)
    return found


def _final(found: Evidence) -> Evidence:
    """The evidence without what its profile does not decide."""
    if found.profile == "smoke":
        found = dataclasses.replace(found, verdict="not-decided", reason=None, firmness=None)
    return found


def _interval(claim: Claim, array: Array, clusters: list[Any] | None = None) -> Interval | None:
    """The interval of the claim's statistic, or None where the values allow none."""
    if clusters is not None and claim.statistic != "mean":
        raise ValueError(f"clusters need the statistic mean, not {claim.statistic}")
    interval = summarise(array, claim.statistic, clusters=clusters, scale=margin_of(claim))
    if interval is None and claim.kind == "measurement" and array.size > 1:
        # Operation counts repeat exactly and are certain; equal results of training are a ceiling.
        mean = float(array.mean())
        return Interval(mean, mean, mean, 0.0)
    return interval


def _cell(claim: Claim, at: Mapping[str, Any], values: Any, fewest: int) -> Cell:
    """The effect in another setting, with its interval."""
    array = np.asarray(values, dtype=np.float64)
    where = ", ".join(f"{name} {setting}" for name, setting in at.items())
    if array.ndim != 1 or array.size < fewest or not np.isfinite(array).all():
        raise ValueError(
            f"at {where or 'a setting without a name'}: values of shape {array.shape}; a setting needs (n,) "
            f"with n >= {fewest}, all finite"
        )
    if claim.statistic in COUNTED and not np.isin(array, (-1, 0, 1)).all():
        raise ValueError(f"at {where}: statistic {claim.statistic} takes values -1, 0 and 1 only")
    interval = _interval(claim, array)
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return Cell(dict(at), array.tolist(), estimate(array, claim.statistic), low, high)
