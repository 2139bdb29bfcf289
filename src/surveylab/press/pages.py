"""The pages that follow from the evidence: ledger, corrections, review, provenance, and the table of all values.

Everything here is a pure function of the claims, the evidence in the published notebooks and the review's text; nothing
is measured, and nothing is written. Pages are MyST Markdown; where a table or a badge needs markup that Markdown lacks,
it is plain HTML, with every value escaped.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from surveylab.claims import BADGES, LEVEL, Claim, Evidence, combine, render_badge
from surveylab.claims.render import number, plain
from surveylab.press.review import Chapter, Section, Sentence, chapters_of

UNEXAMINED = "missing"
"""What `combine` calls a statement without evidence."""

MEANINGS = {
    "supported": "The whole interval lies above the margin, and each group of runs agrees. For “on a par”: the whole "
    "interval lies within the margin.",
    "contradicted": "The whole interval lies beyond the margin on the other side: the opposite of the claim holds.",
    "negligible": "The whole interval lies within the margin: if there is an effect, it is too small to matter.",
    "inconclusive": "The interval reaches across the margin. The evidence decides nothing, and the book says how small "
    "an effect it could have shown.",
    "mixed": "A statement was split into several claims, and their verdicts differ.",
    "cited": "Only the literature can decide it; the source and the place in it are named.",
}


@dataclass(frozen=True)
class Findings:
    """What the pages are made of: the review, the claims, and the published evidence on each."""

    review: tuple[Section, ...]
    claims: Mapping[str, Claim]
    evidence: Mapping[str, Evidence]

    def covering(self, statement: str) -> list[Claim]:
        """The claims that decide a statement of the review."""
        return [claim for claim in self.claims.values() if statement in claim.covers]

    def beyond(self, chapter: str) -> list[Claim]:
        """The claims of a chapter that no sentence of the review makes."""
        return [c for c in self.claims.values() if c.chapter == chapter and not c.covers]

    def verdict(self, statement: str) -> str:
        """The verdict on a statement: that of its claims together."""
        return combine(self.evidence[c.id].verdict for c in self.covering(statement) if c.id in self.evidence)

    @property
    def statements(self) -> list[str]:
        """The ids of all checkable statements, in the review's order."""
        return [id for chapter in chapters_of(self.review) for id in chapter.statements]


def _card(claim: Claim) -> str:
    """Where a claim's evidence is shown, seen from a page at the top of the book."""
    edition = "full/" if claim.profile == "full" else ""
    return f"{edition}{claim.chapter}.html#claim-{claim.id}"


def _html(lines: list[str]) -> str:
    # Blank lines would end an HTML block in Markdown; in a directive they may stand.
    return "```{raw} html\n" + "\n".join(lines) + "\n```\n"


def _linked_badge(verdict: str, href: str, about: str) -> str:
    symbol, word = BADGES[verdict]
    return (
        f'<a class="sl-badge sl-{verdict}" href="{escape(href)}" title="{escape(about)}">'
        f'<span class="sl-mark" aria-hidden="true">{symbol}</span> {word}</a>'
    )


# ------------------------------------------------------------------------------------------------------------ ledger


def ledger(findings: Findings) -> str:
    """Every claim with its verdict and numbers, by section and statement."""
    examined = [s for s in findings.statements if findings.verdict(s) != UNEXAMINED]
    parts = [
        "# Ledger\n",
        "Every claim of the book with its verdict: the claim links to its evidence, the badge above a group gives the "
        "verdict on the review's sentence that the group decides. The drawing shows estimate and interval in units of "
        "the claim's own margin; inside the shaded band an effect is too small to matter.\n",
        f"{len(examined)} of {len(findings.statements)} statements are examined so far, "
        f"by {len(findings.evidence)} claims. All values: {{download}}`evidence.csv <evidence.csv>`.\n",
        summary(findings),
    ]
    for section in findings.review:
        tables = [table for chapter in section.chapters if (table := _chapter_table(chapter, findings))]
        if tables:
            parts += [f"## {section.title}\n", *tables]
    return "\n".join(parts)


def _chapter_table(chapter: Chapter, findings: Findings) -> str:
    bodies: list[str] = []
    for sentence in chapter.text:
        if sentence.id and (claims := findings.covering(sentence.id)):
            head = f"{render_badge(findings.verdict(sentence.id))} {escape(sentence.says)}"
            bodies += _table_body(f"statement-{sentence.id}", head, claims, findings)
    if extra := findings.beyond(chapter.name):
        bodies += _table_body(
            f"beyond-{chapter.name.replace('/', '-')}", "Beyond the review", extra, findings
        )
    if not bodies:
        return ""
    percent = f"{100 * LEVEL:g}"
    return f"### {chapter.title}\n\n" + _html(
        [
            '<table class="sl-ledger">',
            f'<caption class="sl-hidden">{escape(chapter.title)}: claims and verdicts</caption>',
            '<thead><tr><th scope="col">Verdict</th><th scope="col">Claim</th>'
            f'<th scope="col">Estimate and {percent} % interval</th>'
            '<th scope="col">Margin</th><th scope="col">Runs</th></tr></thead>',
            *bodies,
            "</table>",
        ]
    )


def _table_body(anchor: str, head: str, claims: list[Claim], findings: Findings) -> list[str]:
    rows = [row for claim in claims for row in _claim_row(claim, findings.evidence.get(claim.id))]
    return [
        f'<tbody id="{anchor}">',
        f'<tr class="sl-statement"><th scope="rowgroup" colspan="5">{head}</th></tr>',
        *rows,
        "</tbody>",
    ]


def _claim_row(claim: Claim, evidence: Evidence | None) -> list[str]:
    says = escape(claim.says)
    if evidence is None:
        return [
            f'<tr id="ledger-{claim.id}"><td>{render_badge(UNEXAMINED)}</td>'
            f'<td colspan="4">{says} <span class="sl-id">{claim.id}</span></td></tr>'
        ]
    history = "".join(
        f'<p class="sl-history">Changed {escape(c.date)}: {escape(c.change)} {escape(c.why)}</p>'
        for c in claim.history
    )
    cells = [
        ("Verdict", _linked_badge(evidence.verdict, _card(claim), claim.says)),
        ("Claim", f'<a href="{_card(claim)}">{says}</a> <span class="sl-id">{claim.id}</span>{history}'),
        ("Estimate", _estimate(claim, evidence)),
        ("Margin", _margin(evidence)),
        ("Runs", " × ".join(map(str, evidence.replicates or [])) or "–"),
    ]
    body = "".join(f'<td data-label="{label}">{cell}</td>' for label, cell in cells)
    return [f'<tr id="ledger-{claim.id}">{body}</tr>']


def _estimate(claim: Claim, evidence: Evidence) -> str:
    if evidence.estimate is None:
        return f'<span class="sl-place">{escape(claim.place or "")}</span>'
    unit = f" {escape(evidence.unit)}" if evidence.unit else ""
    if evidence.kind == "identity":
        return f"largest error {number(evidence.estimate)}{unit}"
    text = f'<span class="sl-number">{number(evidence.estimate, sign=True)}</span>'
    if evidence.low is not None and evidence.high is not None:
        text += f' <span class="sl-number">[{number(evidence.low, sign=True)}, {number(evidence.high, sign=True)}]</span>'
    text += unit + _strip(evidence)
    if evidence.verdict == "inconclusive" and evidence.detectable is not None:
        text += (
            f'<p class="sl-detectable">It could have shown {number(evidence.detectable)}{unit} or more.</p>'
        )
    return text


def _margin(evidence: Evidence) -> str:
    if evidence.margin is None:
        return "–"
    return ("±" if evidence.direction == "equivalent" else "") + plain(evidence.margin)


_REACH = 4.0  # the strip shows this many margins to either side; what lies beyond ends at its edge


def _strip(evidence: Evidence) -> str:
    """Estimate and interval in units of the margin: one scale for all claims. The numbers beside it say the same."""
    if evidence.estimate is None or evidence.low is None or evidence.high is None or not evidence.margin:
        return ""

    def at(value: float) -> float:
        assert evidence.margin
        inside = max(-_REACH, min(_REACH, value / evidence.margin))
        return 50 + 48 * inside / _REACH

    low, high, middle = at(evidence.low), at(evidence.high), at(evidence.estimate)
    band = 48 / _REACH
    return (
        f'<svg class="sl-strip sl-{evidence.verdict}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="sl-band" x="{50 - band:.2f}" y="0" width="{2 * band:.2f}" height="10"/>'
        f'<rect class="sl-zero" x="49.8" y="0" width="0.4" height="10"/>'
        f'<rect class="sl-bar" x="{low:.2f}" y="3.5" width="{max(high - low, 0.8):.2f}" height="3"/>'
        f'<rect class="sl-point" x="{middle - 0.8:.2f}" y="1" width="1.6" height="8"/></svg>'
    )


def summary(findings: Findings) -> str:
    """How many statements have which verdict, as a row of badges."""
    counts = Counter(findings.verdict(statement) for statement in findings.statements)
    items = [
        f'<li>{render_badge(verdict)} <span class="sl-count">{counts[verdict]}</span></li>'
        for verdict in BADGES
        if counts[verdict] and verdict != UNEXAMINED
    ]
    rest = counts[UNEXAMINED]
    if rest:
        items.append(
            f'<li><span class="sl-badge sl-missing">not yet examined</span> <span class="sl-count">{rest}</span></li>'
        )
    return _html(['<ul class="sl-summary" aria-label="Statements by verdict">', *items, "</ul>"])


def legend() -> str:
    """What each verdict means, as a definition list."""
    rows = [
        f"<div><dt>{render_badge(v)}</dt><dd>{escape(meaning)}</dd></div>" for v, meaning in MEANINGS.items()
    ]
    return _html(['<dl class="sl-legend">', *rows, "</dl>"])


# ------------------------------------------------------------------------------------------------------- corrections


def corrections(findings: Findings) -> str:
    """The statements that the evidence speaks against, in whole or in part, and what should stand in their place."""
    parts = [
        "# Corrections\n",
        "Where the evidence contradicts the review, or bears it out only in part: the review's sentence, what was found, "
        "and the sentence that the evidence puts in its place. Statements that the evidence leaves open are not listed "
        "here; the [ledger](ledger.md) has them.\n",
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
    found = [
        f"<li>{_linked_badge(findings.evidence[c.id].verdict, _card(c), c.id)} {escape(c.says)} "
        f"{_in_brief(findings.evidence[c.id])}</li>"
        for c in claims
    ]
    better = [f'<p class="sl-better">{escape(c.corrects)}</p>' for c in claims if c.corrects] or [
        "<p>No sentence is put in its place: read the findings above as they stand.</p>"
    ]
    return _html(
        [
            f'<section class="sl-correction" id="correction-{sentence.id}" aria-label="{escape(sentence.id)}">',
            f"<h3>The review</h3><blockquote><p>{escape(sentence.says)}</p></blockquote>",
            f"<h3>The evidence {render_badge(verdict)}</h3><ul>",
            *found,
            "</ul><h3>In its place</h3>",
            *better,
            "</section>",
        ]
    )


def _in_brief(evidence: Evidence) -> str:
    """Estimate and interval in one parenthesis."""
    if evidence.estimate is None:
        return ""
    unit = f" {escape(evidence.unit)}" if evidence.unit else ""
    if evidence.low is None or evidence.high is None:
        return f'<span class="sl-number">({number(evidence.estimate)}{unit})</span>'
    low, high = number(evidence.low, sign=True), number(evidence.high, sign=True)
    return f'<span class="sl-number">({number(evidence.estimate, sign=True)} [{low}, {high}]{unit})</span>'


# ------------------------------------------------------------------------------------------------------------ review


def review(findings: Findings) -> str:
    """The whole review as running text, with the verdict on each sentence."""
    parts = [
        "# The review, sentence by sentence\n",
        "The review that this book examines, retold in its own order with one statement a sentence. It repeats what the "
        "review asserts, its slips included; the mark after a sentence is the verdict on it and leads to the evidence. "
        f"{_unexamined()} marks what is not yet examined; sentences without a mark only connect.\n",
        summary(findings),
    ]
    for section in findings.review:
        parts.append(f"## {section.title}\n\n{_paragraph(section.opens, findings)}\n")
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
        mark = _unexamined()
    else:
        href = _card(claims[0]) if len(claims) == 1 else f"ledger.html#statement-{sentence.id}"
        mark = _linked_badge(findings.verdict(sentence.id), href, f"Evidence on {sentence.id}")
    return f'<span class="sl-sentence" id="review-{sentence.id}">{text} {mark}</span>'


def _unexamined() -> str:
    return '<span class="sl-open" title="not yet examined">○<span class="sl-hidden"> not yet examined</span></span>'


def _markdown(text: str) -> str:
    """Text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>$#|~])", r"\\\1", text)


# -------------------------------------------------------------------------------------------------------- provenance


def provenance(chapter: str, record: Mapping[str, Any], *, source: str | None) -> str:
    """The last section of a chapter: when, on what and from what it was executed.

    Args:
        chapter: `section/chapter`.
        record: What the press wrote into the notebook.
        source: Where the source notebook lies, for the download link, seen from the top of the book.
    """
    machine: Mapping[str, Any] = record.get("machine") or {}
    versions: Mapping[str, Any] = record.get("versions") or {}
    data: Mapping[str, Any] = record.get("data") or {}
    processor = ", ".join(
        str(part)
        for part in (
            machine.get("processor"),
            machine.get("capability"),
            f"{machine['threads']} threads" if machine.get("threads") not in (None, 1) else None,
            "1 thread" if machine.get("threads") == 1 else None,
        )
        if part
    )
    duration = record.get("duration")
    rows = [
        (
            "Executed",
            str(record.get("executed", "")).replace("T", " ").replace("+00:00", " UTC").replace("Z", " UTC"),
        ),
        ("Duration", f"{duration:g} s" if isinstance(duration, int | float) else ""),
        ("Profile", record.get("profile", "")),
        ("Seed", record.get("seed", "")),
        ("Device", ", ".join(str(p) for p in (record.get("device"), machine.get("accelerator")) if p)),
        ("Processor", processor),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Data", ", ".join(f"{name} (sha256 {str(sha)[:12]})" for name, sha in data.items())),
        ("Fingerprint", record.get("fingerprint", "")),
    ]
    facts = [
        f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in rows
        if str(value) not in ("", "None")
    ]
    parts = ["## Provenance\n"]
    parts.append(
        _html(['<dl class="sl-provenance">', *facts, "</dl>"])
        if facts
        else "This edition carries no record.\n"
    )
    if source:
        parts.append(f"Source: {{download}}`notebooks/{chapter}.ipynb </{source}>`. ")
    parts.append(f"Run it again and compare: `surveylab verify {chapter}`.")
    return "\n".join(parts)


# ------------------------------------------------------------------------------------------------------ evidence.csv

COLUMNS = (
    "claim statements chapter kind verdict estimate low high margin direction statistic unit level profile seed data "
    "population replicate value"
).split()


def evidence_table(findings: Findings) -> str:
    """Every value of every claim as CSV, one row a value; a claim that rests on a source has one row without."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for id, claim in findings.claims.items():
        evidence = findings.evidence.get(id)
        if evidence is None:
            continue
        head = [id, " ".join(claim.covers), claim.chapter, claim.kind, evidence.verdict]
        head += [evidence.estimate, evidence.low, evidence.high, evidence.margin, evidence.direction]
        head += [evidence.statistic, evidence.unit, evidence.level, evidence.profile, evidence.seed]
        head.append((evidence.data or {}).get("name"))
        values = evidence.values or [None]
        rows = values if isinstance(values[0], list) else [values]
        for population, row in enumerate(rows):
            for replicate, value in enumerate(row):
                writer.writerow(
                    [*head, population, replicate, value] if value is not None else [*head, "", "", ""]
                )
    return out.getvalue()
