"""Who executes the chapters: this process, one after another, or Dask workers, several at a time.

One at a time, on two threads, is the default: the number of threads is part of what a chapter gives, to the
last digit, and two are there on every machine, however many chapters are stale. Two at a time on one thread
each need about three quarters of the time: Batch Norm and Group Norm 151 s together, against 109 s and 100 s
one after the other, on two quiet cores. `tests/benchmarks/bench_workers.py` measures it elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from surveylab.press.run.kernel import Outcome, Task, perform
from surveylab.press.project import PressError, WrongUse
from surveylab.press.console import Progress
from surveylab.press.run.worker import cores

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
        from surveylab.press.run.cluster import with_dask

        return with_dask(tasks, crew, progress)
    return _one_after_another(tasks, crew, progress)


def _one_after_another(tasks: Sequence[Task], crew: Crew, progress: Progress) -> Outcomes:
    """In this process. One of several workers has no more than its share of the cores, even if it is alone:
    what a chapter gives must not depend on how many others are stale.
    """
    threads: dict[str, str | None] = {}
    if crew.workers > 1 and "OMP_NUM_THREADS" not in os.environ:
        threads = threads_for(cores() // crew.workers)
    for task in tasks:
        shared = replace(task, environment=threads | task.environment)
        try:
            yield task, perform(shared, partial(progress.cell, task.chapter))
        except PressError as error:
            yield task, error


def threads_for(share: int) -> dict[str, str | None]:
    """The variable that divides the cores. With two or more for each kernel it is not needed: the lab takes
    two.
    """
    return {} if share > 1 else {"OMP_NUM_THREADS": "1"}
