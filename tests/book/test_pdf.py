"""The PDF: one document with every page, whose links, bookmarks and page numbers lead where they say."""

from __future__ import annotations

import re
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser

from surveylab.press.project import PressError
from surveylab.press.site import pdf
from surveylab.press.site.build import build_pdf
from surveylab.press.site.pdf import BROWSERS, Document, Part, find_browser, make_pdf, parts_of
from surveylab.press.site.stage import stage

PARTS = [Part("", ("intro",)), Part("Demo", ("demo/one",)), Part("Reference", ("references",))]
needs_chromium = pytest.mark.skipif(
    not any(shutil.which(name) for name in BROWSERS), reason="no chromium here"
)


def test_pages_stand_in_the_order_of_the_contents() -> None:
    toc = {
        "root": "intro",
        "parts": [
            {"caption": "A", "chapters": [{"file": "b", "sections": [{"file": "full/b"}]}, {"file": "c"}]}
        ],
    }
    assert parts_of(toc) == [Part("", ("intro",)), Part("A", ("b", "full/b", "c"))]


def test_without_a_browser_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PressError, match=r"none of chromium, .* is on the path: install one"):
        make_pdf(tmp_path, tmp_path / "x.pdf", PARTS, title="A book", author="Someone")
    program = tmp_path / "google-chrome"
    program.write_text("", encoding="utf-8")
    program.chmod(0o755)
    assert find_browser() == str(program)


@pytest.mark.slow
def test_what_the_browser_says_is_passed_on(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\necho no display >&2\nexit 3\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(PressError, match=r"made no PDF \(exit code 3\):\n  no display"):
        make_pdf(site, tmp_path / "x.pdf", PARTS, title="A book", author="Someone")
    assert not (site / "_book.html").exists() and not (tmp_path / "x.pdf").exists()


@pytest.mark.slow
def test_links_lead_within_the_document_or_out_of_the_book_and_nowhere_else(site: Path) -> None:
    text = Document(site, PARTS, "A <book>", "Someone").text({"demo-2f-one": 7})
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    for link in re.findall(r'<a [^>]*href="([^"]*)"', text):
        assert link.startswith("https:") or link.removeprefix("#") in ids, link
    assert 'id="demo-2f-one--claim-good"' in text
    assert "evidence.csv" not in "".join(re.findall(r'href="([^"]*)"', text))
    assert 'src="_images/' in text and 'src="../' not in text
    assert "A &lt;book&gt;" in text and 'data-page="7"' in text


@pytest.fixture(scope="module")
def printed(small: Path, site: Path) -> Path:
    return build_pdf(small)


def opened(path: Path) -> tuple[Any, list[str]]:
    """The PDF, and the text of each of its pages without ligatures."""
    import pypdf

    reader = pypdf.PdfReader(path)
    return reader, [unicodedata.normalize("NFKC", page.extract_text()) for page in reader.pages]


@needs_chromium
@pytest.mark.slow
def test_the_pdf_holds_the_book(printed: Path) -> None:
    assert printed.name == "the-executable-survey.pdf"
    reader, texts = opened(printed)
    whole = "\n".join(texts)
    assert reader.metadata.title == "The executable survey" and "/CreationDate" not in reader.metadata
    assert "The method gains <a point>." in whole
    # Formulas are set, not shown as source; and nothing of the screen's machinery.
    assert r"\(" not in whole and r"\frac" not in whole
    for words in ("Show code cell", "Back to top", "Skip to main"):
        assert words not in whole
    assert [page.mediabox.width < 600 for page in reader.pages] == [True] * len(texts)
    for number, text in enumerate(texts[1:], start=2):
        assert re.search(rf"\b{number}\b", text), f"page {number} does not show its number"


@needs_chromium
@pytest.mark.slow
def test_bookmarks_contents_and_links_lead_to_the_page_they_name(printed: Path) -> None:
    reader, texts = opened(printed)
    titles = {}

    def walk(items: list[Any]) -> None:
        for item in items:
            if isinstance(item, list):
                walk(item)
            else:
                titles[item.title] = reader.get_destination_page_number(item)

    walk(reader.outline)
    assert {"Demonstration", "The first chapter", "Provenance", "Ledger", "References"} <= set(titles)
    for title in ("The first chapter", "Ledger", "References", "Provenance"):
        assert title in texts[titles[title]]
    listed = texts[1][texts[1].index("Contents") :]
    assert re.search(rf"The first chapter\s*{titles['The first chapter'] + 1}\b", listed)
    links = [a.get_object() for page in reader.pages for a in page.get("/Annots") or []]
    named = {name.lstrip("/") for name in reader.named_destinations}
    inner = [str(link["/Dest"]).lstrip("/") for link in links if "/Dest" in link]
    assert len(inner) > 20 and set(inner) <= named
    outer = [str(link["/A"]["/URI"]) for link in links if "/A" in link]
    assert all(uri.startswith("https://") for uri in outer)


# From the badge to the first fact, on one page; the other facts may stand on the next.
FACE = re.compile(
    r"^[✓✗≈?] .*\n(?:.* interval [−+].* to [−+].*\n|largest error .* ≤ tolerance .*\n"
    r"|.* where the claim allows .* at most\n)"
    r"(?s:.{0,400}?)"
    r"^What it rests on.*\nClaim\b",
    re.MULTILINE,
)


@needs_chromium
@pytest.mark.slow
def test_the_face_of_a_card_is_whole(printed: Path) -> None:
    assert sum(len(FACE.findall(text)) for text in opened(printed)[1]) == 6


@needs_chromium
@pytest.mark.slow
def test_the_pdf_is_the_same_each_time_and_made_only_when_something_changed(
    small: Path, printed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = printed.read_bytes()
    assert build_pdf(small, force=True).read_bytes() == first
    monkeypatch.setattr(pdf, "_printed", lambda *_: pytest.fail("printed again without need"))
    assert build_pdf(small) == printed


@pytest.mark.slow
def test_a_dark_page_is_printed_light_and_dark_again_afterwards(site: Path, browser: Browser) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto((site / "demo/one.html").as_uri())
    themes = page.evaluate(
        """() => ["", "beforeprint", "afterprint"].map(name => {
          if (name) dispatchEvent(new Event(name));
          return document.documentElement.dataset.theme;
        })"""
    )
    assert themes == ["dark", "light", "dark"]
    page.emulate_media(media="print")
    for hidden in (".bd-sidebar-primary", ".prev-next-footer", ".bd-header-article"):
        assert not page.locator(hidden).first.is_visible(), hidden
    assert page.locator("article h1").first.is_visible()
    page.close()


def test_the_contents_of_the_book_can_be_read(tmp_path: Path) -> None:
    from small_book import ROOT

    pages = [page for part in parts_of(yaml.safe_load(stage(ROOT)["_toc.yml"])) for page in part.pages]
    assert len(pages) == len(set(pages)) > 15
