"""A verdict to look at: the card under a check, the badge beside a sentence, the line of text.

All of it follows from claim and evidence alone, to the last character, so that a published card can be
recomputed and a changed digit found. Colours live in ``book/_static/survey.css``; without it the card still
reads, in words and order. A verdict is always a symbol and a word, never a colour alone.
"""

from __future__ import annotations

import math
from html import escape

from surveylab.claims.evidence import Evidence
from surveylab.claims.registry import Claim

#: The symbol and the word for each verdict, those of statements included.
BADGES = {
    "supported": ("✓", "supported"),
    "contradicted": ("✗", "contradicted"),
    "negligible": ("≈", "negligible"),
    "inconclusive": ("?", "inconclusive"),
    "not-decided": ("…", "not decided"),
    "cited": ("§", "cited"),
    "mixed": ("±", "mixed"),
    "missing": ("∅", "missing"),
}

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MINUS = "\N{MINUS SIGN}"
_TIMES = "\N{MULTIPLICATION SIGN}"
_NOBREAK = "\N{NO-BREAK SPACE}"


def render_text(evidence: Evidence) -> str:
    """The verdict as one line, for the terminal and for comparison: ``bn-axis: supported``."""
    return f"{evidence.claim}: {evidence.verdict}"


def render_badge(verdict: str) -> str:
    """The verdict as a small label."""
    symbol, word = BADGES[verdict]
    mark = f'<span class="sl-mark" aria-hidden="true">{symbol}</span>'
    return f'<span class="sl-badge sl-{verdict}">{mark} {word}</span>'


def render_html(claim: Claim, evidence: Evidence) -> str:
    """The verdict as a card: statement, result, drawing, the reason in words, and the facts behind it."""
    return "\n".join(
        [
            f'<article class="sl-card sl-{evidence.verdict}" id="claim-{escape(claim.id)}">',
            '<div class="sl-head">',
            f'{render_badge(evidence.verdict)} <span class="sl-id"><code>{escape(claim.id)}</code> '
            f'<span class="sl-kind">{escape(claim.kind)}</span></span>',
            "</div>",
            f'<p class="sl-says sl-words">{escape(claim.says)}</p>',
            *_result(claim, evidence),
            *_figure(evidence),
            f'<p class="sl-reason">{escape(_reason(evidence))}</p>',
            '<dl class="sl-facts">',
            *_facts(claim, evidence),
            "</dl>",
            "</article>",
            "",
        ]
    )


def number(value: float, *, sign: bool = False) -> str:
    """A number to three significant digits, as print has it: a true minus sign, powers of ten."""
    return _typeset(value, 3, sign)


def plain(value: float) -> str:
    """A number that someone chose, such as a margin: as short as it was written."""
    text = f"{value:.12g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        power = f"10{str(int(exponent)).translate(_SUPERSCRIPT)}"
        text = power if mantissa == "1" else f"{mantissa}{_TIMES}{power}"
    return text.replace("-", _MINUS)


def _typeset(value: float, digits: int, sign: bool) -> str:
    if value == 0:
        return "0"
    mantissa, exponent = f"{abs(value):.{digits - 1}e}".split("e")  # rounds first: 0.9996 has exponent 0
    power = int(exponent)
    if -4 <= power <= 4:
        rounded = float(f"{mantissa}e{power}")
        text = f"{rounded:.{max(0, digits - 1 - power)}f}"
    else:
        text = f"{mantissa}{_TIMES}10{str(power).translate(_SUPERSCRIPT)}"
    return (_MINUS if value < 0 else "+" if sign else "") + text


def _with_unit(text: str, unit: str | None) -> str:
    """A number that is already text, and its unit: 1 point, 2 points, 1 share of replicates."""
    if not unit:
        return text
    one = text.lstrip(f"±+{_MINUS}") == "1" and " of " not in unit
    return f"{text}{_NOBREAK}{unit.removesuffix('s') if one else unit}"


def _percent(level: float | None) -> str:
    return f"{100 * (level or 0):g}{_NOBREAK}%"


def _factor(value: float) -> str:
    """A logarithm of a ratio as the ratio."""
    return f"{_TIMES}{number(math.exp(value))}" if abs(value) < 700 else "out of range"


def _result(claim: Claim, evidence: Evidence) -> list[str]:
    """The line with the number, and what the number is."""
    if evidence.estimate is None:
        place = escape(claim.place or "")
        keys = ", ".join(f"<code>{escape(key)}</code>" for key in claim.cite)
        return [f'<p class="sl-result sl-words">Rests on {keys}{": " if place else ""}{place}</p>']
    if evidence.kind == "identity":
        assert evidence.margin is not None
        relation = "≤" if evidence.estimate <= evidence.margin else ">"
        tolerance = _with_unit(plain(evidence.margin), evidence.unit)
        number_html = (
            f'largest error <strong class="sl-estimate">{number(evidence.estimate)}</strong> '
            f"{escape(relation)} tolerance{_NOBREAK}{escape(tolerance)}"
            f", {(evidence.replicates or [0])[0]} random inputs"
        )
    else:
        estimate = _with_unit(number(evidence.estimate, sign=True), evidence.unit)
        number_html = f'<strong class="sl-estimate">{escape(estimate)}</strong>'
        if evidence.low is not None and evidence.high is not None:
            bounds = f"{number(evidence.low, sign=True)} to {number(evidence.high, sign=True)}"
            number_html += f' <span class="sl-interval">{_percent(evidence.level)} interval {bounds}</span>'
        if evidence.kind == "measurement":
            factor = f"a factor of {_factor(evidence.estimate)}"
            if evidence.low is not None and evidence.high is not None:
                factor += f", {_factor(evidence.low)} to {_factor(evidence.high)}"
            number_html += f' <span class="sl-factor">{factor}</span>'
    return [
        f'<p class="sl-result">{number_html}</p>',
        f'<p class="sl-effect">{escape(claim.effect or "")}</p>',
    ]


def _means(evidence: Evidence) -> list[float]:
    if evidence.kind != "experiment" or evidence.values is None:
        return []
    return [math.fsum(row) / len(row) for row in evidence.values]


def _reason(evidence: Evidence) -> str:
    """Why the verdict is what it is, in words."""
    verdict, margin, unit = evidence.verdict, evidence.margin, evidence.unit
    if verdict == "not-decided":
        return "A smoke run shows that the chapter runs; it is too short to decide anything."
    if verdict == "cited":
        return "No run of this book can decide it; the literature does."
    assert margin is not None and evidence.estimate is not None
    band = _with_unit(f"±{plain(margin)}", unit)
    if evidence.kind == "identity":
        return {
            "supported": "Every input tried stays within the tolerance.",
            "contradicted": "At least one input breaks the tolerance.",
        }[verdict]
    also = ", and so does the mean of every population" if evidence.kind == "experiment" else ""
    if evidence.direction == "equivalent" and verdict in ("supported", "contradicted"):
        where = "inside" if verdict == "supported" else "outside"
        end = "no difference that would matter" if verdict == "supported" else "a difference that matters"
        return f"The whole interval lies {where} {band}: {end}."
    if verdict == "supported":
        return f"The whole interval lies above the margin of {_with_unit(plain(margin), unit)}{also}."
    if verdict == "contradicted":
        edge = f"{_MINUS}{_with_unit(plain(margin), unit)}"
        return f"The whole interval lies below {edge}{also}: the effect runs the other way."
    if verdict == "negligible":
        return f"The whole interval lies inside {band}: if there is an effect, it is too small to matter."
    if evidence.low is None or evidence.high is None or evidence.detectable is None:
        return "All values are equal. Without spread there is no telling how far chance could move them."
    if evidence.direction != "equivalent" and (evidence.low > margin or evidence.high < -margin):
        return "The interval lies beyond the margin, but the mean of a population does not: they disagree."
    reach = _with_unit(number(evidence.detectable), unit)
    return f"The interval meets the edge of {band}. The smallest effect this run could have shown is {reach}."


def _facts(claim: Claim, evidence: Evidence) -> list[str]:
    rows: list[tuple[str, str, bool]] = []  # name, text, whether it is wording alone
    if evidence.margin is not None:
        equal = evidence.direction == "equivalent"
        name = "Tolerance" if evidence.kind == "identity" else "Margin"
        margin = f"{'±' if equal else ''}{_with_unit(plain(evidence.margin), evidence.unit)}"
        if evidence.kind == "measurement":
            margin += f" (a factor of {_factor(evidence.margin)})"
        rows.append((name, margin, False))
    if claim.why:
        reasons = {"identity": "Why this tolerance", "source": "Why cited"}
        rows.append((reasons.get(evidence.kind, "Why this margin"), claim.why, True))
    if evidence.replicates:
        rows.append(("Runs", _replicates(evidence), False))
    if evidence.statistic == "sign" and evidence.values is not None:
        signs = [value for row in evidence.values for value in row]
        counts = f"{signs.count(1)} for, {signs.count(0)} even, {signs.count(-1)} against, of {len(signs)}"
        rows.append(("Count", counts, False))
    if evidence.data:
        rows.append(("Data", f"{evidence.data['name']}, sha256 {evidence.data['sha256'][:12]}", False))
    if claim.scope:
        rows.append(("Scope", claim.scope, True))
    if claim.note:
        rows.append(("Note", claim.note, True))
    if evidence.kind != "source" and claim.cite:
        rows.append(("Sources", ", ".join(claim.cite) + (f": {claim.place}" if claim.place else ""), True))
    rows += [("Changed", f"{c.date}: {c.change}. {c.why}", True) for c in claim.history]
    return [
        f'<div class="sl-fact{" sl-words" if words else ""}"><dt>{name}</dt><dd>{escape(text)}</dd></div>'
        for name, text, words in rows
    ]


def _replicates(evidence: Evidence) -> str:
    assert evidence.replicates is not None
    count = evidence.replicates[-1]
    if evidence.kind == "identity":
        what = f"{count} inputs"
    elif evidence.kind == "measurement":
        what = f"{count} interleaved pairs"
    else:
        what = f"{evidence.replicates[0]} populations {_TIMES} {count} replicates"
    return f"{what}, profile {evidence.profile}, seed {evidence.seed}"


# The drawing. Horizontal positions are percentages, so that it fits any width while its text keeps its size.
_HEIGHT = 86
_BAR = 26
_DOTS = 46
_AXIS = 60


def _figure(evidence: Evidence) -> list[str]:
    """The interval against the margin, and the population means, on one axis."""
    if evidence.estimate is None or evidence.margin is None or evidence.kind == "identity":
        return []
    estimate, margin, means = evidence.estimate, evidence.margin, _means(evidence)
    low = estimate if evidence.low is None else evidence.low
    high = estimate if evidence.high is None else evidence.high
    left, right = min(low, -margin, *means, 0.0), max(high, margin, *means, 0.0)
    room = 0.08 * (right - left)
    left, right = left - room, right + room

    def at(value: float) -> str:
        return f"{100 * (value - left) / (right - left):.2f}%"

    def span(a: float, b: float) -> str:
        return f'x="{at(a)}" width="{100 * (b - a) / (right - left):.2f}%"'

    label = f"Estimate {number(estimate, sign=True)}"
    if evidence.low is not None:
        label += (
            f", {_percent(evidence.level)} interval {number(low, sign=True)} to {number(high, sign=True)}"
        )
    label += f", margin ±{_with_unit(plain(margin), evidence.unit)}"
    if means:
        label += ", population means " + ", ".join(number(mean, sign=True) for mean in means)
    lines = [
        '<figure class="sl-figure">',
        f'<svg class="sl-plot" role="img" aria-label="{escape(label)}" width="100%" height="{_HEIGHT}">',
        f'<rect class="sl-band" {span(-margin, margin)} y="6" height="{_AXIS - 6}" fill="currentColor"'
        ' fill-opacity="0.12"/>',
        f'<line class="sl-axis" x1="0" x2="100%" y1="{_AXIS}" y2="{_AXIS}" stroke="currentColor"'
        ' stroke-opacity="0.5"/>',
        f'<line class="sl-zero" x1="{at(0)}" x2="{at(0)}" y1="6" y2="{_AXIS}" stroke="currentColor"/>',
    ]
    for tick in _ticks(left, right):
        lines.append(
            f'<line class="sl-axis" x1="{at(tick)}" x2="{at(tick)}" y1="{_AXIS}" y2="{_AXIS + 5}"'
            f' stroke="currentColor" stroke-opacity="0.5"/>'
            f'<text class="sl-tick" x="{at(tick)}" y="{_AXIS + 19}" text-anchor="middle" font-size="12"'
            f' fill="currentColor">{plain(tick)}</text>'
        )
    if evidence.low is not None:
        lines.append(
            f'<rect class="sl-bar" {span(low, high)} y="{_BAR - 4}" height="8" rx="4" fill="currentColor"'
            ' fill-opacity="0.45"/>'
        )
    lines.append(f'<circle class="sl-dot" cx="{at(estimate)}" cy="{_BAR}" r="6" fill="currentColor"/>')
    lines += [
        f'<circle class="sl-mean" cx="{at(mean)}" cy="{_DOTS}" r="3" fill="currentColor" fill-opacity="0.7"/>'
        for mean in means
    ]
    parts = ["bar: interval, large dot: estimate"] if evidence.low is not None else ["large dot: estimate"]
    if means:
        parts.append(f"small dots: means of the {len(means)} populations")
    parts.append("shaded: too small to matter")
    caption = "; ".join(parts)
    lines += [
        "</svg>",
        f'<figcaption><div class="sl-unit">{escape(evidence.unit or "")}</div>'
        f'<div class="sl-key">{caption}</div></figcaption>',
        "</figure>",
    ]
    return lines


def _ticks(left: float, right: float) -> list[float]:
    """At most six round numbers, far enough from the ends for their labels."""
    room = 0.05 * (right - left)
    for power in range(math.floor(math.log10(right - left)) - 1, 400):
        for base in (1.0, 2.0, 5.0):
            step = float(f"{base}e{power}")
            first, last = math.ceil((left + room) / step), math.floor((right - room) / step)
            if last - first < 6:
                return [float(f"{i * step:.10g}") for i in range(first, last + 1)]
    raise AssertionError(
        "a range of floats holds fewer than five powers of ten above its own"
    )  # pragma: no cover
