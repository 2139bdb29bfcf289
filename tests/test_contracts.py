"""Who may import whom: the contracts in pyproject.toml hold, and they cover every room of the house."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
HOUSE = {"claims", "lab", "press"}  # everything else under src/surveylab is a section room
ROOMS = sorted({p.parent.name for p in (ROOT / "src/surveylab").glob("*/__init__.py")} - HOUSE)


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_contracts_name_every_room(room: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    module = f"surveylab.{room}"
    for contract in contracts:
        if contract["type"] == "layers":
            assert module in {layer.strip("()") for layer in contract["layers"]}, f"{module}: name its layer"
        else:
            named = contract["source_modules"] + contract["forbidden_modules"]
            assert module in named, (
                f"pyproject.toml: the contract {contract['name']!r} does not name {module}"
            )


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_needs_nothing_but_torch(room: str) -> None:
    graph = grimp.build_graph("surveylab", include_external_packages=True, cache_dir=None)
    modules = {f"surveylab.{room}", *graph.find_descendants(f"surveylab.{room}")}
    imported = {name.split(".")[0] for m in modules for name in graph.find_modules_directly_imported_by(m)}
    assert imported - set(sys.stdlib_module_names) <= {"torch", "surveylab"}


@pytest.mark.parametrize("room", ROOMS)
def test_the_api_reference_names_all_that_a_room_exports(room: str) -> None:
    page = (ROOT / f"book/api/{room}.md").read_text(encoding="utf-8")
    exported = set(importlib.import_module(f"surveylab.{room}").__all__)
    assert exported <= set(re.findall(r"^\.\. auto(?:class|function):: (\w+)$", page, re.M))


@pytest.mark.parametrize("module", ["surveylab.claims", "surveylab.press.cli", "surveylab.press.site.build"])
def test_what_starts_fast_imports_no_torch(module: str) -> None:
    heavy = {"torch", "scipy", "sphinx", "papermill"}
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
