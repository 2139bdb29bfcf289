"""Evidence: what a run showed about one claim, as it is kept in the published notebook."""

from __future__ import annotations

import dataclasses
from typing import Any

from surveylab.claims.arms import Arm, Baseline
from surveylab.claims.firmness import FIRM

#: The version of the rules.
RULES = 2


class EvidenceError(ValueError):
    """Values that cannot be judged, or evidence that cannot be read; the message names claim and fault."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """The effect in one other setting: at another budget (the guard), or on the scope map.

    Attributes:
        at: The setting, by name: ``{"budget": 2.0, "width": 16, "data": "fashion"}``.
        values: The effect in every replicate there, (n,).
        estimate, low, high: As for `Evidence`; no interval where the values allow none.
    """

    at: dict[str, Any]
    values: list[float]
    estimate: float
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a run showed about one claim: every value, and all that follows from the values.

    ``level``, ``direction`` and ``statistic`` are None where there is no interval (identity, source).

    Attributes:
        reason: Why the verdict is inconclusive, one of `surveylab.claims.REASONS`; else None.
        firmness: The probability that an independent run of the same size gives this verdict; None where the
            verdict does not follow from an interval.
        detectable: The smallest effect the run would have shown in nine of ten runs.
        clusters: What each value shares with others, in the shape of the values; None if nothing.
        arms: What each arm did, by name.
        guard: Population 0 at other budgets.
        map: The effect in other settings. It decides nothing.
        edition: The edition of the claim.
        rules: The version of the rules it was judged by.
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
    reason: str | None = None
    firmness: float | None = None
    clusters: list[Any] | None = None
    arms: dict[str, Arm] | None = None
    guard: list[Cell] | None = None
    map: list[Cell] | None = None
    edition: int | None = None
    rules: int = RULES

    @property
    def firm(self) -> bool | None:
        """Whether the verdict is firm; None where it does not follow from an interval."""
        return None if self.firmness is None else self.firmness >= FIRM

    def to_metadata(self) -> dict[str, Any]:
        """The evidence as plain JSON; floats keep their last digit."""
        return dataclasses.asdict(self)

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any]) -> Evidence:
        """The inverse of `to_metadata`. Fields that have a default may be missing.

        Raises:
            EvidenceError: If fields are missing or unknown.
        """
        if not isinstance(metadata, dict):
            raise EvidenceError(f"evidence must be a mapping, not {metadata!r}")
        fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(cls)}
        missing = ", ".join(
            sorted(name for name, needed in fields.items() if needed and name not in metadata)
        )
        unknown = ", ".join(sorted(name for name in metadata if name not in fields))
        name = metadata.get("claim", "(without id)")
        if missing or unknown:
            raise EvidenceError(
                f"claim {name}: not evidence: fields missing: {missing or 'none'}; "
                f"unknown: {unknown or 'none'}"
            )
        try:
            nested = {
                "arms": _arms(metadata.get("arms")),
                "guard": _cells(metadata.get("guard")),
                "map": _cells(metadata.get("map")),
            }
        except (AttributeError, TypeError) as error:
            raise EvidenceError(f"claim {name}: not evidence: {error}") from error
        return cls(**(metadata | nested))


def _arms(stored: Any) -> dict[str, Arm] | None:
    if stored is None:
        return None
    arms = {}
    for name, arm in stored.items():
        baseline = arm.get("baseline")
        arms[name] = Arm(**(arm | {"baseline": None if baseline is None else Baseline(**baseline)}))
    return arms


def _cells(stored: Any) -> list[Cell] | None:
    return None if stored is None else [Cell(**cell) for cell in stored]
