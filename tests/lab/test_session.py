"""The start of a chapter: what it accepts, what it records."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from surveylab import lab
from surveylab.claims import RecordError, record, run_of
from surveylab.lab import session

Begin = Callable[..., lab.Run]
Shown = list[dict[str, Any]]


def test_what_it_shows_is_what_the_press_reads(begin: Begin, shown: Shown) -> None:
    run = begin(profile="standard", seed=3)
    (output,) = shown
    assert output["data"] == {"text/plain": "standard: 3 × 8 replicates"}
    record = run_of({"cells": [{"outputs": shown}]})
    assert record is not None
    assert {key: record[key] for key in ("chapter", "profile", "seed", "device")} == {
        "chapter": "demo/one",
        "profile": "standard",
        "seed": 3,
        "device": "cpu",
    }
    machine = record["machine"]
    assert {"processor", "capability", "threads", "accelerator"} <= machine.keys()
    assert machine["threads"] == torch.get_num_threads() and machine["accelerator"] is None
    assert machine["capability"] == torch.backends.cpu.get_cpu_capability()
    versions = record["versions"]
    assert versions["python"] == platform.python_version() and versions["torch"] == torch.__version__
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert lab.current() is run


@pytest.mark.parametrize(("profile", "replicates"), [("smoke", 2), ("standard", 8), ("full", 22)])
def test_profiles(begin: Begin, profile: str, replicates: int) -> None:
    run = begin(profile=profile, seed=5)
    assert run.replicates == replicates
    assert run.streams() == lab.make_streams(5, replicates, 3)
    values = torch.arange(3.0 * replicates)
    assert run.by_population(values).tolist() == values.view(3, -1).tolist()
    assert run.by_population(values).dtype == torch.float64
    assert run.pick(smoke=1, standard=2) == {"smoke": 1}.get(profile, 2)
    assert run.pick(smoke=1, standard=2, full=3) == {"smoke": 1, "standard": 2, "full": 3}[profile]
    with pytest.raises(ValueError, match=rf"populations of at least {min(replicates, 8)}; got shape \(5,\)"):
        run.by_population(values[:5])


@pytest.mark.parametrize(("profile", "replicates"), [("smoke", 2), ("standard", 12), ("full", 12)])
def test_a_planned_number_of_replicates(begin: Begin, profile: str, replicates: int) -> None:
    run = begin(profile=profile, seed=5)
    streams = run.streams(replicates=12)
    assert streams == lab.make_streams(5, replicates, 3)
    assert run.by_population(torch.arange(float(len(streams)))).shape == (3, replicates)


def test_seeds_do_not_share_streams(begin: Begin) -> None:
    one, two = (set(begin(seed=seed).streams()) for seed in (0, 1))
    assert not one & two


def test_there_is_one_thread_unless_the_environment_says(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(3)
    begin()
    assert torch.get_num_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    begin()
    assert torch.get_num_threads() == 1


def test_an_empty_number_of_threads_is_none(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(3)
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    begin()
    assert torch.get_num_threads() == 1


def test_the_build_of_torch_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip's package may be called 2.13.0 where torch itself says with which CUDA it was built."""
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")
    assert session.versions()["torch"] == "2.13.0+cu130"
    assert type(session.versions()["torch"]) is str


@pytest.mark.parametrize(
    ("given", "recorded"),
    [
        ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, "ONEDNN_MAX_CPU_ISA=SSE41"),
        (
            {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "avx2"},
            "ATEN_CPU_CAPABILITY=avx2, MKL_CBWR=COMPATIBLE",
        ),
        ({"OMP_DYNAMIC": "true"}, "OMP_DYNAMIC=true"),
        ({"NVIDIA_TF32_OVERRIDE": "0", "GLIBC_TUNABLES": "x"}, "GLIBC_TUNABLES=x, NVIDIA_TF32_OVERRIDE=0"),
        # The number of threads has a field of its own; the others decide how one waits, or what is reported.
        ({"OMP_NUM_THREADS": "4", "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "3000"}, None),
        ({"MKL_VERBOSE": "1", "KMP_DUPLICATE_LIB_OK": "True", "MKL_CBWR": "", "PATH": "/bin"}, None),
    ],
)
def test_variables_that_change_the_arithmetic_belong_to_the_machine(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], recorded: str | None
) -> None:
    for name in [name for name in os.environ if session._counts(name)]:
        monkeypatch.delenv(name)
    before = session.machine(torch.device("cpu"))
    assert "settings" not in before
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert session.machine(torch.device("cpu")) == before | ({"settings": recorded} if recorded else {})


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert session._device("auto").type == ("cuda" if there else "cpu")
        assert session._device("cpu").type == "cpu"


def test_a_cuda_that_is_not_there(begin: Begin, monkeypatch: pytest.MonkeyPatch, shown: Shown) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        lab.DeviceError, match="'cuda' was asked for, but torch finds no CUDA device; use 'cpu'"
    ):
        begin(device="cuda")
    assert shown == []


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"profile": "fast"}, ValueError, "profile must be one of smoke, standard, full; got 'fast'"),
        ({"seed": -1}, ValueError, "whole number of at least 0; got -1"),
        ({"seed": 0.5}, ValueError, r"whole number of at least 0; got 0\.5"),
        ({"seed": "1"}, ValueError, "got '1'"),
        ({"seed": True}, ValueError, "got True"),
        ({"device": "tpu"}, lab.DeviceError, "'auto', 'cpu' or 'cuda'; got 'tpu'"),
        (
            {"chapter": "demo/on"},
            ValueError,
            r"'demo/on' has no claims in the book; did you mean 'demo/one'\?",
        ),
    ],
)
def test_bad_input(begin: Begin, shown: Shown, given: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        begin(**given)
    assert shown == []
    with pytest.raises(RuntimeError, match=r"no run has begun; call lab\.begin"):
        lab.current()


def test_no_project(root: Path, begin: Begin) -> None:
    shutil.rmtree(root / "book" / "claims")
    with pytest.raises(RecordError, match=r"SURVEYLAB_ROOT is .* no folder book/claims"):
        begin()


def published(root: Path, **record: Any) -> Path:
    path = root / "book" / "demo" / "one.ipynb"
    path.parent.mkdir()
    path.write_text(json.dumps({"cells": [], "metadata": {"surveylab": record}}), encoding="utf-8")
    return path


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "watched", lambda: True)


@pytest.mark.usefixtures("watched")
def test_a_person_who_watches_is_told_how_long_it_takes(
    root: Path, begin: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(profile="standard")
    assert capsys.readouterr().out == (
        'standard takes some minutes on one core. profile = "smoke" shows in seconds that everything '
        "runs and decides no claim.\n"
    )
    path = published(root, duration=81.4, machine={"processor": "A Processor, cpu family 6"})
    for profile, said in {
        "smoke": "smoke shows in seconds that everything runs and decides no claim; standard took 81 s when",
        "standard": "standard took 81 s when it was published (A Processor). profile = ",
        "full": "full is for a GPU; standard took 81 s when it was published (A Processor).",
    }.items():
        begin(profile=profile)
        out = capsys.readouterr().out
        assert said in out and out.endswith(f"\nPublished results: {path}\n")


def test_where_nobody_watches_nothing_is_said(
    root: Path, begin: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    published(root, duration=81.4)
    begin()
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("watched")
def test_without_a_checkout_the_packaged_claims_and_rates_serve(
    root: Path,
    begin: Begin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    packaged = tmp_path / "packaged"
    (packaged / "book" / "tuning" / "demo").mkdir(parents=True)
    (root / "book" / "claims").rename(packaged / "book" / "claims")
    grid = {"rate": [0.01, 0.1, 1.0]}
    sweep = {"arm": {"grid": grid, "stages": [], "best": [{"rate": 0.1}]}}
    (packaged / "book" / "tuning" / "demo" / "one.json").write_text(json.dumps(sweep), encoding="utf-8")
    monkeypatch.delenv("SURVEYLAB_ROOT")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(record, "__file__", str(tmp_path / "site" / "surveylab" / "claims" / "record.py"))
    with pytest.raises(RecordError, match="work inside a checkout of the book's repository, or set SURV"):
        begin()
    for module in (record, session):
        monkeypatch.setattr(module, "PACKAGED", packaged)
    assert begin().root == packaged
    assert lab.sweeps() == sweep
    assert "the claims are those that came with the installed package" in capsys.readouterr().out


def test_the_processor_of_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python says only "arm" there, and processors that differ must not pass for the same."""
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    asked: list[list[str]] = []

    def answer(command: list[str], **options: Any) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(stdout="Apple M2\n")

    monkeypatch.setattr(session.subprocess, "run", answer)
    assert session._processor() == "Apple M2"
    assert asked[0][1:] == ["-n", "machdep.cpu.brand_string"]


def test_a_processor_without_a_file_that_describes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setattr(platform, "processor", lambda: "Intel64 Family 6 Model 142 Stepping 10")
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError()))
    assert session._processor() == "Intel64 Family 6 Model 142 Stepping 10"
