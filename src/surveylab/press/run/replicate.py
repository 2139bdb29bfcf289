"""`surveylab replicate`: would other random numbers have told the same story? Each run is kept.

A run is one file of ``book/replications/``, written anew after each chapter, so that what was finished before
an interruption stays. `surveylab.claims.replications` says what of it counts.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from surveylab.claims import (
    FIRST_DESIGN_SEED,
    Evidence,
    Replication,
    ReplicationError,
    edition_of,
    read_replications,
    record,
)
from surveylab.claims.replications import ReplicatedChapter, design_of, replicated, shift
from surveylab.press.console import short, table
from surveylab.press.project import (
    Notebook,
    PressError,
    Project,
    WrongUse,
    ensure_writable,
    listed,
    write_atomically,
)
from surveylab.press.run.executor import Executor, execute_all
from surveylab.press.run.freshness import FRESH, REWORD, contradictions, state_of
from surveylab.press.run.kernel import CELL_TIMEOUT, Executed, Task, make_task
from surveylab.press.run.publish import run_record
from surveylab.press.run.tune import read_sweeps

Say = Callable[[str], None]
Rates = tuple[int, bytes]
"""The seed on which rates were found, and the file."""
OPPOSITE = {"supported", "contradicted"}
#: A replication with new rates finds them on this seed plus its own; `surveylab tune` begins at 1000.
FIRST_RETUNING_SEED = 2000


def replicate(
    project: Project,
    chapters: list[str],
    say: Say,
    *,
    seed: int,
    retune: bool = False,
    device: str = "auto",
    timeout: int = CELL_TIMEOUT,
    executor: Executor | None = None,
) -> bool:
    """Run chapters with another seed, lay the verdicts side by side, and record them.

    Verdicts near a margin may move between a decision and *inconclusive*; the opposite one may not come. Only
    fresh chapters are recorded: of another, the published result came from other code.

    Args:
        project: the checkout.
        chapters: `section/chapter`.
        say: shows a text.
        seed: of the run.
        retune: whether rates are found anew for it. `book/tuning/` stays as it is.
        device: as for `run`.
        timeout: as for `run`.
        executor: who executes.

    Returns:
        Whether every chapter ran and no verdict turned into its opposite, in either direction.

    Raises:
        WrongUse: a seed that is for something else, or that of all chapters asked for; rates asked for
            from workers that share no disk.
        PressError: the record cannot be read or written.
    """
    executor = executor or Executor()
    if seed >= FIRST_DESIGN_SEED:
        raise WrongUse(
            f"--seed {seed}: design and tuning take seeds from {FIRST_DESIGN_SEED} on; choose one below"
        )
    if retune and executor.scheduler is not None:
        raise WrongUse("--retune finds rates on this machine: leave --scheduler out")
    kept = _Record(project, seed, retune)
    fine = True
    published: dict[str, Notebook] = {}
    unfit: set[str] = set()
    own: list[str] = []
    for chapter in chapters:
        try:
            notebook = record.read_notebook(project.published(chapter))
            record.evidence_of(notebook)
        except record.RecordError as error:
            say(f"{chapter}: {error}")
            fine = False
            continue
        if record.provenance_of(notebook).get("seed") == seed:
            own.append(chapter)
            continue
        published[chapter] = notebook
        state = state_of(project, chapter)
        if state.kind not in (FRESH, REWORD):
            unfit.add(chapter)
            say(f"{chapter}: will not be recorded, since it is {state.kind}: {listed(state.reasons)}")
        for name in kept.already(chapter):
            say(f"{chapter}: seed {seed} is in {name} already; what it gives now will not count again")
    if own and not published:
        raise WrongUse(f"{listed(own)}: published with seed {seed}; choose another (`verify` repeats it)")
    for chapter in own:
        say(f"{chapter}: published with seed {seed}; left out")
    if published.keys() - unfit:
        kept.ensure_writable()
    # With new rates each chapter takes long, and they are not kept: so few chapters are begun at a time.
    waiting = list(published)
    together = executor.at_once(len(waiting)) if retune and waiting else max(1, len(waiting))
    rows: list[list[str]] = []
    for group in (waiting[i : i + together] for i in range(0, len(waiting), together)):
        with tempfile.TemporaryDirectory(prefix="surveylab-", ignore_cleanup_errors=True) as folder:
            asked: dict[str, Any] = {"device": device, "timeout": timeout, "strict": False}
            tuned: dict[str, Rates | None] = dict.fromkeys(group)
            if retune:
                tuned = _retuned(project, group, Path(folder), seed, executor, say, asked)
                fine &= len(tuned) == len(group)
            tasks = [
                _with_rates(
                    make_task(
                        project,
                        chapter,
                        seed=seed,
                        expected=record.provenance_of(published[chapter]).get("duration"),
                        **asked,
                    ),
                    project,
                    found,
                )
                for chapter, found in tuned.items()
            ]
            for chapter, executed in _executed(tasks, executor, say):
                if executed is None:
                    fine = False
                    continue
                more, holds = _compared(published[chapter], executed)
                rows += more
                fine &= holds
                if chapter not in unfit:
                    fine &= kept.add(chapter, published[chapter], executed, tuned[chapter], say)
    if rows:
        say(table(["claim", "published", f"seed {seed}", "shift", "verdict"], rows))
    if kept.path is not None:
        say(f"recorded in {project.shown(kept.path)}")
    return fine


def _executed(tasks: list[Task], executor: Executor, say: Say) -> Iterator[tuple[str, Executed | None]]:
    """Each chapter with its execution; a failure is said, and None."""
    with closing(execute_all(tasks, executor)) as outcomes:
        for task, outcome in outcomes:
            if isinstance(outcome, PressError):
                say(str(outcome))
            yield task.chapter, None if isinstance(outcome, PressError) else outcome


def _retuned(
    project: Project,
    chapters: list[str],
    folder: Path,
    seed: int,
    executor: Executor,
    say: Say,
    asked: dict[str, Any],
) -> dict[str, Rates | None]:
    """New rates and the seed they were found on, for each chapter that has rates and did not fail."""
    tuning_seed = FIRST_RETUNING_SEED + seed
    known = folder / "none.json"
    known.write_text("{}", encoding="utf-8")
    places = {c: folder / f"{n}.json" for n, c in enumerate(chapters) if project.tuning(c).exists()}
    tasks = [
        make_task(
            project,
            chapter,
            seed=tuning_seed,
            environment={"SURVEYLAB_TUNE": str(place), "SURVEYLAB_TUNE_KEPT": str(known)},
            **asked,
        )
        for chapter, place in places.items()
    ]
    found: dict[str, Rates | None] = {c: None for c in chapters if c not in places}
    for chapter, executed in _executed(tasks, executor, say):
        if executed is None:
            continue
        try:
            rates = json.dumps(read_sweeps(chapter, places[chapter]))
            found[chapter] = tuning_seed, rates.encode()
        except PressError as error:
            say(str(error))
    return found


def _with_rates(task: Task, project: Project, found: Rates | None) -> Task:
    """The task with other rates in place of the kept ones."""
    if found is None:
        return task
    name = project.tuning(task.chapter).relative_to(project.root).as_posix()
    return dataclasses.replace(task, files=task.files | {name: found[1]})


def _compared(published: Notebook, executed: Executed) -> tuple[list[list[str]], bool]:
    """A row for each claim, and whether all are there and none is the opposite."""
    before, after = record.evidence_of(published), _evidence(executed)
    rows, fine = [], True
    for id in before | after:
        old, new = before.get(id), after.get(id)
        opposite = {e.verdict for e in (old, new) if e is not None} == OPPOSITE
        same = old is not None and new is not None and old.verdict == new.verdict
        fine &= not opposite and old is not None and new is not None
        moved = shift(old, new) if old is not None and new is not None else None
        word = "OPPOSITE" if opposite else "same" if same else "other"
        rows.append([id, short(old), short(new), "-" if moved is None else f"{moved:+.1f} s.e.", word])
    return rows, fine


def _evidence(executed: Executed) -> dict[str, Evidence]:
    try:
        return record.evidence_of(json.loads(executed.notebook))
    except record.RecordError as error:
        raise PressError(str(error)) from error


class _Record:
    """The file of this run. There is none before a chapter is finished, and another run's is left alone."""

    def __init__(self, project: Project, seed: int, retune: bool) -> None:
        self.project = project
        self.folder = project.root / "book" / "replications"
        self.path: Path | None = None
        try:
            self.earlier = read_replications(self.folder)
        except ReplicationError as error:
            raise PressError(f"book/{error}") from error
        today = datetime.now(UTC).date().isoformat()
        self.run = Replication(f"{today}-seed-{seed}", seed, today, retune, {})

    def ensure_writable(self) -> None:
        """Find out before minutes are spent that nothing can be recorded."""
        ensure_writable(self.folder / f"{self.run.name}.json")

    def already(self, chapter: str) -> list[str]:
        """The earlier runs that have this chapter on this seed."""
        return [run.name for run in self.earlier if run.seed == self.run.seed and chapter in run.chapters]

    def add(
        self, chapter: str, published: Notebook, executed: Executed, rates: Rates | None, say: Say
    ) -> bool:
        """Keep what a chapter gave, and say whether its evidence holds together."""
        project = self.project
        wrong = contradictions(project, chapter, json.loads(executed.notebook))
        if wrong:
            say(f"{chapter}: not recorded, since its evidence does not hold together: {listed(wrong)}")
            return False
        before, after = record.evidence_of(published), _evidence(executed)
        claims = project.claims_of(chapter)
        shared = [id for id in before if id in after and id in claims and after[id].estimate is not None]
        if not shared:
            say(f"{chapter}: not recorded, since no run decides any of its claims")
            return True
        begun = run_record(executed)
        self.run.chapters[chapter] = ReplicatedChapter(
            edition=edition_of(project.claims.values(), chapter),
            design=design_of(record.provenance_of(published)),
            tuning_seed=None if rates is None else rates[0],
            device=begun["device"],
            seconds=round(executed.seconds, 1),
            machine=begun["machine"],
            versions=begun["versions"],
            claims={id: replicated(claims[id], before[id], after[id]) for id in shared},
        )
        self._write()
        return True

    def _write(self) -> None:
        text = self.run.to_json()
        if self.path is not None:
            write_atomically(self.path, text)
            return
        place = self._own_place()
        try:
            write_atomically(place, text)
        except PressError:
            place.unlink(missing_ok=True)  # it is empty
            raise
        self.path = place

    def _own_place(self) -> Path:
        """A file that no other run has, made here and now."""
        self.folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            more = "" if number == 1 else f"-{number}"
            path = self.folder / f"{self.run.date}-seed-{self.run.seed}{more}.json"
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                number += 1
                continue
            return path
