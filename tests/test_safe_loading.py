"""Data is never code: no file is loaded in a way that could execute what is in it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def unsafe_loads(tree: ast.AST) -> list[str]:
    """Calls that may execute what is in the file they load, where the linter has no rule for them."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name, given = ast.unparse(call.func), {k.arg: ast.unparse(k.value) for k in call.keywords}
        if name == "torch.load" and given.get("weights_only") != "True":
            found.append(f"line {call.lineno}: torch.load without weights_only=True")
        if name in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False":
            found.append(f"line {call.lineno}: {name} with allow_pickle")
        if name in ("joblib.load", "pd.read_pickle", "pandas.read_pickle", "torch.hub.load"):
            found.append(f"line {call.lineno}: {name}")
    return found


def test_files_are_loaded_without_executing_anything_in_them() -> None:
    for path in sorted((ROOT / "src").rglob("*.py")):
        assert not unsafe_loads(ast.parse(path.read_text(encoding="utf-8"))), path
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        assert not unsafe_loads(ast.parse(code)), path


@pytest.mark.parametrize(
    ("code", "unsafe"),
    [
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=False)", True),
        ("torch.load(path, weights_only=True)", False),
        ("np.load(path, allow_pickle=True)", True),
        ("np.load(path)", False),
        ("joblib.load(path)", True),
    ],
)
def test_an_unsafe_load_is_found(code: str, unsafe: bool) -> None:
    assert bool(unsafe_loads(ast.parse(code))) is unsafe


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\npickle.load(f)",
        "yaml.load(f)",
        "eval(text)",
        "exec(text)",
        "import marshal\nmarshal.load(f)",
    ],
)
def test_the_linter_refuses_the_other_ways(code: str) -> None:
    if code.startswith("yaml"):
        code = f"import yaml\n{code}"
    call = [sys.executable, "-m", "ruff", "check", "--stdin-filename", "src/surveylab/lab/loader.py", "-"]
    done = subprocess.run(call, input=f"{code}\n", capture_output=True, text=True, cwd=ROOT, check=False)
    assert re.search(r"\bS\d{3}\b", done.stdout), done.stdout
