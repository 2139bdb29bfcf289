"""Executing several chapters and handing each result over as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial

from surveylab.press.console import Progress
from surveylab.press.project import PressError, WrongUse
from surveylab.press.run.executor import Executor, Outcomes
from surveylab.press.run.kernel import Task, perform


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
    at_once = 1 if executor.scheduler is not None else executor.at_once(len(tasks))
    with (
        Progress({task.chapter: task.expected for task in tasks}, at_once=at_once) as progress,
        closing(_outcomes(tasks, executor, at_once, progress)) as outcomes,
    ):
        for task, outcome in outcomes:
            progress.finish(task.chapter)
            if isinstance(outcome, PressError) and outcome.exit_code == WrongUse.exit_code:
                raise WrongUse(str(outcome)) from outcome
            with progress.paused():
                yield task, outcome


def _outcomes(tasks: Sequence[Task], executor: Executor, at_once: int, progress: Progress) -> Outcomes:
    if executor.scheduler is not None or at_once > 1:
        # Dask and its workers take seconds to start.
        from surveylab.press.run.cluster import with_dask

        return with_dask(tasks, executor, progress)
    return _one_after_another(tasks, progress)


def _one_after_another(tasks: Sequence[Task], progress: Progress) -> Outcomes:
    """In this process."""
    for task in tasks:
        try:
            yield task, perform(task, partial(progress.cell, task.chapter))
        except PressError as error:
            yield task, error
