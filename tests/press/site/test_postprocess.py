"""What is taken from the built site, and what stays: scripts that a page needs, pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from surveylab.press.project import PressError
from surveylab.press.site.postprocess import postprocess

PAGE = """<html><head>
    <link href="{up}_static/styles/theme.css?digest=0a1b" rel="stylesheet" />
  <script defer src="{up}_static/scripts/fontawesome.js?digest=55c2"></script>
    <script src="{up}_static/doctools.js?v=9a"></script>
    <script src="{up}_static/searchtools.js"></script>
    <script src="{up}searchindex.js"></script>
</head><body class="book"><i class="fa-solid fa-arrow-up"></i><span class="fas fa-download fa-lg"></span>
<img alt="A figure." src="{up}_images/figure.png"/></body></html>
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site as Sphinx leaves it."""
    from PIL import Image

    for name, text in {
        "page.html": PAGE.format(up=""),
        "part/page.html": PAGE.format(up="../"),
        "search.html": PAGE.format(up=""),
        "_static/own.css": ".unused { color: green; }\n",
        "_static/scripts/fontawesome.js": "icons",
        "_static/scripts/theme.js": "theme",
        "_static/doctools.js": "",
        "_static/webpack-macros.html": "{% macro head() %}",
        "_static/searchtools.js": "",
        "searchindex.js": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "_images").mkdir()
    image = Image.new("RGBA", (200, 100), "white")
    image.paste((200, 30, 90, 128), (20, 20, 120, 60))
    image.save(tmp_path / "_images/figure.png")
    return tmp_path


def test_pages_load_what_they_need(site: Path) -> None:
    postprocess(site)
    for name, up in (("page.html", ""), ("part/page.html", "../"), ("search.html", "")):
        text = (site / name).read_text(encoding="utf-8")
        assert "fontawesome.js" not in text and f'src="{up}_static/doctools.js?v=9a"' in text
        assert ("searchindex.js" in text) == ("searchtools.js" in text) == (name == "search.html")
        assert text.count('aria-hidden="true"') == 2
        assert f'<img width="200" height="100" alt="A figure." src="{up}_images/figure.webp"' in text


def test_all_pictures_but_the_first_wait_until_a_reader_comes_near(site: Path) -> None:
    page = site / "page.html"
    text = page.read_text(encoding="utf-8")
    picture = re.findall(r"<img [^>]*_images[^>]*>", text)[0]
    page.write_text(text.replace(picture, 3 * picture), encoding="utf-8")
    postprocess(site)
    found = re.findall(r"<img [^>]*_images[^>]*>", page.read_text(encoding="utf-8"))
    assert [' loading="lazy"' in picture for picture in found] == [False, True, True]


def test_a_theme_that_loads_its_icons_in_another_way_is_noticed(site: Path) -> None:
    (site / "page.html").write_text("<script async src='fontawesome.js'></script>", encoding="utf-8")
    with pytest.raises(PressError, match=r"page\.html still loads fontawesome\.js"):
        postprocess(site)


def test_what_is_no_page_is_not_published_as_one(site: Path) -> None:
    postprocess(site)
    assert {path.name for path in site.rglob("*.html")} == {"page.html", "search.html"}


def test_a_picture_is_smaller_and_the_same_to_the_last_pixel(site: Path) -> None:
    from PIL import Image

    with Image.open(site / "_images/figure.png") as image:
        before = image.convert("RGBA").tobytes()
    size = (site / "_images/figure.png").stat().st_size
    postprocess(site)
    assert not (site / "_images/figure.png").exists()
    assert (site / "_images/figure.webp").stat().st_size < size
    with Image.open(site / "_images/figure.webp") as image:
        assert image.convert("RGBA").tobytes() == before


def test_a_photograph_is_a_fraction_and_looks_the_same(site: Path) -> None:
    import numpy as np
    from PIL import Image
    from skimage.data import astronaut

    before = astronaut()
    Image.fromarray(before).save(site / "_images/figure.png")
    size = (site / "_images/figure.png").stat().st_size
    postprocess(site)
    assert (site / "_images/figure.webp").stat().st_size < size / 3
    with Image.open(site / "_images/figure.webp") as image:
        after = np.asarray(image.convert("RGB"))
    assert np.abs(after.astype(int) - before).mean() < 4
