"""What the book adds to Sphinx: description and buttons of each page, and in the API reference who uses what.

`surveylab.press.site.build` says what it needs to know in the configuration value `surveylab`.
"""

from __future__ import annotations

import re
from html import escape, unescape
from pathlib import Path
from typing import Any

from surveylab.press.run.usage import defined_at
from surveylab.press.site import formulas
from surveylab.press.site.assets import APP_ICON, CARD, CARD_TEXT, ICON
from surveylab.press.site.rendering import render
from surveylab.press.site.urls import Site

# Pages that Sphinx makes by itself have no first paragraph.
_WITHOUT_TEXT = {
    "search": "Search the book.",
    "genindex": "Every function, class and module of the library, in alphabetical order.",
}
_LONGEST = 200
# Without excerpts: a browser lets no page that is opened as a file read another one.
_SEARCH_IN_FILES = 'if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;'


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    objects = ("site", "sources", "uses", "packages", "claims")
    nothing: dict[str, Any] = {name: {} for name in objects} | {"chapters": []}
    app.add_config_value("surveylab", nothing, "env")
    app.add_role("claim", _claim)
    formulas.setup(app)
    app.connect("config-inited", _order_own_files)
    app.connect("html-page-context", _describe)
    app.connect("html-page-context", _search_in_files)
    # After the theme, which makes a new list of buttons at 500 and fills it at 501.
    app.connect("html-page-context", _add_buttons, priority=502)
    app.connect("autodoc-process-signature", _readable)
    # After napoleon, which rewrites the docstring.
    app.connect("autodoc-process-docstring", _name_users, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _claim(
    _name: str, raw: str, id: str, line: int, inliner: Any, _options: Any = None, _content: Any = None
) -> tuple[list[Any], list[Any]]:
    """The role `claim`: the verdict on a claim, linked to its evidence."""
    from docutils import nodes

    environment = inliner.document.settings.env
    claim = environment.config.surveylab["claims"].get(id)
    if claim is None:
        problem = inliner.reporter.error(f"no claim is called {id!r} in book/claims", line=line)
        return [inliner.problematic(raw, raw, problem)], [problem]
    up = "../" * environment.docname.count("/")
    html = render("badge.html", verdict=claim["verdict"], href=up + claim["href"], about=claim["about"])
    return [nodes.raw("", html, format="html")], []


def _order_own_files(_app: Any, config: Any) -> None:
    """Name the book's own style sheets and scripts in one order on every machine, survey.css first.

    Jupyter Book takes them in the order in which the file system lists them.
    """
    for name in ("html_css_files", "html_js_files"):
        config[name] = sorted(getattr(config, name), key=lambda file: (str(file) != "survey.css", str(file)))


def _describe(app: Any, page: str, _template: str, context: dict[str, Any], doctree: Any) -> None:
    """Say in the page's head what it is about, for search engines and for the card of a shared link."""
    site = Site(**app.config.surveylab["site"])
    book = app.config.html_title
    title = re.sub(r"<[^>]+>", "", str(context.get("title", ""))) or book
    about = _first_words(doctree) or _WITHOUT_TEXT.get(page, book)
    properties = {
        "og:type": "website" if page == app.config.root_doc else "article",
        "og:site_name": book,
        "og:title": title,
        "og:description": about,
    }
    named = {"description": about, "twitter:card": "summary"}
    if site.address:
        card = site.page(CARD)
        properties |= {
            "og:url": site.page(f"{page}.html"),
            "og:image": card,
            "og:image:width": "1200",
            "og:image:height": "630",
            "og:image:alt": CARD_TEXT,
        }
        named |= {"twitter:card": "summary_large_image", "twitter:image": card}
    tags = [f'<meta property="{key}" content="{_attribute(value)}" />' for key, value in properties.items()]
    tags += [f'<meta name="{key}" content="{_attribute(value)}" />' for key, value in named.items()]
    path = context["pathto"]
    tags += [
        f'<link rel="icon" type="image/png" sizes="32x32" href="{path(ICON, 1)}" />',
        f'<link rel="apple-touch-icon" href="{path(APP_ICON, 1)}" />',
    ]
    context["metatags"] = "\n    ".join([str(context.get("metatags", "")), *tags])


def _attribute(text: str) -> str:
    # A title comes from Sphinx with entities in it already.
    return escape(unescape(text))


def _first_words(doctree: Any) -> str:
    """The first paragraph of a page, cut after a sentence or a word where it is long."""
    from docutils import nodes

    if doctree is None:
        return ""
    for paragraph in doctree.findall(nodes.paragraph):
        if "sl-header" in paragraph.parent.get("classes", []):
            continue  # what a chapter has in place of a by-line
        # Without its citations: they are links, and here nothing can be followed.
        text = re.sub(r" \[[^\]]*\d{4}[a-z]?\]", "", " ".join(paragraph.astext().split()))
        if len(text) >= 40:
            break
    else:
        return ""
    if len(text) <= _LONGEST:
        return text
    sentences = re.match(rf".{{60,{_LONGEST - 1}}}[.!?](?= )", text)
    return sentences[0] if sentences else text[: _LONGEST - 1].rpartition(" ")[0] + "…"


def _search_in_files(app: Any, page: str, *_: Any) -> None:
    if page == "search":
        app.add_js_file(None, body=_SEARCH_IN_FILES)


def _add_buttons(app: Any, page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Repository, edit, issue and launch buttons, where the repository's address is known."""
    site = Site(**app.config.surveylab["site"])
    if not site.repository:
        return
    source = app.config.surveylab["sources"].get(page)
    links = [("Repository", "Source repository", "fab fa-github", site.repository)]
    if source:
        links.append(("Suggest edit", f"Edit {source}", "fas fa-pencil-alt", site.edit(source)))
    about = f"{app.config.html_title}: {page}"
    links.append(("Open issue", "Open an issue about this page", "fas fa-lightbulb", site.issue(about)))
    groups = [_group("Source repository", "fab fa-github", "source-buttons", links)]
    if source and Path(source).suffix == ".ipynb":
        logo, about = "_static/images/logo_binder.svg", "Open the chapter's source on Binder"
        services = [("Binder", about, logo, site.binder(source))]
        groups.insert(0, _group("Run this chapter elsewhere", "fas fa-rocket", "launch-buttons", services))
    context["header_buttons"] = groups + context["header_buttons"]


def _group(about: str, icon: str, label: str, links: list[tuple[str, str, str, str]]) -> dict[str, Any]:
    """A menu above the page, as the theme's templates take it."""
    return {
        "type": "group",
        "tooltip": about,
        "icon": icon,
        "label": label,
        "buttons": [
            {"type": "link", "text": text, "tooltip": tooltip, "icon": picture, "url": address}
            for text, tooltip, picture, address in links
        ],
    }


def _name_users(app: Any, _what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Close a docstring with the chapters that use the object."""
    settings = app.config.surveylab
    packages = {package: Path(folder) for package, folder in settings["packages"].items()}
    users = settings["uses"].get(defined_at(name, packages), [])
    if not users:
        return
    everywhere = len(users) > 5 and len(users) == len(settings["chapters"])
    named = "every chapter" if everywhere else ", ".join(f":doc:`/{chapter}`" for chapter in users)
    lines += ["", ".. container:: sl-used", "", f"   Used in {named}.", ""]


def _readable(
    _app: Any, _what: str, _name: str, _object: Any, _options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """A signature that is Python, for Sphinx to read: a dataclass's defaults are shown as objects."""
    if signature:
        signature = re.sub(r"<function (\w+)[^>]*>", r"\1", signature.replace("<factory>", "..."))
    return signature, returns
