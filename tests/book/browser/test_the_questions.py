"""The questions that are put to every page find what they look for: each on a page made for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import Opener, axe

pytestmark = pytest.mark.slow

GOOD = (
    "<h1>Title</h1><p>Some text, and <a href='#x'>a link</a>.</p>"
    "<img alt='a picture of something' src='data:,'>"
)


@pytest.fixture
def page(tmp_path: Path, visit: Opener):
    def made(body: str, width: int = 1280):
        path = tmp_path / "page.html"
        head = "<!DOCTYPE html><html lang='en'><head><title>t</title></head>"
        path.write_text(f"{head}<body><main>{body}</main></body></html>", encoding="utf-8")
        return visit(path.as_uri(), width=width)

    return made


def test_a_page_that_is_wider_than_the_window(page) -> None:
    assert page(GOOD, 390).ask("look.sideways()") == []
    assert "500 px wide" in page("<div style='width:492px'>wide</div>", 390).ask("look.sideways()")[0]


@pytest.mark.parametrize("alt", ["", "figure.png", "_images/0296f863f069c7b241fe03160aadb", "two words"])
def test_a_picture_without_words(page, alt: str) -> None:
    assert any("img alt" in line for line in page(f"<img alt='{alt}' src='data:,'>").ask("look.images()"))


def test_a_formula_that_is_not_typeset(page) -> None:
    assert page(GOOD).ask("look.mathematics()") == []
    assert "raw" in page("<p>so \\(x^2\\) it is</p>").ask("look.mathematics()")[0]
    assert "not typeset" in page("<p><span class='math'>x</span></p>").ask("look.mathematics()")[0]


def tabbed(seen) -> list[str]:
    for _ in range(seen.page.evaluate("look.startWalk()") + 5):
        seen.page.keyboard.press("Tab")
    return seen.ask("look.endWalk()")


def test_what_the_keyboard_does_not_reach_or_show(page) -> None:
    assert tabbed(page("<button>one</button> <a href='#x'>two</a>")) == []
    silent = "<style>button:focus{outline:none}</style><button>one</button>"
    assert "looks the same when focused" in tabbed(page(silent))[0]
    trap = "<button onkeydown='event.preventDefault()'>trap</button><button>there</button>"
    assert tabbed(page(trap)) == ["not reached: button “there”; the focus is at button “trap”"]


def test_an_error_and_a_request_to_another_host(page) -> None:
    assert page("<script>nonsense(</script>").errors
    assert page("<script>console.error('bad')</script>").errors == ["bad"]
    asked = page("<img alt='a picture of something' src='https://example.org/a.png'>")
    assert asked.outside == ["https://example.org/a.png"]


def rules(seen) -> set[str]:
    return {line.partition(" ")[0] for line in axe(seen)}


def test_text_too_faint_and_a_button_without_a_name(page) -> None:
    assert axe(page(GOOD)) == []
    assert rules(page("<h1>T</h1><p style='color:#bbb'>faint</p>")) == {"color-contrast"}
    assert rules(page("<h1>T</h1><button></button>")) == {"button-name"}


def test_a_faint_word_among_the_words_of_code(page) -> None:
    words = "<span style='color:#000'><span>good</span></span> " * 50
    code = f"<h1>T</h1><pre>{words}<span style='color:#bbb'>faint</span> {words}</pre>"
    seen = page(code)
    before = seen.page.inner_html("pre")
    assert rules(seen) == {"color-contrast"}
    assert seen.page.inner_html("pre") == before  # what was plain while axe ran is as it was
    assert rules(page(code.replace("#bbb", "#000"))) == set()


def test_a_faint_word_that_looks_like_others_on_another_ground(page) -> None:
    grounds = "<p style='color:#ddd; background:#000'>good</p><p style='color:#ddd'>faint</p>"
    assert rules(page(f"<h1>T</h1>{grounds}")) == {"color-contrast"}


def test_a_link_told_by_its_colour_alone_is_found_when_only_colours_are_asked_for(page) -> None:
    link = "<a href='#x' style='color:#005; text-decoration:none'>a link</a>"
    seen = page(f"<h1>T</h1><p>Some text, and {link}, and more.</p><button></button>")
    assert [line.partition(" ")[0] for line in axe(seen, colours_only=True)] == ["link-in-text-block"]
