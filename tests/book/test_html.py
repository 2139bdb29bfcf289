"""The pages are valid HTML, as far as a parser by the standard can tell."""

from __future__ import annotations

from pathlib import Path

import html5lib
import pytest

PHRASES_ONLY = ("summary", "p", "h1", "h2", "h3", "h4", "h5", "h6", "span", "a/span", "button", "label")
BLOCKS = ("p", "div", "ul", "ol", "dl", "table", "section", "article", "figure", "blockquote")


def faults(html: str) -> list[str]:
    """What the parser finds; blocks where only phrases may stand; heads without words; ids given twice."""
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    tree = parser.parse(html)
    found = [f"line {place[0]}: {code}" for place, code, _ in parser.errors]
    for outer in PHRASES_ONLY:
        found += [f"{block} in {outer}" for block in BLOCKS for _ in tree.findall(f".//{outer}/{block}")]
    found += ["th without words" for th in tree.iter("th") if not "".join(th.itertext()).strip()]
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    return found + [f"two elements are called {id}" for id in sorted({id for id in ids if ids.count(id) > 1})]


def test_each_fault_is_found() -> None:
    page = "<!DOCTYPE html><html lang=en><head><title>t</title></head><body>{}</body></html>"
    assert faults(page.format("<p>good</p>")) == []
    for bad, said in {
        "<details><summary><p>x</p></summary></details>": "p in summary",
        "<table><tr><th></th></tr></table>": "th without words",
        "<p id=a></p><p id=a></p>": "two elements are called a",
        "<p class=a class=b></p>": "line 1: duplicate-attribute",
        "<p><div></div></p>": "line 1: unexpected-end-tag",
    }.items():
        assert any(said in fault for fault in faults(page.format(bad))), bad


@pytest.mark.slow
@pytest.mark.parametrize("which", ["site", "whole"])
def test_every_page_is_valid(which: str, request: pytest.FixtureRequest) -> None:
    root: Path = request.getfixturevalue(which)
    pages = sorted(path for path in root.rglob("*.html") if "_static" not in path.parts)
    wrong = {path.name: found for path in pages if (found := faults(path.read_text(encoding="utf-8")))}
    assert len(pages) > 8 and wrong == {}
