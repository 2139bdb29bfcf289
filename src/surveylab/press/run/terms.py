"""What a claim was published with, and whether its history says so where that changed.

Whoever sees a result may be tempted to ask another question: a smaller margin, another effect, a sentence
that says the opposite. All may be right, and none may go unsaid. So a published chapter keeps the terms of
its claims, and a term that changed since asks for an entry in the claim's `history` that was not there
before, dated since. Nothing is executed, carried over or built until it is.

A chapter that was published before terms were kept has them in its evidence and cards, without the effect;
of its history only the dates tell what is new. In a git checkout the versions that
were committed before count too, so that a page and its record rewritten together are found as well.
"""

from __future__ import annotations

import json
import re
import subprocess
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from surveylab.claims import Claim, Evidence, record, render_markdown
from surveylab.press.project import Notebook, Project

#: The terms, and what to call each.
TERMS = {
    "kind": "kind",
    "effect": "effect",
    "unit": "unit",
    "direction": "direction",
    "statistic": "statistic",
    "margin": "margin",
    "says": "sentence",
}
# Of these only the words count: quotes, dashes, emphasis and capitals are typography.
_WORDED = ("effect", "says")


def terms_of(claims: Mapping[str, Claim]) -> dict[str, Any]:
    """The terms of claims, as a published chapter keeps them."""
    return {
        id: {name: getattr(claim, name) for name in TERMS}
        | {"history": [[change.date, change.change] for change in claim.history]}
        for id, claim in sorted(claims.items())
    }


def silent_changes(
    project: Project, chapter: str, notebook: Notebook | None, path: Path, *, whole_history: bool = False
) -> list[str]:
    """Terms that are not those of the publication, and of which no history tells.

    Args:
        project: the checkout.
        chapter: `section/chapter`.
        notebook: its published notebook, if there is one.
        path: where that lies.
        whole_history: whether to look at every committed version; by default at the last.

    Returns:
        A sentence for each claim, with what to write.
    """
    found: dict[str, str] = {}
    versions = [notebook] if notebook is not None else []
    for version in (*versions, *_committed(project.root, path, None if whole_history else 1)):
        for id, said in _silent(project.claims_of(chapter), version):
            found.setdefault(id, said)
    return list(found.values())


def _silent(claims: Mapping[str, Claim], notebook: Notebook) -> Iterator[tuple[str, str]]:
    provenance = record.provenance_of(notebook)
    kept = provenance.get("terms") or {}
    since = _day_before(str(provenance.get("executed", "")))
    try:
        evidence = record.evidence_of(notebook)
    except record.RecordError:
        evidence = {}
    for id, claim in claims.items():
        if id in kept:
            before, known = dict(kept[id]), [tuple(entry) for entry in kept[id].get("history", ())]
        elif id in evidence:
            before = {name: getattr(evidence[id], name, None) for name in TERMS} | {
                "says": _said_on_card(notebook, claim, evidence[id])
            }
            known = []
        else:
            continue
        new = [
            change
            for change in claim.history
            if change.date >= since and (change.date, change.change) not in known
        ]
        changed = [
            f"its {word} was published as {_shown(before[name])} and is now {_shown(getattr(claim, name))}"
            for name, word in TERMS.items()
            if before.get(name) is not None and not _same(name, before[name], getattr(claim, name))
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
    return _words(before) == _words(now) if name in _WORDED and now else bool(before == now)


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
