"""The policy by which nbval compares: what it catches and what it passes over, on a chapter in miniature."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_project import GOOD, make_project, read, write_chapter, write_notebook

from surveylab.press.cli import execute

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("reexecute.py")

# The cells of the chapter. The names are of use to this file only.
CELLS = dict(zip(("begin", "tune", "gain", "exact", "paper"), GOOD, strict=True)) | {
    "imports": "from IPython.display import HTML, Markdown, display",
    "html": "display(HTML('<p>loss <b>0.531</b></p><svg><path d=\"M 1.5 2\"/></svg>'))",
    "computed": "display(Markdown('The loss falls by 0.531 within 12 steps.<!-- computed -->'))",
    "bold": "display(Markdown('The loss falls by **0.531** points.'))",
    "table": "display(Markdown('| arm | loss |\\n|---|---|\\n| batch 8 | 0.531 |'))",
    "plain": "print('by hand: 0.531')",
    "last": "x = 1",
}

# Name of a page: the changes to what its cells show, and the cells that nbval must then object to.
OTHER_MACHINE = [
    ("html", "0.531", "-1.2e-05"),
    ("html", "M 1.5 2", "M 1.625 2"),
    ("computed", "0.531 within 12", "0.529 within 11"),
    ("bold", "0.531", "0.529"),
    ("table", "0.531", "0.529"),
]
TAMPERED = [
    ("gain", "tiny-gain: supported", "tiny-gain: contradicted"),
    ("exact", "sl-supported", "sl-contradicted"),
    ("paper", "tiny-paper: cited", "tiny-paper: supported"),
    ("html", "loss", "gain"),
    ("computed", "falls", "rises"),
    ("bold", "falls", "rises"),
    ("plain", "0.531", "0.532"),
]
PAGES: dict[str, tuple[list[tuple[str, str, str]], set[str]]] = {
    "one": ([], set()),
    "other_machine": (OTHER_MACHINE, set()),
    "tampered": (TAMPERED, {cell for cell, _, _ in TAMPERED}),
}


def cell_of(notebook: Any, name: str) -> Any:
    number = list(CELLS).index(name)
    return next(cell for cell in notebook["cells"] if cell["id"] == f"code-{number}")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the page as published, and changed ones beside it."""
    root = make_project(tmp_path_factory.mktemp("book"))
    write_chapter(root, "demo/one", list(CELLS.values()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SURVEYLAB_ROOT", str(root))
        assert execute(["run"]) == 0
    page = root / "book/demo/one.ipynb"
    for name, (changes, _) in PAGES.items():
        notebook = read(page)
        for cell, old, new in changes:
            # As text, so that every place that shows it changes; the page itself stays a notebook.
            shown = json.dumps(cell_of(notebook, cell)["outputs"], ensure_ascii=False)
            assert old in shown
            cell_of(notebook, cell)["outputs"] = json.loads(shown.replace(old, new))
        write_notebook(page.with_name(f"{name}.ipynb"), notebook)
    full = root / "book/full/demo/one.ipynb"
    full.parent.mkdir(parents=True)
    full.write_bytes(page.with_name("tampered.ipynb").read_bytes())
    return root


def reexecute(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SURVEYLAB_ROOT": str(root)}
    call = [sys.executable, str(SCRIPT), *options]
    return subprocess.run(call, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def answer(root: Path) -> subprocess.CompletedProcess[str]:
    """One call over all pages."""
    return reexecute(root, "-rfp", "--color=no")


@pytest.mark.parametrize("name", PAGES)
def test_tampering_is_caught_and_other_digits_are_passed_over(root, answer, name):
    code = [cell for cell in read(root / f"book/demo/{name}.ipynb")["cells"] if cell["cell_type"] == "code"]
    found = re.findall(
        rf"^(FAILED|PASSED) book/demo/{name}\.ipynb::Cell (\d+)", answer.stdout, flags=re.MULTILINE
    )
    assert len(found) == len(code), answer.stdout
    failed = {code[int(number)]["id"] for result, number in found if result == "FAILED"}
    assert failed == {f"code-{list(CELLS).index(cell)}" for cell in PAGES[name][1]}


def test_the_exit_code_and_the_message(answer):
    assert answer.returncode == 1
    assert "tiny-gain: contradicted" in answer.stdout and "tiny-gain: supported" in answer.stdout


def test_full_editions_are_left_out(answer):
    assert "book/full" not in answer.stdout


def test_an_honest_page_passes_and_a_broken_one_fails(root):
    page = root / "book/demo/one.ipynb"
    assert reexecute(root, str(page), "-q").returncode == 0
    notebook = read(page)
    cell_of(notebook, "paper")["outputs"] = []
    cell_of(notebook, "last")["source"] = "raise ValueError('broken')"
    broken = page.with_name("broken.ipynb")
    write_notebook(broken, notebook)
    done = reexecute(root, str(broken), "-q")
    broken.unlink()
    assert done.returncode == 1 and "2 failed" in done.stdout and "broken" in done.stdout


def test_nothing_published_is_no_success(tmp_path):
    done = reexecute(make_project(tmp_path))
    assert done.returncode == 1 and "no published chapter" in done.stderr
