"""What the press shows while it works: a line of progress, and plain tables."""

from __future__ import annotations

import heapq
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TextIO

from surveylab.claims import Evidence


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows in columns as wide as their content, the last one ragged."""
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    lines = [headers, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def seconds(value: float | None) -> str:
    """A duration to read: `8.3 s`, `2 min 05 s`."""
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value) // 60} min {int(value) % 60:02d} s"


def counted(number: int, noun: str) -> str:
    """`1 chapter`, `2 chapters`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def short(evidence: Evidence | None) -> str:
    """`0.21 [0.15, 0.27] supported`."""
    if evidence is None:
        return "missing"
    numbers = ""
    if evidence.estimate is not None:
        numbers = f"{evidence.estimate:.4g} "
        if evidence.low is not None and evidence.high is not None:
            numbers += f"[{evidence.low:.4g}, {evidence.high:.4g}] "
    return numbers + evidence.verdict


class Progress:
    """One line that says how far the work is: chapters and cells done, time gone, time left.

    It shows on a terminal only; in a log file or in CI it is silent. The clock on it moves during a long
    cell too. What is left is taken from how long each chapter took last time, which is known better than it
    could be guessed from the number of cells.

    Args:
        expected: each chapter that is to be executed, and the seconds it took last time if that is known.
        at_once: how many are executed at the same time.
        stream: where to show it.
    """

    def __init__(
        self, expected: Mapping[str, float | None], *, at_once: int = 1, stream: TextIO | None = None
    ) -> None:
        self.at_once = at_once
        self._waiting, self._total = dict(expected), len(expected)
        self._running: dict[str, tuple[float, int, int]] = {}
        self._stream = stream or sys.stderr
        self._shows = self._stream.isatty()
        self._start = time.monotonic()
        self._finished = threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)
        self._changing = threading.RLock()
        self._paused = False

    def __enter__(self) -> Progress:
        if self._shows:
            self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished.set()
        if self._shows:
            self._clock.join()
            self._write("")

    def cell(self, chapter: str, done: int, total: int) -> None:
        """Say how many cells of a chapter are done: none where it begins, perhaps for a second time."""
        with self._changing:
            if chapter in self._waiting:
                begins = done == 0 or chapter not in self._running
                start = time.monotonic() if begins else self._running[chapter][0]
                self._running[chapter] = (start, done, total)

    def finish(self, chapter: str) -> None:
        """Say that a chapter needs no more time."""
        with self._changing:
            self._waiting.pop(chapter, None)
            self._running.pop(chapter, None)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the line away while something else is shown."""
        with self._changing:
            self._paused = True
            if self._shows:
                self._write("")
        try:
            yield
        finally:
            self._paused = False

    def _tick(self) -> None:
        while not self._finished.wait(0.5):
            with self._changing:
                if not self._paused:
                    self._write(self.line())

    def _write(self, line: str) -> None:
        """Write over the line; an empty one leaves the cursor at its start."""
        # Blanks and no escape sequence: not every console of Windows knows them.
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + line[:width].ljust(width) + ("" if line else "\r"))
        self._stream.flush()

    def line(self) -> str:
        """The line as it stands now."""
        with self._changing:
            now = time.monotonic()
            spent, left = seconds(now - self._start), self._left(now)
            if left is not None and self._waiting:
                spent += f", about {seconds(left)} left" if left > 0 else ", longer than last time"
            cells = [f"{chapter} {done}/{total} cells" for chapter, (_, done, total) in self._running.items()]
            if self._total == 1:
                chapter = next(iter(self._waiting), "")
                return f"{(cells or [chapter])[0]}  {spent}"
            finished = self._total - len(self._waiting)
            return ", ".join([f"{finished} of {counted(self._total, 'chapter')}, {spent}", *cells])

    def _left(self, now: float) -> float | None:
        """Seconds until the last one is finished, if the longest begin first; None where one is not known."""
        expected = {chapter: known for chapter, known in self._waiting.items() if known is not None}
        if len(expected) < len(self._waiting):
            return None
        lanes = [max(0.0, expected.pop(c) - (now - start)) for c, (start, _, _) in self._running.items()]
        lanes += [0.0] * (self.at_once - len(lanes))
        heapq.heapify(lanes)
        for known in sorted(expected.values(), reverse=True):
            heapq.heapreplace(lanes, lanes[0] + known)
        return max(lanes, default=0.0)
