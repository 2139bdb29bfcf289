"""What judges the references and badges of a built site finds each fault: sites made for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from links import astray, dead_links, read_site

PAGE = '<html><body><h1 id="top-of-it">A page</h1>{}</body></html>'


def make_site(folder: Path, body: str) -> Path:
    """A site with one page to be judged, and something that it may lead to."""
    (folder / "deep").mkdir()
    (folder / "deep/page.html").write_text(PAGE.format(body), encoding="utf-8")
    card = '<article id="claim-x" class="sl-card sl-supported"></article>'
    row = '<table><tr id="ledger-x" class="sl-claim" data-verdict="supported"></tr></table>'
    (folder / "other.html").write_text(PAGE.format(card + row + "<a name='old'></a>"), encoding="utf-8")
    (folder / "a drawing.svg").write_text("<svg/>", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "good",
    [
        '<a href="../other.html">x</a>',
        '<a href="../other.html#top-of-it">x</a>',
        '<a href="../other.html#old">x</a>',
        '<a href="../other.html?verdict=supported#claim-x">x</a>',
        '<a href="#top-of-it">x</a> <a href="#">x</a> <a href="?find=x">x</a>',
        '<a href="https://example.org/nothing#here">x</a> <a href="mailto:a@example.org">x</a>',
        '<img src="../a%20drawing.svg"> <img src="data:image/png;base64,AA==">',
        '<link rel="canonical" href="https://example.org/page.html">',
        '<meta http-equiv="refresh" content="0; url=../other.html">',
    ],
)
def test_a_good_reference_passes(tmp_path: Path, good: str) -> None:
    site = make_site(tmp_path, good)
    assert dead_links(site, read_site(site)) == []


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ('<a href="nowhere.html">x</a>', "no such file"),
        ('<a href="..">x</a>', "no such file"),
        ('<a href="../../beyond.html">x</a>', "no such file"),
        ('<a href="../other.html#nowhere">x</a>', "no such place"),
        ('<a href="#nowhere">x</a>', "no such place"),
        ('<a href="">x</a>', "empty"),
        ('<a href="/other.html">x</a>', "from the top of the host"),
        ('<a href="javascript:void(0)">x</a>', "not a place that a link may lead to"),
        ('<area href="nowhere.html">', "no such file"),
        ('<form action="nowhere.html"></form>', "no such file"),
        ('<img src="nowhere.png">', "no such file"),
        ('<img srcset="../a%20drawing.svg 1x, nowhere.png 2x">', "no such file"),
        ('<script src="nowhere.js"></script>', "no such file"),
        ('<script src="https://example.org/x.js"></script>', "another host"),
        ('<script src="//example.org/x.js"></script>', "another host"),
        ('<link rel="stylesheet" href="https://example.org/x.css">', "another host"),
        ('<link rel="stylesheet" href="nowhere.css">', "no such file"),
        ('<meta http-equiv="refresh" content="0; url=nowhere.html">', "no such file"),
    ],
)
def test_a_bad_reference_is_named(tmp_path: Path, bad: str, why: str) -> None:
    site = make_site(tmp_path, bad)
    (found,) = dead_links(site, read_site(site))
    assert found.startswith("deep/page.html") and why in found


@pytest.mark.parametrize(
    ("rule", "why"), [("nowhere.woff", "no such file"), ("https://example.org/f.woff", "another host")]
)
def test_a_bad_reference_in_a_style_sheet_is_named(tmp_path: Path, rule: str, why: str) -> None:
    site = make_site(tmp_path, "")
    (site / "style.css").write_text(
        f'b {{ background: url("a drawing.svg"), url(#x), url("{rule}"); }}', encoding="utf-8"
    )
    (found,) = dead_links(site, read_site(site))
    assert found.startswith("style.css") and why in found


@pytest.mark.parametrize("anchor", ["claim-x", "ledger-x"])
def test_a_badge_leads_to_evidence_with_its_verdict(tmp_path: Path, anchor: str) -> None:
    site = make_site(tmp_path, f'<a class="sl-badge sl-supported" href="../other.html#{anchor}">x</a>')
    assert astray(read_site(site)) == []


@pytest.mark.parametrize(
    ("verdict", "anchor", "why"),
    [
        ("contradicted", "claim-x", "says 'supported'"),
        ("contradicted", "ledger-x", "says 'supported'"),
        ("supported", "claim-y", "not there"),
        ("supported", "top-of-it", "no evidence"),
        ("missing", "claim-x", "no evidence"),
    ],
)
def test_a_badge_that_leads_elsewhere_is_named(tmp_path: Path, verdict: str, anchor: str, why: str) -> None:
    site = make_site(tmp_path, f'<a class="sl-badge sl-{verdict}" href="../other.html#{anchor}">x</a>')
    (found,) = astray(read_site(site))
    assert why in found
