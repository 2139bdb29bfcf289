"""What the press says when something does not hold: for a person to read, never a traceback."""

from __future__ import annotations


class PressError(Exception):
    """Something that does not hold, said in words for a person: shown without a traceback."""

    exit_code = 1


class WrongUse(PressError):
    """The press was asked for something that does not exist or cannot be had."""

    exit_code = 2


class ChapterFailed(PressError):
    """A chapter did not run to its end, or what it gave cannot be published."""

    def __init__(self, chapter: str, reason: str, notebook: str | None = None, exit_code: int = 1) -> None:
        # All arguments go to the base class so that the error survives pickling on its way from a worker.
        super().__init__(chapter, reason, notebook, exit_code)
        self.chapter, self.reason, self.notebook, self.exit_code = chapter, reason, notebook, exit_code

    def __str__(self) -> str:
        return f"{self.chapter}: {self.reason}"
