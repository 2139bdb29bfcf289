"""From values to a verdict: the rules by which every claim of the book is judged.

One 99 % interval over the values of all populations decides, and the mean of each population stands guard:

- *supported*: the interval, and every population mean, above the margin
- *contradicted*: the interval, and every population mean, below minus the margin
- *negligible*: the interval inside plus or minus the margin
- *inconclusive*: anything else

A claim of equivalence is supported where others are negligible, and contradicted where the interval lies
wholly outside plus or minus the margin. All comparisons are strict: a bound that meets the margin exactly
decides nothing.

SciPy is imported where it is used, so that importing this package stays fast.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from surveylab.claims.badges import BADGES
from surveylab.claims.registry import Claim

LEVEL = 0.99
POPULATIONS = 3
FEWEST_REPLICATES = 8
FEWEST_INPUTS = 20
FEWEST_RATIOS = 15
PROFILES = ("smoke", "standard", "full")
VERDICTS = ("supported", "contradicted", "negligible", "inconclusive", "not-decided", "cited")

Array = npt.NDArray[np.float64]


class EvidenceError(ValueError):
    """Values that cannot be judged, or evidence that cannot be read; the message names claim and fault."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a run showed about one claim: every value, and all that follows from the values.

    ``level``, ``direction`` and ``statistic`` are None where there is no interval (identity, source).
    ``detectable`` is the smallest effect the run could have shown: the margin and the distance from the
    estimate to the farther end of the interval.
    """

    claim: str
    kind: str
    verdict: str
    estimate: float | None
    low: float | None
    high: float | None
    margin: float | None
    level: float | None
    unit: str | None
    direction: str | None
    statistic: str | None
    replicates: list[int] | None
    values: list[Any] | None
    detectable: float | None
    profile: str
    seed: int
    data: dict[str, str] | None

    def to_metadata(self) -> dict[str, Any]:
        """The evidence as plain JSON; floats keep their last digit."""
        return dataclasses.asdict(self)

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any]) -> Evidence:
        """The inverse of `to_metadata`.

        Raises:
            EvidenceError: If fields are missing or unknown.
        """
        if not isinstance(metadata, dict):
            raise EvidenceError(f"evidence must be a mapping, not {metadata!r}")
        names = {field.name for field in dataclasses.fields(cls)}
        wrong = sorted(names.symmetric_difference(metadata))
        if wrong:
            missing = ", ".join(name for name in wrong if name in names) or "none"
            unknown = ", ".join(name for name in wrong if name not in names) or "none"
            raise EvidenceError(
                f"claim {metadata.get('claim', '(without id)')}: not evidence: fields missing: {missing}; "
                f"unknown: {unknown}"
            )
        return cls(**metadata)


def judge(claim: Claim, values: Any, *, profile: str, seed: int, data: dict[str, str] | None) -> Evidence:
    """Judge a claim by the values of a run.

    Args:
        claim: The claim, with its margin.
        values: For an experiment (3, n) with n >= 8, oriented so that the claimed direction is positive; for
            an identity at least 20 errors; for a measurement at least 15 natural logarithms of ratios; None
            for a source. At smoke any number will do.
        profile: smoke, standard or full. At smoke nothing is decided.
        seed: The seed of the run.
        data: Name and sha256 of the data the values come from, or None.

    Returns:
        The evidence, with its verdict.

    Raises:
        EvidenceError: If the values have the wrong shape, are too few, or are not all finite.
    """
    if profile not in PROFILES:
        raise EvidenceError(f"claim {claim.id}: unknown profile {profile!r}; choose {', '.join(PROFILES)}")
    if data is not None and (
        set(data) != {"name", "sha256"} or not all(isinstance(v, str) for v in data.values())
    ):
        raise EvidenceError(
            f"claim {claim.id}: data must be {{'name': ..., 'sha256': ...}} or None, not {data!r}"
        )
    smoke = profile == "smoke"
    estimate = low = high = detectable = None
    array = None
    if claim.kind == "source":
        if values is not None:
            raise EvidenceError(f"claim {claim.id}: a source is cited, not measured; pass no values")
        verdict = "cited"
    else:
        array = _checked(claim, values, smoke)
        assert (
            claim.margin is not None
        )  # the registry lets no claim without a margin through, but for a source
        if claim.kind == "identity":
            estimate = float(array.max())
            verdict = "supported" if estimate <= claim.margin else "contradicted"
        else:
            estimate = float(array.mean())
            interval = _interval(claim, array)
            verdict = "inconclusive"
            if interval is not None:
                low, high = interval
                detectable = claim.margin + max(estimate - low, high - estimate)
                # A measurement is one run: it has no populations to guard it.
                means = array.mean(axis=1) if claim.kind == "experiment" else array.mean(keepdims=True)
                verdict = decide(low, high, means, margin=claim.margin, direction=claim.direction)
    judged = claim.kind in ("experiment", "measurement")
    return Evidence(
        claim=claim.id,
        kind=claim.kind,
        verdict="not-decided" if smoke else verdict,
        estimate=estimate,
        low=low,
        high=high,
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


def student_interval(values: npt.ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """Student's t interval for the mean of independent values."""
    from scipy.special import stdtrit

    sample = np.asarray(values, dtype=np.float64).ravel()
    half = float(stdtrit(sample.size - 1, (1 + level) / 2)) * _standard_error(sample)
    mean = float(sample.mean())
    return mean - half, mean + half


def sign_interval(values: npt.ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """An interval for P(+1) - P(-1) from values in {-1, 0, 1}.

    Two Clopper-Pearson intervals, each with half of the error (Bonferroni): conservative, and valid at any
    count, so that zero variance needs no exception.
    """
    sample = np.asarray(values, dtype=np.float64).ravel()
    each = 1 - (1 - level) / 2
    plus = _clopper_pearson(int((sample == 1).sum()), sample.size, each)
    minus = _clopper_pearson(int((sample == -1).sum()), sample.size, each)
    return plus[0] - minus[1], plus[1] - minus[0]


def combine(verdicts: Iterable[str]) -> str:
    """The verdict on a statement that was split into several claims.

    What is merely cited gives way to what was run; decided parts that disagree make it *mixed*; if those
    agree and others are open, it is *inconclusive*; no parts at all, *missing*.
    """
    given = set(verdicts)
    judged = given - {"cited"} or given
    if not judged:
        return "missing"
    if len(judged - {"inconclusive"}) > 1:
        return "mixed"
    return "inconclusive" if "inconclusive" in judged else judged.pop()


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
    opposite = BADGES[published.verdict].opposite == again.verdict
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
                f"{_position(first)}: published {float(before[first])!r}, now {float(now[first])!r}"
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


def spreadless(values: npt.ArrayLike, margin: float) -> bool:
    """Whether all values are equal, up to rounding: a difference of two equal accuracies is rarely exact."""
    array = np.asarray(values, dtype=np.float64)
    return float(np.ptp(array)) <= 1e-12 * max(float(np.abs(array).max()), margin)


def _interval(claim: Claim, array: Array) -> tuple[float, float] | None:
    """The interval of the claim's statistic, or None where the values allow none."""
    if claim.statistic == "sign":
        return sign_interval(array)
    assert claim.margin is not None
    if array.size < 2:  # possible at smoke only
        return None
    if spreadless(array, claim.margin):
        # Operation counts repeat exactly and are certain; equal results of training are a ceiling.
        mean = float(array.mean())
        return (mean, mean) if claim.kind == "measurement" else None
    return student_interval(array)


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
            f"at {_position(first)}; count divergence as a claim of its own instead of averaging it"
        )
    if claim.kind == "identity" and array.min() < 0:
        raise EvidenceError(f"claim {claim.id}: an error is negative ({array.min()}); pass absolute errors")
    if claim.statistic == "sign" and not np.isin(array, (-1, 0, 1)).all():
        raise EvidenceError(f"claim {claim.id}: statistic sign takes values -1, 0 and 1 only")
    return array


def _position(index: tuple[int, ...]) -> str:
    return f"population {index[0]}, replicate {index[1]}" if len(index) == 2 else f"value {index[0]}"


def _standard_error(sample: Array) -> float:
    return float(sample.std(ddof=1)) / math.sqrt(sample.size)


def _clopper_pearson(count: int, size: int, level: float) -> tuple[float, float]:
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = 0.0 if count == 0 else float(betaincinv(count, size - count + 1, tail))
    high = 1.0 if count == size else float(betaincinv(count + 1, size - count, 1 - tail))
    return low, high


def _welch(a: Array, b: Array) -> float:
    """The p-value of Welch's test. Where neither sample varies, equality decides."""
    from scipy.special import stdtr

    if a.size < 2 or b.size < 2:  # smoke with one replicate: no variance, nothing to test
        return 1.0
    va, vb = _standard_error(a) ** 2, _standard_error(b) ** 2
    gap = abs(float(a.mean()) - float(b.mean()))
    if va + vb <= (1e-12 * max(abs(float(a.mean())), abs(float(b.mean())))) ** 2:
        return 1.0 if gap <= 1e-9 * max(abs(float(a.mean())), abs(float(b.mean()))) else 0.0
    freedom = (va + vb) ** 2 / (va**2 / (a.size - 1) + vb**2 / (b.size - 1))
    return 2 * float(stdtr(freedom, -gap / math.sqrt(va + vb)))
