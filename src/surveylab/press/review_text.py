"""The review as running text: `book/review_text.yml`, read strictly.

Each sentence that evidence can decide carries the id of its statement; claims name that id under `covers`.
The file is also the order of sections and chapters, and the list of all statements there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from surveylab.press.errors import PressError


@dataclass(frozen=True)
class Sentence:
    """One sentence: what the review asserts, or (without an id) a connection between two such."""

    says: str
    id: str | None
    cite: tuple[str, ...]


@dataclass(frozen=True)
class Chapter:
    """The part of the review that one chapter examines; `name` is `section/chapter`."""

    name: str
    title: str
    text: tuple[Sentence, ...]

    @property
    def statements(self) -> list[str]:
        """The ids of its checkable statements."""
        return [sentence.id for sentence in self.text if sentence.id]


@dataclass(frozen=True)
class Section:
    """A section of the review: opening sentences and chapters."""

    name: str
    title: str
    opens: tuple[Sentence, ...]
    chapters: tuple[Chapter, ...]

    @property
    def statements(self) -> list[str]:
        """The ids of its checkable statements."""
        return [id for chapter in self.chapters for id in chapter.statements]


def load_review(path: Path) -> tuple[Section, ...]:
    """Read the review's text.

    Raises:
        PressError: the file is missing or has a mistake; the message says where and how to fix it.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PressError(f"cannot read {path}: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise PressError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(raw, list):
        raise PressError(f"{path} is not a list of sections; begin each with `- section: ...`")
    sections = tuple(_section(item, str(path)) for item in raw)
    seen: set[str] = set()
    for chapter in chapters_of(sections):
        for id in chapter.statements:
            if id in seen:
                raise PressError(
                    f"{path}: {chapter.name}: the id {id!r} appears twice; a statement is one sentence"
                )
            seen.add(id)
    return sections


def chapters_of(sections: tuple[Section, ...]) -> Iterator[Chapter]:
    """All chapters in reading order."""
    for section in sections:
        yield from section.chapters


def _section(raw: Any, where: str) -> Section:
    _check(raw, {"section": str, "title": str, "opens": list, "chapters": list}, where)
    where = f"{where}: {raw['section']}"
    opens = tuple(_sentence(item, where) for item in raw["opens"])
    chapters = tuple(_chapter(item, raw["section"], where) for item in raw["chapters"])
    return Section(raw["section"], raw["title"], opens, chapters)


def _chapter(raw: Any, section: str, where: str) -> Chapter:
    _check(raw, {"chapter": str, "title": str, "text": list}, where)
    name = f"{section}/{raw['chapter']}"
    return Chapter(
        name, raw["title"], tuple(_sentence(item, f"{where}/{raw['chapter']}") for item in raw["text"])
    )


def _sentence(raw: Any, where: str) -> Sentence:
    _check(raw, {"says": str}, where, optional={"id": str, "cite": list})
    return Sentence(raw["says"].strip(), raw.get("id"), tuple(raw.get("cite", ())))


def _check(raw: Any, wanted: dict[str, type], where: str, optional: dict[str, type] | None = None) -> None:
    """A mapping has exactly the keys it should, of the types they should be."""
    if not isinstance(raw, dict):
        raise PressError(f"{where}: {raw!r} is not a mapping with {', '.join(wanted)}")
    known = wanted | (optional or {})
    for key in wanted:
        if key not in raw:
            raise PressError(f"{where}: {key!r} is missing in {raw!r}")
    for key, value in raw.items():
        if key not in known:
            raise PressError(f"{where}: unknown key {key!r}; the keys here are {', '.join(known)}")
        if not isinstance(value, known[key]):
            raise PressError(f"{where}: {key!r} is {value!r}, which should be a {known[key].__name__}")
