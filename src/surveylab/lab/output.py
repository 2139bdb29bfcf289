"""Showing a result: as a rich output in a notebook, as plain text in a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from IPython import get_ipython
from IPython.display import display

# Tells the comparison of re-executed pages that the numbers in a text may differ on another machine.
COMPUTED = "\n\n<!-- computed -->"


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this."""
    return hasattr(get_ipython(), "kernel")


def show(
    data: Mapping[str, str], metadata: Mapping[str, Any] | None = None, *, plain: str | None = None
) -> None:
    """Display an output in every form a notebook may want; a script prints the text.

    Args:
        data: The forms by MIME type, ``text/plain`` among them.
        metadata: Of the output.
        plain: What a script prints in place of the Markdown or plain text.
    """
    if in_notebook():
        display(dict(data), metadata=dict(metadata or {}), raw=True)
    else:
        text = data.get("text/markdown", data["text/plain"]) if plain is None else plain
        if text:
            print(text.removesuffix(COMPUTED))
