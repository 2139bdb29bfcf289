"""Which modules decide a chapter's results: those that define what it uses, and no others."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from surveylab.press.project import PressError, Project
from surveylab.press.run import fingerprint as taking
from surveylab.press.run.fingerprint import fingerprint
from surveylab.press.run.reach import LEFT_OUT, reached_modules
from surveylab.press.run.usage import module_path, parsed_cells

ROOT = Path(__file__).parents[3]
LIBRARY = {
    "__init__.py": '"""A library."""\n__version__ = "1"\n',
    "base.py": "def f(): pass",
    "room/__init__.py": '"""A room."""\nfrom typing import TYPE_CHECKING\nfrom . import plain\n'
    "from pkg.room.a import f\nfrom .b import g as renamed\nif TYPE_CHECKING:\n    from .late import h\n"
    '__all__ = ["f", "h", "renamed"]\ndef __getattr__(name): ...\n',
    "room/a.py": "from ..base import f",
    "room/b.py": "def g(): pass",
    "room/late.py": "def h(): pass",
    "room/plain.py": "from pkg import base\ndef p(): return base.f()",
    "room/tasks/__init__.py": "from .style import train",
    "room/tasks/style.py": "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
    "if TYPE_CHECKING:\n    from pkg.room.b import g\ndef train(x: g): pass",
    "room/tasks/text.py": "x = 1",
    "own/__init__.py": "from .helper import helper\nfrom .other import other\nDEFAULT = helper()\n",
    "own/helper.py": "def helper(): pass",
    "own/other.py": "def other(): pass",
    "hub/__init__.py": "from pkg.data import digits, photos",
    "data/__init__.py": "from .digits import digits\nfrom .photos import photos, scenes",
    "data/digits.py": "def digits(): pass",
    "data/photos.py": "def photos(): pass\ndef scenes(): pass",
    "loop1.py": "from . import loop2",
    "loop2.py": "from .loop1 import *",
}
TASKS = {"room.tasks.style", "room.tasks.text"}
ROOM = {"room.a", "room.b", "room.late", "room.plain", "base"} | TASKS


@pytest.fixture
def packages(tmp_path: Path) -> dict[str, Path]:
    for name, text in LIBRARY.items():
        path = tmp_path / "pkg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return {"pkg": tmp_path / "pkg"}


def reached(packages: dict[str, Path], *cells: str) -> set[str]:
    found = reached_modules([ast.parse(cell) for cell in cells], packages)
    return {name.removeprefix("pkg").removeprefix(".") for name in found}


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        # What a package exports leads to where it is defined, by whatever name.
        ("from pkg import room\nroom.renamed()", {"room.b"}),
        ("from pkg.room import renamed", {"room.b"}),
        ("import pkg.room as r\nr.renamed().late", {"room.b"}),
        ("import pkg\npkg.room.renamed()", {"room.b"}),
        ("from pkg.room import f", {"base"}),  # through a module that only hands it on
        ("from pkg import room\nroom.h()", {"room.late"}),  # exported on demand
        # Modules: imported, as an attribute, within a function.
        ("import pkg.room.a", {"room.a", "base"}),
        ("from pkg.room import plain", {"room.plain", "base"}),
        ("from pkg import room\nroom.plain.p()", {"room.plain", "base"}),
        ("from pkg import room\nroom.tasks.style.train(1)", {"room.tasks.style"}),
        ("from pkg import room\nroom.tasks.train(1)", {"room.tasks.style"}),
        ("from pkg.room.tasks import text", {"room.tasks.text"}),
        ("def late():\n    from pkg import base", {"base"}),
        ("import pkg.loop1", {"loop1", "loop2"}),
        # An `__init__` with code of its own counts, and what that code uses.
        ("from pkg.own import other", {"own", "own.helper", "own.other"}),
        ("from pkg.own import DEFAULT", {"own", "own.helper"}),
        # A function that has its module's name.
        ("from pkg import hub\nhub.photos()", {"data.photos"}),
        ("from pkg.data import digits\ndigits()", {"data.digits"}),
        ("from pkg import data\ndata.scenes()\ndata.photos()", {"data.photos"}),
        ("import pkg.data.photos", {"data.photos"}),
        # A package that is only imported is not used yet.
        ("from pkg import room", set()),
        ("import os, json, pkgother", set()),
        # Where the code does not tell, all that it may mean counts.
        ("from pkg import room\ngetattr(room, name)", ROOM),
        ("from pkg import room\nroom.nothing()", ROOM),
        ("from pkg.room import *", ROOM),
        ("from pkg.room import tasks\nf(tasks)", TASKS),
        ("from pkg.room.a import *", {"room.a", "base"}),
        ("from importlib import import_module\nimport_module('pkg.room.b')", {"room.b"}),
        ("import importlib\nimportlib.import_module('pkg.room.tasks')", TASKS),
        ("from pkg.room.a import nothing", {"room.a", "base"}),
    ],
)
def test_what_code_reaches(packages: dict[str, Path], code: str, modules: set[str]) -> None:
    assert reached(packages, code) == modules


def test_a_later_cell_uses_what_an_earlier_one_imported(packages: dict[str, Path]) -> None:
    assert reached(packages, "from pkg import room", "room.renamed()") == {"room.b"}


def test_what_is_left_out_exists_and_leads_nowhere(
    packages: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in LEFT_OUT:
        assert module_path(name, {"surveylab": ROOT / "src/surveylab"}), name
    monkeypatch.setitem(LEFT_OUT, "pkg.room.a", "a reason")
    assert reached(packages, "import pkg.room.a") == set()
    monkeypatch.setitem(LEFT_OUT, "pkg.room", "another")
    assert reached(packages, "import pkg.room.plain") == set()


def cells(*code: Any) -> dict[str, Any]:
    return {"cells": [{"cell_type": "code", "source": source} for source in code]}


def test_magics_are_passed_over_and_broken_cells_are_named(packages: dict[str, Path]) -> None:
    notebook = cells(
        "%matplotlib inline\nimport pkg.base",
        "%%time\nif True:\n    !ls\n    import pkg.room.b",
        ["import ", "pkg.loop1"],
    )
    found = reached_modules(parsed_cells(notebook, "x"), packages)
    assert set(found) == {"pkg.base", "pkg.room.b", "pkg.loop1", "pkg.loop2"}
    notebook["cells"] += cells("def")["cells"]
    with pytest.raises(PressError, match=r"x: cell 4 is not Python"):
        list(parsed_cells(notebook, "x"))


# -------------------- the book itself


@pytest.mark.parametrize(
    ("module", "edit"),
    [
        ("lab/__init__.py", "from surveylab.lab.session import machine\n"),
        ("lab/plots.py", "X = 1\n"),
        ("lab/watching.py", "X = 1\n"),
        ("claims/render.py", "X = 1\n"),
        ("press/cli.py", "X = 1\n"),
        ("lab/training.py", "# a remark\n"),
    ],
)
def test_no_chapter_depends_on_exports_drawing_and_the_press(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, edit: str
) -> None:
    assert users(tmp_path, monkeypatch, module, edit) == set()


def test_an_edit_makes_only_those_chapters_stale_that_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chapters = set(Project(ROOT).chapters)
    assert users(tmp_path, monkeypatch, "lab/training.py", "X = 1\n") == chapters
    only = {"normalization/instance_norm"}
    assert users(tmp_path, monkeypatch, "normalization/adain.py", "X = 1\n") == only
    some = users(tmp_path, monkeypatch, "lab/tasks/style.py", "X = 1\n")
    assert some == only | {"normalization/norm_comparison"}
    assert users(tmp_path, monkeypatch, "adaptive/adabn.py", "X = 1\n") == {"adaptive/components"}


def users(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, edit: str) -> set[str]:
    """The chapters whose fingerprint changes when a line is added to a module of the real library."""
    project = Project(ROOT)
    assert (ROOT / "src/surveylab" / module).is_file()
    before = {chapter: fingerprint(project, chapter).parts["library"] for chapter in project.chapters}
    copy = folder / module.replace("/", "-")
    for path in (ROOT / "src/surveylab").rglob("*.py"):
        target = copy / path.relative_to(ROOT / "src/surveylab")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    with (copy / module).open("a", encoding="utf-8") as file:
        file.write(edit)
    monkeypatch.setattr(taking, "library_packages", lambda project: {"surveylab": copy})
    after = {chapter: fingerprint(project, chapter).parts["library"] for chapter in project.chapters}
    monkeypatch.undo()
    return {chapter for chapter in before if before[chapter] != after[chapter]}
