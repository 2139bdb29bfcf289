"""What the book mends of the theme and of Sphinx is still broken there; what no longer is should be unmended."""

from __future__ import annotations

import pytest
from browsing import Opener, axe

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("page", "rule", "at"),
    [
        ("intro", "summary-name", "summary"),
        ("api/claims", "definition-list", "> dl"),
        ("references", "aria-required-children", ".citation-list"),
    ],
)
def test_without_the_books_script_axe_finds_a_fault(
    page: str, rule: str, at: str, visit: Opener, address: str
) -> None:
    seen = visit(f"{address}{page}.html")
    seen.page.context.route("**/survey.js*", lambda route: route.abort())
    seen.page.reload()
    found = [violation["at"] for violation in axe(seen) if violation["rule"] == rule]
    assert any(at in place for place in found), f"delete the mend for {rule} from survey.js"


def test_without_the_books_script_the_keyboard_loses_the_theme_switch(visit: Opener, address: str) -> None:
    seen = visit(f"{address}intro.html")
    seen.page.context.route("**/keyboard.js*", lambda route: route.abort())
    seen.page.reload()
    seen.page.locator(".theme-switch-button").first.focus()
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_timeout(100)
    assert seen.page.evaluate("document.activeElement === document.body"), "delete keyboard.js"
