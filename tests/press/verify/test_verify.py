"""Whatever is tampered with is caught, and the message says what; another machine alone is no alarm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_project import GOOD, card, read, write_chapter, write_notebook

from surveylab.claims import record
from surveylab.press.cli import execute
from surveylab.press.project import Project
from surveylab.press.run.kernel import Executed
from surveylab.press.verify import compare as comparison
from surveylab.press.verify import verify as verification
from surveylab.press.verify.report import Report, to_html, to_junit, to_markdown


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def edit(page: Path, change: Callable[[Any], None]) -> None:
    notebook = read(page)
    change(notebook)
    write_notebook(page, notebook)


def tree(root: Path) -> dict[str, bytes]:
    paths = (p for p in sorted(root.rglob("*")) if p.is_file() and "__pycache__" not in p.parts)
    return {str(p.relative_to(root)): p.read_bytes() for p in paths}


def gain(notebook: Any) -> Any:
    return card(notebook, "tiny-gain")["metadata"]["surveylab"]


def test_an_honest_page_holds_and_nothing_is_changed(root, surveylab):
    before = tree(root)
    said = surveylab("verify")
    assert said.code == 0
    assert "Recomputed 3 claims of 1 chapter from their values." in said.out
    assert said.out.count("  holds") == 3 and "Everything holds." in said.out
    assert tree(root) == before


def tamper_estimate(n: Any) -> None:
    gain(n)["estimate"] += 0.01


def tamper_value(n: Any) -> None:
    gain(n)["values"][1][3] += 0.01


def tamper_verdict(n: Any) -> None:
    gain(n)["verdict"] = "contradicted"


def tamper_margin(n: Any) -> None:
    gain(n)["margin"] = 0.5


def tamper_text(n: Any) -> None:
    card(n, "tiny-gain")["data"]["text/plain"] = "tiny-gain: contradicted"


def show_html(n: Any) -> None:
    card(n, "tiny-gain")["data"]["text/html"] = "<b>tiny-gain: contradicted</b>"


def show_stream(n: Any) -> None:
    card(n, "tiny-gain").update(output_type="stream", name="stdout", text="tiny-gain: contradicted")


def hide_as_summary(n: Any) -> None:
    data = {"image/png": "", "text/markdown": "The method gains.", "text/plain": "summary"}
    output = {"output_type": "display_data", "data": data, "metadata": {"surveylab": {"strategies": {}}}}
    n["cells"][6]["outputs"].append(output)


def tamper_numbers(n: Any) -> None:
    said = "".join(card(n, "tiny-gain")["data"]["text/markdown"])
    card(n, "tiny-gain")["data"]["text/markdown"] = said.replace("2.9", "9.9")


def tamper_words(n: Any) -> None:
    said = "".join(card(n, "tiny-gain")["data"]["text/markdown"])
    card(n, "tiny-gain")["data"]["text/markdown"] = said.replace(
        "The method gains.", "The method gains a lot."
    )


def tamper_code(n: Any) -> None:
    n["cells"][6]["source"] = "run.check('tiny-exact', [0.0] * 20)"


def tamper_prose(n: Any) -> None:
    n["cells"][0]["source"] = "# The method is wonderful"


def tamper_parameters(n: Any) -> None:
    n["cells"][2]["source"] = "".join(n["cells"][2]["source"]).replace("seed = 0", "seed = 3")


def tamper_seed(n: Any) -> None:
    n["metadata"]["surveylab"]["seed"] = 3


def tamper_machine(n: Any) -> None:
    n["metadata"]["surveylab"]["machine"]["processor"] = "another"


def tamper_version(n: Any) -> None:
    n["metadata"]["surveylab"]["versions"]["tinylib"] = "9"


def tamper_data(n: Any) -> None:
    gain(n)["data"]["sha256"] = "1" * 64


def drop_claim(n: Any) -> None:
    n["cells"][5]["outputs"] = []


def drop_run(n: Any) -> None:
    n["cells"][3]["outputs"] = []


def drop_cell(n: Any) -> None:
    del n["cells"][7]


def drop_parameters(n: Any) -> None:
    del n["cells"][2]


def rename_claim(n: Any) -> None:
    gain(n)["claim"] = "tiny-pain"


def double_claim(n: Any) -> None:
    n["cells"][5]["outputs"] *= 2


def break_evidence(n: Any) -> None:
    del gain(n)["low"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (tamper_estimate, ["tiny-gain: estimate: published", "recomputed"]),
        (tamper_value, ["tiny-gain: estimate: published", "recomputed"]),
        (tamper_verdict, ["tiny-gain: verdict: published 'contradicted', recomputed 'supported'"]),
        (tamper_margin, ["tiny-gain: margin: published 0.5, recomputed 1.0"]),
        (show_html, ["tiny-gain: it also shows text/html, which does not follow from the evidence"]),
        (show_stream, ["tiny-gain: its evidence stands in an output of type 'stream'"]),
        (hide_as_summary, ["summary: it also shows image/png", "summary: line"]),
        (tamper_text, ["tiny-gain: text/plain: published 'tiny-gain: contradicted'"]),
        (tamper_numbers, ["tiny-gain: text/markdown: published", "9.9"]),
        (tamper_words, ["tiny-gain: text/markdown", "wording"]),
        (tamper_code, ["cell 6 (code) of the published chapter is not that of the source"]),
        (tamper_prose, ["cell 1 (markdown) of the published chapter is not that of the source"]),
        (tamper_parameters, ["the injected parameters say seed = 3, the provenance 0"]),
        (tamper_seed, ["the provenance says seed 3, the run itself 0"]),
        (tamper_machine, ["the provenance says machine", "'another'"]),
        (tamper_version, ["the provenance says versions", "'tinylib': '9'", "the run itself"]),
        (tamper_data, ["tiny-gain: data: published '1111"]),
        (drop_claim, ["tiny-gain: a claim of this chapter that the notebook does not check"]),
        (drop_run, ["the output of lab.begin is missing"]),
        (drop_cell, ["the published chapter has 6 cells where the source has 7"]),
        (drop_parameters, ["the published chapter has 0 cells of injected parameters, not one"]),
        (rename_claim, ["tiny-pain: checked in the notebook, but there is no such claim"]),
        (double_claim, ["tiny-gain: checked twice in one notebook"]),
        (break_evidence, ["tiny-gain: not evidence: fields missing: low"]),
    ],
)
def test_tampering_is_caught_without_executing(root, page, surveylab, change, said):
    edit(page, change)
    before = page.read_bytes()
    answer = surveylab("verify", "--recompute-only")
    assert answer.code == 1
    for part in said:
        assert part in answer.out
    assert page.read_bytes() == before


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("notebooks/demo/one.ipynb", "1e-7", "2e-7", "code cells changed"),
        ("src/tinylib/method.py", "return 3 +", "return 3.1 +", "library code changed: tinylib.method"),
        (
            "book/claims/demo/one.yml",
            "margin: 1.0",
            "margin: 2.9",
            "changed in what is judged: tiny-gain",
        ),
        ("book/claims/demo/one.yml", "margin: 1.0", "margin: 2.9", "margin: published 1.0, recomputed 2.9"),
        (
            "book/claims/demo/one.yml",
            "margin: 1.0",
            "margin: 2.9",
            "recomputed 'inconclusive'",
        ),
    ],
)
def test_a_changed_source_library_or_margin_is_caught(root, surveylab, file, old, new, said):
    replace(root / file, old, new)
    answer = surveylab("verify", "--recompute-only")
    assert answer.code == 1 and said in answer.out


def test_consistent_forgery_is_caught_by_executing_again(root, page, surveylab):
    """Values, verdict and card all made up to fit each other: only a second run tells."""
    from surveylab.claims import Evidence, judge, render_markdown

    claims = Project(root).claims

    def forge(notebook: Any) -> None:
        output = card(notebook, "tiny-gain")
        old = Evidence.from_metadata(output["metadata"]["surveylab"])
        assert old.values is not None
        values = [[value + 0.4 for value in row] for row in old.values]
        new = judge(claims["tiny-gain"], values, profile=old.profile, seed=old.seed, data=old.data)
        output["metadata"]["surveylab"] = new.to_metadata()
        output["data"]["text/markdown"] = render_markdown(claims["tiny-gain"], new)

    edit(page, forge)
    assert surveylab("verify", "--recompute-only").code == 0
    said = surveylab("verify", "--report", str(root / "report.json"))
    assert said.code == 1
    assert "tiny-gain: 24 of 24 values differ on the same machine" in said.out
    assert comparison.UNEXPLAINED in said.out
    report = json.loads((root / "report.json").read_text())
    assert report["holds"] is False and report["recomputed"] == 3
    differing = [claim for claim in report["claims"] if not claim["holds"]]
    assert [claim["claim"] for claim in differing] == ["tiny-gain"]
    assert differing[0]["cause"] == comparison.UNEXPLAINED


@pytest.mark.slow
def test_another_machine_gives_no_alarm(root, surveylab, monkeypatch):
    """Values move in the last digits: on the same machine that would be an error, on another it is not."""
    monkeypatch.setenv("TINY_CAPABILITY", "B")
    said = surveylab("verify")
    assert said.code == 0
    assert "the machine differs: capability A -> B" in said.out
    assert "compared by a paired test, not digit by digit" in said.out


def test_a_variable_that_changes_the_arithmetic_is_the_likely_cause(root, page):
    """The same processor and versions, other instructions: not unexplained, and not the same machine."""
    again = read(page)
    for output in again["cells"][3]["outputs"]:
        output["metadata"]["surveylab"]["run"]["machine"]["settings"] = "ONEDNN_MAX_CPU_ISA=SSE41, A_B=1"
    output = card(again, "tiny-gain")["metadata"]["surveylab"]
    output["values"] = [[value + 2 for value in row] for row in output["values"]]
    runs = {"demo/one": Executed("demo/one", json.dumps(again), 1.0)}
    (row, *_) = comparison.compare(Project(root), {"demo/one": read(page)}, runs)
    assert row.difference is not None and "24 of 24 replicates differ, on average by +2" in row.difference
    assert row.cause == "the machine differs: ONEDNN_MAX_CPU_ISA None -> SSE41, A_B None -> 1"


@pytest.mark.parametrize(("firmness", "fails"), [(0.6, False), (0.95, True)])
def test_a_verdict_that_changed_is_always_in_the_report(root, page, firmness, fails):
    published, again = read(page), read(page)
    card(published, "tiny-gain")["metadata"]["surveylab"]["firmness"] = firmness
    card(again, "tiny-gain")["metadata"]["surveylab"]["verdict"] = "inconclusive"
    for output in again["cells"][3]["outputs"]:
        output["metadata"]["surveylab"]["run"]["machine"]["processor"] = "another"
    runs = {"demo/one": Executed("demo/one", json.dumps(again), 1.0)}
    rows = comparison.compare(Project(root), {"demo/one": published}, runs)
    report = Report([], rows, 3, chapters=["demo/one"])
    words = (
        f"the verdict was published as supported (its firmness was {firmness:.2f}) and is now inconclusive"
    )
    assert report.holds is not fails
    for text in (verification.shown(report), to_markdown(report), to_html(report), to_junit(report)):
        assert words in text or (fails and "inconclusive" in text)
    assert ("it holds all the same" in verification.shown(report)) is not fails


@pytest.mark.slow
def test_the_shells_number_of_threads_makes_no_other_machine(root, surveylab, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    said = surveylab("verify")
    assert said.code == 0 and "not where it was published" not in said.out


@pytest.mark.slow
def test_a_library_that_gives_other_results_is_the_likely_cause(root, surveylab):
    replace(root / "src/tinylib/method.py", "return 3 +", "return -9 +")
    said = surveylab("verify")
    assert said.code == 1
    row = next(line for line in said.out.splitlines() if line.startswith("tiny-gain "))
    assert "DIFFERS" in row and "the code differs: library code changed: tinylib.method" in row
    assert "tiny-exact" in said.out and said.out.count("DIFFERS") == 1


@pytest.mark.slow
def test_versions_and_data_are_named_as_causes(root, page, surveylab, monkeypatch):
    monkeypatch.setenv("TINY_VERSION", "2")
    write_chapter(root, "demo/one", [cell.replace("0" * 64, "f" * 64) for cell in GOOD])
    replace(root / "src/tinylib/method.py", "return 3 +", "return 9 +")
    said = surveylab("verify")
    row = next(line for line in said.out.splitlines() if line.startswith("tiny-gain "))
    for cause in (
        "the data differ",
        "the code differs: code cells changed",
        "versions differ: tinylib 1 -> 2",
    ):
        assert cause in row


@pytest.mark.slow
def test_a_chapter_that_no_longer_runs_is_a_problem(root, page, surveylab):
    write_chapter(root, "demo/one", ["raise OSError('gone')"])
    before = page.read_bytes()
    said = surveylab("verify")
    assert said.code == 1
    assert "could not be executed again" in said.out and "OSError: gone" in said.out
    assert page.read_bytes() == before


@pytest.mark.slow
def test_a_claim_that_the_second_run_no_longer_checks(root, surveylab):
    write_chapter(root, "demo/one", GOOD[:-1])
    said = surveylab("verify")
    assert said.code == 1
    assert "tiny-paper is missing in the chapter as executed again" in said.out


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ([*GOOD, "run.check('tiny-paper')"], "tiny-paper: checked twice in one notebook"),
        (["x = 1"], "it says nothing about its run"),
    ],
)
@pytest.mark.slow
def test_a_second_run_that_cannot_be_compared_is_a_problem(root, surveylab, tmp_path, code, said):
    """It ran to its end, so only reading it tells; the rest of the verification goes on."""
    write_chapter(root, "demo/one", code)
    report = tmp_path / "report.json"
    answer = surveylab("verify", "--report", str(report))
    assert answer.code == 1 and "could not be executed again" in answer.out and said in answer.out
    assert json.loads(report.read_text())["complete"] is True


def test_a_chapter_that_was_never_run(root, page, surveylab):
    page.unlink()
    said = surveylab("verify")
    assert said.code == 1 and "was never run" in said.out


@pytest.mark.slow
def test_verify_mode_of_a_shell_does_not_reach_the_kernel(root, surveylab, monkeypatch):
    """Else a second run would repeat what is published and agree with anything."""
    monkeypatch.setenv("SURVEYLAB_VERIFY", "1")
    replace(root / "src/tinylib/method.py", "return 3 +", "return -9 +")
    assert surveylab("verify").code == 1


def test_the_error_budget_is_that_of_all_chapters_from_the_first_on(root, page, monkeypatch):
    """Else what is found of the first chapter could change when the others follow."""
    seen = []
    monkeypatch.setattr(comparison, "agreement", lambda *_, comparisons, **__: seen.append(comparisons))
    published = {"demo/one": read(page), "demo/two": read(page)}
    runs = {"demo/one": Executed("demo/one", page.read_text(encoding="utf-8"), 1.0)}
    comparison.compare(Project(root), published, runs)
    assert seen == [4, 4, 4]


@pytest.mark.slow
def test_one_error_budget_over_all_claims(root, monkeypatch):
    seen = []
    real = comparison.agreement

    def watch(*arguments: Any, comparisons: int, **options: Any) -> Any:
        seen.append(comparisons)
        return real(*arguments, comparisons=comparisons, **options)

    monkeypatch.setattr(comparison, "agreement", watch)
    assert execute(["verify"]) == 0
    # Three claims, one of which rests on a source and has no values to compare.
    assert seen == [2, 2, 2]
    assert record.evidence_of(read(root / "book/demo/one.ipynb")).keys() == {
        "tiny-gain",
        "tiny-exact",
        "tiny-paper",
    }


def test_a_report_that_could_not_be_written_is_refused_before_anything_is_executed(root, surveylab, tmp_path):
    said = surveylab("verify", "--report", str(tmp_path / "report.txt"))
    assert said.code == 2 and "the form follows from the suffix" in said.err and said.out == ""


def test_an_interrupted_verification_leaves_what_it_found(root, surveylab, tmp_path, monkeypatch):
    write_chapter(root, "demo/two", GOOD[:1])
    assert surveylab("run", "demo/two").code == 0
    real = verification.execute_all

    def cut_short(tasks: Any, executor: Any) -> Any:
        yield next(real(tasks, executor))
        raise KeyboardInterrupt

    monkeypatch.setattr(verification, "execute_all", cut_short)
    path = tmp_path / "report.json"
    said = surveylab("verify", "--report", str(path), "--report", str(tmp_path / "report.html"))
    assert said.code == 130
    left = json.loads(path.read_text(encoding="utf-8"))
    assert left["complete"] is False and len(left["waiting"]) == 1
    assert {claim["claim"] for claim in left["claims"]} == {"tiny-gain", "tiny-exact", "tiny-paper"}
    assert "Not finished" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_values_of_another_seed_under_another_processors_name_are_named(root, page):
    """Consistent in themselves, and with the mean that was asked for: only the replicates tell."""
    published, again = read(page), read(page)
    output = card(published, "tiny-gain")["metadata"]["surveylab"]
    output["values"] = [row[::-1] for row in output["values"]]  # the same mean to the digit
    for found in published["cells"][3]["outputs"]:
        found["metadata"]["surveylab"]["run"]["machine"]["processor"] = "another"
    runs = {"demo/one": Executed("demo/one", json.dumps(again), 1.0)}
    (row, *_) = comparison.compare(Project(root), {"demo/one": published}, runs)
    assert row.difference is not None
    assert row.difference.startswith("tiny-gain: these are not the values of seed 0")
