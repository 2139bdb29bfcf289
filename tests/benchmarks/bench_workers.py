"""Two chapters at a time on one thread each, or one at a time on two threads?

Several copies of a chapter are executed as `surveylab run` does it, in each way in turn, so that a machine
that is busy for a while disturbs all ways alike. Shown is the time from asking to the last result, the start
of the workers included, and its ratio to two at a time on one thread each, which is the default on two cores
(the reason is in `surveylab.press.run.executor`).

Run as ``python tests/benchmarks/bench_workers.py [--profile smoke] [--rounds 3] [--json PATH]`` on a machine
with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

from surveylab.press.project import PressError, Project
from surveylab.press.run.executor import Executor, execute_all
from surveylab.press.run.kernel import Task, make_task

# How many at a time, on how many threads each.
WAYS = {
    "two at a time, one thread each": (2, 1),
    "one at a time, one thread": (1, 1),
    "one at a time, two threads": (1, 2),
    "two at a time, two threads each": (2, 2),
}


def seconds(task: Task, copies: int, workers: int, threads: int) -> float:
    """How long it takes to execute a chapter so many times."""
    environment: dict[str, str | None] = {"OMP_NUM_THREADS": str(threads)}
    tasks = [replace(task, chapter=f"{task.chapter}-{n}", environment=environment) for n in range(copies)]
    start = time.perf_counter()
    for _, outcome in execute_all(tasks, Executor(workers)):
        if isinstance(outcome, PressError):
            raise SystemExit(str(outcome))
    return time.perf_counter() - start


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--chapter", default="normalization/batch_norm")
    parser.add_argument("--profile", choices=["smoke", "standard", "full"], default="standard")
    parser.add_argument("--copies", type=int, default=2, help="how many chapters there are to execute")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    given = parser.parse_args()
    print(f"load before: {os.getloadavg()[0]:.2f}", file=sys.stderr)
    task = make_task(Project.find(), given.chapter, profile=given.profile, strict=False)
    seconds(replace(task, parameters=task.parameters | {"profile": "smoke"}), 1, 1, 2)  # reads files once
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(given.rounds):
        for way, (workers, threads) in WAYS.items():
            times[way].append(seconds(task, given.copies, workers, threads))
            print(f"{way}: {times[way][-1]:.1f} s", file=sys.stderr)
    first = times[next(iter(WAYS))]
    print(f"{given.copies} x {given.chapter} at {given.profile}, median of {given.rounds} rounds")
    print(f"{'':<34}{'seconds':>9}{'ratio':>8}{'(range)':>16}")
    for way, found in times.items():
        ratios = [own / base for own, base in zip(found, first, strict=True)]
        spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{way:<34}{statistics.median(found):>9.1f}{statistics.median(ratios):>8.2f}{spread:>16}")
    if given.json:
        given.json.write_text(json.dumps({**vars(given), "json": None, "seconds": times}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
