"""The pages that hold the review against the evidence: the review as running text, corrections, answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from docutils.nodes import make_id

from surveylab.claims import BADGES, NOT_SEEN, Claim, Evidence, evidence_of, standing
from surveylab.press.project import Notebook, text_of
from surveylab.press.review_text import Chapter, Sentence, chapters_of
from surveylab.press.site.evidence import Findings
from surveylab.press.site.rendering import render

ANSWERS = (
    "Does not hold",
    "Not seen in a small setting",
    "Holds in part",
    "Holds",
    "Known from the literature alone",
    "Open",
)
"""In which order the front page gives its answers: first what a reader of the review would get wrong."""


@dataclass(frozen=True)
class Correction:
    """A sentence of the review, the verdict on it, the claims that decide it, and what should replace it."""

    sentence: Sentence
    verdict: str
    claims: list[tuple[Claim, Evidence]]
    better: list[str]


def review(findings: Findings) -> str:
    """The whole review as running text, with the verdict on each sentence."""
    return render("review.md", findings=findings, summary=summary(findings))


def corrections(findings: Findings) -> str:
    """What the evidence speaks against, in whole or in part, and what should stand in its place."""
    sections = []
    for section in findings.review:
        chapters = [
            {"title": chapter.title, "entries": entries}
            for chapter in section.chapters
            if (entries := list(_corrected(chapter, findings)))
        ]
        if chapters:
            sections.append({"title": section.title, "chapters": chapters})
    return render("corrections.md", sections=sections)


def chapter_corrections(findings: Findings, name: str) -> str:
    """The corrections that one chapter's claims ask for; empty without any."""
    chapter = next((c for c in chapters_of(findings.review) if c.name == name), None)
    entries = list(_corrected(chapter, findings)) if chapter else []
    if not entries:
        return ""
    return render("chapter_corrections.md", entries=entries, root="../" * name.count("/"))


def _corrected(chapter: Chapter, findings: Findings) -> Iterable[Correction]:
    for sentence in chapter.text:
        if not sentence.id:
            continue
        claims = findings.decided(sentence)
        verdict, better = findings.verdict(sentence.id), findings.better(sentence)
        against = any(evidence.verdict in ("contradicted", NOT_SEEN) for _, evidence in claims)
        if claims and (verdict in ("contradicted", NOT_SEEN, "mixed") or against or better):
            yield Correction(sentence, verdict, claims, better)


def chapter_answers(notebook: Notebook, findings: Findings) -> str:
    """A chapter's claims with their verdicts, under the headings that examine them; empty without any."""
    parts: list[tuple[str, str, list[tuple[Claim, Evidence]]]] = []
    heading = ""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            found = [line[3:].strip() for line in text_of(cell).splitlines() if line.startswith("## ")]
            heading = found[-1] if found else heading
            continue
        evidence = evidence_of({"cells": [cell]})
        claims = findings.claims
        rows = [(claims[id], findings.shown(e)) for id, e in evidence.items() if id in claims]
        if rows and parts and parts[-1][0] == heading:
            parts[-1][2].extend(rows)
        elif rows:
            parts.append((heading, make_id(heading), rows))
    return render("chapter_answers.md", parts=parts) if parts else ""


def answers(findings: Findings) -> str:
    """What holds, what does not and what is open, a sentence each, by section of the review."""
    sections, waiting = [], []
    for section in findings.review:
        examined = findings.examined_of(section)
        if not examined:
            waiting.append((section.title, len(section.statements)))
            continue
        groups: dict[str, list[tuple[Sentence, str, str, list[str]]]] = {answer: [] for answer in ANSWERS}
        for sentence in examined:
            assert sentence.id
            verdict = findings.verdict(sentence.id)
            row = (sentence, verdict, findings.leads_to(sentence), findings.better(sentence))
            groups[BADGES[verdict].answer].append(row)
        shown = {answer: rows for answer, rows in groups.items() if rows}
        claims = [findings.claims[id] for id in findings.evidence if id in findings.claims]
        claims = [claim for claim in claims if claim.chapter.startswith(f"{section.name}/")]
        sections.append(
            {
                "title": section.title,
                "examined": len(examined),
                "total": len(section.statements),
                "claims": len(claims),
                "revised": sum(claim.kind != "source" and standing(claim) == "revised" for claim in claims),
                "groups": shown,
            }
        )
    return render("answers.md", sections=sections, waiting=waiting)


def summary(findings: Findings) -> str:
    """How many statements have which verdict, as a row of badges."""
    return render("summary.md", what="Statements", counts=findings.counts)


def claim_summary(findings: Findings) -> str:
    """How many claims have which verdict, likewise."""
    counts = Counter(evidence.verdict for evidence in findings.evidence.values())
    return render("summary.md", what="Claims", counts=counts)
