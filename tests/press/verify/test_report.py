"""The report of a verification: each form says all of it, what no longer holds first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from surveylab.press.project import PressError, WrongUse
from surveylab.press.verify.compare import Compared
from surveylab.press.verify.report import (
    Report,
    Rerun,
    check_destinations,
    to_html,
    to_json,
    to_junit,
    to_markdown,
    write,
)

GOOD = Compared("gain", "demo/one", "2.9 [2.8, 3.0] supported", "2.9 [2.8, 3.0] supported", True, None, None)
BAD = Compared(
    "fast",
    "demo/one",
    "1.0 supported",
    "-1.0 contradicted",
    False,
    "values <a|b> differ",
    "versions differ: torch",
)
RERUN = Rerun("demo/one", 100.0, 130.0, ["versions differ: torch 2.13.0 -> 2.14.0"])
PROBLEM = {"chapter": "demo/two", "problem": "cell 3: it failed\n    | x = 1"}
FAILED = Report([PROBLEM], [GOOD, BAD], 2, [RERUN])
FINE = Report([], [GOOD], 1, [RERUN])


def test_the_verdict_in_a_sentence() -> None:
    assert FINE.verdict == "Everything holds." and FINE.holds
    assert FAILED.verdict == "1 problem; 1 of 2 compared claims differ." and not FAILED.holds
    cut = Report([], [GOOD], 1, [RERUN], ["demo/two"])
    assert cut.verdict == "Not finished: 1 chapter still to be executed again. Everything so far holds."
    assert Report([], [], 3).verdict == "Everything holds (3 claims recomputed, none executed)."


def test_every_form_is_written_by_its_suffix(tmp_path: Path) -> None:
    paths = [tmp_path / f"new/report{suffix}" for suffix in (".json", ".xml", ".html", ".md")]
    check_destinations(paths)
    write(FAILED, paths)
    content = json.loads(paths[0].read_text(encoding="utf-8"))
    assert content["holds"] is False and content["complete"] is True
    assert content["claims"][1]["cause"] == "versions differ: torch"
    assert content["reruns"][0]["published_seconds"] == 100.0
    for path in paths[1:]:
        text = path.read_text(encoding="utf-8")
        for part in ("demo/one", "fast", "contradicted", "versions differ: torch", "it failed"):
            assert part in text, (path.name, part)


def test_junit_counts_and_names_failures() -> None:
    suites = {suite.get("name"): suite for suite in ElementTree.fromstring(to_junit(FAILED))}
    one = suites["demo/one"]
    assert (one.get("tests"), one.get("failures"), one.get("time")) == ("3", "1", "130.000")
    failed = [case.get("name") for case in one if case.find("failure") is not None]
    assert failed == ["fast"]
    assert suites["demo/two"].get("failures") == "1"


def test_junit_has_a_suite_for_every_chapter() -> None:
    """Also for one that was only recomputed, and for one that was not reached: no test is no success."""
    recomputed = ElementTree.fromstring(to_junit(Report([], [], 3, chapters=["demo/one"])))
    assert [(s.get("name"), s.get("tests"), s.get("failures")) for s in recomputed] == [
        ("demo/one", "1", "0")
    ]
    cut = Report([], [GOOD], 2, [RERUN], waiting=["demo/two"], chapters=["demo/one", "demo/two"])
    suites = {suite.get("name"): suite for suite in ElementTree.fromstring(to_junit(cut))}
    assert suites["demo/one"].get("skipped") == "0" and suites["demo/two"].get("skipped") == "1"


def test_junit_holds_no_character_that_xml_cannot() -> None:
    """A kernel's messages are coloured by escapes, which no parser of XML accepts."""
    coloured = Report([{"chapter": "demo/two", "problem": "\x1b[31mValueError\x1b[0m: \x00"}], [], 0)
    (failure,) = ElementTree.fromstring(to_junit(coloured)).iter("failure")
    assert failure.text == failure.get("message") == "?[31mValueError?[0m: ?"


def test_an_unfinished_report_does_not_hold() -> None:
    cut = Report([], [GOOD], 1, [RERUN], ["demo/two"])
    assert not cut.holds and json.loads(to_json(cut))["holds"] is False


def test_the_text_for_an_issue_says_only_what_no_longer_holds() -> None:
    text = to_markdown(FAILED)
    assert "`gain`" not in text
    assert "- demo/two: `cell 3: it failed | x = 1`\n" in text
    row = next(line for line in text.splitlines() if "`fast`" in line)
    assert row == "| `fast` | `1.0 supported` | `-1.0 contradicted` | `versions differ: torch` |"
    assert "| claim |" not in to_markdown(FINE)


def test_the_text_for_an_issue_calls_nobody_and_breaks_no_table() -> None:
    said = "@someone #1 <img src=x> `` a `tick` | a bar"
    text = to_markdown(Report([PROBLEM | {"problem": said}], [replace(BAD, cause=said)], 1))
    assert f"- demo/two: ``` {said} ```\n" in text
    row = next(line for line in text.splitlines() if line.startswith("| `fast`"))
    assert row.count("|") - row.count(r"\|") == 5 and "``` @someone" in row


def test_the_text_for_an_issue_fits_into_one() -> None:
    long = replace(BAD, published="x " * 999, again="y " * 999, cause="z " * 999)
    many = Report([PROBLEM | {"problem": "p" * 999}] * 500, [long] * 500, 500, [RERUN] * 500)
    text = to_markdown(many)
    assert len(text) < 65_536 and text.count("And 460 more") == 2


def test_the_page_shows_what_no_longer_holds_first_and_escapes() -> None:
    page = to_html(FAILED)
    assert page.index("What no longer holds") < page.index("What holds")
    assert '<td class="bad">differs</td>' in page and '<p class="bad">' in page
    assert "values &lt;a|b&gt; differ" in page and "<a|b>" not in page
    assert "http" not in page  # it loads nothing
    assert "What no longer holds" not in to_html(FINE)


def test_what_cannot_be_written_is_said_before(tmp_path: Path) -> None:
    with pytest.raises(
        WrongUse, match=r"report\.txt: the form follows from the suffix, one of \.json, \.xml"
    ):
        check_destinations([tmp_path / "report.txt"])
    with pytest.raises(WrongUse, match="'missing'"):
        check_destinations([tmp_path / "report"])
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(PressError, match="cannot write"):
        check_destinations([tmp_path / "file/report.json"])
