"""Whether a second run of a claim reproduces the published one.

The same seed is the same replicate: initial weights, batches and data are those of the published run. So the
two runs are compared value by value. On the same versions and kind of processor the values are equal.
Elsewhere sums are rounded differently and training amplifies it, by as much as points in one replicate; but
what rounding does has no direction. The differences d of the replicates then have mean 0, and Student's test

    t = mean(d) / (sd(d) / √n),   n − 1 degrees of freedom,

sees a shift that the spread of the replicates would hide, since what replicates share drops out of d.

A mean of 0 does not show that the values are those of the same replicates: those of another seed have it too.
But these have nothing to do with the published ones, and so the correlation r of the two runs over the
replicates, taken within the populations, is 0. By Fisher's transformation

    z = artanh(r),   standard error 1 / √(N − k − 2)   for N values in k populations,

and the z of all experiments of a chapter that differ are averaged (`foreign`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from surveylab.claims.evidence import Evidence
from surveylab.claims.intervals import LEVEL, Array, estimate, standard_error
from surveylab.claims.reasons import BUDGET, UNDERTRAINED
from surveylab.claims.values import COUNTED, position
from surveylab.claims.verdict import decide

#: A mean difference below this share of the margin decides nothing, and is passed over.
NEGLIGIBLE_SHARE = 0.01
#: By how much a learning curve may differ elsewhere, of its range, and a baseline's score, of itself.
CURVE_SHARE, BASELINE_SHARE = 0.25, 0.02
#: What is trained and agrees up to this share was computed by the same arithmetic, and other numbers then
#: agree up to the second.
ALIKE, CLOSE = 1e-6, 1e-3
ARM_PARTS = ("values", "loss", "accuracy", "curve", "baseline", "chance")
#: By how much the largest error of an identity may differ elsewhere: one order of magnitude.
ERROR_FACTOR = 10.0
#: Below this share of its tolerance an error counts as none.
NO_ERROR_SHARE = 1e-3
#: So many standard errors of the difference a measurement may move on its machine, beside its margin.
MEASURED_ERRORS = 3.0
# Beside so many claims that agree to the digit, for each one that does not, the machine is no explanation.
AGREEING_FOR_EACH = 3
#: A correlation counts as at most this much: a few claims that hardly move must not speak for the others.
MOST = 0.9
#: The one-sided 1 % point of the normal distribution.
CLEARLY = 2.326
# How much the z of two claims of a chapter may have in common: they often share networks.
SHARED = 0.5
# The replicates of one claim among others: below the first r they are unrelated, from the second on of one
# seed, however noisy, from the third on closely related.
UNRELATED, SOMEWHAT, RELATED = 0.2, 0.35, 0.8


def agreement(
    published: Evidence, again: Evidence, *, same_machine: bool, comparisons: int, within: float | None = None
) -> str | None:
    """Whether a second run of a claim reproduces the published one.

    On the same versions and processor all values must be equal to the last digit. Elsewhere:

    - an experiment: the differences of its replicates have mean 0 by a paired t-test at 1 %, divided by the
      number of comparisons. A mean difference below a hundredth of the margin is passed over. So it is for
      each arm's scores, losses and accuracies, for the guard and for the scope map, all of which count as
      comparisons. Clusters, and which arms and settings there are, are equal; a learning curve is within a
      quarter of its range;
    - an identity: the same verdict, and the same order of magnitude of the largest error;
    - a source: the same verdict.

    A verdict that changed fails if it was firm (`surveylab.claims.firmness`: 0.9 or more), or did not follow
    from an interval, or is now the opposite; `changed_verdict` says it in any case. It does not fail if both
    intervals give the same and only arms or budgets overruled one (`only_the_reason`). A measurement of time
    never repeats to the digit, anywhere: its verdict may change where it was not firm or where the estimate
    moved by less than the margin, and never to the opposite. On the same machine it may not move by more than
    the margin and three standard errors of the difference, whatever its verdict; elsewhere `moved_far` says
    it.

    Args:
        published: The evidence in the published notebook.
        again: The evidence of the second run.
        same_machine: Whether versions and processor are those of the published run.
        comparisons: How many claims are compared at once (Bonferroni).
        within: How far what an experiment keeps beside its values may differ, in shares of each number,
            where the arithmetic of the chapter is known to agree (`arithmetic`); None where it is not.

    Returns:
        None if it is reproduced, else a sentence that says what differs.
    """
    if comparisons < 1:
        raise ValueError(f"comparisons must be at least 1, not {comparisons}")
    name = published.claim
    for field in ("claim", "kind", "margin", "unit", "direction", "statistic", "profile", "seed"):
        before, now = getattr(published, field), getattr(again, field)
        if before != now:
            return f"{name}: {field} was published as {before!r} and is now {now!r}"
    if published.kind == "measurement":
        return _measured(published, again, same_machine)
    if published.kind == "source":
        changed = changed_verdict(published, again)
        return f"{name}: {changed}" if changed else None
    if same_machine:
        difference = _equal(published, again, "on the same machine")
    elif within is not None and published.kind == "experiment" and near_values(published, again):
        place = f"where the values agree{'' if within else ' to the digit'}"
        difference = _unlike(published, again, place, within) or _near(published, again, comparisons)
    else:
        difference = _near(published, again, comparisons)
    return f"{name}: {difference}" if difference else None


def changed_verdict(published: Evidence, again: Evidence) -> str | None:
    """A sentence about a verdict that is not the published one, and how firm that was; None if it is."""
    if published.verdict == again.verdict:
        return None
    firm = "" if published.firmness is None else f" (its firmness was {published.firmness:.2f})"
    opposite = ", the opposite" if _opposite(published, again) else ""
    return f"the verdict was published as {published.verdict}{firm} and is now {again.verdict}{opposite}"


def changed_reason(published: Evidence, again: Evidence) -> str | None:
    """A sentence about a reason that is not the published one, where the verdict is; None if it is."""
    if published.verdict != again.verdict or published.reason == again.reason:
        return None
    return f"it was published as {published.verdict} because: {published.reason}, and is now: {again.reason}"


def only_the_reason(published: Evidence, again: Evidence) -> bool:
    """Whether both intervals give the same verdict, and only arms or budgets overruled it in one run.

    Firmness is about the interval: how often an arm near the limit counts as trained it does not say.
    """
    verdicts = [_by_interval(evidence) for evidence in (published, again)]
    overruled = any(evidence.reason in (UNDERTRAINED, BUDGET) for evidence in (published, again))
    return overruled and verdicts[0] is not None and verdicts[0] == verdicts[1]


def _by_interval(evidence: Evidence) -> str | None:
    """What the interval alone gives; None without one."""
    if None in (evidence.low, evidence.high, evidence.margin, evidence.direction, evidence.statistic):
        return None
    assert evidence.low is not None and evidence.high is not None and evidence.margin is not None
    assert evidence.direction is not None and evidence.statistic is not None
    means = [estimate(row, evidence.statistic) for row in np.atleast_2d(np.asarray(evidence.values))]
    return decide(evidence.low, evidence.high, means, margin=evidence.margin, direction=evidence.direction)


def same_values(published: Evidence, again: Evidence) -> bool:
    """Whether two runs of a claim have the same values to the last digit."""
    before, now = np.asarray(published.values), np.asarray(again.values)
    return before.shape == now.shape and bool((before == now).all())


def near_values(published: Evidence, again: Evidence) -> bool:
    """Whether two runs of a claim have the same values up to a millionth of the largest."""
    before, now = np.asarray(published.values, dtype=float), np.asarray(again.values, dtype=float)
    if before.shape != now.shape:
        return False
    return bool((np.abs(before - now) <= ALIKE * max(np.abs(before).max(), np.abs(now).max())).all())


def arithmetic(pairs: Sequence[tuple[Evidence, Evidence]]) -> float | None:
    """How closely the arithmetic of two executions of a chapter agrees, as far as its experiments show.

    Claims that `outliers` names are left out. What is trained amplifies rounding, so that on another machine
    it does not come out within a millionth; what is only computed does. So all experiments must agree to a
    millionth, and one of them must have arms.

    Returns:
        0 if all experiments agree to the digit, 0.001 if they agree to a millionth, else None: how far
        other numbers of the chapter may differ, in shares of themselves.
    """
    experiments = [(old, new) for old, new in pairs if old.kind == new.kind == "experiment"]
    named = outliers(experiments)
    honest = [(old, new) for old, new in experiments if old.claim not in named]
    if honest and all(same_values(old, new) for old, new in honest):
        return 0.0
    if all(near_values(old, new) for old, new in honest) and any(old.arms for old, _ in honest):
        return CLOSE
    return None


def outliers(pairs: Sequence[tuple[Evidence, Evidence]]) -> dict[str, str]:
    """The claims of a chapter that moved while the others agree to the digit.

    Rounding on another machine moves nearly everything that is trained. Where at least three experiments
    agree to the last digit for each one that does not, these ran on what computes the same, and the one
    that moved was not computed by the same code. An experiment with arms agrees up to a millionth as well.

    Args:
        pairs: The published and the new evidence of each claim of a chapter.

    Returns:
        A sentence by claim.
    """
    experiments = [(old, new) for old, new in pairs if old.kind == new.kind == "experiment"]
    # Values that are shaken in their last digits agree all the same; of what is trained that is enough.
    for same, how in ((same_values, "to the digit"), (near_values, "to a millionth")):
        moved = [(old, new) for old, new in experiments if not same(old, new)]
        agree = sum(same_values(old, new) or (same(old, new) and bool(old.arms)) for old, new in experiments)
        if moved and agree >= AGREEING_FOR_EACH * len(moved):
            return {
                old.claim: f"{old.claim}: {_moved(old, new)}, while {agree} other experiments of the chapter "
                f"agree {how}"
                for old, new in moved
            }
    return {}


def relation(published: Evidence, again: Evidence) -> float | None:
    """The correlation of two runs of an experiment over its replicates, within the populations.

    None where it says nothing: the values are counted (−1, 0 and 1 only), have no spread or another shape.
    """
    before, now = np.asarray(published.values, dtype=float), np.asarray(again.values, dtype=float)
    if before.shape != now.shape or before.ndim != 2 or published.statistic in COUNTED:
        return None
    a, b = (values - values.mean(axis=1, keepdims=True) for values in (before, now))
    rounding = 1e-9 * max(float(np.abs(before).max()), float(np.abs(now).max()))
    if min(float(a.std()), float(b.std())) <= rounding:
        return None
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def foreign(pairs: Sequence[tuple[Evidence, Evidence]]) -> dict[str, str]:
    """The claims of a chapter whose published values are not those of the seed that they name.

    Over all experiments that differ, the average of Fisher's z must be above 0 at 1 %, one-sided; that
    claims of a chapter share networks is allowed for by a correlation of 0.5 between their z. And a claim is
    named by itself if its r is below 0.2 while at least three others have 0.8 or more. Training may amplify
    rounding so far that little of a replicate is left, as in recurrent networks. So it is passed over if
    another claim in the same unit, with an r of 0.35 or more, has differences with at least half the spread.

    Args:
        pairs: The published and the new evidence of each claim of a chapter.

    Returns:
        A sentence by claim.
    """
    moved = {
        old.claim: (old, new, r)
        for old, new in pairs
        if old.kind == new.kind == "experiment" and not same_values(old, new)
        if (r := relation(old, new)) is not None
    }
    if not moved:
        return {}
    count = len(moved)
    z = np.array([np.arctanh(np.clip(r, -MOST, MOST)) for _, _, r in moved.values()])
    shapes = [np.shape(np.asarray(old.values)) for old, _, _ in moved.values()]
    freedom = np.array([max(1, populations * (n - 1) - 2) for populations, n in shapes])
    error = float(np.sqrt((1 / freedom).mean() * (SHARED + (1 - SHARED) / count)))
    if float(z.mean()) <= CLEARLY * error:
        return {
            name: f"{name}: these are not the values of seed {old.seed}: over the replicates of the {count} "
            f"experiments that differ, the published values and those of a second run correlate by "
            f"{np.tanh(z.mean()):.2f} on average, not clearly more than 0 (here by {r:.2f})"
            for name, (old, _, r) in moved.items()
        }
    found = {}
    for name, (old, new, r) in moved.items():
        others = [other for key, other in moved.items() if key != name]
        close = sum(other[2] >= RELATED for other in others)
        noise = _noise(old, new)
        noisy = any(
            a.unit == old.unit and relates >= SOMEWHAT and _noise(a, b) >= noise / 2
            for a, b, relates in others
        )
        if r < UNRELATED and close >= AGREEING_FOR_EACH and not noisy:
            found[name] = (
                f"{name}: these are not the values of seed {old.seed}: over the replicates they correlate by "
                f"{r:.2f} with those of a second run, while {close} other experiments of the chapter have "
                f"{RELATED} or more"
            )
    return found


def _noise(published: Evidence, again: Evidence) -> float:
    """The standard deviation of the differences of the replicates."""
    return float((np.asarray(again.values) - np.asarray(published.values)).std())


def moved_far(published: Evidence, again: Evidence) -> str | None:
    """A sentence about a measurement that moved by more than its margin and the errors of both runs."""
    if not published.kind == again.kind == "measurement":
        return None
    assert published.estimate is not None and again.estimate is not None and published.margin is not None
    errors = [standard_error(np.ravel(np.asarray(e.values, dtype=float))) for e in (published, again)]
    allowed = published.margin + MEASURED_ERRORS * math.hypot(*errors)
    if abs(published.estimate - again.estimate) <= allowed:
        return None
    return (
        f"the estimate was published as {published.estimate:.3g} and is now {again.estimate:.3g}: further "
        f"away than the margin and {MEASURED_ERRORS:g} standard errors explain ({allowed:.2g})"
    )


def _measured(published: Evidence, again: Evidence, same_machine: bool) -> str | None:
    changed = changed_verdict(published, again)
    if changed is None:
        far = moved_far(published, again) if same_machine else None
        return f"{published.claim}: {far}" if far else None
    assert published.estimate is not None and again.estimate is not None and published.margin is not None
    near = abs(published.estimate - again.estimate) < published.margin
    if not _opposite(published, again) and (near or published.firm is False):
        return None
    return (
        f"{published.claim}: {changed}, the estimate as {published.estimate:.3g} and now {again.estimate:.3g}"
    )


def _equal(published: Evidence, again: Evidence, place: str) -> str | None:
    """What is not equal to the last digit: the values, and all that is kept beside them."""
    before, now = np.asarray(published.values), np.asarray(again.values)
    if before.shape != now.shape:
        return f"published with values of shape {before.shape}, now of shape {now.shape}"
    changed = np.argwhere(before != now)
    if len(changed):
        first = tuple(int(i) for i in changed[0])
        return (
            f"{len(changed)} of {before.size} values differ on the same machine, the first at "
            f"{position(first)}: published {float(before[first])!r}, now {float(now[first])!r}"
        )
    if unlike := _unlike(published, again, place):
        return unlike
    verdict = changed_verdict(published, again)
    return f"{verdict} from equal values" if verdict else None


def _unlike(published: Evidence, again: Evidence, place: str, within: float = 0.0) -> str | None:
    """What is kept beside the values and is not the same, up to a share of each number."""
    old, new = published.to_metadata(), again.to_metadata()
    for part in ("clusters", "arms", "guard", "map"):
        for where, was, is_now in _unequal(old[part], new[part], part, within):
            return f"{where} differs {place}: published {was}, now {is_now}"
    return None


def _unequal(before: Any, now: Any, where: str, within: float = 0.0) -> Iterator[tuple[str, str, str]]:
    """The first difference of two nested records, and where it is."""
    if isinstance(before, Mapping) and isinstance(now, Mapping) and before.keys() == now.keys():
        inside = [(f"{where}, {key}", before[key], now[key]) for key in before]
    elif isinstance(before, list | tuple) and isinstance(now, list | tuple) and len(before) == len(now):
        inside = [(f"{where}, {n}", a, b) for n, (a, b) in enumerate(zip(before, now, strict=True))]
    else:
        numbers = within and isinstance(before, float) and isinstance(now, float)
        if before != now and not (numbers and math.isclose(before, now, rel_tol=within, abs_tol=ALIKE)):
            yield where, _cut(before), _cut(now)
        return
    for place, a, b in inside:
        yield from _unequal(a, b, place, within)


def _cut(value: Any) -> str:
    """A value for a message: of what holds others only how many."""
    return f"{len(value)} of them" if isinstance(value, Mapping | list | tuple) else repr(value)


def _near(published: Evidence, again: Evidence, comparisons: int) -> str | None:
    """What differs by more than another machine explains."""
    verdict = changed_verdict(published, again)
    if published.kind == "identity":
        return verdict or _other_magnitude(published, again)
    before, now = np.asarray(published.values), np.asarray(again.values)
    if before.shape != now.shape:
        return f"published with values of shape {before.shape}, now of shape {now.shape}"
    firm = published.firm is not False and not only_the_reason(published, again)
    if verdict and (_opposite(published, again) or firm):
        return f"{verdict}; {_moved(published, again)}"
    if unlike := _not_alike(published, again):
        return unlike
    tolerance = NEGLIGIBLE_SHARE * (published.margin or 0.0)
    beside = list(_beside(published, again, tolerance))
    compared = comparisons * (1 + len(beside))
    p = paired_p(before.ravel(), now.ravel(), tolerance=tolerance)
    if p < (1 - LEVEL) / compared:
        test = f"paired t-test, p = {p:.1e}, {compared} compared"
        return f"{_moved(published, again)}, by more than chance ({test})"
    for where, old, new, least in beside:
        p = paired_p(old, new, tolerance=least)
        if p < (1 - LEVEL) / compared:
            return (
                f"{where}: the replicates differ on average by {(new - old).mean():+.3g}, by more than "
                f"chance (paired t-test, p = {p:.1e}, {compared} compared)"
            )
    return None


def _not_alike(published: Evidence, again: Evidence) -> str | None:
    """What of that which is kept beside the values differs, though no rounding moves it.

    These are the clusters; which arms, budgets and settings there are; and of an arm what it keeps, the steps
    of its curve, chance and the baseline's name. A curve is a mean over the replicates and has no spread of
    its own: at each step it may differ by a quarter of its range.
    """
    for where, was, is_now in _unequal(_frame(published), _frame(again), ""):
        return f"{where.removeprefix(', ')} differs: published {was}, now {is_now}"
    for name, arm in (published.arms or {}).items():
        other = (again.arms or {})[name]
        if arm.curve is not None and other.curve is not None:
            before, now = (np.asarray(curve)[:, 1] for curve in (arm.curve, other.curve))
            apart = int(np.abs(now - before).argmax())
            if abs(now[apart] - before[apart]) > CURVE_SHARE * max(np.ptp(before), np.ptp(now)):
                return (
                    f"arms, {name}, curve at step {arm.curve[apart][0]:g}: published {before[apart]:.3g}, "
                    f"now {now[apart]:.3g}"
                )
        if arm.baseline is not None and other.baseline is not None:
            score, other_score = arm.baseline.score, other.baseline.score
            if abs(score - other_score) > BASELINE_SHARE * max(abs(score), abs(other_score)):
                return f"arms, {name}, baseline: published {score:.4g}, now {other_score:.4g}"
    return None


def _frame(evidence: Evidence) -> dict[str, Any]:
    """Of what is kept beside the values that which rounding does not move, nested as it is."""
    arms = {
        name: {
            "what it keeps": [part for part in ARM_PARTS if getattr(arm, part) is not None],
            "steps": None if arm.curve is None else [step for step, _ in arm.curve],
            "baseline": None if arm.baseline is None else arm.baseline.name,
            "chance": arm.chance,
        }
        for name, arm in (evidence.arms or {}).items()
    }
    cells = {
        part: [(cell.at, len(cell.values)) for cell in getattr(evidence, part) or ()]
        for part in ("guard", "map")
    }
    return {"clusters": evidence.clusters, "arms": arms, **cells}


def _beside(
    published: Evidence, again: Evidence, tolerance: float
) -> Iterator[tuple[str, Array, Array, float]]:
    """What has values by replicate beside the claim's own: where, before, now, and what is passed over."""
    for name, arm in (published.arms or {}).items():
        for part in ("values", "loss", "accuracy"):
            before, now = getattr(arm, part), getattr((again.arms or {})[name], part)
            if before is not None:
                old, new = np.ravel(before), np.ravel(now)
                yield f"arms, {name}, {part}", old, new, NEGLIGIBLE_SHARE * float(old.std())
    for part in ("guard", "map"):
        for cell, other in zip(getattr(published, part) or (), getattr(again, part) or (), strict=True):
            yield f"{part} at {_at(cell.at)}", np.asarray(cell.values), np.asarray(other.values), tolerance


def _at(setting: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in setting.items())


def _other_magnitude(published: Evidence, again: Evidence) -> str | None:
    """Whether the largest error of an identity is of another order of magnitude."""
    assert published.estimate is not None and again.estimate is not None and published.margin is not None
    least = NO_ERROR_SHARE * published.margin
    before, now = max(published.estimate, least), max(again.estimate, least)
    if max(before, now) <= ERROR_FACTOR * min(before, now):
        return None
    return (
        f"the largest error was published as {published.estimate:.3g} and is now {again.estimate:.3g}: "
        "another order of magnitude"
    )


def _moved(published: Evidence, again: Evidence) -> str:
    """How the replicates differ, in words."""
    before, now = np.asarray(published.values).ravel(), np.asarray(again.values).ravel()
    if before.shape != now.shape:
        return f"{len(before)} values were published, now there are {len(now)}"
    difference = now - before
    return (
        f"{np.count_nonzero(difference)} of {len(before)} replicates differ, on average by "
        f"{difference.mean():+.3g} (published mean {before.mean():.4g}, now {now.mean():.4g})"
    )


def paired_p(before: Array, now: Array, *, tolerance: float = 0.0) -> float:
    """The p-value of the paired t-test of two runs, replicate by replicate.

    Args:
        before: The values of one run, (n,).
        now: Those of the other, (n,).
        tolerance: The mean difference that is passed over.

    Returns:
        1 where there is nothing to test: fewer than two values, or a mean difference within the tolerance
        or the rounding of the values themselves; 0 where all replicates differ by the same.
    """
    from scipy.special import stdtr

    difference = now - before
    rounding = 1e-9 * max(float(np.abs(before).max()), float(np.abs(now).max()))
    mean = abs(float(difference.mean()))
    if difference.size < 2 or mean <= max(tolerance, rounding):
        return 1.0
    error = standard_error(difference)
    if error <= rounding:
        return 0.0
    return 2 * float(stdtr(difference.size - 1, -mean / error))


def _opposite(published: Evidence, again: Evidence) -> bool:
    return {published.verdict, again.verdict} == {"supported", "contradicted"}


__all__ = [
    "agreement",
    "arithmetic",
    "changed_reason",
    "changed_verdict",
    "foreign",
    "moved_far",
    "near_values",
    "only_the_reason",
    "outliers",
    "paired_p",
    "relation",
    "same_values",
]
