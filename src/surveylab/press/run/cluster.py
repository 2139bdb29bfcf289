"""Executing several chapters at a time with Dask, on workers of this machine or of any scheduler.

A task carries all that its kernel needs and the worker gives the executed notebook back, so that no disk is
shared: there is one path, wherever the workers are. Only as many tasks are handed over as workers are free,
and each result is taken as it comes and forgotten there: so the death of a worker is counted against the
chapter that it was executing, and no finished chapter is executed again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import shutil
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import dask
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, Security, SpecCluster, rpc
from distributed.versions import VersionMismatchWarning, get_versions

from surveylab.press.console import Progress
from surveylab.press.project import ChapterFailed, PressError, WrongUse
from surveylab.press.run import worker as on_worker
from surveylab.press.run.environment import ONE_THREAD
from surveylab.press.run.kernel import Outcome, Task
from surveylab.press.run.task_files import pack_candidate

# Seconds: how often to look whether something came or someone left, how long a scheduler may take to answer,
# and how long to wait for a worker when the last one is gone (a nanny starts a new one within seconds).
POLL = 0.5
ANSWER = 5
GRACE = 30
# A worker of this machine that dies twice in the same chapter may have been unlucky; three times is a reason.
ALLOWED_FAILURES = 2
SILENT = logging.CRITICAL + 1
CONTINUE = "what was finished stays, and the same command goes on where this one stopped"


def with_dask(
    tasks: Sequence[Task], progress: Progress, *, workers: int, scheduler: str | None, asked: bool = False
) -> Iterator[tuple[Task, Outcome]]:
    """Execute chapters with so many workers on this machine, or with those of a scheduler.

    Args:
        asked: Whether the caller named that number: without, there are no more workers than GPUs for them.

    Raises:
        WrongUse: more workers were asked for than this machine has GPUs.
    """
    _silence()
    # What decides on a worker is the caller's environment, not what a nanny sets for its worker. It is looked
    # at now: nannies on this machine set it in this process.
    environment = _without_nanny()
    gpu = any(task.parameters["device"] == "cuda" for task in tasks)
    if scheduler is not None:
        tasks = [_without_folder(task) for task in tasks]
    if gpu and scheduler is None and (cards := len(_gpus())) < workers:
        if asked and cards:
            raise WrongUse(
                f"--workers asks for {workers} chapters at a time, and each needs one of the {cards} GPUs of "
                f"this machine: write --workers {cards}, or leave --device cuda out"
            )
        workers = max(1, cards)
    with connected(scheduler, workers, gpu) as client:
        pool = WorkerPool(client, scheduler, gpu)
        pool.look()
        ready = [replace(task, environment={**environment, **task.environment}) for task in tasks]
        yield from _dispatch(client, pool, ready, progress)


def _without_folder(task: Task) -> Task:
    """A task for another machine: the reader's own method goes along."""
    if task.folder is None:
        return task
    files = pack_candidate(task.parameters["candidate"], Path(task.folder))
    return replace(task, files=task.files | files, folder=None)


def _without_nanny() -> dict[str, str | None]:
    names = set(dask.config.get("distributed.nanny.pre-spawn-environ")) - set(ONE_THREAD)
    return {name: os.environ.get(name) or None for name in names}


def _dispatch(
    client: Client, pool: WorkerPool, tasks: Sequence[Task], progress: Progress
) -> Iterator[tuple[Task, Outcome]]:
    run = uuid.uuid4().hex
    # The longest begin first, lest one of them be alone at the end; the unknown may be long.
    waiting = sorted(tasks, key=lambda task: -(task.expected or float("inf")))
    running: dict[Future, Task] = {}
    arrived: queue.SimpleQueue[Future] = queue.SimpleQueue()
    client.subscribe_topic(run, lambda event: progress.cell(*event[1]))
    resources = {"GPU": 1} if pool.gpu else None
    try:
        while waiting or running:
            while waiting and len(running) < pool.slots:
                task = waiting.pop(0)
                key = f"{task.chapter}-{run}"
                future = client.submit(on_worker.pickled(task, run), key=key, pure=False, resources=resources)
                running[future] = task
                future.add_done_callback(arrived.put)
            try:
                future = arrived.get(timeout=POLL)
            except queue.Empty:
                pool.look()
                continue
            task = running.pop(future)
            outcome = _outcome(future, task)
            future.release()
            yield task, outcome
    finally:
        with suppress(Exception):
            client.cancel(list(running), force=True)


def _outcome(future: Any, task: Task) -> Outcome:
    if future.status == "finished":
        outcome: Outcome = future.result()
        return outcome
    if future.status == "error":
        error = future.exception()
        if isinstance(error, KilledWorker):
            return ChapterFailed(
                task.chapter,
                f"the worker that executed it died, {error.allowed_failures + 1} times in a row (killed from "
                "outside, out of memory, or a crash in compiled code): fewer at a time need less memory",
            )
        reason = f"the worker failed: {type(error).__name__}: {error}"
        return ChapterFailed(task.chapter, reason.strip())
    raise PressError(f"the scheduler is gone; {CONTINUE}")


class WorkerPool:
    """The workers that are there now, and how many chapters they can execute at a time."""

    def __init__(self, client: Client, scheduler: str | None, gpu: bool) -> None:
        self._client, self._scheduler, self.gpu = client, scheduler, gpu
        self._known: dict[str, Mapping[str, Any]] = {}
        self._seen: float | None = None  # when somebody was last there

    @property
    def slots(self) -> int:
        """How many chapters can be executed at a time."""
        return sum(self._slots(worker) for worker in self._known.values())

    def _slots(self, worker: Mapping[str, Any]) -> int:
        return int(min(worker["slots"], worker["GPU"]) if self.gpu else worker["slots"])

    def look(self) -> None:
        """See who came and who left.

        Raises:
            WrongUse: nobody is there who could do it, or somebody whose Dask or press is another.
            PressError: the scheduler, or for some time the last worker, is gone.
        """
        try:
            there = set(self._client.nthreads())
            self._known = {address: self._known[address] for address in self._known if address in there}
            self._admit(there - set(self._known))
        except OSError as error:
            raise PressError(f"the scheduler is gone; {CONTINUE}") from error
        if self.slots:
            self._seen = time.monotonic()
        elif self._seen is None:
            raise WrongUse(self._missing(there))
        elif time.monotonic() - self._seen > GRACE:
            raise PressError(f"no worker is left; {CONTINUE}")

    def _admit(self, new: set[str]) -> None:
        if not new:
            return
        versions = cast("Any", self._client.get_versions())["workers"]
        refuse_other_versions({f"the worker at {name}": versions[name] for name in new & set(versions)})
        answers = self._client.run(on_worker.describe, workers=sorted(new), on_error="return")
        for address, answer in answers.items():
            if "ModuleNotFoundError" in repr(answer):
                raise WrongUse(f"the worker at {address} cannot import surveylab: install this one there")
            if isinstance(answer, OSError):
                continue  # it left in this moment
            if isinstance(answer, BaseException):
                raise WrongUse(f"the worker at {address} does not answer: {answer!r}")
            if answer["press"] != on_worker.press():
                raise WrongUse(
                    f"the worker at {address} has another surveylab than this one: install this one there"
                )
            self._known[address] = answer

    def _missing(self, there: set[str]) -> str:
        scheduler = self._scheduler
        if scheduler is None:
            return "no GPU is found on this machine (`nvidia-smi -L` lists none): leave --device cuda out"
        start = f"start one: dask worker {scheduler} --nthreads 1"
        if self.gpu:
            start += " --resources GPU=1, or leave --device cuda out"
        lacking = f"no worker of {len(there)} offers a GPU at" if there else "no worker is connected to"
        return f"{lacking} {scheduler}; {start}"


def _silence() -> None:
    """The press says what matters; Dask's own notes of workers that come and go would stand between."""
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(SILENT)
    warnings.filterwarnings("ignore", category=VersionMismatchWarning)


@contextmanager
def connected(scheduler: str | None, workers: int, gpu: bool) -> Iterator[Client]:
    """A client of the scheduler named, or of workers on this machine that end with it."""
    if scheduler is None:
        with (
            _local(workers, _gpus() if gpu else []) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    try:
        # Before there is a client: it waits without end for an answer where something else than a scheduler
        # listens, and one of another version breaks.
        # On a thread of its own, since a caller in a notebook has a running event loop already.
        with ThreadPoolExecutor(1) as aside:
            asked = asyncio.wait_for(_scheduler_versions(scheduler), ANSWER)
            found = aside.submit(asyncio.run, asked).result()
    except (OSError, TypeError, ValueError) as error:
        reason = str(error) or f"not within {ANSWER} s"
        raise WrongUse(f"no Dask scheduler answers at {scheduler}: {reason}") from error
    refuse_other_versions({f"the scheduler at {scheduler}": found})
    with Client(scheduler, timeout=ANSWER, set_as_default=False) as client:
        yield client


async def _scheduler_versions(address: str) -> Any:
    """The versions that a scheduler answers with."""
    arguments = Security().get_connection_args("client")
    async with rpc(address, timeout=ANSWER, connection_args=arguments) as scheduler:
        return await scheduler.versions()


@contextmanager
def _local(workers: int, gpus: Sequence[str]) -> Iterator[Any]:
    """Workers on this machine, each a process with one thread, and if asked one GPU, of its own."""
    here: dict[str, Any] = {"host": "127.0.0.1", "dashboard": False}
    scheduler = {"cls": Scheduler, "options": here | {"dashboard_address": "127.0.0.1:0"}}
    before = dict(os.environ)
    # What a worker that is killed could not remove goes with this folder.
    with tempfile.TemporaryDirectory(prefix="surveylab-", ignore_cleanup_errors=True) as folder:
        spec = {}
        for number in range(workers):
            own: dict[str, Any] = {"env": {"TMPDIR": folder}}
            if number < len(gpus):
                own["env"]["CUDA_VISIBLE_DEVICES"] = gpus[number]
                own["resources"] = {"GPU": 1}
            options = {
                "nthreads": 1,
                "memory_limit": 0,
                "silence_logs": SILENT,
                "preload": on_worker.__name__,
            }
            spec[number] = {"cls": Nanny, "options": here | options | own}
        settings = {"distributed.scheduler.allowed-failures": ALLOWED_FAILURES, "temporary-directory": folder}
        try:
            with dask.config.set(settings), SpecCluster(spec, scheduler) as cluster:
                yield cluster
        finally:
            # A nanny puts what it sets for its worker into this process's environment.
            for name in set(os.environ) - set(before):
                del os.environ[name]
            os.environ.update(before)


def _gpus() -> list[str]:
    """The GPUs of this machine, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False).stdout
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]


def refuse_other_versions(found: Mapping[str, Any]) -> None:
    """Refuse to work with those whose versions are such that the parts of Dask do not understand one another.

    Args:
        found: what Dask says of its versions there, by name.

    Raises:
        WrongUse: with who has which.
    """

    def told(side: Mapping[str, Any]) -> dict[str, str]:
        packages = side["packages"]
        python = ".".join(packages["python"].split(".")[:2])
        return {"distributed": packages["distributed"], "dask": packages["dask"], "Python": python}

    here = told(get_versions())
    for name, side in found.items():
        for package, version in told(side).items():
            if version != here[package]:
                raise WrongUse(f"{name} has {package} {version}, here it is {here[package]}: use one version")
