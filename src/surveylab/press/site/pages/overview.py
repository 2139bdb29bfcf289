"""The front page's pictures: every statement of the review with its verdict, and every effect by its size.

Both are HTML, so that each mark is a link, can be reached by keyboard, and takes its colours from the theme.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from surveylab.claims import Claim, Evidence
from surveylab.press.review_text import Section
from surveylab.press.site.evidence import Findings
from surveylab.press.site.rendering import in_margins, render

# The scale of effects: linear around zero, logarithmic far out, so that one margin and sixteen both show.
_REACH = 16.0
_TICKS = (-16, -4, -1, 0, 1, 4, 16)
# Points of one row keep this distance, in per cent of the width: a point is 10px, a phone's column 330px.
_APART = 3.2
_LEVEL = 12  # px from one row of points to the next


def wall(findings: Findings) -> str:
    """Every statement as a mark with its verdict, by section and chapter of the review."""
    return render("wall.md", findings=findings)


def effects(findings: Findings) -> str:
    """Every measured effect as a point, in units of its own margin; empty without any."""
    swarms = [
        _swarm(section.title, points)
        for section in findings.review
        if (points := list(_measured(section, findings)))
    ]
    if not swarms:
        return ""
    ticks = [(tick, _at(tick)) for tick in _TICKS]
    return render("effects.md", swarms=swarms, ticks=ticks, band=(_at(-1), _at(1)))


def _measured(section: Section, findings: Findings) -> Iterable[tuple[Claim, Evidence, float]]:
    chapters = {chapter.name for chapter in section.chapters}
    for claim in findings.claims.values():
        evidence = findings.evidence.get(claim.id)
        size = in_margins(evidence) if evidence else None
        if claim.chapter in chapters and evidence is not None and size is not None:
            yield claim, evidence, size


def _swarm(title: str, points: list[tuple[Claim, Evidence, float]]) -> dict[str, Any]:
    """One section's points: each at its effect, on the lowest level where it touches no other."""
    ends: list[float] = []
    placed = []
    for claim, evidence, size in sorted(points, key=lambda point: point[2]):
        x = _at(size)
        level = next((n for n, end in enumerate(ends) if x - end >= _APART), len(ends))
        ends[level:] = [x, *ends[level + 1 :]]
        placed.append({"claim": claim, "evidence": evidence, "x": x, "y": 8 + level * _LEVEL})
    return {"title": title, "points": placed, "height": 16 + len(ends) * _LEVEL}


def _at(value: float) -> float:
    """Where an effect stands, in per cent of the width; what lies beyond the reach stands at its edge."""
    return 50 + 48 * math.asinh(max(-_REACH, min(_REACH, value))) / math.asinh(_REACH)
