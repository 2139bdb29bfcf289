"""What a claim was published with, and whether its history says so where that changed.

Whoever sees a result may be tempted to ask another question: a smaller margin, another effect, a sentence
that says the opposite. All may be right, and none may go unsaid. So a published chapter keeps the terms of
its claims, and a term that changed since asks for an entry in the claim's `history` that was not there
before, dated since. Nothing is executed, carried over or built until it is. A claim that is gone, has another
name or belongs to another chapter asks for an entry in `book/withdrawn.yml`. And editions are counted one by
one: the seed of a publication follows from the edition, so that whoever could skip some could choose a seed.

A chapter that was published before terms were kept has them in its evidence and cards, without the effect;
of its history only the dates tell what is new; claims that are gone, and editions, count only since terms
are kept. In a git checkout the versions that were committed before count too, so that a page and its record
rewritten together are found as well.
"""

from __future__ import annotations

import json
import re
import subprocess
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from surveylab.claims import Claim, Evidence, edition_of, record, render_markdown
from surveylab.press.project import Notebook, Project
from surveylab.press.run.withdrawn import Withdrawn, withdrawn

TERMS = (
    *("kind", "effect", "unit", "direction", "statistic", "margin", "says", "edition", "primary", "setting"),
    *("covers", "replicates"),
)
# What a message calls a term, where that is not its name.
_CALLED = {
    "says": "sentence",
    "primary": "`primary`",
    "covers": "list of covered statements",
    "replicates": "number of planned replicates",
}
# Of these only the words count: quotes, dashes, emphasis and capitals are typography.
_WORDED = ("effect", "says")


def terms_of(claims: Mapping[str, Claim]) -> dict[str, Any]:
    """The terms of claims, as a published chapter keeps them."""
    return {
        id: {name: _term(claim, name) for name in TERMS}
        | {"history": [[change.date, change.change] for change in claim.history]}
        for id, claim in sorted(claims.items())
    }


def _term(claim: Claim, name: str) -> Any:
    """A term as JSON gives it back."""
    value = getattr(claim, name)
    return list(value) if isinstance(value, tuple) else value


def silent_changes(
    project: Project, chapter: str, notebook: Notebook | None, path: Path, *, whole_history: bool = False
) -> list[str]:
    """Terms that are not those of the publication, and of which no history tells.

    Args:
        notebook: its published notebook, if there is one.
        path: where that lies.
        whole_history: whether to look at every committed version; by default at the last.

    Returns:
        A sentence for each claim, with what to write; one for each edition that was skipped.

    Raises:
        WrongUse: `book/withdrawn.yml` has a mistake.
    """
    found: dict[str, str] = {}
    claims = project.claims_of(chapter)
    gone = [entry for entry in withdrawn(project) if entry.chapter == chapter]
    committed = list(_committed(project.root, path, None if whole_history else 1))
    versions = [*([notebook] if notebook is not None else []), *committed]
    # Claims could be drafts, and editions were none, before the first publication that kept terms.
    counted = max((n for n, v in enumerate(versions, 1) if record.provenance_of(v).get("terms")), default=0)
    for number, version in enumerate(versions, 1):
        for id, said in _silent(claims, version, editions=number <= counted):
            found.setdefault(id, said)
    for version in versions[:counted]:
        for id, said in _missing(chapter, claims, gone, version):
            found.setdefault(id, said)
    editions = [edition_of(claims.values(), chapter), *map(_edition, versions[:counted])]
    return list(found.values()) + list(_skipped([e for e in editions if e is not None]))


def _edition(notebook: Notebook) -> int | None:
    """The edition with which a chapter was published; None where that was not kept."""
    kept = record.provenance_of(notebook).get("terms") or {}
    editions = [terms.get("edition") for terms in kept.values()]
    editions += [evidence.edition for evidence in _evidence(notebook).values()]
    return max((edition for edition in editions if edition is not None), default=None)


def _skipped(editions: list[int]) -> Iterator[str]:
    """A sentence for each edition that does not follow on the one published before it; the last one first."""
    for now, before in pairwise(editions):
        if now > before + 1:
            yield (
                f"its edition was published as {before} and then {now}; editions are counted one by one, so "
                f"write `edition: {before + 1}` in the claims that changed"
            )


def _missing(
    chapter: str, claims: Mapping[str, Claim], gone: list[Withdrawn], notebook: Notebook
) -> Iterator[tuple[str, str]]:
    """Claims that were published and that the chapter does not have, and of which no entry tells."""
    provenance = record.provenance_of(notebook)
    since = _day_before(str(provenance.get("executed", "")))
    evidence = _evidence(notebook)
    told = {entry.claim for entry in gone if entry.date >= since}
    for id in dict.fromkeys([*evidence, *(provenance.get("terms") or {})]):
        if id not in claims and id not in told:
            result = f" as {evidence[id].verdict}" if id in evidence else ""
            today = datetime.now(UTC).date().isoformat()
            yield (
                id,
                f"{id}: it was published{result} and is no claim of {chapter} any more; put it back, or add "
                f"to `book/withdrawn.yml` `- {{claim: {id}, chapter: {chapter}, date: {today}, why: ..., "
                "result: ...}`",
            )


def _evidence(notebook: Notebook) -> dict[str, Evidence]:
    try:
        return record.evidence_of(notebook)
    except record.RecordError:
        return {}


def _silent(claims: Mapping[str, Claim], notebook: Notebook, *, editions: bool) -> Iterator[tuple[str, str]]:
    provenance = record.provenance_of(notebook)
    kept = provenance.get("terms") or {}
    since = _day_before(str(provenance.get("executed", "")))
    evidence = _evidence(notebook)
    for id, claim in claims.items():
        if id not in kept and id not in evidence:
            continue
        # What neither the evidence of an old publication nor its terms tell cannot be compared.
        before: dict[str, Any] = {}
        if id in evidence:
            before = {name: getattr(evidence[id], name, None) for name in TERMS if name != "replicates"} | {
                "says": _said_on_card(notebook, claim, evidence[id])
            }
            left_out = () if editions else ("edition",)
            before = {n: value for n, value in before.items() if value is not None and n not in left_out}
        if id in kept:
            before |= kept[id]
        known = [tuple(entry) for entry in kept.get(id, {}).get("history", ())]
        new = [
            change
            for change in claim.history
            if change.date >= since and (change.date, change.change) not in known
        ]
        changed = [
            f"its {_CALLED.get(name, name)} was published as {_shown(before[name])} and is now {_shown(now)}"
            for name in TERMS
            if name in before and not _same(name, before[name], now := _term(claim, name))
        ]
        if changed and not new:
            today = datetime.now(UTC).date().isoformat()
            yield (
                id,
                f"{id}: {', '.join(changed)}, of which its `history` does not tell; add an entry: "
                f"`- {{date: {today}, change: ..., why: ..., result: ...}}`",
            )


def _day_before(executed: str) -> str:
    """The day before an execution, which is recorded in UTC: where the author lives it may have been that."""
    try:
        return (datetime.fromisoformat(executed) - timedelta(days=1)).date().isoformat()
    except ValueError:
        return ""


def _said_on_card(notebook: Notebook, claim: Claim, evidence: Evidence) -> str | None:
    """The sentence of a card, if it is not that of the claim; None if it is, or there is no card."""
    texts = record.cards_of(notebook).get(claim.id, ""), render_markdown(claim, evidence)
    shown, expected = ("\n\n".join(text.split("\n\n")[1:-1]) for text in texts)
    return shown if shown and _words(shown) != _words(expected) else None


def _same(name: str, before: Any, now: Any) -> bool:
    return _words(before) == _words(now) if name in _WORDED and before and now else bool(before == now)


def _words(text: str) -> list[str]:
    """A text without its typography; signs that change a number or a relation stay."""
    plain = unicodedata.normalize("NFKC", text).replace("−", "-").casefold()
    return re.findall(r"(?<!\w)[-+](?=\d)|[<>≤≥=≠]|\d+(?:\.\d+)?|[^\W\d_]+", plain)


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def _committed(root: Path, path: Path, most: int | None) -> Iterator[Notebook]:
    """The versions of a notebook that git has, the last first; none outside a checkout.

    Along the first parents: what a branch tried out before it was merged was not published.
    """
    try:
        name = path.resolve().relative_to(root.resolve()).as_posix()
        limit = [] if most is None else [f"--max-count={most}"]
        commits = _git(root, "log", "--first-parent", *limit, "--format=%H", "--", name).split()
    except (OSError, ValueError, subprocess.CalledProcessError):
        return
    for commit in commits:
        try:
            version = json.loads(_git(root, "show", f"{commit}:./{name}"))
        except (OSError, ValueError, subprocess.CalledProcessError):
            continue  # taken away by this commit, or no notebook
        if isinstance(version, dict) and isinstance(version.get("cells"), list):
            yield version


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, check=True, encoding="utf-8", timeout=60
    )
    return done.stdout
