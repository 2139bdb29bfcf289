"""Executing several chapters: in this process one after another, or by Dask workers, several at a time.

One worker a core is the default. A chapter has one thread, so that what it gives does not depend on the
number of cores; chapters are independent of one another, so that side by side they use all cores. On two
quiet cores two chapters at a time need about three quarters of the time that one after the other needs on two
threads. `tests/benchmarks/bench_workers.py` measures it elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from surveylab.press.console import Progress
from surveylab.press.project import PressError, WrongUse
from surveylab.press.run.kernel import Outcome, Task, perform

Outcomes = Generator[tuple[Task, Outcome], None, None]


@dataclass(frozen=True)
class Executor:
    """Who executes.

    Args:
        workers: how many chapters at a time on this machine; default one a core.
        scheduler: the address of a Dask scheduler, whose workers do it instead.

    Raises:
        WrongUse: both are asked for, or the address is none.
    """

    workers: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.scheduler is not None and self.workers is not None:
            raise WrongUse("--workers starts workers on this machine; those of --scheduler are started there")
        if self.scheduler is not None and not re.fullmatch(r"(tcp|tls|wss?)://\S+:\d+", self.scheduler):
            raise WrongUse(
                f"--scheduler {self.scheduler}: write it as tcp://host:port, as the scheduler does"
            )

    def at_once(self, tasks: int) -> int:
        """How many workers to start on this machine for so many chapters."""
        return min(self.workers or cores(), tasks)


def cores() -> int:
    """The cores that this process may use, by affinity and by the limits of a container."""
    from dask.system import cpu_count

    return int(cpu_count())


def execute_all(tasks: Sequence[Task], executor: Executor) -> Outcomes:
    """Execute chapters and hand each result over as it comes.

    A chapter that fails is an outcome like any other: the rest still run. Close the iterator if it is left
    early; what is being executed is then stopped.

    Raises:
        WrongUse: what was asked for cannot be had: no such device or candidate, no such scheduler, no worker.
        PressError: the scheduler or its last worker is gone.
    """
    if not tasks:
        return
    with (
        Progress({task.chapter: task.expected for task in tasks}) as progress,
        closing(_outcomes(tasks, executor, progress)) as outcomes,
    ):
        for task, outcome in outcomes:
            progress.finish(task.chapter)
            if isinstance(outcome, PressError) and outcome.exit_code == WrongUse.exit_code:
                raise WrongUse(str(outcome)) from outcome
            with progress.paused():
                yield task, outcome


def _outcomes(tasks: Sequence[Task], executor: Executor, progress: Progress) -> Outcomes:
    workers = executor.at_once(len(tasks))
    if executor.scheduler is not None or workers > 1:
        # Dask and its workers take seconds to start.
        from surveylab.press.run.cluster import with_dask

        asked = executor.workers is not None
        yield from with_dask(tasks, progress, workers=workers, scheduler=executor.scheduler, asked=asked)
        return
    for task in tasks:
        try:
            yield task, perform(task, partial(progress.cell, task.chapter))
        except PressError as error:
            yield task, error
