"""The published site: light pages, no dead button, the same files each time, and a way back from nowhere."""

from __future__ import annotations

import ast
import filecmp
import functools
import http.server
import re
import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.request import urlopen
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Browser
from small_book import ADDRESS, REPOSITORY, ROOT

from surveylab.press.project import Project
from surveylab.press.run.fingerprint import library_packages
from surveylab.press.run.usage import defined_at
from surveylab.press.site.assets import CARD, card, icon, not_found
from surveylab.press.site.build import build
from surveylab.press.site.evidence import load_findings
from surveylab.press.site.urls import Site

pytestmark = pytest.mark.slow

LIMIT = 3 * 2**20


def text_of(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def head(site: Path, page: str) -> dict[str, str]:
    """What a page's meta tags and links say of it, by their name."""
    tags = re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)"', text_of(site, page))
    links = re.findall(r'<link rel="([^"]+)" href="([^"]+)"', text_of(site, page))
    return {name: unescape(value) for name, value in [*tags, *links]}


# ------------------------------------------------------------------------------------------------ weight


def weight(site: Path, page: Path) -> int:
    """The size of a page with all that it makes a browser load, though it needs few of the theme's fonts."""
    found = {page}
    waiting = [page]
    formulas = "<math" in page.read_text(encoding="utf-8")
    while waiting:
        path = waiting.pop()
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".css":
            named = re.findall(r"url\(([^)]+)\)|@import \"([^\"]+)\"", text)
        else:
            named = re.findall(r'<(?:script|img)[^>]* src="([^"]+)"|<link [^>]*href="([^"]+)"', text)
        for one, other in named:
            name = (one or other).strip("\"'").partition("?")[0]
            if name.startswith(("data:", "#")) or name.endswith(".html"):
                continue
            if name == "math.woff" and not formulas:
                continue
            target = (path.parent / name).resolve()
            assert target.exists(), f"{path} loads {name}, which is not there"
            if target not in found:
                found.add(target)
                waiting += [target] if target.suffix == ".css" else []
    return sum(path.stat().st_size for path in found)


def test_no_page_weighs_more_than_three_mebibytes(whole: Path) -> None:
    weights = {path: weight(whole, path) for path in whole.rglob("*.html")}
    assert len(weights) > 10
    assert {path.name: size for path, size in weights.items() if size > LIMIT} == {}
    # The rest is a page's own: what all pages share must leave it room.
    assert weights[whole / "intro.html"] < 2_000_000


def test_formulas_are_set_without_a_script(site: Path) -> None:
    page = text_of(site, "demo/one.html")
    assert '<span class="math notranslate nohighlight"><math>' in page
    assert "mathjax/" not in page and not (site / "_static/mathjax").exists()


# ------------------------------------------------------------------------------------------- same files


def test_two_builds_of_one_tree_are_the_same_to_the_last_byte(
    small: Path, site: Path, tmp_path: Path
) -> None:
    again = build(small, output=tmp_path).parent
    names = sorted(path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file())
    assert names == sorted(p.relative_to(again).as_posix() for p in again.rglob("*") if p.is_file())
    _, different, missing = filecmp.cmpfiles(site, again, names, shallow=False)
    assert different == missing == []


def test_drawings_are_the_same_each_time(small: Path) -> None:
    findings = load_findings(small, ["demo/one.ipynb"])[0]
    assert card("A book", findings) == card("A book", findings)
    assert icon(32) == icon(32)


def test_own_styles_are_named_in_one_order_and_after_the_themes(site: Path) -> None:
    names = re.findall(
        r'<link rel="stylesheet"[^>]* href="_static/([\w./-]+\.css)', text_of(site, "intro.html")
    )
    own = [
        "survey.css",
        *sorted(p.name for p in (ROOT / "book/_static").glob("*.css") if p.name != "survey.css"),
        "verdicts.css",
    ]
    assert names[-len(own) :] == own


# --------------------------------------------------------------------------------------------- addresses


def test_without_addresses_nothing_points_to_them(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for word in ("mybinder", "colab", "github", "fa-rocket", "og:url", "og:image", 'rel="canonical"'):
            assert word not in text.lower() or path.name == "index.html", f"{path.name}: {word}"
    assert not (site / "sitemap.xml").exists() and not (site / "robots.txt").exists()


def test_each_page_says_what_it_is_about(site: Path) -> None:
    chapter = head(site, "demo/one.html")
    assert chapter["description"].startswith("A formula") and chapter["og:title"] == "The first chapter"
    assert chapter["og:site_name"] == "The executable survey" and chapter["twitter:card"] == "summary"
    for path in site.rglob("*.html"):
        if path.name not in ("index.html", "404.html"):
            about = head(site, path.relative_to(site).as_posix())["description"]
            assert 10 < len(about) <= 200, path


def test_a_published_page_knows_its_address(addressed: Path) -> None:
    chapter = head(addressed, "demo/one.html")
    assert chapter["canonical"] == chapter["og:url"] == f"{ADDRESS}demo/one.html"
    assert chapter["og:image"] == chapter["twitter:image"] == ADDRESS + CARD
    assert chapter["twitter:card"] == "summary_large_image"
    pages = {
        node.text
        for node in ElementTree.fromstring(text_of(addressed, "sitemap.xml")).iter()
        if node.tag.endswith("loc")
    }
    assert f"{ADDRESS}demo/one.html" in pages and f"{ADDRESS}ledger.html" in pages
    assert not pages & {f"{ADDRESS}404.html", f"{ADDRESS}index.html", f"{ADDRESS}search.html"}
    assert f"Sitemap: {ADDRESS}sitemap.xml" in text_of(addressed, "robots.txt")
    assert f'rel="canonical" href="{ADDRESS}intro.html"' in text_of(addressed, "index.html")


@pytest.mark.parametrize(
    ("page", "source"),
    [
        ("demo/one.html", "notebooks/demo/one.ipynb"),
        ("intro.html", "book/intro.md"),
        ("references.html", "book/references.md"),
        *((f"{name}.html", None) for name in ("ledger", "corrections", "review", "api/claims", "search")),
    ],
)
def test_buttons_lead_to_what_an_author_edits(addressed: Path, page: str, source: str | None) -> None:
    text = text_of(addressed, page)
    assert f'href="{REPOSITORY}"' in text and f'href="{REPOSITORY}/issues/new?title=' in text
    assert re.findall(rf'href="{REPOSITORY}/edit/main/([^"]*)"', text) == ([source] if source else [])
    launched = f"name/main?urlpath=lab/tree/{source}" if source and source.endswith(".ipynb") else None
    assert (
        re.findall(r'href="https://mybinder\.org/v2/gh/owner/([^"]*)"', text) == [launched][: bool(launched)]
    )
    assert ("mybinder.org" in text) == bool(launched)
    assert ("fa-rocket" in text) == bool(launched)


def test_the_card_has_the_size_that_its_tags_say(site: Path) -> None:
    from PIL import Image

    with Image.open(site / CARD) as image:
        assert image.size == (1200, 630)
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20  # something is drawn on it
    assert 'sizes="32x32" href="../_static/icon-32.png"' in text_of(site, "demo/one.html")


# ------------------------------------------------------------------------------------------ no such page


def test_the_page_for_a_wrong_address_needs_nothing_and_leads_back() -> None:
    known = not_found("A <book>", "intro.html", Site.of(site=ADDRESS))
    assert "A &lt;book&gt;" in known
    assert set(re.findall(r'(?:href|action)="([^"]*)"', known)) == {
        "data:,",
        "/name/intro.html",
        "/name/search.html",
        "/name/genindex.html",
    }
    assert "src=" not in known and "fetch" not in known
    assert 'href="intro.html"' in not_found("A book", "intro.html", Site())


class _Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder below /some/where/, and its 404.html for what is not there, as static hosts do."""

    def translate_path(self, path: str) -> str:
        inside = path.startswith("/some/where/")
        return super().translate_path(path.removeprefix("/some/where") if inside else "/nothing")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        body = (Path(self.directory) / "404.html").read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Server, directory=str(site))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/some/where/"
    server.shutdown()


def test_the_way_back_is_found_from_any_depth_where_no_address_is_known(
    served: str, browser: Browser
) -> None:
    page = browser.new_page()
    page.goto(f"{served}demo/deep/er/nothing.html")
    link = page.get_by_role("link", name="Front page")
    page.wait_for_function("document.querySelector('main a').getAttribute('href').startsWith('/')")
    assert page.evaluate("document.querySelector('form').action") == f"{served}search.html"
    link.click()
    assert page.url == f"{served}intro.html" and page.title().startswith("A small book")
    page.close()
    with urlopen(f"{served}intro.html") as found:
        assert found.status == 200


# ------------------------------------------------------------------------------------------------ search


def test_search_finds_a_page_that_is_opened_as_a_file(site: Path, browser: Browser) -> None:
    page = browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.goto((site / "demo/one.html").as_uri())
    page.keyboard.press("Control+k")
    page.locator("#pst-search-dialog input").fill("provenance")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html*")
    page.locator("#search-results").get_by_role("link", name="The first chapter").first.click()
    page.wait_for_url("**/demo/one.html*")
    assert wrong == []
    page.close()


# ----------------------------------------------------------------------------------------- API reference


def test_the_reference_and_the_chapters_lead_to_each_other(site: Path) -> None:
    reference, chapter = text_of(site, "api/claims.html"), text_of(site, "demo/one.html")
    described = {
        re.findall(r'id="surveylab\.claims\.(\w+)"', part)[0]: part
        for part in reference.split('<dl class="py function">')[1:]
    }
    assert re.search(r'Used in <a [^>]*href="../demo/one.html">', described["judge"].replace("\n", " "))
    assert "Used in" not in described["combine"]
    assert 'href="../api/claims.html#surveylab.claims.judge"' in chapter[chapter.index("Library used here") :]


def public(folder: Path) -> Iterator[str]:
    """Where each public function and class of the library is defined; the press has no reference."""
    for path in sorted(folder.rglob("*.py")):
        if path.name == "__main__.py" or path.is_relative_to(folder / "press"):
            continue  # the first is for `python -m` alone
        module = ".".join(path.relative_to(folder.parent).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                yield f"{module}:{node.name}"


def test_every_public_object_is_in_the_reference(whole: Path) -> None:
    from sphinx.util.inventory import InventoryFile

    with (whole / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, uri: uri)
    packages = library_packages(Project(ROOT))
    named = {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    described = {defined_at(name, packages) for name in named}
    assert [name for name in public(packages["surveylab"]) if name not in described] == []


def test_signatures_are_readable(whole: Path) -> None:
    for page in sorted((whole / "api").glob("*.html")):
        text = page.read_text(encoding="utf-8")
        for raw in ("~surveylab", "~collections", "&lt;factory", "&lt;function"):
            assert raw not in text, page.name
