"""What arms gave is kept between runs, and taken only where all that could have changed it is the same."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
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


class Network(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 3))


def trained(name: str = "arm", *, samples: int = 40, rate: float = 0.1, **options: Any) -> lab.Trained:
    data = toy(dtype=torch.float32)
    comparison = lab.Comparison(data, lab.make_streams(0, 2), samples, [0.01, 0.1, 1.0], 20, 8, 8)
    return comparison.run(name, lab.Arm(Network, 4), settings=[{"rate": rate}], **options)


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
    path.write_text("width = 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    importlib.import_module("authors_own")
    yield path
    del sys.modules["authors_own"]


def test_a_module_of_the_authors_counts(
    begin: Begin, notebook: Notebook, trainings: list[str], module: Path
) -> None:
    begin()
    trained()
    trained()
    assert len(trainings) == 1
    module.write_text("width = 2\n", encoding="utf-8")
    trained()
    assert len(trainings) == 2


def test_the_library_is_read_from_its_files(tmp_path: Path) -> None:
    assert len(cache._library()) == 64
    root = Path(lab.__file__).parent
    assert str(root / "noise.py") and cache._library() == cache._library()


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
