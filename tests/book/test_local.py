"""A chapter on a reader's own computer: from the package alone, with a method of their own, in JupyterLab."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CHAPTER = "normalization/batch_norm"
GRID = ["digits", "photos", "columns", "restyling"]
LEFT_OUT = ("SURVEYLAB_ROOT", "SURVEYLAB_VERIFY", "SURVEYLAB_TUNE", "TQDM_DISABLE")


def environment(**given: str) -> dict[str, str]:
    """A shell that knows nothing of the project, but runs its own source rather than another checkout's."""
    kept = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    return kept | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"} | given


def texts(notebook: Any, cell: str) -> str:
    """All that a cell shows, as text."""
    (found,) = (c for c in notebook["cells"] if c["id"] == cell)
    parts = []
    for output in found["outputs"]:
        data = output.get("data", {})
        for text in (output.get("text"), data.get("text/markdown"), data.get("text/plain")):
            parts.append("".join(text or ""))
    return "\n".join(parts)


def rows(text: str, arm: str) -> list[str]:
    return re.findall(rf"^\| {re.escape(arm)} \| [\d.]+ \| [-−+]?[\d.]+ \[.*\] \|$", text, re.MULTILINE)


def candidates_written(arguments: list[str]) -> list[str]:
    """Call the command as its user does; the notebooks with a candidate that it says it wrote."""
    called = f"from surveylab.press.cli import main; main({arguments!r})"
    done = subprocess.run(
        [sys.executable, "-c", called],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"-> (_build/smoke-candidate/.*\.ipynb)$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("chapter", "joined"),
    [(CHAPTER, ["batches of 16", "batches of 2"]), ("normalization/norm_comparison", GRID)],
)
def test_the_readmes_candidate_joins_and_the_book_stays_as_it_is(chapter: str, joined: list[str]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^surveylab run .*--candidate .*$", readme, re.MULTILINE)
    book = {p: p.read_bytes() for p in (ROOT / "book").rglob("*") if p.is_file()}
    first = Path(CHAPTER).name
    assert f"_build/smoke-candidate/{CHAPTER}.ipynb" in readme and f" {first} " in line
    program, *arguments = shlex.split(line.replace(first, Path(chapter).name))
    assert program == "surveylab"
    written = candidates_written(arguments)
    assert {p: p.read_bytes() for p in (ROOT / "book").rglob("*") if p.is_file()} == book
    assert written == [f"_build/smoke-candidate/{chapter}.ipynb"]
    page = json.loads((ROOT / written[0]).read_text(encoding="utf-8"))
    assert "`MyNorm` of `examples.my_norm` joins the comparison." in texts(page, "begin")
    assert "vectorised" not in texts(page, "begin")
    shown = texts(page, "candidate")
    assert re.findall(r"^\| (.+) \| mean", shown, re.MULTILINE) == joined
    assert len(rows(shown, "MyNorm")) == len(joined)


def test_a_norm_that_takes_no_states_joins_the_other_tasks() -> None:
    arguments = ["run", "norm_comparison", "--profile", "smoke", "--candidate", "torch.nn:InstanceNorm2d"]
    (written,) = candidates_written(arguments)
    shown = texts(json.loads((ROOT / written).read_text(encoding="utf-8")), "candidate")
    assert "It cannot take part in the recurrent network: Expected more than 1 spatial element" in shown
    joined = re.findall(r"^\| (.+) \| mean", shown, re.MULTILINE)
    assert joined == [task for task in GRID if task != "columns"]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install .` would install, unpacked; built from a copy, since building leaves files behind."""
    folder = tmp_path_factory.mktemp("package")
    for name in ("src", "book"):
        left_out = shutil.ignore_patterns("*.egg-info", "__pycache__", "*.ipynb")
        shutil.copytree(ROOT / name, folder / "checkout" / name, ignore=left_out)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, folder / "checkout")
    build = [*(sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps"), "."]
    done = subprocess.run(
        [*build, "-w", str(folder)], cwd=folder / "checkout", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def opened_alone(folder: Path, **parameters: str) -> Any:
    """The source of the chapter, downloaded into an empty folder, with parameters edited by hand."""
    shutil.copy(ROOT / f"notebooks/{CHAPTER}.ipynb", folder)
    notebook = nbformat.read(folder / "batch_norm.ipynb", as_version=4)
    (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    for name, value in parameters.items():
        cell.source, count = re.subn(
            rf"^{name} = \S+", f'{name} = "{value}"', cell.source, flags=re.MULTILINE
        )
        assert count == 1
    return notebook


def test_a_downloaded_chapter_runs_with_the_installed_package_alone(package: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples/my_norm.py", tmp_path)
    notebook = opened_alone(tmp_path, profile="smoke", candidate="my_norm:MyNorm")
    client = nbclient.NotebookClient(notebook, kernel_name="python3", timeout=300)
    client.execute(cwd=str(tmp_path), env=environment(PYTHONPATH=str(package)))
    said = texts(notebook, "begin")
    assert "smoke: 3 × 2 replicates" in said and "standard takes some minutes" in said
    assert "the claims are those that came with the installed package" in said
    assert "`MyNorm` of `my_norm` joins the comparison." in said
    assert len(rows(texts(notebook, "candidate"), "MyNorm")) == 2
    assert "bn-small-batch: not-decided" in texts(notebook, "small-batch-train")
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output
            assert "█" not in output.get("data", {}).get("text/plain", ""), "a bar was left behind"


def test_without_a_checkout_the_command_says_what_it_needs(package: Path, tmp_path: Path) -> None:
    called = "from surveylab.press.cli import main; main(['run', '--profile', 'smoke'])"
    env = environment(PYTHONPATH=str(package))
    done = subprocess.run(
        [sys.executable, "-c", called], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "work inside a checkout of the book's repository, or set SURVEYLAB_ROOT to one" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def jupyterlab(tmp_path: Path) -> Iterator[str]:
    """The address at which `make lab` answers, for a user who has another kernel of the same name."""
    pytest.importorskip("jupyterlab", reason="`make lab` installs it")
    other = tmp_path / ".local/share/jupyter/kernels/python3"
    other.mkdir(parents=True)
    spec = {"argv": ["no-such-python"], "display_name": "Another", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # -o: what is installed is taken as it is; a test sets up no environment.
    command = ["make", "-o", ".venv/.ready", "-o", ".venv/.ready-lab", "lab", f"PORT={port}", "NO_BROWSER=1"]
    env = environment(HOME=str(tmp_path))
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=log, stdout=log, start_new_session=True)
    try:
        deadline, address = time.monotonic() + 60, None
        while address is None and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
            text = (tmp_path / "log").read_text(encoding="utf-8")
            address = re.search(rf"http://127\.0\.0\.1:{port}/lab/tree/notebooks\?token=\w+", text)
        assert address, (tmp_path / "log").read_text(encoding="utf-8")
        yield address[0]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


@pytest.mark.skipif(not (ROOT / ".venv").exists(), reason="the project's environment is elsewhere")
def test_make_lab_serves_the_chapters_with_the_projects_kernel(jupyterlab: str) -> None:
    server, _, token = re.split(r"(/lab/tree/notebooks\?token=)", jupyterlab)

    def ask(path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{server}/api/{path}", data, {"Authorization": f"token {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    urllib.request.urlopen(jupyterlab, timeout=60).close()  # the page itself
    content = ask(f"contents/notebooks/{CHAPTER}.ipynb")["content"]
    assert content["metadata"]["kernelspec"]["name"] == "python3"
    assert ask("kernelspecs")["kernelspecs"]["python3"]["spec"]["display_name"] != "Another"
    assert ask("kernels", {"name": "python3"})["execution_state"]  # the other one has no program to start
