"""Take from the built site what no page uses: most of its icons, styles and scripts, and larger images.

The theme loads 1.5 MB of icons and 0.5 MB of styles on every page. What is left after this is what the pages
and the scripts name; an icon that is named and not there is an error.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

from surveylab.press.project import PressError
from surveylab.press.site.accessibility import accessible

# Under _static/: nothing there is ever asked for by a page of this book.
UNUSED = (
    *("*.map", "locales/*", "scripts/fontawesome.js*", "*webpack-macros.html"),
    *("images/logo_deepnote.svg", "images/logo_jupyterhub.svg", "images/logo_jupyterlite.svg"),
)
# Of MathJax: what tex-chtml.js contains or may load, with speech in English, and the SVG output of its menu.
MATHJAX = (
    *(
        "tex-chtml.js",
        "output/chtml/*",
        "output/svg.js",
        "output/svg/*",
        "input/tex/extensions/*",
        "input/mml.js",
    ),
    *("ui/*", "a11y/*", "sre/mathmaps/base.json", "sre/mathmaps/en.json", "sre/mathmaps/nemeth.json"),
)
_EVERY_PAGE = r' *<script(?: defer)? src="[^"]*{}[^"]*"></script>\n?'
_ICON_SCRIPT = re.compile(_EVERY_PAGE.format(r"scripts/fontawesome\.js"))
# For a search as one types, which is off here, the theme loads the index of all words on each page. Only the
# page of results needs it, and it grows with the book.
_SEARCH_SCRIPTS = re.compile(_EVERY_PAGE.format(r"(?:searchtools|language_data|searchindex)\.js"))
_STYLE_LINK = re.compile(r'(href="[^"]*_static/)([^"?]+\.css)\?(?:v|digest)=\w+"')
_FACE = re.compile(r"@font-face\{[^}]*webfonts/(fa-\w+-\d+)\.woff2[^}]*\}")
_STYLES = {"fa": "solid", "fas": "solid", "fa-solid": "solid", "far": "regular", "fa-regular": "regular"}
_STYLES |= {"fab": "brands", "fa-brands": "brands"}
_FONTS = {"solid": "fa-solid-900", "regular": "fa-regular-400", "brands": "fa-brands-400"}
# A chart takes less than this, in bytes, as lossless WebP.
PHOTOGRAPHS = 150_000
# Bootstrap's script puts this one together from its parts.
_MADE_BY_SCRIPTS = ("bs-tooltip-auto", "bs-popover-auto")


def postprocess(html: Path, kept: set[str]) -> None:
    """Make every page as light as it can be without looking different.

    Args:
        html: The built site.
        kept: Style sheets of the book's own, seen from `_static/`: they stay as they are written.

    Raises:
        PressError: an icon is used that the theme does not have, or the theme is not as this knows it.
    """
    static = html / "_static"
    _remove_unused(static)
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(html.rglob("*.html"))}
    smaller = _convert_images(html / "_images")
    pages = {path: accessible(_lighter(text, path.name, smaller)) for path, text in pages.items()}
    scripts = {
        path: path.read_text(encoding="utf-8")
        for path in sorted(static.rglob("*.js"))
        if "mathjax" not in path.relative_to(static).parts
    }
    sheets = {path.relative_to(static).as_posix(): path for path in sorted(static.rglob("*.css"))}
    styles = {name: path.read_text(encoding="utf-8") for name, path in sheets.items() if name not in kept}
    icons = _characters(named_icons(pages, scripts), styles)
    words = {word for text in (*pages.values(), *scripts.values()) for word in re.findall(r"[\w-]+", text)}
    styles = {name: needed_rules(text, words | {*_MADE_BY_SCRIPTS}) for name, text in styles.items()}
    styles = _with_small_fonts(static / "vendor/fontawesome/webfonts", styles, icons)
    for name, text in styles.items():
        sheets[name].write_text(text, encoding="utf-8")
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest()[:8] for name, path in sheets.items()}
    for path, text in pages.items():
        path.write_text(_with_digests(text, digests), encoding="utf-8")


def _remove_unused(static: Path) -> None:
    for path in sorted(static.rglob("*")):
        name = path.relative_to(static).as_posix()
        if not path.is_file():
            continue
        if name.startswith("mathjax/"):
            if not any(fnmatch.fnmatch(name, f"mathjax/{pattern}") for pattern in MATHJAX):
                path.unlink()
        elif any(fnmatch.fnmatch(name, pattern) for pattern in UNUSED):
            path.unlink()
    for folder in sorted((path for path in static.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _lighter(text: str, name: str, smaller: Mapping[str, str]) -> str:
    """A page without the scripts that it does not need, and with the smaller images."""
    text = _ICON_SCRIPT.sub("", text)
    if name != "search.html":
        text = _SEARCH_SCRIPTS.sub("", text)
    if "fontawesome.js" in text:
        raise PressError(f"{name} still loads fontawesome.js: the theme writes it in another way than known")
    return re.sub(r"(_images/)([\w.-]+\.png)", lambda m: m[1] + smaller.get(m[2], m[2]), text)


def _with_digests(text: str, digests: Mapping[str, str]) -> str:
    """Name each style sheet by its present content, so that no browser shows a page with an old one."""

    def stamped(match: re.Match[str]) -> str:
        known = digests.get(match[2])
        return f'{match[1]}{match[2]}?v={known}"' if known else match[0]

    return _STYLE_LINK.sub(stamped, text)


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


# ------------------------------------------------------------------------------------------------- icons


def named_icons(pages: Mapping[Path, str], scripts: Mapping[Path, str]) -> set[tuple[str, str]]:
    """Every icon that a page or a script names, as its style (solid, regular, brands) and its name."""
    found: set[tuple[str, str]] = set()
    for text in pages.values():
        found |= {icon for classes in _Classes(text).found for icon in _icons_in(classes)}
    for text in scripts.values():
        for literal in re.findall(r"""["'`]([\w -]*\bfa[\w-]*[\w -]*)["'`]""", text):
            found |= set(_icons_in(literal))
    return found


def _icons_in(classes: str) -> Iterator[tuple[str, str]]:
    names = classes.split()
    style = next((_STYLES[name] for name in names if name in _STYLES), None)
    if style is None:
        return
    for name in names:
        if (
            name.startswith("fa-")
            and name not in _STYLES
            and not re.fullmatch(r"fa-(?:fw|xs|sm|lg|xl|\d?x[sl]?)", name)
        ):
            yield style, name


class _Classes(HTMLParser):
    """The `class` of each element of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {value for name, value in attrs if name == "class" and value}


def _characters(icons: set[tuple[str, str]], styles: Mapping[str, str]) -> dict[tuple[str, str], int]:
    """The character that stands for each icon in the theme's fonts, as its style sheets say."""
    rules = "".join(styles.values())
    found = {}
    for style, name in icons:
        match = re.search(rf'\.{name}:{{1,2}}before[^{{}}]*\{{content:\s*"(?:\\([0-9a-f]+)\s?|(.))"', rules)
        if match is None:
            raise PressError(f"the theme's Font Awesome has no icon {name}: give the name of one that it has")
        found[style, name] = int(match[1], 16) if match[1] else ord(match[2])
    return found


def _with_small_fonts(
    folder: Path, styles: dict[str, str], icons: Mapping[tuple[str, str], int]
) -> dict[str, str]:
    """Reduce each icon font to the icons in use and to those that the theme's own styles draw."""
    rules = "".join(styles.values())
    if not folder.is_dir() or not _FACE.search(rules):
        raise PressError("the theme keeps its icon fonts elsewhere than site/postprocess.py knows")
    own = {int(code, 16) for code in re.findall(r'content:\s*"\\([0-9a-f]+)\s?"', rules)}
    own |= {ord(sign) for sign in re.findall(r'--pst-icon-[a-z-]+:\s*"(.)"', rules)}
    faces = {}
    for style in {"solid"} | {style for style, _ in icons}:  # the theme's styles draw with the solid one
        font = _FONTS[style]
        drawn = _subset(folder / f"{font}.ttf", own | set(icons.values()), folder / f"{font}.woff")
        for (wanted, name), character in icons.items():
            if wanted == style and character not in drawn:
                raise PressError(f"the icon {name} is not in Font Awesome's {style} style")
        faces[font] = f'src:url(../vendor/fontawesome/webfonts/{font}.woff) format("woff")'
    for path in [*folder.glob("*.ttf"), *folder.glob("*.woff2")]:
        path.unlink()

    def face(match: re.Match[str]) -> str:
        return re.sub(r"src:[^;}]*", faces[match[1]], match[0]) if match[1] in faces else ""

    return {name: _FACE.sub(face, text) for name, text in styles.items()}


def _subset(font: Path, characters: set[int], out: Path) -> set[int]:
    """Write a font with some of its characters, and say which of them it has."""
    from fontTools import subset
    from fontTools.ttLib import TTFont

    options = subset.Options(layout_features=[], hinting=False)
    with TTFont(font, recalcTimestamp=False) as opened:
        had = characters & set(opened.getBestCmap())
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=had)
        subsetter.subset(opened)
        opened.flavor = "woff"
        opened.save(out)
    return had


# ------------------------------------------------------------------------------------------------ styles


def needed_rules(sheet: str, words: set[str]) -> str:
    """A style sheet without the rules that can apply to no element.

    A rule goes if each of its selectors asks for a class that is a word of no page and of no script. What a
    selector says inside brackets, as `:not(.wide)`, is left alone.
    """
    import tinycss2

    return _needed(tinycss2.parse_stylesheet(sheet, skip_whitespace=True), words)


def _needed(rules: list, words: set[str]) -> str:
    import tinycss2

    parts = []
    for rule in rules:
        if rule.type == "qualified-rule":
            selectors = [s for s in _selectors(rule.prelude) if _classes(s) <= words]
            if selectors:
                head = ",".join(tinycss2.serialize(selector).strip() for selector in selectors)
                parts.append(f"{head}{{{tinycss2.serialize(rule.content)}}}")
        elif rule.type == "at-rule" and rule.lower_at_keyword in ("media", "supports") and rule.content:
            inside = _needed(tinycss2.parse_rule_list(rule.content, skip_whitespace=True), words)
            if inside:
                parts.append(f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{inside}}}")
        elif rule.type != "comment" or "License" in rule.value:
            parts.append(rule.serialize())
    return "".join(parts)


def _selectors(prelude: list) -> list[list]:
    """The selectors of a rule, between the commas outside any bracket."""
    found: list[list] = [[]]
    for token in prelude:
        if token.type == "literal" and token.value == ",":
            found.append([])
        else:
            found[-1].append(token)
    return found


def _classes(selector: list) -> set[str]:
    """The classes that an element, or one above it, must have for a selector to apply."""
    pairs = pairwise(selector)
    return {b.value for a, b in pairs if a.type == "literal" and a.value == "." and b.type == "ident"}
