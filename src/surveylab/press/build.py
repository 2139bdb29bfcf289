"""Build the book: add the pages that follow from the evidence to those that were written, and run Sphinx.

The sources in `book/` are never touched. A copy is staged under `_build/source/`, with the generated pages,
the present wording on every card and a record of provenance at the end of each chapter; from it Jupyter
Book 1 makes `_build/html/`.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from surveylab.claims import provenance_of
from surveylab.press import ledger, overview, pages
from surveylab.press.citations import authors_and_years, with_citations
from surveylab.press.findings import Findings, load_findings
from surveylab.press.glance import add_glance
from surveylab.press.project import Notebook, PressError, Project, text_of
from surveylab.press.provenance import evidence_table, provenance

_NEEDED = {
    "jupyter_book": "jupyter-book",
    "sphinxcontrib.bibtex": "sphinxcontrib-bibtex",
    "sphinx-mathjax-offline": "sphinx-mathjax-offline",
}
# In a process of its own: Sphinx keeps global state, and autodoc imports the library with torch.
_SPHINX = """
import sys
from jupyter_book.sphinx import build_sphinx
source, html, doctrees = sys.argv[1:]
overrides = {"nitpicky": True, "external_toc_path": source + "/_toc.yml", "latex_individualpages": False}
result = build_sphinx(
    source, html, doctreedir=doctrees, noconfig=True, path_config=source + "/_config.yml",
    confoverrides=overrides, freshenv=True, force_all=True, warningiserror=True, keep_going=True, quiet=True,
)
sys.exit(result if isinstance(result, int) else 1)
"""
# The theme's front page is `intro`; a folder opened in a browser asks for `index.html`.
_REDIRECT = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="refresh" content="0; url={page}"><link rel="canonical" href="{page}"></head>
<body><p><a href="{page}">{title}</a></p></body></html>
"""


def build(root: Path | str, *, output: Path | str | None = None, force: bool = False) -> Path:
    """Build the HTML book.

    When nothing that a page shows has changed since the last build, that one stands.

    Args:
        root: The project's folder.
        output: Where to build; by default `_build/` in the project.
        force: Build even if nothing changed.

    Returns:
        The page to open.

    Raises:
        PressError: something is missing, a published chapter does not hold together, or Sphinx has a warning.
    """
    root = Path(root).resolve()
    target = Path(output).resolve() if output else root / "_build"
    _require_packages()
    files = stage(root)
    state = _state(root, files)
    source, html, stamp = target / "source", target / "html", target / ".state"
    front = html / "index.html"
    if not force and front.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == state:
        return front
    try:
        stamp.unlink(missing_ok=True)
        _synchronise(source, files)
        shutil.rmtree(html, ignore_errors=True)
        _run_sphinx(source, html, target / ".doctrees")
        toc, config = (yaml.safe_load(files[name]) for name in ("_toc.yml", "_config.yml"))
        front.write_text(
            _REDIRECT.format(title=config["title"], page=f"{toc['root']}.html"), encoding="utf-8"
        )
        stamp.write_text(state, encoding="utf-8")
    except OSError as error:
        raise PressError(f"cannot write {error.filename or target}: {error.strerror or error}") from error
    return front


def stage(root: Path) -> dict[str, bytes]:
    """All files that the book is built from, by their path; nothing is written.

    Raises:
        PressError: as `build`.
    """
    book = root / "book"
    files = {
        path.relative_to(book).as_posix(): path.read_bytes()
        for path in sorted(book.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(book).parts)
    }
    published = [name for name in files if name.endswith(".ipynb")]
    config, toc = ((root / name).read_bytes() for name in ("_config.yml", "_toc.yml"))
    files |= {"_config.yml": config, "_toc.yml": _toc(toc, published)}
    findings, notebooks = load_findings(root, published)
    named = authors_and_years(book / "references.bib") if notebooks else {}
    for name, notebook in notebooks.items():
        chapter = name.removesuffix(".ipynb").removeprefix("full/")
        path = Project(root).source(chapter)
        link = f"notebooks/{chapter}.ipynb" if path.is_file() else None
        if link:
            files[link] = path.read_bytes()
        executed = f"executed/{name}"
        files[executed] = files[name]
        staged = _with_provenance(notebook, name, chapter, link, pages.conclusion(findings, chapter))
        add_glance(staged, executed=executed, source=link)
        with_citations(staged, name, named)
        files[name] = _json(staged)
    files["ledger.md"] = ledger.ledger(findings).encode()
    files["corrections.md"] = pages.corrections(findings).encode()
    files["review.md"] = pages.review(findings).encode()
    files["evidence.csv"] = evidence_table(findings).encode()
    if "api/cli.md" not in files and "api/index.md" in files:
        files["api/cli.md"] = _command_reference().encode()
    if "intro.md" in files:
        files["intro.md"] = _filled(files["intro.md"].decode(), findings).encode()
    return files


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


def _with_provenance(
    notebook: Notebook, name: str, chapter: str, source: str | None, conclusion: str
) -> Notebook:
    """The notebook as it goes into the book: conclusion and provenance at its end, no label twice."""
    staged = copy.deepcopy(notebook)
    if name.startswith("full/"):
        _without_labels(staged)
    text = provenance(chapter, provenance_of(notebook), source=source)
    cells = staged["cells"]
    if conclusion and not name.startswith("full/"):  # the findings are those of the standard edition
        exercises = [place for place, cell in enumerate(cells) if cell.get("id") == "exercises"]
        cells.insert(exercises[0] if exercises else len(cells), _prose("conclusion", conclusion))
    cells.append(_prose("provenance", text))
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
        "summary": ledger.summary(findings),
        "legend": ledger.legend(),
        "wall": overview.wall(findings),
        "effects": overview.effects(findings),
    }

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            raise PressError(f"book/intro.md asks for {{{{{match[1]}}}}}; there are only {', '.join(known)}")
        return known[match[1]]

    return re.sub(r"\{\{(\w+)\}\}", value, text)


def _command_reference() -> str:
    """The help of `surveylab` and of each of its commands, as a page."""
    import click

    from surveylab.press.cli import cli

    def help_of(command: click.Command, name: str, parent: click.Context | None = None) -> str:
        context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
        return f"```text\n{command.get_help(context)}\n```\n"

    top = click.Context(cli, info_name="surveylab", **cli.context_settings)
    parts = ["# The command `surveylab`\n", help_of(cli, "surveylab")]
    parts += [f"## {name}\n\n{help_of(command, name, top)}" for name, command in cli.commands.items()]
    return "\n".join(parts)


def _state(root: Path, files: Mapping[str, bytes]) -> str:
    """A digest of all that decides what the pages look like."""
    digest = hashlib.sha256()
    library = {f"src/{p.relative_to(root / 'src')}": p.read_bytes() for p in (root / "src").rglob("*.py")}
    for name, content in sorted({**files, **library}.items()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    for package in ("Sphinx", "jupyter-book", "myst-nb", "sphinx-book-theme"):
        digest.update(f"{package} {importlib.metadata.version(package)}".encode())
    return digest.hexdigest()


def _synchronise(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder hold exactly these files, writing only what differs."""
    for path in sorted(folder.rglob("*"), reverse=True) if folder.is_dir() else ():
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif path.is_file() and path.relative_to(folder).as_posix() not in files:
            path.unlink()
    for name, content in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _run_sphinx(source: Path, html: Path, doctrees: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SPHINX, str(source), str(html), str(doctrees)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr or done.stdout).replace(f"{source}/", "")
    lines = list(
        dict.fromkeys(line for line in said.splitlines() if re.search(r"WARNING|ERROR|CRITICAL", line))
    )
    shown = "\n  ".join(lines[:40] or said.strip().splitlines()[-15:])
    raise PressError(f"Sphinx did not accept the book (staged in {source}):\n  {shown}")


def _require_packages() -> None:
    missing = [package for module, package in _NEEDED.items() if not _is_there(module)]
    if missing:
        raise PressError(
            f"the book is built with {' and '.join(missing)}, which is not installed here: "
            "pip install 'surveylab[book]', or `make book`, which sets everything up"
        )


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it is missing
        return False


def _json(notebook: Notebook) -> bytes:
    return (json.dumps(notebook, ensure_ascii=False, indent=1) + "\n").encode()
