"""Every page of the book as a reader's browser has it, with everything but the book out of reach."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pypdf
import pytest
import yaml
from browsing import Opener, Visit, axe

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]

MEGABYTE = 1_000_000
LIMIT = 1.5 * MEGABYTE  # all that a page loads, but for MathJax
NOT_WRITTEN = ["404", "genindex", "search"]

# What the theme does and this book does not mend: rule, part of the selector, why, and the theme's issue.
EXCEPTIONS: list[tuple[str, str, str, str]] = []


def pages() -> list[str]:
    """Every page, from the table of contents: the book need not be built to list the tests."""

    def files(items: list[dict[str, Any]]) -> list[str]:
        return [name for item in items for name in (item["file"], *files(item.get("sections", [])))]

    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = [toc["root"], *(name for part in toc["parts"] for name in files(part["chapters"]))]
    chapters = {path.stem for path in (ROOT / "notebooks").rglob("*.ipynb")}
    waiting = {
        name
        for name in listed
        if "/" in name and not name.startswith("api/") and not (ROOT / f"book/{name}.ipynb").exists()
    }
    assert chapters
    full = [f"full/{name}" for name in listed if (ROOT / f"book/full/{name}.ipynb").exists()]
    return [name for name in [*listed, *full, *NOT_WRITTEN] if name not in waiting]


PAGES = pages()


def test_every_page_is_looked_at(whole: Path) -> None:
    built = {path.relative_to(whole).with_suffix("").as_posix() for path in whole.rglob("*.html")}
    assert built == {*PAGES, "index"}  # the last only leads on to the front page


@pytest.mark.parametrize("name", PAGES)
def test_on_a_desk(name: str, visit: Opener, address: str) -> None:
    seen = visit(f"{address}{name}.html")
    assert seen.outside == [], "asks another host"
    assert seen.errors == []
    assert seen.ask("look.images()") == []
    assert seen.ask("look.mathematics()") == []
    weight = sum(size for url, size in seen.weights.items() if "mathjax" not in url)
    assert 0 < weight <= LIMIT, sorted(seen.weights.items(), key=lambda item: -item[1])[:5]
    assert walked(seen) == []
    assert unexcused(axe(seen)) == []


def walked(seen: Visit) -> list[str]:
    """Tab through the page: what was not reached, and what does not show that it has the focus."""
    stops = int(str(seen.page.evaluate("look.startWalk()")))
    for _ in range(stops + 20):
        seen.page.keyboard.press("Tab")
        if not seen.page.evaluate("look.leftToWalk()"):
            break
    return seen.ask("look.endWalk()")


def unexcused(violations: list[dict[str, str]]) -> list[str]:
    """What axe found, one line each, without the theme's known faults."""
    return [
        f"{v['rule']} ({v['impact']}) at {v['at']}: {v['why']}"
        for v in violations
        if not any(rule == v["rule"] and part in v["at"] for rule, part, _, _ in EXCEPTIONS)
    ]


@pytest.mark.parametrize("name", PAGES)
def test_in_the_dark(name: str, visit: Opener, address: str) -> None:
    seen = visit(f"{address}{name}.html", theme="dark")
    assert seen.errors == []
    assert unexcused(axe(seen, colours_only=True)) == []


@pytest.mark.parametrize("name", PAGES)
def test_on_a_phone(name: str, visit: Opener, address: str) -> None:
    seen = visit(f"{address}{name}.html", width=390)
    assert seen.errors == []
    assert seen.ask("look.sideways()") == []
    assert unexcused(axe(seen)) == []


@pytest.mark.parametrize("name", [name for name in PAGES if name not in NOT_WRITTEN])
def test_on_paper(name: str, visit: Opener, address: str) -> None:
    seen = visit(f"{address}{name}.html", theme="dark")
    title = seen.page.locator("h1").first.inner_text().split("#")[0].strip()
    printed = pypdf.PdfReader(io.BytesIO(seen.page.pdf(format="A4")))
    text = " ".join(page.extract_text() for page in printed.pages)
    assert "".join(title.split()) in "".join(text.split())
    assert "$$" not in text and "\\frac" not in text
    assert len(printed.pages) <= 60
