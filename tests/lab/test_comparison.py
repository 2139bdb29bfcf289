"""Arms of a comparison: what they share is shared, and each trains at its own rates."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surveylab import lab
from surveylab.lab.models import Norm, no_norm
from surveylab.lab.session import current

GRID = [2.0**-9, 2.0**-4, 2.0**-3, 2.0**-2, 2.0**0]
# Each population has rates of its own.
BEST = [2.0**-4, 2.0**-3, 2.0**-2]


def build(norm: Norm = no_norm) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), norm(8), nn.ReLU(), nn.Linear(8, 10))


PLAIN = lab.Arm(build, batch=8)


@pytest.fixture
def comparison(root: Path, begin: Callable[..., lab.Run]) -> lab.Comparison:
    kept = root / "book" / "tuning" / "demo" / "one.json"
    kept.parent.mkdir(parents=True)
    entry = {"grid": {"rate": GRID}, "stages": [], "best": [{"rate": rate} for rate in BEST]}
    kept.write_text(json.dumps({"plain": entry}), encoding="utf-8")
    run = begin(profile="smoke")
    data = lab.digits().standardised()
    return lab.Comparison(data, run.streams(), 320, GRID, train=64, validation=32, test=50)


def by_hand(comparison: lab.Comparison, **given: Any) -> lab.Population:
    """What training at the tuned rates without a comparison gives."""
    population = lab.Population(build, comparison.streams)
    rates = torch.tensor(BEST, dtype=torch.float64).repeat_interleave(2)
    schedule = lab.schedules.linear(warmup=0.1)
    lab.train(
        population, comparison.split, steps=40, batch=8, rates=rates, **({"schedule": schedule} | given)
    )
    return population


def assert_same(arm: lab.Trained, expected: lab.Population) -> None:
    for value, other in zip(arm.population.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=0, atol=0)


def test_an_arm_is_what_training_by_hand_at_its_rates_gives(comparison: lab.Comparison) -> None:
    arm = comparison.run("plain", PLAIN)
    population = by_hand(comparison)
    assert_same(arm, population)
    assert arm.settings["rate"].tolist() == [rate for rate in BEST for _ in range(2)]
    torch.testing.assert_close(arm.score, 100 * lab.accuracy(population, arm.split, arm.split.test))
    assert 20 < arm.score.mean() < 100
    assert arm.history.losses.shape == (40, 6)


def test_arms_train_with_the_clip_and_the_schedule_of_their_comparison(comparison: lab.Comparison) -> None:
    constant = lab.schedules.constant()
    arm = replace(comparison, clip=0.5, schedule=constant).run("plain", PLAIN)
    assert_same(arm, by_hand(comparison, clip=0.5, schedule=constant))


def test_an_arm_has_its_own_optimiser_objective_start_and_frozen_parameters(
    comparison: lab.Comparison,
) -> None:
    def smooth(population: lab.Population, batch: lab.Batch) -> Tensor:
        return lab.cross_entropy(population(batch.x) / 2, batch.y)

    start = lab.Population(build, comparison.streams).state
    start = {name: torch.ones_like(value) / 9 for name, value in start.items() if name == "1.weight"}
    arm = lab.Arm(build, 8, torch.optim.Adam, smooth, start, ("1.weight",))
    trained = comparison.run("plain", arm)
    assert torch.equal(trained.population.state["1.weight"], start["1.weight"])
    expected = lab.Population(build, comparison.streams).load(start)
    rates = torch.tensor(BEST, dtype=torch.float64).repeat_interleave(2)
    plan: dict[str, Any] = {"steps": 40, "batch": 8, "rates": rates, "optimizer": torch.optim.Adam}
    schedule = lab.schedules.linear(warmup=0.1)
    lab.train(expected, comparison.split, smooth, **plan, frozen=["1.weight"], schedule=schedule)
    assert_same(trained, expected)


def test_an_arm_may_be_observed_and_trains_as_if_it_were_not(comparison: lab.Comparison) -> None:
    def look(population: lab.Population, step: int) -> tuple[int, float]:
        return step, float(lab.accuracy(population, comparison.split, comparison.split.test).mean())

    arm = lab.Arm(partial(build, nn.BatchNorm1d), 8)  # looking must not touch its statistics, nor its mode
    observed = comparison.run("plain", arm, every=10, callback=look)
    alone = comparison.run("plain", arm)
    assert [step for step, _ in observed.history.values] == observed.history.steps == [0, 10, 20, 30, 40]
    assert observed.history.values[0][1] < observed.history.values[1][1]
    assert 100 * observed.history.values[-1][1] == pytest.approx(float(alone.score.mean()))
    assert_same(observed, alone.population)


def test_a_comparison_records_curves_and_how_soon_they_reach_a_value(comparison: lab.Comparison) -> None:
    arm = replace(comparison, every=10).run("plain", PLAIN)
    assert arm.curve.shape == (5, 6)
    last = arm.evaluate(index=arm.split.validation)
    torch.testing.assert_close(arm.curve[-1], last)
    history = lab.History(torch.zeros(1, 4), [0, 8, 16, 20])
    history.values = [
        torch.tensor(row) for row in ([0.0, 9, 0, 0], [5.0, 9, 0, 0], [9.0, 1, 0, 0], [9.0, 1, 9, 0])
    ]
    assert lab.steps_to(history, 9.0).tolist() == [16, 0, 20, 24]


def test_an_arm_is_tuned_to_be_soon_where_there_is_a_target(comparison: lab.Comparison) -> None:
    with pytest.raises(ValueError, match="every must be at least 1 where a target is to be reached; got 0"):
        replace(comparison, target=50.0)
    race = replace(comparison, every=4, target=50.0)
    trials = [(stream, {"rate": rate}) for rate in (GRID[0], BEST[1]) for stream in comparison.streams[:2]]
    scores = race._trial(PLAIN)(trials, 1.0)
    assert (scores[:2] < -44).all()  # never: one look after the 40 updates, and by how much it is missed
    assert scores[2:].max() > -44
    near, far = (
        lab.History(torch.zeros(1, 1), [0, 8], [torch.zeros(1), torch.tensor([x])]) for x in (40.0, 5.0)
    )
    assert lab.comparison._soon(near, 50.0) == -26 and lab.comparison._soon(far, 50.0) == -61


def test_scores_of_a_sweep_are_those_of_training_at_each_rate(comparison: lab.Comparison) -> None:
    scores = comparison.sweep(PLAIN, [2.0**-9, 2.0**-3])
    assert scores.shape == (2, 6)
    for row, rate in zip(scores, (2.0**-9, 2.0**-3), strict=True):
        arm = comparison.run("plain", PLAIN, settings=[{"rate": rate}])
        torch.testing.assert_close(row, arm.evaluate(index=arm.split.validation))
    assert scores[0].tolist() != scores[1].tolist()


def test_another_value_than_the_rate_can_be_tuned(comparison: lab.Comparison) -> None:
    grid = {"rate": GRID, "weight_decay": [0.0, 0.001, 100.0]}
    wide = replace(comparison, rates=grid)

    def arm(weight_decay: float) -> lab.Arm:
        return lab.Arm(build, 8, partial(lab.sgd, weight_decay=weight_decay))

    found = wide.search("plain", arm)
    assert len(found) == 3 and {point["weight_decay"] for point in found} < {0.0, 0.001}
    trained = wide.run("plain", arm, settings=found)
    assert trained.arm.optimizer.keywords["weight_decay"] == found[0]["weight_decay"]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="must differ between populations in the rate alone"):
        wide.run("plain", arm, settings=[{"rate": 1.0, "weight_decay": float(k)} for k in range(3)])


def test_a_grid_of_what_an_arm_cannot_take_is_an_error(comparison: lab.Comparison) -> None:
    wide = replace(comparison, rates={"rate": GRID, "weight_decay": [0.0, 0.1]})
    with pytest.raises(ValueError, match="values of weight_decay, which an Arm cannot take: give a function"):
        wide.search("plain", PLAIN)


def test_an_initial_state_of_the_runs_replicas_cannot_be_tuned_but_a_function_can(
    comparison: lab.Comparison,
) -> None:
    stacked = {"1.weight": torch.rand(6, 8, 64)}
    arm = replace(PLAIN, initial_state=stacked)
    with pytest.raises(
        ValueError, match=r"one entry a replica of the run \(1.weight\), .* function of the streams"
    ):
        comparison.search("plain", arm)
    assert comparison.run("plain", arm, settings=[{"rate": 0.1}]).score.shape == (6,)

    def drawn(streams: Sequence[lab.Stream]) -> dict[str, Tensor]:
        rows = [torch.rand(8, 64, generator=stream.torch("probe")) for stream in streams]
        return {"1.weight": torch.stack(rows)}

    of_streams = replace(PLAIN, initial_state=drawn)
    assert len(comparison.search("plain", of_streams)) == 3
    same = {"1.weight": torch.rand(8, 64)}
    assert len(comparison.search("plain", replace(PLAIN, initial_state=same))) == 3


def test_targets_of_a_regression_need_a_metric_of_their_own() -> None:
    x = torch.randn(80, 3, generator=torch.Generator().manual_seed(0))
    data = lab.Dataset.of(x, x.sum(1, keepdim=True))
    streams = lab.make_streams(0, 2)
    with pytest.raises(ValueError, match=r"floating-point targets, .* minus_loss\(squared_error\)"):
        lab.Comparison(data, streams, 320, GRID, 40, 16, 16)
    metric = lab.minus_loss(lab.squared_error)
    task = lab.Comparison(data, streams, 640, GRID, 40, 16, 16, metric=metric)
    arm = lab.Arm(lambda: nn.Linear(3, 1), 8, objective=lab.supervised(lab.squared_error))
    trained = task.run("linear", arm, settings=[{"rate": 0.0625}])
    assert trained.score.min() > -0.2 and trained.training_accuracy is None
    diverged = task.run("linear", arm, settings=[{"rate": 1e9}])
    assert diverged.score.tolist() == [-1e9] * 6


def test_how_replicas_ran_is_recorded(comparison: lab.Comparison) -> None:
    comparison.run("plain", PLAIN)
    assert current().strategies == {"plain": "vmap"}


def test_outside_a_chapter_an_arm_is_tuned_when_it_is_run(shown: list[dict[str, Any]]) -> None:
    data = lab.digits().standardised()
    task = lab.Comparison(data, lab.make_streams(3, 2), 320, GRID[1:4], 64, 32, 50)
    trained = task.run("mine", PLAIN)
    assert set(trained.settings["rate"].tolist()) <= set(GRID[1:4])
    low = replace(task, rates=[1e-9, 1e-8, 1e-7])
    del shown[:]
    low.run("mine", PLAIN)
    assert "lies at the edge of its grid" in shown[0]["data"]["text/markdown"]


def test_values_are_sought_on_other_seeds_by_scouts_of_each_population(
    comparison: lab.Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[int], set[int], int]] = []
    train = lab.comparison.train

    def watched(population: lab.Population, *given: Any, **options: Any) -> lab.History:
        streams = population.streams
        seen.append(({s.seed for s in streams}, {s.population for s in streams}, options["steps"]))
        return train(population, *given, **options)

    monkeypatch.setattr("surveylab.lab.comparison.train", watched)
    found = comparison.search("mine", lab.Arm(partial(build, nn.LayerNorm), 16))
    assert len(found) == 3 and all(point["rate"] > GRID[0] for point in found)
    # Five rates by 3 times 2 scouts for a quarter of the 20 steps, then the best three for all of them.
    assert seen == [({1000}, {0, 1, 2}, 5), ({1000}, {0, 1, 2}, 20)]


@pytest.mark.parametrize(("best", "told"), [(0, True), (2, False), (4, True)])
def test_a_rate_found_at_an_end_of_its_grid_is_told_of(
    comparison: lab.Comparison,
    begin: Callable[..., lab.Run],
    monkeypatch: pytest.MonkeyPatch,
    shown: list[dict[str, Any]],
    best: int,
    told: bool,
) -> None:
    def trial(trials: Any, share: float) -> Tensor:
        return torch.tensor([-abs(GRID.index(point["rate"]) - best) for _, point in trials]).float()

    monkeypatch.setattr(lab.Comparison, "_trial", lambda *_: trial)
    assert comparison.search("mine", PLAIN) == [{"rate": GRID[best]}] * 3
    assert len(shown) == 1  # at smoke rates mean nothing
    begin(profile="standard")
    comparison.search("mine", PLAIN)
    texts = [output["data"].get("text/markdown", "") for output in shown[2:]]
    assert [f"the best rate {GRID[best]:g} lies at the edge of its grid" in text for text in texts] == [
        True
    ] * told


def test_while_rates_are_sought_arms_train_briefly(
    comparison: lab.Comparison, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SURVEYLAB_TUNE", str(tmp_path / "found.json"))
    assert len(comparison.run("plain", PLAIN).history.losses) == 1
    assert json.loads((tmp_path / "found.json").read_text())["plain"]["grid"] == {"rate": GRID}


def test_losses_and_their_gap(comparison: lab.Comparison) -> None:
    arm = comparison.run("plain", PLAIN)
    losses = [
        lab.cross_entropy(lab.predict(arm.population, arm.split, index), comparison.data.y[index])
        for index in (arm.split.train, arm.split.test)
    ]
    torch.testing.assert_close(arm.training_loss, losses[0])
    torch.testing.assert_close(arm.gap, losses[1] - losses[0])
    assert (arm.gap > 0).float().mean() > 0.5


def test_examples_may_be_changed_before_they_are_scored(comparison: lab.Comparison) -> None:
    arm = comparison.run("plain", PLAIN)
    assert torch.equal(arm.evaluate(transform=lambda x: x), arm.score)
    blank = arm.evaluate(transform=torch.zeros_like)
    assert blank.mean() < arm.score.mean() - 10


def test_slope_of_a_power_law() -> None:
    sizes = [1, 2, 8, 64]
    y = torch.stack([3.0 * torch.tensor(sizes).double() ** p for p in (-0.5, 2.0)])
    torch.testing.assert_close(lab.slope(sizes, y), torch.tensor([-0.5, 2.0]).double())


def test_a_variant_has_population_0_and_rates_of_its_own(comparison: lab.Comparison, root: Path) -> None:
    longer = replace(comparison, label="digits").variant("twice the budget", budget=2)
    assert (longer.label, longer.samples) == ("digits, twice the budget", 640)
    assert [(stream.population, stream.replica) for stream in longer.streams] == [(0, 0), (0, 1)]
    kept = root / "book" / "tuning" / "demo" / "one.json"
    entry = {"grid": {"rate": GRID}, "stages": [], "best": [{"rate": 2.0**-4}]}
    kept.write_text(json.dumps({"digits, twice the budget: plain": entry}), encoding="utf-8")
    arm = longer.run("plain", PLAIN)
    assert arm.name == "digits, twice the budget: plain"
    assert arm.settings["rate"].tolist() == [2.0**-4] * 2
    assert len(arm.history.losses) == 80
    # The same replicas, trained as long by hand.
    by_hand = replace(comparison, samples=640).run("plain", PLAIN, settings=[{"rate": 2.0**-4}])
    torch.testing.assert_close(arm.score, by_hand.score[:2], rtol=0, atol=0)


def test_a_variant_may_change_what_is_shared(comparison: lab.Comparison) -> None:
    assert comparison.variant("few examples", train=16).split.train.shape == (2, 16)
    with pytest.raises(TypeError, match="trian"):
        comparison.variant("few examples", trian=16)
