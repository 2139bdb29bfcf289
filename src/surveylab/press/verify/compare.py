"""Comparing two executions of a chapter: claim by claim, then whatever else they show; and naming causes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from surveylab.claims import (
    Evidence,
    agreement,
    arithmetic,
    changed_reason,
    changed_verdict,
    foreign,
    moved_far,
    outliers,
    record,
)
from surveylab.press.console import short
from surveylab.press.project import Notebook, Project
from surveylab.press.run.fingerprint import library_packages
from surveylab.press.run.freshness import code_differences, state_of
from surveylab.press.run.kernel import Executed
from surveylab.press.verify.outputs import Rule, differences, widest
from surveylab.press.verify.timed import timed_cells

UNEXPLAINED = "unexplained: same data, versions, processor and code"


@dataclass(frozen=True)
class Compared:
    """One claim, published and executed again."""

    claim: str
    chapter: str
    published: str
    again: str
    holds: bool
    difference: str | None
    cause: str | None
    remark: str | None = None  # what else changed, though the claim holds


def compare(
    project: Project, published: Mapping[str, Notebook], runs: Mapping[str, Executed]
) -> list[Compared]:
    """Compare published and re-executed evidence claim by claim.

    There is one error budget over the claims of all published chapters, executed again yet or not: what is
    found of the first ones does not change when the others follow.
    """
    before = {chapter: record.evidence_of(notebook) for chapter, notebook in published.items()}
    again = {chapter: json.loads(executed.notebook) for chapter, executed in runs.items()}
    after = {chapter: record.evidence_of(notebook) for chapter, notebook in again.items()}
    judged = [(chapter, id) for chapter in runs for id in before[chapter] | after[chapter]]
    either = [after.get(chapter, {}) | before[chapter] for chapter in published]
    comparisons = max(1, sum(e.kind != "source" for found in either for e in found.values()))
    apart, within = {}, {}
    for chapter in runs:
        pairs = _pairs(before[chapter], after[chapter])
        within[chapter] = arithmetic(pairs)
        apart[chapter] = foreign(pairs) | outliers(pairs)
    rows = []
    for chapter, id in judged:
        old, new = before[chapter].get(id), after[chapter].get(id)
        run_old, run_new = record.run_of(published[chapter]) or {}, record.run_of(again[chapter]) or {}
        difference: str | None
        remark = None
        if old is None or new is None:
            side = "published" if old is None else "executed again"
            difference = f"{id} is missing in the chapter as {side}"
        else:
            same = record.same_machine(run_old, run_new)
            difference = agreement(
                old, new, same_machine=same, comparisons=comparisons, within=within[chapter]
            )
            if not same:
                difference = difference or apart[chapter].get(id)
            said = [changed_verdict(old, new) or changed_reason(old, new), moved_far(old, new)]
            if difference is None and any(said):
                remark = f"{id}: {'; '.join(filter(None, said))}"
        cause = None
        if difference is not None:
            cause = likely_cause(project, chapter, published[chapter], run_old, run_new, old, new)
        holds = difference is None
        rows.append(Compared(id, chapter, short(old), short(new), holds, difference, cause, remark))
    return rows


def _pairs(before: Mapping[str, Evidence], after: Mapping[str, Evidence]) -> list[tuple[Evidence, Evidence]]:
    return [(old, after[id]) for id, old in before.items() if id in after]


def compare_outputs(project: Project, published: Notebook, executed: Executed) -> list[str]:
    """What a second execution shows otherwise, besides cards.

    Where every experiment agrees to the digit, but for claims that are named as forged anyway, the arithmetic
    is the same on whatever machine, and so must be texts, tables and figures. Where they agree to a millionth
    a number may differ in its last digit.
    """
    again = json.loads(executed.notebook)
    before, after = record.evidence_of(published), record.evidence_of(again)
    same = record.same_machine(record.run_of(published) or {}, record.run_of(again) or {})
    within = 0.0 if same else arithmetic(_pairs(before, after))
    timed = timed_cells(published, library_packages(project))
    exact = within == 0
    rule = Rule(exact, exact, widest(before), frozenset(timed), close=within is not None)
    return differences(published, again, rule)


def likely_cause(
    project: Project,
    chapter: str,
    published: Notebook,
    run_old: Mapping[str, Any],
    run_new: Mapping[str, Any],
    old: Evidence | None,
    new: Evidence | None,
) -> str:
    """Name what differs between two runs of a chapter, the likeliest cause first."""
    causes = []
    if old and new and old.data != new.data:
        causes.append("the data differ: another checksum")
    changed = state_of(project, chapter).now
    changes = changed.changes(record.provenance_of(published).get("parts") or {}) if changed else []
    changes = changes or code_differences(project, chapter, published)
    if changes:
        causes.append("the code differs: " + "; ".join(changes))
    return "; ".join(causes + machine_changes(run_old, run_new)) or UNEXPLAINED


def machine_changes(run_old: Mapping[str, Any], run_new: Mapping[str, Any]) -> list[str]:
    """Which versions, and what of the machine, differ between two runs."""
    found = []
    for part, word in (("versions", "versions differ"), ("machine", "the machine differs")):
        before, now = _spelt_out(run_old.get(part) or {}), _spelt_out(run_new.get(part) or {})
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if names:
            changes = ", ".join(f"{name} {before.get(name)} -> {now.get(name)}" for name in names)
            found.append(f"{word}: {changes}")
    return found


def _spelt_out(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a run's record with each variable of the environment under its own name."""
    found = dict(part)
    for setting in str(found.pop("settings", None) or "").split(", "):
        name, equals, value = setting.partition("=")
        if equals:
            found[name] = value
    return found
