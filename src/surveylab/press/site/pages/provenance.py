"""From what, when and on what a chapter was executed, and every value that it published."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from surveylab.claims import Cell, standing
from surveylab.press.console import counted
from surveylab.press.site.evidence import Findings
from surveylab.press.site.rendering import render

# The columns of evidence.csv: name, type, and what it holds.
COLUMNS = (
    ("claim", "string", "The claim's id."),
    ("statements", "string", "The ids of the review's statements that it decides, between spaces."),
    ("chapter", "string", "The chapter that examines it, as section/chapter."),
    ("kind", "string", "identity, experiment, measurement or source."),
    ("verdict", "string", "What the values decide; inconclusive too where that does not repeat."),
    ("estimate", "number", "The mean of the values; of an identity the largest error."),
    ("low", "number", "The lower end of the interval."),
    ("high", "number", "The upper end of the interval."),
    ("margin", "number", "The smallest effect that would matter; of an identity the tolerance."),
    ("direction", "string", "greater, or equivalent for a claim of parity."),
    ("statistic", "string", "What the interval is of: mean, or sign for counted values."),
    ("unit", "string", "The unit of value, estimate, interval and margin."),
    ("level", "number", "The level of confidence of the interval."),
    ("repeated", "integer", "In how many of the replications the published verdict came out again."),
    ("replications", "integer", "How many runs on other seeds count for the claim; empty without any."),
    ("profile", "string", "How long the chapter ran: standard or full."),
    ("seed", "integer", "The seed of the run."),
    ("data", "string", "The data set."),
    ("edition", "integer", "The edition of the claim; 0 before editions were counted."),
    ("standing", "string", "registered, or revised if it was changed after a result was known."),
    ("reason", "string", "Why the verdict is inconclusive."),
    ("firmness", "number", "How probably an independent run of the same size gives this verdict again."),
    ("published", "number", "The source's own figure."),
    ("guard", "string", "The effect at other budgets, as `budget=0.5: estimate [low, high]; ...`."),
    ("map", "string", "The effect in other settings, likewise; it decides nothing."),
    ("population", "integer", "To which of the independent populations of runs the value belongs."),
    ("replicate", "integer", "Which replicate, random input or pair it is."),
    ("cluster", "string", "Which values share something, and count as one."),
    ("value", "number", "One value, turned so that the claimed direction is positive."),
)


def provenance(
    chapter: str, record: Mapping[str, Any], *, source: str | None, library: Sequence[str] = ()
) -> str:
    """The last section of a chapter: when, on what and from what it was executed.

    Args:
        record: What the press wrote into the notebook.
        source: Where the source notebook lies, for the download link, seen from the top of the book.
        library: The objects of the library that its code uses, as the API reference names them.
    """
    machine: Mapping[str, Any] = record.get("machine") or {}
    versions: Mapping[str, Any] = record.get("versions") or {}
    data: Mapping[str, Any] = record.get("data") or {}
    threads = counted(machine["threads"], "thread") if machine.get("threads") else None
    processor = ", ".join(str(p) for p in (machine.get("processor"), machine.get("capability"), threads) if p)
    executed = re.sub(r"\+00:00|Z", " UTC", str(record.get("executed", "")).replace("T", " "))
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
    modules: dict[str, list[str]] = {}
    for name in library:
        modules.setdefault(name.rpartition(".")[0], []).append(name.rpartition(".")[2])
    said = [(name, str(value)) for name, value in rows if str(value) not in ("", "None")]
    return render("provenance.md", rows=said, chapter=chapter, source=source, modules=modules)


def data_package() -> str:
    """What the columns of evidence.csv hold, as a Data Package that tools can read."""
    fields = [{"name": name, "type": kind, "description": about} for name, kind, about in COLUMNS]
    resource = {
        "name": "evidence",
        "path": "evidence.csv",
        "profile": "tabular-data-resource",
        "encoding": "utf-8",
        "schema": {"fields": fields, "missingValues": [""]},
    }
    package = {
        "profile": "tabular-data-package",
        "name": "executable-survey-evidence",
        "title": "The executable survey: every value of every claim",
        "version": version("surveylab"),
        "licenses": [{"name": "CC-BY-4.0", "path": "https://creativecommons.org/licenses/by/4.0/"}],
        "resources": [resource],
    }
    return json.dumps(package, indent=2) + "\n"


def evidence_table(findings: Findings) -> str:
    """Every value of every claim as CSV, one row a value; a claim that only cites has one row without."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(name for name, _, _ in COLUMNS)
    for id, claim in findings.claims.items():
        e = findings.evidence.get(id)
        if e is None:
            continue
        head: list[object] = [id, " ".join(claim.covers), claim.chapter, claim.kind]
        head += [e.verdict, e.estimate, e.low, e.high, e.margin, e.direction, e.statistic, e.unit, e.level]
        repeats = findings.repeats(findings.published.get(id))
        head += [repeats.repeated, repeats.runs] if repeats else [None, None]
        head += [e.profile, e.seed, e.data["name"] if e.data else None]
        head += [e.edition, None if claim.kind == "source" else standing(claim), e.reason, e.firmness]
        head += [claim.published.value if claim.published else None, _compact(e.guard), _compact(e.map)]
        if e.values is None:
            writer.writerow([*head, None, None, None, None])
        elif e.kind == "experiment":
            for population, row in enumerate(e.values):
                clusters = e.clusters[population] if e.clusters else [None] * len(row)
                writer.writerows(
                    [*head, population, replicate, cluster, value]
                    for replicate, (cluster, value) in enumerate(zip(clusters, row, strict=True))
                )
        else:
            writer.writerows(
                [*head, None, replicate, None, value] for replicate, value in enumerate(e.values)
            )
    return out.getvalue()


def _compact(cells: Sequence[Cell] | None) -> str | None:
    """The effect in several settings, in one text."""
    if not cells:
        return None
    return "; ".join(_effect(cell) for cell in cells)


def _effect(cell: Cell) -> str:
    where = ",".join(f"{name}={value}" for name, value in cell.at.items())
    interval = "" if cell.low is None else f" [{cell.low:.6g}, {cell.high:.6g}]"
    return f"{where}: {cell.estimate:.6g}{interval}"
