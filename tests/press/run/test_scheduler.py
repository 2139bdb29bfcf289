"""Chapters on the workers of a Dask scheduler: processes elsewhere, with no copy of the project."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tiny_project import GOOD, lines, note, outputs, page, read, until, write_chapter, write_notebook

from surveylab.press.project import WrongUse
from surveylab.press.run import cluster

BEGIN = GOOD[0]
PACKAGE = Path(cluster.__file__).parents[2]
# A scheduler need not have surveylab; a worker must.
HIDDEN = "import sys\nsys.modules['surveylab'] = None\n"
SCHEDULER = "from distributed.cli.dask_scheduler import main\nmain()"
WORKER = "from distributed.cli.dask_worker import main\nmain()"


class Place(NamedTuple):
    """A folder in which Dask's processes live, with a copy of surveylab of their own."""

    folder: Path

    def start(self, code: str, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "site"), "TMPDIR": str(self.folder)}
        environment.pop("SURVEYLAB_ROOT", None)
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments, "--host", "127.0.0.1", "--no-dashboard"],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def scheduler(self) -> tuple[subprocess.Popen[bytes], str]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = self.start(HIDDEN + SCHEDULER, "--port", str(port), "--dashboard-address", "127.0.0.1:0")
        until(lambda: listens(port))
        return process, f"tcp://127.0.0.1:{port}"

    def worker(self, address: str, *options: str, code: str = WORKER) -> subprocess.Popen[bytes]:
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            before = len(client.nthreads())
            process = self.start(code, address, "--nthreads", "1", "--no-nanny", *options)
            until(lambda: len(client.nthreads()) > before)
        return process


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(PACKAGE, folder / "site" / "surveylab", ignore=shutil.ignore_patterns("__pycache__"))
    return Place(folder)


@pytest.fixture(scope="module")
def busy(place: Place) -> Iterator[str]:
    """The address of a scheduler with one worker."""
    scheduler, address = place.scheduler()
    worker = place.worker(address)
    yield address
    for process in (worker, scheduler):
        process.kill()
        process.wait()


@pytest.fixture
def empty(place: Place) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler without workers, and its address."""
    scheduler, address = place.scheduler()
    yield scheduler, address
    scheduler.kill()
    scheduler.wait()


pytestmark = pytest.mark.slow


# -------------------- what comes back


def test_no_disk_is_shared_and_the_result_is_the_same(root, place, busy, surveylab, tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    files = "os.environ['SURVEYLAB_ROOT'], os.getcwd(), tinylib.__file__, surveylab.__file__, sep='\\n'"
    write_chapter(root, "demo/two", [BEGIN, "import surveylab", note(seen, files)])
    assert surveylab("run", "--force").code == 0
    before = page(root, "demo/one"), page(root, "demo/two")
    monkeypatch.chdir(tmp_path)
    said = surveylab("run", "--force", "--scheduler", busy)
    assert (said.code, said.err) == (0, "")
    assert (page(root, "demo/one"), page(root, "demo/two")) == before
    here, there = lines(seen)[:4], lines(seen)[4:]
    assert len(here) == len(there) == 4
    for path in there:
        assert Path(path).is_relative_to(place.folder) and not Path(path).is_relative_to(
            place.folder / "site"
        )
    said = surveylab("verify", "one", "--scheduler", busy)
    assert said.code == 0 and "Everything holds." in said.out
    said = surveylab("replicate", "one", "--seed", "7", "--scheduler", busy)
    assert said.code == 0 and "same" in said.out


def test_a_candidate_goes_along(root, busy, surveylab, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("class Method:\n    name = 'my own'\n")
    monkeypatch.chdir(tmp_path)
    shown = (
        "import importlib\nmodule, name = candidate.split(':')\n"
        "print(getattr(importlib.import_module(module), name).name)"
    )
    write_chapter(root, "demo/one", [*GOOD, shown])
    asked = ["run", "--profile", "smoke", "--scheduler", busy, "--candidate"]
    assert surveylab(*asked, "mine:Method").code == 0
    assert outputs(read(root / "_build/smoke-candidate/demo/one.ipynb"))[-1]["text"] == ["my own\n"]
    said = surveylab(*asked, "yours:Method")
    assert said.code == 2 and "there is no yours.py and no package yours/ in" in said.err


def test_what_takes_longest_begins_first(root, busy, surveylab):
    published = read(root / "book/demo/one.ipynb")
    for name, seconds in (("one", 5.0), ("short", 1.0), ("long", 9.0)):
        write_chapter(root, f"demo/{name}", [BEGIN, GOOD[-1]] if name == "one" else [BEGIN])
        published["metadata"]["surveylab"]["duration"] = seconds
        if name != "one":  # whose claims these are
            published["metadata"]["surveylab"].pop("terms", None)
            for cell in published["cells"]:
                cell["outputs"] = []
        write_notebook(root / f"book/demo/{name}.ipynb", published)
    write_chapter(root, "demo/new", [BEGIN])
    said = surveylab("run", "--scheduler", busy)
    names = [line.split(":")[0] for line in said.out.splitlines() if line.startswith("demo/")]
    assert names == ["demo/new", "demo/long", "demo/one", "demo/short"]


def test_an_interrupted_run_frees_the_worker(root, busy, surveylab, tmp_path):
    seen = tmp_path / "seen"
    write_chapter(root, "demo/slow", [BEGIN, note(seen, "os.getpid()"), "import time\ntime.sleep(120)"])
    process = subprocess.Popen(
        [sys.executable, "-c", "from surveylab.press.cli import main; main()", "run", "--scheduler", busy],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: len(lines(seen)) == 1)
    kernel = Path("/proc") / lines(seen)[0]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and len(err.strip().splitlines()) == 1
    until(lambda: not kernel.exists(), 20)
    assert surveylab("run", "demo/one", "--force", "--scheduler", busy).code == 0


# -------------------- what cannot be had


def test_nobody_there_and_no_gpu_are_said_at_once(root, place, empty, busy, surveylab):
    _, address = empty
    said = surveylab("run", "--force", "--scheduler", address)
    assert said.code == 2
    assert said.err == (
        f"surveylab: no worker is connected to {address}; start one: dask worker {address} --nthreads 1\n"
    )
    asked = ["run", "--force", "--device", "cuda", "--scheduler"]
    said = surveylab(*asked, busy)
    assert said.code == 2
    start = f"start one: dask worker {busy} --nthreads 1 --resources GPU=1, or leave --device cuda out"
    assert said.err == f"surveylab: no worker of 1 offers a GPU at {busy}; {start}\n"
    worker = place.worker(address, "--resources", "GPU=1")
    try:
        assert surveylab(*asked, address).code == 0
    finally:
        worker.kill()
        worker.wait()


def test_an_address_where_no_scheduler_is(root, surveylab, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        said = surveylab("run", "--force", "--scheduler", address)
        assert said.code == 2
        assert said.err == f"surveylab: no Dask scheduler answers at {address}: not within 1 s\n"
    said = surveylab("verify", "--scheduler", address)
    assert said.code == 2 and f"no Dask scheduler answers at {address}: " in said.err


def test_a_worker_without_surveylab_or_with_another(root, place, empty, surveylab, tmp_path):
    _, address = empty
    worker = place.worker(address, code=HIDDEN + WORKER)
    said = surveylab("run", "--force", "--scheduler", address)
    worker.kill()
    assert said.code == 2
    assert "the worker at tcp://127.0.0.1:" in said.err and "cannot import surveylab" in said.err
    other = Place(tmp_path)
    shutil.copytree(place.folder / "site", tmp_path / "site")
    with (tmp_path / "site/surveylab/press/run/clean.py").open("a") as file:
        file.write("# not the same\n")
    until(lambda: worker.poll() is not None)
    worker = other.worker(address)
    said = surveylab("run", "--force", "--scheduler", address)
    worker.kill()
    assert said.code == 2 and "has another surveylab than this one" in said.err


@pytest.mark.parametrize(
    ("package", "told"), [("distributed", "distributed"), ("dask", "dask"), ("python", "Python")]
)
def test_another_dask_or_python_is_refused(package, told):
    from distributed.versions import get_versions

    same = get_versions()
    cluster.refuse_other_versions({"the scheduler": same})
    other = {"packages": {**same["packages"], package: "3.4.5.final.0"}}
    with pytest.raises(WrongUse, match=rf"the worker at x has {told} 3\.4.*, here it is \d.*: use one"):
        cluster.refuse_other_versions({"the scheduler": same, "the worker at x": other})


# -------------------- who leaves in the middle


def test_the_last_worker_or_the_scheduler_is_gone(root, place, empty, surveylab, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "GRACE", 1)
    scheduler, address = empty
    place.worker(address)
    seen = tmp_path / "seen"
    die = "import os, signal, time\nos.kill({}, signal.SIGKILL)\ntime.sleep(60)"
    write_chapter(root, "demo/two", [BEGIN, note(seen, "1"), die.format("os.getppid()")])
    (root / "book/demo/one.ipynb").unlink()
    said = surveylab("run", "--scheduler", address)
    assert said.code == 1 and "demo/one: executed in" in said.out
    goes_on = "what was finished stays, and the same command goes on where this one stopped"
    assert said.err == f"surveylab: no worker is left; {goes_on}\n"
    assert lines(seen) == ["1"]
    worker = place.worker(address)
    write_chapter(root, "demo/two", [BEGIN, die.format(scheduler.pid)])
    said = surveylab("run", "--scheduler", address)
    worker.kill()
    assert said.code == 1 and said.out == "demo/one: fresh\n"
    assert said.err == f"surveylab: the scheduler is gone; {goes_on}\n"
