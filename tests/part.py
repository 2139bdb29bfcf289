"""Run one part of `make test` and say how long it took; without a command, list the parts that were run.

    python tests/part.py smoke .venv/bin/surveylab run --profile smoke
    python tests/part.py

A part named `lint` begins the list anew.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from surveylab.press.console import seconds, table

FIRST = "lint"


def main(arguments: Sequence[str], kept: Path) -> int:
    """Return the exit code of the command."""
    if not arguments:
        parts = [line.split("\t") for line in kept.read_text(encoding="utf-8").splitlines()]
        rows = [[name, seconds(float(took))] for name, took in parts]
        total = sum(float(took) for _, took in parts)
        print(table(["part", "took"], [*rows, ["together", seconds(total)]]), flush=True)
        return 0
    name, *command = arguments
    print(" ".join(command), flush=True)
    began = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    took = time.monotonic() - began
    print(f"{name}: {seconds(took)}", flush=True)
    kept.parent.mkdir(exist_ok=True)
    with kept.open("w" if name == FIRST else "a", encoding="utf-8") as file:
        file.write(f"{name}\t{took}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path("_build/parts")))
