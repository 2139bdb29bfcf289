"""Reading a built site without a browser: where its references lead, and whether badges lead to evidence."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from surveylab.claims import BADGES

# Which attribute of which element names another resource. What a page loads may come from nowhere else.
LINKS = {("a", "href"), ("area", "href"), ("form", "action")}
LOADS = {
    *(("img", "src"), ("script", "src"), ("source", "src"), ("iframe", "src"), ("video", "src")),
    *(("link", "href"), ("object", "data"), ("image", "href"), ("use", "href")),
}
# The links that carry a verdict: badges, and the marks of the front page.
BADGE_LIKE = {"sl-badge", "sl-point", "sl-point-mark"}
# What a verdict rests on; what was not examined yet has only its sentence.
EVIDENCE = ("claim-", "ledger-", "statement-")
WAITING = ("review-",)
# These say where the page is published, and are not followed by a browser.
NAMES_ONLY = {"canonical", "alternate", "search", "prev", "next", "index"}


class Reading(HTMLParser):
    """The elements of one page that have an id, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: dict[str, Mapping[str, str]] = {}
        self.links: list[str] = []
        self.loads: list[str] = []
        self.badges: list[tuple[str, str]] = []  # a verdict, and where its badge leads
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        for name in {given.get("id"), given.get("name") if tag == "a" else None} - {None, ""}:
            self.ids.setdefault(str(name), given)
        for name, value in given.items():
            if (tag, name) in LINKS:
                self.links.append(value)
            elif (tag, name) in LOADS:
                named = tag == "link" and NAMES_ONLY & set(given.get("rel", "").split())
                (self.links if named else self.loads).append(value)
        if "srcset" in given:
            self.loads += [part.split()[0] for part in given["srcset"].split(",") if part.strip()]
        if tag == "meta" and given.get("http-equiv", "").lower() == "refresh":
            self.links.append(given["content"].partition("url=")[2])
        if tag == "a" and BADGE_LIKE & set(given.get("class", "").split()):
            self.badges.append((verdict_of(given), given.get("href", "")))


def read_site(folder: Path) -> dict[str, Reading]:
    """Every page of a built book by its path; what the theme keeps among its assets is no page."""
    pages = (path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts)
    return {path.relative_to(folder).as_posix(): Reading(path.read_text(encoding="utf-8")) for path in pages}


def dead_links(folder: Path, pages: Mapping[str, Reading]) -> list[str]:
    """Every reference to a file or a place that is not there, or to another host for what is loaded."""
    found = []
    for name, page in pages.items():
        for url in page.links:
            found += [f"{name} links to {url!r}: {fault}" for fault in _faults(folder, pages, name, url)]
        for url in page.loads:
            if urlsplit(url).netloc:
                found.append(f"{name} loads {url!r}: another host")
            else:
                found += [f"{name} loads {url!r}: {fault}" for fault in _faults(folder, pages, name, url)]
    for sheet in sorted(folder.rglob("*.css")):
        name = sheet.relative_to(folder).as_posix()
        for url in re.findall(r"url\(\s*[\"']?([^\"')]+)", sheet.read_text(encoding="utf-8")):
            if urlsplit(url).netloc:
                found.append(f"{name} loads {url!r}: another host")
            elif not url.startswith("#"):  # a part of the drawing that uses the style
                found += [f"{name} loads {url!r}: {fault}" for fault in _faults(folder, pages, name, url)]
    return found


def _faults(folder: Path, pages: Mapping[str, Reading], name: str, url: str) -> Iterator[str]:
    """What is wrong with one reference, of which there is at most one."""
    parts = urlsplit(url)
    if parts.netloc or parts.scheme in ("mailto", "data"):
        return
    if parts.scheme:
        yield f"not a place that a link may lead to ({parts.scheme}:)"
    elif not url:
        yield "empty"
    elif parts.path.startswith("/"):
        yield "from the top of the host, where the book need not lie"
    else:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path)))
        target = target if parts.path else name
        anchor = unquote(parts.fragment)
        if target.startswith("../") or not (folder / target).is_file():
            yield "no such file"
        elif anchor and anchor != "top" and target in pages and anchor not in pages[target].ids:
            yield "no such place in that page"


def astray(pages: Mapping[str, Reading]) -> list[str]:
    """Every badge that leads elsewhere than to evidence with the verdict that it names."""
    found = []
    for name, page in pages.items():
        for verdict, url in page.badges:
            target, anchor = _target(name, url)
            place = pages[target].ids.get(anchor) if target in pages else None
            if place is None:
                found.append(f"{name}: the badge {verdict!r} leads to {url!r}, which is not there")
            elif not anchor.startswith(WAITING if verdict == "missing" else EVIDENCE):
                found.append(f"{name}: the badge {verdict!r} leads to {url!r}, which is no evidence")
            elif (there := place.get("data-verdict") or verdict_of(place)) not in ("", verdict):
                found.append(f"{name}: the badge {verdict!r} leads to {url!r}, which says {there!r}")
    return found


def _target(name: str, url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    path = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path)))
    return (path if parts.path else name), unquote(parts.fragment)


def verdict_of(attributes: Mapping[str, str]) -> str:
    """The verdict that an element's class names, such as `sl-card sl-supported`."""
    words = attributes.get("class", "").split()
    return next((word[3:] for word in words if word.startswith("sl-") and word[3:] in BADGES), "")
