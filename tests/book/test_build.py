"""The build: a small book becomes pages without a warning; what does not hold together is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import small_book
from links import astray, dead_links, read_site
from small_book import ROOT

from surveylab.press.project import PressError
from surveylab.press.site import build as press_build
from surveylab.press.site.build import build
from surveylab.press.site.citations import authors_and_years
from surveylab.press.site.stage import stage


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return small_book.make_book(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["site", "whole"])
def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(
    which: str, request: pytest.FixtureRequest
) -> None:
    site: Path = request.getfixturevalue(which)
    pages = read_site(site)
    # Fewer would mean that they are not read as they are written.
    assert sum(len(page.links) for page in pages.values()) > 10 * len(pages)
    assert sum(len(page.loads) for page in pages.values()) > 5 * len(pages)
    assert pages["review.html"].badges and pages["ledger.html"].badges
    assert dead_links(site, pages) == []
    assert astray(pages) == []


@pytest.mark.slow
def test_what_the_pages_show(site: Path) -> None:
    chapter = (site / "demo/one.html").read_text(encoding="utf-8")
    assert 'id="claim-good"' in chapter and "Provenance" in chapter and "A processor, AVX2" in chapter
    conclusion = chapter[chapter.index("What the evidence says") :]
    assert 'href="#claim-good"' in conclusion and "It is exact but slow." in conclusion
    assert "Nobody looked at this." not in conclusion
    assert (
        '<a href="../references.html">One 2020</a>: Table 1' in chapter
    )  # a card's source, and the place in it
    assert "5 statements." in (site / "intro.html").read_text(encoding="utf-8")
    assert "url=intro.html" in (site / "index.html").read_text(encoding="utf-8")
    assert not (site / "demo/two.html").exists()
    assert "Later" not in (site / "ledger.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_claim_named_in_the_text_shows_its_verdict(book: Path) -> None:
    path, notebook = book / "book/demo/one.ipynb", small_book.published(book)
    notebook["cells"][0]["source"] += "\n\n| a | b |\n|---|---|\n| gains {claim}`good` | b |\n\n`{claim}`\n"
    small_book.write(path, notebook)
    with (book / "book/data.md").open("a", encoding="utf-8") as file:
        file.write("\nIt scales: {claim}`open`.\n")
    html = build(book).parent
    chapter, data = ((html / name).read_text(encoding="utf-8") for name in ("demo/one.html", "data.html"))
    about = 'title="good: The method gains &lt;a point&gt;."'
    assert f'gains <a class="sl-badge sl-supported" href="../demo/one.html#claim-good" {about}' in chapter
    assert 'It scales: <a class="sl-badge sl-inconclusive" href="demo/one.html#claim-open"' in data
    path.write_text(
        path.read_text(encoding="utf-8").replace("{claim}`good`", "{claim}`god`"), encoding="utf-8"
    )
    with pytest.raises(PressError, match=r"(?s)demo/one\.ipynb.*no claim is called 'god'"):
        build(book)


def test_a_notebook_that_shows_another_card_is_refused(book: Path) -> None:
    notebook = small_book.published(book)
    for output in notebook["cells"][3]["outputs"]:
        output["data"] = {**output["data"], "text/html": "<article>an old card</article>"}
    small_book.write(book / "book/demo/one.ipynb", notebook)
    with pytest.raises(PressError, match="does not follow from its values and claims"):
        stage(book)


def test_long_code_is_folded(book: Path) -> None:
    notebook = small_book.published(book)
    notebook["cells"][1]["source"] = "\n".join(["pass"] * 20)
    small_book.write(book / "book/demo/one.ipynb", notebook)
    cells = json.loads(stage(book)["demo/one.ipynb"])["cells"]
    tags = {cell["id"]: cell["metadata"].get("tags", []) for cell in cells}
    assert tags["figure"] == ["hide-input"] and tags["begin"] == [] and tags["checks"] == ["sl-cards"]


def test_sources_are_named_by_authors_and_year() -> None:
    named = authors_and_years(ROOT / "book" / "references.bib")
    assert named["wu2018group"] == "Wu and He 2018"
    assert named["he2016deep"] == "He et al. 2016"
    assert all(re.search(r" \d{4}$", name) for name in named.values())


@pytest.mark.slow
def test_a_second_build_stands_and_a_forced_one_passes_too(book: Path) -> None:
    front = build(book)
    before = front.stat().st_mtime_ns
    assert build(book) == front and front.stat().st_mtime_ns == before
    build(book, force=True)
    assert front.stat().st_mtime_ns > before


@pytest.mark.slow
def test_neither_the_folder_nor_the_authors_configuration_changes_the_pages(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sphinx would take `[x]` for a pattern and lose its own pages, and -OO would take the docstrings."""
    configured = {"COLUMNS": "120", "LANGUAGE": "de", "LC_ALL": "de_DE.UTF-8", "TZ": "Asia/Kathmandu"}
    for name, value in (configured | {"PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error"}).items():
        monkeypatch.setenv(name, value)
    again = build(small_book.make_book(tmp_path / "a b [x]:y")).parent
    pages = {path.relative_to(site): path.read_bytes() for path in site.rglob("*") if path.is_file()}
    assert {
        path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()
    } == pages


def test_the_commands_help_is_as_wide_on_every_terminal(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (book / "src").symlink_to(ROOT / "src")  # with code there is a reference
    pages = []
    for columns in ("40", "80", "120"):
        monkeypatch.setenv("COLUMNS", columns)
        pages.append(stage(book)["api/cli.md"].decode())
    assert pages[0] == pages[1] == pages[2]


def test_a_source_to_download_has_nothing_of_an_editor(book: Path) -> None:
    source = book / "notebooks/demo/one.ipynb"
    cell: dict[str, Any] = {
        "cell_type": "code",
        "id": "a",
        "metadata": {"tags": ["parameters"]},
        "source": "profile = 1",
    }
    clean: dict[str, Any] = {"execution_count": None, "outputs": []}
    small_book.write(source, small_book.notebook([cell | clean]))
    before = stage(book)["notebooks/demo/one.ipynb"]
    traces: dict[str, Any] = {
        "execution_count": 3,
        "outputs": [],
        "metadata": cell["metadata"] | {"vscode": {}},
    }
    small_book.write(source, small_book.notebook([cell | traces], vscode={"interpreter": "/home/me"}))
    assert stage(book)["notebooks/demo/one.ipynb"] == before
    assert b"profile = 1" in before and b"vscode" not in before


@pytest.mark.slow
def test_a_warning_fails_the_build_and_does_so_again(book: Path) -> None:
    (book / "book/intro.md").write_text("# A book\n\n[nowhere](nowhere.md)\n", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(PressError, match=r"(?s)intro\.md.*nowhere"):
            build(book)
    assert not (book / "_build/.state").exists()


def test_staging_is_repeatable_and_leaves_the_sources_alone(book: Path) -> None:
    before = {path: path.read_bytes() for path in book.rglob("*") if path.is_file()}
    first, second = stage(book), stage(book)
    assert first == second
    assert {path: path.read_bytes() for path in book.rglob("*") if path.is_file()} == before


def test_only_what_differs_is_written(book: Path, tmp_path: Path) -> None:
    source, files = tmp_path / "staged", stage(book)
    (source / "old").mkdir(parents=True)
    (source / "old/page.md").write_text("gone", encoding="utf-8")
    press_build._synchronise(source, files)
    times = {path: path.stat().st_mtime_ns for path in source.rglob("*") if path.is_file()}
    files["intro.md"] += b"\nmore\n"
    press_build._synchronise(source, files)
    changed = [
        path.name for path in source.rglob("*") if path.is_file() and path.stat().st_mtime_ns != times[path]
    ]
    assert changed == ["intro.md"]
    assert not (source / "old/page.md").exists()


def test_wording_is_corrected_without_executing(book: Path) -> None:
    path = book / "book/claims/demo/one.yml"
    told = "It grows., history: [{date: 2026-02-01, change: It said scales, why: Clearer}]"
    path.write_text(path.read_text(encoding="utf-8").replace("It scales.", told), encoding="utf-8")
    files = stage(book)
    assert b"It grows." in files["demo/one.ipynb"] and b"It grows." in files["ledger.md"]
    assert "It grows." not in (book / "book/demo/one.ipynb").read_text(encoding="utf-8")


def test_a_tampered_chapter_is_refused(book: Path) -> None:
    path = book / "book/demo/one.ipynb"
    notebook = small_book.published(book)
    notebook["cells"][3]["outputs"][0]["metadata"]["surveylab"]["estimate"] = 4.0
    small_book.write(path, notebook)
    with pytest.raises(PressError, match=r"one\.ipynb: good: estimate"):
        stage(book)


def test_a_full_edition_stands_below_its_chapter_without_its_labels(book: Path) -> None:
    notebook = small_book.published(book)
    small_book.write(book / "book/full/demo/one.ipynb", notebook)
    files = stage(book)
    assert "full/demo/one" in files["_toc.yml"].decode()
    titles = [
        json.loads(files[name])["cells"][0]["source"] for name in ("demo/one.ipynb", "full/demo/one.ipynb")
    ]
    assert titles[0].startswith("(one)=") and titles[1].startswith("# The first")


def test_a_published_chapter_that_the_review_lacks_is_named(book: Path) -> None:
    path = book / "book/review_text.yml"
    path.write_text(path.read_text(encoding="utf-8").replace("chapter: one", "chapter: nine"))
    with pytest.raises(PressError, match=r"one\.ipynb is published, but book/review_text\.yml has no such"):
        stage(book)


def test_a_file_that_is_no_notebook_is_named(book: Path) -> None:
    (book / "book/demo/one.ipynb").write_text("{", encoding="utf-8")
    with pytest.raises(PressError, match=r"one\.ipynb"):
        stage(book)


def test_an_unknown_number_in_the_introduction_is_named(book: Path) -> None:
    (book / "book/intro.md").write_text("# A book\n\n{{sumary}}\n", encoding="utf-8")
    with pytest.raises(PressError, match=r"\{\{sumary\}\}; there are only statements, examined, answers"):
        stage(book)


def test_a_missing_package_is_named_with_the_way_to_get_it(
    book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(press_build._NEEDED, "no_such_package", "no-such-package")
    with pytest.raises(PressError, match=r"no-such-package.*pip install 'surveylab\[book\]'"):
        build(book)


def test_a_folder_that_cannot_be_written_is_named(book: Path) -> None:
    (book / "_build").write_text("a file, not a folder", encoding="utf-8")
    with pytest.raises(PressError, match=r"cannot write .*_build"):
        build(book)
