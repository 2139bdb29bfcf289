"""The built book, served to a headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Opener, Visit, open_page, served
from playwright.sync_api import Browser


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
