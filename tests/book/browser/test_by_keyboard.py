"""The keyboard alone does what the mouse does: search, switch the theme, open the menu, filter the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import Opener, Visit

pytestmark = pytest.mark.slow


def tab_to(seen: Visit, selector: str, *, within: int = 40) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(within):
        seen.page.keyboard.press("Tab")
        if has_focus(seen, selector):
            return
    at = seen.page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
    pytest.fail(f"{selector} is not reached by {within} tabs; the focus is at {at}")


def has_focus(seen: Visit, selector: str) -> bool:
    return bool(seen.page.evaluate("selector => document.activeElement.matches(selector)", selector))


def wait_for_focus(seen: Visit, selector: str) -> None:
    seen.page.wait_for_function(f"document.activeElement.matches({selector!r})")


@pytest.mark.parametrize("through", ["http", "file"])
def test_search_leads_to_what_it_found(through: str, visit: Opener, address: str, whole: Path) -> None:
    seen = visit(f"{address if through == 'http' else whole.as_uri() + '/'}data.html")
    tab_to(seen, ".search-button__button", within=5)
    seen.page.keyboard.press("Enter")
    wait_for_focus(seen, "#pst-search-dialog input")
    seen.page.keyboard.press("Escape")
    wait_for_focus(seen, ".search-button__button")
    seen.page.keyboard.press("Enter")
    wait_for_focus(seen, "#pst-search-dialog input")
    seen.page.keyboard.type("ghost")
    seen.page.keyboard.press("Enter")
    found = "#search-results a[href*='normalization/batch_norm']"
    seen.page.locator(found).first.wait_for()
    tab_to(seen, found, within=60)
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url("**/normalization/batch_norm.html*")
    assert "Batch Normalisation" in seen.page.title()
    assert seen.errors == []


def test_the_theme_goes_round_and_is_remembered(visit: Opener, address: str) -> None:
    seen = visit(f"{address}intro.html")
    state = "[document.documentElement.dataset.mode, getComputedStyle(document.body).backgroundColor]"
    tab_to(seen, ".theme-switch-button", within=60)
    colours = {}
    for _ in range(3):
        seen.page.keyboard.press("Enter")
        wait_for_focus(seen, ".theme-switch-button")
        mode, colour = seen.page.evaluate(state)
        colours[mode] = colour
    assert set(colours) == {"light", "dark", "auto"}
    assert colours["light"] == colours["auto"] != colours["dark"]  # the reader's system asks for light here
    while seen.page.evaluate(state)[0] != "dark":
        seen.page.keyboard.press("Enter")
        wait_for_focus(seen, ".theme-switch-button")
    seen.page.goto(f"{address}ledger.html")
    assert seen.page.evaluate(state) == ["dark", colours["dark"]]
    assert seen.errors == []


def test_the_menu_of_a_phone_opens_leads_on_and_closes(visit: Opener, address: str) -> None:
    seen = visit(f"{address}intro.html", width=390)
    opened = "document.querySelector('#pst-primary-sidebar-modal').open"
    tab_to(seen, ".primary-toggle", within=5)
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_function(opened)
    seen.page.keyboard.press("Escape")
    seen.page.wait_for_function(f"!{opened}")
    wait_for_focus(seen, ".primary-toggle")
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_function(opened)
    tab_to(seen, "#pst-primary-sidebar-modal a[href='ledger.html']")
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url("**/ledger.html")
    assert seen.errors == []


def test_the_ledger_is_filtered(visit: Opener, address: str) -> None:
    seen = visit(f"{address}ledger.html")
    shown = seen.page.locator("tr.sl-claim:visible")
    everything = shown.count()
    tab_to(seen, "#sl-find", within=60)
    seen.page.keyboard.type("batch")
    found = shown.count()
    assert 0 < found < everything
    tab_to(seen, "input[name=verdict][value=contradicted]")
    seen.page.keyboard.press("Space")
    assert 0 < shown.count() < found
    tab_to(seen, "#sl-sort")
    seen.page.keyboard.press("End")
    seen.page.wait_for_function("new URLSearchParams(location.search).get('sort') === 'id'")
    tab_to(seen, "form.sl-filter button[type=reset]", within=3)
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_function("!location.search")
    assert shown.count() == everything
    tab_to(seen, "tr.sl-claim a.sl-badge")
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_selector(".sl-card:target")
    assert seen.errors == []


def test_the_mouse_leaves_no_focus_behind(visit: Opener, address: str) -> None:
    """A label would stay beside the button; for that the theme takes the focus away."""
    seen = visit(f"{address}intro.html")
    seen.page.locator(".theme-switch-button").first.click()
    seen.page.wait_for_timeout(100)
    assert not has_focus(seen, ".theme-switch-button")


def test_a_formula_is_a_stop_only_while_it_scrolls(visit: Opener, address: str) -> None:
    seen = visit(f"{address}normalization/batch_norm.html", width=390)
    wide = "(getComputedStyle(f).overflowX !== 'visible' && f.scrollWidth > f.clientWidth + 1)"
    formulas = "[...document.querySelectorAll('div.math')]"
    stop = "f.tabIndex === 0 && f.role === 'group' && f.ariaLabel !== null"
    count = f"{formulas}.filter(f => {wide}).length"
    wrong = f"{formulas}.filter(f => {wide} !== ({stop})).length"
    narrow = seen.page.evaluate(count)
    assert 0 < narrow < seen.page.evaluate(f"{formulas}.length") and seen.page.evaluate(wrong) == 0
    first = seen.page.locator("div.math[tabindex]").first
    first.focus()
    seen.page.keyboard.press("ArrowRight")
    seen.page.wait_for_function("document.activeElement.scrollLeft > 0")
    seen.page.set_viewport_size({"width": 1280, "height": 900})  # a phone that is turned, only more so
    seen.page.wait_for_function(f"{wrong} === 0 && {count} < {narrow}")
