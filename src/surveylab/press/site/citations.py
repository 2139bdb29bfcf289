"""On the page a card names its sources by authors and year, linked to the bibliography, not by key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

from surveylab.press.project import Notebook

# As surveylab.claims.render writes them: keys between commas; those that a source claim rests on as code.
_SOURCES = re.compile(r"(<dt>Sources</dt><dd>|Rests on )((?:<code>[^<]*</code>(?:, )?)+|[^<:]+)")


def authors_and_years(bibliography: Path) -> Mapping[str, str]:
    """How each entry of a bibliography is named in running text: "Wu and He 2018", "He et al. 2016"."""
    from pybtex.database import parse_file

    named = {}
    for key, entry in parse_file(str(bibliography), bib_format="bibtex").entries.items():
        people = entry.persons.get("author") or entry.persons.get("editor") or []
        names = [" ".join([*person.prelast_names, *person.last_names]) for person in people]
        who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        plain = re.sub(r"[{}\\]", "", f"{who} {entry.fields.get('year', '')}").strip()
        named[key] = plain or key
    return named


def with_citations(notebook: Notebook, name: str, named: Mapping[str, str]) -> None:
    """Name the sources of every card in place; ``name`` says how deep the page lies below the book's root."""
    page = "../" * name.count("/") + "references.html"

    def cited(match: re.Match[str]) -> str:
        keys = [key.strip() for key in re.sub("</?code>", "", match[2]).split(",")]
        links = [f'<a href="{page}">{escape(named.get(key, key))}</a>' for key in keys]
        return match[1] + "; ".join(links)

    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html")
            if html is not None:
                text = "".join(html) if isinstance(html, list) else html
                output["data"]["text/html"] = _SOURCES.sub(cited, text)
