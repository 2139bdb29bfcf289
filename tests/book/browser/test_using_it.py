"""What a reader does with the book: find, filter, follow, switch the theme; with mouse or keyboard."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browsing import Opener, Visit

from surveylab.claims import chapters
from surveylab.claims.statements import badge
from surveylab.claims.verdict import decide
from surveylab.press.site.drawings import population_means
from surveylab.press.site.evidence import load_findings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
# What makes a claim inconclusive whatever its margin.
OVERRULED = ("undertrained", "a matter of budget", "does not repeat")
CHAPTERS = [name for name in chapters(ROOT) if (ROOT / "book" / f"{name}.ipynb").is_file()]


def test_the_front_door_leads_to_the_front_page(visit: Opener, browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    page.wait_for_url("**/intro.html")
    page.close()


@pytest.mark.parametrize("through", ["http", "file"])
def test_search_finds_from_the_keyboard(through: str, visit: Opener, address: str, whole: Path) -> None:
    seen = visit(f"{address if through == 'http' else whole.as_uri() + '/'}method.html")
    seen.page.keyboard.press("Control+k")
    seen.page.keyboard.type("ghost")
    seen.page.keyboard.press("Enter")
    found = seen.page.locator("#search-results li a")
    found.first.wait_for()
    assert any("batch_norm" in (link.get_attribute("href") or "") for link in found.all())
    assert seen.errors == []


def background(seen: Visit) -> str:
    return str(seen.page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_the_theme_can_be_switched(visit: Opener, address: str) -> None:
    seen = visit(f"{address}intro.html")
    switch = seen.page.locator(".theme-switch-button").first
    colours = {}
    for _ in range(3):
        switch.click()
        mode = seen.page.evaluate("document.documentElement.dataset.mode")
        colours[mode] = background(seen)
    assert set(colours) == {"light", "dark", "auto"}
    assert colours["light"] != colours["dark"] and colours["auto"] == colours["light"]
    seen.page.locator(".theme-switch-button").first.focus()
    seen.page.keyboard.press("Enter")
    assert seen.page.evaluate("document.documentElement.dataset.mode") in colours


def test_in_the_plot_of_effects_each_verdict_has_a_form_of_its_own(visit: Opener, address: str) -> None:
    seen = visit(f"{address}intro.html")
    forms: dict[str, str] = seen.page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('a.sl-point')].map(point => {"
        "  const {borderRadius, borderWidth, transform} = getComputedStyle(point, '::before');"
        "  return [point.className, [borderRadius, borderWidth, transform].join()]; }))"
    )
    assert len(forms) >= 4 and len(set(forms.values())) == len(forms), forms


# ------------------------------------------------------------------------------------------ the ledger


def shown(seen: Visit) -> list[str]:
    """The ids of the claims that can be seen, in their order."""
    rows = seen.page.locator("tr.sl-claim:visible").all()
    return [str(row.get_attribute("id")).removeprefix("ledger-") for row in rows]


def attributes(seen: Visit, name: str) -> set[str]:
    return {str(row.get_attribute(f"data-{name}")) for row in seen.page.locator("tr.sl-claim:visible").all()}


@pytest.fixture
def ledger(visit: Opener, address: str) -> Visit:
    return visit(f"{address}ledger.html")


def test_the_ledger_filters_by_verdict_and_keeps_it_in_the_address(
    ledger: Visit, visit: Opener, address: str
) -> None:
    everything = shown(ledger)
    ledger.page.locator("input[value=inconclusive]").check()
    some = shown(ledger)
    assert 0 < len(some) < len(everything) and attributes(ledger, "verdict") == {"inconclusive"}
    assert ledger.page.locator("#sl-shown").inner_text() == f"{len(some)} of {len(everything)} claims"
    # Headings of what is hidden go too, and the others stay.
    statements = ledger.page.locator("tr.sl-statement:visible").count()
    chapters = ledger.page.locator(".sl-chapter:visible").count()
    assert 0 < statements <= len(some) and chapters == len(attributes(ledger, "chapter"))
    again = visit(ledger.page.url)
    assert "verdict=inconclusive" in ledger.page.url and shown(again) == some
    again.page.get_by_role("button", name="Show all").first.click()
    again.page.wait_for_function("document.querySelectorAll('tr.sl-claim[hidden]').length === 0")
    assert shown(again) == everything and again.page.url == f"{address}ledger.html"


def test_the_ledger_finds_words_and_says_when_there_are_none(ledger: Visit) -> None:
    ledger.page.locator("#sl-find").fill("gradient predictive")
    assert shown(ledger) == ["bn-smooth-gradient"]
    ledger.page.locator("#sl-find").fill("no such words")
    assert shown(ledger) == [] and ledger.page.locator(".sl-nothing").is_visible()
    ledger.page.locator(".sl-nothing button").click()
    ledger.page.wait_for_function("document.querySelectorAll('tr.sl-claim[hidden]').length === 0")


def test_the_ledger_filters_by_kind_and_section(ledger: Visit) -> None:
    ledger.page.locator("#sl-kind").select_option("identity")
    assert attributes(ledger, "kind") == {"identity"}
    ledger.page.locator("#sl-section").select_option("normalization")
    assert attributes(ledger, "section") == {"normalization"}


def test_the_ledger_sorts_and_finds_back_to_the_reviews_order(ledger: Visit) -> None:
    order = shown(ledger)
    ledger.page.locator("#sl-sort").select_option("id")
    assert shown(ledger) == sorted(order) and ledger.page.locator("tr.sl-statement:visible").count() == 0
    ledger.page.locator("#sl-sort").select_option("effect")
    rows = ledger.page.locator("tr.sl-claim:visible").all()
    effects = [row.get_attribute("data-effect") for row in rows]
    sizes = [float(effect) for effect in effects if effect]
    assert sizes == sorted(sizes, reverse=True) and effects[: len(sizes)] == [e for e in effects if e]
    ledger.page.locator("#sl-sort").select_option("review")
    assert shown(ledger) == order
    for row in ledger.page.locator("tbody[id^=statement-]").all():
        assert row.locator("tr").first.get_attribute("class") == "sl-statement"


def test_a_readers_own_margin_decides_each_claim_anew(ledger: Visit) -> None:
    findings = load_findings(ROOT, [f"{chapter}.ipynb" for chapter in CHAPTERS])[0]
    published = {id: row.verdict for id, row in findings.evidence.items()}

    def shown_at(octaves: float) -> dict[str, str]:
        ledger.page.locator("#sl-margin").fill(str(octaves))
        rows = ledger.page.evaluate(
            "[...document.querySelectorAll('tr.sl-claim')].map(r => [r.id, r.dataset.verdict, "
            "r.querySelector('.sl-badge').className])"
        )
        assert all(f"sl-{verdict}" in badge for _, verdict, badge in rows)
        return {id.removeprefix("ledger-"): verdict for id, verdict, _ in rows}

    yours = ledger.page.locator(".sl-yours")
    for octaves in (-2, 1.5):
        expected = dict(published)
        for id, found in findings.evidence.items():
            if found.low is None or found.high is None or not found.margin or found.reason in OVERRULED:
                continue
            verdict = decide(
                found.low,
                found.high,
                population_means(found),
                margin=found.margin * 2**octaves,
                direction=str(found.direction),
            )
            expected[id] = badge(findings.claims[id], verdict)
        assert shown_at(octaves) == expected != published
        assert yours.is_visible()
    ledger.page.get_by_role("button", name="Show all").first.click()
    ledger.page.wait_for_function("document.querySelector('.sl-yours').hidden")
    assert shown_at(0) == published and not yours.is_visible()


def test_a_card_is_decided_by_a_readers_own_margin_too(visit: Opener, address: str) -> None:
    findings = load_findings(ROOT, [f"{chapter}.ipynb" for chapter in CHAPTERS])[0]
    seen = visit(f"{address}{CHAPTERS[0]}.html")
    cards = seen.page.locator(".sl-card[data-bounds]").all()
    changed = 0
    for card in cards[:6]:
        id = str(card.get_attribute("id")).removeprefix("claim-")
        found, face = findings.evidence[id], card.locator(".sl-says .sl-badge")
        assert found.low is not None and found.high is not None and found.margin is not None
        card.locator("summary").click()
        card.locator(".sl-own input").fill("2")
        verdict = badge(
            findings.claims[id],
            decide(
                found.low,
                found.high,
                population_means(found),
                margin=4 * found.margin,
                direction=str(found.direction),
            ),
        )
        yours = card.locator(".sl-own .sl-badge")
        assert f"sl-{verdict}" in str(yours.get_attribute("class"))
        assert "yours, not the book’s" in card.locator(".sl-own").inner_text()
        assert f"sl-{found.verdict}" in str(face.get_attribute("class"))  # the book's stays
        assert card.locator(".sl-yours-edge").count() == 2
        changed += verdict != found.verdict
        card.locator(".sl-own input").fill("0")
        assert not yours.is_visible() and card.locator(".sl-yours-edge").count() == 0
    assert changed and seen.errors == []


def test_a_link_to_a_claim_shows_it_though_the_filter_hides_it(ledger: Visit) -> None:
    ledger.page.locator("input[value=cited]").check()
    ledger.page.evaluate("location.hash = '#ledger-bn-fast'")
    ledger.page.wait_for_function("!document.getElementById('ledger-bn-fast').hidden")
    assert ledger.page.locator("#ledger-bn-fast").is_visible()


def test_a_claim_can_be_cited_with_its_address_whatever_the_filter(visit: Opener, address: str) -> None:
    ledger = visit(f"{address}ledger.html?verdict=inconclusive")
    row = ledger.page.locator("#ledger-bn-fast")
    row.locator("summary", has_text="Cite").click()
    cited = row.locator(".sl-cite p").inner_text()
    assert "Batch Norm speeds up convergence" in cited
    assert cited.endswith(f"{address}ledger.html#ledger-bn-fast")


def test_without_scripts_the_ledger_is_whole(browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}ledger.html")
    assert page.locator("tr.sl-claim:visible").count() == page.locator("tr.sl-claim").count() > 20
    assert not page.locator("form.sl-filter").is_visible()
    context.close()


# ------------------------------------------------------------------------------------------ evidence


@pytest.mark.parametrize("page", ["intro", "review", "ledger", "corrections"])
def test_badges_and_marks_lead_to_their_evidence(page: str, visit: Opener, address: str) -> None:
    seen = visit(f"{address}{page}.html")
    links = seen.page.locator("a.sl-badge, a.sl-point, a.sl-point-mark:not(.sl-missing)").all()
    places = sorted({str(link.get_attribute("href")) for link in links})
    assert len(places) >= 4
    for place in (places[0], places[-1]):  # `links.astray` follows them all, without a browser
        there = visit(f"{address}{place}")
        there.page.wait_for_selector(":target")
        assert re.search(r"claim-|statement-", place)
        assert there.page.locator(":target").is_visible() and there.page.locator(":target").bounding_box()


@pytest.mark.parametrize("width", [320, 700, 1280])
def test_each_effect_can_be_pressed_24_px_around_its_point(width: int, visit: Opener, address: str) -> None:
    seen = visit(f"{address}intro.html", width=width)
    missed = """() => [...document.querySelectorAll("a.sl-point")].filter((point) => {
        point.scrollIntoView({ block: "center" });
        const { left, top, width, height } = point.getBoundingClientRect();
        const around = [0, 1, 2, 3, 4, 5, 6, 7].map((turn) => (turn * Math.PI) / 4);
        return width !== 24 || height !== 24 || around.some((angle) => document.elementFromPoint(
            left + 12 + 11 * Math.cos(angle), top + 12 + 11 * Math.sin(angle)) !== point);
    }).map((point) => point.href)"""
    assert seen.page.locator("a.sl-point").count() > 100
    assert seen.page.evaluate(missed) == []


def test_every_sentence_of_the_review_has_a_verdict_or_waits(visit: Opener, address: str) -> None:
    seen = visit(f"{address}review.html")
    sentences = seen.page.locator("span.sl-sentence").all()
    assert len(sentences) == 129
    marked = seen.page.locator("span.sl-sentence:has(a.sl-badge), span.sl-sentence:has(.sl-open)")
    assert marked.count() == len(sentences)


def test_one_switch_shows_and_hides_all_code(visit: Opener, address: str) -> None:
    seen = visit(f"{address}normalization/batch_norm.html")
    shown = seen.page.locator(".cell_input:visible")
    folded, cells = shown.count(), seen.page.locator(".cell_input").count()
    seen.page.get_by_role("button", name="Show all code").click()
    assert shown.count() == cells > folded
    seen.page.get_by_role("button", name="Hide all code").click()
    assert shown.count() == 0
    seen.page.goto(f"{address}normalization/layer_norm.html")  # remembers the choice
    assert shown.count() == 0 and seen.errors == []


def test_what_a_claim_rests_on_opens_by_its_link(visit: Opener, address: str) -> None:
    seen = visit(f"{address}normalization/batch_norm.html#rests-bn-axis")
    facts = seen.page.locator("#rests-bn-axis")
    facts.wait_for(state="visible")
    assert "Why this tolerance" in facts.inner_text()
    assert not seen.page.locator("#rests-bn-lr-max").is_visible()
