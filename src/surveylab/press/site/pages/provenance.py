"""From what, when and on what a chapter was executed, and every value that it published."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from surveylab.press.site.evidence import Findings
from surveylab.press.site.markup import raw_html

COLUMNS = [
    *("claim", "statements", "chapter", "kind", "verdict", "estimate", "low", "high", "margin", "direction"),
    *("statistic", "unit", "level", "profile", "seed", "data", "population", "replicate", "value"),
]


def provenance(
    chapter: str, record: Mapping[str, Any], *, source: str | None, library: Sequence[str] = ()
) -> str:
    """The last section of a chapter: when, on what and from what it was executed.

    Args:
        chapter: `section/chapter`.
        record: What the press wrote into the notebook.
        source: Where the source notebook lies, for the download link, seen from the top of the book.
        library: The objects of the library that its code uses, as the API reference names them.
    """
    machine: Mapping[str, Any] = record.get("machine") or {}
    versions: Mapping[str, Any] = record.get("versions") or {}
    data: Mapping[str, Any] = record.get("data") or {}
    threads = machine.get("threads")
    many = f"{threads} thread{'' if threads == 1 else 's'}" if threads else None
    processor = ", ".join(str(p) for p in (machine.get("processor"), machine.get("capability"), many) if p)
    executed = (
        str(record.get("executed", "")).replace("T", " ").replace("+00:00", " UTC").replace("Z", " UTC")
    )
    duration = record.get("duration")
    rows = [
        ("Executed", executed),
        ("Duration", f"{duration:g} s" if isinstance(duration, int | float) else ""),
        ("Profile", record.get("profile", "")),
        ("Seed", record.get("seed", "")),
        ("Device", ", ".join(str(p) for p in (record.get("device"), machine.get("accelerator")) if p)),
        ("Processor", processor),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Data", ", ".join(f"{name} (sha256 {str(sha)[:12]})" for name, sha in data.items())),
        ("Fingerprint", record.get("fingerprint", "")),
    ]
    facts = [
        f"<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in rows
        if str(value) not in ("", "None")
    ]
    parts = ["## Provenance\n"]
    parts.append(
        raw_html(['<dl class="sl-provenance">', *facts, "</dl>"])
        if facts
        else "This edition carries no record.\n"
    )
    if source:
        parts.append(f"Source: {{download}}`notebooks/{chapter}.ipynb </{source}>`. ")
    parts.append(f"Run it again and compare: `surveylab verify {chapter}`.")
    if library:
        parts.append(f"\nLibrary used here: {_by_module(library)}.")
    return "\n".join(parts)


def _by_module(names: Sequence[str]) -> str:
    """The objects, linked to where the API reference describes them, behind the module that holds them."""
    modules: dict[str, list[str]] = {}
    for name in names:
        modules.setdefault(name.rpartition(".")[0], []).append(name)
    return "; ".join(
        f"{{py:mod}}`{module}` with " + ", ".join(f"{{py:obj}}`{n.rpartition('.')[2]} <{n}>`" for n in found)
        for module, found in modules.items()
    )


def evidence_table(findings: Findings) -> str:
    """Every value of every claim as CSV, one row a value; a claim that only cites has one row without."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for id, claim in findings.claims.items():
        e = findings.evidence.get(id)
        if e is None:
            continue
        head: list[object] = [id, " ".join(claim.covers), claim.chapter, claim.kind]
        head += [e.verdict, e.estimate, e.low, e.high, e.margin, e.direction, e.statistic, e.unit, e.level]
        head += [e.profile, e.seed, e.data["name"] if e.data else None]
        if e.values is None:
            writer.writerow([*head, None, None, None])
        elif e.kind == "experiment":
            for population, row in enumerate(e.values):
                writer.writerows([*head, population, replicate, value] for replicate, value in enumerate(row))
        else:
            writer.writerows([*head, None, replicate, value] for replicate, value in enumerate(e.values))
    return out.getvalue()
