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
# Points keep this distance, in px, in a column so wide at least: on the narrowest phone, and on a desk. Each
# can be pressed on 24 px (WCAG 2.5.8); the rest is for browsers, which round where a point stands.
_APART = 25
_WIDTHS = (288, 640)


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
    """One section's points: each at its effect, as low as it can stand without touching another."""
    points = sorted(points, key=lambda point: point[2])
    places = [_at(size) for _, _, size in points]
    narrow, wide = (_heights([x * width / 100 for x in places]) for width in _WIDTHS)
    rows = zip(points, places, narrow, wide, strict=True)
    return {
        "title": title,
        "points": [
            {"claim": c, "evidence": e, "x": x, "ys": (low, high)} for (c, e, _), x, low, high in rows
        ],
        "heights": (max(narrow) + _APART, max(wide) + _APART),
    }


def _heights(places: list[float]) -> list[float]:
    """How high each of some discs stands, given where they stand from left to right, in px."""
    heights: list[float] = []
    for n, x in enumerate(places):
        near = [(x - left, up) for left, up in zip(places[:n], heights, strict=True) if x - left < _APART]
        tried = [0.0, *(up + math.sqrt(_APART**2 - away**2) for away, up in near)]
        free = (
            y for y in sorted(tried) if all(math.hypot(away, y - up) > _APART - 1e-6 for away, up in near)
        )
        heights.append(next(free))
    return heights


def _at(value: float) -> float:
    """Where an effect stands, in per cent of the width; what lies beyond the reach stands at its edge."""
    return 50 + 48 * math.asinh(max(-_REACH, min(_REACH, value))) / math.asinh(_REACH)
