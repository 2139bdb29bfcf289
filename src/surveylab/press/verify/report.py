"""What a verification found, as a file: JSON for programs, JUnit for test tools, a page, text for an issue.

The suffix says which. Every form says first what no longer holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from surveylab.press.console import counted, seconds
from surveylab.press.project import WrongUse, ensure_writable, write_atomically
from surveylab.press.verify.compare import Compared


@dataclass(frozen=True)
class Rerun:
    """One chapter executed again: how long it took then and now, and what differs between the machines."""

    chapter: str
    published_seconds: float | None
    seconds: float
    changes: list[str]


@dataclass(frozen=True)
class Report:
    """All that a verification found."""

    problems: list[dict[str, str]]
    claims: list[Compared]
    recomputed: int
    reruns: list[Rerun] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)  # chapters not yet executed again: cut short so far
    chapters: list[str] = field(default_factory=list)  # all that were to be verified
    sweeps: int = 0  # how many were repeated

    @property
    def holds(self) -> bool:
        """Whether everything was looked at, and there is no problem, and every claim compared holds."""
        return not self.waiting and self._holds_so_far

    @property
    def _holds_so_far(self) -> bool:
        return not self.problems and all(compared.holds for compared in self.claims)

    @property
    def verdict(self) -> str:
        """The whole report in a sentence."""
        if self.waiting:
            ended = f"Not finished: {counted(len(self.waiting), 'chapter')} still to be executed again. "
        else:
            ended = ""
        if self._holds_so_far:
            other = f"{counted(self.sweeps, 'sweep')} repeated" if self.sweeps else "none executed"
            looked = "" if self.claims else f" ({counted(self.recomputed, 'claim')} recomputed, {other})"
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


# What XML 1.0 cannot hold, escaped or not; the coloured message of a kernel has it.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(report: Report) -> str:
    """For whatever reads the results of tests: a suite a chapter, a case a claim or problem."""
    root = ElementTree.Element("testsuites", name="surveylab verify")
    in_question = (*(p["chapter"] for p in report.problems), *(c.chapter for c in report.claims))
    for chapter in dict.fromkeys([*report.chapters, *in_question, *report.waiting]):
        cases = _cases(report, chapter)
        outcomes = [outcome.tag for case in cases for outcome in case]
        time = sum(rerun.seconds for rerun in report.reruns if rerun.chapter == chapter)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=chapter,
            tests=str(len(cases)),
            failures=str(outcomes.count("failure")),
            errors="0",
            skipped=str(outcomes.count("skipped")),
            time=f"{time:.3f}",
        )
        suite.extend(cases)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _cases(report: Report, chapter: str) -> list[ElementTree.Element]:
    """A chapter's problems, or that there is none, and its claims as far as they were compared."""
    problems = [p["problem"] for p in report.problems if p["chapter"] == chapter]
    cases = [] if problems else [_case(chapter, "what is published follows from its values")]
    for number, problem in enumerate(problems, start=1):
        cases.append(_case(chapter, f"problem {number}", "failure", problem, problem))
    for c in (compared for compared in report.claims if compared.chapter == chapter):
        if c.holds:
            cases.append(_case(chapter, c.claim, c.remark and "system-out", text=c.remark))
        else:
            text = f"published: {c.published}\nexecuted again: {c.again}\nlikely cause: {c.cause}"
            cases.append(_case(chapter, c.claim, "failure", c.difference or "differs", text))
    if chapter in report.waiting:
        cases.append(_case(chapter, "executed again", "skipped", "not finished"))
    return cases


def _case(
    chapter: str, name: str, outcome: str | None = None, message: str = "", text: str | None = None
) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=chapter, name=name, time="0")
    if outcome is not None:
        said = ElementTree.SubElement(case, outcome)
        if message:
            said.set("message", _NOT_XML.sub("?", message))
        said.text = text and _NOT_XML.sub("?", text)
    return case


# An issue holds 65,536 characters.
_ROWS, _CELL = 40, 300


def to_markdown(report: Report) -> str:
    """For an issue: what no longer holds, and where to look.

    What a kernel or a chapter says stands as code: no name in it calls anybody, and no markup in it works.
    """
    lines = ["# Verification", "", f"**{report.verdict}**", ""]
    lines += [f"- {p['chapter']}: {_code(p['problem'])}" for p in report.problems[:_ROWS]]
    lines += _more(report.problems)
    if differing := [compared for compared in report.claims if not compared.holds]:
        lines += ["", "| claim | published | executed again | likely cause |", "|---|---|---|---|"]
        for c in differing[:_ROWS]:
            texts = (c.claim, c.published, c.again, c.cause or "")
            cells = (_code(text).replace("|", r"\|") for text in texts)
            lines.append("| " + " | ".join(cells) + " |")
        lines += _more(differing)
    if changed := [compared.remark for compared in report.claims if compared.remark]:
        lines += ["", "Verdicts that changed, though the claims hold:"]
        lines += [f"- {_code(remark)}" for remark in changed[:_ROWS]]
        lines += _more(changed)
    if report.reruns:
        lines += ["", "Executed again:"]
        lines += [f"- {_rerun(rerun)[:_CELL]}" for rerun in report.reruns[:_ROWS]]
    return "\n".join(lines) + "\n"


def _more(items: Sequence[object]) -> list[str]:
    over = len(items) - _ROWS
    return ["", f"And {over} more, which the report as a page lists."] if over > 0 else []


def _code(text: str) -> str:
    """Text as code in one line, cut short: a list item or a cell of a table may hold no more."""
    line = " ".join(text.split())
    line = line if len(line) <= _CELL else f"{line[:_CELL]} ..."
    if not line:
        return ""
    # A fence longer than any in the text keeps the text in.
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"`{line}`"


def _rerun(rerun: Rerun) -> str:
    before = f" ({seconds(rerun.published_seconds)} when published)" if rerun.published_seconds else ""
    where = "; ".join(rerun.changes) or "same versions, same kind of processor: all of it must be equal"
    return f"{rerun.chapter} in {seconds(rerun.seconds)}{before}: {where}"


def to_html(report: Report) -> str:
    """A page of its own, for people; it loads nothing."""
    from jinja2 import Template

    claims: dict[bool, list[tuple[str | None, ...]]] = {False: [], True: []}
    for c in report.claims:
        word, differs = "holds" if c.holds else "differs", c.difference or c.remark
        claims[c.holds].append((c.claim, word, c.published, c.again, differs, c.cause))
    columns = ("claim", "result", "published", "executed again", "what differs", "likely cause")
    runs = [
        (r.chapter, seconds(r.published_seconds), seconds(r.seconds), "; ".join(r.changes) or "the same")
        for r in report.reruns
    ]
    tables = [
        ("Problems", ("chapter", "problem"), [(p["chapter"], p["problem"]) for p in report.problems]),
        ("What no longer holds", columns, claims[False]),
        ("What holds", columns, claims[True]),
        ("Runs", ("chapter", "when published", "again", "versions and machine"), runs),
    ]
    page = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    template = Template(page, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return template.render(report=report, tables=tables, tones={"holds": "good", "differs": "bad"}) + "\n"


FORMS: Mapping[str, Callable[[Report], str]] = {
    ".json": to_json,
    ".xml": to_junit,
    ".html": to_html,
    ".md": to_markdown,
}
