"""The pages that hold the review against the evidence: corrections, and the review as running text.

Pure functions of the findings; nothing is measured, and nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape

from surveylab.claims import Claim, render_badge
from surveylab.press.review_text import Sentence, chapters_of
from surveylab.press.site.evidence import Findings
from surveylab.press.site.markup import card_link, linked_badge, raw_html, unexamined
from surveylab.press.site.pages.ledger import numbers, summary


def corrections(findings: Findings) -> str:
    """What the evidence speaks against, in whole or in part, and what should stand in its place."""
    parts = [
        "# Corrections\n",
        "Where the evidence contradicts the review, or bears it out only in part: the review's sentence, "
        "what was found, and the sentence that the evidence puts in its place. Statements that the evidence "
        "leaves open are not listed here; the [ledger](ledger.md) has them.\n",
    ]
    found = 0
    for section in findings.review:
        entries = [
            entry
            for chapter in section.chapters
            for sentence in chapter.text
            if sentence.id and (entry := _correction(sentence, findings))
        ]
        if entries:
            parts += [f"## {section.title}\n", *entries]
            found += len(entries)
    if not found:
        parts.append("So far the evidence contradicts nothing in the review.\n")
    return "\n".join(parts)


def _correction(sentence: Sentence, findings: Findings) -> str:
    assert sentence.id
    claims = [c for c in findings.covering(sentence.id) if c.id in findings.evidence]
    verdict = findings.verdict(sentence.id)
    against = verdict in ("contradicted", "mixed") or any(
        findings.evidence[c.id].verdict == "contradicted" or c.corrects for c in claims
    )
    if not claims or not against:
        return ""
    better = _better(claims) or [
        '<p class="sl-label">In its place</p>',
        "<p>No sentence is put in its place: read the findings above as they stand.</p>",
    ]
    return _held_against(sentence, claims, findings, f"correction-{sentence.id}", better, card_link)


def conclusion(findings: Findings, chapter: str) -> str:
    """What a chapter's evidence says, statement by statement of the review; empty without evidence."""
    parts = []
    for sentence in next((c.text for c in chapters_of(findings.review) if c.name == chapter), ()):
        claims = [
            c
            for c in findings.covering(sentence.id or "")
            if c.id in findings.evidence and c.chapter == chapter
        ]
        if claims:
            place = f"concluded-{sentence.id}"
            parts.append(_held_against(sentence, claims, findings, place, _better(claims), _on_this_page))
    if not parts:
        return ""
    return "\n".join(
        [
            "## What the evidence says\n",
            "Each sentence of the review, the verdict on it, and what that rests on. Where the evidence asks "
            "for another sentence, it stands below.\n",
            *parts,
        ]
    )


def _on_this_page(claim: Claim) -> str:
    return f"#claim-{claim.id}"


def _better(claims: list[Claim]) -> list[str]:
    better = [f'<p class="sl-better">{escape(c.corrects)}</p>' for c in claims if c.corrects]
    return ['<p class="sl-label">In its place</p>', *better] if better else []


def _held_against(
    sentence: Sentence,
    claims: list[Claim],
    findings: Findings,
    place: str,
    better: list[str],
    href: Callable[[Claim], str],
) -> str:
    """A sentence of the review, the verdict on it, the claims that decide it, and what should replace it."""
    assert sentence.id
    found = [
        f"<li>{linked_badge(findings.evidence[c.id].verdict, href(c), c.id)} {escape(c.says)} "
        f"{escape(numbers(findings.evidence[c.id]))}</li>"
        for c in claims
    ]
    return raw_html(
        [
            f'<section class="sl-correction" id="{place}" aria-label="{sentence.id}">',
            f'<p class="sl-label">The review</p><blockquote><p>{escape(sentence.says)}</p></blockquote>',
            f'<p class="sl-label">The evidence {render_badge(findings.verdict(sentence.id))}</p><ul>',
            *found,
            "</ul>",
            *better,
            "</section>",
        ]
    )


def review(findings: Findings) -> str:
    """The whole review as running text, with the verdict on each sentence."""
    parts = [
        "# The review, sentence by sentence\n",
        "The review that this book examines, retold in its own order with one statement a sentence. It "
        "repeats what the review asserts, its slips included; the mark after a sentence is the verdict on "
        f"it and leads to the evidence. {unexamined()} marks what is not yet examined; sentences without a "
        "mark only connect.\n",
        summary(findings),
    ]
    for section in findings.review:
        parts.append(
            f"(review-{section.name})=\n## {section.title}\n\n{_paragraph(section.opens, findings)}\n"
        )
        for chapter in section.chapters:
            parts.append(f"### {chapter.title}\n\n{_paragraph(chapter.text, findings)}\n")
    return "\n".join(parts)


def _paragraph(text: tuple[Sentence, ...], findings: Findings) -> str:
    return "\n".join(_sentence(sentence, findings) for sentence in text)


def _sentence(sentence: Sentence, findings: Findings) -> str:
    text = _markdown(sentence.says)
    if sentence.cite:
        # The citation belongs inside the sentence, before its full stop.
        text = f"{text.removesuffix('.')} {{cite:p}}`{','.join(sentence.cite)}`."
    if sentence.id is None:
        return text
    claims = [c for c in findings.covering(sentence.id) if c.id in findings.evidence]
    if not claims:
        mark = unexamined()
    else:
        href = card_link(claims[0]) if len(claims) == 1 else f"ledger.html#statement-{sentence.id}"
        mark = linked_badge(findings.verdict(sentence.id), href, f"Evidence on {sentence.id}")
    return f'<span class="sl-sentence" id="review-{sentence.id}">{text} {mark}</span>'


def _markdown(text: str) -> str:
    """Text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>$#|~])", r"\\\1", text)
