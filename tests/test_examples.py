"""What `examples/` shows runs as it stands, in any folder, and is what the reference prints."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from surveylab import lab

EXAMPLES = Path(__file__).parents[1] / "examples"


def body(path: Path) -> str:
    """The code below the opening docstring."""
    return path.read_text(encoding="utf-8").split('"""\n', 1)[1].strip()


def test_the_reference_prints_the_example() -> None:
    assert body(EXAMPLES / "own_data.py") in inspect.cleandoc(str(lab.__doc__)).replace("\n    ", "\n")
    lines = [line for line in body(EXAMPLES / "own_data.py").splitlines() if line.strip()]
    assert len(lines) <= 20


@pytest.mark.slow
def test_own_data_reaches_a_judged_comparison_in_an_empty_folder(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SURVEYLAB")}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "own_data.py")],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(EXAMPLES.parent / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    begun, *table, checked = done.stdout.splitlines()
    assert begun == "own work, standard: 3 × 8 replicates, seed 0, cpu"
    assert [line.split()[0] for line in table] == ["arm", "BN", "none"]
    assert checked.startswith("BN minus none, points: ") and checked.endswith("so without a verdict")
    assert not list(tmp_path.iterdir())
