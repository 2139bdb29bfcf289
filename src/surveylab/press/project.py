"""The project as the press sees it: where it lies, its chapters, and how a file in it is replaced."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surveylab.claims import edition_of, publication_seed, record
from surveylab.press.errors import ChapterFailed as ChapterFailed  # all errors are imported from here
from surveylab.press.errors import PressError, WrongUse
from surveylab.press.review_text import Section, chapters_of, load_review

if TYPE_CHECKING:
    from surveylab.claims import Claim

Notebook = dict[str, Any]

INJECTED = "injected-parameters"
"""Tag and cell id of the cell that papermill adds: it is in no source and is hidden in the book."""


@dataclass(frozen=True)
class Project:
    """One checkout: `notebooks/` with the sources, `book/` with the claims and the published chapters."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """Find the project around the working folder, or the one that `SURVEYLAB_ROOT` names.

        Raises:
            WrongUse: no folder on the way up holds `book/claims/`.
        """
        try:
            return cls(record.find_root(start))
        except record.RecordError as error:
            raise WrongUse(str(error)) from error

    @cached_property
    def chapters(self) -> list[str]:
        """All chapters, by their sources."""
        return record.chapters(self.root)

    @cached_property
    def claims(self) -> dict[str, Claim]:
        """The claims, read strictly.

        Raises:
            WrongUse: a file under `book/claims/` has a mistake; the message names the line and the fix.
        """
        from surveylab.claims import ClaimError, load_claims

        book = self.root / "book"
        bibliography = book / "references.bib"
        try:
            return load_claims(
                book / "claims",
                bibliography=bibliography if bibliography.exists() else None,
                chapters=set(self.chapters),
                inventory=self._statements(),
            )
        except ClaimError as error:
            raise WrongUse(str(error).replace(f"{self.root}{os.sep}", "")) from error
        except OSError as error:
            raise WrongUse(f"cannot read {error.filename}: {error.strerror or error}") from error

    @cached_property
    def review(self) -> tuple[Section, ...]:
        """The review's text, read strictly.

        Raises:
            PressError: `book/review_text.yml` is missing or has a mistake.
        """
        return load_review(self.root / "book" / "review_text.yml")

    def _statements(self) -> set[str] | None:
        """The ids of the review's statements; None where the project has no review."""
        if not (self.root / "book" / "review_text.yml").exists():
            return None
        return {id for chapter in chapters_of(self.review) for id in chapter.statements}

    def claims_of(self, chapter: str) -> dict[str, Claim]:
        """The claims that one chapter decides."""
        return {id: claim for id, claim in self.claims.items() if claim.chapter == chapter}

    def seed(self, chapter: str) -> int:
        """The seed on which a chapter is published; it follows from its name and its edition."""
        return publication_seed(chapter, edition_of(self.claims.values(), chapter))

    def select(self, names: Sequence[str]) -> list[str]:
        """Resolve the chapters named on the command line; none named means all.

        A chapter may be given as `section/chapter`, as its last part where that is unambiguous, or as the
        path of its source (what a shell completes). Every command on chapters begins here, so that a mistake
        in the claims is said before anything runs.

        Raises:
            WrongUse: an unknown or ambiguous name, with the closest one and the list; a mistake in a claim.
        """
        if not self.chapters:
            raise WrongUse(f"there is no chapter under {self.root / 'notebooks'}")
        chosen = [self._resolve(name) for name in names] or self.chapters
        self.claims  # noqa: B018 - read here for its errors
        return list(dict.fromkeys(chosen))

    def _resolve(self, name: str) -> str:
        # A Windows shell completes a path with backslashes.
        wanted = name.replace("\\", "/").removeprefix("./").removeprefix("notebooks/").removesuffix(".ipynb")
        if wanted in self.chapters:
            return wanted
        short = [chapter for chapter in self.chapters if chapter.endswith("/" + wanted)]
        if len(short) == 1:
            return short[0]
        known = "the chapters are: " + ", ".join(self.chapters)
        if short:
            raise WrongUse(f"'{name}' could be {' or '.join(short)}; {known}")
        near = difflib.get_close_matches(wanted, self.chapters, n=1, cutoff=0.5)
        if not near:
            last = {chapter.rpartition("/")[2]: chapter for chapter in self.chapters}
            near = [last[part] for part in difflib.get_close_matches(wanted.rpartition("/")[2], last, n=1)]
        hint = f" Did you mean {near[0]}?" if near else ""
        raise WrongUse(f"there is no chapter '{name}'.{hint} ({known})")

    def source(self, chapter: str) -> Path:
        """Where the author edits a chapter."""
        return record.source_path(self.root, chapter)

    def published(self, chapter: str, profile: str = "standard") -> Path:
        """Where its executed notebook is published."""
        return record.published_path(self.root, chapter, profile)

    def tuning(self, chapter: str) -> Path:
        """Where the learning rates found for it are kept."""
        return self.root / "book" / "tuning" / f"{chapter}.json"

    def shown(self, path: Path) -> str:
        """A path as a person wants to read it: from the project's root where it lies inside."""
        try:
            return str(path.relative_to(self.root))
        except ValueError:
            return str(path)


def text_of(cell: Notebook) -> str:
    """The text of a cell, which the notebook format stores as a string or as a list of lines."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def own_cells(notebook: Notebook) -> list[Notebook]:
    """The cells an author wrote: all but the one that papermill added."""
    return [c for c in notebook["cells"] if INJECTED not in c.get("metadata", {}).get("tags", [])]


def ensure_writable(path: Path) -> None:
    """Find out that a file cannot be written before the minutes are spent that its content costs.

    Raises:
        PressError: the folder cannot be made or written to.
    """
    write_atomically(path.parent / f".{path.name}.probe", "")
    (path.parent / f".{path.name}.probe").unlink()


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader sees the old text or the new one, never a part.

    Raises:
        PressError: it could not be written; the old file is as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)  # noqa: PTH105 - the tests watch this call
    except OSError as error:
        reason = error.strerror or str(error)
        kept = "; the old file is unchanged" if path.exists() else ""
        raise PressError(f"cannot write {path}: {reason}{kept}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def listed(items: Iterable[str], limit: int = 6) -> str:
    """Names in a sentence, cut short where there are many."""
    names = list(items)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
