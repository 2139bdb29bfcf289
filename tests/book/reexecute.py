"""Execute the published chapters again with nbval, in verify mode, several at a time.

In verify mode `lab.check` compares the new values with the published ones, raises where the rule says that
they differ, and otherwise shows the published verdict, so that an interval at a margin cannot flip a test.
nbval then compares every output; `nbval.cfg` beside this file says what it passes over. Full editions are
left out: they are dated.

Under a budget the chapters published most recently come first. The others take turns by the date, so that
some days later each was executed again; what is left out today is listed. Nothing is stored for that.

    python tests/book/reexecute.py                                  all published chapters
    python tests/book/reexecute.py --minutes 20                     as many as begin within 20 minutes
    python tests/book/reexecute.py book/normalization/batch_norm.ipynb -x
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from surveylab.claims import find_root, provenance_of, read_notebook
from surveylab.press.console import counted, seconds
from surveylab.press.run.environment import kernel_environment
from surveylab.press.run.executor import cores
from surveylab.press.run.kernel import START_TIMEOUT

CELL_TIMEOUT = 1800
# For so many days a chapter counts as published recently.
RECENT = 2


@dataclass(frozen=True)
class Chapter:
    """A published notebook, the day on which it was executed and how many seconds that took."""

    path: Path
    published: date
    seconds: float

    @classmethod
    def of(cls, path: Path) -> Chapter:
        """Read it. What does not say when and how long is taken for new and for short."""
        stored = provenance_of(read_notebook(path))
        executed = str(stored.get("executed") or datetime.now(UTC).isoformat())
        return cls(path, datetime.fromisoformat(executed).date(), float(stored.get("duration") or 1))


# ------------------------------------------------------------------------------------- whose turn it is


def in_order(chapters: Sequence[Chapter], day: date, work: float) -> list[Chapter]:
    """The chapters in the order in which they are executed on a day.

    Args:
        chapters: All of them.
        day: The day.
        work: Seconds of execution that there is time for, on all workers together.
    """
    ring = sorted(chapters, key=lambda chapter: chapter.path)
    first = day.toordinal() * _step(ring, work) % len(ring)
    turn = ring[first:] + ring[:first]
    recent = [chapter for chapter in turn if day - chapter.published < timedelta(days=RECENT)]
    recent.sort(key=lambda chapter: chapter.published, reverse=True)
    return recent + [chapter for chapter in turn if chapter not in recent]


def _step(ring: Sequence[Chapter], work: float) -> int:
    """How far the first in turn moves from one day to the next.

    As far as there is time for, but by a number without a common divisor with that of the chapters: so each
    of them is the first once in as many days as there are chapters, however slow the machine.
    """
    fitting = int(work * len(ring) / sum(chapter.seconds for chapter in ring))
    fitting = max(1, min(fitting, len(ring)))
    return next(step for step in range(fitting, 0, -1) if math.gcd(step, len(ring)) == 1)


def due(chapters: Sequence[Chapter], day: date, work: float) -> list[Chapter]:
    """The chapters that are to be executed on a day, if each takes as long as when it was published."""
    found, spent = [], 0.0
    for chapter in in_order(chapters, day, work):
        if spent >= work:
            break
        found.append(chapter)
        spent += chapter.seconds
    return found


def last_due(chapter: Chapter, chapters: Sequence[Chapter], today: date, work: float) -> date | None:
    """The last day before today on which a chapter was due; None if it was not since its publication."""
    for back in range(1, len(chapters) + RECENT + 1):
        day = today - timedelta(days=back)
        there = [each for each in chapters if each.published <= day]
        if chapter not in there:
            break
        if chapter in due(there, day, work):
            return day
    return None


class Supply:
    """Hands chapters to workers one by one until the time is over."""

    def __init__(
        self, chapters: Sequence[Chapter], budget: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.left = list(chapters)
        self._clock, self._end, self._lock = clock, clock() + budget, threading.Lock()

    def stop(self) -> None:
        """Let no other chapter begin."""
        self._end = -math.inf

    def __iter__(self) -> Iterator[Chapter]:
        while True:
            with self._lock:
                if not self.left or self._clock() >= self._end:
                    return
                chapter = self.left.pop(0)
            yield chapter


# ------------------------------------------------------------------------------------- executing


def published(root: Path) -> list[Path]:
    """The published notebooks, without the full editions."""
    book = root / "book"
    found = (path.relative_to(book) for path in sorted(book.rglob("*.ipynb")))
    left_out = {"full", "_build", ".ipynb_checkpoints"}
    return [book / path for path in found if not left_out & set(path.parts)]


def command(path: Path, options: list[str]) -> list[str]:
    """The call of pytest, to be made with the environment of `environment`."""
    policy = Path(__file__).with_name("nbval.cfg")
    return [
        *(sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env"),
        *("--nbval-sanitize-with", str(policy)),
        *("--nbval-cell-timeout", str(CELL_TIMEOUT)),
        *("--nbval-kernel-startup-timeout", str(START_TIMEOUT)),
        *("-p", "no:cacheprovider", "--rootdir", str(find_root())),
        *options,
        str(path),
    ]


def environment(root: Path, settings: Path) -> dict[str, str]:
    """What `surveylab run` gives a kernel, and verify mode."""
    return kernel_environment(root, settings) | {"SURVEYLAB_VERIFY": "1"}


def execute(root: Path, supply: Supply, options: list[str], workers: int) -> bool:
    """Execute what is supplied, show what pytest says of each, and whether all went well."""
    quiet = threading.Lock()

    def work(_: int) -> bool:
        fine = True
        for chapter in supply:
            with tempfile.TemporaryDirectory(prefix="surveylab-") as settings:
                done = subprocess.run(
                    command(chapter.path, options),
                    cwd=root,
                    env=environment(root, Path(settings)),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    encoding="utf-8",
                    check=False,
                )
            fine &= done.returncode == 0
            with quiet:
                print(done.stdout, flush=True)
        return fine

    with ThreadPoolExecutor(workers) as pool:
        try:
            return all(list(pool.map(work, range(workers))))
        finally:
            supply.stop()  # after Ctrl-C, which ends the chapters that are running


def main(arguments: Sequence[str]) -> int:
    """Run pytest on each chapter; 1 if one fails or there is nothing to execute."""
    parser = argparse.ArgumentParser(description="Other arguments are handed to pytest.", allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=math.inf, help="when the last chapter may begin")
    parser.add_argument("--workers", type=int, default=cores(), help="chapters at a time; default one a core")
    given, others = parser.parse_known_args(arguments)
    root = find_root()
    named = [Path(a).resolve() for a in others if a.endswith(".ipynb")]
    chapters = [Chapter.of(path) for path in named or published(root)]
    if not chapters:
        print(f"no published chapter under {root / 'book'}: `surveylab run` publishes them", file=sys.stderr)
        return 1
    options = [a for a in others if not a.endswith(".ipynb")]
    today, budget = datetime.now(UTC).date(), 60 * given.minutes
    if budget == math.inf:
        waiting = sorted(chapters, key=lambda chapter: -chapter.seconds)  # lest a long one be alone at last
    else:
        waiting = in_order(chapters, today, budget * given.workers)
    began = time.monotonic()
    supply = Supply(waiting, budget)
    fine = execute(root, supply, options, min(given.workers, len(waiting)))
    done = counted(len(chapters) - len(supply.left), "chapter")
    print(f"Re-executed {done} of {len(chapters)} in {seconds(time.monotonic() - began)}.")
    for chapter in supply.left:
        before = last_due(chapter, chapters, today, budget * given.workers)
        when = f"last due on {before}" if before else f"not due since it was published on {chapter.published}"
        print(f"Left out: {chapter.path.relative_to(root)}, {when}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
