"""Replications on the pages: counts beside verdicts, and what does not repeat decides nothing."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import small_book

from surveylab.claims import Evidence, Replication, load_claims, provenance_of, read_notebook
from surveylab.claims.replications import ReplicatedChapter, design_of, replicated
from surveylab.press.project import PressError
from surveylab.press.site.evidence import Findings, load_findings
from surveylab.press.site.pages import ledger, provenance, replications, review
from surveylab.press.site.stage import stage

Record = Callable[..., None]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return small_book.make_book(tmp_path)


@pytest.fixture
def record(book: Path) -> Record:
    """Record a run of the small book in which some claims came out otherwise."""
    claims = load_claims(book / "book/claims")
    published = small_book.evidence(claims)
    design = design_of(provenance_of(read_notebook(book / f"book/{small_book.CHAPTER}.ipynb")))

    def write(
        seed: int, others: dict[str, Evidence] | None = None, day: str = "2026-02-01", **changes: Any
    ) -> None:
        again = published | (others or {})
        found = {id: replicated(claims[id], published[id], again[id]) for id in published if id != "paper"}
        machine = {"processor": "A processor, family 6", "accelerator": None}
        fields: dict[str, Any] = {
            "edition": 0,
            "design": design,
            "tuning_seed": None,
            "device": "cpu",
            "seconds": 1.0,
        }
        chapter = ReplicatedChapter(**(fields | changes), machine=machine, versions={}, claims=found)
        run = Replication(f"{day}-seed-{seed}", seed, day, False, {small_book.CHAPTER: chapter})
        path = book / "book/replications" / f"{run.name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(run.to_json(), encoding="utf-8")

    return write


@pytest.fixture
def open_(book: Path) -> Evidence:
    """What `good` might have come out as: inconclusive."""
    evidence = small_book.evidence(load_claims(book / "book/claims"))
    return replace(evidence["open"], claim="good")


def found(book: Path) -> Findings:
    return load_findings(book, ["demo/one.ipynb"])[0]


def text(page: str) -> str:
    """The words of a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).replace("\u00a0", " ").split())


def test_without_a_replication_nothing_is_said_of_any(book: Path) -> None:
    files = stage(book)
    page = files["replications.md"].decode()
    assert "No replication is recorded yet." in page and "<table" not in page
    assert '"file": "replications"' in json.dumps(_toc(files))
    assert b"repeated" not in files["ledger.md"] + files["demo/one.ipynb"]
    (row, *_) = csv.DictReader(io.StringIO(files["evidence.csv"].decode()))
    assert row["repeated"] == row["replications"] == ""


def _toc(files: dict[str, bytes]) -> Any:
    import yaml

    return yaml.safe_load(files["_toc.yml"])


def test_counts_stand_beside_the_verdicts(book: Path, record: Record, open_: Evidence) -> None:
    record(7)
    record(8, {"good": open_})
    files = stage(book)
    page = files["ledger.md"].decode()
    rows = {
        id: page.partition(f'id="ledger-{id}"')[2].partition("</tr>")[0] for id in ("good", "exact", "paper")
    }
    assert "repeated 1 of 2" in rows["good"] and "repeated 2 of 2" in rows["exact"]
    assert "repeated" not in rows["paper"]
    cards = json.loads(files["demo/one.ipynb"])["cells"]
    shown = "".join(o["data"].get("text/html", "") for cell in cards for o in cell.get("outputs", []))
    good = shown.partition('id="claim-good"')[2].partition("</article>")[0]
    assert "firm, repeated 1 of 2" in text(good)
    assert 'supported again in 1 of <a href="../replications.html">2 runs on other seeds</a>' in good
    assert "≤ tolerance 0.001 units repeated 2 of 2" in text(
        shown.partition('id="claim-exact"')[2].partition("</article>")[0]
    )
    # The verdict of a scaled-down setting is counted as what it is, and called what it is called.
    table = csv.DictReader(io.StringIO(files["evidence.csv"].decode()))
    assert {row["claim"]: (row["repeated"], row["replications"]) for row in table} == {
        "good": ("1", "2"),
        "paper": ("", ""),
        **dict.fromkeys(("fast", "exact", "never", "open", "extra"), ("2", "2")),
    }
    named = json.loads(files["datapackage.json"])["resources"][0]["schema"]["fields"]
    assert [f["name"] for f in named] == files["evidence.csv"].decode().partition("\n")[0].split(",")


def test_what_seldom_repeats_is_open_wherever_a_verdict_is_shown(
    book: Path, record: Record, open_: Evidence
) -> None:
    for seed in (7, 8, 9):
        record(seed, {"good": open_})
    assert found(book).evidence["good"].verdict == "supported"  # three runs are too few
    record(10)
    findings = found(book)
    good = findings.evidence["good"]
    assert (good.verdict, good.reason) == ("inconclusive", "does not repeat")
    assert findings.verdict("st-good") == "inconclusive"
    assert findings.published["good"].verdict == "supported"
    rows = list(csv.DictReader(io.StringIO(provenance.evidence_table(findings))))
    assert {row["verdict"] for row in rows if row["claim"] == "good"} == {"inconclusive"}
    assert 'st-good">' in review.review(findings)
    mark = review.review(findings).partition('id="review-st-good"')[2].partition("\n")[0]
    assert "sl-inconclusive" in mark
    row = ledger.ledger(findings).partition('id="ledger-good"')[2].partition("</tr>")[0]
    assert "sl-inconclusive" in row and "does not repeat" in row and "repeated 1 of 4" in row
    assert "data-bounds" not in row.partition(">")[0]  # no margin makes it repeat
    page = json.loads(stage(book)["demo/one.ipynb"])
    header, answers = page["cells"][0]["source"], page["cells"][1]["source"]
    assert 'sl-inconclusive"' in header and ">?</span> inconclusive</span> 2" in header
    assert "does not repeat" in answers
    card = "".join(o["data"].get("text/html", "") for cell in page["cells"] for o in cell.get("outputs", []))
    card = text(card.partition('id="claim-good"')[2].partition("</article>")[0])
    assert "Does not repeat: fewer than half of at least four replications" in card
    assert "repeated 1 of 4" in card and "supported again in 1 of 4 runs" in card and "firm" not in card


def test_the_page_holds_what_was_expected_against_what_was_found(
    book: Path, record: Record, open_: Evidence
) -> None:
    against = replace(
        small_book.evidence(load_claims(book / "book/claims"))["fast"], claim="good"
    )  # contradicted
    record(7)
    record(8, {"good": open_})
    record(9, {"good": against}, tuning_seed=2009)
    findings = found(book)
    page = text(replications.replications(findings))
    firm = [findings.published[id].firmness or 0.0 for id in ("good", "fast", "open", "extra")]
    assert (
        f"Of 12 verdicts tried again under other seeds, {3 * sum(firm):.1f} were expected to repeat" in page
    )
    assert "by their firmness; 10 did. 1 turned into its opposite." in page
    assert (
        "Of 6 more results, on identities and measurements and where no interval decides, 6 repeated." in page
    )
    assert "7 2026-02-01 as published A processor 6 of 6" in page
    assert "8 2026-02-01 as published A processor 5 of 6" in page
    # The opposite first; a verdict is called as everywhere: the setting of `good` is a scaled-down one.
    said = page.partition("What did not repeat")[2]
    assert "The method gains &lt;a point&gt;. ✓ supported +3.00 points ⊘ not seen here −3.00 points" in said
    assert said.index("the opposite") < said.index("? inconclusive +1.00 points")
    assert "do not count" not in page


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("margin: 1.0\n  why: Less", "margin: 1.5\n  why: Less"),
        ("effect: Gain of the method.", "effect: The gain."),
    ],
)
def test_an_older_question_does_not_count_and_the_page_says_so(
    book: Path, record: Record, before: str, after: str
) -> None:
    record(7)
    path = book / "book/claims/demo/one.yml"
    path.write_text(path.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    small_book.write(book / "book/demo/one.ipynb", small_book.published(book))
    findings = found(book)
    assert findings.repeats(findings.published["good"]) is None
    assert str(findings.repeats(findings.published["extra"])) == "repeated 1 of 1"
    page = text(replications.replications(findings))
    assert (
        "1 recorded result does not count: the claim, the code, learning rates or edition of its chapter"
        in page
    )
    assert "5 of 5" in page


def test_runs_of_which_nothing_counts_any_more(book: Path, record: Record) -> None:
    record(7, edition=1)
    page = text(replications.replications(found(book)))
    assert "6 recorded results do not count" in page and "7 2026-02-01 as published A processor –" in page
    assert "tried again" not in page and "svg" not in page


def test_a_full_edition_keeps_its_own_verdicts(book: Path, record: Record, open_: Evidence) -> None:
    for seed in (7, 8, 9, 10):
        record(seed, {"good": open_})
    notebook = small_book.published(book)
    for output in notebook["cells"][3]["outputs"]:
        output["metadata"]["surveylab"]["profile"] = "full"
    notebook["cells"][2]["outputs"][0]["metadata"]["surveylab"]["run"]["profile"] = "full"
    small_book.write(book / "book/full/demo/one.ipynb", notebook)
    page = json.loads(stage(book)["full/demo/one.ipynb"])
    cards = "".join(o["data"].get("text/html", "") for cell in page["cells"] for o in cell.get("outputs", []))
    assert "✓</span> supported" in cards.partition('id="claim-good"')[2].partition("</p>")[0]
    assert "repeated" not in cards


def test_verdicts_are_binned_by_tenths_with_exact_intervals() -> None:
    results = [(0.93, True)] * 9 + [(1.0, False)] + [(0.4, False)] * 3 + [(0.49, False)]
    low, high = replications.calibration(results)
    assert (low.repeated, low.total, high.repeated, high.total) == (0, 4, 9, 10)
    assert [low.expected, high.expected] == pytest.approx([0.4225, 0.937])
    assert low.interval[0] == 0 and low.interval[1] == pytest.approx(1 - 0.005**0.25)
    # By hand: P(B ≥ 9) of B ~ Binomial(10, low) is 0.005, and so is P(B ≤ 9) at the other end.
    at = high.interval[0]
    assert 10 * at**9 * (1 - at) + at**10 == pytest.approx(0.005)
    assert high.interval[1] == pytest.approx(0.995**0.1)
    assert replications.calibration([]) == []


def test_the_drawing_is_to_scale_and_said_in_words() -> None:
    drawing = replications.Drawing(replications.calibration([(0.25, True), (0.25, False)]))
    assert drawing.x(0.5) == f"{(float(drawing.x(0)[:-1]) + float(drawing.x(1)[:-1])) / 2:.2f}%"
    assert float(drawing.y(0)) - float(drawing.y(1)) == pytest.approx(
        2 * (float(drawing.y(0.5)) - float(drawing.y(1)))
    )
    assert float(drawing.x(0)[:-1]) >= 0 and float(drawing.x(1)[:-1]) <= 100 and drawing.bottom < 330
    assert "expected 25 %, repeated 1 of 2 (99 % interval 0 to 100 %)" in drawing.label.replace("\u00a0", " ")


def test_a_damaged_record_stops_the_build_by_its_name(book: Path, record: Record) -> None:
    record(7)
    path = book / "book/replications/2026-02-01-seed-7.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"supported"', '"negligible"', 1), encoding="utf-8"
    )
    with pytest.raises(
        PressError, match=r"^book/replications/2026-02-01-seed-7\.json: demo/one: claim good: "
    ):
        found(book)


def test_runs_of_other_code_do_not_count(book: Path, record: Record) -> None:
    record(7, design="other")
    assert "1 of 1" not in stage(book)["ledger.md"].decode()
    page = stage(book)["replications.md"].decode()
    assert (
        "do not count: the claim, the code, learning rates or edition of its chapter, or its published"
        in page
    )
    record(8)
    assert str(found(book).repeats(found(book).published["good"])) == "repeated 1 of 1"


def test_a_week_left_out_of_the_record_is_named(book: Path, record: Record) -> None:
    def named() -> str:
        return text(stage(book)["replications.md"].decode())

    def weekly(day: str) -> None:
        """The run that the workflow makes on a day, as `date +%s` / 604800 % 1000 gives its seed."""
        began = datetime.fromisoformat(day).replace(tzinfo=UTC)
        record(int(began.timestamp()) // 604800 % 1000, day=day)

    record(7)
    weekly("2026-02-02")
    weekly("2026-02-09")
    assert "No run is recorded" not in named()
    weekly("2026-02-23")
    assert "No run is recorded of 1 week in between:** the one that begins 2026-02-12." in named()
    weekly("2026-03-16")
    assert "of 3 weeks in between:** beginning 2026-02-12, 2026-02-26, 2026-03-05." in named()
