"""A card that holds all that the rules ask for, as a reader's browser has it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from browsing import Opener, Visit, axe
from example_claims import draw, everything, make

from surveylab.claims import Claim
from surveylab.press.site.cards import render_card
from surveylab.press.site.rendering import render

pytestmark = pytest.mark.slow

STATIC = Path(__file__).parents[3] / "book" / "_static"
__all__ = ["draw", "make"]
# The theme's colours, which are not loaded here.
DARK = """
:root { --pst-color-text-base: #e6e9ee; --pst-color-text-muted: #a9b3c1; --pst-color-background: #14181e }
body { background: #14181e; color: #e6e9ee }
a { color: #4cc9ae }
"""


@pytest.fixture
def card(tmp_path: Path, make: Callable[..., Claim], draw: Callable[..., np.ndarray]) -> str:
    """The address of a page with one card, opened."""
    for name in ("survey.css", "survey.js"):
        shutil.copy(STATIC / name, tmp_path)
    (tmp_path / "verdicts.css").write_text(render("verdicts.css"), encoding="utf-8")
    shown = str(render_card(*everything(make, draw))).replace("<details ", "<details open ")
    styles = "".join(f"<link rel=stylesheet href={name}>" for name in ("survey.css", "verdicts.css"))
    page = tmp_path / "page.html"
    page.write_text(
        "<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>A card</title>"
        f"<meta name=viewport content='width=device-width'>{styles}<script src=survey.js></script></head>"
        f"<body><main class=bd-article><h1>A card</h1>{shown}</main></body></html>",
        encoding="utf-8",
    )
    return page.as_uri()


@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_on_it_can_be_read(width: int, theme: str, card: str, visit: Opener) -> None:
    seen = visit(card, width=width)
    if theme == "dark":
        seen.page.evaluate("document.documentElement.dataset.theme = 'dark'")
        seen.page.add_style_tag(content=DARK)
    assert seen.errors == [] and seen.ask("look.sideways()") == [] and seen.ask("look.images()") == []
    assert axe(seen) == []
    widths = "[...document.querySelectorAll('.sl-settings td .sl-strip')].map(strip => strip.clientWidth)"
    assert min(seen.page.evaluate(widths)) >= 60
    assert seen.page.locator(".sl-settings .sl-dot").count() == 5 + 6
    drawn = "[...document.querySelectorAll('polyline')].map(l => getComputedStyle(l).stroke)"
    assert len(set(seen.page.evaluate(drawn))) == 2


def own(seen: Visit) -> str:
    """What the card says of a reader's own margin."""
    return " ".join(seen.page.locator(".sl-own").inner_text().split())


def test_a_margin_is_set_by_keyboard(card: str, visit: Opener) -> None:
    seen = visit(card)
    for _ in range(10):
        seen.page.keyboard.press("Tab")
        if seen.page.evaluate("document.activeElement.matches('.sl-own input')"):
            break
    seen.page.keyboard.press("End")
    assert "4 points, 4 × the claim’s own With it the claim would be ? inconclusive" in own(seen)
    seen.page.keyboard.press("Home")
    assert "0.25 points" in own(seen) and "✓ supported" in own(seen)
