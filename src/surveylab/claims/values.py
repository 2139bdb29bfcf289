"""The values of a run, checked before they are judged."""

from __future__ import annotations

from typing import Any

import numpy as np

from surveylab.claims.evidence import EvidenceError
from surveylab.claims.intervals import Array
from surveylab.claims.planning import FEWEST as FEWEST_REPLICATES
from surveylab.claims.planning import POPULATIONS
from surveylab.claims.registry import Claim

FEWEST_INPUTS = 20
FEWEST_RATIOS = 15
PROFILES = ("smoke", "standard", "full")
#: Statistics of counted values: +1 for, 0 even, −1 against.
COUNTED = ("tango", "sign")


def checked_values(claim: Claim, values: Any, profile: str) -> Array | None:
    """The values as an array of the shape the kind asks for, all finite; None for a source.

    Raises:
        EvidenceError: If they are not, or the profile is unknown.
    """
    if profile not in PROFILES:
        raise EvidenceError(f"claim {claim.id}: unknown profile {profile!r}; choose {', '.join(PROFILES)}")
    smoke = profile == "smoke"
    if claim.kind == "source":
        if values is not None:
            raise EvidenceError(f"claim {claim.id}: a source is cited, not measured; pass no values")
        return None
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


def checked_data(claim: Claim, data: dict[str, str] | None) -> dict[str, str] | None:
    """A copy of the name and the checksum of the data, or None.

    Raises:
        EvidenceError: If it is something else.
    """
    if data is None:
        return None
    if set(data) != {"name", "sha256"} or not all(isinstance(v, str) for v in data.values()):
        raise EvidenceError(
            f"claim {claim.id}: data must be {{'name': ..., 'sha256': ...}} or None, not {data!r}"
        )
    return dict(data)


def margin_of(claim: Claim) -> float:
    """The margin of a claim that is not a source; the registry lets none through without."""
    assert claim.margin is not None
    return claim.margin


def position(index: tuple[int, ...]) -> str:
    """Where a value stands, in words."""
    return f"population {index[0]}, replicate {index[1]}" if len(index) == 2 else f"value {index[0]}"
