"""Which chapters are fresh, and why the others are not."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from surveylab.claims import record
from surveylab.press.console import seconds, table
from surveylab.press.project import ChapterFailed, Notebook, Project, listed, own_cells, text_of
from surveylab.press.run.fingerprint import Fingerprint, fingerprint
from surveylab.press.run.refresh import refresh
from surveylab.press.run.sources import read_source
from surveylab.press.run.terms import silent_changes

FRESH, REWORD, STALE, NEVER, UNREADABLE = "fresh", "reworded", "stale", "never run", "unreadable"
SILENT = "changed silently"


@dataclass(frozen=True)
class State:
    """How a chapter stands.

    Args:
        kind: fresh; reworded (only text changed: `run` carries it over without executing); stale; never run;
            unreadable; changed silently (a published term of a claim changed and its history does not tell:
            nothing is executed or carried over until it does).
        reasons: why it is not fresh.
        notebook: the executed notebook, where it can be read.
        now: the fingerprint of the working tree, where it can be computed.
        refreshed: the text of the file with the new wording, for a reworded chapter.
    """

    chapter: str
    kind: str
    reasons: list[str] = field(default_factory=list)
    notebook: Notebook | None = None
    now: Fingerprint | None = None
    refreshed: str | None = None


def state_of(
    project: Project,
    chapter: str,
    *,
    profile: str = "standard",
    seed: int | None = None,
    path: Path | None = None,
) -> State:
    """Compare an executed chapter with the working tree.

    Args:
        seed: of the run; by default the one on which the chapter is published.
        path: the executed notebook; default where that profile is published.

    Raises:
        PressError: the *source* or the library cannot be read; that is no state but a mistake to fix.
    """
    published = project.published(chapter, profile)
    path = path or published
    now = fingerprint(project, chapter, profile=profile, seed=seed)
    if not path.exists():
        silent = silent_changes(project, chapter, None, path) if path == published else []
        return State(chapter, SILENT if silent else NEVER, silent, now=now)
    try:
        notebook = record.read_notebook(path)
        record.evidence_of(notebook)
        stored = record.provenance_of(notebook)
    except record.RecordError as error:
        return State(chapter, UNREADABLE, [str(error)], now=now)
    if not stored:
        return State(chapter, STALE, ["it carries no provenance: the press did not write it"], notebook, now)
    silent = silent_changes(project, chapter, notebook, path) if path == published else []
    reasons = now.changes(stored.get("parts") or {})
    if not reasons:
        reasons = code_differences(project, chapter, notebook)
    if silent:
        return State(chapter, SILENT, silent + reasons, notebook, now)
    if reasons:
        return State(chapter, STALE, reasons, notebook, now)
    return _reworded_or_fresh(project, State(chapter, FRESH, notebook=notebook, now=now), path, profile)


def _reworded_or_fresh(project: Project, state: State, path: Path, profile: str) -> State:
    assert state.now is not None
    refreshed = refresh(project, state.chapter, path, state.now)
    wrong = contradictions(project, state.chapter, json.loads(refreshed)) if profile != "smoke" else []
    if wrong:
        return replace(state, kind=STALE, reasons=wrong)
    if refreshed == path.read_text(encoding="utf-8"):
        return state
    assert state.notebook is not None
    new = json.loads(refreshed)
    wording = [f"{_wording_changes(state, new)}; nothing to execute", *_sentences(state.notebook, new)]
    return replace(state, kind=REWORD, reasons=wording, refreshed=refreshed)


def _wording_changes(state: State, refreshed: Notebook) -> str:
    assert state.notebook is not None and state.now is not None
    stored = (record.provenance_of(state.notebook) or {}).get("parts") or {}
    found = ["text or titles changed"] if state.now.parts["text"] != stored.get("text") else []
    before, after = _cards(state.notebook), _cards(refreshed)
    if claims := [id for id in after if after[id] != before.get(id)]:
        found.append(f"wording of claims changed: {listed(claims)}")
    return "; ".join(found or ["tags or layout changed"])


def _sentences(before: Notebook, after: Notebook) -> list[str]:
    """Each sentence that changed, beside its earlier wording: whether it says the same needs a look."""
    old, new = (
        {id: " ".join(text.split("\n\n")[1:-1]) for id, text in record.cards_of(notebook).items()}
        for notebook in (before, after)
    )
    return [f"{id}: '{old[id]}' -> '{new[id]}'" for id in new if id in old and old[id] != new[id]]


def _cards(notebook: Notebook) -> dict[str, str]:
    """What a notebook shows of each claim."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    records = [(output.get("metadata", {}).get("surveylab", {}), output) for output in outputs]
    return {found["claim"]: json.dumps(output["data"]) for found, output in records if "claim" in found}


def contradictions(project: Project, chapter: str, notebook: Notebook) -> list[str]:
    """Everything in a notebook's evidence that does not follow from its values and the claims."""
    return record.recompute(project.claims, notebook, chapter=chapter)


def code_differences(project: Project, chapter: str, published: Notebook, *, text: bool = False) -> list[str]:
    """Say which cells of a published chapter are not its source's.

    The stored fingerprint tells what the source was when the chapter was executed; this tells whether the
    page still shows that source.

    Args:
        text: whether to compare text cells too.
    """
    kinds = ("code", "markdown", "raw") if text else ("code",)
    source = read_source(project, chapter)
    ours, theirs = (
        [(n, c["cell_type"], text_of(c)) for n, c in enumerate(own_cells(nb), 1) if c["cell_type"] in kinds]
        for nb in (source, published)
    )
    found = [
        f"cell {n} ({kind}) of the published chapter is not that of the source"
        for (n, kind, content), (_, other, shown) in zip(ours, theirs, strict=False)
        if (kind, content) != (other, shown)
    ]
    if len(ours) != len(theirs):
        found.append(f"the published chapter has {len(theirs)} cells where the source has {len(ours)}")
    return found + _parameter_differences(published)


def _parameter_differences(published: Notebook) -> list[str]:
    """The injected cell is in no source: hold it to the provenance."""
    own = {id(cell) for cell in own_cells(published)}
    added = [text_of(cell) for cell in published["cells"] if id(cell) not in own]
    if len(added) != 1:
        return [f"the published chapter has {len(added)} cells of injected parameters, not one"]
    given = dict(re.findall(r"^(\w+) = (.*)$", added[0], flags=re.MULTILINE))
    stored = record.provenance_of(published) or {}
    return [
        f"the injected parameters say {name} = {given.get(name)}, the provenance {stored.get(name)!r}"
        for name in ("profile", "seed")
        if given.get(name, "").strip("'\"") != str(stored.get(name))
    ]


def verdict_counts(notebook: Notebook) -> str:
    """`9 supported, 2 inconclusive`, in the order of how often."""
    counts = Counter(evidence.verdict for evidence in record.evidence_of(notebook).values())
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common()) or "no claims"


def status(project: Project, chapters: list[str]) -> tuple[str, bool]:
    """Lay out how all chapters stand, and whether all are fresh. Full editions are listed, never stale."""
    rows, notes, fresh = [], [], True
    for chapter in chapters:
        try:
            state = state_of(project, chapter)
        except ChapterFailed as error:
            state = State(chapter, UNREADABLE, [error.reason])
        fresh &= state.kind == FRESH
        rows.append([chapter, state.kind, *_facts(state.notebook)])
        notes += [f"{chapter}: {reason}" for reason in state.reasons]
        full = project.published(chapter, "full")
        if full.exists():
            try:
                edition = record.read_notebook(full)
                rows.append([f"{chapter} (full)", "dated", *_facts(edition)])
            except record.RecordError as error:
                fresh = False
                rows.append([f"{chapter} (full)", UNREADABLE, *_facts(None)])
                notes.append(f"{chapter} (full): {error}")
    text = table(["chapter", "state", "executed", "took", "verdicts"], rows)
    if notes:
        text += "\n\n" + "\n".join(notes)
    if any(row[1] == SILENT for row in rows):
        text += "\n\n`surveylab run` refuses what changed silently."
    if any(row[1] not in (FRESH, SILENT, "dated") for row in rows):
        text += "\n\n`surveylab run` executes what is not fresh."
    return text, fresh


def _facts(notebook: Notebook | None) -> list[str]:
    if notebook is None:
        return ["-", "-", "-"]
    stored = record.provenance_of(notebook) or {}
    return [
        str(stored.get("executed", "-")).replace("T", " ")[:16],
        seconds(stored.get("duration")),
        verdict_counts(notebook),
    ]
