"""The small book, built once for all tests that only look at it."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_book
from small_book import ADDRESS, REPOSITORY, ROOT

from surveylab.press.build import build
from surveylab.press.site import Site


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
