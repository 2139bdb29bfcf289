"""The card of a claim on a chapter's page: made from claim and evidence, whatever the notebook showed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from markupsafe import Markup

from surveylab.claims import BADGES, NOT_SEEN, Change, Claim, Evidence, badge, because, standing
from surveylab.claims.arms import undertrained
from surveylab.claims.reasons import BUDGET, REPEATS_NOT, UNDERTRAINED
from surveylab.claims.render import factor, number, plain, with_unit
from surveylab.claims.replications import Repeats
from surveylab.press.console import counted
from surveylab.press.project import Notebook
from surveylab.press.site import basis
from surveylab.press.site.drawings import Plot, population_means
from surveylab.press.site.evidence import Findings
from surveylab.press.site.rendering import card_link, firmness, linked, render

_MOST_NAMED = 12
"""So many clusters are named."""

SIDE_BY_SIDE = "sl-cards"
"""The tag of a cell with several cards, which its page sets side by side."""


def put_cards(notebook: Notebook, name: str, findings: Findings, named: Mapping[str, str]) -> None:
    """Put a card in place of each check's output.

    Args:
        notebook: The page, which is changed.
        name: Its file, which says how deep it lies below the book's root.
        named: How each source is cited in running text.
    """
    root = "../" * name.count("/")
    places = {id: root + card_link(claim) for id, claim in findings.claims.items()}
    for cell in notebook["cells"]:
        checks = [(output, record) for output in cell.get("outputs", []) if (record := _record(output))]
        for output, record in checks:
            claim = findings.claims[str(record["claim"])]
            evidence = Evidence.from_metadata(record)
            card = render_card(
                claim, findings.shown(evidence), root, places, named, findings.repeats(evidence)
            )
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
    repeated: Repeats | None = None,
) -> str:
    """One card.

    Args:
        root: The way from the page to the book's root.
        places: Where the card of each claim is, seen from the page.
        named: How each source is cited in running text.
        repeated: How often the verdict came out again on other seeds, where that was tried.
    """
    sources = _sources(claim.cite, root, named or {})
    return render(
        "card.html",
        claim=claim,
        evidence=evidence,
        sources=sources,
        published=_published(claim, root, named or {}),
        standing="" if claim.kind == "source" else standing(claim),
        plot=Plot(claim, evidence) if Plot.drawn(evidence) else None,
        ratio=_ratio(evidence),
        left_open=_left_open(evidence),
        broken=_broken(claim, evidence, dict(places or {})),
        run=_run(evidence),
        firmness=firmness(evidence),
        repeated=repeated,
        facts=_facts(claim, evidence, sources, dict(places or {})) + _replications(claim, root, repeated),
        arms=basis.arms(evidence),
        guard=basis.guard(evidence),
        map=basis.scope_map(evidence),
        bounds=bounds(evidence),
        own=own(claim, evidence),
    )


def _sources(keys: Iterable[str], root: str, named: Mapping[str, str]) -> Markup:
    page = f"{root}references.html"
    links = [f'<a href="{page}">{escape(named.get(key, key))}</a>' for key in keys]
    return Markup("; ".join(links))


def _published(claim: Claim, root: str, named: Mapping[str, str]) -> Markup:
    """The source's own figure, with its place; empty without one."""
    if claim.published is None:
        return Markup()
    figure = with_unit(number(claim.published.value, sign=True), claim.unit)
    source = _sources([claim.published.source], root, named)
    return Markup(f"{escape(figure)}, {source}: {escape(claim.published.place)}")


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


def _broken(claim: Claim, evidence: Evidence, places: dict[str, str]) -> Markup:
    """What was measured, on the face of an identity that does not hold: a number alone would not say it."""
    if evidence.kind != "identity" or evidence.verdict in ("supported", "not-decided") or not claim.effect:
        return Markup()
    return Markup("Measured: ") + linked(claim.effect, places)


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
        ("Claim", Markup(f"<code>{escape(claim.id)}</code>, {escape(_kind(claim))}")),
    ]
    if not _left_open(evidence):  # else it stands on the face
        rows.append(("Reason", reason(evidence)))
    if claim.effect and not _broken(claim, evidence, places):  # else it stands on the face
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
    if shares := _shares(evidence):
        rows.append(("Shared", shares))
    if claim.pilot is not None:
        rows.append(("Pilot", _pilot(claim)))
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
    if claim.kind != "source":
        rows.append(("Standing", _standing(claim, evidence)))
    rows += [("Changed", linked(told(change), places)) for change in claim.history]
    if Plot.drawn(evidence):
        means = ", small dots the means of the populations" if evidence.kind == "experiment" else ""
        source = ", the diamond the source’s own figure" if claim.published else ""
        rows.append(
            (
                "Drawing",
                f"The large dot is the estimate, the bar its interval{means}{source}; what is too small to "
                "matter is shaded.",
            )
        )
    return rows


def _replications(claim: Claim, root: str, repeated: Repeats | None) -> list[tuple[str, str | Markup]]:
    """What came of a claim on other seeds, for what a card folds away."""
    if repeated is None:
        return []
    word = BADGES[badge(claim, repeated.verdict)].word
    runs = f'<a href="{root}replications.html">{counted(repeated.runs, "run")} on other seeds</a>'
    return [("Replications", Markup(f"{word} again in {repeated.repeated} of {runs}"))]


def _kind(claim: Claim) -> str:
    return f"{claim.kind}, decides its statement" if claim.primary else claim.kind


def _shares(evidence: Evidence) -> str:
    """Into how many clusters the replicates fall, with the names of the clusters if they are few."""
    if not evidence.clusters:
        return ""
    labels = [label for row in evidence.clusters for label in (row if isinstance(row, list) else [row])]
    clusters = list(dict.fromkeys(labels))
    names = [str(label) for label in clusters if isinstance(label, str)]
    named = f" ({', '.join(names)})" if len(names) == len(clusters) <= _MOST_NAMED else ""
    return (
        f"The {len(labels)} values come from {len(clusters)} clusters{named}. Values of one cluster share "
        f"something and count as one: the interval is over these {len(clusters)}."
    )


def _pilot(claim: Claim) -> str:
    """What the number of replicates was planned from."""
    assert claim.pilot is not None
    pilot = claim.pilot
    gave = with_unit(number(pilot.effect, sign=True), claim.unit)
    return (
        f"{pilot.replicates} replicates on seed {pilot.seed} gave {gave}, standard deviation "
        f"{number(pilot.spread)}; so {claim.replicates} replicates a population were planned."
    )


def _standing(claim: Claim, evidence: Evidence) -> str:
    """Registered or revised, in which edition."""
    edition = f" Edition {evidence.edition}." if evidence.edition else ""
    if standing(claim) == "registered":
        return f"Registered: unchanged since before its first result.{edition}"
    return f"Revised after a result was known, see below.{edition}"


def told(change: Change) -> str:
    """A change of a claim, in sentences."""
    said = f"{change.date}: {change.change.removesuffix('.')}. {change.why.removesuffix('.')}."
    return said if change.result is None else f"{said} Result before: {change.result.removesuffix('.')}."


def bounds(evidence: Evidence) -> str:
    """What decides a claim at any margin: interval, outermost population means (in margins), direction.

    Empty where no margin decides: without an interval, and where something else overrules it.
    """
    if evidence.low is None or evidence.high is None or not evidence.margin:
        return ""
    if evidence.reason in (UNDERTRAINED, BUDGET, REPEATS_NOT):
        return ""
    means = population_means(evidence) or [evidence.low, evidence.high]
    ends = (evidence.low, evidence.high, min(means), max(means))
    return " ".join([*(f"{end / evidence.margin:.9g}" for end in ends), str(evidence.direction)])


def own(claim: Claim, evidence: Evidence) -> str:
    """What the page's script needs to decide a claim by a reader's margin, as JSON."""
    against = NOT_SEEN if claim.setting == "scaled" else "contradicted"
    verdicts = ("supported", against, "negligible", "inconclusive")
    return json.dumps(
        {
            "badges": {name: [BADGES[name].sign, BADGES[name].word] for name in verdicts},
            "against": against,
            "margin": evidence.margin,
            "unit": with_unit("2", claim.unit).removeprefix("2"),
        },
        ensure_ascii=False,
    )
