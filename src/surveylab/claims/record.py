"""What a published notebook carries, and where it lies: the record that lab and press share.

A published chapter holds its own evidence: each ``check`` leaves the verdict as a line and as three
paragraphs, and in the output's metadata every value behind them. This module finds notebooks, reads that
record, and recomputes from the values all that was made of them. It executes nothing and needs nothing but
the standard library and the rules.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from surveylab.claims.evidence import Cell, Evidence, EvidenceError
from surveylab.claims.registry import Claim
from surveylab.claims.render import render_markdown, render_summary, render_text
from surveylab.claims.verdict import judge

Notebook = dict[str, Any]

# What setup.py puts into a built package, laid out like a checkout. A checkout has none.
PACKAGED = Path(__file__).resolve().parents[1] / "packaged"

# The fields of the evidence that follow from the values and the claim, the most telling first.
_DERIVED = (
    "verdict",
    "estimate",
    "low",
    "high",
    "margin",
    "level",
    "unit",
    "direction",
    "statistic",
    "replicates",
    "detectable",
    "kind",
    "reason",
    "firmness",
    "edition",
)


class RecordError(ValueError):
    """A project, a notebook or its record cannot be found or read; the message says which and what to do."""


def find_root(start: str | Path | None = None, *, packaged: bool = False) -> Path:
    """The project's folder: the one that holds ``book/claims/``.

    ``$SURVEYLAB_ROOT`` decides if it is set; else the search goes upward from ``start`` (the working folder),
    then upward from this package.

    Args:
        start: Where to begin.
        packaged: Whether, without a checkout, the copy that an installed package carries will do. It holds
            the claims and the learning rates: enough to run a chapter, not to publish one.

    Raises:
        RecordError: If there is none.
    """
    named = os.environ.get("SURVEYLAB_ROOT")
    if named:
        root = Path(named).resolve()
        if not (root / "book" / "claims").is_dir():
            raise RecordError(
                f"SURVEYLAB_ROOT is {named}, which holds no folder book/claims; correct or unset it"
            )
        return root
    begin = Path.cwd() if start is None else Path(start)
    for place in (begin.resolve(), Path(__file__).resolve().parent):
        for folder in (place, *place.parents):
            if (folder / "book" / "claims").is_dir():
                return folder
    if packaged and (PACKAGED / "book" / "claims").is_dir():
        return PACKAGED
    raise RecordError(
        f"no folder book/claims in {begin} or above it; work inside a checkout of the book's repository, or "
        "set SURVEYLAB_ROOT to one"
    )


def chapters(root: Path) -> list[str]:
    """The chapters that have a source notebook, as ``section/chapter``, sorted."""
    folder = root / "notebooks"
    found = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.ipynb"))
    return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))


def source_path(root: Path, chapter: str) -> Path:
    """Where the source of a chapter lies."""
    return root / "notebooks" / f"{chapter}.ipynb"


def published_path(root: Path, chapter: str, profile: str = "standard") -> Path:
    """Where the executed chapter lies: the standard edition in ``book/``, the full one in ``book/full/``."""
    return root / "book" / ("full" if profile == "full" else ".") / f"{chapter}.ipynb"


def read_notebook(path: str | Path) -> Notebook:
    """Read a notebook as plain data.

    Raises:
        RecordError: If it is missing, is not JSON, or is not a notebook.
    """
    path = Path(path)
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordError(f"{path}: there is no such notebook") from error
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: not a notebook: not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise RecordError(f"{path}:{error.lineno}: not a notebook: not JSON ({error.msg})") from error
    except RecursionError as error:
        raise RecordError(f"{path}: not a notebook: nested too deeply") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise RecordError(f"{path}: JSON, but not a notebook: it has no list of cells")
    return notebook


def evidence_of(nb: Notebook) -> dict[str, Evidence]:
    """The evidence a notebook carries, by claim, in the order of its checks.

    Raises:
        RecordError: If a claim is checked twice or its evidence cannot be read.
    """
    return {name: evidence for name, evidence, _ in _checks(nb)}


def cards_of(nb: Notebook) -> dict[str, str]:
    """The Markdown that a notebook shows of each claim that it checks."""
    return {
        str(record["claim"]): _joined(_mapping(output.get("data")).get("text/markdown"))
        for output, record in _records(nb)
        if "claim" in record
    }


def run_of(nb: Notebook) -> dict[str, Any] | None:
    """What ``lab.begin`` recorded: chapter, profile, seed, device, machine, versions; None without it."""
    for _, record in _records(nb):
        run = record.get("run")
        if isinstance(run, dict):
            return run
    return None


def provenance_of(nb: Notebook) -> dict[str, Any]:
    """What the press recorded in the notebook's own metadata; empty where it did not execute it."""
    record = _mapping(nb.get("metadata")).get("surveylab")
    return record if isinstance(record, dict) else {}


def same_machine(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two runs had the same versions and kind of processor. What is not recorded is not the same."""
    return all(a.get(key) and a.get(key) == b.get(key) for key in ("machine", "versions"))


def recompute(claims: Mapping[str, Claim], nb: Notebook, *, chapter: str | None = None) -> list[str]:
    """Compare a published notebook with what follows from its values and the claims. Executes nothing.

    Args:
        claims: The claims of the book.
        nb: The published notebook.
        chapter: Which chapter it should be; by default what the notebook itself says.

    Returns:
        A sentence for each difference, naming claim, field, what is published and what is recomputed.
    """
    try:
        checks = list(_checks(nb))
    except RecordError as error:
        return [str(error)]
    found: list[str] = []
    run = run_of(nb) or {}
    if not run:
        found.append("the notebook does not say what it ran: the output of lab.begin is missing")
    chapter = chapter or run.get("chapter")
    if run and run.get("chapter") != chapter:
        found.append(f"the notebook of chapter {chapter} says that it ran {run.get('chapter')!r}")
    sums = _mapping(provenance_of(nb).get("data"))
    for name, evidence, output in checks:
        claim = claims.get(name)
        if claim is None:
            found.append(f"{name}: checked in the notebook, but there is no such claim")
            continue
        if chapter is not None and claim.chapter != chapter:
            found.append(f"{name}: checked in chapter {chapter}, but it belongs to {claim.chapter}")
        for field in ("profile", "seed"):
            if run and getattr(evidence, field) != run.get(field):
                found.append(_difference(name, field, getattr(evidence, field), run.get(field), "the run"))
        data = _mapping(evidence.data)
        if data.get("name") in sums and data.get("sha256") != sums[data["name"]]:
            found.append(_difference(name, "data", data.get("sha256"), sums[data["name"]], "provenance"))
        found += _recompute_one(claim, evidence, output)
    found += _summaries_differ(nb)
    found += _shown_besides(nb)
    checked = {name for name, _, _ in checks}
    for claim in claims.values():
        due = claim.profile is None or claim.profile == run.get("profile")
        if claim.chapter == chapter and due and claim.id not in checked:
            found.append(f"{claim.id}: a claim of this chapter that the notebook does not check")
    return found


def refresh(claims: Mapping[str, Claim], nb: Notebook) -> int:
    """Bring the wording of the verdicts up to date with the claims, in place; nothing is executed.

    Only where verdict and numbers already are what the values give is anything rewritten: this corrects
    sentences and hides no tampering.

    Returns:
        How many were rewritten.
    """
    count = 0
    for name, evidence, output in _checks(nb):
        claim = claims.get(name)
        if claim is not None and _recompute_one(claim, evidence, output) == [f"{name}: {_OLD}"]:
            output["data"].pop("text/html", None)  # what an earlier edition showed
            output["data"]["text/markdown"] = render_markdown(claim, evidence).splitlines(keepends=True)
            count += 1
    return count


_OLD = "text/markdown: the wording is not that of the claims; refresh it"


def _recompute_one(claim: Claim, evidence: Evidence, output: Notebook) -> list[str]:
    try:
        again = judge(claim, evidence.values, **_given(evidence))
    except (EvidenceError, TypeError, ValueError) as error:
        return [f"{claim.id}: the published values cannot be judged: {error}"]
    found = [
        _difference(claim.id, field, getattr(evidence, field), getattr(again, field))
        for field in _DERIVED
        if not _equal(getattr(evidence, field), getattr(again, field), claim.margin or 0.0)
    ]
    for part in ("guard", "map"):
        found += _cells_differ(claim, part, getattr(evidence, part), getattr(again, part))
    # Equal but for rounding: show what was published, lest a last bit flip a third digit.
    shown = again if found else evidence
    data = _mapping(output.get("data"))
    text, said = _joined(data.get("text/plain")), _joined(data.get("text/markdown"))
    if text != render_text(shown):
        found.append(_difference(claim.id, "text/plain", text, render_text(shown)))
    expected = render_markdown(claim, shown)
    if said != expected:
        # The first paragraph holds the verdict and the last the numbers; between them is wording.
        if not said or said.split("\n\n")[::2] == expected.split("\n\n")[::2]:
            found.append(f"{claim.id}: {_OLD}")
        else:
            found.append(_difference(claim.id, "text/markdown", said, expected))
    return found


def _given(evidence: Evidence) -> dict[str, Any]:
    """What was given to `judge` beside the values, read back from the evidence."""
    guard, scope_map = evidence.guard, evidence.map
    return {
        "profile": evidence.profile,
        "seed": evidence.seed,
        "data": evidence.data,
        "clusters": evidence.clusters,
        "arms": evidence.arms,
        "guard": None if guard is None else {cell.at.get("budget"): cell.values for cell in guard},
        "scope_map": None if scope_map is None else [(cell.at, cell.values) for cell in scope_map],
        "rules": evidence.rules,
    }


def _summaries_differ(nb: Notebook) -> Iterator[str]:
    """A sentence for each line of a summary that is not what the evidence before it gives."""
    before: list[Evidence] = []
    for output, record in _records(nb):
        if "claim" in record:
            before.append(Evidence.from_metadata(record))
        if "strategies" in record:
            shown = _joined(_mapping(output.get("data")).get("text/markdown")).splitlines()
            expected = render_summary(before).splitlines()
            if len(shown) != len(expected):
                yield f"summary: it has {len(shown)} lines, recomputed {len(expected)}"
            lines = zip(shown, expected, strict=False)
            yield from (_difference("summary", "line", a, b) for a, b in lines if a != b)


def _shown_besides(nb: Notebook) -> Iterator[str]:
    """A sentence for whatever a card or a summary shows beside the two texts that are held to the evidence.

    Where an output has HTML or a picture, Jupyter and most websites show that and not the text.
    """
    for output, record in _records(nb):
        if "claim" not in record and "strategies" not in record:
            continue
        name = str(record.get("claim", "summary"))
        kind = output.get("output_type")
        if kind not in ("display_data", "execute_result"):
            yield f"{name}: its evidence stands in an output of type {kind!r}, not in what a check displays"
        data = _mapping(output.get("data"))
        if extra := sorted(set(data) - {"text/plain", "text/markdown"}):
            yield f"{name}: it also shows {', '.join(extra)}, which does not follow from the evidence"
        if "strategies" in record and (text := _joined(data.get("text/plain"))) not in ("", "summary"):
            yield _difference("summary", "text/plain", text, "summary")


def _cells_differ(
    claim: Claim, part: str, published: list[Cell] | None, expected: list[Cell] | None
) -> Iterator[str]:
    """A sentence for each number of the guard or the scope map that does not follow from its values."""
    for old, new in zip(published or (), expected or (), strict=True):
        for field in ("at", "estimate", "low", "high"):
            if not _equal(getattr(old, field), getattr(new, field), claim.margin or 0.0):
                where = f"{part} at {old.at}: {field}"
                yield _difference(claim.id, where, getattr(old, field), getattr(new, field))


def _equal(published: object, expected: object, scale: float) -> bool:
    """Equality, but for the rounding in which one processor's sums differ from another's."""
    if isinstance(published, float) and isinstance(expected, float):
        return math.isclose(published, expected, rel_tol=1e-9, abs_tol=1e-12 * scale)
    return published == expected


def _difference(name: str, field: str, published: object, expected: object, whose: str = "recomputed") -> str:
    return f"{name}: {field}: published {published!r}, {whose} {expected!r}"


def _checks(nb: Notebook) -> Iterator[tuple[str, Evidence, Notebook]]:
    """Each check of the notebook: claim, evidence, and the output that carries them."""
    seen = set()
    for output, record in _records(nb):
        if "claim" not in record:
            continue
        name = str(record["claim"])
        if name in seen:
            raise RecordError(f"{name}: checked twice in one notebook; keep one check")
        seen.add(name)
        try:
            yield name, Evidence.from_metadata(record), output
        except EvidenceError as error:
            raise RecordError(str(error)) from error


def _records(nb: Notebook) -> Iterator[tuple[Notebook, dict[str, Any]]]:
    """Every output with a record of ours in its metadata. A damaged notebook has fewer; it does not raise."""
    for cell in nb["cells"]:
        outputs = _mapping(cell).get("outputs")
        for output in outputs if isinstance(outputs, list) else ():
            record = _mapping(_mapping(output).get("metadata")).get("surveylab")
            if isinstance(record, dict):
                yield output, record


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _joined(value: Any) -> str:
    """A notebook keeps a text whole or as a list of lines."""
    return "".join(map(str, value)) if isinstance(value, list) else str(value or "")
