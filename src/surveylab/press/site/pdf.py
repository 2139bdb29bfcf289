"""The whole book as one PDF: all pages in reading order, set as one document by a headless Chromium.

Links between pages lead to pages of the PDF, and the look is that of a printed page
(`book/_static/print.css`). It is set twice: what the first time shows of the page
numbers goes into the table of contents.
"""

from __future__ import annotations

import io
import logging
import posixpath
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from surveylab.press.project import PressError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TIMEOUT = 900
_STYLE = re.compile(r'<link [^>]*rel="stylesheet"[^>]*>')
_HEAD = """<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light">
<head><meta charset="utf-8"><title>{title}</title>
{styles}
<style>
@page :first {{ @bottom-center {{ content: none; }} }}
.sl-page {{ break-before: page; }}
.sl-front {{ padding-top: 30%; }}
.sl-front h1 {{ font-size: 3rem !important; }}
.sl-part {{ margin: 1.1rem 0 .3rem; font-weight: 600; break-after: avoid; }}
.sl-entry {{ display: flex; gap: .5em; margin: .15rem 0; }}
.sl-entry::after {{ content: attr(data-page); order: 3; }}
.sl-entry i {{ flex: 1; border-bottom: 1px dotted #98a1b0; transform: translateY(-.3em); }}
</style>
</head>
<body><main class="bd-main"><div class="bd-content"><div class="bd-article-container">
"""


@dataclass
class Entry:
    """A heading of the book, and where it stands in the document that all pages make together."""

    title: str
    anchor: str
    below: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """Pages under one caption of the table of contents; the front page stands under none."""

    caption: str
    pages: tuple[str, ...]


def parts_of(toc: Mapping[str, Any]) -> list[Part]:
    """The pages of a table of contents in reading order."""

    def flat(items: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        for item in items:
            yield str(item["file"])
            yield from flat(item.get("sections", ()))

    return [
        Part("", (str(toc["root"]),)),
        *(Part(str(part["caption"]), tuple(flat(part["chapters"]))) for part in toc["parts"]),
    ]


def make_pdf(html: Path, out: Path, parts: Sequence[Part], *, title: str, author: str) -> None:
    """Write the book as a PDF.

    Args:
        parts: Its pages in reading order.

    Raises:
        PressError: there is no browser or no pypdf, or the browser does not make a PDF.
    """
    browser = find_browser()
    try:
        import pypdf
    except ModuleNotFoundError as error:
        raise PressError("the PDF needs pypdf: pip install 'surveylab[book]', or `make pdf`") from error
    document = Document(html, parts, title, author)
    # Beside the pages, so that it finds their styles and figures.
    page = html / "_book.html"
    try:
        numbers: dict[str, int] = {}
        for _ in range(2):
            page.write_text(document.text(numbers), encoding="utf-8")
            reader = pypdf.PdfReader(io.BytesIO(_printed(browser, page)))
            numbers = _page_numbers(reader)
        lost = [entry.title for entry in document.entries() if entry.anchor not in numbers]
        if lost:
            raise PressError(f"the PDF lacks the page {lost[0]!r}: the browser made no destination for it")
    finally:
        page.unlink(missing_ok=True)
    # pypdf remarks on objects that it stores twice, which does no harm.
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    writer = pypdf.PdfWriter(clone_from=reader)
    for part, entries in document.outline:
        place = (
            writer.add_outline_item(title=part, page_number=numbers[entries[0].anchor] - 1) if part else None
        )
        for entry in entries:
            _add(writer, entry, numbers, place)
    # No date and no random name: two builds of one tree give the same file.
    writer.metadata = None
    writer.add_metadata({"/Title": title, "/Author": author})
    writer._ID = None
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.part")
    writer.write(partial)
    partial.replace(out)


def find_browser() -> str:
    """The first Chromium on the path.

    Raises:
        PressError: there is none.
    """
    found = next((program for name in BROWSERS if (program := shutil.which(name))), None)
    if found is None:
        raise PressError(
            f"the PDF is printed by Chromium, and none of {', '.join(BROWSERS)} is on the path: install one "
            "(on Debian and Ubuntu: apt install chromium), or print single pages from any browser"
        )
    return found


def _printed(browser: str, page: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "book.pdf")
        # Root, and some systems, give Chromium no sandbox; the page is our own and loads nothing else.
        options = ["headless", "disable-gpu", "no-sandbox", "no-pdf-header-footer"]
        options += ["virtual-time-budget=120000", f"user-data-dir={folder}/profile", f"print-to-pdf={out}"]
        command = [browser, *(f"--{option}" for option in options), page.as_uri()]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise PressError(f"{browser} did not finish the PDF within {TIMEOUT} s") from error
        if done.returncode != 0 or not out.is_file():
            said = "\n  ".join(done.stderr.strip().splitlines()[-5:])
            raise PressError(f"{browser} made no PDF (exit code {done.returncode}):\n  {said}")
        return out.read_bytes()


def _page_numbers(reader: Any) -> dict[str, int]:
    """On which page, counted from 1, each destination of a PDF lies."""
    numbers = {}
    for name, destination in reader.named_destinations.items():
        number = reader.get_destination_page_number(destination)
        if number is not None and number >= 0:
            numbers[name.lstrip("/")] = number + 1
    return numbers


def _add(writer: Any, entry: Entry, numbers: Mapping[str, int], above: Any) -> None:
    place = writer.add_outline_item(title=entry.title, page_number=numbers[entry.anchor] - 1, parent=above)
    for below in entry.below:
        if below.anchor in numbers:
            _add(writer, below, numbers, place)


class Document:
    """All pages as one, their anchors and links made to fit."""

    def __init__(self, html: Path, parts: Sequence[Part], title: str, author: str) -> None:
        self.title, self.author = title, author
        self._pages = [page for part in parts for page in part.pages]
        self._head = self._shared_head(html)
        self._articles: list[str] = []
        self.outline: list[tuple[str, list[Entry]]] = []
        for part in parts:
            entries = []
            for page in part.pages:
                text, entry = self._article(html, page)
                self._articles.append(text)
                entries.append(entry)
            self.outline.append((part.caption, entries))

    def entries(self) -> Iterator[Entry]:
        """The first heading of each page."""
        for _, entries in self.outline:
            yield from entries

    def text(self, numbers: Mapping[str, int]) -> str:
        """The document; page numbers stand in its contents as far as they are known."""
        return "\n".join(
            [self._head, self._contents(numbers), *self._articles, "</div></div></main></body></html>"]
        )

    def _shared_head(self, html: Path) -> str:
        """Every style sheet as the site's pages load them."""
        styles: dict[str, None] = {}
        for page in self._pages:
            text = (html / f"{page}.html").read_text(encoding="utf-8")
            styles |= dict.fromkeys(_seen_from_top(tag, page) for tag in _STYLE.findall(text))
        return _HEAD.format(title=escape(self.title), styles="\n".join(styles))

    def _contents(self, numbers: Mapping[str, int]) -> str:
        lines = [
            f'<div class="sl-front"><h1>{escape(self.title)}</h1><p>{escape(self.author)}</p></div>',
            '<nav class="sl-page"><h1>Contents</h1>',
        ]
        for part, entries in self.outline:
            if part:
                lines.append(f'<p class="sl-part">{escape(part)}</p>')
            for entry in entries:
                lines.append(_contents_line(entry, numbers))
                # Links make the browser write down where each heading stands; only a page's own is shown.
                lines += [f'<a href="#{b.anchor}" hidden></a>' for b in entry.below]
        return "\n".join([*lines, "</nav>"])

    def _article(self, html: Path, page: str) -> tuple[str, Entry]:
        """The content of a page with its anchors made unique, and its headings."""
        from bs4 import BeautifulSoup

        path = html / f"{page}.html"
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        article: Any = soup.find("article", class_="bd-article")
        if article is None:
            raise PressError(f"{path} has no article: the theme lays its pages out in another way than known")
        for link in article.find_all("a", class_="headerlink"):
            link.decompose()
        entry = _headings(article, page)
        for element in article.find_all(id=True):
            element["id"] = _anchor(page, element["id"])
        for link in article.find_all("a", href=True):
            target = self._target(page, link["href"])
            if target is None:
                del link["href"]
            else:
                link["href"] = target
        for image in article.find_all("img", src=True):
            image["src"] = _from_top(page, image["src"])
            del image["loading"]  # nobody scrolls to it
        article["id"] = _anchor(page, "")
        article["class"] = ["bd-article", "sl-page"]
        return str(article), entry

    def _target(self, page: str, href: str) -> str | None:
        """Where a link leads in the PDF; None for a file of the site, which the PDF does not hold."""
        if re.match(r"[a-z][a-z0-9+.-]*:", href):
            return href
        name, _, anchor = href.partition("#")
        target = _from_top(page, name).removesuffix(".html") if name else page
        if target not in self._pages:
            return None
        return f"#{_anchor(target, unquote(anchor))}"


def _contents_line(entry: Entry, numbers: Mapping[str, int]) -> str:
    number, title = numbers.get(entry.anchor, ""), escape(entry.title)
    return f'<p class="sl-entry" data-page="{number}"><a href="#{entry.anchor}">{title}</a><i></i></p>'


def _headings(article: Any, page: str) -> Entry:
    """A page's title, and below it the sections one level down."""
    top = article.find("h1")
    entry = Entry(_words(top) if top else page, _anchor(page, ""))
    for heading in article.find_all("h2"):
        section = heading.find_parent("section", id=True)
        if section is not None:
            entry.below.append(Entry(_words(heading), _anchor(page, section["id"])))
    return entry


def _words(heading: Any) -> str:
    return " ".join(heading.get_text().split())


def _anchor(page: str, name: str) -> str:
    """An anchor of a page, by a name that no other page has. Only letters that a PDF can name plainly."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", lambda m: f"-{ord(m[0]):x}-", f"{page}--{name}")
    return plain.rstrip("-") if not name else plain


def _seen_from_top(tag: str, page: str) -> str:
    """A tag of a page with its address as seen from the top of the site."""
    return re.sub(r'(href|src)="([^"]*)"', lambda m: f'{m[1]}="{_from_top(page, m[2])}"', tag)


def _from_top(page: str, name: str) -> str:
    """A relative address as seen from the top of the site."""
    if re.match(r"[a-z][a-z0-9+.-]*:", name):
        return name
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), name))
