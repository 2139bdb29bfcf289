"""The front page's pictures: every statement of the review with its verdict, and every effect by its size.

Both are HTML, so that each mark is a link, can be reached by keyboard, and takes its colours from the theme.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

from surveylab.claims import BADGES, Claim, Evidence
from surveylab.press.review_text import Chapter, Section, Sentence
from surveylab.press.site.evidence import UNEXAMINED, Findings
from surveylab.press.site.markup import card_link, raw_html
from surveylab.press.site.pages.ledger import in_margins, numbers

# The scale of effects: linear around zero, logarithmic far out, so that one margin and sixteen both show.
_REACH = 16.0
_TICKS = (-16, -4, -1, 0, 1, 4, 16)
# Points of one row keep this distance, in per cent of the width: a point is 10px, a phone's column 330px.
_APART = 3.2
_LEVEL = 12  # px from one row of points to the next


def wall(findings: Findings) -> str:
    """Every statement as a mark with its verdict, by section and chapter of the review."""
    return raw_html(
        ['<div class="sl-wall">', *(line for s in findings.review for line in _block(s, findings)), "</div>"]
    )


def _block(section: Section, findings: Findings) -> list[str]:
    statements = [id for chapter in section.chapters for id in chapter.statements]
    examined = sum(findings.verdict(id) != UNEXAMINED for id in statements)
    return [
        f'<section class="sl-wall-section" aria-label="{escape(section.title)}">',
        f'<p class="sl-wall-title"><a href="review.html#review-{section.name}">{escape(section.title)}</a> '
        f"<span>{examined} of {len(statements)} examined</span></p>",
        '<div class="sl-wall-chapters">',
        *(line for chapter in section.chapters for line in _row(chapter, findings)),
        "</div>",
        "</section>",
    ]


def _row(chapter: Chapter, findings: Findings) -> list[str]:
    title = escape(chapter.title)
    if chapter.name in findings.executed:
        title = f'<a href="{chapter.name}.html">{title}</a>'
    marks = [_mark(sentence, findings) for sentence in chapter.text if sentence.id]
    return [f'<div><p class="sl-wall-chapter">{title}</p>', '<p class="sl-marks">', *marks, "</p></div>"]


def _mark(sentence: Sentence, findings: Findings) -> str:
    assert sentence.id
    verdict = findings.verdict(sentence.id)
    symbol, word = ("○", "not yet examined") if verdict == UNEXAMINED else BADGES[verdict]
    claims = [claim for claim in findings.covering(sentence.id) if claim.id in findings.evidence]
    if len(claims) == 1:
        href = card_link(claims[0])
    else:
        href = f"ledger.html#statement-{sentence.id}" if claims else f"review.html#review-{sentence.id}"
    about = escape(f"{word}: {sentence.says}")
    return (
        f'<a class="sl-point-mark sl-{verdict}" href="{href}" title="{about}">'
        f'<span aria-hidden="true">{symbol}</span><span class="sl-hidden">{about}</span></a>'
    )


def effects(findings: Findings) -> str:
    """Every measured effect as a point, in units of its own margin; empty without any."""
    rows = [
        (section.title, points)
        for section in findings.review
        if (points := list(_measured(section, findings)))
    ]
    if not rows:
        return ""
    ticks = "".join(
        f'<span style="left:{_at(tick):.2f}%">{str(tick).replace("-", "−")}</span>' for tick in _TICKS
    )
    return raw_html(
        [
            '<div class="sl-effects">',
            '<p class="sl-effects-sides" aria-hidden="true"><span>← the other way</span>'
            "<span>too small to matter</span><span>as claimed →</span></p>",
            *(line for title, points in rows for line in _swarm(title, points)),
            f'<p class="sl-effects-ticks" aria-hidden="true">{ticks}</p>',
            '<p class="sl-effects-unit">effect, in units of the claim’s own margin '
            "(disc: supported, ring: inconclusive, square: negligible, diamond: contradicted)</p>",
            "</div>",
        ]
    )


def _measured(section: Section, findings: Findings) -> Iterable[tuple[Claim, Evidence, float]]:
    chapters = {chapter.name for chapter in section.chapters}
    for claim in findings.claims.values():
        evidence = findings.evidence.get(claim.id)
        size = in_margins(evidence) if evidence else None
        if claim.chapter in chapters and evidence is not None and size is not None:
            yield claim, evidence, size


def _swarm(title: str, points: list[tuple[Claim, Evidence, float]]) -> list[str]:
    """One section's points: each at its effect, on the lowest level where it touches no other."""
    ends: list[float] = []
    marks = []
    for claim, evidence, size in sorted(points, key=lambda point: point[2]):
        x = _at(size)
        level = next((n for n, end in enumerate(ends) if x - end >= _APART), len(ends))
        ends[level:] = [x, *ends[level + 1 :]]
        about = escape(f"{BADGES[evidence.verdict][1]}: {claim.says} {numbers(evidence)}")
        marks.append(
            f'<a class="sl-point sl-{evidence.verdict}" href="{card_link(claim)}" title="{about}"'
            f' style="left:{x:.2f}%;bottom:{8 + level * _LEVEL}px"><span class="sl-hidden">{about}</span></a>'
        )
    band = f"left:{_at(-1):.2f}%;width:{_at(1) - _at(-1):.2f}%"
    return [
        f'<p class="sl-effects-title">{escape(title)}</p>',
        f'<div class="sl-swarm" style="height:{16 + len(ends) * _LEVEL}px">',
        f'<span class="sl-effects-band" style="{band}"></span><span class="sl-effects-zero"></span>',
        *marks,
        "</div>",
    ]


def _at(value: float) -> float:
    """Where an effect stands, in per cent of the width; what lies beyond the reach stands at its edge."""
    return 50 + 48 * math.asinh(max(-_REACH, min(_REACH, value))) / math.asinh(_REACH)
