"""Take from the built pages what they do not use: scripts of the theme, and larger images."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Mapping
from pathlib import Path

from surveylab.press.project import PressError
from surveylab.press.site.accessibility import accessible

_EVERY_PAGE = r' *<script(?: defer)? src="[^"]*{}[^"]*"></script>\n?'
_ICON_SCRIPT = re.compile(_EVERY_PAGE.format(r"scripts/fontawesome\.js"))
# For a search as one types, which is off here, the theme loads the index of all words on each page. Only the
# page of results needs it, and it grows with the book.
_SEARCH_SCRIPTS = re.compile(_EVERY_PAGE.format(r"(?:searchtools|language_data|searchindex)\.js"))
_PICTURE = re.compile(r'<img ((?:(?! width=)[^>])*src="[^"]*_images/([\w.-]+)"(?:(?! width=)[^>])*>)')
# A chart takes less than this, in bytes, as lossless WebP.
PHOTOGRAPHS = 150_000
# A picture that waits until a reader comes near it. The book's PDF has none.
LAZY = ' loading="lazy"'


def postprocess(html: Path) -> None:
    """Make every page lighter without looking different.

    Raises:
        PressError: The theme is not as this knows it.
    """
    for template in (html / "_static").rglob("*.html"):  # the theme's own, which are no pages
        template.unlink()
    smaller = _convert_images(html / "_images")
    sizes = _sizes(html / "_images")
    for path in sorted(html.rglob("*.html")):
        page = accessible(_lighter(path.read_text(encoding="utf-8"), path.name, smaller, sizes))
        path.write_text(page, encoding="utf-8")


def _lighter(text: str, name: str, smaller: Mapping[str, str], sizes: Mapping[str, str]) -> str:
    """A page without the scripts that it does not need, and with the smaller images."""
    text = _ICON_SCRIPT.sub("", text)
    if name != "search.html":
        text = _SEARCH_SCRIPTS.sub("", text)
    if "fontawesome.js" in text:
        raise PressError(f"{name} still loads fontawesome.js: the theme writes it in another way than known")
    text = re.sub(r"(_images/)([\w.-]+\.png)", lambda m: m[1] + smaller.get(m[2], m[2]), text)
    # With its size a picture keeps its place while it loads, and nothing below it jumps. All but the first
    # lie below what a reader sees at once; they wait until she comes near.
    waits = itertools.chain([""], itertools.repeat(LAZY))
    return _PICTURE.sub(lambda m: f"<img{next(waits)}{sizes.get(m[2], '')} {m[1]}", text)


def _sizes(folder: Path) -> dict[str, str]:
    """Width and height of each picture as attributes, by its file."""
    from PIL import Image

    sizes = {}
    for path in sorted(folder.glob("*.webp")) + sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            sizes[path.name] = f' width="{image.width}" height="{image.height}"'
    return sizes


def _convert_images(folder: Path) -> dict[str, str]:
    """Write figures as lossless WebP, half the size of PNG, and say which file took whose place.

    Figures of photographs stay large so; at a quality at which no eye tells the difference they are a third.
    """
    from PIL import Image

    smaller = {}
    for path in sorted(folder.glob("*.png")):
        out = io.BytesIO()
        with Image.open(path) as image:
            image.save(out, "WEBP", lossless=True, exact=True, quality=90, method=4)
            if out.tell() > PHOTOGRAPHS:
                out = io.BytesIO()
                image.save(out, "WEBP", quality=95, method=4)
        if out.tell() < path.stat().st_size:
            path.with_suffix(".webp").write_bytes(out.getvalue())
            path.unlink()
            smaller[path.name] = f"{path.stem}.webp"
    return smaller
