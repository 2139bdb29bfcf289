"""What arms gave is kept between runs, and taken only where all that could have changed it is the same."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from toy_data import toy

from surveylab import lab
from surveylab.lab import cache

Begin = Callable[..., lab.Run]


class Notebook(SimpleNamespace):
    """A kernel in which cells have been executed."""

    def run(self, *cells: str) -> None:
        self.user_ns["In"] += cells


@pytest.fixture(autouse=True)
def begun_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process had just begun: other tests may have imported modules that they wrote."""
    monkeypatch.setattr(cache, "_STARTED", time.time())


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Notebook:
    shell = Notebook(user_ns={"In": ["", "import torch", "arm = ..."]})
    monkeypatch.setattr(cache, "get_ipython", lambda: shell)
    monkeypatch.setenv("SURVEYLAB_CACHE", str(tmp_path / "cache"))
    return shell


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels of what was really trained."""
    found: list[str] = []
    train = lab.comparison.train

    def counted(*given: Any, **options: Any) -> lab.History:
        found.append(options["label"])
        return train(*given, **options)

    monkeypatch.setattr("surveylab.lab.comparison.train", counted)
    return found


Repeat = Callable[..., list[Any]]


@pytest.fixture
def repeat(monkeypatch: pytest.MonkeyPatch) -> Repeat:
    """Do something several times as if each were a run of its own, in which it comes first."""

    def act(what: Callable[[], Any], times: int) -> list[Any]:
        found = []
        for _ in range(times):
            monkeypatch.setattr(cache, "_calls", 0)
            found.append(what())
        return found

    return act


class Network(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 3))


def trained(
    name: str = "arm", *, samples: int = 40, rate: float = 0.1, arm: lab.Arm | None = None, **options: Any
) -> lab.Trained:
    cache._calls = 0 if arm is None else cache._calls  # as in a run of its own
    data = toy(dtype=torch.float32)
    comparison = lab.Comparison(data, lab.make_streams(0, 2), samples, [0.01, 0.1, 1.0], 20, 8, 8)
    return comparison.run(name, arm or lab.Arm(Network, 4), settings=[{"rate": rate}], **options)


def test_what_is_loaded_equals_what_was_trained_to_the_bit(
    begin: Begin, notebook: Notebook, trainings: list[str]
) -> None:
    begin()
    look = lambda population, step: (step, population.state["1.bias"].detach().clone())  # noqa: E731
    first = trained(every=5, callback=look)
    again = trained(every=5, callback=look)
    assert trainings == ["arm"]
    one, two = first.population, again.population
    for name, value in {**one.state, **one.buffers}.items():
        assert torch.equal(value, {**two.state, **two.buffers}[name])
    assert two.state["1.weight"].requires_grad
    assert torch.equal(first.history.losses, again.history.losses)
    assert first.history.steps == again.history.steps == [0, 5, 10]
    for (step, bias), (other, kept) in zip(first.history.values, again.history.values, strict=True):
        assert step == other and torch.equal(bias, kept)
    assert torch.equal(first.score, again.score)
    x = torch.randn(6, 4, 36)
    assert torch.equal(one.train()(x), two.train()(x))  # dropout goes on where it was


def test_whatever_could_make_it_another_trains_again(
    begin: Begin, notebook: Notebook, trainings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin()
    trained()

    def changed(change: Callable[..., Any], *given: Any) -> Callable[[], lab.Trained]:
        def act() -> lab.Trained:
            change(*given)
            return trained()

        return act

    changes: list[Callable[[], lab.Trained]] = [
        lambda: trained("other"),
        lambda: trained(samples=48),
        lambda: trained(rate=0.2),
        lambda: trained(every=5),
        changed(notebook.run, "width = 3"),
        changed(lambda: begin(seed=1)),
        changed(lambda: begin(profile="smoke")),
        changed(monkeypatch.setattr, cache, "_library", lambda: "changed"),
        changed(monkeypatch.setenv, "SURVEYLAB_DATA", "elsewhere"),
        changed(monkeypatch.setattr, cache, "versions", lambda: {"torch": "0"}),
    ]
    for count, change in enumerate(changes, start=2):
        change()
        assert len(trainings) == count


def test_a_cell_run_twice_is_another_history(begin: Begin, notebook: Notebook, trainings: list[str]) -> None:
    """`width += 1` executed twice gives another network with the same text."""
    begin()
    notebook.run("width += 1")
    trained()
    notebook.run("width += 1")
    trained()
    assert len(trainings) == 2


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "authors_own.py"
    edit(path, "width = 1\n", before=True)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    importlib.import_module("authors_own")
    yield path
    del sys.modules["authors_own"]


def edit(path: Path, text: str, *, before: bool) -> None:
    """Write a file as if before, or after, this process began."""
    path.write_text(text, encoding="utf-8")
    moment = cache._STARTED + (-100 if before else 100)
    os.utime(path, (moment, moment))


def test_a_module_of_the_authors_counts(
    begin: Begin, notebook: Notebook, trainings: list[str], module: Path, repeat: Repeat
) -> None:
    begin()
    repeat(lambda: trained(), 2)
    assert len(trainings) == 1
    edit(module, "width = 2\n", before=True)  # as another run would find it
    repeat(lambda: trained(), 2)
    assert len(trainings) == 2


def test_nothing_is_kept_where_a_loaded_file_was_edited_since(
    begin: Begin, notebook: Notebook, trainings: list[str], module: Path, repeat: Repeat, tmp_path: Path
) -> None:
    begin()
    edit(module, "width = 3\n", before=False)  # what is loaded is not what the file says
    repeat(lambda: trained(), 2)
    assert len(trainings) == 2 and not (tmp_path / "cache").exists()


def test_the_library_is_read_from_its_files(tmp_path: Path) -> None:
    for name in ("lab/noise.py", "press/cli.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        edit(tmp_path / name, "x = 1\n", before=True)
    first = cache._library(tmp_path)
    edit(tmp_path / "press/cli.py", "x = 2\n", before=True)
    assert cache._library(tmp_path) == first  # the press decides no result
    edit(tmp_path / "lab/noise.py", "x = 2\n", before=True)
    assert cache._library(tmp_path) not in (first, None)
    edit(tmp_path / "lab/noise.py", "x = 2\n", before=False)
    assert cache._library(tmp_path) is None


def test_arms_of_one_cell_under_one_name_are_told_apart(
    begin: Begin, notebook: Notebook, trainings: list[str], repeat: Repeat
) -> None:
    """They may differ in what no checksum sees, such as the optimiser: the cells are the same each time."""
    begin()

    def both() -> list[float]:
        plain = trained()
        decayed = trained(arm=lab.Arm(Network, 4, partial(lab.sgd, weight_decay=0.5)))
        return [float(arm.population.state["1.weight"].norm()) for arm in (plain, decayed)]

    (first, second), again = repeat(both, 2)
    assert first != second and again == [first, second] and len(trainings) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda task, arm: (replace(task, clip=0.1), arm),
        lambda task, arm: (task, replace(arm, batch=8)),
        lambda task, arm: (task, replace(arm, frozen=("1.weight",))),
        lambda task, arm: (task, replace(arm, initial_state={"1.bias": torch.ones(4)})),
        lambda task, arm: (replace(task, streams=lab.make_streams(5, 2)), arm),
        lambda task, arm: (replace(task, data=replace(task.data, x=task.data.x * 2)), arm),
        lambda task, arm: (replace(task, train=16), arm),
    ],
)
def test_what_an_arm_starts_from_counts(
    begin: Begin, notebook: Notebook, trainings: list[str], repeat: Repeat, change: Any
) -> None:
    begin()
    task = lab.Comparison(toy(dtype=torch.float32), lab.make_streams(0, 2), 40, [0.01, 0.1, 1.0], 20, 8, 8)
    arm = lab.Arm(Network, 4)
    repeat(lambda: task.run("arm", arm, settings=[{"rate": 0.1}]), 1)
    other, another = change(task, arm)
    repeat(lambda: other.run("arm", another, settings=[{"rate": 0.1}]), 1)
    assert len(trainings) == 2


def test_a_callback_that_returns_nothing_is_there_for_what_it_does(
    begin: Begin, notebook: Notebook, trainings: list[str]
) -> None:
    begin()
    seen: list[int] = []
    for _ in range(2):
        trained(every=5, callback=lambda population, step: seen.append(step))
    assert len(trainings) == 2 and seen == [0, 5, 10] * 2


def test_what_only_pickle_could_bring_back_is_not_kept(
    begin: Begin, notebook: Notebook, trainings: list[str]
) -> None:
    begin()
    for _ in range(2):
        trained(callback=lambda population, step: SimpleNamespace(step=step))
    assert len(trainings) == 2


def test_a_damaged_file_is_trained_again(
    begin: Begin, notebook: Notebook, trainings: list[str], tmp_path: Path
) -> None:
    begin()
    trained()
    (kept,) = (tmp_path / "cache").glob("*.pt")
    kept.write_bytes(kept.read_bytes()[:100])
    trained()
    trained()
    assert len(trainings) == 2
    assert not list((tmp_path / "cache").glob("*.part"))


@pytest.mark.parametrize("without", ["SURVEYLAB_CACHE", "notebook", "run"])
def test_nothing_is_kept_unless_asked_for(
    begin: Begin,
    notebook: Notebook,
    trainings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    without: str,
) -> None:
    if without == "notebook":
        monkeypatch.setattr(cache, "get_ipython", lambda: None)
    if without == "SURVEYLAB_CACHE":
        monkeypatch.delenv("SURVEYLAB_CACHE")
    if without != "run":
        begin()
    trained()
    trained()
    assert len(trainings) == 2 and not (tmp_path / "cache").exists()


def test_the_latest_are_kept(
    begin: Begin, notebook: Notebook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cache, "MOST", 2)
    begin()
    for name in ("one", "two", "three"):
        trained(name)
    assert len(list((tmp_path / "cache").glob("*.pt"))) == 2
