"""The generated pages: every claim where it belongs, every value escaped, no verdict without evidence."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import small_book
import yaml

from surveylab.claims import load_claims
from surveylab.press import ledger, pages, provenance
from surveylab.press.findings import Findings, load_findings
from surveylab.press.project import PressError
from surveylab.press.review import chapters_of, load_review

ROOT = Path(__file__).parents[2]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return small_book.make_book(tmp_path)


@pytest.fixture
def findings(book: Path) -> Findings:
    return load_findings(book, ["demo/one.ipynb"])[0]


def test_verdicts_of_statements(findings: Findings) -> None:
    verdicts = {statement: findings.verdict(statement) for statement in findings.statements}
    assert verdicts == {
        "st-good": "supported",  # a source beside it does not weaken it
        "st-split": "mixed",
        "st-wrong": "contradicted",
        "st-open": "inconclusive",
        "st-later": "missing",
    }


def test_ledger_names_every_claim_with_its_numbers(findings: Findings) -> None:
    page = ledger.ledger(findings)
    for id, claim in findings.claims.items():
        assert f'id="ledger-{id}"' in page
        assert f'href="demo/one.html#claim-{id}"' in page, claim
    assert "4 of 5 statements are examined so far, by 7 claims" in page
    assert "The method gains &lt;a point&gt;." in page and "<a point>" not in page
    assert "+3.00" in page and "3 × 8" in page
    assert "Table 1" in page
    assert "Changed 2026-01-31: The margin was 2. It was copied." in page
    assert "Beyond the review" in page.partition("statement-st-open")[2]
    assert "The second chapter" not in page


def test_only_what_is_inconclusive_says_what_it_could_have_shown(findings: Findings) -> None:
    page = ledger.ledger(findings)
    assert page.count("It could have shown") == 1
    assert "It could have shown 3.34 points or more" in page.partition('id="ledger-open"')[2]


def test_a_claim_without_evidence_is_listed_as_such(findings: Findings) -> None:
    left = Findings(
        findings.review, findings.claims, {k: v for k, v in findings.evidence.items() if k != "fast"}
    )
    row = ledger.ledger(left).partition('id="ledger-fast"')[2].partition("</tr>")[0]
    assert "missing" in row and "href" not in row


def test_summary_counts_statements(findings: Findings) -> None:
    summary = ledger.summary(findings)
    assert summary.count("<li>") == 5
    assert 'not yet examined</span> <span class="sl-count">1<' in summary


def test_corrections_hold_what_is_contradicted_mixed_or_corrected_and_no_more(findings: Findings) -> None:
    page = pages.corrections(findings)
    assert [part.partition('"')[0] for part in page.split('id="correction-')[1:]] == ["st-split", "st-wrong"]
    assert "It is fast &amp; exact." in page and "It is exact but slow." in page
    assert "No sentence is put in its place" in page.partition("st-wrong")[2]


def test_corrections_without_any() -> None:
    assert "contradicts nothing" in pages.corrections(Findings((), {}, {}))


def test_review_has_every_sentence_with_its_verdict(findings: Findings) -> None:
    page = pages.review(findings)
    assert r"This \*only\* connects." in page
    assert "The method gains {cite:p}`someone2020`." in page
    split = page.partition('id="review-st-split"')[2].partition("</span>\n")[0]
    assert "ledger.html#statement-st-split" in split and "mixed" in split
    wrong = page.partition('id="review-st-wrong"')[2].partition("\n")[0]
    assert "demo/one.html#claim-never" in wrong and "contradicted" in wrong
    assert "not yet examined" in page.partition('id="review-st-later"')[2]


def test_evidence_table_holds_every_value(findings: Findings) -> None:
    rows = list(csv.DictReader(io.StringIO(provenance.evidence_table(findings))))
    assert len(rows) == 4 * 24 + 2 * 20 + 1
    good = [row for row in rows if row["claim"] == "good"]
    assert [float(row["value"]) for row in good] == [v for p in small_book.VALUES["good"] for v in p]
    assert {(row["population"], row["replicate"]) for row in good} == {
        (str(p), str(r)) for p in range(3) for r in range(8)
    }
    (paper,) = (row for row in rows if row["claim"] == "paper")
    assert paper["value"] == paper["estimate"] == "" and paper["verdict"] == "cited"


def test_provenance_says_when_where_and_from_what() -> None:
    text = provenance.provenance("demo/one", small_book.RECORD, source="notebooks/demo/one.ipynb")
    for part in (
        "2026-01-31 12:00:00 UTC",
        "1.5 s",
        "A processor, AVX2, 2 threads",
        "torch 2.13.0",
        "tiny (sha256",
    ):
        assert part in text
    assert "</notebooks/demo/one.ipynb>" in text and "None" not in text


def test_provenance_of_a_notebook_that_carries_none() -> None:
    assert "carries no record" in provenance.provenance("demo/one", {}, source=None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("id: st-open", "id: st-good"), "'st-good' appears twice"),
        (("cite:", "cites:"), "unknown key 'cites'"),
        (('says: "It scales."', "says: 3"), "'says' is 3, which should be a str"),
        (("title: The first chapter", "titel: x"), "'title' is missing"),
        (("- section: demo", "section: demo"), "not valid YAML"),
    ],
)
def test_a_mistake_in_the_review_is_named(book: Path, change: tuple[str, str], says: str) -> None:
    path = book / "book/review_text.yml"
    path.write_text(path.read_text(encoding="utf-8").replace(*change, 1), encoding="utf-8")
    with pytest.raises(PressError, match=r"review_text\.yml") as error:
        load_review(path)
    assert says in str(error.value)


# ------------------------------------------------------------------------------------------ the book's own


def test_the_review_has_all_its_statements() -> None:
    sections = load_review(ROOT / "book/review_text.yml")
    statements = [id for chapter in chapters_of(sections) for id in chapter.statements]
    assert len(statements) == len(set(statements)) == 129
    assert len(list(chapters_of(sections))) == 24


def test_the_table_of_contents_lists_the_chapters_in_the_reviews_order() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = [
        (part["caption"], item["file"])
        for part in toc["parts"]
        for item in part["chapters"]
        if "/" in item["file"] and not item["file"].startswith("api/")
    ]
    sections = load_review(ROOT / "book/review_text.yml")
    assert listed == [(section.title, chapter.name) for section in sections for chapter in section.chapters]


def test_each_published_chapter_has_a_claim_for_each_of_its_statements() -> None:
    sections = load_review(ROOT / "book/review_text.yml")
    claims = load_claims(ROOT / "book/claims.yml", bibliography=ROOT / "book/references.bib")
    covered = {statement for claim in claims.values() for statement in claim.covers}
    for chapter in chapters_of(sections):
        if (ROOT / f"book/{chapter.name}.ipynb").exists():
            assert set(chapter.statements) <= covered, chapter.name
