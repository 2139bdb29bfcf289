"""Build the book: add the pages that follow from the evidence to those that were written, and run Sphinx.

The sources in `book/` are never touched. A copy is staged under `_build/source/`, with the generated pages,
the present wording on every card and a record of provenance at the end of each chapter; from it Jupyter
Book 1 makes `_build/html/`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from surveylab.press.project import PressError, Project
from surveylab.press.run.fingerprint import library_packages
from surveylab.press.site.assets import write_assets
from surveylab.press.site.pdf import make_pdf, parts_of
from surveylab.press.site.postprocess import postprocess
from surveylab.press.site.rendering import card_link
from surveylab.press.site.sphinx_run import run_sphinx
from surveylab.press.site.stage import Staged, collect
from surveylab.press.site.urls import Site

_NEEDED = {
    "jupyter_book": "jupyter-book",
    "sphinxcontrib.bibtex": "sphinxcontrib-bibtex",
    "math_core": "math-core",
    "jinja2": "jinja2",
    "PIL": "pillow",
}


def build(
    root: Path | str, *, output: Path | str | None = None, force: bool = False, site: Site | None = None
) -> Path:
    """Build the HTML book.

    When nothing that a page shows has changed since the last build, that one stands.

    Args:
        output: Where to build; by default `_build/` in the project.
        site: The addresses of the repository and of the published book, where they are known.

    Returns:
        The page to open.

    Raises:
        PressError: something is missing, a published chapter does not hold together, or Sphinx has a warning.
    """
    root = Path(root).resolve()
    target = Path(output).resolve() if output else root / "_build"
    site = site or Site()
    _require_packages()
    staged = collect(root)
    state = _state(root, staged.files, site)
    source, html, stamp = target / "source", target / "html", target / ".state"
    front = html / "index.html"
    if not force and front.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == state:
        return front
    toc, config = (yaml.safe_load(staged.files[name]) for name in ("_toc.yml", "_config.yml"))
    try:
        stamp.unlink(missing_ok=True)
        _synchronise(source, staged.files)
        shutil.rmtree(html, ignore_errors=True)
        run_sphinx(source, html, target / ".doctrees", _settings(root, staged, site))
        postprocess(html)
        write_assets(html, site, config["title"], f"{toc['root']}.html", staged.findings)
        stamp.write_text(state, encoding="utf-8")
    except OSError as error:
        raise PressError(f"cannot write {error.filename or target}: {error.strerror or error}") from error
    return front


def build_pdf(
    root: Path | str, *, output: Path | str | None = None, force: bool = False, site: Site | None = None
) -> Path:
    """Build the HTML book and from it one PDF, unless that is there and nothing has changed.

    Args:
        output: as in `build`; the PDF lies beside the folder of the pages.
        force: Print even if nothing changed; the pages are not built again for it.

    Returns:
        The PDF.

    Raises:
        PressError: as `build`, and if there is no Chromium.
    """
    html = build(root, output=output, site=site).parent
    target = html.parent
    toc, config = (
        yaml.safe_load((target / "source" / name).read_text(encoding="utf-8"))
        for name in ("_toc.yml", "_config.yml")
    )
    pdf = target / (re.sub(r"\W+", "-", config["title"].lower()).strip("-") + ".pdf")
    state, stamp = (target / ".state").read_text(encoding="utf-8"), target / ".pdf-state"
    if force or not pdf.is_file() or not stamp.is_file() or stamp.read_text(encoding="utf-8") != state:
        try:
            stamp.unlink(missing_ok=True)
            make_pdf(html, pdf, parts_of(toc), title=config["title"], author=config["author"])
            stamp.write_text(state, encoding="utf-8")
        except OSError as error:
            raise PressError(f"cannot write {error.filename or pdf}: {error.strerror or error}") from error
    return pdf


def _settings(root: Path, staged: Staged, site: Site) -> dict[str, Any]:
    """What `surveylab.press.site.sphinx_ext` needs to know."""
    return {
        "site": asdict(site),
        "sources": staged.sources,
        "uses": staged.uses,
        "chapters": [page for page, path in staged.sources.items() if path.endswith(".ipynb")],
        "claims": {
            id: {
                "verdict": found.verdict if (found := staged.findings.evidence.get(id)) else "",
                "href": card_link(claim),
                "about": f"{id}: {claim.says}",
            }
            for id, claim in staged.findings.claims.items()
        },
        "packages": {name: str(folder) for name, folder in library_packages(Project(root)).items()},
    }


def _state(root: Path, files: Mapping[str, bytes], site: Site) -> str:
    """A digest of all that decides what the pages look like."""
    digest = hashlib.sha256(repr(site).encode())
    package = Path(__file__).parents[2]
    code = {*(root / "src").rglob("*.py"), *package.rglob("*.py"), *package.rglob("templates/*")}
    library = {f"code {path}": path.read_bytes() for path in code}
    for name, content in sorted({**files, **library}.items()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    for name in ("Sphinx", "jupyter-book", "math-core", "myst-nb", "sphinx-book-theme"):
        digest.update(f"{name} {importlib.metadata.version(name)}".encode())
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
