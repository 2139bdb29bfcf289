"""The generated pages: every claim where it belongs, every value escaped, no verdict without evidence."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_book
from example_claims import draw, everything, make, run

from surveylab.claims import Claim, load_claims
from surveylab.press.project import PressError
from surveylab.press.review_text import chapters_of, load_review
from surveylab.press.site.evidence import Findings, load_findings
from surveylab.press.site.pages import ledger, overview, provenance, review
from surveylab.press.site.pages.header import add_header

ROOT = Path(__file__).parents[2]
__all__ = ["draw", "make"]


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
    assert "<summary>Changed once</summary><p>2026-01-31: The margin was 2. It was copied.</p>" in page
    assert "Beyond the review" in page.partition("statement-st-open")[2]
    assert "The second chapter" not in page
    for word in ("supported (+3.00 points [+2.94, +3.06])", "0.500, allowed 0.001"):
        assert word in page.replace("\u00a0", " ")


def test_the_ledger_remembers_withdrawn_claims(book: Path, findings: Findings) -> None:
    assert "Withdrawn" not in ledger.ledger(findings)
    (book / "book/withdrawn.yml").write_text(
        "- {claim: gone, chapter: demo/one, date: 2026-01-31, why: A <flaw>., result: It was supported.}\n",
        encoding="utf-8",
    )
    page = ledger.ledger(load_findings(book, ["demo/one.ipynb"])[0])
    entry = "\n- `gone` of `demo/one`, 2026-01-31: A &lt;flaw&gt;. Result: It was supported.\n"
    assert entry in page.partition("## Withdrawn")[2]


def row(page: str, id: str) -> str:
    return page.partition(f'id="ledger-{id}"')[2].partition("</tr>")[0]


def test_a_row_of_the_ledger_carries_what_the_page_filters_and_sorts_by(findings: Findings) -> None:
    page = ledger.ledger(findings)
    assert 'data-verdict="supported" data-kind="experiment" data-section="demo" ' in row(page, "good")
    assert 'data-effect="3"' in row(page, "good") and 'data-effect="-3"' in row(page, "fast")
    assert 'data-effect=""' in row(page, "exact")  # a tolerance is no scale of effects
    form = page.partition("<form")[2].partition("</form>")[0]
    for choice in ('value="contradicted"', '<option value="demo">Demonstration', '<option value="source">'):
        assert choice in form
    assert 'value="mixed"' not in form  # no claim has that verdict, only a statement


def test_each_claim_has_a_permanent_link_and_a_citation(findings: Findings) -> None:
    page = ledger.ledger(findings)
    for id in findings.evidence:
        assert f'class="sl-permalink" href="#ledger-{id}"' in row(page, id)
    assert "good, revised</span>" in row(page, "good") and "open, registered</span>" in row(page, "open")
    assert '<span class="sl-id">paper</span>' in row(page, "paper")
    cited = row(page, "good").partition('class="sl-cite"')[2].partition("</details>")[0]
    cited = cited.replace("\u00a0", " ")
    assert "“The method gains &lt;a point&gt;”: supported (+3.00 points [+2.94, +3.06])." in cited
    assert "Claim good of The executable survey, version 0.1.0, executed 2026-01-31" in cited


def test_a_claim_that_decides_two_statements_stands_once(findings: Findings) -> None:
    claims = dict(findings.claims)
    claims["good"] = replace(claims["good"], covers=("st-good", "st-wrong"))
    page = ledger.ledger(Findings(findings.review, claims, findings.evidence))
    assert page.count('id="ledger-good"') == 1
    again = page.partition('id="statement-st-wrong"')[2].partition("</tbody>")[0]
    assert 'class="sl-again"' in again and 'href="#ledger-good"' in again


def test_the_wall_has_a_mark_for_each_statement(findings: Findings) -> None:
    wall = overview.wall(findings)
    marks = wall.split('<a class="sl-point-mark ')[1:]
    assert [mark.partition('"')[0] for mark in marks] == [
        *("sl-supported", "sl-mixed", "sl-contradicted", "sl-inconclusive", "sl-missing")
    ]
    leads = [mark.partition('href="')[2].partition('"')[0] for mark in marks]
    assert leads == [
        "ledger.html#statement-st-good",
        "ledger.html#statement-st-split",
        "demo/one.html#claim-never",
        "demo/one.html#claim-open",
        "review.html#review-st-later",
    ]
    assert "mixed: It is fast &amp; exact." in marks[1]
    assert "4 of 5 examined" in wall
    assert '<a href="demo/one.html">The first chapter</a>' in wall and 'href="demo/two.html"' not in wall


def test_effects_stand_at_their_size_and_touch_no_other(findings: Findings) -> None:
    picture = overview.effects(findings)
    form = r'class="sl-point sl-(\w+)".*?left:([\d.]+)%;--narrow:([\d.]+)px;--wide:([\d.]+)px'
    points = [(verdict, *map(float, numbers)) for verdict, *numbers in re.findall(form, picture)]
    assert [verdict for verdict, *_ in points] == [
        "contradicted",
        "negligible",
        "inconclusive",
        "supported",
    ]
    left, middle, right, far = (x for _, x, *_ in points)
    assert middle == 50 and far - 50 == pytest.approx(50 - left) and 50 < right < far
    assert overview.effects(Findings(findings.review, findings.claims, {})) == ""


@pytest.mark.parametrize("places", [[5.0] * 4, [0.0, 10.0, 11.0, 30.0, 31.5, 100.0]])
def test_points_keep_their_distance_and_stand_low(places: list[float]) -> None:
    heights = overview._heights(places)
    points = list(zip(places, heights, strict=True))
    apart = [math.dist(one, other) for n, one in enumerate(points) for other in points[:n]]
    assert min(apart) == pytest.approx(overview._APART) and overview._APART > 24
    assert heights[0] == 0 and max(heights) <= overview._APART * (len(points) - 1)


def test_the_lines_under_a_title(book: Path) -> None:
    notebook = small_book.published(book)
    add_header(notebook, Findings((), {}, {}), executed="executed/demo/one.ipynb", source=None)
    text = notebook["cells"][0]["source"]
    assert text.startswith("(one)=\n# The first chapter\n\n:::{div} sl-header\n") and text.endswith(
        "describe it."
    )
    for part in (
        "7 claims",
        "Executed 31 January 2026 in 1.5 s on 2 threads; profile standard, seed 0",
        "[tiny](/data.md#tiny)",
        "{download}`executed notebook </executed/demo/one.ipynb>`.",
    ):
        assert part in text


def test_a_chapter_without_a_record_gets_no_lines() -> None:
    cell = {"cell_type": "markdown", "metadata": {}, "source": "# Title"}
    notebook = small_book.notebook([cell])
    add_header(notebook, Findings((), {}, {}), executed=None, source=None)
    assert cell["source"] == "# Title"


def test_only_what_is_inconclusive_says_what_it_could_have_shown(findings: Findings) -> None:
    page = ledger.ledger(findings)
    assert page.count("It could have shown") == 1
    assert "It could have shown 4.41\u00a0points or more" in page.partition('id="ledger-open"')[2]


def test_the_front_page_answers_in_sentences(findings: Findings) -> None:
    page = review.answers(findings)
    groups = {
        part.partition('"')[0]: part for part in page.split('<section class="sl-answer" aria-label="')[1:]
    }
    assert list(groups) == ["Does not hold", "Holds in part", "Holds", "Open"]
    assert "It never fails." in groups["Does not hold"] and "It scales." in groups["Open"]
    assert "Instead: It is exact but slow." in groups["Holds in part"]
    told = 'of which <a href="ledger.html">1</a> was revised after a result was known.'
    assert f"4 of 5 statements examined by 7 claims, {told}" in page
    assert all('<span class="sl-count">1</span>' in group for group in groups.values())
    waiting = review.answers(Findings(findings.review, findings.claims, {}))
    assert "sl-answer" not in waiting and "Demonstration (5 statements)" in waiting


def test_a_chapter_opens_with_its_claims_under_their_headings(book: Path, findings: Findings) -> None:
    notebook = small_book.published(book)
    notebook["cells"].insert(
        3, {"cell_type": "markdown", "metadata": {}, "source": "text\n\n## A question?\n"}
    )
    page = review.chapter_answers(notebook, findings)
    assert '<a href="#a-question">A question?</a>' in page and page.count('class="sl-part"') == 1
    assert [part.partition('"')[0] for part in page.split('<td><a href="#claim-')[1:]] == list(
        small_book.VALUES
    )
    assert "+3.00" in page and "Table 1" in page
    assert review.chapter_answers(small_book.notebook([]), findings) == ""


def test_a_claim_without_evidence_is_listed_as_such(findings: Findings) -> None:
    left = Findings(
        findings.review, findings.claims, {k: v for k, v in findings.evidence.items() if k != "fast"}
    )
    found = row(ledger.ledger(left), "fast")
    assert "not yet examined" in found and "href" not in found


def test_summary_counts_statements(findings: Findings) -> None:
    summary = review.summary(findings)
    assert summary.count("<li>") == 5 and "Statements" in summary
    assert 'not yet examined</span> <span class="sl-count">1<' in summary
    claims = review.claim_summary(findings)
    assert claims.count('sl-count">') == 5 and 'contradicted</span> <span class="sl-count">2<' in claims


def test_corrections_hold_what_is_contradicted_mixed_or_corrected_and_no_more(findings: Findings) -> None:
    page = review.corrections(findings)
    assert [part.partition('"')[0] for part in page.split('id="correction-')[1:]] == ["st-split", "st-wrong"]
    assert "## Demonstration" in page and "### The first chapter" in page and "second chapter" not in page
    assert "It is fast &amp; exact." in page and "It is exact but slow." in page
    assert "No sentence is put in its place" in page.partition("st-wrong")[2]


def test_corrections_without_any() -> None:
    assert "contradicts nothing" in review.corrections(Findings((), {}, {}))


def test_review_has_every_sentence_with_its_verdict(findings: Findings) -> None:
    page = review.review(findings)
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


def test_evidence_table_tells_what_a_claim_was_before_and_what_surrounds_it(
    make: Callable[..., Claim], draw: Callable[..., np.ndarray]
) -> None:
    claim, evidence = everything(make, draw)
    plain = make(id="plain")
    found = Findings(
        (), {claim.id: claim, plain.id: plain}, {claim.id: evidence, plain.id: run(plain, draw(1.2))}
    )
    rows = list(csv.DictReader(io.StringIO(provenance.evidence_table(found))))
    first, last = rows[0], rows[-1]
    assert (first["edition"], first["standing"], first["published"]) == ("2", "revised", "8.0")
    assert (first["reason"], first["cluster"], rows[1]["cluster"]) == ("", "style 0", "style 1")
    assert float(first["firmness"]) == evidence.firmness
    assert evidence.guard is not None and evidence.map is not None
    budgets = [part.partition(": ") for part in first["guard"].split("; ")]
    assert [at for at, _, _ in budgets] == ["budget=0.25", "budget=0.5", "budget=2.0", "budget=4.0"]
    for (_, _, text), cell in zip(budgets, evidence.guard, strict=True):
        numbers = [float(x) for x in text.replace("[", "").replace("]", "").replace(",", "").split()]
        assert numbers == pytest.approx([cell.estimate, cell.low, cell.high], rel=1e-5)
    assert first["map"].startswith("budget=0.5,data=mnist1d,width=16: ")
    assert first["map"].count(";") == len(evidence.map) - 1
    assert (last["standing"], last["guard"], last["map"], last["cluster"]) == ("registered", "", "", "")
    assert (last["verdict"], last["reason"]) == ("inconclusive", "direction shown, size open")
    described = json.loads(provenance.data_package())["resources"][0]["schema"]["fields"]
    assert [field["name"] for field in described] == list(first)


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


def test_each_published_chapter_has_a_claim_for_each_of_its_statements() -> None:
    sections = load_review(ROOT / "book/review_text.yml")
    claims = load_claims(ROOT / "book/claims", bibliography=ROOT / "book/references.bib")
    covered = {statement for claim in claims.values() for statement in claim.covers}
    for chapter in chapters_of(sections):
        if (ROOT / f"book/{chapter.name}.ipynb").exists():
            assert set(chapter.statements) <= covered, chapter.name
