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

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from surveylab.claims import reasons
from surveylab.claims.agreement import position
from surveylab.claims.arms import Arm, checked_arms, undertrained
from surveylab.claims.budget import holds_at_other_budgets
from surveylab.claims.evidence import RULES, Cell, Evidence, EvidenceError
from surveylab.claims.firmness import firmness
from surveylab.claims.intervals import LEVEL, Array, Interval, estimate, summarise
from surveylab.claims.planning import FEWEST as FEWEST_REPLICATES
from surveylab.claims.planning import POPULATIONS, smallest_shown
from surveylab.claims.registry import Claim

FEWEST_INPUTS = 20
FEWEST_RATIOS = 15
PROFILES = ("smoke", "standard", "full")
VERDICTS = ("supported", "contradicted", "negligible", "inconclusive", "not-decided", "cited")
#: Statistics of counted values: +1 for, 0 even, −1 against.
COUNTED = ("tango", "sign")


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
        rules: The version of the rules. Version 1 judges evidence that was published under it: it knows
            neither reasons nor firmness, and nothing of the four arguments above.

    Returns:
        The evidence, with its verdict.

    Raises:
        EvidenceError: If the values have the wrong shape, are too few, or are not all finite.
    """
    extras = {"clusters": clusters, "arms": arms, "guard": guard, "scope_map": scope_map}
    given = [name for name, extra in extras.items() if extra is not None]
    if profile not in PROFILES:
        raise EvidenceError(f"claim {claim.id}: unknown profile {profile!r}; choose {', '.join(PROFILES)}")
    if rules not in range(1, RULES + 1):
        raise EvidenceError(
            f"claim {claim.id}: unknown version of the rules {rules!r}; the present one is {RULES}"
        )
    if given and (claim.kind != "experiment" or rules == 1):
        why = f"a claim of kind {claim.kind}" if claim.kind != "experiment" else "version 1 of the rules"
        raise EvidenceError(f"claim {claim.id}: {', '.join(given)} means nothing for {why}; leave it out")
    if data is not None and (
        set(data) != {"name", "sha256"} or not all(isinstance(v, str) for v in data.values())
    ):
        raise EvidenceError(
            f"claim {claim.id}: data must be {{'name': ..., 'sha256': ...}} or None, not {data!r}"
        )
    smoke = profile == "smoke"
    array, verdict, reason, interval, centre = None, "cited", None, None, None
    labels, found, guards, cells, firm = None, None, None, None, None
    if claim.kind == "source":
        if values is not None:
            raise EvidenceError(f"claim {claim.id}: a source is cited, not measured; pass no values")
    else:
        array = _checked(claim, values, smoke)
        assert (
            claim.margin is not None
        )  # the registry lets no claim without a margin through, but for a source
        if claim.kind == "identity":
            centre = float(array.max())
            verdict = "supported" if centre <= claim.margin else "contradicted"
        else:
            try:
                labels = None if clusters is None else np.asarray(clusters)
                found = None if arms is None else checked_arms(arms, array.shape, short=smoke)
                guards = (
                    None
                    if guard is None
                    else [
                        _cell(claim, {"budget": float(budget)}, there, smoke)
                        for budget, there in sorted(guard.items())
                    ]
                )
                cells = (
                    None if scope_map is None else [_cell(claim, at, there, smoke) for at, there in scope_map]
                )
                interval = _interval(claim, array, labels)
                centre = estimate(array, claim.statistic) if interval is None else interval.estimate
                verdict, reason = _verdict(
                    claim, array, interval, centre, {} if smoke else found or {}, guards
                )
            except EvidenceError:
                raise
            except (TypeError, ValueError) as error:
                raise EvidenceError(f"claim {claim.id}: {error}") from error
    judged = claim.kind in ("experiment", "measurement")
    detectable = None
    if interval is not None:
        assert claim.margin is not None
        e, low, high, _ = interval
        detectable = (
            claim.margin + max(e - low, high - e) if rules == 1 else smallest_shown(interval, claim.margin)
        )
        by_interval = reason not in (reasons.UNDERTRAINED, reasons.BUDGET)
        if by_interval and not smoke:
            firm = firmness(verdict, interval, margin=claim.margin, direction=claim.direction)
    return Evidence(
        claim=claim.id,
        kind=claim.kind,
        verdict="not-decided" if smoke else verdict,
        estimate=centre,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        margin=claim.margin,
        level=LEVEL if judged else None,
        unit=claim.unit,
        direction=claim.direction if judged else None,
        statistic=claim.statistic if judged else None,
        replicates=None if array is None else list(array.shape),
        values=None if array is None else array.tolist(),
        detectable=detectable,
        profile=profile,
        seed=int(seed),
        data=None if data is None else dict(data),
        reason=None if smoke or rules == 1 else reason,
        firmness=None if rules == 1 else firm,
        clusters=None if labels is None else labels.tolist(),
        arms=found,
        guard=guards,
        map=cells,
        edition=None if rules == 1 else claim.edition,
        rules=rules,
    )


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


def _verdict(
    claim: Claim,
    array: Array,
    interval: Interval | None,
    centre: float,
    arms: Mapping[str, Arm],
    guard: Sequence[Cell] | None,
) -> tuple[str, str | None]:
    """The verdict, and the reason if it is inconclusive: arms before interval, interval before budgets."""
    assert claim.margin is not None
    # Looked at whatever the verdict: a guard that is incomplete raises, and not only where it is needed.
    others = {cell.at["budget"]: cell.estimate for cell in guard or ()}
    verdict = "inconclusive"
    if interval is not None:
        # A measurement is one run: it has no populations to guard it.
        rows = array if claim.kind == "experiment" else array[None]
        means = [estimate(row, claim.statistic) for row in rows]
        verdict = decide(interval.low, interval.high, means, margin=claim.margin, direction=claim.direction)
    within = verdict == ("supported" if claim.direction == "equivalent" else "negligible")
    holds = guard is None or holds_at_other_budgets(centre, others, margin=claim.margin, within=within)
    if undertrained(arms):
        return "inconclusive", reasons.UNDERTRAINED
    if verdict == "inconclusive":
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        return verdict, reasons.reason_of(low, high, margin=claim.margin, direction=claim.direction)
    return (verdict, None) if holds else ("inconclusive", reasons.BUDGET)


def _interval(claim: Claim, array: Array, clusters: npt.NDArray[Any] | None = None) -> Interval | None:
    """The interval of the claim's statistic, or None where the values allow none."""
    assert claim.margin is not None
    if clusters is not None and claim.statistic != "mean":
        raise ValueError(f"clusters need the statistic mean, not {claim.statistic}")
    interval = summarise(array, claim.statistic, clusters=clusters, scale=claim.margin)
    if interval is None and claim.kind == "measurement" and array.size > 1:
        # Operation counts repeat exactly and are certain; equal results of training are a ceiling.
        mean = float(array.mean())
        return Interval(mean, mean, mean, 0.0)
    return interval


def _cell(claim: Claim, at: Mapping[str, Any], values: Any, smoke: bool) -> Cell:
    """The effect in another setting, with its interval."""
    array = np.asarray(values, dtype=np.float64)
    where = ", ".join(f"{name} {setting}" for name, setting in at.items())
    fewest = 1 if smoke else FEWEST_REPLICATES
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


def _checked(claim: Claim, values: Any, smoke: bool) -> Array:
    """The values as an array of the shape the kind asks for, all finite."""
    if values is None:
        raise EvidenceError(f"claim {claim.id}: kind {claim.kind} needs values; only a source goes without")
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor that requires grad
        raise EvidenceError(
            f"claim {claim.id}: the values are not a regular array of numbers: {error}"
        ) from error
    shape, least = {
        "experiment": (f"({POPULATIONS}, n) with n >= {FEWEST_REPLICATES}", FEWEST_REPLICATES),
        "identity": (f"(k,) with k >= {FEWEST_INPUTS}", FEWEST_INPUTS),
        "measurement": (f"(k,) with k >= {FEWEST_RATIOS}", FEWEST_RATIOS),
    }[claim.kind]
    right = array.ndim == (2 if claim.kind == "experiment" else 1) and array.size > 0
    if right and not smoke:
        right = array.shape[-1] >= least and (claim.kind != "experiment" or array.shape[0] == POPULATIONS)
    if not right:
        raise EvidenceError(
            f"claim {claim.id}: values of shape {array.shape}; kind {claim.kind} needs {shape}"
        )
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        first = tuple(int(i) for i in bad[0])
        raise EvidenceError(
            f"claim {claim.id}: {len(bad)} of {array.size} values are not finite, the first ({array[first]}) "
            f"at {position(first)}; count divergence as a claim of its own instead of averaging it"
        )
    if claim.kind == "identity" and array.min() < 0:
        raise EvidenceError(f"claim {claim.id}: an error is negative ({array.min()}); pass absolute errors")
    if claim.statistic in COUNTED and not np.isin(array, (-1, 0, 1)).all():
        raise EvidenceError(f"claim {claim.id}: statistic {claim.statistic} takes values -1, 0 and 1 only")
    planned = claim.replicates
    if planned is not None and not smoke and array.shape[-1] != planned:
        raise EvidenceError(
            f"claim {claim.id}: values of shape {array.shape}; {planned} replicates a population were "
            "planned, and none are added or left out after a look"
        )
    return array
