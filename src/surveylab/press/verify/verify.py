"""`surveylab verify`: does what is published follow from its values, and does a second execution agree?

Nothing in the tree is changed. First everything that can be checked without executing: each published
chapter is fresh, shows its source, and its evidence follows from the values it carries. Then each is
executed again and compared claim by claim, by the rule of `surveylab.claims.agreement`, and so is whatever
else it shows, by that of `surveylab.press.verify.outputs`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from surveylab.claims import record
from surveylab.press.console import counted, seconds, table
from surveylab.press.project import ChapterFailed, Notebook, PressError, Project, WrongUse
from surveylab.press.run.executor import Executor, execute_all
from surveylab.press.run.freshness import FRESH, REWORD, code_differences, contradictions, state_of
from surveylab.press.run.kernel import CELL_TIMEOUT, Executed, Outcome, make_task
from surveylab.press.run.publish import data_of, run_record
from surveylab.press.run.terms import silent_changes
from surveylab.press.run.tune import read_sweeps
from surveylab.press.verify.compare import compare, compare_outputs, machine_changes
from surveylab.press.verify.report import Report, Rerun
from surveylab.press.verify.retune import repeat_sweeps

Say = Callable[[str], None]


def verify(
    project: Project,
    chapters: list[str],
    say: Say,
    *,
    recompute_only: bool = False,
    retune: bool = False,
    device: str = "auto",
    timeout: int = CELL_TIMEOUT,
    executor: Executor | None = None,
    keep: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Verify the published chapters.

    Args:
        recompute_only: whether to leave the second execution out.
        retune: whether to repeat the chapters' sweeps instead of executing them as published.
        keep: called with the report as far as it goes, whenever a chapter was executed, and at the end.

    Raises:
        WrongUse: a mistake in the claims, or a device that is not there.
    """
    problems: list[dict[str, str]] = []
    published: dict[str, Notebook] = {}
    found: dict[str, list[str]] = {}
    for chapter in chapters:
        found[chapter], notebook = recompute(project, chapter)
        if notebook is not None:
            published[chapter] = notebook
        if project.published(chapter, "full").exists():
            found[f"{chapter} (full)"] = recompute_edition(project, chapter)

    def add(chapter: str, sentences: list[str]) -> None:
        for sentence in sentences:
            problems.append({"chapter": chapter, "problem": sentence})
            say(f"  {chapter}: {sentence}")

    recomputed = sum(len(record.evidence_of(notebook)) for notebook in published.values())
    where = counted(len(published), "chapter")
    say(f"Recomputed {counted(recomputed, 'claim')} of {where} from their values.")
    for name, sentences in found.items():
        add(name, sentences)
    report = Report(problems, [], recomputed, chapters=chapters)
    if retune:
        for chapter in published:
            differences, sweeps = repeat_sweeps(project, chapter, device=device, timeout=timeout)
            say(f"{chapter}: {counted(sweeps, 'sweep')} repeated")
            add(chapter, differences)
            report = replace(report, sweeps=report.sweeps + sweeps)
            keep(report)
    if recompute_only or retune:
        keep(report)
        return report
    tasks = []
    for chapter, notebook in published.items():
        expected = record.provenance_of(notebook).get("duration")
        tasks.append(
            make_task(project, chapter, device=device, timeout=timeout, strict=False, expected=expected)
        )
    runs: dict[str, Executed] = {}
    reruns: list[Rerun] = []
    waiting = list(published)

    def so_far() -> Report:
        in_order = {chapter: runs[chapter] for chapter in published if chapter in runs}
        claims = compare(project, published, in_order)
        return Report(problems, claims, recomputed, reruns, waiting, chapters)

    report = so_far()
    keep(report)
    with closing(execute_all(tasks, executor or Executor())) as outcomes:
        for task, outcome in outcomes:
            chapter = task.chapter
            waiting.remove(chapter)
            outcome = _readable(outcome)
            if isinstance(outcome, PressError):
                add(chapter, [f"could not be executed again: {outcome}"])
            else:
                runs[chapter] = outcome
                reruns.append(_rerun(chapter, published[chapter], outcome))
                say(f"{chapter}: executed again in {seconds(outcome.seconds)}")
                if changes := "; ".join(reruns[-1].changes):
                    say(
                        f"  not where it was published ({changes}): values are compared by a paired test, "
                        "not digit by digit"
                    )
                add(chapter, compare_outputs(project, published[chapter], outcome))
            # An interruption, or a machine that is taken away, loses nothing that was found before.
            report = so_far()
            keep(report)
    return report


def _readable(outcome: Outcome) -> Outcome:
    """The outcome; a failure too if a chapter ran to its end but what it gave cannot be compared."""
    if isinstance(outcome, Executed):
        try:
            run_record(outcome)
            record.evidence_of(json.loads(outcome.notebook))
        except PressError as error:
            return error
        except record.RecordError as error:
            return ChapterFailed(outcome.chapter, str(error), outcome.notebook)
    return outcome


def _rerun(chapter: str, notebook: Notebook, executed: Executed) -> Rerun:
    then, now = record.run_of(notebook) or {}, run_record(executed)
    changes = [] if record.same_machine(then, now) else machine_changes(then, now)
    return Rerun(chapter, record.provenance_of(notebook).get("duration"), round(executed.seconds, 1), changes)


def recompute(project: Project, chapter: str) -> tuple[list[str], Notebook | None]:
    """Check a published chapter without executing it.

    Returns:
        Everything that does not hold, and the notebook if it can be read.
    """
    try:
        state = state_of(project, chapter)
    except WrongUse:
        raise
    except PressError as error:
        return [str(error)], None
    path = project.published(chapter)
    silent = silent_changes(project, chapter, state.notebook, path, whole_history=True)
    if state.notebook is None:
        return silent or state.reasons or ["it was never run: `surveylab run` executes it"], None
    # A tampered card makes a chapter stale or reworded; here it is said what in it is wrong.
    reasons = [reason for reason in state.reasons if reason not in silent]
    found = silent + [f"not fresh: {reason}" for reason in reasons if state.kind not in (FRESH, REWORD)]
    found += code_differences(project, chapter, state.notebook, text=True)
    found += contradictions(project, chapter, state.notebook)
    found += provenance_differences(state.notebook)
    found += tuning_differences(project, chapter)
    if state.kind == REWORD and not found:
        found = [f"not fresh: {reason}" for reason in state.reasons]
    return list(dict.fromkeys(found)), state.notebook


def tuning_differences(project: Project, chapter: str) -> list[str]:
    """Where a kept learning rate does not follow from the sweep beside it; none for a chapter without any."""
    path = project.tuning(chapter)
    if not path.exists():
        return []
    try:
        read_sweeps(chapter, path)
    except PressError as error:
        return [f"{project.shown(path)}: {str(error).removeprefix(f'{chapter}: ')}"]
    return []


def recompute_edition(project: Project, chapter: str) -> list[str]:
    """Check a full edition: its source may differ by now, but its evidence must hold together."""
    try:
        notebook = record.read_notebook(project.published(chapter, "full"))
    except record.RecordError as error:
        return [str(error)]
    # Its wording is brought up to date when the book is built.
    record.refresh(project.claims, notebook)
    return contradictions(project, chapter, notebook) + provenance_differences(notebook)


def provenance_differences(notebook: Notebook) -> list[str]:
    """Where a notebook's provenance is not what its kernel reported of the run, or of the data."""
    stored, said = record.provenance_of(notebook) or {}, record.run_of(notebook) or {}
    if not said:
        return ["it does not say on what it ran: the output of `lab.begin` is missing"]
    found = [
        f"the provenance says {key} {stored.get(key)!r}, the run itself {said.get(key)!r}"
        for key in ("profile", "seed", "device", "machine", "versions")
        if stored.get(key) != said.get(key)
    ]
    if stored.get("data") != data_of(notebook):
        found.append("the checksums of the data in the provenance are not those of the evidence")
    return found


def shown(report: Report) -> str:
    """The report as a table and a closing sentence."""
    parts = []
    if report.claims:
        rows = [
            [c.claim, c.published, c.again, "holds" if c.holds else "DIFFERS", c.cause or ""]
            for c in report.claims
        ]
        parts.append(table(["claim", "published", "executed again", "result", "likely cause"], rows))
        parts += [f"{c.claim}: {c.difference}" for c in report.claims if c.difference]
        parts += [f"{c.remark}; it holds all the same" for c in report.claims if c.remark]
    parts.append(report.verdict)
    return "\n".join(parts)
