"""Arms of a comparison: what they share is shared, and each trains at its own rate."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from surveylab import lab
from surveylab.lab.models import Norm, no_norm
from surveylab.lab.session import current

GRID = [2.0**-9, 2.0**-3, 2.0**0]


def build(norm: Norm) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), norm(8), nn.ReLU(), nn.Linear(8, 10))


@pytest.fixture
def comparison(root: Path, begin: Callable[..., lab.Run]) -> lab.Comparison:
    kept = root / "book" / "tuning" / "demo" / "one.json"
    kept.parent.mkdir(parents=True)
    entry = {"rate": GRID[1], "grid": GRID, "scores": [[0.0], [1.0], [0.0]]}
    kept.write_text(json.dumps({"plain": entry}), encoding="utf-8")
    run = begin(profile="smoke")
    data = lab.digits().standardised()
    return lab.Comparison(data, build, run.streams(), 320, GRID, train=64, validation=32, test=50)


def test_an_arm_is_what_training_by_hand_at_its_rate_gives(comparison: lab.Comparison) -> None:
    arm = comparison.run("plain", no_norm, batch=8)
    population = lab.Population(lambda: build(no_norm), comparison.streams)
    lab.train(population, comparison.split, steps=40, batch=8, rates=GRID[1], warmup=4)
    for value, expected in zip(arm.parameters(), population.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0)
    points = comparison.points(arm)
    by_hand = 100 * lab.accuracy(population, comparison.split, comparison.split.test)
    torch.testing.assert_close(points, by_hand)
    assert 20 < points.mean() < 100


def test_arms_train_with_the_clip_of_their_comparison(comparison: lab.Comparison) -> None:
    clipped = replace(comparison, clip=0.5)
    arm = clipped.run("plain", no_norm, batch=8)
    population = lab.Population(lambda: build(no_norm), comparison.streams)
    lab.train(population, comparison.split, steps=40, batch=8, rates=GRID[1], warmup=4, clip=0.5)
    for value, expected in zip(arm.parameters(), population.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0)


def test_an_arm_may_be_watched_and_trains_as_if_it_were_not(comparison: lab.Comparison) -> None:
    seen: dict[int, float] = {}

    def watch(population: lab.Population, step: int) -> None:
        seen[step] = float(comparison.points(population).mean())

    norm = nn.BatchNorm1d  # evaluating it must not touch its statistics, nor leave it in evaluation mode
    watched = comparison.run("plain", norm, batch=8, every=10, watch=watch)
    alone = comparison.run("plain", norm, batch=8)
    assert list(seen) == [0, 10, 20, 30, 40]
    assert seen[0] < seen[10] and seen[40] == float(comparison.points(alone).mean())
    for value, expected in zip(watched.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(value, expected, rtol=0, atol=0)


def test_an_arm_without_a_tuned_rate_is_an_error_but_one_may_be_found(
    comparison: lab.Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, float]] = []
    train = lab.comparison.train

    def watched(population, split, *, rates, **options):
        seen.append((population.streams[0].seed, float(torch.as_tensor(rates).max())))
        return train(population, split, rates=rates, **options)

    monkeypatch.setattr("surveylab.lab.comparison.train", watched)
    monkeypatch.setattr("surveylab.lab.training.train", watched)
    comparison.run_untuned("new", lambda n: nn.LayerNorm(n), batch=16)
    # The sweep, up to the highest rate, on seeds of its own; then the arm, not at the rate that is too low.
    assert [seed for seed, _ in seen] == [1000, 0]
    assert seen[0][1] == GRID[-1] and seen[1][1] in GRID[1:]


def test_a_rate_is_sought_with_as_many_scouts_whether_it_is_kept_or_not(
    root: Path, comparison: lab.Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    scouts = []

    def watched(build, data, streams, rates, **options):
        scouts.append(len(streams))
        return torch.eye(3)[1][:, None].expand(3, len(streams))

    monkeypatch.setattr("surveylab.lab.comparison.sweep", watched)
    monkeypatch.setattr(lab.Comparison, "_train", lambda *_, **__: None)
    comparison.run_untuned("mine", no_norm)
    monkeypatch.setenv("SURVEYLAB_TUNE", str(root / "tuning.json"))
    comparison.rate("plain", no_norm)
    assert scouts == [current().replicates] * 2 and 3 * scouts[0] == len(comparison.streams)


@pytest.mark.parametrize(("best", "told"), [(0, True), (1, False), (2, True)])
def test_a_rate_found_at_an_end_of_its_grid_is_told_of(
    comparison: lab.Comparison,
    begin: Callable[..., lab.Run],
    monkeypatch: pytest.MonkeyPatch,
    shown: list[dict[str, Any]],
    best: int,
    told: bool,
) -> None:
    monkeypatch.setattr(lab.Comparison, "_sweep", lambda *_: torch.eye(3)[best][:, None].expand(3, 2))
    trained = []
    monkeypatch.setattr(lab.Comparison, "_train", lambda *given, **_: trained.append(given[3]))
    comparison.run_untuned("mine", no_norm)
    assert len(shown) == 1  # at smoke rates mean nothing
    begin(profile="standard")
    comparison.run_untuned("mine", no_norm)
    assert trained == [GRID[best]] * 2
    texts = [output["data"].get("text/markdown", "") for output in shown[2:]]
    assert [f"{GRID[best]:g}, is an end of its grid" in text for text in texts] == [True] * told


def test_gap_is_test_minus_training_loss(comparison: lab.Comparison) -> None:
    arm = comparison.run("plain", no_norm, batch=8)
    losses = [
        lab.cross_entropy(lab.predict(arm, comparison.split, index), comparison.data.y[index])
        for index in (comparison.split.train, comparison.split.test)
    ]
    torch.testing.assert_close(comparison.gap(arm), losses[1] - losses[0])
    assert (comparison.gap(arm) > 0).float().mean() > 0.5


def test_slope_of_a_power_law() -> None:
    sizes = [1, 2, 8, 64]
    y = torch.stack([3.0 * torch.tensor(sizes).double() ** p for p in (-0.5, 2.0)])
    torch.testing.assert_close(lab.slope(sizes, y), torch.tensor([-0.5, 2.0]).double())
