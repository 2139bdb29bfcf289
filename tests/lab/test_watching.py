"""A bar for a person who watches, and nothing for anyone else."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr
from types import SimpleNamespace

import pytest

from surveylab import lab
from surveylab.lab import output, watching


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Notebook:
    """What a notebook shows: the present text of each display."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.history: list[str] = []
        self.shell = SimpleNamespace(kernel=object(), execution_count=1)

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> SimpleNamespace:
        assert raw and display_id
        place = len(self.lines)
        self.lines.append(data["text/plain"])
        self.history.append(data["text/plain"])

        def update(data: dict[str, str], *, raw: bool) -> None:
            assert raw
            self.lines[place] = data["text/plain"]
            self.history.append(data["text/plain"])

        return SimpleNamespace(update=update)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(watching, "PATIENCE", 0.0)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    page = Notebook()
    for module in (watching, output):
        monkeypatch.setattr(module, "get_ipython", lambda: page.shell)
    monkeypatch.setattr(watching, "display", page.display)
    monkeypatch.setattr(watching._Line, "_cell", -1)  # or the lines of another test's notebook would be free
    return page


def test_nothing_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    items = [1, 2]
    assert lab.progress(items, "arm") is items
    assert capsys.readouterr() == ("", "")


def test_nothing_in_a_kernel_of_the_press(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    with redirect_stderr(Terminal()) as terminal:
        assert list(lab.progress([1, 2], "arm")) == [1, 2]
    assert terminal.getvalue() == "" and notebook.history == []


def test_on_a_terminal() -> None:
    with redirect_stderr(Terminal()) as terminal:
        assert list(lab.progress([1, 2], "arm")) == [1, 2]
    assert "arm " in terminal.getvalue() and "0/2, ? left" in terminal.getvalue()
    assert terminal.getvalue().rpartition("\r")[0].rpartition("\r")[2].strip() == ""  # and cleared


def test_in_a_notebook_the_finished_line_is_empty_and_used_again(notebook: Notebook) -> None:
    for arm in ("one", "two"):
        assert list(lab.progress([1, 2], arm)) == [1, 2]
        assert any(line.startswith(f"{arm} ") and "0/2, ? left" in line for line in notebook.history)
    assert notebook.lines == [""]
    for _ in lab.progress([1], "outer"):
        list(lab.progress([1], "inner"))
        assert [line.partition(" ")[0] for line in notebook.lines] == ["outer", ""]
    notebook.shell.execution_count = 2
    list(lab.progress([1], "next cell"))
    assert notebook.lines == ["", "", ""]


def test_a_loop_that_fails_ends_its_line_and_raises(notebook: Notebook) -> None:
    def fail() -> None:
        for _ in lab.progress([1, 2], "arm"):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()


def test_a_short_loop_needs_no_bar(notebook: Notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PATIENCE", 60.0)
    assert list(lab.progress([1, 2], "arm")) == [1, 2]
    assert notebook.history == []


def test_training_names_what_runs(notebook: Notebook) -> None:
    comparison = lab.Comparison(lab.digits(), lab.make_streams(0, 1, 1), 8, [0.1, 0.2, 0.4], 16, 8, 8)
    arm = lab.Arm(lambda: lab.models.small_cnn(width=2), 4)
    comparison.sweep(arm, [0.1, 0.2])
    assert any(line.startswith("2 trials ") for line in notebook.history)
    comparison.run("arm", arm, settings=[{"rate": 0.1}])
    assert any(line.startswith("arm ") for line in notebook.history)


def test_a_package_that_asks_for_a_notebooks_bar_warns_of_nothing() -> None:
    script = (
        "import warnings\nfrom tqdm import TqdmWarning\n{}"
        "warnings.warn('IProgress not found. Please update jupyter and ipywidgets.', TqdmWarning)"
    )
    for first, expected in (("", True), ("import surveylab.lab\n", False)):
        done = subprocess.run(
            [sys.executable, "-c", script.format(first)], capture_output=True, text=True, check=True
        )
        assert ("IProgress" in done.stderr) == expected
