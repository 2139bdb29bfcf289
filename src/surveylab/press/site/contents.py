"""The table of contents. It follows from the review's order and from the pages that there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from surveylab.press.project import PressError
from surveylab.press.review_text import Section

ROOT = "intro"
_METHOD = ("method", "data", "reproduce")
_EVIDENCE = ("review", "ledger", "corrections", "replications")
_REFERENCE = ("glossary", "references")


def contents(review: Iterable[Section], pages: Sequence[str]) -> dict[str, Any]:
    """All pages in reading order, as Jupyter Book takes them in `_toc.yml`.

    A section of the review has a part of its own as soon as one of its chapters is published; a full edition
    stands below its chapter. A page that is not known here joins those on how the book works.

    Args:
        pages: The pages' names without their suffixes. Those of the API reference keep this order.

    Raises:
        PressError: A published chapter is not in the review, or a full edition has no standard one.
    """
    there = set(pages)
    known = {ROOT, *_METHOD, *_EVIDENCE, *_REFERENCE}
    more = [page for page in pages if "/" not in page and page not in known]
    sections = {
        section.title: [
            _chapter(chapter.name, there) for chapter in section.chapters if chapter.name in there
        ]
        for section in review
    }
    listed = {item["file"] for items in sections.values() for item in items}
    for page in pages:
        chapter = page.removeprefix("full/")
        if "/" in page and not page.startswith("api/") and chapter not in listed:
            if chapter in there or page == chapter:
                fix = "book/review_text.yml has no such chapter: add it there"
                raise PressError(f"book/{page}.ipynb is published, but {fix}")
            raise PressError(f"book/{page}.ipynb has no standard edition beside it: publish that first")
    reference = [page for page in pages if page.startswith("api/") and page != "api/index"]
    library: list[dict[str, Any]] = [{"file": page} for page in reference]
    if "api/index" in there:
        library = [{"file": "api/index", "sections": library}]
    parts = {
        "How it works": [{"file": page} for page in [*_METHOD, *more] if page in there],
        "The evidence": [{"file": page} for page in _EVIDENCE if page in there],
        **sections,
        "Reference": library + [{"file": page} for page in _REFERENCE if page in there],
    }
    shown = [{"caption": title, "chapters": items} for title, items in parts.items() if items]
    return {"format": "jb-book", "root": ROOT, "parts": shown}


def _chapter(name: str, there: set[str]) -> dict[str, Any]:
    full = f"full/{name}"
    if full not in there:
        return {"file": name}
    return {"file": name, "sections": [{"file": full, "title": "Full edition"}]}
