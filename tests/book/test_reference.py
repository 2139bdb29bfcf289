"""Glossary and bibliography: the book's own words are explained, and each paper can be reached."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from small_book import ROOT

from surveylab.claims import VERDICTS
from surveylab.claims.registry import KINDS
from surveylab.press.site.build import build


@pytest.fixture(scope="module")
def glossary() -> list[list[str]]:
    """The terms of each of the glossary's parts."""
    text = (ROOT / "book/glossary.md").read_text(encoding="utf-8")
    parts = re.findall(r"```\{glossary\}\n(.*?)```", text, re.DOTALL)
    return [re.findall(r"^(?! )(.+)$", part, re.MULTILINE) for part in parts]


def test_the_glossary_explains_each_verdict_and_kind_of_claim(glossary: list[list[str]]) -> None:
    method = {term.replace(" ", "-") for term in glossary[0]}
    assert {*VERDICTS, *KINDS, "mixed", "margin", "population", "fingerprint"} <= method


def test_the_glossary_is_in_order_and_explains_nothing_twice(glossary: list[list[str]]) -> None:
    for part in glossary:
        assert part == sorted(part, key=str.casefold)
    terms = [term.casefold() for part in glossary for term in part]
    assert len(terms) == len(set(terms)) > 100


@pytest.mark.slow
def test_each_paper_has_a_link_and_each_doi_leads_to_its_resolver() -> None:
    from pybtex.database import parse_file

    entries = parse_file(str(ROOT / "book/references.bib")).entries
    page = (Path(build(ROOT)).parent / "references.html").read_text(encoding="utf-8")
    shown = re.findall(r'<div class="citation"[^>]*>(.*?)</div>', page, re.DOTALL)
    links = [re.findall(r'class="reference external" href="([^"]+)"', text) for text in shown]
    assert len(shown) == len(entries) and all(links)
    found = {unescape(link) for links_of_one in links for link in links_of_one}
    assert {f"https://doi.org/{e.fields['doi']}" for e in entries.values() if "doi" in e.fields} <= found
