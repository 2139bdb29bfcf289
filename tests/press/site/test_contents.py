"""The table of contents follows from the review and from the pages that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from surveylab.press.project import PressError
from surveylab.press.review_text import Section, load_review
from surveylab.press.site.contents import contents

REVIEW = """\
- section: first
  title: The first section
  opens: []
  chapters:
    - {chapter: zeta, title: Zeta, text: []}
    - {chapter: alpha, title: Alpha, text: []}
- section: second
  title: The second section
  opens: []
  chapters:
    - {chapter: beta, title: Beta, text: []}
"""


@pytest.fixture
def review(tmp_path: Path) -> tuple[Section, ...]:
    (tmp_path / "review_text.yml").write_text(REVIEW)
    return load_review(tmp_path / "review_text.yml")


def test_pages_stand_in_the_reviews_order(review: tuple[Section, ...]) -> None:
    pages = ["references", "data", "first/alpha", "api/lab", "api/index", "ledger", "intro", "faq"]
    assert contents(review, [*pages, "first/zeta", "full/first/zeta", "api/claims"]) == {
        "format": "jb-book",
        "root": "intro",
        "parts": [
            {"caption": "How it works", "chapters": [{"file": "data"}, {"file": "faq"}]},
            {"caption": "The evidence", "chapters": [{"file": "ledger"}]},
            {
                "caption": "The first section",
                "chapters": [
                    {
                        "file": "first/zeta",
                        "sections": [{"file": "full/first/zeta", "title": "Full edition"}],
                    },
                    {"file": "first/alpha"},
                ],
            },
            {
                "caption": "Reference",
                "chapters": [
                    {"file": "api/index", "sections": [{"file": "api/lab"}, {"file": "api/claims"}]},
                    {"file": "references"},
                ],
            },
        ],
    }


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        (
            ["intro", "first/gamma"],
            "book/first/gamma.ipynb is published, but book/review_text.yml has no such",
        ),
        (["intro", "full/second/beta"], "book/full/second/beta.ipynb has no standard edition beside it"),
    ],
)
def test_a_page_without_a_place_is_named(review: tuple[Section, ...], pages: list[str], said: str) -> None:
    with pytest.raises(PressError) as error:
        contents(review, pages)
    assert str(error.value).startswith(said)
