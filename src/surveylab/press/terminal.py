"""What the press shows while it works: a line of progress for each chapter, and plain tables."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TextIO


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


class Progress:
    """One line that says how far a chapter is: cells done, time gone, time left.

    It shows on a terminal only; in a log file or in CI it is silent. The clock on it moves during a long
    cell too. What is left is taken from how long the chapter took last time, which is known better than it
    could be guessed from the number of cells.
    """

    def __init__(self, label: str, *, expected: float | None = None, stream: TextIO | None = None) -> None:
        self._label, self._expected = label, expected
        self._stream = stream or sys.stderr
        self._shows = self._stream.isatty()
        self._done, self._total, self._start = 0, 0, time.monotonic()
        self._finished = threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)

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

    def cell(self, done: int, total: int) -> None:
        """Say how many cells are done."""
        self._done, self._total = done, total

    def _tick(self) -> None:
        while not self._finished.wait(0.5):
            self._write(self.line())

    def _write(self, line: str) -> None:
        """Write over the line; an empty one leaves the cursor at its start."""
        # Blanks and no escape sequence: not every console of Windows knows them.
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + line[:width].ljust(width) + ("" if line else "\r"))
        self._stream.flush()

    def line(self) -> str:
        """The line as it stands now."""
        elapsed = time.monotonic() - self._start
        line = f"{self._label}  {self._done}/{self._total} cells  {seconds(elapsed)}"
        if self._expected is not None:
            left = self._expected - elapsed
            line += f", about {seconds(left)} left" if left > 0 else ", longer than last time"
        return line
