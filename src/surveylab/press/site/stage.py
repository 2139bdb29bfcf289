"""All files that the book is built from: what was written, and the pages that follow from the evidence.

Nothing is written here, and the sources in `book/` are never touched.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from surveylab.claims import provenance_of
from surveylab.press.project import ChapterFailed, Notebook, PressError, Project, text_of
from surveylab.press.run.fingerprint import library_packages
from surveylab.press.run.sources import read_source, text_of_source
from surveylab.press.run.usage import defined_at, public_name, used_names
from surveylab.press.site.api import api_pages
from surveylab.press.site.cards import put_cards
from surveylab.press.site.citations import authors_and_years
from surveylab.press.site.contents import contents
from surveylab.press.site.evidence import Findings, load_findings
from surveylab.press.site.pages import ledger, overview, replications, review
from surveylab.press.site.pages.header import add_header
from surveylab.press.site.pages.provenance import data_package, evidence_table, provenance
from surveylab.press.site.rendering import render

SHORT = 5
"""Lines of code that stand open on a page; longer cells are folded, and a switch opens them all."""


@dataclass(frozen=True)
class Staged:
    """What the book is built from.

    Attributes:
        files: all files by their path.
        findings: what the generated pages were made of.
        sources: for each page that an author wrote, the file of the repository to edit.
        uses: for each object of the library, by where it is defined, the chapters that use it.
    """

    files: dict[str, bytes]
    findings: Findings
    sources: dict[str, str]
    uses: dict[str, list[str]]


def stage(root: Path) -> dict[str, bytes]:
    """The files of `collect`."""
    return collect(root).files


def collect(root: Path) -> Staged:
    """All files that the book is built from, by their path; nothing is written.

    Raises:
        PressError: a file is missing or has a mistake, or a published chapter does not hold together.
    """
    book, project = root / "book", Project(root)
    files = {
        path.relative_to(book).as_posix(): path.read_bytes()
        for path in sorted(book.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(book).parts)
    }
    # The API reference shows what is edited in the code.
    sources = {
        name.removesuffix(".md"): f"book/{name}"
        for name in files
        if name.endswith(".md") and not name.startswith("api/")
    }
    published = [name for name in files if name.endswith(".ipynb")]
    files["_config.yml"] = (root / "_config.yml").read_bytes()
    findings, notebooks = load_findings(root, published)
    named = authors_and_years(book / "references.bib") if notebooks else {}
    packages: Mapping[str, Path] = library_packages(project)
    uses: dict[str, list[str]] = {}
    for name, notebook in notebooks.items():
        page = name.removesuffix(".ipynb")
        chapter = page.removeprefix("full/")
        path = project.source(chapter)
        if path.is_file():
            sources[page] = f"notebooks/{chapter}.ipynb"
            files[sources[page]] = _source(project, chapter)
        used = used_names(notebook, f"book/{name}", packages)
        if page == chapter:  # a full edition uses what its chapter uses
            for place in {defined_at(used_name, packages) for used_name in used} - {""}:
                uses.setdefault(place, []).append(page)
        record = provenance(
            chapter,
            provenance_of(notebook),
            source=sources.get(page),
            library=sorted({public_name(n, packages) for n in used if ":" in defined_at(n, packages)}),
        )
        executed = f"executed/{name}"
        files[executed] = files[name]
        staged = _completed(notebook, name, findings, record)
        add_header(staged, findings, executed=executed, source=sources.get(page))
        put_cards(staged, name, findings, named)
        files[name] = _json(staged)
    files["ledger.md"] = ledger.ledger(findings).encode()
    files["corrections.md"] = review.corrections(findings).encode()
    files["replications.md"] = replications.replications(findings).encode()
    files["review.md"] = review.review(findings).encode()
    files["_static/verdicts.css"] = render("verdicts.css").encode()
    files["datapackage.json"] = data_package().encode()
    files["evidence.csv"] = evidence_table(findings).encode()
    if (root / "src").is_dir():
        pages = api_pages(packages, findings.review)
        files |= {f"api/{name}.md": text.encode() for name, text in pages.items()}
    if "intro.md" in files:
        files["intro.md"] = _filled(files["intro.md"].decode(), findings).encode()
    files["_toc.yml"] = _contents(findings, files)
    return Staged(files, findings, sources, uses)


def _source(project: Project, chapter: str) -> bytes:
    """A chapter's source to download, without what editors add."""
    try:
        return text_of_source(read_source(project, chapter)).encode()
    except ChapterFailed:  # `surveylab run` says why; the page shows what was published
        return project.source(chapter).read_bytes()


def _contents(findings: Findings, files: Mapping[str, bytes]) -> bytes:
    """The table of contents of all pages among these files."""
    pages = [
        name.rpartition(".")[0]
        for name in files
        if name.endswith((".md", ".ipynb")) and not name.startswith(("executed/", "notebooks/"))
    ]
    toc = contents(findings.review, pages)
    return yaml.safe_dump(toc, sort_keys=False, allow_unicode=True).encode()


def _completed(notebook: Notebook, name: str, findings: Findings, record: str) -> Notebook:
    """The notebook as it goes into the book: answers first, corrections and provenance at the end."""
    staged = copy.deepcopy(notebook)
    cells = staged["cells"]
    answers = review.chapter_answers(staged, findings)
    for cell in cells:
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "code" and text_of(cell).count("\n") >= SHORT and "hide-input" not in tags:
            cell["metadata"]["tags"] = [*tags, "hide-input"]
    if name.startswith("full/"):  # what the review needs is said by the standard edition; no label twice
        _without_labels(staged)
    elif corrections := review.chapter_corrections(findings, name.removesuffix(".ipynb")):
        exercises = [place for place, cell in enumerate(cells) if cell.get("id") == "exercises"]
        cells.insert(exercises[0] if exercises else len(cells), _prose("corrections", corrections))
    if answers:
        cells.insert(1, _prose("answers", answers))
    cells.append(_prose("provenance", record))
    return staged


def _prose(id: str, text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": id, "metadata": {}, "source": text}


def _without_labels(notebook: Notebook) -> None:
    """Labels may stand once in a book; they belong to the standard edition."""
    for cell in notebook["cells"]:
        cell.get("metadata", {}).get("mystnb", {}).get("figure", {}).pop("name", None)
        if cell["cell_type"] == "markdown":
            cell["source"] = re.sub(r"(?m)^\([\w:.-]+\)=\n|^:(?:name|label): .*\n", "", text_of(cell))
            cell["source"] = re.sub(r"(?m)^(\$\$) \([\w:.-]+\)$", r"\1", cell["source"])


def _filled(text: str, findings: Findings) -> str:
    """A page with the numbers that follow from the evidence in place of `{{name}}`."""
    known = {
        "statements": str(len(findings.statements)),
        "examined": str(len(findings.examined)),
        "answers": review.answers(findings),
        "claim_summary": review.claim_summary(findings),
        "summary": review.summary(findings),
        "legend": render("legend.md"),
        "wall": overview.wall(findings),
        "effects": overview.effects(findings),
    }

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise PressError(f"book/intro.md asks for {{{{{match[1]}}}}}; there are only {', '.join(known)}")
        return known[match[1]]

    return re.sub(r"\{\{(\w+)\}\}", value, text)


def _json(notebook: Notebook) -> bytes:
    return (json.dumps(notebook, ensure_ascii=False, indent=1) + "\n").encode()
