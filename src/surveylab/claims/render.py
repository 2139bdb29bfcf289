"""A verdict in words and numbers: what a notebook shows under a check, and how every page writes a number.

The pages draw their cards from the evidence itself (`surveylab.press.site.cards`). What is written here
stands in the notebook, wherever that is opened, and follows from claim and evidence to the last character.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from surveylab.claims.badges import BADGES
from surveylab.claims.evidence import Evidence
from surveylab.claims.registry import Claim

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MINUS = "\N{MINUS SIGN}"
_TIMES = "\N{MULTIPLICATION SIGN}"
_NOBREAK = "\N{NO-BREAK SPACE}"
# Of which base a unit is the logarithm of a ratio.
_BASES = {"octaves": 2.0, "decades": 10.0, "log": math.e}


def render_text(evidence: Evidence) -> str:
    """The verdict as one line, for the terminal and for comparison: ``bn-axis: supported``."""
    return f"{evidence.claim}: {evidence.verdict}"


def render_markdown(claim: Claim, evidence: Evidence) -> str:
    """The verdict as three paragraphs: badge and id, the claim in words, the numbers."""
    badge = BADGES[evidence.verdict]
    said = claim.says + (f" ({claim.place})" if evidence.kind == "source" else "")
    return f"**{badge.sign} {badge.word}** `{claim.id}`\n\n{said}\n\n{result(evidence)}\n"


def render_summary(checked: Iterable[Evidence]) -> str:
    """A table of claims with their verdicts and numbers, in Markdown."""
    rows = [
        f"| `{found.claim}` | {BADGES[found.verdict].sign} {BADGES[found.verdict].word} | {result(found)} |"
        for found in checked
    ]
    return "\n".join(["| claim | verdict | estimate and 99 % interval |", "|---|---|---|", *rows])


def result(evidence: Evidence) -> str:
    """The numbers in words: estimate, interval and margin; the factor, where the unit is a logarithm."""
    if evidence.estimate is None:
        return "Rests on the literature."
    assert evidence.margin is not None
    if evidence.kind == "identity":
        relation = "≤" if evidence.estimate <= evidence.margin else ">"
        tolerance = with_unit(plain(evidence.margin), evidence.unit)
        return f"Largest error {number(evidence.estimate)} {relation} tolerance {tolerance}."
    text = with_unit(number(evidence.estimate, sign=True), evidence.unit)
    if factors := factor(evidence, evidence.estimate):
        text += f" ({factors})"
    if evidence.low is not None and evidence.high is not None:
        bounds = f"{number(evidence.low, sign=True)} to {number(evidence.high, sign=True)}"
        text += f", {percent(evidence.level)} interval {bounds}"
    return f"{text}; margin {plain(evidence.margin)}."


def number(value: float, *, sign: bool = False) -> str:
    """A number to three significant digits, as print has it: a true minus sign, powers of ten."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{abs(value):.2e}".split("e")  # rounds first: 0.9996 has exponent 0
    power = int(exponent)
    if -4 <= power <= 4:
        rounded = float(f"{mantissa}e{power}")
        text = f"{rounded:.{max(0, 2 - power)}f}"
    else:
        text = f"{mantissa}{_TIMES}10{str(power).translate(_SUPERSCRIPT)}"
    return (_MINUS if value < 0 else "+" if sign else "") + text


def plain(value: float) -> str:
    """A number that someone chose, such as a margin: as short as it was written."""
    text = f"{value:.12g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        power = f"10{str(int(exponent)).translate(_SUPERSCRIPT)}"
        text = power if mantissa == "1" else f"{mantissa}{_TIMES}{power}"
    return text.replace("-", _MINUS)


def with_unit(text: str, unit: str | None) -> str:
    """A number that is already text, and its unit: 1 point, 2 points, 1 share of replicates."""
    if not unit:
        return text
    if unit == "log":
        unit = "in logarithm"
    one = text.lstrip(f"±+{_MINUS}") == "1" and " of " not in unit and len(unit) > 1  # s: the second
    return f"{text}{_NOBREAK}{unit.removesuffix('s') if one else unit}"


def percent(level: float | None) -> str:
    """A level of confidence: 99 %."""
    return f"{100 * (level or 0):g}{_NOBREAK}%"


def factor(evidence: Evidence, value: float) -> str:
    """The ratio of which a value is the logarithm, as ×1.37; empty where it is none."""
    base = math.e if evidence.kind == "measurement" else _BASES.get(evidence.unit or "")
    if base is None or abs(value) * math.log(base) > 700:
        return ""
    return f"{_TIMES}{number(base**value)}"
