"""What the press shows while it works: a line of progress, and plain tables."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

from tqdm import tqdm

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
    """A bar that says how far the work is: chapters and cells done, time gone, time left.

    It shows on a terminal only; in a log file or in CI it is silent. Each chapter counts as the seconds that
    it took last time, which tells the time left better than the number of cells.

    Args:
        expected: each chapter that is to be executed, and the seconds it took last time if that is known.
        stream: where to show it.
    """

    def __init__(self, expected: Mapping[str, float | None], *, stream: TextIO | None = None) -> None:
        known = [duration for duration in expected.values() if duration]
        usual = sum(known) / len(known) if known else 1.0
        self._weights = {chapter: duration or usual for chapter, duration in expected.items()}
        self._guessed = not known
        self._waiting = set(expected)
        self._running: dict[str, tuple[float, int, int]] = {}
        self._changing = threading.Lock()
        self._finished = threading.Event()
        self._clock = threading.Thread(target=self._tick, daemon=True)
        self.bar = tqdm(
            total=sum(self._weights.values()),
            file=stream or sys.stderr,
            disable=None,  # unless it is a terminal
            leave=False,
            smoothing=0,
            dynamic_ncols=True,
            bar_format="{desc} {bar} {elapsed}, {remaining} left",
        )

    def __enter__(self) -> Progress:
        if not self.bar.disable:
            self._clock.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        if not self.bar.disable:
            self._clock.join()
        self.bar.close()

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
            self._waiting.discard(chapter)
            self._running.pop(chapter, None)

    def paused(self) -> AbstractContextManager[None]:
        """Take the bar away while something else is shown."""
        return nullcontext() if self.bar.disable else tqdm.external_write_mode(file=self.bar.fp)

    def _tick(self) -> None:
        while not self._finished.wait(0.5):
            self.show()

    def show(self) -> None:
        """Show how far the work is now."""
        with self._changing:
            left = sum(self._weights[chapter] * (1 - self._share(chapter)) for chapter in self._waiting)
            self.bar.n = sum(self._weights.values()) - left
            total = len(self._weights)
            said = [f"{total - len(self._waiting)} of {counted(total, 'chapter')}"] if total > 1 else []
            said += [f"{chapter} {done}/{cells} cells" for chapter, (_, done, cells) in self._running.items()]
        self.bar.set_description_str(", ".join(said))

    def _share(self, chapter: str) -> float:
        """How much of a chapter is done: by the time it took before, else by its cells."""
        if chapter not in self._running:
            return 0.0
        start, done, cells = self._running[chapter]
        return (
            done / cells if self._guessed else min(1.0, (time.monotonic() - start) / self._weights[chapter])
        )
