"""A sweep that is repeated tells a learning rate that was put in its place from one that was found."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_project import read, write_notebook

from surveylab.press.project import PressError, Project
from surveylab.press.run.fingerprint import fingerprint
from surveylab.press.run.tune import read_sweeps
from surveylab.press.verify.retune import in_turn, sweep_differences

GRID = [0.01, 0.1, 1.0, 10.0]


def sweep(best: list[float] = [0.1] * 3, noise: int = 0) -> dict[str, Any]:
    """A search of two stages in three populations: 0.1 and 1 are as good, the others bad."""
    random = np.random.default_rng(noise)
    means = {0.01: 60.0, 0.1: 90.0, 1.0: 90.0, 10.0: 10.0}

    def stage(share: float, rates: list[float]) -> dict[str, Any]:
        scores = [[(means[rate] + random.standard_normal(4)).tolist() for rate in rates] for _ in range(3)]
        return {"share": share, "points": [[{"rate": rate} for rate in rates]] * 3, "scores": scores}

    stages = [stage(0.25, GRID), stage(1.0, GRID[:3])]
    return {"grid": {"rate": GRID}, "stages": stages, "best": [{"rate": rate} for rate in best]}


def found(kept: Any, again: Any, *, exact: bool = False) -> list[str]:
    return list(sweep_differences({"arm": kept}, {"arm": again}, exact=exact))


def test_the_same_sweep_holds_anywhere() -> None:
    assert found(sweep(), sweep(), exact=True) == found(sweep(), sweep()) == []


def test_on_the_same_machine_every_score_is_equal() -> None:
    other = sweep()
    other["stages"][1]["scores"][2][1][3] += 1e-6
    assert found(other, sweep(), exact=True) == ["the sweep 'arm' has other scores on the same machine"]
    assert found(sweep([0.1, 1.0, 0.1]), sweep(), exact=True) == [
        "the sweep 'arm' chooses other values on the same machine: kept rate 0.1; rate 1; rate 0.1, now rate "
        "0.1; rate 0.1; rate 0.1"
    ]


def test_elsewhere_of_two_rates_that_are_as_good_either_may_win() -> None:
    """At 1 %; and some more for the error of 1,000 simulated chapters."""
    alarms = sum(bool(found(sweep([1.0] * 3), sweep(noise=noise))) for noise in range(1_000))
    assert alarms <= 16


def test_elsewhere_a_bad_rate_is_named_also_one_that_left_early() -> None:
    for rate, less in ((0.01, 30), (10.0, 80)):
        for noise in range(50):
            (said,) = found(sweep([0.1, rate, 0.1]), sweep(noise=noise))
            pattern = (
                rf"the sweep 'arm', population 1: the kept rate {rate:g} scores (\S+) less than rate 0.1, "
            )
            told = re.match(pattern + "more than chance explains ", said)
            assert told and float(told[1]) == pytest.approx(less, abs=3)


def test_what_else_does_not_fit() -> None:
    other = copy.deepcopy(sweep())
    other["grid"]["rate"] = [0.01, 0.1, 1.0]
    (said,) = found(other, sweep())
    assert said.endswith("the kept grid is not the one that the chapter searches")
    kept = sweep()
    assert list(sweep_differences({"a": kept}, {"b": kept}, exact=False)) == [
        "the sweep 'a' is kept, but the chapter makes no such sweep",
        "the chapter makes a sweep 'b' that is not kept",
    ]
    (said,) = found(sweep([0.5, 0.1, 0.1]), sweep())
    assert said == "the sweep 'arm', population 0: the kept rate 0.5 was never tried"
    (said,) = found(sweep([0.1]), sweep())
    assert said == "the sweep 'arm' was made for 1 populations, now 3"


def test_each_chapter_has_its_turn() -> None:
    chapters = ["b/two", "a/one", "c/three"]
    monday = date(2026, 12, 28)
    weeks = [in_turn(chapters, monday + timedelta(weeks=n)) for n in range(6)]
    assert all(len(week) == 1 for week in weeks)
    assert sorted(week[0] for week in weeks[:3]) == sorted(chapters) and weeks[3:] == weeks[:3]
    assert {tuple(in_turn(chapters, monday + timedelta(days=n))) for n in range(7)} == {tuple(weeks[0])}
    assert in_turn([], monday) == []


# ------------------------------------------------------------------------------------------ the command


@pytest.fixture
def tuned(root: Path, surveylab: Any) -> Path:
    """A project whose chapter was tuned and published."""
    assert surveylab("tune", "one").code == 0 and surveylab("run").code == 0
    return root


@pytest.mark.slow
def test_retune_repeats_the_sweeps_and_changes_nothing(tuned, surveylab):
    page, kept = tuned / "book/demo/one.ipynb", tuned / "book/tuning/demo/one.json"
    before = page.read_bytes(), kept.read_bytes()
    said = surveylab("verify", "--retune")
    assert said.code == 0
    assert "demo/one: 1 sweep repeated" in said.out
    assert "Everything holds (3 claims recomputed, 1 sweep repeated)." in said.out
    assert (page.read_bytes(), kept.read_bytes()) == before


@pytest.mark.slow
def test_retune_finds_a_rate_put_in_place_of_the_one_that_was_found(tuned, surveylab):
    """Replaced, the sweep edited to fit, the fingerprint recomputed: nothing else notices."""
    page, path = tuned / "book/demo/one.ipynb", tuned / "book/tuning/demo/one.json"
    search = json.loads(path.read_text())["arm"]
    search["best"] = [{"rate": 0.01}] * 3
    for block in search["stages"][0]["scores"]:
        block[0], block[1] = block[1], block[0]
    path.write_text(json.dumps({"arm": search}))
    now = fingerprint(Project(tuned), "demo/one")
    content = read(page)
    content["metadata"]["surveylab"] |= {"fingerprint": now.digest, "parts": now.parts}
    write_notebook(page, content)
    assert surveylab("verify", "--recompute-only").code == 0
    said = surveylab("verify", "--retune", "--report", str(tuned / "report.json"))
    assert said.code == 1
    message = "the sweep 'arm' chooses other values on the same machine: kept rate 0.01; rate 0.01; rate 0.01"
    assert message in said.out
    (problem,) = json.loads((tuned / "report.json").read_text())["problems"]
    assert problem["problem"].startswith(message)


@pytest.mark.slow
def test_a_chapter_that_tunes_nothing_or_cannot_be_tuned_again(tuned, surveylab):
    path = tuned / "book/tuning/demo/one.json"
    path.write_text("{")
    said = surveylab("verify", "--retune")
    assert said.code == 1
    path.unlink()
    said = surveylab("verify", "--retune")
    assert "demo/one: 0 sweeps repeated" in said.out


def test_recomputing_only_and_retuning_contradict_each_other(root, surveylab):
    said = surveylab("verify", "--retune", "--recompute-only")
    assert said.code == 2 and "choose one" in said.err


def test_only_the_chapter_in_turn_is_verified(root, surveylab):
    said = surveylab("verify", "--in-turn", "--recompute-only")
    assert said.code == 0 and "of 1 chapter" in said.out


# --------------------------------------------------------------------- the best of its own sweep


def ended(best: list[Any], means: list[Any], points: list[Any] | None = None) -> dict[str, Any]:
    """A search whose last stage gave these mean scores, a row a population."""
    points = points or [{"rate": rate} for rate in GRID[: len(means[0])]]
    scores = [[[mean - 1, mean + 1] for mean in row] for row in means]
    stage = {"share": 1.0, "points": [points] * len(means), "scores": scores}
    names = {name: sorted({point[name] for point in [*points, *best]}) for name in points[0]}
    return {"grid": names, "stages": [stage], "best": best}


def said_of(search: Any, path: Path) -> str:
    path.write_text(json.dumps({"arm": search}), encoding="utf-8")
    try:
        read_sweeps("demo/one", path)
    except PressError as error:
        return str(error)
    return ""


AXES = [{"rate": rate, "decay": decay} for rate in (0.1, 1.0) for decay in (0.0, 0.5)]


@pytest.mark.parametrize(
    ("search", "words"),
    [
        (ended([{"rate": 0.1}], [[60, 90, 80]]), ""),
        (ended([{"rate": 0.01}], [[60, 90, 80]]), "rate 0.01 for population 0, of mean score 60, though at"),
        (ended([{"rate": 0.1}, {"rate": 1.0}], [[60, 90, 80]] * 2), "rate 1 for population 1, of mean"),
        (ended([{"rate": 10.0}], [[60, 90, 80]]), "rate 10 for population 0, which its last stage did not"),
        (ended([{"rate": 0.1}], [[60, 90, 90]]), ""),
        (ended([{"rate": 1.0}], [[60, 90, 90]]), "rate 1 for population 0, of mean score 90, though at"),
        (ended([{"rate": 1.0}], [[60, 90, 90 - 5e-7]]), ""),  # the digits that are not kept may decide
        (ended([{"rate": 0.1}], [[60, 90, 80]] * 3), "1 points for 3 populations"),
        # Another axis is chosen over all populations, here although 0.5 is best for the first one.
        (ended([AXES[0], AXES[2]], [[80, 90, 70, 60], [70, 60, 99, 60]], AXES), ""),
        (ended([AXES[2], AXES[2]], [[80, 90, 70, 60], [70, 60, 99, 60]], AXES), "rate 1, decay 0 for"),
        (ended([AXES[1], AXES[2]], [[80, 90, 70, 60], [70, 60, 99, 60]], AXES), "another value of what is"),
    ],
)  # fmt: skip
def test_what_is_kept_must_be_the_best_of_its_own_sweep(search, words, tmp_path) -> None:
    said = said_of(search, tmp_path / "one.json")
    assert said.startswith("demo/one: the search 'arm' keeps " + words) if words else said == ""


@pytest.mark.parametrize("axes", [{}, {"decay": [0.0, 0.1, 0.2]}])
def test_whatever_the_lab_finds_is_the_best_of_its_own_sweep(axes, tmp_path) -> None:
    import torch

    from surveylab.lab.streams import Stream
    from surveylab.lab.tuning import search

    streams = [Stream(1000, population, replica) for population in range(3) for replica in range(4)]
    for seed in range(50):
        random = torch.Generator().manual_seed(seed)

        def trial(trials: Any, share: float, random: Any = random) -> torch.Tensor:
            return torch.randint(300, 303, (len(trials),), generator=random) / 360 * 100  # many ties

        found = search("arm", {"rate": GRID} | axes, streams, trial)
        assert said_of(asdict(found), tmp_path / "one.json") == ""


def test_verify_finds_a_rate_that_is_not_the_best_without_executing(root, surveylab) -> None:
    path = root / "book/tuning/demo/one.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"arm": ended([{"rate": 0.01}], [[60, 90, 80]])}), encoding="utf-8")
    said = surveylab("verify", "--recompute-only")
    assert said.code == 1
    assert "book/tuning/demo/one.json: the search 'arm' keeps rate 0.01 for population 0" in said.out
