"""Importing the lab takes no more than two seconds."""

from __future__ import annotations

import subprocess
import sys

MEASURE = "import time; began = time.process_time(); import {}; print(time.process_time() - began)"


def test_the_lab_is_imported_within_two_seconds() -> None:
    """Beside torch, so that it does not matter what else the machine does: torch takes 0.8 s of the two."""

    def took(module: str) -> float:
        call = [sys.executable, "-c", MEASURE.format(module)]
        return float(subprocess.run(call, capture_output=True, text=True, check=True).stdout)

    torch = min(took("torch") for _ in range(3))
    lab = min(took("surveylab.lab") for _ in range(3))
    assert lab <= 2.5 * torch, f"surveylab.lab takes {lab:.1f} s, torch alone {torch:.1f} s"
