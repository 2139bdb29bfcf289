"""The built book, served to a headless Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Opener, Visit, open_page, served
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# What keeps Chromium from asking its maker's servers, which cannot be reached here.
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, as the system has it."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing = f"no Chromium here (looked for {', '.join(NAMES)})"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing}: CI has to look at the pages")
        pytest.skip(missing)
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=[*QUIET, *sandbox])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def address(whole: Path) -> Iterator[str]:
    """Where the book is served."""
    with served(whole) as found:
        yield found


@pytest.fixture
def visit(browser: Browser) -> Iterator[Opener]:
    """Open a page: `visit(url, width=1280, theme="light")`."""
    contexts = []

    def opened(url: str, *, width: int = 1280, theme: str = "light") -> Visit:
        seen = open_page(browser, url, width=width, theme=theme)
        contexts.append(seen.page.context)
        return seen

    yield opened
    for context in contexts:
        context.close()
