"""A term of a published claim changed, and its history does not say so: nothing is done until it does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import small_book
from tiny_project import card, read, write_notebook

from surveylab.claims import Evidence, judge, provenance_of, render_markdown
from surveylab.press.project import PressError, Project
from surveylab.press.run import publish
from surveylab.press.run.fingerprint import fingerprint
from surveylab.press.run.terms import silent_changes, terms_of
from surveylab.press.site.evidence import load_findings

CLAIMS = "book/claims/demo/one.yml"
TODAY = datetime.now(UTC).date().isoformat()
CHANGES = {
    "margin": ("margin: 1.0", "margin: 0.5", "its margin was published as 1.0 and is now 0.5"),
    "effect": (
        "effect: Gain of the method.",
        "effect: Loss of the method.",
        "its effect was published as 'Gain of the method.' and is now 'Loss of the method.'",
    ),
    "direction": (
        "margin: 1.0",
        "margin: 1.0\n  direction: equivalent",
        "its direction was published as 'greater' and is now 'equivalent'",
    ),
    "statistic": (
        "margin: 1.0",
        "margin: 1.0\n  statistic: median",
        "its statistic was published as 'mean' and is now 'median'",
    ),
    "unit": ("unit: points", "unit: steps", "its unit was published as 'points' and is now 'steps'"),
    "says": (
        "says: The method gains.",
        "says: The method never gains.",
        "its sentence was published as 'The method gains.' and is now 'The method never gains.'",
    ),
}
KEPT = {
    "edition": ("margin: 1.0", "margin: 1.0\n  edition: 1", "its edition was published as 0 and is now 1"),
    "setting": (
        "margin: 1.0",
        "margin: 1.0\n  setting: own",
        "its setting was published as 'scaled' and is now 'own'",
    ),
    "covers": (
        "margin: 1.0",
        "margin: 1.0\n  covers: [bn-fast]",
        "its list of covered statements was published as [] and is now ['bn-fast']",
    ),
    "primary": (
        "margin: 1.0",
        "margin: 1.0\n  covers: [bn-fast]\n  primary: true",
        "its `primary` was published as False and is now True",
    ),
    "replicates": (
        "margin: 1.0",
        "margin: 1.0\n  replicates: 32\n  pilot: {effect: 3, spread: 1, replicates: 4, seed: 1000}",
        "its number of planned replicates was published as None and is now 32",
    ),
}


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def tell(root: Path, what: str, *, date: str = TODAY) -> None:
    """Add an entry to the history of `tiny-gain`."""
    entry = f"{{date: {date}, change: {what}, why: A review}}"
    path = root / CLAIMS
    text = path.read_text(encoding="utf-8")
    if "  history: [" in text:
        path.write_text(text.replace("  history: [", f"  history: [{entry}, "), encoding="utf-8")
    else:
        replace(path, "  cite: [someone2020]\n- id: tiny-exact", f"  history: [{entry}]\n- id: tiny-exact")


def edit(page: Path, change: Callable[[Any], None]) -> None:
    notebook = read(page)
    change(notebook)
    write_notebook(page, notebook)


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was to be executed; nothing is."""
    asked: list[Any] = []

    def execute_all(tasks: Any, executor: Any) -> Any:
        asked.extend(tasks)
        yield from ()

    monkeypatch.setattr(publish, "execute_all", execute_all)
    return asked


@pytest.mark.parametrize("term", CHANGES)
def test_a_term_that_changed_silently_stops_everything_before_it_begins(
    root, page, surveylab, nothing_runs, term
):
    old, new, words = CHANGES[term]
    before = page.read_bytes()
    replace(root / CLAIMS, old, new)
    said = surveylab("status")
    assert said.code == 1 and "demo/one  changed silently" in said.out
    expected = f"tiny-gain: {words}, of which its `history` does not tell; add an entry: `- {{date: 20"
    assert expected in said.out
    assert "`surveylab run` refuses what changed silently." in said.out
    for options in ([], ["--force"]):
        said = surveylab("run", *options)
        assert said.code == 1 and f"demo/one: refused: {expected}" in said.out
    assert nothing_runs == [] and page.read_bytes() == before
    said = surveylab("verify", "--recompute-only")
    assert said.code == 1 and expected in said.out


@pytest.mark.parametrize("term", CHANGES)
def test_with_an_entry_in_the_history_it_goes_on(root, page, surveylab, nothing_runs, term):
    old, new, _ = CHANGES[term]
    replace(root / CLAIMS, old, new)
    tell(root, "Another one")
    said = surveylab("status")
    assert "changed silently" not in said.out
    surveylab("run")
    executed = [task.chapter for task in nothing_runs]
    assert executed == ([] if term == "says" else ["demo/one"])


@pytest.mark.parametrize("term", KEPT)
def test_terms_that_only_a_publication_keeps(root, page, term):
    old, new, words = KEPT[term]
    replace(root / CLAIMS, old, new)
    (said,) = silent_changes(Project(root), "demo/one", read(page), page)
    assert words in said
    tell(root, "Another one")
    assert silent_changes(Project(root), "demo/one", read(page), page) == []


def test_terms_that_a_publication_did_not_keep_are_not_compared(root, page):
    def forget(notebook: Any) -> None:
        for terms in notebook["metadata"]["surveylab"]["terms"].values():
            for name in KEPT:
                del terms[name]

    edit(page, forget)
    for term in ("setting", "covers"):
        replace(root / CLAIMS, "margin: 1.0", KEPT[term][1])
    assert silent_changes(Project(root), "demo/one", read(page), page) == []
    replace(root / CLAIMS, "margin: 1.0", KEPT["edition"][1])
    (said,) = silent_changes(Project(root), "demo/one", read(page), page)
    assert KEPT["edition"][2] in said  # the evidence has it


# --------------------------------------------------------------------- withdrawn, renamed, skipped

WITHDRAWN = "book/withdrawn.yml"


def withdraw(root: Path, claim: str = "tiny-gain", *, date: str = TODAY) -> None:
    path = root / WITHDRAWN
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    entry = f"- {{claim: {claim}, chapter: demo/one, date: {date}, why: A flaw, result: supported}}\n"
    path.write_text(before + entry, encoding="utf-8")


@pytest.mark.parametrize("kept", [True, False], ids=["terms", "evidence alone"])
def test_a_claim_renamed_with_another_margin_asks_for_a_record(root, page, surveylab, nothing_runs, kept):
    def forget(notebook: Any) -> None:
        if not kept:
            del notebook["metadata"]["surveylab"]["terms"]["tiny-gain"]

    edit(page, forget)
    replace(root / CLAIMS, "id: tiny-gain", "id: tiny-win")
    replace(root / CLAIMS, "margin: 1.0", "margin: 0.5")
    expected = (
        "tiny-gain: it was published as supported and is no claim of demo/one any more; put it back, or add "
        f"to `book/withdrawn.yml` `- {{claim: tiny-gain, chapter: demo/one, date: {TODAY}, why: ..., "
    )
    for command in (["status"], ["run", "--force"], ["verify", "--recompute-only"]):
        said = surveylab(*command)
        assert said.code == 1 and expected in said.out
    assert nothing_runs == []
    withdraw(root, date="2020-01-01")  # that was before the publication
    assert expected in surveylab("status").out
    withdraw(root)
    assert "changed silently" not in surveylab("status").out
    surveylab("run")
    assert [task.chapter for task in nothing_runs] == ["demo/one"]


def test_a_withdrawn_claim_is_remembered_when_its_page_is_executed_anew(checkout, page, surveylab):
    text = (checkout / CLAIMS).read_text(encoding="utf-8")
    (checkout / CLAIMS).write_text(text[text.index("- id: tiny-exact") :], encoding="utf-8")

    def forget(notebook: Any) -> None:
        notebook["metadata"]["surveylab"]["terms"].pop("tiny-gain")
        notebook["cells"] = [cell for cell in notebook["cells"] if "tiny-gain" not in str(cell)]

    edit(page, forget)
    git(checkout, "commit", "--quiet", "--all", "--message", "A small change")
    assert "tiny-gain: it was published as supported" in surveylab("verify", "--recompute-only").out
    withdraw(checkout)
    assert "it was published as" not in surveylab("verify", "--recompute-only").out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("claim: tiny-gone", "not a list"),
        ("- {claim: tiny-gone}", "has not the keys claim, chapter, date, why, result"),
        ("- {claim: a, chapter: demo/one, date: soon, why: b, result: c}", "'soon' is not a date"),
        ("- {claim: a, chapter: demo/one, date: 2026-01-31, why: , result: c}", "`why` is empty"),
        ("- {claim: [", "cannot be read"),
        (
            "- {claim: tiny-gain, chapter: demo/one, date: 2026-01-31, why: a, result: b}",
            "tiny-gain is said to be withdrawn, and is a claim of demo/one",
        ),
    ],
)
def test_a_mistake_among_the_withdrawn_is_named(root, surveylab, text, words):
    (root / WITHDRAWN).write_text(text, encoding="utf-8")
    said = surveylab("status")
    assert said.code == 2 and words in said.err and WITHDRAWN in said.err


def test_no_edition_is_skipped(checkout, page):
    def found() -> list[str]:
        return silent_changes(Project(checkout), "demo/one", read(page), page, whole_history=True)

    tell(checkout, "Designed anew")
    replace(checkout / CLAIMS, "margin: 1.0", "margin: 1.0\n  edition: 1")
    assert found() == []
    replace(checkout / CLAIMS, "edition: 1", "edition: 2")
    skipped = (
        "its edition was published as 0 and then 2; editions are counted one by one, so write `edition: 1`"
    )
    (said,) = found()
    assert said.startswith(skipped)
    # Published on this machine one after the other until a seed pleases, and only the last one committed.
    edit(page, lambda n: n["metadata"]["surveylab"]["terms"]["tiny-gain"].update(edition=2))
    for _ in range(2):
        assert [said for said in found() if said.startswith(skipped)]
        git(checkout, "commit", "--quiet", "--all", "--allow-empty", "--message", "Publish")


@pytest.mark.slow
def test_what_was_told_once_covers_no_later_change(root, page, surveylab):
    replace(root / CLAIMS, "margin: 1.0", "margin: 0.5")
    tell(root, "The margin was 1")
    assert surveylab("run").code == 0
    kept = provenance_of(read(page))["terms"]["tiny-gain"]
    assert kept["margin"] == 0.5 and kept["history"] == [[TODAY, "The margin was 1"]]
    replace(root / CLAIMS, "margin: 0.5", "margin: 0.4")
    said = surveylab("run")
    assert said.code == 1 and "its margin was published as 0.5 and is now 0.4" in said.out
    tell(root, "The margin was 0.5")
    assert surveylab("run").code == 0 and surveylab("status").code == 0


@pytest.mark.parametrize("date", ["2020-01-01", TODAY])
def test_an_earlier_entry_written_anew_is_no_new_one(root, page, surveylab, nothing_runs, date):
    tell(root, "Anything", date=date)
    entry = [date, "Anything"]
    edit(page, lambda n: n["metadata"]["surveylab"]["terms"]["tiny-gain"].update(history=[entry]))
    assert surveylab("status").code == 0
    replace(root / CLAIMS, "margin: 1.0", "margin: 0.5")
    assert surveylab("run").code == 1
    if date != TODAY:
        replace(root / CLAIMS, "change: Anything", "change: The margin was 1")
        assert surveylab("run").code == 1
    assert nothing_runs == []


@pytest.mark.parametrize(
    "sentence",
    [
        "says: The *method* gains",
        "says: “The method gains.”",
        "says: the Method   gains!",
    ],
)
def test_typography_is_carried_over(root, page, surveylab, nothing_runs, sentence):
    replace(root / CLAIMS, "says: The method gains.", sentence)
    said = surveylab("status")
    assert "demo/one  reworded" in said.out and "demo/one: tiny-gain: 'The method gains.' -> '" in said.out
    assert surveylab("run").code == 0 and nothing_runs == []
    assert surveylab("status").code == 0


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ("Batch Norm is faster.", "Batch-Norm is faster", True),
        ("It is ≤ 5.", "It is ≥ 5.", False),
        ("It changes by 5.", "It changes by −5.", False),
        ("from 1–2", "from 1-2", True),
        ("By 1.5 points.", "By 15 points.", False),
        ("It is exact.", "It is not exact.", False),
    ],
)
def test_which_words_are_the_same(root, page, before, now, same):
    project = Project(root)
    edit(page, lambda n: n["metadata"]["surveylab"]["terms"]["tiny-gain"].update(says=before))
    replace(root / CLAIMS, "says: The method gains.", f"says: {now}")
    found = silent_changes(project, "demo/one", read(page), page)
    assert (found == []) is same


@pytest.mark.slow
def test_what_is_not_published_may_be_tried_freely(root, surveylab):
    replace(root / CLAIMS, "margin: 1.0", "margin: 0.5")
    assert surveylab("run", "--profile", "smoke").code == 0
    assert surveylab("run", "--seed", "7").code == 0
    assert surveylab("run", "--output", str(root / "elsewhere")).code == 0


# --------------------------------------------------------------------- published before terms were kept


@pytest.fixture
def old_page(page: Path) -> Path:
    edit(page, lambda notebook: notebook["metadata"]["surveylab"].pop("terms"))
    return page


def test_a_page_without_terms_is_fresh(root, old_page, surveylab):
    before = old_page.read_bytes()
    assert surveylab("status").code == 0
    assert surveylab("run").out == "demo/one: fresh\n"
    assert surveylab("verify", "--recompute-only").code == 0
    assert old_page.read_bytes() == before


@pytest.mark.parametrize("term", [term for term in CHANGES if term != "effect"])
def test_of_a_page_without_terms_evidence_and_cards_tell(root, old_page, surveylab, nothing_runs, term):
    old, new, words = CHANGES[term]
    replace(root / CLAIMS, old, new)
    said = surveylab("run")
    assert said.code == 1 and words in said.out and nothing_runs == []
    executed = provenance_of(read(old_page))["executed"][:10]
    tell(root, "Long ago", date="2020-01-01")
    assert surveylab("run").code == 1  # that was before the publication
    tell(root, "Another one", date=executed)
    surveylab("run")
    assert "changed silently" not in surveylab("status").out


def test_terms_are_kept_from_the_next_change_on(root, old_page, surveylab):
    replace(root / CLAIMS, "says: The method gains.", "says: The *method* gains.")
    assert "without executing" in surveylab("run").out
    kept = provenance_of(read(old_page))["terms"]
    assert kept == terms_of(Project(root).claims_of("demo/one"))
    assert kept["tiny-gain"]["says"] == "The *method* gains."


# --------------------------------------------------------------------- rewritten as a whole


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(root: Path) -> Path:
    git(root, "init", "--quiet")
    git(root, "add", "book", "notebooks", "src")
    git(root, "commit", "--quiet", "--message", "Publish")
    return root


def forge_margin(root: Path, page: Path) -> None:
    """Another margin, and everything that follows from it: evidence, card, terms and fingerprint."""
    replace(root / CLAIMS, "margin: 1.0", "margin: 0.5")
    project = Project(root)
    claim = project.claims["tiny-gain"]
    now = fingerprint(project, "demo/one")

    def change(notebook: Any) -> None:
        output = card(notebook, "tiny-gain")
        old = Evidence.from_metadata(output["metadata"]["surveylab"])
        new = judge(claim, old.values, profile=old.profile, seed=old.seed, data=old.data)
        output["metadata"]["surveylab"] = new.to_metadata()
        output["data"]["text/markdown"] = render_markdown(claim, new)
        terms = terms_of(project.claims_of("demo/one"))
        notebook["metadata"]["surveylab"] |= {"fingerprint": now.digest, "parts": now.parts, "terms": terms}

    edit(page, change)


def test_a_margin_and_all_that_follows_from_it_rewritten_is_found_in_git(checkout, page, surveylab):
    forge_margin(checkout, page)
    said = surveylab("status")
    assert said.code == 1
    assert "tiny-gain: its margin was published as 1.0 and is now 0.5" in said.out
    assert surveylab("run").code == 1
    # Committed, and with another commit on top: whoever verifies looks at all that was ever published.
    for message in ("A small change", "Another one"):
        (checkout / CLAIMS).write_text((checkout / CLAIMS).read_text() + f"# {message}\n")
        edit(page, lambda notebook: notebook["metadata"]["surveylab"].update(duration=9.0))
        git(checkout, "commit", "--quiet", "--all", "--message", message)
    said = surveylab("verify", "--recompute-only")
    assert said.code == 1
    assert "demo/one: tiny-gain: its margin was published as 1.0 and is now 0.5" in said.out
    tell(checkout, "The margin was 1")
    said = surveylab("verify", "--recompute-only")
    assert said.code == 0, said.out


def test_a_page_that_was_removed_is_not_forgotten(checkout, page, surveylab, nothing_runs):
    page.unlink()
    assert "never run" in surveylab("status").out
    replace(checkout / CLAIMS, "margin: 1.0", "margin: 0.5")
    said = surveylab("run")
    assert said.code == 1 and "its margin was published as 1.0 and is now 0.5" in said.out
    assert nothing_runs == []


def test_without_git_there_is_the_page_alone(root, page, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert silent_changes(Project(root), "demo/one", read(page), page, whole_history=True) == []


# --------------------------------------------------------------------- the build


def test_the_build_stops(tmp_path):
    book = small_book.make_book(tmp_path)
    load_findings(book, ["demo/one.ipynb"])
    replace(book / CLAIMS, "unit: s, margin: 1.0", "unit: s, margin: 0.5")
    with pytest.raises(PressError, match=r"fast: its margin was published as 1\.0 and is now 0\.5, of which"):
        load_findings(book, ["demo/one.ipynb"])
    replace(book / CLAIMS, "unit: s, margin: 0.5", "unit: s, margin: 1.0")
    replace(book / CLAIMS, "says: It is fast.", "says: It is slow.")
    with pytest.raises(PressError, match=r"'It is fast\.' and is now 'It is slow\.'"):
        load_findings(book, ["demo/one.ipynb"])
