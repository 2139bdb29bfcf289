"""What a person who watches a run is shown: a bar with the time left. A published run shows none of it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

from IPython import get_ipython
from IPython.display import DisplayHandle, display
from tqdm import TqdmWarning, tqdm

from surveylab.lab.output import in_notebook

# Packages that load data import the progress bar of notebooks, which warns where ipywidgets is missing.
warnings.filterwarnings("ignore", "IProgress not found", TqdmWarning)

T = TypeVar("T")
# A loop that is over sooner needs no bar.
PATIENCE = 1.0
FORMAT = "{desc}  {bar} {n_fmt}/{total_fmt}, {remaining} left"


def watched() -> bool:
    """Whether a person watches: in a notebook or on a terminal, unless ``TQDM_DISABLE`` is set.

    The press sets it for every kernel that it starts.
    """
    if os.environ.get("TQDM_DISABLE", "0") != "0":
        return False
    return in_notebook() or sys.stderr.isatty()


def progress(items: Iterable[T], label: str = "") -> Iterable[T]:
    """Go through items and, where a person watches, show how many are done and the time left.

    Args:
        items: What to go through; a bar needs to know how many there are (``len``).
        label: What runs.
    """
    if not watched():
        return items
    options: dict[str, Any] = {"desc": label, "leave": False, "delay": PATIENCE, "mininterval": 0.5}
    if in_notebook():
        options |= {"file": _Line(), "position": 0, "ncols": 70, "ascii": False}
    return tqdm(items, bar_format=FORMAT, **options)


class _Line:
    """A line in a cell's output that tqdm writes over as if it were one of a terminal.

    A stream would keep a trace in the notebook, and a widget needs a package and scripts from another site.
    The finished line is empty, and the next bar of the cell writes on it.
    """

    _cell: ClassVar[int] = -1
    _free: ClassVar[list[DisplayHandle]] = []

    def __init__(self) -> None:
        self._handle: DisplayHandle | None = None
        self._text = ""

    def write(self, text: str) -> None:
        line = text.replace("\r", "").rstrip()
        if line == self._text:
            return
        self._text = line
        self._show({"text/plain": line})
        if not line and self._handle is not None:
            self._free.append(self._handle)
            self._handle = None

    def flush(self) -> None:
        """Nothing waits."""

    def _show(self, data: dict[str, str]) -> None:
        if self._handle is None:
            cell = getattr(get_ipython(), "execution_count", -1)
            if cell != _Line._cell:
                _Line._cell = cell
                self._free.clear()
            if not self._free:
                self._handle = display(data, raw=True, display_id=True)
                return
            self._handle = self._free.pop()
        self._handle.update(data, raw=True)
