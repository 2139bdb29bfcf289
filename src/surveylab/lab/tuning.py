"""Learning rates, and what else matters, chosen on validation data with other seeds, and kept with sweeps.

A comparison in which all arms use one rate mostly compares how well that rate suits them. So each arm is
tuned, for each population by replicas of that population's own, so that the error of tuning is in the spread
of the results. Successive halving keeps the price down [jamieson2016nonstochastic]: every point of the grid
for a quarter of the budget, then the best three for all of it.

In a chapter the values come from ``book/tuning/<chapter>.json``; ``surveylab tune`` runs the chapter with
other seeds and lets each arm's search write that file; with ``--missing``, arms that it holds already keep
what they have. Outside a chapter `surveylab.lab.Comparison` tunes an arm when it is first run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surveylab.lab.session import active, current
from surveylab.lab.streams import Stream

#: Values by name: a point of the grid.
Point = dict[str, float]
#: The values to try, by name.
Grid = Mapping[str, Sequence[float]]
#: Scores, higher is better, of streams trained at points for a share of the budget: one a trial.
Trial = Callable[[Sequence[tuple[Stream, Point]], float], Tensor]

# Replicas of each population that try a point.
TRIALS_EACH = 4
# Points that survive the first stage, and its share of the budget.
SURVIVORS = 3
FIRST = 0.25
# Share of the budget for which arms train while rates are being sought, when their results are not used.
SHORT = 0.02


class TuningError(ValueError):
    """A rate is not known, or the search cannot tell which is best."""


@dataclass
class Search:
    """How an arm's values were found.

    Attributes:
        grid: The values tried, by name.
        stages: For each stage the share of the budget; the points tried and their scores: for each
            population (populations, points) and (populations, points, replicas).
        best: The point chosen for each population.
    """

    grid: dict[str, list[float]]
    stages: list[dict[str, Any]]
    best: list[Point]


def is_tuning() -> bool:
    """Whether this run is there to find rates."""
    return bool(os.environ.get("SURVEYLAB_TUNE"))


def settings(name: str, grid: Grid, streams: Sequence[Stream], trial: Trial) -> list[Point]:
    """The values at which an arm trains, one point a population.

    Args:
        name: The arm's, as in the tuning file.
        grid: The values to try, by name, each ascending.
        streams: The run's; under ``surveylab tune`` its first replicas of each population.
        trial: Trains and scores on validation data.

    Raises:
        TuningError: The chapter's file has no such arm, has another grid, or lacks a population's rates; or,
            under ``surveylab tune``, the best value lies at the edge of its grid.
    """
    grid = _checked(name, grid)
    if is_tuning():
        path = Path(os.environ["SURVEYLAB_TUNE"])
        kept = os.environ.get("SURVEYLAB_TUNE_KEPT")
        # Two runs may ask for the same arm; what an earlier tuning found counts only where that is asked for.
        entry = _read(path).get(name) or (_read(Path(kept)).get(name) if kept else None)
        if entry is None or entry["grid"] != grid:
            found = search(name, grid, streams, trial)
            if (edge := at_edge(grid, found.best)) is not None and not is_smoke():
                raise TuningError(f"{name}: {edge}; widen it. {_shown(found)}")
            entry = asdict(found)
        path.write_text(json.dumps(_read(path) | {name: entry}, indent=1) + "\n", encoding="utf-8")
        return list(entry["best"])
    run = current()
    known = sweeps()
    if name not in known or known[name]["grid"] != grid:
        if is_smoke():  # so that an author can see a chapter run before tuning it
            middle = {key: values[len(values) // 2] for key, values in grid.items()}
            return [middle] * len(populations_of(streams))
        why = "has not been tuned" if name not in known else "was tuned on another grid"
        raise TuningError(f"{name} {why}; run: surveylab tune {run.chapter}")
    best, populations = list(known[name]["best"]), populations_of(streams)
    if is_smoke() and len(best) < len(populations):
        return best[:1] * len(populations)
    if populations[-1] >= len(best):
        raise TuningError(
            f"{name} was tuned for {len(best)} of the {len(populations)} populations that train; "
            f"run: surveylab tune {run.chapter}"
        )
    return [best[population] for population in populations]


def search(name: str, grid: Grid, streams: Sequence[Stream], trial: Trial) -> Search:
    """Seek each population's best point by successive halving.

    Raises:
        TuningError: A score is not finite.
    """
    grid = _checked(name, grid)
    points = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    teams = [
        [stream for stream in streams if stream.population == population][:TRIALS_EACH]
        for population in populations_of(streams)
    ]
    candidates = [points for _ in teams]
    stages = []
    shares = (FIRST, 1.0) if len(points) > SURVIVORS else (1.0,)
    for share in shares:
        trials = [
            (stream, point)
            for tried, group in zip(candidates, teams, strict=True)
            for point in tried
            for stream in group
        ]
        flat = torch.as_tensor(trial(trials, share)).double().cpu()
        if not flat.isfinite().all():
            raise TuningError(
                f"{name}: a score is not finite; score a run that diverged as the worst there is"
            )
        # (populations, points, replicas): as many for each
        scores = flat.view(len(teams), len(candidates[0]), -1)
        means = scores.mean(2)
        rounded = [[[round(float(s), 6) for s in row] for row in block] for block in scores]
        stages.append({"share": share, "points": candidates, "scores": rounded})
        candidates = _survivors(candidates, means, SURVIVORS if share < 1 else 1)
    best = [chosen[0] for chosen in candidates]
    return Search(grid, stages, best)


def _survivors(candidates: list[list[Point]], means: Tensor, keep: int) -> list[list[Point]]:
    """The points of each population that are tried on, in the order of the grid.

    Populations train together and can differ in the rate alone, so that what else is tuned ends as one value
    for all: the one whose best rates have the highest mean. Until then the best values go on, each with its
    best rates in turn: what a regulariser is worth shows late.
    """
    others = [[tuple(without_rate(point).items()) for point in tried] for tried in candidates]

    def ranked(row: Tensor, names: list[tuple], other: tuple) -> list[int]:
        """Places of a value's points, best first; of equal means the lower rate."""
        return sorted((k for k, mine in enumerate(names) if mine == other), key=lambda k: -float(row[k]))

    def merit(other: tuple) -> float:
        return sum(float(row[ranked(row, names, other)[0]]) for row, names in zip(means, others, strict=True))

    common = sorted(set.intersection(*map(set, others)), key=merit, reverse=True)[:keep]
    survivors = []
    for tried, row, names in zip(candidates, means, others, strict=True):
        by_value = [ranked(row, names, other) for other in common]
        turns = [places[turn] for turn in range(keep) for places in by_value if turn < len(places)]
        survivors.append([tried[k] for k in sorted(turns[:keep])])
    return survivors


def without_rate(point: Point) -> Point:
    """The values of a point that are no rate."""
    return {name: value for name, value in point.items() if name != "rate"}


def at_edge(grid: Grid, best: Sequence[Point]) -> str | None:
    """Which best value lies at an end of its grid, where a better one may lie beyond; None if none does.

    Axes of one or two values have no inside, and nothing lies below zero.
    """
    for key, values in grid.items():
        ends = {values[-1]} | ({values[0]} if values[0] != 0 else set())
        for point in best:
            if len(values) > 2 and point[key] in ends:
                return f"the best {key} {point[key]:g} lies at the edge of its grid"
    return None


def by_replica(points: Sequence[Point], streams: Sequence[Stream]) -> list[Point]:
    """Each replica's point, from those of the populations."""
    populations = populations_of(streams)
    if len(points) not in (1, len(populations)):
        raise ValueError(
            f"settings must be one point, or one a population ({len(populations)}); got {len(points)}"
        )
    of = dict(zip(populations, points if len(points) > 1 else list(points) * len(populations), strict=True))
    return [of[stream.population] for stream in streams]


def sweeps() -> dict[str, Any]:
    """Every arm's search of the current chapter, as `Search` describes it; empty outside a chapter."""
    if is_tuning():
        return _read(Path(os.environ["SURVEYLAB_TUNE"]))
    run = active()
    if run is None or not run.registered:
        return {}
    return _read(run.root / "book" / "tuning" / f"{run.chapter}.json")


def is_smoke() -> bool:
    """Whether this run is there to see a chapter run, in seconds."""
    run = active()
    return run is not None and run.profile == "smoke"


def _shown(found: Search) -> str:
    """The mean scores of the last stage, in words."""
    parts = []
    for points, scores in zip(found.stages[-1]["points"], found.stages[-1]["scores"], strict=True):
        means = (
            f"{point['rate']:g}: {sum(row) / len(row):.4g}" for point, row in zip(points, scores, strict=True)
        )
        parts.append(", ".join(means))
    return f"Mean scores of the rates that were left, by population: {'; '.join(parts)}"


def populations_of(streams: Sequence[Stream]) -> list[int]:
    """The populations to which replicas belong, ascending."""
    return sorted({stream.population for stream in streams})


def _checked(name: str, grid: Grid) -> dict[str, list[float]]:
    if "rate" not in grid:
        raise TuningError(f"{name}: the grid must have values of 'rate'; it has {', '.join(grid) or 'none'}")
    checked = {key: list(values) for key, values in grid.items()}
    for key, values in checked.items():
        if sorted(set(values)) != values or not values or (key == "rate" and len(values) < 3):
            raise TuningError(
                f"{name}: values of {key} must be ascending and distinct, rates at least three; got {values}"
            )
    return checked


def _read(path: Path) -> dict[str, Any]:
    """The searches in a file; none if it is not there or empty, as a file just made for them is."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    try:
        return dict(json.loads(text)) if text.strip() else {}
    except (TypeError, ValueError) as error:
        raise TuningError(f"{path} is not a record of sweeps ({error}); tune the chapter anew") from error
