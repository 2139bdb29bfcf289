"""What is taken from the built site, and what stays: icons in use, rules that can apply, pictures."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from surveylab.press.project import PressError
from surveylab.press.site.postprocess import named_icons, needed_rules, postprocess

PAGE = """<html><head>
    <link href="{up}_static/styles/theme.css?digest=0a1b" rel="stylesheet" />
  <script defer src="{up}_static/scripts/fontawesome.js?digest=55c2"></script>
    <script src="{up}_static/doctools.js?v=9a"></script>
    <script src="{up}_static/searchtools.js"></script>
    <script src="{up}searchindex.js"></script>
</head><body class="book"><i class="fa-solid fa-arrow-up"></i><span class="fas fa-download fa-lg"></span>
<img alt="A figure." src="{up}_images/figure.png"/></body></html>
"""
SHEET = """@charset "UTF-8";
.book{color:red}.chapter .gone{color:blue}
.fa-solid,.fas{font-weight:900}.fa-arrow-up:before{content:"\\f062"}.fa-download:before{content:"\\f019"}
.fa-xmark:before{content:"\\f00d"}.fa-github:before{content:"\\f09b"}.fa-sun:before{content:"\\f185"}
html{--pst-icon-bell:"\uf0f3"}
"""
FACES = "".join(
    f"@font-face{{font-family:F;font-weight:{weight};src:url(../vendor/fontawesome/webfonts/{name}.woff2) "
    f'format("woff2"),url(../vendor/fontawesome/webfonts/{name}.ttf) format("truetype")}}'
    for name, weight in (("fa-solid-900", 900), ("fa-regular-400", 400), ("fa-brands-400", 400))
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site as Sphinx leaves it, with the theme's own icon fonts."""
    from PIL import Image

    spec = find_spec("pydata_sphinx_theme")
    assert spec is not None and spec.submodule_search_locations
    theme = Path(spec.submodule_search_locations[0]) / "theme/pydata_sphinx_theme/static"
    shutil.copytree(theme / "vendor", tmp_path / "_static/vendor")
    for name, text in {
        "page.html": PAGE.format(up=""),
        "part/page.html": PAGE.format(up="../"),
        "search.html": PAGE.format(up=""),
        "_static/styles/theme.css": SHEET + FACES,
        "_static/own.css": ".unused { color: green; }\n",
        "_static/scripts/fontawesome.js": "icons",
        "_static/scripts/theme.js": 'icon.classList = "fa-solid fa-xmark"; file = "fa-file";',
        "_static/scripts/theme.js.map": "{}",
        "_static/doctools.js": "",
        "_static/searchtools.js": "",
        "_static/locales/de/LC_MESSAGES/booktheme.po": "",
        "_static/mathjax/tex-chtml.js": "",
        "_static/mathjax/tex-svg.js": "",
        "_static/mathjax/output/chtml/fonts/woff-v2/MathJax_Main-Regular.woff": "",
        "_static/mathjax/sre/mathmaps/de.json": "",
        "_static/mathjax/sre/mathmaps/en.json": "",
        "searchindex.js": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "_images").mkdir()
    image = Image.new("RGBA", (200, 100), "white")
    image.paste((200, 30, 90, 128), (20, 20, 120, 60))
    image.save(tmp_path / "_images/figure.png")
    return tmp_path


def characters(font: Path) -> set[int]:
    from fontTools.ttLib import TTFont

    with TTFont(font) as opened:
        return set(opened.getBestCmap())


def test_the_icon_font_holds_what_pages_scripts_and_styles_show_and_no_more(site: Path) -> None:
    postprocess(site, {"own.css"})
    fonts = site / "_static/vendor/fontawesome/webfonts"
    assert [path.name for path in fonts.iterdir()] == ["fa-solid-900.woff"]
    # arrow-up, download and xmark; the bell is the theme's own
    assert characters(fonts / "fa-solid-900.woff") == {0xF062, 0xF019, 0xF00D, 0xF0F3}
    sheet = (site / "_static/styles/theme.css").read_text(encoding="utf-8")
    assert sheet.count("@font-face") == 1
    assert 'src:url(../vendor/fontawesome/webfonts/fa-solid-900.woff) format("woff")' in sheet
    assert "fa-arrow-up" in sheet and "fa-sun" not in sheet


def test_an_icon_of_a_brand_brings_its_font(site: Path) -> None:
    page = site / "page.html"
    page.write_text(
        page.read_text(encoding="utf-8").replace("fas fa-download", "fab fa-github"), encoding="utf-8"
    )
    postprocess(site, set())
    assert 0xF09B in characters(site / "_static/vendor/fontawesome/webfonts/fa-brands-400.woff")
    assert (site / "_static/styles/theme.css").read_text(encoding="utf-8").count("@font-face") == 2


@pytest.mark.parametrize(
    ("icon", "says"),
    [
        ("fas fa-no-such-thing", "no icon fa-no-such-thing"),
        ("fab fa-arrow-up", "the icon fa-arrow-up is not in Font Awesome's brands style"),
    ],
)
def test_an_icon_that_is_not_there_is_an_error(site: Path, icon: str, says: str) -> None:
    page = site / "page.html"
    page.write_text(page.read_text(encoding="utf-8").replace("fas fa-download", icon), encoding="utf-8")
    with pytest.raises(PressError, match=says):
        postprocess(site, set())


def test_an_icon_that_only_a_script_names_must_be_there_too(site: Path) -> None:
    (site / "_static/scripts/theme.js").write_text("set('fa-solid fa-absent')", encoding="utf-8")
    with pytest.raises(PressError, match="no icon fa-absent"):
        postprocess(site, set())


def test_sizes_are_no_icons() -> None:
    page = '<i class="theme-switch fa-solid fa-sun fa-lg fa-fw"></i><p class="fa-none">far fa-away</p>'
    assert named_icons({Path("p"): page}, {}) == {("solid", "fa-sun")}


def test_pages_load_what_they_need(site: Path) -> None:
    postprocess(site, set())
    for name, up in (("page.html", ""), ("part/page.html", "../"), ("search.html", "")):
        text = (site / name).read_text(encoding="utf-8")
        assert "fontawesome.js" not in text and f'src="{up}_static/doctools.js?v=9a"' in text
        assert ("searchindex.js" in text) == ("searchtools.js" in text) == (name == "search.html")
        assert text.count('aria-hidden="true"') == 2
        assert f'src="{up}_images/figure.webp"' in text


def test_a_style_sheet_is_asked_for_by_its_present_content(site: Path) -> None:
    postprocess(site, set())
    first = (site / "page.html").read_text(encoding="utf-8")
    assert "digest=0a1b" not in first and "_static/styles/theme.css?v=" in first


def test_a_theme_that_loads_its_icons_in_another_way_is_noticed(site: Path) -> None:
    (site / "page.html").write_text("<script async src='fontawesome.js'></script>", encoding="utf-8")
    with pytest.raises(PressError, match=r"page\.html still loads fontawesome\.js"):
        postprocess(site, set())


def test_files_that_nothing_asks_for_are_gone(site: Path) -> None:
    postprocess(site, {"own.css"})
    left = {path.relative_to(site / "_static").as_posix() for path in (site / "_static").rglob("*")}
    assert not left & {"scripts/fontawesome.js", "scripts/theme.js.map", "locales", "mathjax/tex-svg.js"}
    assert "mathjax/sre/mathmaps/de.json" not in left
    assert {"scripts/theme.js", "mathjax/tex-chtml.js", "mathjax/sre/mathmaps/en.json"} <= left
    assert "mathjax/output/chtml/fonts/woff-v2/MathJax_Main-Regular.woff" in left
    assert (site / "_static/own.css").read_text(encoding="utf-8") == ".unused { color: green; }\n"


def test_a_picture_is_smaller_and_the_same_to_the_last_pixel(site: Path) -> None:
    from PIL import Image

    with Image.open(site / "_images/figure.png") as image:
        before = image.convert("RGBA").tobytes()
    size = (site / "_images/figure.png").stat().st_size
    postprocess(site, set())
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
    postprocess(site, set())
    assert (site / "_images/figure.webp").stat().st_size < size / 3
    with Image.open(site / "_images/figure.webp") as image:
        after = np.asarray(image.convert("RGB"))
    assert np.abs(after.astype(int) - before).mean() < 4


@pytest.mark.parametrize(
    ("sheet", "left"),
    [
        (".here{a:b}.gone{a:b}", ".here{a:b}"),
        (".gone,.here>p{a:b}", ".here>p{a:b}"),
        (".here .gone{a:b}p.gone:hover{a:b}", ""),
        ("p:not(.gone){a:b}.here:is(.gone,.lost){a:b}", "p:not(.gone){a:b}.here:is(.gone,.lost){a:b}"),
        ("@media print{.gone{a:b}}@media print{.here{a:b}.gone{a:b}}", "@media print{.here{a:b}}"),
        ("@supports (a:b){@media print{.gone{a:b}}p{a:b}}", "@supports (a:b){p{a:b}}"),
        ("@font-face{src:url(x)}@keyframes gone{to{a:b}}", "@font-face{src:url(x)}@keyframes gone{to{a:b}}"),
        ('/* a note *//* License: free */p{a:".gone"}', '/* License: free */p{a:".gone"}'),
        ("[class*=gone]{a:b}#gone{a:b}", "[class*=gone]{a:b}#gone{a:b}"),
    ],
)
def test_a_rule_goes_only_if_it_can_apply_to_nothing(sheet: str, left: str) -> None:
    assert needed_rules(sheet, {"here"}) == left
