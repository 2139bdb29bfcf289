"""The card of a claim on a chapter's page: made from claim and evidence, whatever the notebook showed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from itertools import chain
from statistics import fmean
from typing import Any

from markupsafe import Markup

from surveylab.claims import NOT_SEEN, Arm, Change, Claim, Evidence, because
from surveylab.claims.arms import has_learnt, undertrained
from surveylab.claims.reasons import BUDGET, REPEATS_NOT, UNDERTRAINED
from surveylab.claims.render import factor, number, percent, plain, with_unit
from surveylab.press.project import Notebook
from surveylab.press.site.evidence import Findings, shown
from surveylab.press.site.rendering import card_link, firmness, linked, render

SIDE_BY_SIDE = "sl-cards"
"""The tag of a cell with several cards, which its page sets side by side."""


def put_cards(notebook: Notebook, name: str, findings: Findings, named: Mapping[str, str]) -> None:
    """Put a card in place of each check's output.

    Args:
        notebook: The page, which is changed.
        name: Its file, which says how deep it lies below the book's root.
        findings: The claims.
        named: How each source is cited in running text.
    """
    root = "../" * name.count("/")
    places = {id: root + card_link(claim) for id, claim in findings.claims.items()}
    for cell in notebook["cells"]:
        checks = [(output, record) for output in cell.get("outputs", []) if (record := _record(output))]
        for output, record in checks:
            claim = findings.claims[str(record["claim"])]
            card = render_card(claim, shown(claim, Evidence.from_metadata(record)), root, places, named)
            output["data"] = {"text/html": card}
        if len(checks) > 1:
            tags = cell["metadata"].setdefault("tags", [])
            cell["metadata"]["tags"] = [*tags, SIDE_BY_SIDE]


def _record(output: Mapping[str, Any]) -> dict[str, Any] | None:
    record = output.get("metadata", {}).get("surveylab")
    return record if record and "claim" in record else None


def render_card(
    claim: Claim,
    evidence: Evidence,
    root: str = "",
    places: Mapping[str, str] | None = None,
    named: Mapping[str, str] | None = None,
) -> str:
    """One card.

    Args:
        claim: The claim.
        evidence: What was found.
        root: The way from the page to the book's root.
        places: Where the card of each claim is, seen from the page.
        named: How each source is cited in running text.
    """
    sources = _sources(claim, root, named or {})
    return render(
        "card.html",
        claim=claim,
        evidence=evidence,
        sources=sources,
        plot=Plot(evidence) if Plot.drawn(evidence) else None,
        ratio=_ratio(evidence),
        left_open=_left_open(evidence),
        run=_run(evidence),
        firmness=firmness(evidence),
        facts=_facts(claim, evidence, sources, dict(places or {})),
    )


def _sources(claim: Claim, root: str, named: Mapping[str, str]) -> Markup:
    page = f"{root}references.html"
    links = [f'<a href="{page}">{escape(named.get(key, key))}</a>' for key in claim.cite]
    return Markup("; ".join(links))


def _ratio(evidence: Evidence) -> str:
    if evidence.estimate is None or not (ratio := factor(evidence, evidence.estimate)):
        return ""
    if evidence.low is None or evidence.high is None:
        return ratio
    return f"{ratio} ({factor(evidence, evidence.low)} to {factor(evidence, evidence.high)})"


def reason(evidence: Evidence) -> str:
    """Why the verdict is what it is, in words."""
    verdict, margin, unit = evidence.verdict, evidence.margin, evidence.unit
    if verdict == "not-decided":
        return "A smoke run shows that the chapter runs; it is too short to decide anything."
    if verdict == "cited":
        return "No run of this book can decide it; the literature does."
    assert margin is not None and evidence.estimate is not None
    size = with_unit(plain(margin), unit)
    if evidence.kind == "identity":
        return {
            "supported": "Every input tried stays within the tolerance.",
            "contradicted": "At least one input breaks the tolerance.",
            NOT_SEEN: "At least one input breaks the tolerance.",
        }[verdict]
    also = ", and so does the mean of every population" if evidence.kind == "experiment" else ""
    if evidence.direction == "equivalent" and verdict in ("supported", "contradicted", NOT_SEEN):
        where = "inside" if verdict == "supported" else "outside"
        end = "no difference that would matter" if verdict == "supported" else "a difference that matters"
        return f"The whole interval lies {where} ±{size}: {end}."
    if verdict == "supported":
        return f"The whole interval lies above the margin of {size}{also}."
    if verdict in ("contradicted", NOT_SEEN):
        small = " Only a setting smaller than the statement's own speaks." if verdict == NOT_SEEN else ""
        return f"The whole interval lies below −{size}{also}: the effect runs the other way.{small}"
    if verdict == "negligible":
        return f"The whole interval lies inside ±{size}: if there is an effect, it is too small to matter."
    if evidence.reason == UNDERTRAINED:
        names = undertrained(evidence.arms or {})
        what = "no arm had" if len(names) == len(evidence.arms or {}) > 1 else f"{'; '.join(names)} had not"
        return f"Undertrained: {what} finished learning."
    if evidence.reason in (BUDGET, REPEATS_NOT):
        # The interval may decide, but something else speaks first.
        return _sentence(because(evidence) or "")
    if evidence.low is None or evidence.high is None or evidence.detectable is None:
        return "All values are equal. Without spread there is no telling how far chance could move them."
    if evidence.direction != "equivalent" and (evidence.low > margin or evidence.high < -margin):
        return "The interval lies beyond the margin, but the mean of a population does not: they disagree."
    reach = with_unit(number(evidence.detectable), unit)
    said = because(evidence)
    first = _sentence(said) if said else f"The interval meets the edge of ±{size}."
    return f"{first} The smallest effect this run could have shown is {reach}."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _left_open(evidence: Evidence) -> str:
    """What the face of a card says where nothing is decided: the end of the reason; else nothing."""
    if evidence.verdict not in ("inconclusive", "not-decided"):
        return ""
    return reason(evidence)


def _run(evidence: Evidence) -> str:
    """One line of what was run."""
    if not evidence.replicates:
        return ""
    count = evidence.replicates[-1]
    if evidence.kind == "identity":
        what = f"{count} random inputs"
    elif evidence.kind == "measurement":
        what = f"{count} interleaved pairs"
    else:
        what = f"{evidence.replicates[0]} populations × {count} replicates"
    data = f" on {evidence.data['name']}" if evidence.data else ""
    return f"{what}{data}"


def _facts(
    claim: Claim, evidence: Evidence, sources: Markup, places: dict[str, str]
) -> list[tuple[str, str | Markup]]:
    """What a card folds away, as pairs of a name and a text."""
    rows: list[tuple[str, str | Markup]] = [
        ("Claim", Markup(f"<code>{escape(claim.id)}</code>, {escape(claim.kind)}")),
        ("Reason", reason(evidence)),
    ]
    if claim.effect:
        rows.append(("One value", linked(claim.effect, places)))
    if evidence.margin is not None:
        equal = "±" if evidence.direction == "equivalent" else ""
        margin = equal + with_unit(plain(evidence.margin), evidence.unit)
        if ratio := factor(evidence, evidence.margin):
            margin += f" (a factor of {ratio})"
        rows.append(("Tolerance" if evidence.kind == "identity" else "Margin", margin))
    if claim.why:
        reasons = {"identity": "Why this tolerance", "source": "Why cited"}
        rows.append((reasons.get(evidence.kind, "Why this margin"), linked(claim.why, places)))
    if evidence.statistic == "sign" and evidence.values is not None:
        signs = [value for row in evidence.values for value in row]
        counts = f"{signs.count(1)} for, {signs.count(0)} even, {signs.count(-1)} against, of {len(signs)}"
        rows.append(("Count", counts))
    for name, arm in (evidence.arms or {}).items():
        rows.append((f"Arm {name}", _arm(arm)))
    if evidence.replicates:
        rows.append(("Run", f"profile {evidence.profile}, seed {evidence.seed}"))
    if evidence.data:
        rows.append(("Data", f"{evidence.data['name']}, sha256 {evidence.data['sha256'][:12]}"))
    if claim.scope:
        rows.append(("Scope", linked(claim.scope, places)))
    if claim.note:
        rows.append(("Note", linked(claim.note, places)))
    if evidence.kind != "source" and claim.cite:
        place = f": {escape(claim.place)}" if claim.place else ""
        rows.append(("Sources", sources + Markup(place)))
    rows += [("Changed", linked(told(change), places)) for change in claim.history]
    if Plot.drawn(evidence):
        means = ", small dots the means of the populations" if evidence.kind == "experiment" else ""
        rows.append(
            (
                "Drawing",
                f"The large dot is the estimate, the bar its interval{means}; what is too small to matter "
                "is shaded.",
            )
        )
    return rows


def _arm(arm: Arm) -> str:
    """What an arm reached, as means over the replicates."""
    parts = [f"scored {plain(round(fmean(chain.from_iterable(arm.values)), 2))}"]
    if arm.accuracy is not None:
        parts.append(f"{fmean(chain.from_iterable(arm.accuracy)):.1f} % of its training data right")
    if arm.loss is not None:
        parts.append(f"training loss {number(fmean(chain.from_iterable(arm.loss)))}")
    return ", ".join(parts) + ("" if has_learnt(arm) else "; it had not finished learning")


def told(change: Change) -> str:
    """A change of a claim, in sentences."""
    return f"{change.date}: {change.change.removesuffix('.')}. {change.why.removesuffix('.')}."


def population_means(evidence: Evidence) -> list[float]:
    """The mean of each population of an experiment; none for other kinds."""
    if evidence.kind != "experiment" or evidence.values is None:
        return []
    return [math.fsum(row) / len(row) for row in evidence.values]


class Plot:
    """The interval against the margin, and the population means, on one axis.

    Horizontal positions are percentages, so that the drawing fits any width while its text keeps its size.
    """

    def __init__(self, evidence: Evidence) -> None:
        assert evidence.estimate is not None and evidence.margin is not None
        estimate, margin = evidence.estimate, evidence.margin
        self.means = population_means(evidence)
        low = estimate if evidence.low is None else evidence.low
        high = estimate if evidence.high is None else evidence.high
        left, right = min(low, -margin, *self.means, 0.0), max(high, margin, *self.means, 0.0)
        room = 0.08 * (right - left)
        self.left, self.right = left - room, right + room
        said = [f"Estimate {number(estimate, sign=True)}"]
        if evidence.low is not None:
            said.append(
                f"{percent(evidence.level)} interval {number(low, sign=True)} to {number(high, sign=True)}"
            )
        said.append(f"margin ±{with_unit(plain(margin), evidence.unit)}")
        if self.means:
            said.append("population means " + ", ".join(number(mean, sign=True) for mean in self.means))
        self.label = ", ".join(said)

    @staticmethod
    def drawn(evidence: Evidence) -> bool:
        """Whether there is an effect to draw."""
        return evidence.margin is not None and evidence.kind != "identity"

    def at(self, value: float) -> str:
        """Where a value stands, in per cent of the width."""
        return f"{100 * (value - self.left) / (self.right - self.left):.2f}%"

    def span(self, low: float, high: float) -> str:
        """How wide the way between two values is, likewise."""
        return f"{100 * (high - low) / (self.right - self.left):.2f}%"

    @property
    def ticks(self) -> list[float]:
        """At most six round numbers, far enough from the ends for their labels."""
        width = self.right - self.left
        room = 0.05 * width
        power = math.floor(math.log10(width)) - 1
        while True:
            for base in (1.0, 2.0, 5.0):
                step = float(f"{base}e{power}")
                first, last = math.ceil((self.left + room) / step), math.floor((self.right - room) / step)
                if last - first < 6:
                    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]
            power += 1
