"""Where a chapter's text names a claim, its page shows the verdict, linked to the evidence."""

from __future__ import annotations

import re

from surveylab.press.project import Notebook, PressError, text_of
from surveylab.press.site.evidence import Findings
from surveylab.press.site.markup import card_link, linked_badge, unexamined

_NAMED = re.compile(r"\{claim\}`([^`]*)`")


def with_badges(notebook: Notebook, name: str, findings: Findings) -> None:
    """Put a claim's badge where Markdown names it in the role `claim`, as CONTRIBUTING.md shows.

    Args:
        notebook: The page, which is changed; code cells are left alone.
        name: Its file, which says how deep it lies below the book's root.
        findings: The claims and the evidence on them.

    Raises:
        PressError: There is no such claim.
    """
    root = "../" * name.count("/")

    def badge(match: re.Match[str]) -> str:
        claim = findings.claims.get(match[1])
        if claim is None:
            raise PressError(f"book/{name} names the claim {match[1]!r}, which is not in book/claims/")
        evidence = findings.evidence.get(claim.id)
        if evidence is None:
            return unexamined()
        about = linked_badge(evidence.verdict, root + card_link(claim), f"{claim.id}: {claim.says}")
        return about.replace("|", "&#124;")  # in Markdown it would end a table's cell

    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = _NAMED.sub(badge, text_of(cell))
