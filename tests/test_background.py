"""The suite works where a shell started it in the background, which leaves SIGINT ignored."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# What a test in the background starts and interrupts; the test fails if that goes on.
TEST = """\
import signal, subprocess, sys

def test_an_interrupted_child_ends():
    child = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(20)"],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    try:
        assert child.wait(timeout=10) != 0
    finally:
        child.kill()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no shell there ignores SIGINT")
@pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_ctrl_c_reaches_what_a_test_starts(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "test_it.py").write_text(TEST, encoding="utf-8")
    call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "test_it.py"]
    in_background = ["bash", "-c", 'trap "" INT; exec "$@"', "bash", *call]
    done = subprocess.run(in_background, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
