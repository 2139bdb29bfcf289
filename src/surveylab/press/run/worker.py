"""What the press does on a Dask worker: execute a chapter, and answer what it is."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from surveylab.press.project import PressError
from surveylab.press.run.kernel import Outcome, Task, perform

# Seconds between two looks whether a result is still wanted.
POLL = 0.5
PRESS = Path(__file__).parents[1]


def pickled(task: Task, run: str) -> Callable[[], Outcome]:
    """A call of `work` that a scheduler without surveylab can hand on: Dask opens there what it is given,
    but not bytes, and it takes a function that is in no module as code.
    """
    content = pickle.dumps((task, run))

    def call() -> Outcome:
        import pickle

        from surveylab.press.run.worker import work

        # A worker executes the chapters that it is sent: it must trust who sends them in any case.
        return work(*pickle.loads(content))  # noqa: S301

    return call


def work(task: Task, run: str) -> Outcome:
    """Execute a chapter on a worker. Its failure is a result: Dask need not know."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    finished = threading.Event()

    def on_kernel(pid: int) -> None:
        threading.Thread(target=_watch, args=(worker, key, pid, finished), daemon=True).start()

    try:
        return perform(task, lambda *cells: worker.log_event(run, (task.chapter, *cells)), on_kernel)
    except PressError as error:
        return error
    finally:
        finished.set()


def _watch(worker: Any, key: str, kernel: int, finished: threading.Event) -> None:
    """End a kernel whose result nobody wants any more: who asked for it was interrupted, or is gone."""
    while not finished.wait(POLL):
        state = worker.state.tasks.get(key)
        if state is None or state.state == "cancelled":
            with suppress(OSError):  # it is gone already
                # Windows has no SIGKILL, and ends a process at once by the other.
                os.kill(kernel, getattr(signal, "SIGKILL", signal.SIGTERM))
            return


def describe(dask_worker: Any) -> dict[str, Any]:
    """What the press asks of a worker before it hands anything over."""
    return {
        "press": press(),
        "slots": dask_worker.state.nthreads,
        "GPU": dask_worker.state.total_resources.get("GPU", 0),
    }


def press() -> str:
    """A checksum of the press's code; all else that a chapter needs travels with it."""
    digest = hashlib.sha256()
    for path in sorted(PRESS.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def dask_setup(worker: Any) -> None:
    """Called in each worker of this machine: Ctrl-C reaches it as well, and is the press's to answer."""
    signal.signal(signal.SIGINT, lambda *_: None)
