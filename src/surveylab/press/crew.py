"""Who executes the chapters: this process, one after another, or Dask workers, several at a time.

A chapter runs on one thread, as `surveylab.lab.begin` sets it: what it gives is the same to the last digit
however many run at a time.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from surveylab.press.execute import Outcome, Task, perform
from surveylab.press.project import PressError, WrongUse
from surveylab.press.terminal import Progress

Outcomes = Generator[tuple[Task, Outcome], None, None]


@dataclass(frozen=True)
class Crew:
    """Who executes.

    Args:
        workers: how many chapters at a time on this machine.
        scheduler: the address of a Dask scheduler, whose workers do it instead.

    Raises:
        WrongUse: both are asked for, or the address is none.
    """

    workers: int = 1
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.scheduler is not None and self.workers != 1:
            raise WrongUse("--workers starts workers on this machine; those of --scheduler are started there")
        if self.scheduler is not None and not re.fullmatch(r"(tcp|tls|wss?)://\S+:\d+", self.scheduler):
            raise WrongUse(
                f"--scheduler {self.scheduler}: write it as tcp://host:port, as the scheduler does"
            )


def carry_out(tasks: Sequence[Task], crew: Crew) -> Outcomes:
    """Execute chapters and hand each result over as it comes.

    A chapter that fails is an outcome like any other: the rest still run. Close the iterator if it is left
    early; what is being executed is then stopped.

    Raises:
        WrongUse: what was asked for cannot be had: no such device or candidate, no such scheduler, no worker.
        PressError: the scheduler or its last worker is gone.
    """
    if not tasks:
        return
    at_once = min(crew.workers, len(tasks))
    with (
        Progress({task.chapter: task.expected for task in tasks}, at_once=at_once) as progress,
        closing(_outcomes(tasks, crew, progress)) as outcomes,
    ):
        for task, outcome in outcomes:
            progress.finish(task.chapter)
            if isinstance(outcome, PressError) and outcome.exit_code == WrongUse.exit_code:
                raise WrongUse(str(outcome)) from outcome
            with progress.paused():
                yield task, outcome


def _outcomes(tasks: Sequence[Task], crew: Crew, progress: Progress) -> Outcomes:
    if crew.scheduler is not None or min(crew.workers, len(tasks)) > 1:
        # Dask and its workers take seconds to start.
        from surveylab.press.cluster import with_dask

        return with_dask(tasks, crew, progress)
    return _one_after_another(tasks, crew, progress)


def _one_after_another(tasks: Sequence[Task], crew: Crew, progress: Progress) -> Outcomes:
    for task in tasks:
        try:
            yield task, perform(task, partial(progress.cell, task.chapter))
        except PressError as error:
            yield task, error
