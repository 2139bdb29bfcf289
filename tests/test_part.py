"""`make test` tells how long each of its parts took."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from part import main


def test_parts_are_timed_and_listed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "_build/parts"
    assert main(["lint", sys.executable, "-c", "import time; time.sleep(0.2)"], kept) == 0
    assert (
        main(["two builds", sys.executable, "-c", "import time; time.sleep(0.2); raise SystemExit(3)"], kept)
        == 3
    )
    capfd.readouterr()
    assert main([], kept) == 0
    said = capfd.readouterr().out
    assert [re.split(r"  +", line)[0] for line in said.splitlines()][2:] == ["lint", "two builds", "together"]
    took = [float(number) for number in re.findall(r"([\d.]+) s$", said, re.MULTILINE)]
    assert len(took) == 3 and min(took) >= 0.2 and took[2] == pytest.approx(took[0] + took[1], abs=0.11)
    main(["lint", sys.executable, "-c", ""], kept)  # the next run
    main([], kept)
    assert "two builds" not in capfd.readouterr().out
