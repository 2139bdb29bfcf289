"""`surveylab run` and `status`: what is published, when, and that nothing else is touched."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from tiny_project import GOOD, card, outputs, read, write_chapter, write_notebook

from surveylab.claims import provenance_of, publication_seed, run_of
from surveylab.press.run import publish


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


# With it a term of a claim may change.
TOLD = f"history: [{{date: {datetime.now(UTC).date()}, change: It was another one, why: A review}}]"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# --------------------------------------------------------------------------------------------- what is
# published


def test_the_published_notebook_is_the_source_with_outputs(published):
    source, page = read(published / "notebooks/demo/one.ipynb"), read(published / "book/demo/one.ipynb")
    added = page["cells"].pop(2)
    assert added["id"] == "injected-parameters"
    assert added["metadata"] == {"tags": ["injected-parameters", "remove-cell"]}
    assert "".join(added["source"]).splitlines() == [
        "# Parameters",
        'profile = "standard"',
        "seed = 0",
        'device = "auto"',
    ]
    for ours, theirs in zip(source["cells"], page["cells"], strict=True):
        for key in ("id", "cell_type", "metadata", "source"):
            assert theirs[key] == ours[key]
    # nbval passes over cells without a count.
    counts = [cell["execution_count"] for cell in page["cells"] if cell["cell_type"] == "code"]
    assert counts == [1, 3, 4, 5, 6, 7]
    assert page["cells"][5]["outputs"][-1] == {
        "name": "stdout",
        "output_type": "stream",
        "text": ["two\n", "lines\n"],
    }
    assert card(page, "tiny-gain")["data"]["text/plain"] == ["tiny-gain: supported"]


def test_the_provenance_is_complete_and_nothing_else_differs_between_machines(published):
    path = published / "book/demo/one.ipynb"
    stored = provenance_of(read(path))
    assert set(stored) == {
        "fingerprint",
        "parts",
        "profile",
        "seed",
        "device",
        "executed",
        "duration",
        "machine",
        "versions",
        "data",
        "terms",
    }
    assert stored["data"] == {"tiny": "0" * 64}
    assert stored["machine"]["threads"] == 1
    assert stored["profile"] == "standard" and stored["seed"] == 0 and stored["device"] == "cpu"
    assert read(path)["metadata"].keys() == {"kernelspec", "language_info", "surveylab"}
    assert "version" not in read(path)["metadata"]["language_info"]
    text = path.read_text()
    assert str(published) not in text and "/tmp/" not in text and "papermill" not in text


def test_nothing_else_is_written(published):
    assert not (published / "_build").exists()
    assert {p for p in files(published / "book") if not p.startswith("demo/one")} == {
        "claims/demo/one.yml",
        "references.bib",
    }


def test_two_runs_give_the_same_file_but_for_the_provenance(root, page, surveylab):
    before = page.read_text().splitlines()
    assert surveylab("run", "--force").code == 0
    after = page.read_text().splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert all(line.strip().startswith(('"executed"', '"duration"')) for line in changed)


# ------------------------------------------------------------------------------------------------- fresh or
# stale


def test_fresh_chapters_are_left_alone(root, page, surveylab):
    before = page.stat()
    said = surveylab("run")
    assert (said.code, said.out) == (0, "demo/one: fresh\n")
    assert page.stat().st_mtime_ns == before.st_mtime_ns
    said = surveylab("status")
    assert said.code == 0
    assert "demo/one  fresh" in said.out and "2 supported, 1 cited" in said.out


def test_a_fresh_chapter_is_executed_on_another_device_if_asked(root, page, surveylab, monkeypatch):
    asked = []

    def execute_all(tasks, executor):
        asked.extend(tasks)
        yield from ()

    monkeypatch.setattr(publish, "execute_all", execute_all)
    assert surveylab("run", "--device", "cpu").out == "demo/one: fresh\n"  # that is where it ran
    assert not asked
    surveylab("run", "--device", "cuda")
    assert [task.parameters["device"] for task in asked] == ["cuda"]


@pytest.mark.parametrize(
    ("file", "old", "new", "why"),
    [
        ("src/tinylib/method.py", "return 3 +", "return 4 +", "library code changed: tinylib.method"),
        ("notebooks/demo/one.ipynb", "'two'", "'2'", "code cells changed"),
        (
            "book/claims/demo/one.yml",
            "margin: 1.0",
            f"margin: 1.5\n  {TOLD}",
            "changed in what is judged: tiny-gain",
        ),
        ("book/demo/one.ipynb", "seed = 0", "seed = 9", "injected parameters say seed = 9"),
        ("book/demo/one.ipynb", "print('two", "print('TWO", "cell 6 (code) of the published chapter"),
        ("book/demo/one.ipynb", '"verdict": "supported"', '"verdict": "contradicted"', "tiny-gain: verdict"),
    ],
)
def test_status_says_why_a_chapter_is_stale(root, surveylab, file, old, new, why):
    replace(root / file, old, new)
    said = surveylab("status")
    assert said.code == 1
    assert "stale" in said.out and why in said.out


def test_a_stale_chapter_is_executed_and_then_fresh(root, page, surveylab):
    replace(root / "src/tinylib/method.py", "return 3 +", "return 0 *")
    said = surveylab("run", "one")
    assert said.code == 0 and "executed in" in said.out
    assert card(read(page), "tiny-gain")["metadata"]["surveylab"]["verdict"] != "supported"
    assert surveylab("status").code == 0


def test_wording_is_carried_over_without_executing(root, page, surveylab):
    replace(
        root / "book/claims/demo/one.yml",
        "says: The method gains.",
        f"says: The method gains a lot.\n  {TOLD}",
    )
    replace(root / "notebooks/demo/one.ipynb", "# demo/one", "# A better title")
    before = read(page)
    said = surveylab("status")
    assert said.code == 1 and "reworded" in said.out
    said = surveylab("run")
    assert said.code == 0 and "without executing" in said.out
    after = read(page)
    assert "gains a lot" in "".join(card(after, "tiny-gain")["data"]["text/markdown"])
    assert after["cells"][0]["source"] == ["# A better title"]
    assert provenance_of(after)["executed"] == provenance_of(before)["executed"]
    assert surveylab("verify", "--recompute-only").code == 0
    assert surveylab("run").out == "demo/one: fresh\n"


@pytest.mark.parametrize(
    "words",
    [
        "note: It was close.",
        "scope: Small inputs.",
        "history: [{date: 2026-01-31, change: It was 1, why: Typed}]",
    ],
)
def test_a_note_or_scope_or_history_added_to_a_claim_executes_nothing(root, page, surveylab, words):
    before = read(page)
    replace(root / "book/claims/demo/one.yml", "margin: 1.0", f"margin: 1.0\n  {words}")
    said = surveylab("status")
    assert said.code == 0 and "demo/one  fresh" in said.out  # the build shows it from the claims
    assert surveylab("run").out == "demo/one: fresh\n"
    assert read(page) == before
    assert surveylab("verify", "--recompute-only").code == 0


def test_a_sentence_that_changed_is_carried_over_without_executing(root, page, surveylab):
    before = read(page)
    replace(
        root / "book/claims/demo/one.yml",
        "says: The method gains.",
        f"says: The method wins.\n  {TOLD}",
    )
    said = surveylab("status")
    assert "demo/one  reworded" in said.out
    assert "demo/one: tiny-gain: 'The method gains.' -> 'The method wins.'\n" in said.out
    assert "demo/one: wording of claims changed: tiny-gain; nothing to execute\n" in said.out
    assert "without executing" in surveylab("run").out
    after = read(page)
    assert provenance_of(after)["executed"] == provenance_of(before)["executed"]
    changed = [i for i, (a, b) in enumerate(zip(outputs(before), outputs(after), strict=True)) if a != b]
    assert [outputs(after)[i]["metadata"]["surveylab"]["claim"] for i in changed] == ["tiny-gain"]
    assert surveylab("verify", "--recompute-only").code == 0


def test_status_fails_if_any_chapter_is_stale_the_first_included(root, page, surveylab):
    write_chapter(root, "demo/two", [GOOD[0]])
    assert surveylab("run", "demo/two").code == 0
    replace(root / "notebooks/demo/one.ipynb", "'two'", "'2'")
    said = surveylab("status")
    assert "demo/one  stale" in said.out and "demo/two  fresh" in said.out
    assert said.code == 1


def test_a_tag_added_to_a_source_reaches_the_page_without_executing(root, page, surveylab):
    path = root / "notebooks/demo/one.ipynb"
    source = read(path)
    source["cells"][3]["metadata"] = {"tags": ["hide-input"]}
    write_notebook(path, source)
    assert "without executing" in surveylab("run").out
    assert read(page)["cells"][4]["metadata"] == {"tags": ["hide-input"]}


@pytest.mark.slow
def test_a_tampered_card_is_not_carried_over_but_executed_again(root, page, surveylab):
    notebook = read(page)
    card(notebook, "tiny-gain")["metadata"]["surveylab"]["verdict"] = "contradicted"
    card(notebook, "tiny-gain")["data"]["text/plain"] = ["tiny-gain: contradicted"]
    write_notebook(page, notebook)
    assert "executed in" in surveylab("run").out
    assert card(read(page), "tiny-gain")["data"]["text/plain"] == ["tiny-gain: supported"]


@pytest.mark.parametrize(
    ("content", "why"),
    [("{", "not JSON"), ('{"a": 1}', "not a notebook"), ("[]", "not a notebook"), (b"\xff\xfe", "not UTF-8")],
)
def test_an_unreadable_published_notebook_is_said_and_replaced(root, page, surveylab, content, why):
    page.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = surveylab("status")
    assert said.code == 1 and "unreadable" in said.out and why in said.out
    said = surveylab("verify")
    assert said.code == 1 and why in said.out
    said = surveylab("replicate", "--seed", "3")
    assert said.code == 1 and why in said.out
    assert page.read_bytes() == (content if isinstance(content, bytes) else content.encode())


@pytest.mark.slow
def test_an_unreadable_published_notebook_is_replaced_by_a_run(root, page, surveylab):
    page.write_text("{")
    assert surveylab("run").code == 0
    assert surveylab("status").code == 0


def test_a_notebook_the_press_did_not_write_is_stale(root, page, surveylab):
    notebook = read(page)
    del notebook["metadata"]["surveylab"]
    write_notebook(page, notebook)
    said = surveylab("status")
    assert said.code == 1 and "no provenance" in said.out


# ------------------------------------------------------------------------------------------ profiles, seeds,
# places


@pytest.mark.slow
def test_smoke_and_other_runs_never_touch_the_book(root, surveylab):
    before = files(root / "book")
    assert surveylab("run", "--profile", "smoke").code == 0
    smoke = root / "_build/smoke/demo/one.ipynb"
    assert (run_of(read(smoke)) or {})["profile"] == "smoke"
    assert card(read(smoke), "tiny-gain")["data"]["text/plain"] == ["tiny-gain: not-decided"]
    assert surveylab("run", "--profile", "smoke").out == "demo/one: fresh\n"
    assert surveylab("run", "--seed", "7").code == 0
    assert (run_of(read(root / "_build/standard-seed-7/demo/one.ipynb")) or {})["seed"] == 7
    assert surveylab("run", "--output", str(root / "elsewhere")).code == 0
    assert (root / "elsewhere/demo/one.ipynb").exists()
    assert files(root / "book") == before


@pytest.mark.slow
def test_a_chapter_with_an_edition_is_published_on_the_seed_that_follows_from_it(root, surveylab):
    claims = root / "book/claims/demo/one.yml"
    told = f"  history: [{{date: {date.today()}, change: another design, why: it is a test}}]\n"
    replace(claims, "- id: tiny-gain\n", f"- id: tiny-gain\n  edition: 1\n{told}")
    seed = publication_seed("demo/one", 1)
    assert seed > 0
    said = surveylab("run")
    assert said.code == 0 and "-> book/demo/one.ipynb" in said.out
    page = read(root / "book/demo/one.ipynb")
    assert (run_of(page) or {})["seed"] == provenance_of(page)["seed"] == seed
    assert surveylab("status").code == 0
    assert surveylab("run", "--seed", str(seed)).out == "demo/one: fresh\n"
    before = files(root / "book")
    assert surveylab("run", "--seed", "0").code == 0
    assert (root / "_build/standard-seed-0/demo/one.ipynb").exists() and files(root / "book") == before
    replace(claims, "edition: 1", "edition: 2")
    assert "another profile or seed" in surveylab("status").out


@pytest.mark.slow
def test_full_editions_lie_beside_the_standard_ones_and_are_dated_never_stale(root, page, surveylab):
    before = page.read_bytes()
    assert surveylab("run", "--profile", "full").code == 0
    assert (root / "book/full/demo/one.ipynb").exists() and page.read_bytes() == before
    said = surveylab("status")
    assert said.code == 0 and "demo/one (full)  dated" in said.out
    assert surveylab("verify", "--recompute-only").code == 0
    replace(
        root / "book/claims/demo/one.yml",
        "says: The method gains.",
        f"says: The method gains a lot.\n  {TOLD}",
    )
    assert surveylab("run").code == 0
    assert surveylab("verify", "--recompute-only").code == 0
    replace(root / "book/full/demo/one.ipynb", '"verdict": "supported"', '"verdict": "contradicted"')
    said = surveylab("verify", "--recompute-only")
    assert said.code == 1 and "demo/one (full): tiny-gain: verdict" in said.out


@pytest.mark.slow
def test_a_candidate_is_imported_from_where_the_reader_is(root, surveylab, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("class Method:\n    name = 'my own'\n")
    monkeypatch.chdir(tmp_path)
    shown = (
        "import importlib\nif candidate:\n    module, name = candidate.split(':')\n"
        "    print(getattr(importlib.import_module(module), name).name)"
    )
    write_chapter(root, "demo/one", [*GOOD, shown])
    before = files(root / "book")
    said = surveylab("run", "--profile", "smoke", "--candidate", "mine:Method")
    assert said.code == 0
    page = read(root / "_build/smoke-candidate/demo/one.ipynb")
    assert outputs(page)[-1]["text"] == ["my own\n"]
    assert files(root / "book") == before


@pytest.mark.slow
def test_what_a_candidate_reached_is_shown_at_the_end(root, surveylab, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("class Method:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    table = "arm   mean (points)\nBN    83.6\nMine  84.1"
    shown = (
        "from IPython.display import display\nif candidate:\n    display({'text/plain': 'x'}, raw=True, "
        f"metadata={{'surveylab': {{'table': {table!r} + candidate}}}})"
    )
    write_chapter(root, "demo/one", [*GOOD, shown])
    said = surveylab("run", "--profile", "smoke", "--candidate", "mine:Method?eps=1e-3")
    assert said.code == 0
    assert said.out.rstrip().endswith("one.ipynb\n\n" + table + "mine:Method?eps=1e-3")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "ci", "expected"),
    [([], "", "_build/cache"), (["--no-cache"], "", ""), ([], "true", "")],
)
def test_arms_are_kept_between_an_authors_runs_and_never_in_ci(
    root, surveylab, monkeypatch, options, ci, expected
):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("SURVEYLAB_CACHE", "/somewhere/else")  # only the command decides
    write_chapter(root, "demo/one", [*GOOD, "import os\nprint(os.environ.get('SURVEYLAB_CACHE', '-')[-12:])"])
    assert surveylab("run", "--profile", "smoke", *options).code == 0
    page = read(root / "_build/smoke/demo/one.ipynb")
    assert outputs(page)[-1]["text"] == [f"{expected or '-'}\n"]


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_stopped(root, surveylab):
    """Chapters that are finished stay and are skipped: only the missing one is executed."""
    write_chapter(root, "demo/two", ["import tinylib\nrun = tinylib.Run('{chapter}', profile, seed, device)"])
    said = surveylab("run")
    assert said.code == 0
    assert said.out.startswith("demo/one: fresh\ndemo/two: executed in")
    shutil.rmtree(root / "book/demo")
    said = surveylab("run", "two")
    assert said.out.count("executed") == 1 and (root / "book/demo/two.ipynb").exists()


@pytest.mark.slow
def test_output_is_quiet_where_nobody_watches(root, surveylab):
    said = surveylab("run", "--force")
    assert said.err == ""
    assert said.out.count("\n") == 1 and "\r" not in said.out


def test_published_json_is_laid_out_as_nbformat_does(published):
    import nbformat

    path = published / "book/demo/one.ipynb"
    node = nbformat.read(path, as_version=4)
    nbformat.validate(node)
    assert nbformat.writes(node) + "\n" == path.read_text(encoding="utf-8")
    assert json.loads(path.read_text())["nbformat_minor"] == 5
