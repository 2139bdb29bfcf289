"""The lines under a chapter's title: verdicts, when and on what it was executed, data, downloads."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Any

from surveylab.claims import evidence_of, provenance_of
from surveylab.press.console import counted, seconds
from surveylab.press.project import Notebook, text_of
from surveylab.press.site.evidence import Findings
from surveylab.press.site.rendering import render


def add_header(notebook: Notebook, findings: Findings, *, executed: str | None, source: str | None) -> None:
    """Put the lines under the title, in place.

    Args:
        notebook: the executed chapter as it goes into the book.
        findings: the book's claims and their replications.
        executed: where the executed notebook lies for download, seen from the top of the book.
        source: where its source lies, likewise.
    """
    first = notebook["cells"][0]
    lines = _header(notebook, findings, executed, source)
    if lines:
        first["source"] = re.sub(
            r"(?m)^# .*$", lambda title: f"{title[0]}\n\n{lines}", text_of(first), count=1
        )


def _header(notebook: Notebook, findings: Findings, executed: str | None, source: str | None) -> str:
    record = provenance_of(notebook)
    counts = Counter(findings.shown(e).verdict for e in evidence_of(notebook).values())
    lines = [_when(record)] if record else []
    downloads = [
        f"{{download}}`{name} </{path}>`"
        for name, path in (("executed notebook", executed), ("source without outputs", source))
        if path
    ]
    if data := record.get("data"):
        # A data set without its section in data.md fails the build: data is described before it is used.
        lines.append("Data: " + ", ".join(f"[{name}](/data.md#{name})" for name in data) + ".")
    if downloads:
        lines.append("Download: " + ", ".join(downloads) + ".")
    return render("header.md", counts=counts, lines=lines).strip() if counts or lines else ""


def _when(record: Mapping[str, Any]) -> str:
    when = str(record.get("executed", ""))[:10]
    threads = (record.get("machine") or {}).get("threads")
    facts = [
        f"Executed {_written(when)}" if when else "",
        f"in {seconds(record['duration'])}" if record.get("duration") else "",
        f"on {counted(threads, 'thread')}" if threads and record.get("device") == "cpu" else "",
        f"on {(record.get('machine') or {}).get('accelerator')}" if record.get("device") == "cuda" else "",
    ]
    said = " ".join(filter(None, facts))
    return f"{said}; profile {record.get('profile')}, seed {record.get('seed')} ([all of it](#provenance))."


def _written(day: str) -> str:
    """`2026-01-31` as `31 January 2026`."""
    found = date.fromisoformat(day)
    return f"{found.day} {found:%B %Y}"
