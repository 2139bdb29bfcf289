"""`surveylab run`: execute what is stale and put it in its place."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from surveylab.claims import record
from surveylab.press.console import counted, seconds
from surveylab.press.project import (
    ChapterFailed,
    Notebook,
    PressError,
    Project,
    WrongUse,
    ensure_writable,
    write_atomically,
)
from surveylab.press.run.executor import Executor, execute_all
from surveylab.press.run.freshness import (
    FRESH,
    REWORD,
    SILENT,
    State,
    contradictions,
    state_of,
    verdict_counts,
)
from surveylab.press.run.kernel import CELL_TIMEOUT, Executed, Task, make_task
from surveylab.press.run.refresh import stamped
from surveylab.press.run.sources import two_pictures
from surveylab.press.run.terms import terms_of

Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """What `surveylab run` was asked for."""

    profile: str = "standard"
    seed: int | None = None
    device: str = "auto"
    candidate: str | None = None
    force: bool = False
    cache: bool = True
    output: Path | None = None
    timeout: int = CELL_TIMEOUT
    executor: Executor = field(default_factory=Executor)

    def destination(self, project: Project, chapter: str) -> Path:
        """Where the executed chapter goes. Only what the book publishes goes into `book/`.

        Raises:
            WrongUse: `output` lies inside `book/`.
        """
        book = (project.root / "book").resolve()
        if self.output is not None:
            folder = self.output.resolve()
            if folder == book or book in folder.parents:
                raise WrongUse("--output may not lie inside book/: only a plain run publishes there")
            return self.output / f"{chapter}.ipynb"
        own = self.seed in (None, project.seed(chapter))
        if self.profile != "smoke" and own and self.candidate is None:
            return project.published(chapter, self.profile)
        name = self.profile
        name += "" if own else f"-seed-{self.seed}"
        name += "-candidate" if self.candidate is not None else ""
        return project.root / "_build" / name / f"{chapter}.ipynb"


def run(project: Project, chapters: list[str], options: Run, say: Say) -> int:
    """Execute the chapters that are not fresh.

    A chapter that fails is reported and leaves the published one as it was; the others still run. Each is
    written as soon as it is finished, so that an interrupted run goes on where it stopped.

    Returns:
        The exit code: 0, or 1 if a chapter failed.

    Raises:
        WrongUse: nothing can run: no such device, a mistake in the claims.
    """
    project.claims  # noqa: B018 - a mistake in the claims is said before minutes are spent
    failed = 0
    waiting: dict[str, tuple[State, Path]] = {}
    tasks: list[Task] = []
    for chapter in chapters:
        path = options.destination(project, chapter)
        try:
            state = state_of(project, chapter, profile=options.profile, seed=options.seed, path=path)
            if state.kind == SILENT:
                # Also with --force: once it is executed again, what was published before is gone.
                raise ChapterFailed(chapter, "refused: " + "\n    | ".join(state.reasons))
            if state.kind == REWORD and state.refreshed and not options.force:
                write_atomically(path, state.refreshed)
                say(f"{chapter}: fresh; wording carried over without executing")
            elif state.kind == FRESH and not _asks_for_more(options, state):
                say(f"{chapter}: fresh")
            else:
                ensure_writable(path)
                tasks.append(_task(project, state, options))
                waiting[chapter] = state, path
        except WrongUse:
            raise
        except PressError as error:
            failed += 1
            say(_failure(project, chapter, error, path))
    with closing(execute_all(tasks, options.executor)) as outcomes:
        for task, outcome in outcomes:
            state, path = waiting[task.chapter]
            try:
                if isinstance(outcome, PressError):
                    raise outcome
                say(_publish(project, state, path, outcome, options))
            except PressError as error:
                failed += 1
                say(_failure(project, state.chapter, error, path))
    if failed:
        say(f"{failed} of {counted(len(chapters), 'chapter')} failed")
    return 1 if failed else 0


def _asks_for_more(options: Run, state: State) -> bool:
    """Whether a fresh chapter is to be executed all the same: elsewhere, with a candidate, or by force."""
    stored = record.provenance_of(state.notebook) if state.notebook else {}
    elsewhere = options.device not in ("auto", stored.get("device"))
    return options.force or options.candidate is not None or elsewhere


def _task(project: Project, state: State, options: Run) -> Task:
    stored = record.provenance_of(state.notebook) if state.notebook else {}
    return make_task(
        project,
        state.chapter,
        profile=options.profile,
        seed=options.seed,
        device=options.device,
        candidate=options.candidate,
        environment=_kept_arms(project, options),
        timeout=options.timeout,
        # The reader's own method may warn: that page is for the reader alone.
        strict=options.candidate is None,
        expected=stored.get("duration"),
    )


def _kept_arms(project: Project, options: Run) -> dict[str, str]:
    """Where arms are kept that nothing could have changed. Not in CI, where the book must repeat itself."""
    if not options.cache or os.environ.get("CI") or options.executor.scheduler is not None:
        return {}
    return {"SURVEYLAB_CACHE": str(project.root / "_build" / "cache")}


def _publish(project: Project, state: State, path: Path, executed: Executed, options: Run) -> str:
    notebook = json.loads(executed.notebook)
    begun = run_record(executed)
    _refuse_figures(state.chapter, notebook, executed)
    if options.candidate is None and options.profile != "smoke":
        _refuse_contradictions(project, state.chapter, executed)
    assert state.now is not None
    stored = {
        "fingerprint": state.now.digest,
        "parts": state.now.parts,
        "profile": begun["profile"],
        "seed": begun["seed"],
        "device": begun["device"],
        "executed": datetime.now(UTC).isoformat(timespec="seconds"),
        "duration": round(executed.seconds, 1),
        "machine": begun["machine"],
        "versions": begun["versions"],
        "data": data_of(notebook),
        "terms": terms_of(project.claims_of(state.chapter)),
    }
    write_atomically(path, stamped(executed.notebook, stored))
    said = (
        f"{state.chapter}: executed in {seconds(executed.seconds)}: {verdict_counts(notebook)}"
        f" -> {project.shown(path)}"
    )
    return "\n\n".join([said, *tables_of(notebook)])


def run_record(executed: Executed) -> dict[str, Any]:
    """What a chapter's kernel said about its run.

    Raises:
        ChapterFailed: it said nothing.
    """
    found = record.run_of(json.loads(executed.notebook))
    if found is None:
        raise ChapterFailed(
            executed.chapter,
            "it says nothing about its run: call `run = lab.begin(...)` after the parameters",
            executed.notebook,
        )
    return found


def tables_of(notebook: Notebook) -> list[str]:
    """What a reader's own method reached beside the chapter's, as the lab's `compare` put it."""
    found = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            table = (output.get("metadata", {}).get("surveylab") or {}).get("table")
            found += [table] if isinstance(table, str) else []
    return found


def _refuse_figures(chapter: str, notebook: Notebook, executed: Executed) -> None:
    """Refuse a chapter with several pictures under one caption, which Sphinx would refuse to build."""
    wrong = []
    for cell in notebook["cells"]:
        pictures = sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
        if pictures > 1 and "figure" in cell["metadata"].get("mystnb", {}):
            wrong.append(f"    | the cell '{cell['id']}' {two_pictures(pictures)}")
    if wrong:
        raise ChapterFailed(chapter, "\n".join(["it cannot be built:", *wrong]), executed.notebook)


def _refuse_contradictions(project: Project, chapter: str, executed: Executed) -> None:
    """Refuse to publish a chapter whose cards are not what follows from its values and the claims."""
    wrong = contradictions(project, chapter, json.loads(executed.notebook))
    if wrong:
        reason = "its evidence does not hold together:\n" + "\n".join(f"    | {line}" for line in wrong)
        raise ChapterFailed(chapter, reason, executed.notebook)


def data_of(notebook: Notebook) -> dict[str, str]:
    """Name and checksum of all data that the evidence in a notebook rests on."""
    found = {}
    for evidence in record.evidence_of(notebook).values():
        if evidence.data:
            found[evidence.data["name"]] = evidence.data["sha256"]
    return dict(sorted(found.items()))


def _failure(project: Project, chapter: str, error: PressError, path: Path) -> str:
    lines = [str(error) if str(error).startswith(chapter) else f"{chapter}: {error}"]
    if isinstance(error, ChapterFailed) and error.notebook is not None:
        kept = project.root / "_build" / "failed" / f"{chapter}.ipynb"
        try:
            write_atomically(kept, error.notebook)
            lines.append(f"    as far as it ran, with the traceback: {project.shown(kept)}")
        except PressError:
            pass  # The chapter's own failure is what matters.
    if path.exists():
        lines.append(f"    {project.shown(path)} is unchanged")
    return "\n".join(lines)
