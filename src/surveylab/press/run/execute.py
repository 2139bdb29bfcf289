"""Executing several chapters and handing each result over as it comes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

from surveylab.press.console import Progress
from surveylab.press.project import PressError, WrongUse
from surveylab.press.run.executor import Executor, Outcomes, threads_for
from surveylab.press.run.kernel import Task, perform
from surveylab.press.run.worker import cores


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
    at_once = min(executor.workers, len(tasks))
    with (
        Progress({task.chapter: task.expected for task in tasks}, at_once=at_once) as progress,
        closing(_outcomes(tasks, executor, progress)) as outcomes,
    ):
        for task, outcome in outcomes:
            progress.finish(task.chapter)
            if isinstance(outcome, PressError) and outcome.exit_code == WrongUse.exit_code:
                raise WrongUse(str(outcome)) from outcome
            with progress.paused():
                yield task, outcome


def _outcomes(tasks: Sequence[Task], executor: Executor, progress: Progress) -> Outcomes:
    if executor.scheduler is not None or min(executor.workers, len(tasks)) > 1:
        # Dask and its workers take seconds to start.
        from surveylab.press.run.cluster import with_dask

        return with_dask(tasks, executor, progress)
    return _one_after_another(tasks, executor, progress)


def _one_after_another(tasks: Sequence[Task], executor: Executor, progress: Progress) -> Outcomes:
    """In this process. One of several workers has no more than its share of the cores, even if it is alone:
    what a chapter gives must not depend on how many others are stale.
    """
    threads: dict[str, str | None] = {}
    if executor.workers > 1 and not os.environ.get("OMP_NUM_THREADS"):
        threads = threads_for(cores() // executor.workers)
    for task in tasks:
        shared = replace(task, environment=threads | task.environment)
        try:
            yield task, perform(shared, partial(progress.cell, task.chapter))
        except PressError as error:
            yield task, error
