"""How pages name their sources: by authors and year, not by key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path


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
