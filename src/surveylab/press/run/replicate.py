"""`surveylab replicate`: would other random numbers have told the same story? Nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing

from surveylab.claims import FIRST_DESIGN_SEED, Evidence, record
from surveylab.press.console import short, table
from surveylab.press.project import PressError, Project, WrongUse
from surveylab.press.run.execute import execute_all
from surveylab.press.run.executor import Executor
from surveylab.press.run.kernel import CELL_TIMEOUT, make_task

OPPOSITE = {"supported", "contradicted"}


def replicate(
    project: Project,
    chapters: list[str],
    say: Callable[[str], None],
    *,
    seed: int,
    device: str = "auto",
    timeout: int = CELL_TIMEOUT,
    executor: Executor | None = None,
) -> bool:
    """Run chapters with another seed and lay the verdicts side by side.

    Verdicts near a margin may move between a decision and *inconclusive*; the opposite one may not come.

    Returns:
        Whether every chapter ran and no verdict turned into its opposite.
    """
    fine, tasks = True, []
    published: dict[str, dict[str, Evidence]] = {}
    for chapter in chapters:
        try:
            notebook = record.read_notebook(project.published(chapter))
            published[chapter] = record.evidence_of(notebook)
        except record.RecordError as error:
            say(f"{chapter}: {error}")
            fine = False
            continue
        stored = record.provenance_of(notebook)
        if seed >= FIRST_DESIGN_SEED:
            raise WrongUse(
                f"--seed {seed}: rates were found on seeds from {FIRST_DESIGN_SEED} on; choose one below"
            )
        if stored.get("seed") == seed:
            raise WrongUse(
                f"{chapter} is published with seed {seed}: choose another one (`verify` repeats it)"
            )
        tasks.append(
            make_task(
                project,
                chapter,
                seed=seed,
                device=device,
                timeout=timeout,
                strict=False,
                expected=stored.get("duration"),
            )
        )
    found: dict[str, dict[str, Evidence]] = {}
    with closing(execute_all(tasks, executor or Executor())) as outcomes:
        for task, outcome in outcomes:
            if isinstance(outcome, PressError):
                say(str(outcome))
                fine = False
                continue
            try:
                found[task.chapter] = record.evidence_of(json.loads(outcome.notebook))
            except record.RecordError as error:
                raise PressError(str(error)) from error
    rows = []
    for chapter, before in published.items():
        after = found.get(chapter)
        if after is None:
            continue
        for id in before | after:
            old, new = before.get(id), after.get(id)
            opposite = {e.verdict for e in (old, new) if e is not None} == OPPOSITE
            same = old is not None and new is not None and old.verdict == new.verdict
            fine &= not opposite and old is not None and new is not None
            rows.append([id, short(old), short(new), "OPPOSITE" if opposite else "same" if same else "other"])
    if rows:
        say(table(["claim", "published", f"seed {seed}", "verdict"], rows))
    return fine
