"""No file of the tree says on which machine it was made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def paths_of_this_machine() -> list[bytes]:
    """The folders whose names tell where something ran: this tree's, the environment's, the person's."""
    folders = {ROOT, ROOT.resolve(), Path.home()}
    if sys.prefix != sys.base_prefix:
        folders.add(Path(sys.prefix))
    # A container's /src, or a person without a home, would be found in many an innocent line.
    telling = {f for f in folders if len(f.parts) > 2 or f == Path("/root")}
    return sorted(f"{folder}/".encode() for folder in telling)


def carriers(files: Iterable[Path], paths: list[bytes]) -> list[str]:
    """The files that hold one of the paths, each with its line."""
    found = []
    for file in files:
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            if any(path in line for path in paths):
                found.append(f"{file}:{number}")
    return found


def test_no_file_carries_a_path_of_this_machine() -> None:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name.decode() for name in done.stdout.split(b"\0") if name]
    assert carriers((f for f in files if f.is_file()), paths_of_this_machine()) == []


def test_a_file_that_carries_one_is_found(tmp_path: Path) -> None:
    page, other = tmp_path / "page.ipynb", tmp_path / "other"
    page.write_text('fine\n"read /home/someone/survey/book/claims/demo/one.yml"\n', encoding="utf-8")
    other.write_text("/home/sometimes/survey\n", encoding="utf-8")
    assert carriers([page, other], [b"/home/someone/"]) == [f"{page}:2"]
