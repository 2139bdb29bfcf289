"""Changing an executed chapter without executing it: its provenance, and wording that is only rendered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surveylab.claims import record
from surveylab.press.project import Project
from surveylab.press.run.clean import assemble
from surveylab.press.run.fingerprint import Fingerprint
from surveylab.press.run.sources import read_source
from surveylab.press.run.terms import terms_of


def stamped(notebook: str, provenance: dict[str, Any]) -> str:
    """The text of a notebook with its provenance."""
    import nbformat

    node = nbformat.reads(notebook, as_version=4)
    node.metadata["surveylab"] = provenance
    return str(nbformat.writes(node)) + "\n"


def refresh(project: Project, chapter: str, path: Path, now: Fingerprint) -> str:
    """Carry new wording into an executed chapter: text cells, cell metadata, and the cards of the claims.

    Outputs stay; the cards are rendered again from the evidence that is stored beside them.
    """
    import nbformat

    source = read_source(project, chapter)
    published = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    result = assemble(source, published)
    # Rewrites no card whose numbers or verdict are not what its values give: this changes sentences only.
    record.refresh(project.claims, result)
    stored = dict(published.metadata.get("surveylab", {}))
    result.metadata["surveylab"] = stored | {"fingerprint": now.digest, "parts": now.parts}
    text = str(nbformat.writes(result)) + "\n"
    if text == path.read_text(encoding="utf-8"):
        return text  # a history that grew changes nothing on the page
    result.metadata["surveylab"]["terms"] = terms_of(project.claims_of(chapter))
    return str(nbformat.writes(result)) + "\n"
