"""What the book fixes of the theme is still broken there; what no longer is should be undone."""

from __future__ import annotations

import pytest
from browsing import Opener

pytestmark = pytest.mark.slow


def test_without_the_books_script_the_keyboard_loses_the_theme_switch(visit: Opener, address: str) -> None:
    seen = visit(f"{address}intro.html")
    seen.page.context.route("**/keyboard.js*", lambda route: route.abort())
    seen.page.reload()
    seen.page.locator(".theme-switch-button").first.focus()
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_timeout(100)
    assert seen.page.evaluate("document.activeElement === document.body"), "delete keyboard.js"
