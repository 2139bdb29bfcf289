"""`surveylab replicate`: would other random numbers have told the same story? Each run is kept.

A run is one file of ``book/replications/``, written anew after each chapter, so that what was finished before
an interruption stays. `surveylab.claims.replications` says what of it counts.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
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
from surveylab.press.run.tune import read_sweeps, search_variables

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
        retune: whether rates are found anew for it. `book/tuning/` stays as it is.

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
    readable = _published(project, chapters, say)
    own = [chapter for chapter, notebook in readable.items() if _stored(notebook, "seed") == seed]
    published = {chapter: notebook for chapter, notebook in readable.items() if chapter not in own}
    if own and not published:
        raise WrongUse(f"{listed(own)}: published with seed {seed}; choose another (`verify` repeats it)")
    for chapter in own:
        say(f"{chapter}: published with seed {seed}; left out")
    recordable = [chapter for chapter in published if kept.takes(chapter, say)]
    if recordable:
        kept.ensure_writable()
    fine = len(readable) == len(chapters)
    rows: list[list[str]] = []
    asked = {"device": device, "timeout": timeout, "strict": False}
    with closing(_again(project, published, executor, say, seed, retune, asked)) as results:
        for chapter, executed, rates in results:
            if executed is None:
                fine = False
                continue
            more, holds = _compared(published[chapter], executed)
            rows += more
            fine &= holds
            if chapter in recordable:
                fine &= kept.add(chapter, published[chapter], executed, rates, say)
    if rows:
        say(table(["claim", "published", f"seed {seed}", "shift", "verdict"], rows))
    if kept.path is not None:
        say(f"recorded in {project.shown(kept.path)}")
    return fine


def _published(project: Project, chapters: list[str], say: Say) -> dict[str, Notebook]:
    """The chapters whose published notebooks can be read; the others are said."""
    found = {}
    for chapter in chapters:
        try:
            notebook = record.read_notebook(project.published(chapter))
            record.evidence_of(notebook)
            found[chapter] = notebook
        except record.RecordError as error:
            say(f"{chapter}: {error}")
    return found


def _stored(notebook: Notebook, name: str) -> Any:
    return record.provenance_of(notebook).get(name)


def _again(
    project: Project,
    published: Mapping[str, Notebook],
    executor: Executor,
    say: Say,
    seed: int,
    retune: bool,
    asked: dict[str, Any],
) -> Generator[tuple[str, Executed | None, Rates | None], None, None]:
    """Each chapter executed with another seed, and its new rates if any; a failure is said, and None."""
    waiting = list(published)
    # With new rates each chapter takes long, and they are not kept: so few chapters are begun at a time.
    together = executor.at_once(len(waiting)) if retune and waiting else max(1, len(waiting))
    for group in (waiting[i : i + together] for i in range(0, len(waiting), together)):
        found: dict[str, Rates | None] = dict.fromkeys(group)
        if retune:
            found = _retuned(project, group, seed, executor, say, asked)
            yield from ((chapter, None, None) for chapter in group if chapter not in found)
        tasks = []
        for chapter, rates in found.items():
            expected = _stored(published[chapter], "duration")
            task = make_task(project, chapter, seed=seed, expected=expected, **asked)
            tasks.append(_with_rates(task, project, rates))
        for chapter, executed in _executed(tasks, executor, say):
            yield chapter, executed, found[chapter]


def _executed(tasks: list[Task], executor: Executor, say: Say) -> Iterator[tuple[str, Executed | None]]:
    """Each chapter with its execution; a failure is said, and None."""
    with closing(execute_all(tasks, executor)) as outcomes:
        for task, outcome in outcomes:
            if isinstance(outcome, PressError):
                say(str(outcome))
            yield task.chapter, None if isinstance(outcome, PressError) else outcome


def _retuned(
    project: Project, chapters: list[str], seed: int, executor: Executor, say: Say, asked: dict[str, Any]
) -> dict[str, Rates | None]:
    """New rates and the seed they were found on, for each chapter that has rates and did not fail."""
    tuning_seed = FIRST_RETUNING_SEED + seed
    found: dict[str, Rates | None] = {c: None for c in chapters if not project.tuning(c).exists()}
    with tempfile.TemporaryDirectory(prefix="surveylab-", ignore_cleanup_errors=True) as folder:
        known = Path(folder, "none.json")
        known.write_text("{}", encoding="utf-8")
        places = {c: Path(folder, f"{n}.json") for n, c in enumerate(chapters) if c not in found}
        tasks = []
        for chapter, place in places.items():
            environment = search_variables(place, known)
            tasks.append(make_task(project, chapter, seed=tuning_seed, environment=environment, **asked))
        for chapter, executed in _executed(tasks, executor, say):
            if executed is None:
                continue
            try:
                found[chapter] = tuning_seed, json.dumps(read_sweeps(chapter, places[chapter])).encode()
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

    def takes(self, chapter: str, say: Say) -> bool:
        """Whether a chapter is fresh, so that it can be recorded; what speaks against that is said."""
        for run in self.earlier:
            if run.seed == self.run.seed and chapter in run.chapters:
                said = f"seed {run.seed} is in {run.name} already; what it gives now will not count again"
                say(f"{chapter}: {said}")
        state = state_of(self.project, chapter)
        if state.kind in (FRESH, REWORD):
            return True
        say(f"{chapter}: will not be recorded, since it is {state.kind}: {listed(state.reasons)}")
        return False

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
