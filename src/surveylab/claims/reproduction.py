"""Whether a second run of a claim reproduces the published one."""

from __future__ import annotations

import math

import numpy as np

from surveylab.claims.evidence import Evidence
from surveylab.claims.intervals import LEVEL, Array, standard_error
from surveylab.claims.values import position


def agreement(published: Evidence, again: Evidence, *, same_machine: bool, comparisons: int) -> str | None:
    """Whether a second run of a claim reproduces the published one.

    On the same versions and processor the values must be equal to the last digit. Elsewhere arithmetic
    differs, and training amplifies it: there a Welch test at 1 %, divided by the number of comparisons, must
    not separate the two runs, and the verdict must never be the opposite. A measurement of time has the same
    verdict or, where it lies so near the margin that the next run may decide otherwise, an estimate less than
    one margin away; and never the opposite verdict.

    Args:
        published: The evidence in the published notebook.
        again: The evidence of the second run.
        same_machine: Whether versions and processor are those of the published run.
        comparisons: How many claims are compared at once (Bonferroni).

    Returns:
        None if it is reproduced, else a sentence that says what differs.
    """
    if comparisons < 1:
        raise ValueError(f"comparisons must be at least 1, not {comparisons}")
    name = published.claim
    for field in ("claim", "kind", "margin", "unit", "direction", "statistic", "profile"):
        before, now = getattr(published, field), getattr(again, field)
        if before != now:
            return f"{name}: {field} was published as {before!r} and is now {now!r}"
    verdicts = f"the verdict was published as {published.verdict} and is now {again.verdict}"
    opposite = {published.verdict, again.verdict} == {"supported", "contradicted"}
    if published.kind in ("source", "measurement") or (published.kind == "identity" and not same_machine):
        if published.verdict == again.verdict:
            return None
        if published.kind != "measurement":
            return f"{name}: {verdicts}"
        assert published.estimate is not None and again.estimate is not None and published.margin is not None
        if not opposite and abs(published.estimate - again.estimate) < published.margin:
            return None
        return f"{name}: {verdicts}, the estimate as {published.estimate:.3g} and now {again.estimate:.3g}"
    before, now = np.asarray(published.values), np.asarray(again.values)
    if same_machine:
        if before.shape != now.shape:
            return f"{name}: published with values of shape {before.shape}, now of shape {now.shape}"
        changed = np.argwhere(before != now)
        if len(changed):
            first = tuple(int(i) for i in changed[0])
            return (
                f"{name}: {len(changed)} of {before.size} values differ on the same machine, the first at "
                f"{position(first)}: published {float(before[first])!r}, now {float(now[first])!r}"
            )
        return None if published.verdict == again.verdict else f"{name}: {verdicts} from equal values"
    if opposite:
        return f"{name}: {verdicts}, the opposite"
    p = _welch(before.ravel(), now.ravel())
    if p < (1 - LEVEL) / comparisons:
        return (
            f"{name}: the values differ by more than chance: published mean {before.mean():.6g}, "
            f"now {now.mean():.6g} (Welch p = {p:.1e}, {comparisons} compared)"
        )
    return None


def _welch(a: Array, b: Array) -> float:
    """The p-value of Welch's test. Where neither sample varies, equality decides."""
    from scipy.special import stdtr

    if a.size < 2 or b.size < 2:  # smoke with one replicate: no variance, nothing to test
        return 1.0
    va, vb = standard_error(a) ** 2, standard_error(b) ** 2
    gap = abs(float(a.mean()) - float(b.mean()))
    if va + vb <= (1e-12 * max(abs(float(a.mean())), abs(float(b.mean())))) ** 2:
        return 1.0 if gap <= 1e-9 * max(abs(float(a.mean())), abs(float(b.mean()))) else 0.0
    freedom = (va + vb) ** 2 / (va**2 / (a.size - 1) + vb**2 / (b.size - 1))
    return 2 * float(stdtr(freedom, -gap / math.sqrt(va + vb)))
