"""The ledger: every claim with its verdict and numbers; and the badges that all generated pages share.

Pages are MyST Markdown; where a table or a badge needs markup that Markdown lacks, it is plain HTML, with
every value escaped.
"""

from __future__ import annotations

from collections import Counter
from html import escape

from surveylab.claims import BADGES, LEVEL, Claim, Evidence, render_badge
from surveylab.claims.render import number, plain
from surveylab.press.findings import UNEXAMINED, Findings
from surveylab.press.review import Chapter

MEANINGS = {
    "supported": "The whole interval lies above the margin, and so does the mean of each population of "
    "runs. A claim of parity: the whole interval lies within the margin.",
    "contradicted": "The whole interval lies beyond the margin on the other side: the opposite holds.",
    "negligible": "The whole interval lies within the margin: if there is an effect, it is too "
    "small to matter.",
    "inconclusive": "The interval reaches across the margin. The run decides nothing, and the book says how "
    "small an effect it could have shown.",
    "mixed": "A statement was split into several claims, and those decided disagree.",
    "cited": "Only the literature can decide it; the source and the place in it are named.",
}


def card(claim: Claim) -> str:
    """Where a claim's evidence is shown, seen from a page at the top of the book."""
    edition = "full/" if claim.profile == "full" else ""
    return f"{edition}{claim.chapter}.html#claim-{claim.id}"


def raw_html(lines: list[str]) -> str:
    # Blank lines would end an HTML block in Markdown; in a directive they may stand.
    return "```{raw} html\n" + "\n".join(lines) + "\n```\n"


def linked_badge(verdict: str, href: str, about: str) -> str:
    symbol, word = BADGES[verdict]
    return (
        f'<a class="sl-badge sl-{verdict}" href="{escape(href)}" title="{escape(about)}">'
        f'<span class="sl-mark" aria-hidden="true">{symbol}</span> {word}</a>'
    )


def ledger(findings: Findings) -> str:
    """Every claim with its verdict and numbers, by section and statement."""
    parts = [
        "# Ledger\n",
        "Every claim of the book with its verdict. The bold line is the review's sentence, and the badge "
        "before it the verdict of its claims together; a claim links to its evidence. The drawing shows "
        f"estimate and interval in units of the claim's own margin, up to {_REACH:g} margins to either side; "
        "inside the shaded band an effect is too small to matter.\n",
        f"{len(findings.examined)} of {len(findings.statements)} statements are examined so far, "
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
            # One claim alone gives the statement its own verdict, which need not be said twice.
            badge = f"{render_badge(findings.verdict(sentence.id))} " if len(claims) > 1 else ""
            head = f"{badge}{escape(sentence.says)}"
            bodies += _table_body(f"statement-{sentence.id}", head, claims, findings)
    if extra := findings.beyond(chapter.name):
        bodies += _table_body(
            f"beyond-{chapter.name.replace('/', '-')}", "Beyond the review", extra, findings
        )
    if not bodies:
        return ""
    percent = f"{100 * LEVEL:g}"
    return f"### {chapter.title}\n\n" + raw_html(
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
        ("Verdict", linked_badge(evidence.verdict, card(claim), claim.says)),
        ("Claim", f'<a href="{card(claim)}">{says}</a> <span class="sl-id">{claim.id}</span>{history}'),
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
        text += f' <span class="sl-number">{interval(evidence.low, evidence.high)}</span>'
    text += unit + _strip(evidence)
    if evidence.verdict == "inconclusive" and evidence.detectable is not None:
        text += (
            f'<p class="sl-detectable">It could have shown {number(evidence.detectable)}{unit} or more.</p>'
        )
    return text


def interval(low: float, high: float) -> str:
    return f"[{number(low, sign=True)}, {number(high, sign=True)}]"


def _margin(evidence: Evidence) -> str:
    if evidence.margin is None:
        return "–"
    return ("±" if evidence.direction == "equivalent" else "") + plain(evidence.margin)


_REACH = 4.0  # the strip shows this many margins to either side; what lies beyond ends at its edge


def _strip(evidence: Evidence) -> str:
    """Estimate and interval in units of the margin: one scale for all. The numbers beside it say the same."""
    if evidence.estimate is None or evidence.low is None or evidence.high is None or not evidence.margin:
        return ""

    def at(value: float) -> float:
        assert evidence.margin
        return 50 + 48 * max(-_REACH, min(_REACH, value / evidence.margin)) / _REACH

    low, high, middle = at(evidence.low), at(evidence.high), at(evidence.estimate)
    band = 48 / _REACH
    return (
        f'<svg class="sl-strip sl-{evidence.verdict}" width="100%" height="14" aria-hidden="true">'
        f'<rect class="sl-band" x="{50 - band:.2f}%" width="{2 * band:.2f}%" height="14"/>'
        '<line class="sl-zero" x1="50%" x2="50%" y2="14"/>'
        f'<rect class="sl-bar" x="{low:.2f}%" width="{high - low:.2f}%" y="4" height="6" rx="3"/>'
        f'<circle class="sl-dot" cx="{middle:.2f}%" cy="7" r="5"/></svg>'
    )


def summary(findings: Findings) -> str:
    """How many statements have which verdict, as a row of badges."""
    counts = Counter(findings.verdict(statement) for statement in findings.statements)
    items = [
        f'<li>{render_badge(verdict)} <span class="sl-count">{counts[verdict]}</span></li>'
        for verdict in BADGES
        if counts[verdict] and verdict != UNEXAMINED
    ]
    if rest := counts[UNEXAMINED]:
        badge = f'<span class="sl-badge sl-{UNEXAMINED}">not yet examined</span>'
        items.append(f'<li>{badge} <span class="sl-count">{rest}</span></li>')
    return raw_html(['<ul class="sl-summary" aria-label="Statements by verdict">', *items, "</ul>"])


def legend() -> str:
    """What each verdict means, as a definition list."""
    rows = [
        f"<div><dt>{render_badge(v)}</dt><dd>{escape(meaning)}</dd></div>" for v, meaning in MEANINGS.items()
    ]
    return raw_html(['<dl class="sl-legend">', *rows, "</dl>"])
