"""The start of a chapter: what it accepts, what it records."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from surveylab import lab
from surveylab.claims import RecordError, run_of
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
    with pytest.raises(ValueError, match=rf"3 × {replicates} in all or a multiple of it; got shape \(5,\)"):
        run.by_population(values[:5])


def test_seeds_do_not_share_streams(begin: Begin) -> None:
    one, two = (set(begin(seed=seed).streams()) for seed in (0, 1))
    assert not one & two


def test_threads_are_two_unless_the_environment_says(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(3)
    begin()
    assert torch.get_num_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    begin()
    assert torch.get_num_threads() == min(2, len(os.sched_getaffinity(0)))


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
            "'demo/on' has no claim .* chapters with claims: demo/one, demo/two",
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
    (root / "book" / "claims.yml").unlink()
    with pytest.raises(RecordError, match=r"SURVEYLAB_ROOT is .* no book/claims\.yml"):
        begin()


def test_a_candidate() -> None:
    assert lab.load_candidate(None) is None
    assert lab.load_candidate("torch.nn:GroupNorm") is torch.nn.GroupNorm


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torch.nn.GroupNorm", "must read 'package.module:Class'; got 'torch.nn.GroupNorm'"),
        (":GroupNorm", "must read"),
        ("torch.nn:", "must read"),
        (".nn:GroupNorm", "must read"),
        ("no.such.thing:A", "cannot import no.such.thing: No module named 'no'"),
        ("torch.nn:GrupNorm", "torch.nn has no GrupNorm"),
    ],
)
def test_a_candidate_that_cannot_be_found(spec: str, message: str) -> None:
    with pytest.raises(lab.CandidateError, match=message):
        lab.load_candidate(spec)
