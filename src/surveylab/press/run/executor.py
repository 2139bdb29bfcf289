"""Who executes the chapters: this process, one after another, or Dask workers, several at a time.

One worker a core is the default. A chapter has one thread, so that what it gives does not depend on the
number of cores; chapters are independent of one another, so that side by side they use all cores. On two
quiet cores two chapters at a time need about three quarters of the time that one after the other needs on two
threads. `tests/benchmarks/bench_workers.py` measures it elsewhere.
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
