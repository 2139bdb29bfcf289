"""All files that the book is built from: what was written, and the pages that follow from the evidence.

Nothing is written here, and the sources in `book/` are never touched.
"""

from __future__ import annotations

import copy
import json
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from surveylab.claims import provenance_of
from surveylab.press.project import Notebook, PressError, Project, text_of
from surveylab.press.run.fingerprint import library_packages
from surveylab.press.run.usage import defined_at, public_name, used_names
from surveylab.press.site.cards import put_cards
from surveylab.press.site.citations import authors_and_years
from surveylab.press.site.evidence import Findings, load_findings
from surveylab.press.site.pages import ledger, overview, review
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
    # The pages of the API reference hold nothing but directives: what they show is edited in the code.
    sources = {
        name.removesuffix(".md"): f"book/{name}"
        for name in files
        if name.endswith(".md") and not name.startswith("api/")
    }
    published = [name for name in files if name.endswith(".ipynb")]
    config, toc = ((root / name).read_bytes() for name in ("_config.yml", "_toc.yml"))
    files |= {"_config.yml": config, "_toc.yml": _toc(toc, published)}
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
            files[sources[page]] = path.read_bytes()
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
        add_header(staged, executed=executed, source=sources.get(page))
        put_cards(staged, name, findings, named)
        files[name] = _json(staged)
    files["ledger.md"] = ledger.ledger(findings).encode()
    files["corrections.md"] = review.corrections(findings).encode()
    files["review.md"] = review.review(findings).encode()
    files["_static/verdicts.css"] = render("verdicts.css").encode()
    files["datapackage.json"] = data_package().encode()
    files["evidence.csv"] = evidence_table(findings).encode()
    if "api/index.md" in files:
        files["api/cli.md"] = _command_reference().encode()
        files["api/press.md"] = _press_reference().encode()
    if "intro.md" in files:
        files["intro.md"] = _filled(files["intro.md"].decode(), findings).encode()
    return Staged(files, findings, sources, uses)


def _toc(raw: bytes, published: list[str]) -> bytes:
    """The table of contents with the chapters that are published, and their full editions below them."""
    toc = yaml.safe_load(raw)
    listed: set[str] = set()

    def entries(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = []
        for item in items:
            name = str(item.get("file", ""))
            listed.add(name)
            is_chapter = "/" in name and not name.startswith("api/")
            if is_chapter and f"{name}.ipynb" not in published:
                continue
            below = entries(item.get("sections", []))
            if f"full/{name}.ipynb" in published:
                below.append({"file": f"full/{name}", "title": "Full edition"})
            kept.append({**item, "sections": below} if below else item)
        return kept

    parts = [{**part, "chapters": entries(part["chapters"])} for part in toc["parts"]]
    for name in published:
        if name.removeprefix("full/").removesuffix(".ipynb") not in listed:
            raise PressError(f"book/{name} is published, but _toc.yml does not name it: add its line there")
        if name.startswith("full/") and name.removeprefix("full/") not in published:
            raise PressError(f"book/{name} has no standard edition beside it: publish that first")
    toc["parts"] = [part for part in parts if part["chapters"]]
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


def _press_reference() -> str:
    """Every module of the press, for those who work on the book; the command has a page of its own."""
    press = Path(__file__).parents[1]
    modules = (path.relative_to(press).with_suffix("") for path in press.rglob("[!_]*.py"))
    names = sorted(".".join(module.parts) for module in modules if module.name != "cli")
    parts = [
        "# The press\n",
        "```{eval-rst}\n.. automodule:: surveylab.press\n```\n",
        "No chapter needs this code, which stands behind [the command](cli.md). It is described here for "
        "those who work on the book.\n",
    ]
    for name in names:
        directive = f".. automodule:: surveylab.press.{name}\n   :members:\n"
        parts.append(f"## {name}\n\n```{{eval-rst}}\n{directive}```\n")
    return "\n".join(parts)


def _command_reference() -> str:
    """The help of `surveylab` and of each of its commands, as a page."""
    import click

    # By its name, as autodoc finds what it describes: the command imports this package to build the book.
    cli: click.Group = pkgutil.resolve_name("surveylab.press.cli:cli")

    def help_of(command: click.Command, name: str, parent: click.Context | None = None) -> str:
        context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
        return f"```text\n{command.get_help(context)}\n```\n"

    top = click.Context(cli, info_name="surveylab", **cli.context_settings)
    parts = [
        "# The command `surveylab`\n",
        "What the command says of itself and of each of its parts when it is asked with `--help`.\n",
        help_of(cli, "surveylab"),
    ]
    parts += [f"## {name}\n\n{help_of(command, name, top)}" for name, command in cli.commands.items()]
    return "\n".join(parts)


def _json(notebook: Notebook) -> bytes:
    return (json.dumps(notebook, ensure_ascii=False, indent=1) + "\n").encode()
