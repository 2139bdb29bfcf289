"""The two addresses that only the publisher knows: what is refused, and the links that are made from them."""

from __future__ import annotations

import pytest

from surveylab.press.project import WrongUse
from surveylab.press.site.urls import Site

HUB = "https://github.com/owner/name"
CHAPTER = "notebooks/normalization/batch_norm.ipynb"


@pytest.mark.parametrize("given", [HUB, f"{HUB}/", f"{HUB}.git"])
def test_a_repository_is_named_by_its_front_page(given: str) -> None:
    assert Site.of(repository=given).repository == HUB


@pytest.mark.parametrize(
    "given",
    [
        "https://owner.github.io/name",
        "https://owner.github.io/name/",
        "https://owner.github.io/name/intro.html",
    ],
)
def test_an_address_ends_where_file_names_begin(given: str) -> None:
    site = Site.of(site=given)
    assert site.page("a/b.html") == "https://owner.github.io/name/a/b.html"
    assert site.prefix == "/name/"
    assert Site.of(site="https://survey.example").prefix == "/"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"repository": "git@github.com:owner/name.git"}, "--repository git@.*write the whole address"),
        ({"repository": "https://github.com/owner"}, "front page, such as https://github.com/owner/name"),
        ({"repository": f"{HUB}/tree/main"}, "front page, such as"),
        ({"repository": "https://gitlab.com/owner/name"}, "only repositories on GitHub"),
        ({"repository": "https://example.org/owner/name"}, "only repositories on GitHub"),
        ({"repository": f"{HUB}?tab=readme"}, r"an address with \?, #"),
        ({"repository": "https://token@github.com/owner/name"}, "a name before @"),
        ({"site": "owner.github.io/name"}, "--site owner.github.io/name: write the whole address"),
        ({"site": "file:///home/me/html"}, "write the whole address"),
        ({"site": "https://example.org:port/"}, "not an address"),
        ({"site": "https://example.org/#top"}, "an address with"),
        ({"branch": "my branch"}, "not the name of a branch"),
    ],
)
def test_what_no_link_can_be_made_from_is_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(WrongUse, match=says):
        Site.of(**options)


def test_nothing_given_is_nothing_known() -> None:
    assert Site.of("", "", "") == Site.of() == Site()


def test_links_on_github() -> None:
    site = Site.of(HUB, branch="next")
    assert site.edit(CHAPTER) == f"{HUB}/edit/next/{CHAPTER}"
    assert site.issue("A & b: c") == f"{HUB}/issues/new?title=A%20%26%20b%3A%20c"
    assert site.binder(CHAPTER) == f"https://mybinder.org/v2/gh/owner/name/next?urlpath=lab/tree/{CHAPTER}"
