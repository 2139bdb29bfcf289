"""Executing one chapter in a kernel of its own, with papermill.

A `Task` carries everything that an execution needs and the result carries everything that it gave: a task
may as well be performed on another machine, and what is edited meanwhile does not get into it.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

from surveylab.press.project import ChapterFailed, PressError, Project, WrongUse
from surveylab.press.run.clean import assemble, parameters_index, refuse_noise
from surveylab.press.run.environment import kernel_environment
from surveylab.press.run.sources import KERNEL, read_source, text_of_source
from surveylab.press.run.task_files import CANDIDATE, pack, unpack

OnCell = Callable[[int, int], None]
OnKernel = Callable[[int], None]

START_TIMEOUT = 120
CELL_TIMEOUT = 1800


@dataclass(frozen=True)
class Task:
    """One chapter to execute.

    Args:
        notebook: the source as `read_source` gives it, as text.
        parameters: for the cell that papermill injects.
        files: what the kernel finds under its root: the claims, the learning rates, the library.
        folder: where the reader is, from which a candidate is imported; none on another machine.
        environment: variables of the kernel beyond `kernel_environment`; one that is None is taken away.
        strict: whether the result is to be published, so that warnings and machine paths in it are errors.
        expected: how many seconds it took last time, if that is known.
    """

    chapter: str
    notebook: str
    parameters: dict[str, Any]
    files: dict[str, bytes]
    folder: str | None = None
    environment: Mapping[str, str | None] = field(default_factory=dict)
    timeout: int = CELL_TIMEOUT
    strict: bool = True
    expected: float | None = None


@dataclass(frozen=True)
class Executed:
    """A chapter that ran to its end: the notebook as text, clean of everything that differs between runs."""

    chapter: str
    notebook: str
    seconds: float


Outcome = Executed | PressError


def make_task(
    project: Project,
    chapter: str,
    *,
    profile: str = "standard",
    seed: int | None = None,
    device: str = "auto",
    candidate: str | None = None,
    **options: Any,
) -> Task:
    """Describe the execution of a chapter's source as it lies in the working tree.

    The seed is by default the one on which the chapter is published; `options` are further fields of `Task`.

    Raises:
        ChapterFailed: the source cannot be read, or not be executed as it stands.
        PressError: a file that goes along cannot be read.
    """
    parameters: dict[str, Any] = {
        "profile": profile,
        "seed": project.seed(chapter) if seed is None else seed,
        "device": device,
    }
    folder = None
    if candidate is not None:
        parameters["candidate"], folder = candidate, str(Path.cwd())
    source = text_of_source(read_source(project, chapter))
    return Task(chapter, source, parameters, pack(project, chapter), folder, **options)


def perform(task: Task, on_cell: OnCell | None = None, on_kernel: OnKernel | None = None) -> Executed:
    """Execute a chapter and return the executed notebook.

    Args:
        on_cell: called before each cell with the cells done and their number.
        on_kernel: called with the kernel's process id when it is up.

    Raises:
        ChapterFailed: with the cell, its first lines and the exception.
        KeyboardInterrupt: after the kernel was shut down.
    """
    import nbformat
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        _register_engine()
    except ImportError as error:
        reason = f"no kernel can be started ({error}): pip install ipykernel"
        raise ChapterFailed(task.chapter, reason) from error
    source = nbformat.reads(task.notebook, as_version=4)
    progress = _Position(on_cell, on_kernel)
    start = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="surveylab-", ignore_cleanup_errors=True) as folder,
            tempfile.TemporaryFile() as stderr,
        ):
            executed = _execute(task, source, Path(folder), stderr, progress)
    except PapermillExecutionError as error:
        if error.ename in ("DeviceError", "CandidateError"):
            # The lab's own message says all; where in the chapter it was asked does not matter.
            raise ChapterFailed(task.chapter, error.evalue.strip(), exit_code=2) from error
        raise _failed(task, source, progress, _explain(error.ename, error.evalue)) from error
    except DeadKernelError as error:
        reason = "the kernel died (killed from outside, out of memory, or a crash in compiled code)"
        raise _failed(task, source, progress, reason) from error
    except CellTimeoutError as error:
        reason = f"the cell took longer than {task.timeout} s; --timeout raises the limit"
        raise _failed(task, source, progress, reason) from error
    except RuntimeError as error:
        # jupyter_client has no class of its own for a kernel that dies while it starts.
        raise ChapterFailed(task.chapter, f"the kernel did not start: {error}") from error
    elapsed = time.monotonic() - start
    result = assemble(source, executed)
    if task.strict:
        refuse_noise(task.chapter, result, folder)
    return Executed(task.chapter, nbformat.writes(result) + "\n", elapsed)


@dataclass
class _Position:
    """How far an execution has come, kept outside papermill, which forgets it when a kernel dies."""

    on_cell: OnCell | None
    on_kernel: OnKernel | None
    index: int = 0
    source: str = ""
    notebook: Any = None

    def enter(self, index: int, notebook: Any) -> None:
        # The text is kept apart: papermill adds cells to a notebook that failed.
        self.index, self.source, self.notebook = index, notebook.cells[index].source, notebook
        if self.on_cell:
            self.on_cell(index, len(notebook.cells))


def _execute(task: Task, source: Any, folder: Path, stderr: IO[bytes], position: _Position) -> Any:
    import papermill

    root, work = folder / "project", folder / "work"
    work.mkdir()
    unpack(task.files, root)
    given = {
        **kernel_environment(root, folder / "settings", _candidate_folder(task, root)),
        **task.environment,
    }
    environment = {name: value for name, value in given.items() if value is not None}
    return papermill.execute_notebook(
        source,
        None,
        parameters=task.parameters,
        engine_name="surveylab",
        kernel_name=KERNEL,
        language="python",
        progress_bar=False,
        start_timeout=START_TIMEOUT,
        execution_timeout=task.timeout,
        # The kernel's folder and environment are its own: this process changes neither of its, so that
        # several executions can go on side by side. What cells write to stderr is in the notebook; what is
        # left is the kernel's own chatter about its connection.
        kernel={"cwd": str(work), "env": environment, "stderr": stderr},
        position=position,
    )


def _candidate_folder(task: Task, root: Path) -> str | None:
    """Where the reader's own method is imported from: where the reader is, or what came with the task."""
    if "candidate" not in task.parameters:
        return None
    if task.folder is None:
        return str(root / CANDIDATE)
    if os.pathsep not in task.folder:
        return task.folder
    # Python takes such a path for two.
    link = root.parent / "reader"
    try:
        link.symlink_to(task.folder, target_is_directory=True)
    except OSError as error:
        reason = f"no candidate can be imported from {task.folder}, since its path holds '{os.pathsep}'"
        raise WrongUse(reason) from error
    return str(link)


@cache
def _register_engine() -> None:
    """Tell papermill of an engine that gives each kernel its own folder and environment."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines

    # Both log to a terminal what the press says better.
    for name in ("papermill", "traitlets"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    class Manager(AsyncKernelManager):
        """Starts this Python, and not what the author's Jupyter has under the name of the kernel."""

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict())

    class Client(PapermillNotebookClient):  # type: ignore[misc]
        position: _Position

        def execute_cell(self, cell: Any, index: int, **options: Any) -> Any:
            self.position.enter(index, self.nb)
            if index == 0 and self.position.on_kernel:
                self.position.on_kernel(self.km.provisioner.pid)
            return super().execute_cell(cell, index, **options)

        def papermill_execute_cells(self) -> None:
            try:
                super().papermill_execute_cells()
            except BaseException:
                # A kernel busy in a long cell would not hear a polite request to stop.
                self.shutdown_kernel = "immediate"
                raise

    class Engine(NBClientEngine):  # type: ignore[misc]
        @classmethod
        def execute_managed_notebook(
            cls,
            nb_man: Any,
            kernel_name: str,
            *,
            kernel: dict[str, Any],
            position: _Position,
            start_timeout: int,
            execution_timeout: int,
            **ignored: Any,
        ) -> Any:
            client = Client(
                nb_man,
                kernel_name=kernel_name,
                kernel_manager_class=Manager,
                timeout=execution_timeout,
                startup_timeout=start_timeout,
                record_timing=False,
                coalesce_streams=True,
                log=logging.getLogger("papermill"),
            )
            client.position = position
            return client.execute(**kernel)

    papermill_engines.register("surveylab", Engine)


def _failed(task: Task, source: Any, position: _Position, reason: str) -> ChapterFailed:
    """Name the cell by its number in the source, and show its first lines."""
    import nbformat

    number = position.index + 1
    parameters = parameters_index(source)
    if number > parameters + 1:
        number -= 1  # papermill's own cell, after the one with the parameters
    where = f"cell {number} of {len(source.cells)}"
    if position.index == parameters + 1:
        where = "the injected parameters"
    lines = position.source.strip().split("\n")
    excerpt = lines[:3] + (["..."] if len(lines) > 3 else [])
    message = f"{where}: {reason}\n" + "\n".join(f"    | {line}" for line in excerpt)
    partial = nbformat.writes(position.notebook) + "\n" if position.notebook is not None else None
    return ChapterFailed(task.chapter, message, partial)


def _explain(name: str, value: str) -> str:
    """What a person needs to know of an exception raised in a cell."""
    value = value.strip()
    missing = re.search(r"No module named '([^'.]+)", value)
    if name == "ModuleNotFoundError" and missing and missing[1] != "surveylab":
        package = missing[1]
        return (
            f"the package '{package}' is not installed: pip install {package} "
            "(with -c constraints.txt where that file lists it)"
        )
    if name == "KeyError" and value[:1] in "'\"":
        value = value[1:-1]  # Python shows this one's message quoted
    lines = value.split("\n")
    short = "\n".join(lines[:8] + (["..."] if len(lines) > 8 else []))
    return f"{name}: {short}" if short else name
