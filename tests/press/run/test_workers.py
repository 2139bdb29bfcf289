"""Several chapters at a time on this machine: the same as one at a time, whatever happens to a worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import psutil
import pytest
from tiny_project import GOOD, lines, note, page, until, write_chapter

from surveylab.claims import run_of
from surveylab.press.project import Project, WrongUse
from surveylab.press.run import cluster, executor, kernel, task_files, worker
from surveylab.press.run.executor import Executor

BEGIN = GOOD[0]


# -------------------- one at a time


def test_a_task_is_what_the_project_was_when_it_was_made(root):
    task = kernel.make_task(Project(root), "demo/one", strict=False)
    before = kernel.perform(task).notebook
    for path in ("src/tinylib/method.py", "book/claims/demo/one.yml"):
        (root / path).write_text("not what was asked for")
    assert kernel.perform(task).notebook == before


def test_a_task_carries_claims_rates_and_library_and_nothing_else(root):
    rates = root / "book/tuning/demo/one.json"
    rates.parent.mkdir(parents=True)
    rates.write_text("{}")
    files = task_files.pack(Project(root), "demo/one")
    assert files["book/claims/demo/one.yml"] == (root / "book/claims/demo/one.yml").read_bytes()
    assert files["book/tuning/demo/one.json"] == b"{}"
    assert {"src/tinylib/method.py", "src/surveylab/claims/verdict.py"} <= set(files)
    assert not [name for name in files if "__pycache__" in name]
    assert {name.split("/")[0] for name in files} == {"book", "src"}
    assert "book/tuning/demo/one.json" not in task_files.pack(Project(root), "demo/two")


def test_a_chapter_has_one_thread_whatever_the_shell_says(root, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("MKL_NUM_THREADS", "")
    seen = tmp_path / "seen"
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    write_chapter(root, "demo/two", [BEGIN, note(seen, f"[os.environ.get(n) for n in {names}]")])
    executed = kernel.perform(kernel.make_task(Project(root), "demo/two"))
    assert lines(seen) == ["['1', '1', '1']"]
    assert run_of(json.loads(executed.notebook))["machine"]["threads"] == 1


def test_one_worker_a_core_and_none_without_a_chapter(monkeypatch):
    monkeypatch.setattr(executor, "cores", lambda: 3)
    assert [Executor().at_once(tasks) for tasks in (1, 3, 24)] == [1, 3, 3]
    assert [Executor(8).at_once(tasks) for tasks in (1, 3, 24)] == [1, 3, 8]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--workers", "0"], "--workers"),
        (["run", "--workers", "two"], "--workers"),
        (["verify", "--scheduler", "localhost"], "--scheduler localhost: write it as tcp://host:port"),
        (["run", "--scheduler", "http://localhost:8786"], "write it as tcp://host:port"),
        (["replicate", "--seed", "1", "--scheduler", "tcp://here"], "write it as tcp://host:port"),
        (["run", "--workers", "2", "--scheduler", "tcp://here:1"], "--workers starts workers on this"),
    ],
)
def test_wrong_options(root, surveylab, arguments, said):
    answer = surveylab(*arguments)
    assert answer.code == 2 and said in answer.err


# -------------------- several at a time


@pytest.mark.slow
def test_two_at_a_time_give_what_one_gives_quietly(root, surveylab, monkeypatch, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr("tempfile.tempdir", None)
    seen = tmp_path / "seen"
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_"]
    write_chapter(root, "demo/two", [*GOOD[:2], note(seen, f"[os.environ.get(n) for n in {names}]")])
    assert surveylab("run", "--force").code == 0
    before = page(root, "demo/one"), page(root, "demo/two")
    environment = dict(os.environ)
    monkeypatch.setattr(executor, "cores", lambda: 2)  # what a run without --workers goes by
    said = surveylab("run", "--force")
    assert (said.code, said.err) == (0, "")
    assert sorted(line.split(":")[0] for line in said.out.splitlines()) == ["demo/one", "demo/two"]
    assert (page(root, "demo/one"), page(root, "demo/two")) == before
    assert lines(seen) == ["['1', '1', None]"] * 2  # not as Dask's nanny wants it
    assert dict(os.environ) == environment
    assert not list(place.iterdir())
    assert not [c for c in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(c.cmdline())]


@pytest.mark.slow
def test_a_failing_chapter_is_reported_as_ever_and_the_others_run(root, surveylab):
    write_chapter(root, "bad/raises", [BEGIN, "x = 1\nraise ValueError('nothing to see')"])
    write_chapter(root, "bad/killed", ["import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"])
    (root / "book/demo/one.ipynb").unlink()
    said = surveylab("run", "--workers", "2")
    assert said.code == 1 and said.err == ""
    assert "bad/raises: cell 4 of 4: ValueError: nothing to see\n    | x = 1\n" in said.out
    assert "with the traceback: _build/failed/bad/raises.ipynb" in said.out
    assert "nothing to see" in (root / "_build/failed/bad/raises.ipynb").read_text()
    assert "bad/killed: cell 3 of 3: the kernel died" in said.out
    assert (root / "book/demo/one.ipynb").exists() and not list((root / "book").rglob("bad/*"))
    assert said.out.endswith("2 of 3 chapters failed\n")


@pytest.mark.slow
def test_a_lost_worker_is_replaced_and_what_was_finished_is_not_executed_again(root, surveylab, tmp_path):
    counts = {name: tmp_path / name for name in ("good", "unlucky", "after")}
    finished = root / "book/demo/good.ipynb"
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(finished)!r}).exists():\n    time.sleep(0.05)"
    die = (
        f"import signal\nif len(open({str(counts['unlucky'])!r}).readlines()) == 1:\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n    import time\n    time.sleep(60)"
    )
    write_chapter(root, "demo/good", [BEGIN, note(counts["good"], "1")])
    write_chapter(root, "demo/unlucky", [BEGIN, wait, note(counts["unlucky"], "os.getppid()"), die])
    write_chapter(root, "demo/after", [BEGIN, note(counts["after"], "1")])
    said = surveylab("run", "--workers", "2", "demo/good", "demo/unlucky", "demo/after")
    assert (said.code, said.err) == (0, "")
    assert said.out.count("executed in") == 3
    assert lines(counts["good"]) == ["1"] and lines(counts["after"]) == ["1"]
    assert len(set(lines(counts["unlucky"]))) == 2


@pytest.mark.slow
def test_a_chapter_that_kills_its_worker_each_time_is_given_up_by_name(root, surveylab, tmp_path):
    deadly, good = tmp_path / "deadly", tmp_path / "good"
    kill = "import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(60)"
    write_chapter(root, "demo/deadly", [BEGIN, note(deadly, "1"), kill])
    write_chapter(root, "demo/good", [BEGIN, note(good, "1")])
    said = surveylab("run", "--workers", "2", "demo/deadly", "demo/good")
    assert said.code == 1 and said.err == ""
    assert "demo/deadly: the worker that executed it died, 3 times in a row" in said.out
    # On a busy machine a worker may be lost before its kernel has written.
    assert 2 <= len(lines(deadly)) <= 3 and not (root / "book/demo/deadly.ipynb").exists()
    assert lines(good) == ["1"] and (root / "book/demo/good.ipynb").exists()


@pytest.mark.slow
def test_ctrl_c_ends_workers_and_kernels_and_what_was_finished_stays(root, tmp_path):
    seen, place = tmp_path / "seen", tmp_path / "place"
    place.mkdir()
    sleep = "import time\ntime.sleep(120)"
    for name in ("slow", "slower"):
        write_chapter(root, f"demo/{name}", [BEGIN, note(seen, "os.getpid()"), sleep])
    write_chapter(root, "demo/good", [BEGIN])  # begins first: of none is known how long it takes
    process = subprocess.Popen(
        [sys.executable, "-c", "from surveylab.press.cli import main; main()", "run", "--workers", "2"],
        env={**os.environ, "TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: len(lines(seen)) == 2 and (root / "book/demo/good.ipynb").exists())
    family = psutil.Process(process.pid).children(recursive=True)
    assert {int(pid) for pid in lines(seen)} <= {child.pid for child in family}
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all in the foreground get it
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "surveylab: interrupted; what was finished stays, the rest is as it was"
    assert "demo/good: executed in" in out
    _, left = psutil.wait_procs(family, timeout=5)
    assert not left
    assert (root / "book/demo/good.ipynb").exists() and not (root / "book/demo/slow.ipynb").exists()
    assert not list(place.iterdir())


# -------------------- graphics cards


@pytest.mark.slow
def test_each_worker_has_a_gpu_of_its_own(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: one (UUID: a)'\necho 'GPU 1: another (UUID: b)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with cluster.connected(None, 3, gpu=True) as client:
        pool = cluster.WorkerPool(client, None, gpu=True)
        pool.look()
        assert pool.slots == 2  # the third worker has none
        found = client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()
        assert sorted(found, key=str) == ["0", "1", None]


@pytest.mark.slow
def test_no_gpu_on_this_machine_is_said_at_once(root, surveylab, monkeypatch, tmp_path):
    write_chapter(root, "demo/two", [BEGIN])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    said = surveylab("run", "--workers", "2", "--device", "cuda", "--force")
    assert said.code == 2 and "no GPU is found on this machine" in said.err
    assert not (root / "book/demo/two.ipynb").exists()


@pytest.mark.parametrize("cards", [1, 2])
def test_more_workers_than_gpus_are_refused_and_not_cut(root, surveylab, monkeypatch, cards):
    for name in ("two", "three"):
        write_chapter(root, f"demo/{name}", [BEGIN])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join("01"[:cards]))
    said = surveylab("run", "--workers", "3", "--device", "cuda", "--force")
    assert said.code == 2 and f"write --workers {cards}, or leave --device cuda out" in said.err
    assert not (root / "book/demo/two.ipynb").exists()


# -------------------- the reader's own method


def test_a_candidate_is_found_as_module_as_package_or_installed(tmp_path):
    (tmp_path / "mine.py").write_text("x = 1")
    (tmp_path / "ours/part").mkdir(parents=True)
    (tmp_path / "ours/__init__.py").write_text("")
    (tmp_path / "ours/part/deep.py").write_text("y = 2")
    assert task_files.pack_candidate("mine:Norm", tmp_path) == {"candidate/mine.py": b"x = 1"}
    assert task_files.pack_candidate("ours.part.deep:Norm", tmp_path) == {
        "candidate/ours/__init__.py": b"",
        "candidate/ours/part/deep.py": b"y = 2",
    }
    assert task_files.pack_candidate("json.decoder:JSONDecoder", tmp_path) == {}
    with pytest.raises(WrongUse, match=r"there is no nobody\.py and no package nobody/ in"):
        task_files.pack_candidate("nobody.there:Norm", tmp_path)


def test_an_unwanted_kernel_is_ended_without_sigkill_too(monkeypatch):
    """Windows has no such signal."""
    monkeypatch.delattr(signal, "SIGKILL")
    monkeypatch.setattr(worker, "POLL", 0.01)
    ended = []
    monkeypatch.setattr(os, "kill", lambda *given: ended.append(given))
    nobody = SimpleNamespace(state=SimpleNamespace(tasks={}))
    worker._watch(nobody, "key", 123, threading.Event())
    assert ended == [(123, signal.SIGTERM)]
