"""The page on replications: what came of the claims on other seeds, held against what was to be expected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from math import fsum
from typing import Any

from surveylab.claims import FIRST_DESIGN_SEED, LEVEL, Claim, Evidence, badge
from surveylab.claims.render import number, percent, with_unit
from surveylab.claims.replications import Replicated, Replication
from surveylab.press.site.evidence import Findings
from surveylab.press.site.rendering import render

_BINS = 10
_EPOCH = date(1970, 1, 1)
# The drawing is as wide as the column and so high, in px; its text keeps its size.
_LEFT, _WIDTH = 10.0, 86.0  # per cent
_TOP, _HEIGHT = 24.0, 260.0
_TICKS = (0, 20, 40, 60, 80, 100)


@dataclass(frozen=True)
class Result:
    """One result that counts: a claim in a run."""

    claim: Claim
    published: Evidence
    run: Replication
    found: Replicated

    @property
    def expected(self) -> float | None:
        """How probable it was that the verdict repeats; None where firmness says nothing of it."""
        return self.found.firmness if self.claim.kind == "experiment" else None


@dataclass(frozen=True)
class Bin:
    """Results of about one probability: how many, how many repeated, and how many were expected to."""

    expected: float
    repeated: int
    total: int

    @property
    def observed(self) -> float:
        """The share that repeated."""
        return self.repeated / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The exact binomial interval of that share (Clopper and Pearson)."""
        from scipy.stats import binomtest

        found = binomtest(self.repeated, self.total).proportion_ci(LEVEL, method="exact")
        return float(found.low), float(found.high)


def replications(findings: Findings) -> str:
    """The page. It is there without any replication too, so that other pages can lead to it."""
    results = [
        Result(claim, findings.published[id], run, found)
        for id, claim in findings.claims.items()
        for run, found in findings.replications(id)
    ]
    foretold = [r for r in results if r.expected is not None]
    bins = calibration((r.expected, r.found.repeats) for r in foretold if r.expected is not None)
    recorded = sum(len(c.claims) for run in findings.runs for c in run.chapters.values())
    return render(
        "replications.md",
        runs=[_run(run, results) for run in findings.runs],
        total=len(results),
        repeated=sum(r.found.repeats for r in results),
        opposite=sum(r.found.opposite for r in results),
        foretold=len(foretold),
        foretold_repeated=sum(r.found.repeats for r in foretold),
        expected=fsum(r.expected or 0.0 for r in foretold),
        uncounted=recorded - len(results),
        missing=weeks_without(findings.runs),
        drawing=Drawing(bins) if bins else None,
        others=[
            _other(r) for r in sorted(results, key=lambda r: not r.found.opposite) if not r.found.repeats
        ],
    ).lstrip()


def weeks_without(runs: Iterable[Replication]) -> list[str]:
    """The weeks, by their first day, of which no run is recorded though one before and one after are.

    Each week one run is made on the seed (days since 1970 // 7) mod 1000; which of them are committed is a
    person's choice, and so a week left out is shown.
    """
    weeks = sorted({week for run in runs if (week := _week(run.date)) % FIRST_DESIGN_SEED == run.seed})
    left_out = sorted(set(range(weeks[0], weeks[-1])) - set(weeks)) if weeks else []
    return [(_EPOCH + timedelta(weeks=week)).isoformat() for week in left_out]


def _week(day: str) -> int:
    """The whole weeks from 1970 to a day."""
    return (date.fromisoformat(day) - _EPOCH).days // 7


def calibration(results: Iterable[tuple[float, bool]]) -> list[Bin]:
    """Results in tenths of the probability that the verdict repeats, the empty ones left out.

    Args:
        results: The probability of each result, and whether it repeated.
    """
    tenths: dict[int, list[tuple[float, bool]]] = {}
    for expected, repeated in results:
        tenths.setdefault(min(int(_BINS * expected), _BINS - 1), []).append((expected, repeated))
    return [
        Bin(fsum(p for p, _ in rows) / len(rows), sum(repeated for _, repeated in rows), len(rows))
        for _, rows in sorted(tenths.items())
    ]


class Drawing:
    """Observed against expected share, with the diagonal on which a true forecast lies."""

    ticks = _TICKS
    bottom = _TOP + _HEIGHT

    def __init__(self, bins: list[Bin]) -> None:
        self.bins = bins
        said = [
            f"expected {round(100 * b.expected)} %, repeated {b.repeated} of {b.total} "
            f"({percent(LEVEL)} interval {round(100 * b.interval[0])} to {round(100 * b.interval[1])} %)"
            for b in bins
        ]
        self.label = "Share of verdicts that repeated against the share expected to. " + "; ".join(said) + "."

    @staticmethod
    def x(share: float) -> str:
        """Where a share stands, in per cent of the width."""
        return f"{_LEFT + _WIDTH * share:.2f}%"

    @staticmethod
    def y(share: float) -> str:
        """How far down it stands, in px."""
        return f"{_TOP + _HEIGHT * (1 - share):.1f}"


def _run(run: Replication, results: list[Result]) -> dict[str, Any]:
    """A row of the table of runs."""
    mine = [r for r in results if r.run is run]
    machines = {_machine(chapter.machine) for chapter in run.chapters.values()}
    return {
        "run": run,
        "machines": "; ".join(sorted(machines - {""})),
        "repeated": sum(r.found.repeats for r in mine),
        "total": len(mine),
    }


def _machine(machine: Mapping[str, Any]) -> str:
    """The processor by its name alone, without family and stepping, and the graphics card."""
    processor = str(machine.get("processor") or "").partition(",")[0]
    return ", ".join(part for part in (processor, machine.get("accelerator")) if part)


def _other(result: Result) -> dict[str, Any]:
    """A row of the table of claims whose verdict was another one."""
    claim, found, unit = result.claim, result.found, result.published.unit

    def amount(estimate: float) -> str:
        return with_unit(number(estimate, sign=claim.kind != "identity"), unit)

    return {
        "claim": claim,
        "seed": result.run.seed,
        "opposite": found.opposite,
        "before": badge(claim, found.published_verdict),
        "after": badge(claim, found.verdict),
        "old": amount(found.published_estimate),
        "new": amount(found.estimate),
        "shift": None if found.shift is None else f"{found.shift:+.1f}".replace("-", "\N{MINUS SIGN}"),
    }
