"""What a verification found, as a file: JSON for programs, JUnit for test tools, a page, text for an issue.

The suffix says which. Every form says first what no longer holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from xml.etree import ElementTree

from surveylab.press.compare import Compared
from surveylab.press.project import WrongUse, ensure_writable, write_atomically
from surveylab.press.terminal import counted, seconds


@dataclass(frozen=True)
class Rerun:
    """One chapter executed again: how long it took then and now, and what differs between the machines."""

    chapter: str
    published_seconds: float | None
    seconds: float
    changes: list[str]


@dataclass(frozen=True)
class Report:
    """All that a verification found. It holds when there is no problem and every claim compared holds."""

    problems: list[dict[str, str]]
    claims: list[Compared]
    recomputed: int
    reruns: list[Rerun] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)  # chapters not yet executed again: cut short so far

    @property
    def holds(self) -> bool:
        """Whether everything that was looked at holds."""
        return not self.problems and all(compared.holds for compared in self.claims)

    @property
    def verdict(self) -> str:
        """The whole report in a sentence."""
        if self.waiting:
            ended = f"Not finished: {counted(len(self.waiting), 'chapter')} still to be executed again. "
        else:
            ended = ""
        if self.holds:
            looked = (
                "" if self.claims else f" ({counted(self.recomputed, 'claim')} recomputed, none executed)"
            )
            return f"{ended}Everything{' so far' if self.waiting else ''} holds{looked}."
        differing = sum(not compared.holds for compared in self.claims)
        return (
            f"{ended}{counted(len(self.problems), 'problem')}; "
            f"{differing} of {counted(len(self.claims), 'compared claim')} differ."
        )


def check_destinations(paths: Iterable[Path]) -> None:
    """Refuse a report that could not be written, before minutes are spent on what it would say.

    Raises:
        WrongUse: a suffix that no form has.
        PressError: a folder that cannot be written to.
    """
    for path in paths:
        if path.suffix not in FORMS:
            raise WrongUse(
                f"--report {path}: the form follows from the suffix, one of {', '.join(FORMS)}; "
                f"this one is {path.suffix or 'missing'!r}"
            )
        ensure_writable(path)


def write(report: Report, paths: Iterable[Path]) -> None:
    """Write the report in the form that each path's suffix names, replacing what is there as a whole."""
    for path in paths:
        write_atomically(path, FORMS[path.suffix](report))


def to_json(report: Report) -> str:
    """For programs."""
    content = {"holds": report.holds, "complete": not report.waiting, **asdict(report)}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def to_junit(report: Report) -> str:
    """For whatever reads the results of tests: a suite a chapter, a case a claim or problem."""
    root = ElementTree.Element("testsuites", name="surveylab verify")
    for chapter in dict.fromkeys([*(p["chapter"] for p in report.problems), *_chapters(report)]):
        claims = [compared for compared in report.claims if compared.chapter == chapter]
        problems = [p["problem"] for p in report.problems if p["chapter"] == chapter]
        time = sum(rerun.seconds for rerun in report.reruns if rerun.chapter == chapter)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=chapter,
            tests=str(len(claims) + len(problems)),
            failures=str(sum(not compared.holds for compared in claims) + len(problems)),
            errors="0",
            skipped="0",
            time=f"{time:.3f}",
        )
        for number, problem in enumerate(problems, start=1):
            case = ElementTree.SubElement(
                suite, "testcase", classname=chapter, name=f"problem {number}", time="0"
            )
            ElementTree.SubElement(case, "failure", message=problem).text = problem
        for compared in claims:
            case = ElementTree.SubElement(suite, "testcase", classname=chapter, name=compared.claim, time="0")
            if not compared.holds:
                failure = ElementTree.SubElement(case, "failure", message=compared.difference or "differs")
                failure.text = (
                    f"published: {compared.published}\nexecuted again: {compared.again}\n"
                    f"likely cause: {compared.cause}"
                )
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _chapters(report: Report) -> list[str]:
    return list(dict.fromkeys(compared.chapter for compared in report.claims))


# An issue holds 65,536 characters, and a row may have several hundred.
_ROWS = 60


def to_markdown(report: Report) -> str:
    """For an issue: what no longer holds, and where to look."""
    lines = ["# Verification", "", f"**{report.verdict}**", ""]
    lines += [f"- {p['chapter']}: {_flat(p['problem'])[:300]}" for p in report.problems[:_ROWS]]
    if differing := [compared for compared in report.claims if not compared.holds]:
        lines += ["", "| claim | published | executed again | likely cause |", "|---|---|---|---|"]
        for c in differing[:_ROWS]:
            cells = (f"`{c.claim}`", c.published, c.again, c.cause or "")
            lines.append("| " + " | ".join(_flat(cell).replace("|", r"\|") for cell in cells) + " |")
        if len(differing) > _ROWS:
            lines.append(f"\nAnd {len(differing) - _ROWS} more, which the report as a page lists.")
    if report.reruns:
        lines += ["", "Executed again:"]
        lines += [f"- {_rerun(rerun)}" for rerun in report.reruns]
    return "\n".join(lines) + "\n"


def _flat(text: str) -> str:
    """Text in one line: a list item or a cell of a table may hold no more."""
    return " ".join(text.split())


def _rerun(rerun: Rerun) -> str:
    before = f" ({seconds(rerun.published_seconds)} when published)" if rerun.published_seconds else ""
    where = "; ".join(rerun.changes) or "same versions, same kind of processor: values must be equal"
    return f"{rerun.chapter} in {seconds(rerun.seconds)}{before}: {where}"


_STYLE = """
:root { color-scheme: light dark; --ink: #222832; --paper: #fff; --line: #d5d9e0; --good: #00695c;
  --bad: #b03a00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --paper: #16181d; --line: #3a404b; --good: #4cc9ae; --bad: #ff9561; }
}
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 14px; }
th, td { padding: 6px 10px; border-top: 1px solid var(--line); text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
"""


def to_html(report: Report) -> str:
    """A page of its own, for people; it loads nothing."""
    kind = "good" if report.holds else "bad"
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Verification of the executable survey</title><style>{_STYLE}</style></head><body><main>",
        f'<h1>Verification</h1>\n<p class="{kind}">{escape(report.verdict)}</p>',
    ]
    if report.problems:
        parts.append("<h2>Problems</h2>")
        parts.append(_table(("chapter", "problem"), ((p["chapter"], p["problem"]) for p in report.problems)))
    columns = ("claim", "result", "published", "executed again", "what differs", "likely cause")
    groups = {
        "What no longer holds": [c for c in report.claims if not c.holds],
        "What holds": [c for c in report.claims if c.holds],
    }
    for title, claims in groups.items():
        if claims:
            rows = (
                (c.claim, "holds" if c.holds else "differs", c.published, c.again, c.difference, c.cause)
                for c in claims
            )
            parts.append(f"<h2>{title}</h2>{_table(columns, rows)}")
    if report.reruns:
        runs = (
            (r.chapter, seconds(r.published_seconds), seconds(r.seconds), "; ".join(r.changes) or "the same")
            for r in report.reruns
        )
        head = ("chapter", "when published", "again", "versions and machine")
        parts.append(f"<h2>Runs</h2>{_table(head, runs)}")
    parts.append("</main></body></html>")
    return "\n".join(parts) + "\n"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str | None]]) -> str:
    """Cells that say "holds" or "differs" are coloured; the word is there without the colour too."""
    tones = {"holds": ' class="good"', "differs": ' class="bad"'}
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    lines = (
        "<tr>"
        + "".join(f"<td{tones.get(cell or '', '')}>{escape(cell or '')}</td>" for cell in row)
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


FORMS: Mapping[str, Callable[[Report], str]] = {
    ".json": to_json,
    ".xml": to_junit,
    ".html": to_html,
    ".md": to_markdown,
}
