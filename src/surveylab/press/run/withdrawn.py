"""Claims that were published and are no more: `book/withdrawn.yml`.

A claim that came out wrong can be taken back, given another name or moved to another chapter. That must be
said, with its result. The file is a list of

    - {claim: bn-fast, chapter: normalization/batch_norm, date: 2026-01-31, why: ..., result: ...}

It decides no verdict, so it lies outside the claims files, which are a part of what makes a chapter stale.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import yaml

from surveylab.press.project import Project, WrongUse

_KEYS = ("claim", "chapter", "date", "why", "result")
FORM = "- {claim: ..., chapter: ..., date: 2026-01-31, why: ..., result: ...}"


@dataclass(frozen=True)
class Withdrawn:
    """One claim that was taken back: where it had been published, since when it is gone, why, its result."""

    claim: str
    chapter: str
    date: str
    why: str
    result: str


def withdrawn(project: Project) -> tuple[Withdrawn, ...]:
    """The withdrawn claims of a project; none where there is no such file.

    Raises:
        WrongUse: the file has a mistake, or names a claim that its chapter still has.
    """
    path = project.root / "book" / "withdrawn.yml"
    name = project.shown(path)
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WrongUse(f"{name}: cannot be read: {error}; it is a list of `{FORM}`") from error
    if not isinstance(entries, list):
        raise WrongUse(f"{name}: not a list; write each claim as `{FORM}`")
    found = tuple(_entry(entry, name) for entry in entries)
    for entry in found:
        if entry.claim in project.claims_of(entry.chapter):
            raise WrongUse(
                f"{name}: {entry.claim} is said to be withdrawn, and is a claim of {entry.chapter}; "
                "remove one of the two, and tell of it in the claim's `history`"
            )
    return found


def _entry(given: Any, name: str) -> Withdrawn:
    if not isinstance(given, dict) or set(given) != set(_KEYS):
        raise WrongUse(f"{name}: {given!r} has not the keys {', '.join(_KEYS)}; write `{FORM}`")
    texts = {key: str(value).strip() if value is not None else "" for key, value in given.items()}
    if empty := next((key for key in _KEYS if not texts[key]), None):
        raise WrongUse(f"{name}: {given!r}: `{empty}` is empty; write `{FORM}`")
    try:
        texts["date"] = datetime.date.fromisoformat(texts["date"]).isoformat()
    except ValueError as error:
        raise WrongUse(f"{name}: {texts['date']!r} is not a date; write it as 2026-01-31") from error
    return Withdrawn(**texts)
