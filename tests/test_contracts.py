"""Who may import whom: the contracts in pyproject.toml hold, and each forbids what it is there to forbid."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from surveylab.press.project import Project
from surveylab.press.run.fingerprint import library_packages
from surveylab.press.site.api import api_pages

ROOT = Path(__file__).parents[1]
HOUSE = {"claims", "lab", "press"}  # everything else under src/surveylab is a section room
ROOMS = sorted({p.parent.name for p in (ROOT / "src/surveylab").glob("*/__init__.py")} - HOUSE)


def linted(folder: Path) -> subprocess.CompletedProcess[str]:
    lint = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run([lint, "--no-cache"], cwd=folder, capture_output=True, text=True, env=environment)


def test_import_contracts_hold() -> None:
    done = linted(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


# Each line breaks a contract; `new` is a section that pyproject.toml has never heard of.
FORBIDDEN = [
    ("claims/verdict.py", "surveylab.lab"),
    ("claims/verdict.py", "surveylab.new"),
    ("claims/verdict.py", "torch"),
    ("press/run/clean.py", "surveylab.lab"),
    ("press/run/clean.py", "surveylab.new"),
    ("press/run/clean.py", "torch"),
    ("lab/streams.py", "surveylab.new"),
    ("lab/streams.py", "surveylab.press"),
    ("new/__init__.py", "surveylab.claims"),
    ("new/__init__.py", "surveylab.lab"),
    ("new/__init__.py", "surveylab.press.project"),
    ("press/project.py", "surveylab.press.console"),
    ("press/run/clean.py", "surveylab.press.verify.compare"),
    ("press/site/urls.py", "surveylab.press.verify.compare"),
    ("press/site/urls.py", "surveylab.press.cli"),
    ("press/run/cluster.py", "surveylab.press.run.executor"),
]


@pytest.mark.parametrize(("module", "imported"), FORBIDDEN)
def test_a_contract_forbids(module: str, imported: str, tmp_path: Path) -> None:
    package = tmp_path / "surveylab"
    shutil.copytree(ROOT / "src/surveylab", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (package / "new").mkdir()
    (package / "new/__init__.py").write_text("import torch\n", encoding="utf-8")
    assert linted(tmp_path).returncode == 0
    with (package / module).open("a", encoding="utf-8") as file:
        file.write(f"\nimport {imported}\n")
    assert " BROKEN" in linted(tmp_path).stdout


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_needs_nothing_but_torch(room: str) -> None:
    graph = grimp.build_graph("surveylab", include_external_packages=True, cache_dir=None)
    modules = {f"surveylab.{room}", *graph.find_descendants(f"surveylab.{room}")}
    imported = {name.split(".")[0] for m in modules for name in graph.find_modules_directly_imported_by(m)}
    assert imported - set(sys.stdlib_module_names) <= {"torch", "surveylab"}


@pytest.mark.parametrize("room", ROOMS)
def test_the_api_reference_names_all_that_a_room_exports(room: str) -> None:
    page = api_pages(library_packages(Project(ROOT)), [])[room]
    exported = set(importlib.import_module(f"surveylab.{room}").__all__)
    named = re.findall(rf"^\.\. currentmodule:: surveylab\.{room}\n\n\.\. auto\w+:: (\w+)$", page, re.M)
    assert set(named) == exported and len(named) == len(exported)


@pytest.mark.parametrize("module", ["surveylab.claims", "surveylab.press.cli", "surveylab.press.site.build"])
def test_what_starts_fast_imports_no_torch(module: str) -> None:
    heavy = {"torch", "scipy", "sphinx", "papermill"}
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
