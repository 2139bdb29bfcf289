"""The books that tests only look at, each built once, however many processes share the tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import small_book
from filelock import FileLock
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


Once = Callable[[str, Callable[[], Path]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make something of a name in the first process that needs it; the others wait and take what it made."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def made(name: str, make: Callable[[], Path]) -> Path:
        place = shared / f"{name}.place"
        with FileLock(shared / f"{name}.lock"):
            if not place.exists():
                place.write_text(str(make()), encoding="utf-8")
        return Path(place.read_text(encoding="utf-8"))

    return made


@pytest.fixture(scope="session")
def whole(once: Once) -> Path:
    """The pages of the real book, built anew only if something changed."""
    return once("whole", lambda: build(ROOT).parent)


@pytest.fixture(scope="session")
def small(once: Once, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small book's sources. Not to be changed."""
    return once("small", lambda: small_book.make_book(tmp_path_factory.mktemp("book")))


@pytest.fixture(scope="session")
def site(once: Once, small: Path) -> Path:
    """Its pages, built without knowing any address."""
    return once("site", lambda: build(small).parent)


@pytest.fixture(scope="session")
def addressed(once: Once, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its pages, built for publication."""
    known = Site.of(REPOSITORY, ADDRESS)
    output = tmp_path_factory.mktemp("addressed")
    return once("addressed", lambda: build(small, output=output, site=known).parent)
