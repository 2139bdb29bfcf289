"""The command itself: help, version, what it imports, and what a watched terminal shows."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_project import write_chapter

from surveylab.press import cli
from surveylab.press.console import Progress, counted, seconds, table
from surveylab.press.project import PressError
from surveylab.press.site.urls import Site

COMMANDS = ("run", "status", "verify", "replicate", "tune", "build")


def test_help_names_every_command_the_exit_codes_and_examples(surveylab):
    said = surveylab("--help")
    assert said.code == 0
    for word in (*COMMANDS, "Exit codes: 0 fine, 1 something does not hold, 2 wrong use", "surveylab run"):
        assert word in said.out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(surveylab, command):
    said = surveylab(command, "-h")
    assert said.code == 0 and len(said.out) > 250


def test_version(surveylab):
    from importlib.metadata import version

    assert surveylab("--version").out.strip().endswith(version("surveylab"))


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom surveylab.press.cli import execute\nexecute(['--help'])\n"
        "heavy = {'papermill', 'nbclient', 'nbformat', 'scipy', 'torch', 'IPython', 'pybtex', 'sphinx'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "" and done.returncode == 0


def test_executing_imports_no_torch_into_the_press(published):
    code = (
        "import sys\nfrom surveylab.press.cli import execute\nexecute(['verify', '--recompute-only'])\n"
        "sys.exit('torch' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=published, capture_output=True, check=False)
    assert done.returncode == 0


def test_the_installed_command_answers():
    program = Path(sys.executable).with_name("surveylab")
    if not program.exists():
        pytest.skip("the package is not installed with its command")
    assert subprocess.run([program, "jump"], capture_output=True, check=False).returncode == 2


def test_build_is_handed_root_and_output(root, surveylab, monkeypatch, tmp_path):
    from surveylab.press.site import build

    asked = []

    def fake(where, **options):
        asked.append((where, options))
        return tmp_path / "index.html"

    monkeypatch.setattr(build, "build", fake)
    said = surveylab("build", "--output", str(tmp_path))
    assert said.code == 0 and "index.html" in said.out
    assert asked.pop() == (root, {"output": tmp_path, "force": False, "site": Site()})

    monkeypatch.setenv("SURVEYLAB_REPOSITORY", "https://github.com/owner/name")
    monkeypatch.setenv("SURVEYLAB_BRANCH", "")  # as a workflow hands over what it has no value for
    assert surveylab("build", "--site", "https://owner.github.io/name").code == 0
    assert asked.pop()[1]["site"] == Site(
        "https://github.com/owner/name", "main", "https://owner.github.io/name/"
    )
    said = surveylab("build", "--site", "owner.github.io")
    assert said.code == 2 and "--site owner.github.io: write the whole address" in said.err

    def broken(where, **options):
        raise PressError("book/intro.md:3: no such page")

    monkeypatch.setattr(build, "build", broken)
    said = surveylab("build")
    assert said.code == 1 and said.err == "surveylab: book/intro.md:3: no such page\n"


def test_an_unforeseen_os_error_is_one_line(surveylab, monkeypatch):
    def fail() -> None:
        raise PermissionError(13, "Permission denied", "somewhere")

    monkeypatch.setattr(cli.Project, "find", fail)
    said = surveylab("status")
    assert said.code == 1 and said.err == "surveylab: somewhere: Permission denied\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_counts_cells_and_time_and_then_clears_its_line():
    screen = Terminal()
    with Progress({"demo/one": 100.0}, stream=screen) as progress:
        progress.cell("demo/one", 2, 9)
        time.sleep(1.3)
    assert "demo/one 2/9 cells" in screen.getvalue()
    assert re.search(r"00:01, 01:\d\d left", screen.getvalue())
    shown = screen.getvalue().split("\r")
    assert shown[-2].strip() == "" and len(shown[-2]) >= len(shown[-3].rstrip()) and shown[-1] == ""
    assert "\x1b" not in screen.getvalue()


def test_progress_makes_room_for_what_is_said_meanwhile():
    screen = Terminal()
    with Progress({"demo/one": None}, stream=screen) as progress:
        progress.cell("demo/one", 1, 9)
        with progress.paused():
            assert screen.getvalue().endswith("\r")
            screen.truncate(0)
            time.sleep(0.7)
            assert screen.getvalue() == ""
        time.sleep(0.7)
        assert "demo/one 1/9 cells" in screen.getvalue()


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still; its hand can be set."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def shown(progress: Progress) -> tuple[str, float, float | None]:
    """What stands before the bar, how much of the work is done, and how much there is."""
    progress.show()
    return progress.bar.desc, progress.bar.n, progress.bar.total


def test_progress_of_several_chapters_counts_each_as_long_as_it_took(clock):
    progress = Progress({"a": 100.0, "b": 60.0, "c": None}, stream=Terminal())
    assert shown(progress) == ("0 of 3 chapters", 0.0, 240.0)  # c as long as the mean of the others
    progress.cell("a", 0, 9)
    progress.cell("b", 0, 7)
    clock[0] = 50.0
    progress.cell("a", 5, 9)
    progress.finish("b")
    progress.cell("c", 0, 3)
    assert shown(progress) == ("1 of 3 chapters, a 5/9 cells, c 0/3 cells", 50.0 + 60.0, 240.0)
    clock[0] = 90.0
    progress.cell("c", 0, 3)  # its worker died: it begins again
    progress.cell("b", 6, 7)  # late news of what is finished
    assert shown(progress) == ("1 of 3 chapters, a 5/9 cells, c 0/3 cells", 90.0 + 60.0, 240.0)
    clock[0] = 200.0
    progress.finish("c")
    assert shown(progress) == ("2 of 3 chapters, a 5/9 cells", 240.0, 240.0)  # longer than last time
    progress.finish("a")
    assert shown(progress) == ("3 of 3 chapters", 240.0, 240.0)


def test_progress_goes_by_cells_where_no_duration_is_known(clock):
    progress = Progress({"x": None}, stream=Terminal())
    progress.cell("x", 1, 4)
    clock[0] = 6.0
    assert shown(progress) == ("x 1/4 cells", 0.25, 1.0)


def test_progress_is_silent_in_a_file():
    file = io.StringIO()
    with Progress({"x": None}, stream=file) as progress:
        progress.cell("x", 1, 2)
        with progress.paused():
            pass
    assert file.getvalue() == ""


def test_small_layouts():
    assert table(["a", "b"], [["long", ""], ["x", "y"]]) == "a     b\n----  -\nlong\nx     y"
    assert [seconds(None), seconds(8.26), seconds(125)] == ["-", "8.3 s", "2 min 05 s"]
    assert [counted(1, "claim"), counted(0, "claim")] == ["1 claim", "0 claims"]


def test_an_old_code_page_costs_a_sign_and_not_the_command(new_root):
    """Windows writes into files and pipes in a code page that lacks most signs."""
    write_chapter(new_root, "demo/two→", [])
    done = subprocess.run(
        [sys.executable, "-c", "from surveylab.press.cli import main; main(['status'])"],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        encoding="cp1252",
        check=False,
    )
    assert "demo/two?  never run" in done.stdout and done.stderr == ""
