"""Every page of the book as a reader's browser has it, with everything but the book out of reach."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pypdf
import pytest
import yaml
from browsing import Opener, Visit, axe, open_page
from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]

MEGABYTE = 1_000_000
LIMIT = 2.5 * MEGABYTE  # all that a page loads
NOT_WRITTEN = ["404", "genindex", "search"]


def pages() -> list[str]:
    """Every page, from the table of contents: the book need not be built to list the tests."""
    from surveylab.press.site.stage import stage

    def files(items: list[dict[str, Any]]) -> list[str]:
        return [name for item in items for name in (item["file"], *files(item.get("sections", [])))]

    toc = yaml.safe_load(stage(ROOT)["_toc.yml"])
    listed = [toc["root"], *(name for part in toc["parts"] for name in files(part["chapters"]))]
    return [*listed, *NOT_WRITTEN]


PAGES = pages()
# Of the page's background, from 0 to 255.
LIGHTNESS = (
    "Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number))"
)


def test_every_page_is_looked_at(whole: Path) -> None:
    built = {path.relative_to(whole).with_suffix("").as_posix() for path in whole.rglob("*.html")}
    assert built == {*PAGES, "index"}  # the last only leads on to the front page


@pytest.fixture(scope="module", params=PAGES)
def desk(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Visit]:
    """A page in a wide window, opened once for all that is asked of it there, in the order below."""
    seen = open_page(browser, f"{address}{request.param}.html")
    yield seen
    seen.page.context.close()


def test_on_a_desk(desk: Visit) -> None:
    assert desk.outside == [], "asks another host"
    assert desk.errors == []
    assert desk.ask("look.images()") == []
    assert desk.ask("look.mathematics()") == []
    weights = desk.weights()
    assert 0 < sum(weights.values()) <= LIMIT, sorted(weights.items(), key=lambda item: -item[1])[:5]
    assert axe(desk) == []


def test_by_keyboard(desk: Visit) -> None:
    """Tab through the page: everything is reached, and shows that it has the focus."""
    stops = int(str(desk.page.evaluate("look.startWalk()")))
    for press in range(stops + 20):
        desk.page.keyboard.down("Tab")  # held down, it goes on: half the messages of pressing it each time
        if press % 16 == 0 and not desk.page.evaluate("look.leftToWalk()"):
            break
    desk.page.keyboard.up("Tab")
    assert desk.ask("look.endWalk()") == []


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("normalization/norm_comparison", 16_000),
        ("normalization/batch_norm", 20_000),
        ("adaptive/optimizers", 26_000),
    ],
)
def test_a_long_page_is_no_longer_than_this(name: str, most: int, visit: Opener, address: str) -> None:
    """On a desk, with its cards folded as a reader first sees them."""
    seen = visit(f"{address}{name}.html")
    assert 5_000 < seen.page.evaluate("document.documentElement.scrollHeight") <= most


def darken(seen: Visit) -> None:
    """Let the reader's system ask for dark colours, and wait until the theme has heard of it."""
    seen.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    if seen.page.locator(".theme-switch-button").count():
        seen.page.wait_for_function("document.documentElement.dataset.theme === 'dark'")


def test_in_the_dark(desk: Visit) -> None:
    darken(desk)
    assert desk.page.evaluate(LIGHTNESS) < 60, "the page is not dark"
    assert axe(desk, colours_only=True) == []
    assert desk.errors == []


def test_on_paper(desk: Visit) -> None:
    darken(desk)
    title = desk.page.locator("h1").first.inner_text().split("#")[0].strip()
    printed = pypdf.PdfReader(io.BytesIO(desk.page.pdf(format="A4")))
    assert len(printed.pages) <= 60
    # The first page alone: to read a long one takes longer than to print it.
    assert "".join(title.split()) in "".join(printed.pages[0].extract_text().split())
    desk.page.emulate_media(media="print")
    assert desk.ask("look.mathematics()") == []


@pytest.mark.parametrize("name", PAGES)
def test_on_a_phone(name: str, visit: Opener, whole: Path) -> None:
    """In a narrow window, and opened as a file: without a server."""
    seen = visit((whole / f"{name}.html").as_uri(), width=390)
    assert seen.outside == [] and seen.errors == []
    assert seen.ask("look.mathematics()") == []
    assert seen.ask("look.sideways()") == []
    assert axe(seen) == []
    seen.page.set_viewport_size({"width": 320, "height": 640})  # the narrowest phone, or a page at 400 %
    assert seen.ask("look.sideways()") == []
