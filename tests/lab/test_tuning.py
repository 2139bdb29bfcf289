"""Learning rates: looked up in an ordinary run, sought and recorded in a tuning run, never guessed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from surveylab import lab
from surveylab.lab import tuning as module
from surveylab.lab.tuning import Point, Search

Begin = Callable[..., lab.Run]
GRID = {"rate": [2.0**k for k in range(-4, 4)]}
STREAMS = lab.make_streams(1000, 6, 2)


class Trial:
    """A trial whose best rates are known; notes what it was asked."""

    def __init__(self, *peaks: float, slow: float | None = None) -> None:
        self.peaks, self.slow = peaks, slow
        self.asked: list[tuple[float, list[tuple[lab.Stream, Point]]]] = []

    def __call__(self, trials: Sequence[tuple[lab.Stream, Point]], share: float) -> Tensor:
        self.asked.append((share, list(trials)))
        scores = []
        for stream, point in trials:
            peak = self.peaks[stream.population % len(self.peaks)]
            # Where only part of the budget is spent, twice the rate seems best.
            peak = peak if share == 1 else 2 * peak
            distance = abs(torch.tensor(point["rate"] / peak).log2().item())
            bonus = point.get("weight_decay", 0.0) * (1 if share < 1 else 0)
            scores.append(10 - distance + bonus + 0.01 * stream.replica)
        return torch.tensor(scores)


def never(trials: Any, share: float) -> Tensor:
    raise AssertionError("a trial ran")


@pytest.fixture
def tuning(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file into which this run records its searches."""
    path = tmp_path / "found.json"
    monkeypatch.setenv("SURVEYLAB_TUNE", str(path))
    return path


@pytest.fixture
def kept(root: Path) -> Path:
    path = root / "book" / "tuning" / "demo" / "one.json"
    path.parent.mkdir(parents=True)
    found = Search(GRID, [], [{"rate": 0.5}, {"rate": 1.0}])
    path.write_text(json.dumps({"arm": asdict(found)}))
    return path


# ------------------------------------------------------------------------------------------ the search


def test_successive_halving_finds_each_populations_best_at_the_whole_budget() -> None:
    trial = Trial(0.5, 1.0)
    found = module.search("arm", GRID, STREAMS, trial)
    assert found.best == [{"rate": 0.5}, {"rate": 1.0}]
    (first, everything), (last, finals) = trial.asked
    assert (first, last) == (0.25, 1.0)
    assert len(everything) == 2 * 8 * 4 and len(finals) == 2 * 3 * 4
    assert {stream.replica for stream, _ in everything} == set(range(4))  # four scouts of each population
    for population, rates in enumerate(([0.5, 1.0, 2.0], [1.0, 2.0, 4.0])):  # around what seemed best
        assert sorted({p["rate"] for s, p in finals if s.population == population}) == rates
    spent = sum(share * len(trials) for share, trials in trial.asked)
    assert spent == 2 * 4 * (8 / 4 + 3)


def test_what_was_tried_is_kept() -> None:
    found = module.search("arm", GRID, STREAMS, Trial(0.5, 1.0))
    assert [stage["share"] for stage in found.stages] == [0.25, 1.0]
    for stage, points in zip(found.stages, (8, 3), strict=True):
        assert [len(tried) for tried in stage["points"]] == [points] * 2
        assert torch.tensor(stage["scores"]).shape == (2, points, 4)
    assert json.loads(json.dumps(asdict(found))) == asdict(found)


def test_a_short_grid_needs_one_stage() -> None:
    trial = Trial(0.5)
    found = module.search("arm", {"rate": [0.25, 0.5, 1.0]}, STREAMS, trial)
    assert found.best == [{"rate": 0.5}] * 2 and [share for share, _ in trial.asked] == [1.0]


def test_other_axes_end_as_one_value_for_all_populations() -> None:
    """What a regulariser is worth shows at the whole budget: early on none of it seems best."""

    def trial(trials: Sequence[tuple[lab.Stream, Point]], share: float) -> Tensor:
        scores = []
        for stream, point in trials:
            distance = abs(torch.tensor(point["rate"] / (0.5, 1.0)[stream.population]).log2().item())
            worth = point["weight_decay"] * (1 if share == 1 else -1)
            scores.append(10 - distance + worth)
        return torch.tensor(scores)

    found = module.search("arm", GRID | {"weight_decay": [0.0, 0.1, 1.0]}, STREAMS, trial)
    assert found.best == [{"rate": 0.5, "weight_decay": 1.0}, {"rate": 1.0, "weight_decay": 1.0}]
    assert [len(tried) for tried in found.stages[1]["points"]] == [3, 3]


def test_with_two_values_of_another_axis_the_better_one_has_two_rates_left() -> None:
    trial = Trial(0.5, 1.0)
    found = module.search("arm", GRID | {"weight_decay": [0.0, 1.0]}, STREAMS, trial)
    for tried in found.stages[1]["points"]:
        assert sorted(point["weight_decay"] for point in tried) == [0.0, 1.0, 1.0]
    assert len({point["weight_decay"] for point in found.best}) == 1


def test_whole_numbers_stay_whole() -> None:
    found = module.search(
        "arm", {"rate": [0.1, 1.0, 10.0], "batch": [8, 16]}, STREAMS, lambda t, s: torch.ones(len(t))
    )
    assert isinstance(found.best[0]["batch"], int)


def test_of_equal_scores_the_lower_rate_is_taken() -> None:
    found = module.search("arm", GRID, STREAMS, lambda trials, share: torch.ones(len(trials)))
    assert found.best == [{"rate": GRID["rate"][0]}] * 2


def test_a_score_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(lab.TuningError, match="not finite; score a run that diverged as the worst"):
        module.search("arm", GRID, STREAMS, lambda trials, share: torch.full((len(trials),), torch.nan))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"rate": [0.1, 1.0]}, "rates at least three"),
        ({"rate": [1.0, 0.1, 0.01]}, "ascending and distinct"),
        ({"rate": [0.1, 0.1, 1.0]}, "ascending and distinct"),
        ({"rate": [0.1, 1.0, 2.0], "temperature": []}, "values of temperature"),
        ({"temperature": [1.0]}, "must have values of 'rate'; it has temperature"),
    ],
)
def test_a_grid_that_is_none(grid: dict[str, list[float]], message: str) -> None:
    with pytest.raises(lab.TuningError, match=message):
        module.search("arm", grid, STREAMS, never)


def test_points_of_populations_as_those_of_replicas() -> None:
    low, high = {"rate": 0.5}, {"rate": 1.0}
    assert module.by_replica([low, high], STREAMS) == [low] * 6 + [high] * 6
    assert module.by_replica([low], STREAMS) == [low] * 12
    with pytest.raises(ValueError, match=r"one point, or one a population \(2\); got 3"):
        module.by_replica([low] * 3, STREAMS)


# ---------------------------------------------------------------------------------- in a chapter's run


def test_kept_values(kept: Path, begin: Begin) -> None:
    begin()
    assert module.settings("arm", GRID, STREAMS, never) == [{"rate": 0.5}, {"rate": 1.0}]
    assert lab.sweeps()["arm"]["grid"] == GRID


def test_an_arm_that_is_not_known(kept: Path, begin: Begin) -> None:
    begin()
    with pytest.raises(lab.TuningError, match="other has not been tuned; run: surveylab tune demo/one"):
        module.settings("other", GRID, STREAMS, never)
    with pytest.raises(lab.TuningError, match="arm was tuned on another grid; run: surveylab tune demo/one"):
        module.settings("arm", {"rate": [0.1, 1.0, 2.0]}, STREAMS, never)
    kept.unlink()
    assert lab.sweeps() == {}
    with pytest.raises(lab.TuningError, match="arm has not been tuned"):
        module.settings("arm", GRID, STREAMS, never)


def test_smoke_goes_without(begin: Begin) -> None:
    begin(profile="smoke")
    assert module.settings("arm", GRID, STREAMS, never) == [{"rate": GRID["rate"][4]}] * 2


@pytest.mark.parametrize("text", ["{", "3", '["a"]'])
def test_a_damaged_record(kept: Path, begin: Begin, text: str) -> None:
    begin()
    kept.write_text(text)
    with pytest.raises(
        lab.TuningError, match=r"one\.json is not a record of sweeps .* tune the chapter anew"
    ):
        module.settings("arm", GRID, STREAMS, never)


# --------------------------------------------------------------------------------- in a run that tunes


def test_only_what_is_missing_is_sought(
    tuning: Path, kept: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SURVEYLAB_TUNE_KEPT", str(kept))
    begin(seed=1000)
    assert module.settings("arm", GRID, STREAMS, never) == [{"rate": 0.5}, {"rate": 1.0}]
    assert module.settings("new", GRID, STREAMS, Trial(1.0)) == [{"rate": 1.0}] * 2
    assert set(json.loads(tuning.read_text())) == {"arm", "new"}


@pytest.mark.parametrize("started_empty", [True, False])
def test_a_search_is_recorded(
    tuning: Path, kept: Path, begin: Begin, shown: Any, started_empty: bool
) -> None:
    if started_empty:
        tuning.touch()
    begin(seed=1000)
    trial = Trial(1.0)
    best = [{"rate": 1.0}] * 2
    assert module.settings("arm", GRID, STREAMS, trial) == best  # though one is kept: it is sought anew
    assert module.settings("arm", GRID, STREAMS, never) == best  # and once in a run
    assert len(trial.asked) == 2
    found = json.loads(tuning.read_text())
    assert found == lab.sweeps() and found["arm"]["best"] == best
    assert json.loads(kept.read_text())["arm"]["best"] == [{"rate": 0.5}, {"rate": 1.0}]
    lab.check("gain", torch.full((24,), float("nan")))  # nothing is judged or shown
    lab.summary()
    assert len(shown) == 1


@pytest.mark.parametrize("peaks", [(GRID["rate"][0], 1.0), (1.0, GRID["rate"][-1])])
def test_a_best_value_at_the_edge_is_an_error(tuning: Path, begin: Begin, peaks: tuple[float, float]) -> None:
    begin(seed=1000)
    with pytest.raises(
        lab.TuningError, match=r"lies at the edge of its grid; widen it\. Mean scores of the rates"
    ):
        module.settings("arm", GRID, STREAMS, Trial(*peaks))
    assert not tuning.exists()


def test_smoke_may_end_at_the_edge(tuning: Path, begin: Begin) -> None:
    begin(profile="smoke", seed=1000)
    low = GRID["rate"][0]
    assert module.settings("arm", GRID, STREAMS, Trial(low)) == [{"rate": low}] * 2


def test_an_axis_of_two_values_has_no_edge() -> None:
    grid = {"rate": [0.1, 1.0, 10.0], "nesterov": [0.0, 1.0]}
    assert module.at_edge(grid, [{"rate": 1.0, "nesterov": 1.0}]) is None
    decay = {"rate": [0.1, 1.0, 10.0], "weight_decay": [0.0, 0.1, 1.0]}
    assert module.at_edge(decay, [{"rate": 1.0, "weight_decay": 0.0}]) is None  # nothing lies below zero
    assert module.at_edge(decay, [{"rate": 1.0, "weight_decay": 1.0}]) is not None
    assert (
        module.at_edge(grid, [{"rate": 10.0, "nesterov": 1.0}])
        == "the best rate 10 lies at the edge of its grid"
    )
