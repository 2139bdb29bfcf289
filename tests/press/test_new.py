"""`surveylab new`: a chapter that runs at once and appears in the book, with nothing to register by hand."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from surveylab.claims import ClaimError, load_claims

ROOT = Path(__file__).parents[2]
CHAPTER = "adaptive/activations"
WRITTEN = {
    f"notebooks/{CHAPTER}.ipynb",
    f"book/claims/{CHAPTER}.yml",
    "tests/adaptive/test_activations.py",
    "src/surveylab/adaptive/__init__.py",
}
STATEMENTS = {"act-shape", "act-prelu", "act-swish", "act-acon", "act-capacity"}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with its library and its pages, before the first chapter of section B."""
    root = tmp_path / "checkout"
    no_chapters = shutil.ignore_patterns("*.ipynb", "normalization", "adaptive", "__pycache__", "tuning")
    shutil.copytree(ROOT / "book", root / "book", ignore=no_chapters)
    (root / "book/claims").mkdir(exist_ok=True)
    left_out = shutil.ignore_patterns("__pycache__", "adaptive", "*.egg-info")
    shutil.copytree(ROOT / "src", root / "src", ignore=left_out)
    shutil.copy(ROOT / "_config.yml", root)
    monkeypatch.setenv("SURVEYLAB_ROOT", str(root))
    return root


def files(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_it_writes_what_a_chapter_needs_and_says_so(checkout, surveylab):
    before = files(checkout)
    said = surveylab("new", CHAPTER)
    assert said.code == 0 and "5 statements" in said.out
    assert files(checkout) - before == WRITTEN
    assert all(path in said.out for path in WRITTEN)
    with (checkout / "src/surveylab/adaptive/__init__.py").open("a") as file:
        file.write("# mine\n")
    # A second chapter of the section leaves its package as it is.
    assert surveylab("new", "adaptive/optimizers").code == 0
    assert "# mine" in (checkout / "src/surveylab/adaptive/__init__.py").read_text()
    assert len(files(checkout) - before) == len(WRITTEN) + 3


def test_what_is_there_is_never_overwritten(checkout, surveylab):
    mine = checkout / f"book/claims/{CHAPTER}.yml"
    mine.parent.mkdir()
    mine.write_text("# mine\n")
    before = files(checkout)
    said = surveylab("new", CHAPTER)
    assert said.code == 2 and f"book/claims/{CHAPTER}.yml is there already" in said.err
    assert files(checkout) == before and mine.read_text() == "# mine\n"


def test_a_test_that_was_written_first_stays(checkout, surveylab):
    mine = checkout / "tests/adaptive/test_activations.py"
    mine.parent.mkdir(parents=True)
    mine.write_text("# mine\n")
    before = files(checkout)
    said = surveylab("new", CHAPTER)
    assert said.code == 0 and "tests/adaptive/test_activations.py was there and stays" in said.out
    assert files(checkout) - before == WRITTEN - {"tests/adaptive/test_activations.py"}
    assert mine.read_text() == "# mine\n"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("activations", "write section/chapter"),
        ("adaptive/More", "write section/chapter"),
        ("adaptive/a/b", "write section/chapter"),
        ("../adaptive/activations", "write section/chapter"),
        ("adaptive/class", "write section/chapter"),
        ("lab/waves", "lab is a folder of the book or of its library"),
        (
            "adaptive/activation",
            "did you mean adaptive/activations? A chapter begins in book/review_text.yml",
        ),
    ],
)
def test_a_name_that_will_not_do(checkout, surveylab, name, said):
    before = files(checkout)
    answer = surveylab("new", name)
    assert answer.code == 2 and said in answer.err
    assert files(checkout) == before


def test_the_source_is_as_the_book_wants_it(checkout, surveylab):
    """The rules of tests/book/test_sources.py, which sees only what is in the tree."""
    surveylab("new", CHAPTER)
    surveylab("new", "robustness/robust_architectures")  # the longest name
    notebook = json.loads((checkout / f"notebooks/{CHAPTER}.ipynb").read_text())
    cells = {cell["id"]: "".join(cell["source"]) for cell in notebook["cells"]}
    assert list(cells)[:5] == ["title", "on-your-own", "imports", "parameters", "begin"]
    assert list(cells)[-3:] == ["summary-prose", "summary", "exercises"]
    assert cells["title"].startswith("# Adaptive activations\n")
    assert "PReLU learns the slope of its negative side. {cite:p}`he2015delving`" in cells["title"]
    assert f"`book/{CHAPTER}.ipynb`" in cells["on-your-own"] and "{cite:p}" in cells["on-your-own"]
    given = {n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse(cells["parameters"]).body}
    assert given == {"profile": "standard", "seed": 0, "device": "auto", "candidate": None}
    path = checkout / "notebooks/ruff.toml"
    shutil.copy(ROOT / "notebooks/ruff.toml", path)
    shutil.copy(ROOT / "pyproject.toml", checkout)
    ruff = Path(sys.executable).with_name("ruff")
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [ruff, *check, "notebooks", "tests", "src/surveylab/adaptive"],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_claims_to_write_are_those_of_the_review(checkout, surveylab):
    surveylab("new", CHAPTER)
    path = checkout / f"book/claims/{CHAPTER}.yml"
    assert load_claims(checkout / "book/claims") == {}
    entries = path.read_text()[path.read_text().index("# - id: ") :]
    written = re.sub(r"(?m)^# ", "", entries)
    path.write_text(written)
    with pytest.raises(
        ClaimError, match=r"activations\.yml:5: claim act-shape: `kind` is missing; choose one of"
    ):
        load_claims(checkout / "book/claims")
    for key, value in {
        "kind": "experiment",
        "effect": "It.",
        "unit": "points",
        "margin": "1",
        "why": "So.",
    }.items():
        written = written.replace(f"  {key}:\n", f"  {key}: {value}\n")
    path.write_text(written)
    claims = load_claims(checkout / "book/claims", bibliography=checkout / "book/references.bib")
    assert {statement for claim in claims.values() for statement in claim.covers} == STATEMENTS
    assert {claim.chapter for claim in claims.values()} == {CHAPTER}


@pytest.mark.slow
def test_the_new_chapter_runs_at_smoke_at_once(checkout, surveylab):
    surveylab("new", CHAPTER)
    said = surveylab("run", CHAPTER, "--profile", "smoke")
    assert said.code == 0, said.out + said.err
    page = json.loads((checkout / f"_build/smoke/{CHAPTER}.ipynb").read_text())
    assert all(cell["execution_count"] for cell in page["cells"] if cell["cell_type"] == "code")


@pytest.mark.slow
def test_a_chapter_is_six_files_and_a_section_one_and_the_book_shows_them(checkout, surveylab):
    """From the command to the page: one claim, one method, its test; then publish and build."""
    before = files(checkout)
    surveylab("new", CHAPTER)
    package = checkout / "src/surveylab/adaptive"
    (package / "swish.py").write_text(
        '"""Swish: an input times its own sigmoid."""\n\nfrom torch import Tensor\n\n\n'
        'def swish(x: Tensor) -> Tensor:\n    """``x * sigmoid(x)``, of any shape."""\n'
        "    return x * x.sigmoid()\n"
    )
    (package / "__init__.py").write_text(
        '"""Adaptive mechanisms."""\n\nfrom surveylab.adaptive.swish import swish\n\n__all__ = ["swish"]\n'
    )
    claim = {"id": "act-swish", "says": "Swish gates itself.", "covers": ["act-swish"], "kind": "identity"}
    claim |= {"effect": "Largest difference.", "unit": "units", "margin": 1e-6, "why": "Rounding."}
    (checkout / f"book/claims/{CHAPTER}.yml").write_text(yaml.safe_dump([claim]))
    path = checkout / f"notebooks/{CHAPTER}.ipynb"
    notebook = json.loads(path.read_text())
    (begin,) = (cell for cell in notebook["cells"] if cell["id"] == "begin")
    check = "import torch\n\nfrom surveylab.adaptive import swish\n\nx = torch.randn(100)\n"
    check += "lab.check('act-swish', (swish(x) - torch.nn.functional.silu(x)).abs())"
    notebook["cells"].insert(5, {**begin, "id": "check", "source": check})
    path.write_text(json.dumps(notebook))
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    for command in (["run"], ["build"]):
        done = subprocess.run(
            [sys.executable, "-c", "from surveylab.press.cli import main; main()", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    touched = {name for name in files(checkout) - before if not name.startswith("_build/")}
    section = {"src/surveylab/adaptive/__init__.py"}
    assert touched - section == {
        f"notebooks/{CHAPTER}.ipynb",
        f"book/claims/{CHAPTER}.yml",
        f"book/{CHAPTER}.ipynb",
        "src/surveylab/adaptive/swish.py",
        "tests/adaptive/test_activations.py",
    }  # and book/tuning/adaptive/activations.json where the chapter tunes: six
    html = checkout / "_build/html"
    front, page = ((html / name).read_text() for name in ("intro.html", f"{CHAPTER}.html"))
    assert f'href="{CHAPTER}.html"' in front and "Adaptive mechanisms" in front
    assert 'href="../api/adaptive.html#surveylab.adaptive.swish"' in page
    assert 'id="claim-act-swish"' in page and "supported" in page
    assert f"../{CHAPTER}.html" in (html / "api/adaptive.html").read_text()
