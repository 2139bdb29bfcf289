"""Learning rates: looked up in an ordinary run, found and recorded in a tuning run, never guessed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from surveylab import lab

Begin = Callable[..., lab.Run]
GRID = [0.01, 0.1, 1.0]
SCORES = torch.tensor([[0.5, 0.6], [0.9, 0.8], [0.1, 0.2]])


def never(rates: list[float]) -> torch.Tensor:
    raise AssertionError("the sweep ran")


@pytest.fixture
def tuning(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file into which this run records its sweeps."""
    path = tmp_path / "found.json"
    monkeypatch.setenv("SURVEYLAB_TUNE", str(path))
    return path


@pytest.fixture
def kept(root: Path) -> Path:
    path = root / "book" / "tuning" / "demo" / "one.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"arm": {"rate": 0.1, "grid": GRID, "scores": SCORES.tolist()}}))
    return path


def test_a_kept_rate(kept: Path, begin: Begin) -> None:
    begin()
    assert lab.tuned("arm", GRID, never) == 0.1
    assert lab.sweeps()["arm"]["grid"] == GRID


def test_a_rate_that_is_not_known(kept: Path, begin: Begin) -> None:
    begin()
    with pytest.raises(lab.TuningError, match="other has not been tuned; run: surveylab tune demo/one"):
        lab.tuned("other", GRID, never)
    with pytest.raises(lab.TuningError, match="arm was tuned on another grid; run: surveylab tune demo/one"):
        lab.tuned("arm", [0.01, 0.1, 2.0], never)
    kept.unlink()
    assert lab.sweeps() == {}
    with pytest.raises(lab.TuningError, match="arm has not been tuned"):
        lab.tuned("arm", GRID, never)


@pytest.mark.parametrize("text", ["{", "3", '["a"]'])
def test_a_damaged_record(kept: Path, begin: Begin, text: str) -> None:
    begin()
    kept.write_text(text)
    with pytest.raises(
        lab.TuningError, match=r"one\.json is not a record of sweeps .* tune the chapter anew"
    ):
        lab.tuned("arm", GRID, never)


def test_only_what_is_missing_is_swept(
    tuning: Path, kept: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SURVEYLAB_TUNE_KEPT", str(kept))
    begin(seed=1000)
    assert lab.tuned("arm", GRID, never) == 0.1
    assert lab.tuned("new", GRID, lambda rates: SCORES) == 0.1
    assert set(json.loads(tuning.read_text())) == {"arm", "new"}
    other = [0.001, 0.1, 10.0]
    assert lab.tuned("arm", other, lambda rates: SCORES) == 0.1
    assert json.loads(tuning.read_text())["arm"]["grid"] == other


@pytest.mark.parametrize("started_empty", [True, False])
def test_a_sweep_is_recorded(tuning: Path, kept: Path, begin: Begin, shown: Any, started_empty: bool) -> None:
    if started_empty:
        tuning.touch()
    begin(seed=1000)
    asked: list[list[float]] = []

    def sweep(rates: list[float]) -> torch.Tensor:
        asked.append(rates)
        return SCORES

    assert lab.tuned("arm", GRID, sweep) == 0.1  # even though one is kept: it is being found anew
    assert lab.tuned("second", [1, 2, 3], lambda rates: SCORES) == 2
    assert asked == [GRID]
    found = json.loads(tuning.read_text())
    assert found == lab.sweeps()
    assert list(found) == ["arm", "second"]
    assert found["arm"]["rate"] == 0.1 and found["arm"]["grid"] == GRID
    assert found["arm"]["scores"] == [[0.5, 0.6], [0.9, 0.8], [0.1, 0.2]]
    assert json.loads(kept.read_text()).keys() == {"arm"}
    lab.check("gain", torch.full((24,), float("nan")))  # rates are being chosen: nothing is judged or shown
    lab.summary()
    assert len(shown) == 1


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (SCORES[[1, 0, 2]], r"best rate 0\.01 lies at the edge of its grid \(0\.01: 0\.85, .*widen it"),
        (SCORES[[0, 2, 1]], r"best rate 1 lies at the edge"),
        (torch.tensor([[0.5], [float("nan")], [0.1]]), "not finite; score a run that diverged as the worst"),
        (SCORES[:2], r"must return \(rates, replicates\) scores; got \(2, 2\)"),
        (SCORES[:, 0], r"got \(3,\)"),
    ],
)
def test_a_sweep_that_cannot_tell(tuning: Path, begin: Begin, scores: torch.Tensor, message: str) -> None:
    begin(seed=1000)
    with pytest.raises(lab.TuningError, match=message):
        lab.tuned("arm", GRID, lambda rates: scores)
    assert not tuning.exists()


def test_smoke_may_end_at_the_edge(tuning: Path, begin: Begin) -> None:
    begin(profile="smoke", seed=1000)
    assert lab.tuned("arm", GRID, lambda rates: SCORES.flip(0) + torch.tensor([[1.0], [0], [0]])) == 0.01


@pytest.mark.parametrize("grid", [[0.1, 1.0], [1.0, 0.1, 0.01], [0.1, 0.1, 1.0]])
def test_a_grid_that_is_none(begin: Begin, grid: list[float]) -> None:
    begin()
    with pytest.raises(lab.TuningError, match="at least three, ascending and distinct"):
        lab.tuned("arm", grid, never)
