"""What makes a chapter stale, and what does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_project import make_project, read, write_notebook

from surveylab.press.project import PressError, Project
from surveylab.press.run.fingerprint import Fingerprint, fingerprint


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def taken(root: Path, **options: object) -> Fingerprint:
    # A new project each time: it remembers the claims it has read.
    return fingerprint(Project(root), "demo/one", **options)  # type: ignore[arg-type]


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_same_tree_same_fingerprint(root):
    assert taken(root) == taken(root)
    assert len(taken(root).digest) == 64


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("src/tinylib/method.py", "return 3 +", "return 4 +", "library code changed: tinylib.method"),
        ("src/tinylib/__init__.py", "1e-6", "2e-6", "library code changed: tinylib"),
        ("notebooks/demo/one.ipynb", "1e-7", "2e-7", "code cells changed"),
        (
            "book/claims/demo/one.yml",
            "margin: 1.0",
            "margin: 1.1",
            "claims changed in what is judged: tiny-gain",
        ),
        ("book/claims/demo/one.yml", "id: tiny-exact", "id: tiny-same", "claims added: tiny-same"),
    ],
)
def test_a_change_is_named(root, file, old, new, named):
    before = taken(root)
    replace(root / file, old, new)
    assert named in taken(root).changes(before.parts)
    assert taken(root).digest != before.digest


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("src/tinylib/method.py", "# a comment", "# another"),
        ("src/tinylib/method.py", "How much one replicate gains.", "Its gain."),
        ("src/tinylib/method.py", "Stands for a method.", "Stands for one."),
        ("book/claims/demo/one.yml", "says: The method gains.", "says: The method gains much."),
        ("book/claims/demo/one.yml", "why: Rounding.", "why: Rounding, no more."),
        ("book/claims/demo/one.yml", "why: Rounding.", "why: Rounding.\n  note: It was close."),
        ("book/claims/demo/one.yml", "why: Rounding.", "why: Rounding.\n  scope: Small inputs."),
        (
            "book/claims/demo/one.yml",
            "why: Rounding.",
            "why: Rounding.\n  history: [{date: 2026-01-31, change: It was 1, why: Typed}]",
        ),
    ],
)
def test_comments_docstrings_and_wording_do_not_count(root, file, old, new):
    before = taken(root)
    replace(root / file, old, new)
    assert taken(root) == before


def test_text_cells_change_the_fingerprint_but_need_no_execution(root):
    before = taken(root)
    replace(root / "notebooks/demo/one.ipynb", "# demo/one", "# Demo")
    assert taken(root).digest != before.digest
    assert taken(root).changes(before.parts) == []


def test_a_module_nobody_imports_does_not_count(root):
    before = taken(root)
    (root / "src/tinylib/other.py").write_text("x = 1\n")
    assert taken(root) == before


def test_tuning_counts_by_content(root):
    before = taken(root)
    path = root / "book/tuning/demo/one.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"arm": {"rate": 0.1, "grid": [0.1]}}))
    first = taken(root)
    assert first.changes(before.parts) == ["learning rates changed"]
    path.write_text(json.dumps({"arm": {"grid": [0.1], "rate": 0.1}}, indent=4))
    assert taken(root) == first
    path.write_text(json.dumps({"arm": {"grid": [0.1], "rate": 0.2}}))
    assert taken(root).changes(first.parts) == ["learning rates changed"]
    path.write_text("{")
    with pytest.raises(PressError, match=r"not JSON.*surveylab tune"):
        taken(root)


def test_parameters_count_and_the_device_is_none(root):
    before = taken(root)
    assert taken(root, seed=1).changes(before.parts) == ["another profile or seed"]
    assert taken(root, profile="full").changes(before.parts) == ["another profile or seed"]


def test_another_chapters_claim_does_not_count(root):
    before = taken(root)
    (root / "notebooks/demo/two.ipynb").write_bytes((root / "notebooks/demo/one.ipynb").read_bytes())
    text = (root / "book/claims/demo/one.yml").read_text()
    claim = text[text.index("- id: tiny-paper") :].replace("tiny-paper", "other")
    (root / "book/claims/demo/two.yml").write_text(claim)
    assert taken(root) == before


def test_the_code_that_judges_counts_and_the_press_never(root):
    rules = (
        "verdict",
        "values",
        "intervals",
        "evidence",
        "arms",
        "budget",
        "reasons",
        "firmness",
        "planning",
    )
    judging = {f"surveylab.claims.{name}" for name in rules}
    assert set(taken(root).parts["library"]) == {"tinylib", "tinylib.method"} | judging


def test_a_library_that_cannot_be_parsed_is_named(root):
    (root / "src/tinylib/method.py").write_text("def gain(:\n")
    with pytest.raises(PressError, match=r"method\.py:1: not Python"):
        taken(root)


def test_only_the_layout_of_a_source_changed(root):
    before = taken(root)
    path = root / "notebooks/demo/one.ipynb"
    notebook = read(path)
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    path.write_text(json.dumps(notebook))
    assert taken(root) == before
    write_notebook(path, notebook)
    assert taken(root) == before
