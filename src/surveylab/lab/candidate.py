"""The reader's own method, named as ``"package.module:Class"``, for a chapter's comparison."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class CandidateError(ValueError):
    """The candidate cannot be found."""


def load_candidate(spec: str | None) -> Any | None:
    """Import what ``"package.module:Class"`` names; None for None.

    Raises:
        CandidateError: If the text is not of that form, the module cannot be imported, or has no such name.
    """
    if spec is None:
        return None
    module, colon, name = spec.partition(":")
    if not (module and colon and name) or module.startswith("."):
        raise CandidateError(f"candidate must read 'package.module:Class'; got {spec!r}")
    try:
        found = import_module(module)
    except ImportError as error:
        raise CandidateError(f"candidate {spec!r}: cannot import {module}: {error}") from error
    try:
        return getattr(found, name)
    except AttributeError:
        raise CandidateError(f"candidate {spec!r}: {module} has no {name}") from None
