"""`surveylab replicate`: would other random numbers have told the same story? Nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable

from surveylab.claims import record
from surveylab.press.compare import short
from surveylab.press.execute import CELL_TIMEOUT, make_task, perform
from surveylab.press.project import PressError, Project, WrongUse
from surveylab.press.terminal import Progress, table

OPPOSITE = {"supported", "contradicted"}


def replicate(
    project: Project,
    chapters: list[str],
    say: Callable[[str], None],
    *,
    seed: int,
    device: str = "auto",
    timeout: int = CELL_TIMEOUT,
) -> bool:
    """Run chapters with another seed and lay the verdicts side by side.

    Verdicts near a margin may move between a decision and *inconclusive*; the opposite one may not come.

    Returns:
        Whether every chapter ran and no verdict turned into its opposite.
    """
    fine, rows = True, []
    for chapter in chapters:
        try:
            published = record.read_notebook(project.published(chapter))
            before = record.evidence_of(published)
        except record.RecordError as error:
            say(f"{chapter}: {error}")
            fine = False
            continue
        stored = record.provenance_of(published) or {}
        if stored.get("seed") == seed:
            raise WrongUse(
                f"{chapter} is published with seed {seed}: choose another one (`verify` repeats it)"
            )
        task = make_task(project, chapter, seed=seed, device=device, timeout=timeout, strict=False)
        with Progress(chapter, expected=stored.get("duration")) as progress:
            try:
                after = record.evidence_of(json.loads(perform(task, progress.cell).notebook))
            except record.RecordError as error:
                raise PressError(str(error)) from error
            except PressError as error:
                if error.exit_code == WrongUse.exit_code:
                    raise
                say(str(error))
                fine = False
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
