"""What a site needs beside its pages: card, icons, a page for wrong addresses, a map for search engines."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from surveylab.claims import BADGES
from surveylab.press.site.evidence import UNEXAMINED, Findings
from surveylab.press.site.rendering import render
from surveylab.press.site.urls import Site

CARD = "_static/card.png"
ICON = "_static/icon-32.png"
APP_ICON = "_static/icon-180.png"
CARD_TEXT = "The title of the book and its statements counted by verdict."

_INK, _QUIET, _PAPER = "#222832", "#48566b", "#ffffff"


def write_assets(html: Path, site: Site, title: str, front: str, findings: Findings) -> None:
    """Write them all."""
    texts: dict[str, str] = {
        # The theme's front page is `intro`; a folder opened in a browser asks for `index.html`.
        "index.html": render(
            "redirect.html", title=title, page=front, canonical=site.page(front) if site.address else front
        ),
        "404.html": not_found(title, front, site),
    }
    (html / CARD).write_bytes(card(title, findings))
    for name, size in ((ICON, 32), (APP_ICON, 180)):
        (html / name).write_bytes(icon(size))
    if site.address:
        pages = sorted(
            path.relative_to(html).as_posix()
            for path in html.rglob("*.html")
            if "_static" not in path.parts and path.name not in ("index.html", "404.html", "search.html")
        )
        # Without dates, so that two builds agree.
        texts["sitemap.xml"] = render("sitemap.xml", addresses=map(site.page, pages))
        texts["robots.txt"] = f"User-agent: *\nAllow: /\nSitemap: {site.page('sitemap.xml')}\n"
    for name, text in texts.items():
        (html / name).write_text(text, encoding="utf-8")


def not_found(title: str, front: str, site: Site) -> str:
    """The page that a server shows for an address that leads nowhere, however deep that address is.

    It loads nothing. Its links begin with the path under which the book is served; where that is not known, a
    script finds it.
    """
    links = [(front, "Front page"), ("search.html", "Search"), ("genindex.html", "Index of the library")]
    prefix = site.prefix if site.address else ""
    return render("not_found.html", title=title, prefix=prefix, links=links)


def card(title: str, findings: Findings) -> bytes:
    """The picture beside a shared link, a PNG of 1200x630: the title, and statements counted by verdict."""
    from matplotlib import style
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    style.use("default")  # whatever the reader's own settings are
    counts = findings.counts
    total, examined = len(findings.statements), len(findings.examined)
    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor=_PAPER)
    figure.text(0.07, 0.80, title, size=46, weight="bold", color=_INK, va="center")
    line = "A literature review of deep learning that runs:\neach statement is a claim with a verdict."
    figure.text(0.07, 0.62, line, size=25, color=_QUIET, va="center", linespacing=1.45)
    left, width = 0.07, 0.86
    shown = [(verdict, counts[verdict]) for verdict in BADGES if counts[verdict] and verdict != UNEXAMINED]
    bar = [(BADGES[verdict].light, count) for verdict, count in shown]
    for tone, count in [*bar, ("#dfe3ea", total - sum(count for _, count in shown))]:
        part = width * count / max(total, 1)
        figure.add_artist(Rectangle((left, 0.40), part, 0.055, color=tone, linewidth=0))
        left += part
    place, height = 0.07, 0.31
    for verdict, count in shown:
        badge = BADGES[verdict]
        text = figure.text(place, height, f"{badge.sign} {badge.word} {count}", size=20, color=badge.light)
        if place + _width(figure, text) > 0.93:  # the next line
            place, height = 0.07, height - 0.085
            text.set_position((place, height))
        place += _width(figure, text) + 0.028
    figure.text(0.07, 0.10, f"{examined} of {total} statements examined so far", size=21, color=_QUIET)
    return _png(figure)


def _width(figure: Any, text: Any) -> float:
    """How wide a text is drawn, as a share of the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    return float(text.get_window_extent(renderer).width / figure.bbox.width)


def icon(size: int) -> bytes:
    """The favicon for browsers that take no SVG: an interval and its estimate."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle, FancyBboxPatch

    figure = Figure(figsize=(1, 1), dpi=size)
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 32), ylim=(0, 32))
    axes.set_axis_off()
    box = "round,pad=0,rounding_size=7"
    axes.add_patch(FancyBboxPatch((0, 0), 32, 32, boxstyle=box, color="#00695c", linewidth=0))
    thick = 2.5 * 72 / 32  # points for 2.5 of 32 units on a figure of an inch
    for xs, ys in (([5, 27], [16, 16]), ([5, 5], [12, 20]), ([27, 27], [12, 20])):
        axes.plot(xs, ys, color="#ffffff", linewidth=thick, solid_capstyle="round")
    axes.add_patch(Circle((18, 16), 5, color="#ffffff", linewidth=0, zorder=3))
    return _png(figure)


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    # Without the name of the program, which would change with its version.
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
