"""Who executes the chapters: this process, one after another, or Dask workers, several at a time.

One at a time, on two threads, is the default: the number of threads is part of what a chapter gives, to the
last digit, and two are there on every machine, however many chapters are stale. Two at a time on one thread
each need about three quarters of the time: Batch Norm and Group Norm 151 s together, against 109 s and 100 s
one after the other, on two quiet cores. `tests/benchmarks/bench_workers.py` measures it elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass

from surveylab.press.project import WrongUse
from surveylab.press.run.kernel import Outcome, Task

Outcomes = Generator[tuple[Task, Outcome], None, None]


@dataclass(frozen=True)
class Executor:
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


def threads_for(share: int) -> dict[str, str | None]:
    """The variable that divides the cores. With two or more for each kernel it is not needed: the lab takes
    two.
    """
    return {} if share > 1 else {"OMP_NUM_THREADS": "1"}
