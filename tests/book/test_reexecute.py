"""Re-execution: what nbval catches and what it passes over, on a chapter in miniature; whose turn it is."""

from __future__ import annotations

import heapq
import json
import os
import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from book.reexecute import Chapter, Supply, due, in_order, last_due
from tiny_project import GOOD, make_project, read, write_chapter, write_notebook

from surveylab.press.cli import execute

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
    ("exact", "**✓ supported**", "**✗ contradicted**"),
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


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_tampering_is_caught_and_other_digits_are_passed_over(root, answer, name):
    code = [cell for cell in read(root / f"book/demo/{name}.ipynb")["cells"] if cell["cell_type"] == "code"]
    found = re.findall(
        rf"^(FAILED|PASSED) book/demo/{name}\.ipynb::Cell (\d+)", answer.stdout, flags=re.MULTILINE
    )
    assert len(found) == len(code), answer.stdout
    failed = {code[int(number)]["id"] for result, number in found if result == "FAILED"}
    assert failed == {f"code-{list(CELLS).index(cell)}" for cell in PAGES[name][1]}


@pytest.mark.slow
def test_the_exit_code_and_the_message(answer):
    assert answer.returncode == 1
    assert "tiny-gain: contradicted" in answer.stdout and "tiny-gain: supported" in answer.stdout


@pytest.mark.slow
def test_full_editions_are_left_out(answer):
    assert "book/full" not in answer.stdout


@pytest.mark.slow
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


@pytest.mark.slow
def test_nothing_published_is_no_success(tmp_path):
    done = reexecute(make_project(tmp_path))
    assert done.returncode == 1 and "no published chapter" in done.stderr


@pytest.mark.slow
def test_when_the_time_is_over_no_chapter_begins_and_what_is_left_out_is_listed(root):
    pages = [str(root / f"book/demo/{name}.ipynb") for name in PAGES]
    done = reexecute(root, *pages, "--minutes", "0.0001", "--workers", "1", "-q")
    assert "Re-executed 1 chapter of 3 in " in done.stdout
    left = re.findall(r"^Left out: (book/demo/\w+\.ipynb), not due since it was", done.stdout, re.MULTILINE)
    assert len(left) == 2
    done = reexecute(root, *pages, "--minutes", "0")
    assert done.returncode == 0 and done.stdout.count("Left out: ") == 3


# ------------------------------------------------------------------------------------- whose turn it is

FIRST = date(2026, 11, 2)
BUDGET = 25 * 60.0
WORKERS = 2


def book(published: date = FIRST - timedelta(days=30)) -> list[Chapter]:
    """Twenty-four chapters of 300 to 500 seconds."""
    return [Chapter(Path(f"book/demo/{n:02}.ipynb"), published, 300 + 200 * n / 23) for n in range(24)]


def day_of(chapters: list[Chapter], day: date, *, slower: float = 1.0) -> tuple[list[Chapter], float]:
    """What is executed on a day, and the seconds until the last ends; each so much slower than published."""
    now = 0.0
    supply = Supply(in_order(chapters, day, BUDGET * WORKERS), BUDGET, lambda: now)
    begun, last = [], 0.0
    workers = [iter(supply) for _ in range(WORKERS)]
    queue = [(0.0, number) for number in range(WORKERS)]
    while queue:
        now, number = heapq.heappop(queue)
        chapter = next(workers[number], None)
        if chapter is not None:
            begun.append(chapter)
            heapq.heappush(queue, (now + slower * chapter.seconds, number))
            last = max(last, now + slower * chapter.seconds)
    return begun, last


@pytest.mark.parametrize(("slower", "days"), [(0.5, 4), (1.0, 4), (2.0, 10), (10.0, 24)])
def test_a_day_holds_the_budget_and_some_days_execute_every_chapter(slower: float, days: int) -> None:
    chapters = book()
    executed: set[Chapter] = set()
    for number in range(days):
        begun, last = day_of(chapters, FIRST + timedelta(days=number), slower=slower)
        assert len(begun) == len(set(begun)) >= WORKERS
        assert last <= BUDGET + slower * 500
        executed |= set(begun)
    assert executed == set(chapters)


def test_days_after_a_chapter_was_published_it_comes_first() -> None:
    chapters = book()
    yesterday, today = FIRST - timedelta(days=1), FIRST
    chapters[5] = Chapter(chapters[5].path, yesterday, 400)
    chapters[17] = Chapter(chapters[17].path, today, 400)
    assert in_order(chapters, today, 3000)[:2] == [chapters[17], chapters[5]]
    later = in_order(chapters, today + timedelta(days=1), 3000)
    assert later[0] == chapters[17] and later[1] != chapters[5]
    assert sorted(later, key=lambda c: c.path) == chapters  # each once


def test_where_all_were_published_today_they_take_turns_all_the_same() -> None:
    chapters = book(FIRST)
    first, second = (day_of(chapters, FIRST + timedelta(days=n))[0] for n in range(2))
    assert set(first) != set(second)


def test_what_is_left_out_was_due_some_days_ago() -> None:
    chapters = book()
    begun, _ = day_of(chapters, FIRST)
    expected = due(chapters, FIRST, BUDGET * WORKERS)
    assert begun[: len(expected)] == expected and len(begun) <= len(expected) + 1
    for chapter in set(chapters) - set(begun):
        before = last_due(chapter, chapters, FIRST, BUDGET * WORKERS)
        assert before is not None and FIRST - timedelta(days=4) <= before < FIRST
        assert chapter in day_of(chapters, before)[0]
    new = Chapter(Path("book/demo/new.ipynb"), FIRST, 400)
    assert last_due(new, [*chapters, new], FIRST, BUDGET * WORKERS) is None
