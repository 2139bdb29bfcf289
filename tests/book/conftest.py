"""The small book, built once for all tests that only look at it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_book
from playwright.sync_api import Browser, sync_playwright
from small_book import ADDRESS, REPOSITORY, ROOT

from surveylab.press.project import PressError
from surveylab.press.site.build import build
from surveylab.press.site.pdf import find_browser
from surveylab.press.site.urls import Site

# What keeps Chromium from asking its maker's servers, which cannot be reached here.
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, as the system has it."""
    try:
        path = find_browser()
    except PressError as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI has to look at the pages: {missing}")
        pytest.skip(str(missing))
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=[*QUIET, *sandbox])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def whole() -> Path:
    """The pages of the real book, built anew only if something changed."""
    return build(ROOT).parent


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small book's sources. Not to be changed."""
    return small_book.make_book(tmp_path_factory.mktemp("book"))


@pytest.fixture(scope="session")
def site(small: Path) -> Path:
    """Its pages, built without knowing any address."""
    return build(small).parent


@pytest.fixture(scope="session")
def addressed(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its pages, built for publication."""
    known = Site.of(REPOSITORY, ADDRESS)
    return build(small, output=tmp_path_factory.mktemp("addressed"), site=known).parent
