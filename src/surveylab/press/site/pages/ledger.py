"""The ledger: every claim with its verdict and numbers, and what other pages say of numbers and verdicts.

Pages are MyST Markdown; where a table or a badge needs markup that Markdown lacks, it is plain HTML, with
every value escaped.
"""

from __future__ import annotations

from collections import Counter
from html import escape
from importlib.metadata import version

from surveylab.claims import BADGES, LEVEL, Claim, Evidence, render_badge
from surveylab.claims.registry import KINDS
from surveylab.claims.render import number, plain
from surveylab.press.review_text import Chapter, Section
from surveylab.press.site.evidence import UNEXAMINED, Findings
from surveylab.press.site.markup import card_link, linked_badge, raw_html

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


def ledger(findings: Findings) -> str:
    """Every claim with its verdict and numbers, by section, chapter and statement, with a form to filter."""
    percent = f"{100 * LEVEL:g}"
    table = [
        *_controls(findings),
        '<table class="sl-ledger">',
        '<caption class="sl-hidden">Claims and verdicts</caption>',
        '<thead><tr><th scope="col">Verdict</th><th scope="col">Claim</th>'
        f'<th scope="col">Estimate and {percent} % interval</th>'
        '<th scope="col">Margin</th><th scope="col">Runs</th></tr></thead>',
    ]
    shown: set[str] = set()
    for section in findings.review:
        chapters = [
            (c, rows) for c in section.chapters if (rows := _chapter_rows(c, section, findings, shown))
        ]
        if chapters:
            head = f'<a href="review.html#review-{section.name}">{escape(section.title)}</a>'
            table += _heading("sl-section", head, section.name)
        for chapter, rows in chapters:
            title = escape(chapter.title)
            if chapter.name in findings.executed:
                title = f'<a href="{chapter.name}.html">{title}</a>'
            table += _heading("sl-chapter", title, chapter.name) + rows
    table += [
        "</table>",
        '<p class="sl-nothing" hidden>No claim matches. <button type="button">Show all</button></p>',
    ]
    return "\n".join(
        [
            # The table needs the width that the list of a page's sections would take.
            "---\nhtml_theme.sidebar_secondary.remove: true\n---\n",
            "# Ledger\n",
            "Every claim of the book with its verdict. The bold line is the review's sentence; where several "
            "claims decide it, the badge before it is their verdict together. A claim links to its evidence. "
            f"The drawing shows estimate and interval in units of the claim's own margin, up to "
            f"{_REACH:g} margins to either side; inside the shaded band an effect is too small to matter.\n",
            f"{len(findings.examined)} of {len(findings.statements)} statements are examined so far, "
            f"by {len(findings.evidence)} claims. Every replicate's value: "
            "{download}`evidence.csv <evidence.csv>`.\n",
            raw_html(table),
        ]
    )


def _controls(findings: Findings) -> list[str]:
    """The form that filters and sorts. The page's script shows it: without one it would do nothing."""
    present = Counter(evidence.verdict for evidence in findings.evidence.values())
    boxes = [
        f'<label class="sl-{verdict}"><input type="checkbox" name="verdict" value="{verdict}">'
        f"{render_badge(verdict)} <span>{present[verdict]}</span></label>"
        for verdict in BADGES
        if present[verdict]
    ]
    covered = {claim.chapter.partition("/")[0] for claim in findings.claims.values()}
    sections = [(section.name, section.title) for section in findings.review if section.name in covered]
    kinds = [(kind, kind) for kind in KINDS if any(e.kind == kind for e in findings.evidence.values())]
    orders = [
        ("review", "as in the review"),
        ("verdict", "by verdict"),
        ("effect", "by size of effect, in margins"),
        ("id", "by name"),
    ]
    return [
        '<form class="sl-filter" role="search" aria-label="Claims" hidden>',
        '<label class="sl-find">Find '
        '<input type="search" id="sl-find" name="find" autocomplete="off"></label>',
        '<fieldset><legend class="sl-hidden">Verdict</legend>',
        *boxes,
        "</fieldset>",
        *_choice("sl-section", "Section", [("", "all"), *sections]),
        *_choice("sl-kind", "Kind", [("", "all"), *kinds]),
        *_choice("sl-sort", "Order", orders),
        '<output id="sl-shown"></output> <button type="reset">Show all</button>',
        "</form>",
    ]


def _choice(id: str, label: str, options: list[tuple[str, str]]) -> list[str]:
    items = "".join(f'<option value="{value}">{escape(text)}</option>' for value, text in options)
    return [f'<label>{label} <select id="{id}" name="{id.removeprefix("sl-")}">{items}</select></label>']


def _heading(kind: str, head: str, name: str) -> list[str]:
    return [
        f'<tbody class="{kind}" data-name="{name}"><tr>'
        f'<th scope="rowgroup" colspan="5">{head}</th></tr></tbody>'
    ]


def _chapter_rows(chapter: Chapter, section: Section, findings: Findings, shown: set[str]) -> list[str]:
    rows: list[str] = []
    for sentence in chapter.text:
        if sentence.id and (claims := findings.covering(sentence.id)):
            # One claim alone gives the statement its own verdict, which need not be said twice.
            badge = f"{render_badge(findings.verdict(sentence.id))} " if len(claims) > 1 else ""
            head = f"{badge}{escape(sentence.says)}"
            rows += _table_body(f"statement-{sentence.id}", head, claims, findings, shown)
    if extra := findings.beyond(chapter.name):
        name = f"beyond-{chapter.name.replace('/', '-')}"
        rows += _table_body(name, "Beyond the review", extra, findings, shown)
    return rows


def _table_body(
    anchor: str, head: str, claims: list[Claim], findings: Findings, shown: set[str]
) -> list[str]:
    rows = []
    for claim in claims:
        rows += _again(claim, findings) if claim.id in shown else _claim_row(claim, findings)
        shown.add(claim.id)
    return [
        f'<tbody id="{anchor}">',
        f'<tr class="sl-statement"><th scope="rowgroup" colspan="5">{head}</th></tr>',
        *rows,
        "</tbody>",
    ]


def _again(claim: Claim, findings: Findings) -> list[str]:
    """A claim that decides a second statement stands once in the table, under the first."""
    evidence = findings.evidence.get(claim.id)
    verdict = render_badge(evidence.verdict if evidence else UNEXAMINED)
    return [
        f'<tr class="sl-again"><td>{verdict}</td>'
        f'<td colspan="4"><a href="#ledger-{claim.id}">{escape(claim.says)}</a></td></tr>'
    ]


def _claim_row(claim: Claim, findings: Findings) -> list[str]:
    says, evidence = escape(claim.says), findings.evidence.get(claim.id)
    name = f'<span class="sl-id">{claim.id}</span>'
    if evidence is None:
        return [
            f'<tr class="sl-claim" {_data(claim, UNEXAMINED, None)}><td>{render_badge(UNEXAMINED)}</td>'
            f'<td colspan="4">{says} {name}</td></tr>'
        ]
    link = (
        f'<a class="sl-permalink" href="#ledger-{claim.id}" '
        f'aria-label="Permanent link to {claim.id}" title="Permanent link">#</a>'
    )
    cells = [
        ("Verdict", linked_badge(evidence.verdict, card_link(claim), claim.says)),
        (
            "Claim",
            f'<a href="{card_link(claim)}">{says}</a> <span class="sl-row-foot">{name} {link}</span>'
            f"{_citation(claim, evidence, findings)}{_history(claim)}",
        ),
        ("Estimate", _estimate(claim, evidence)),
        ("Margin", _margin(evidence)),
        ("Runs", " × ".join(map(str, evidence.replicates or [])) or "–"),
    ]
    body = "".join(f'<td data-label="{label}">{cell}</td>' for label, cell in cells)
    return [f'<tr class="sl-claim" {_data(claim, evidence.verdict, in_margins(evidence))}>{body}</tr>']


def _data(claim: Claim, verdict: str, effect: float | None) -> str:
    """What the page's script filters and sorts by."""
    values = {
        "verdict": verdict,
        "kind": claim.kind,
        "section": claim.chapter.partition("/")[0],
        "chapter": claim.chapter,
        "effect": "" if effect is None else f"{effect:.6g}",
    }
    return f'id="ledger-{claim.id}" ' + " ".join(f'data-{key}="{value}"' for key, value in values.items())


def _citation(claim: Claim, evidence: Evidence, findings: Findings) -> str:
    """How to cite one claim. The page's script completes the address: only there is it known."""
    word = BADGES[evidence.verdict][1]
    found = f"{word} {numbers(evidence)}".strip()
    executed = findings.executed.get(claim.chapter, "")[:10]
    says = claim.says.removesuffix(".")
    text = f"“{says}”: {found}. Claim {claim.id} of The executable survey, version {version('surveylab')}"
    text += f", executed {executed}" if executed else ""
    address = f"ledger.html#ledger-{claim.id}"
    return (
        f'<details class="sl-cite"><summary>Cite</summary><p>{escape(text)}, '
        f'<a class="sl-address" href="#ledger-{claim.id}">{address}</a></p></details>'
    )


def _history(claim: Claim) -> str:
    if not claim.history:
        return ""
    times = "once" if len(claim.history) == 1 else f"{len(claim.history)} times"
    changes = "".join(f"<p>{escape(c.date)}: {escape(c.change)} {escape(c.why)}</p>" for c in claim.history)
    return f'<details class="sl-history"><summary>Changed {times}</summary>{changes}</details>'


def in_margins(evidence: Evidence) -> float | None:
    """The estimate in units of the claim's margin; None where the margin is no scale of effects."""
    if evidence.estimate is None or not evidence.margin or evidence.kind == "identity":
        return None
    return evidence.estimate / evidence.margin


def numbers(evidence: Evidence) -> str:
    """Estimate and interval as plain text, in one parenthesis; empty where there are none."""
    if evidence.estimate is None:
        return ""
    unit = f" {evidence.unit}" if evidence.unit else ""
    if evidence.low is None or evidence.high is None:
        name = "largest error " if evidence.kind == "identity" else ""
        return f"({name}{number(evidence.estimate)}{unit})"
    return f"({number(evidence.estimate, sign=True)} {interval(evidence.low, evidence.high)}{unit})"


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
    """Both ends in brackets, each with its sign."""
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
