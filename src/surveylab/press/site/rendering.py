"""Templates to text: Jinja2 with every value escaped, and the words and numbers that several pages share."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from surveylab.claims import BADGES, FIRM, LEVEL, Claim, Evidence
from surveylab.claims.render import factor, number, percent, plain, with_unit
from surveylab.press.console import counted

REACH = 4.0
"""So many margins to either side a strip shows; what lies beyond ends at its edge."""


def render(template: str, **context: Any) -> Markup:
    """Fill a template of `surveylab.press.site.templates`. The result may stand in another one as it is."""
    return Markup(_environment().get_template(template).render(context))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("surveylab.press.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "BADGES": BADGES,
        "LEVEL": LEVEL,
        "card_link": card_link,
        "counted": counted,
        "firmness": firmness,
        "in_margins": in_margins,
        "numbers": numbers,
        "percent": percent,
        "on_strip": on_strip,
    }
    environment.filters |= {
        "number": number,
        "signed": lambda value: number(value, sign=True),
        "plain": plain,
        "with_unit": with_unit,
        "markdown": markdown,
    }
    return environment


def firmness(evidence: Evidence) -> str:
    """Whether a verdict would come out again, in words; empty where no interval decides."""
    if evidence.firmness is None or evidence.verdict in ("inconclusive", "not-decided"):
        return ""
    if evidence.firmness >= FIRM:
        return "firm"
    return f"not firm: again in {round(100 * evidence.firmness)} of 100 runs"


def card_link(claim: Claim) -> str:
    """Where a claim's evidence is shown, seen from a page at the top of the book."""
    edition = "full/" if claim.profile == "full" else ""
    return f"{edition}{claim.chapter}.html#claim-{claim.id}"


def markdown(text: str) -> Markup:
    """Text as Markdown that shows it as it is."""
    return Markup(re.sub(r"([\\`*_{}\[\]<>$#|~])", r"\\\1", text))


def linked(text: str, claims: dict[str, str]) -> Markup:
    """Text in which the id of a claim leads to that claim; `claims` says where each one's card is."""

    def link(match: re.Match[str]) -> str:
        href = claims.get(match[0])
        return f'<a href="{escape(href)}"><code>{match[0]}</code></a>' if href else match[0]

    return Markup(re.sub(r"[a-z0-9]+(?:-[a-z0-9]+)+", link, escape(text)))


def in_margins(evidence: Evidence) -> float | None:
    """The estimate in units of the claim's margin; None where the margin is no scale of effects."""
    if evidence.estimate is None or not evidence.margin or evidence.kind == "identity":
        return None
    return evidence.estimate / evidence.margin


def numbers(evidence: Evidence) -> str:
    """Estimate and interval as plain text; empty where there are none."""
    if evidence.estimate is None:
        return ""
    if evidence.low is None or evidence.high is None:
        text = with_unit(number(evidence.estimate), evidence.unit)
        if evidence.kind != "identity" or evidence.margin is None:
            return text
        if evidence.estimate <= evidence.margin:
            return f"largest error {text}"
        return f"{text}, allowed {plain(evidence.margin)}"
    text = with_unit(number(evidence.estimate, sign=True), evidence.unit)
    ratio = factor(evidence, evidence.estimate)
    bounds = f"[{number(evidence.low, sign=True)}, {number(evidence.high, sign=True)}]"
    return f"{text}{f' ({ratio})' if ratio else ''} {bounds}"


def on_strip(evidence: Evidence, value: float) -> float:
    """Where a value stands on a strip that is scaled by the claim's margin, in per cent of its width."""
    assert evidence.margin
    return 50 + 48 * max(-REACH, min(REACH, value / evidence.margin)) / REACH
