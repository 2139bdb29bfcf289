"""The ledger: every claim with its verdict and numbers, by section, chapter and statement."""

from __future__ import annotations

import json
from collections import Counter
from importlib.metadata import version
from typing import Any

from markupsafe import Markup

from surveylab.claims import BADGES, Claim, Evidence, standing
from surveylab.claims.registry import KINDS
from surveylab.press.review_text import Chapter
from surveylab.press.site.cards import bounds, told
from surveylab.press.site.evidence import Findings
from surveylab.press.site.rendering import REACH, numbers, render


def ledger(findings: Findings) -> str:
    """The page. Its form to filter and sort is shown by a script: without one it would do nothing."""
    shown: set[str] = set()
    sections = []
    for section in findings.review:
        chapters = [
            {"name": chapter.name, "title": chapter.title, "bodies": bodies}
            for chapter in section.chapters
            if (bodies := _bodies(chapter, findings, shown))
        ]
        if chapters:
            sections.append({"name": section.name, "title": section.title, "chapters": chapters})
    covered = {claim.chapter.partition("/")[0] for claim in findings.claims.values()}
    named = [(section.name, section.title) for section in findings.review if section.name in covered]
    kinds = [(kind, kind) for kind in KINDS if any(e.kind == kind for e in findings.evidence.values())]
    orders = [
        ("review", "as in the review"),
        ("verdict", "by verdict"),
        ("effect", "by size of effect, in margins"),
        ("id", "by name"),
    ]
    return render(
        "ledger.md",
        findings=findings,
        sections=sections,
        present=Counter(evidence.verdict for evidence in findings.evidence.values()),
        choices={
            "Section": {"name": "section", "rows": [("", "all"), *named]},
            "Kind": {"name": "kind", "rows": [("", "all"), *kinds]},
            "Order": {"name": "sort", "rows": orders},
        },
        citation=lambda claim, evidence: _citation(claim, evidence, findings),
        told=told,
        repeats=lambda claim: findings.repeats(findings.published.get(claim.id)),
        reviews=_claim_reviews(findings),
        bounds=bounds,
        standing=standing,
        signs=json.dumps(
            {name: [badge.sign, badge.word] for name, badge in BADGES.items()}, ensure_ascii=False
        ),
        strips=REACH,
    ).lstrip()


def _bodies(chapter: Chapter, findings: Findings, shown: set[str]) -> list[dict[str, Any]]:
    """The statements of a chapter, each with the claims that decide it."""

    def body(anchor: str, head: str, claims: list[Claim], verdict: str = "") -> dict[str, Any]:
        rows = [(claim, claim.id in shown) for claim in claims]
        shown.update(claim.id for claim in claims)
        return {"anchor": anchor, "head": head, "verdict": verdict, "claims": rows}

    bodies = []
    for sentence in chapter.text:
        if sentence.id and (claims := findings.covering(sentence.id)):
            # One claim alone gives the statement its own verdict, which need not be said twice.
            verdict = findings.verdict(sentence.id) if len(claims) > 1 else ""
            bodies.append(body(f"statement-{sentence.id}", sentence.says, claims, verdict))
    if extra := findings.beyond(chapter.name):
        bodies.append(body(f"beyond-{chapter.name.replace('/', '-')}", "Beyond the review", extra))
    return bodies


def _claim_reviews(findings: Findings) -> Markup:
    """Each claim at its permalink in the words of schema.org, for search engines."""
    reviews = [
        {
            "@type": "ClaimReview",
            "@id": f"#ledger-{id}",
            "url": f"#ledger-{id}",
            "claimReviewed": findings.claims[id].says,
            "datePublished": findings.executed.get(findings.claims[id].chapter, "")[:10],
            "author": {"@type": "Organization", "name": "The executable survey"},
            "reviewRating": {"@type": "Rating", "alternateName": BADGES[evidence.verdict].word},
            "abstract": numbers(evidence),
        }
        for id, evidence in findings.evidence.items()
    ]
    data = json.dumps({"@context": "https://schema.org", "@graph": reviews}, ensure_ascii=False)
    return Markup(data.replace("<", "\\u003c"))  # nothing in a text may close the script


def _citation(claim: Claim, evidence: Evidence, findings: Findings) -> str:
    """How to cite one claim. The page's script completes the address: only there is it known."""
    found = numbers(evidence)
    text = (
        f"“{claim.says.removesuffix('.')}”: {BADGES[evidence.verdict].word}{f' ({found})' if found else ''}."
    )
    text += f" Claim {claim.id} of The executable survey, version {version('surveylab')}"
    executed = findings.executed.get(claim.chapter, "")[:10]
    return text + (f", executed {executed}" if executed else "")
