"""The record of replications: what it holds, how strictly it is read, and what of it counts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_claims import run as judged

from surveylab.claims import Claim, Evidence, Replication, ReplicationError, read_replications
from surveylab.claims.replications import (
    Repeats,
    Replicated,
    ReplicatedChapter,
    counting,
    design_of,
    repeats,
    replicated,
    shift,
)

Make = Callable[..., Claim]
Draw = Callable[..., np.ndarray]
CHAPTER = "normalization/batch_norm"


def recorded(
    claims: dict[str, Replicated], *, seed: int = 7, day: str = "2026-01-31", more: str = "", **changes: Any
) -> Replication:
    """A run of one chapter."""
    fields: dict[str, Any] = {
        "edition": 1,
        "design": "d",
        "tuning_seed": None,
        "device": "cpu",
        "seconds": 1.5,
        "machine": {"processor": "A processor", "threads": 1},
        "versions": {"python": "3.11.7"},
    }
    chapter = ReplicatedChapter(**(fields | changes), claims=claims)
    return Replication(f"{day}-seed-{seed}{more}", seed, day, False, {CHAPTER: chapter})


@pytest.fixture
def published(make: Make, draw: Draw) -> Evidence:
    return judged(make(), draw(5.0))


def test_what_is_written_is_read(make: Make, draw: Draw, published: Evidence, tmp_path: Path) -> None:
    entry = replicated(make(), published, judged(make(), draw(1.0)))
    assert (entry.verdict, entry.published_verdict) == ("inconclusive", "supported")
    assert entry.reason == "direction shown, size open"
    assert entry.firmness == published.firmness and entry.published_estimate == published.estimate
    runs = [
        recorded({"bn-fast": entry}, seed=8, day="2026-02-01"),
        recorded({"bn-fast": entry}, seed=9),
        recorded({"bn-fast": entry}, seed=9, more="-2"),
    ]
    for run in runs:
        (tmp_path / f"{run.name}.json").write_text(run.to_json(), encoding="utf-8")
    (tmp_path / ".2026-01-31-seed-3.json.17.part").write_text("half a fi", encoding="utf-8")
    assert read_replications(tmp_path) == (runs[1], runs[2], runs[0])
    assert read_replications(tmp_path / "none") == ()


def test_an_estimate_moves_in_standard_errors_of_the_difference(make: Make) -> None:
    a = np.array([[1.0, 3.0] * 4] * 3)  # mean 2; s² = 24/23, so s²/N = 1/23
    before, after = judged(make(), a), judged(make(), a + 3)
    assert shift(before, after) == pytest.approx(3 / np.sqrt(2 / 23))
    assert shift(after, before) == pytest.approx(-3 / np.sqrt(2 / 23))
    assert shift(judged(make(), np.full((3, 8), 2.0)), before) is None  # all values are equal
    identity = make("identity")
    exact = judged(identity, np.zeros(20))
    assert shift(exact, exact) is None
    counted = make("measurement", margin=0.1)
    same = judged(counted, np.full(15, 0.5))  # counts of operations: certain, so without an error
    assert shift(same, same) is None


def test_runs_of_one_effect_shift_as_a_standard_normal_variable(make: Make) -> None:
    rng = np.random.default_rng(0)
    shifts = []
    for _ in range(1000):
        pair = [judged(make(), rng.normal(2.0, 3.0, (3, 8))) for _ in range(2)]
        moved = shift(*pair)
        assert moved is not None
        shifts.append(moved)
    assert abs(np.mean(shifts)) < 0.12 and 0.94 < np.std(shifts) < 1.1


def test_only_what_a_run_decides_is_recorded(make: Make) -> None:
    cited = judged(make("source"), None)
    with pytest.raises(ValueError, match="bn-fast: cited, then cited: no run decides it"):
        replicated(make("source"), cited, cited)
    smoke = judged(make(), [[1.0, 2.0]], "smoke")
    with pytest.raises(ValueError, match="not-decided"):
        replicated(make(), smoke, smoke)


def test_the_same_word_repeats_whatever_the_reason(make: Make, draw: Draw, published: Evidence) -> None:
    direction, open_ = judged(make(), draw(1.5)), judged(make(), draw(1.0, 9.0))
    assert (direction.verdict, open_.verdict) == ("inconclusive", "inconclusive")
    assert direction.reason != open_.reason
    assert replicated(make(), direction, open_).repeats
    against = judged(make(), draw(-5.0))
    for before, after in ((published, against), (against, published)):
        entry = replicated(make(), before, after)
        assert entry.opposite and not entry.repeats
    assert not replicated(make(), published, open_).opposite


def test_what_counts(make: Make, draw: Draw, published: Evidence) -> None:
    claim = make()
    same, other = (replicated(claim, published, judged(claim, draw(mean))) for mean in (5.0, 1.0))

    def of(
        *runs: Replication,
        now: Claim = claim,
        evidence: Evidence = published,
        edition: int = 1,
        design: str = "d",
    ) -> str:
        found = repeats(runs, now, evidence, edition=edition, design=design)
        assert found.runs == len(counting(runs, now, evidence, edition=edition, design=design))
        return str(found)

    first = recorded({"bn-fast": same}, seed=7)
    second = recorded({"bn-fast": other}, seed=8, day="2026-02-01")
    assert of() == "repeated 0 of 0"
    assert of(first, second) == "repeated 1 of 2"
    assert repeats([first], claim, published, edition=1, design="d") == Repeats("supported", 1, 1)
    # One seed counts once, by its first run.
    assert of(first, recorded({"bn-fast": other}, seed=7, more="-2")) == "repeated 1 of 1"
    assert of(first, second, evidence=dataclasses.replace(published, seed=7)) == "repeated 0 of 1"
    # Another question does not count; wording is no other question.
    assert of(first, now=make(margin=2.0)) == of(first, now=make(effect="else")) == "repeated 0 of 0"
    assert of(first, now=make(says="In other words.", why="As ever.")) == "repeated 1 of 1"
    assert of(first, edition=2) == of(recorded({"bn-fast": same}, edition=2)) == "repeated 0 of 0"
    assert of(recorded({"bn-fast": same}, edition=2), edition=2) == "repeated 1 of 1"
    # Nor does what other code or other learning rates gave.
    assert of(first, design="e") == of(recorded({"bn-fast": same}, design="e")) == "repeated 0 of 0"
    assert of(recorded({"bn-fast": same}, design="e"), design="e") == "repeated 1 of 1"
    # Nor does what was held against another verdict, or against a full edition.
    assert of(first, evidence=judged(claim, draw(1.0))) == "repeated 0 of 0"
    assert of(first, evidence=dataclasses.replace(published, profile="full")) == "repeated 0 of 0"
    assert of(recorded({"bn-else": same}, seed=7)) == "repeated 0 of 0"


# Where in the file, what stands there instead, and what is said of it.
FAULTS: list[tuple[list[str], Any, str]] = [
    (["format"], 2, r"`format` is 2; this version reads 1"),
    (["seed"], 1000, r"`seed` is 1000; it must be below 1000"),
    (["seed"], True, r"`seed` is True; it must be a whole number"),
    (["seed"], 8, r"a run of 2026-01-31 on seed 8 is called 2026-01-31-seed-8\.json"),
    (["date"], "yesterday", r"`date` is 'yesterday'; write it as 2026-01-31"),
    (["retuned"], 1, r"`retuned` is 1; it must be true or false"),
    (["chapters"], {}, r"`chapters` is empty"),
    (["chapters", CHAPTER], 3, r"batch_norm: 3 is no mapping"),
    (["chapters", CHAPTER, "edition"], -1, r"batch_norm: `edition` is -1; it must be at least 0"),
    (["chapters", CHAPTER, "tuning_seed"], 7, r"`tuning_seed` is 7; it must be at least 1000"),
    (["chapters", CHAPTER, "more"], 1, r"missing: none; unknown: more"),
    (["chapters", CHAPTER, "claims", "bn-fast", "judged", "id"], "bn-slow", r"`judged` is of 'bn-slow'"),
    (["chapters", CHAPTER, "claims", "bn-fast", "judged", "margin"], None, r"the margin None"),
    (["chapters", CHAPTER, "claims", "bn-fast", "verdict"], "suported", r"`verdict` is 'suported'; choose"),
    (
        ["chapters", CHAPTER, "claims", "bn-fast", "verdict"],
        "negligible",
        r"claim bn-fast: `verdict` is negligible; the numbers beside it say inconclusive or supported",
    ),
    (["chapters", CHAPTER, "claims", "bn-fast", "low"], None, r"the numbers beside it say inconclusive$"),
    (["chapters", CHAPTER, "claims", "bn-fast", "firmness"], 1.2, r"`firmness` is 1\.2; a probability"),
    (["chapters", CHAPTER, "claims", "bn-fast", "estimate"], "4", r"`estimate` is '4'; it must be a number"),
    (["chapters", CHAPTER, "claims", "bn-fast", "shift"], float("nan"), r"not JSON: NaN is no number"),
]


@pytest.mark.parametrize(("place", "value", "said"), FAULTS)
def test_a_fault_is_named(
    place: list[str], value: Any, said: str, make: Make, published: Evidence, tmp_path: Path
) -> None:
    stored = json.loads(recorded({"bn-fast": replicated(make(), published, published)}).to_json())
    part = stored
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    folder = tmp_path / "replications"
    folder.mkdir()
    (folder / "2026-01-31-seed-7.json").write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(ReplicationError, match=rf"^replications/2026-01-31-seed-7\.json: .*{said}"):
        read_replications(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]"])
def test_a_file_that_is_no_record_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "2026-01-31-seed-7.json").write_bytes(content)
    with pytest.raises(ReplicationError, match=r"2026-01-31-seed-7\.json"):
        read_replications(tmp_path)


def test_an_identity_is_held_to_its_tolerance(make: Make) -> None:
    claim = make("identity", margin=1e-3)
    holds, fails = judged(claim, np.full(20, 1e-4)), judged(claim, np.full(20, 1.0))
    run = recorded({"bn-fast": replicated(claim, holds, fails)})
    assert Replication.from_json(run.name, run.to_json()) == run
    assert run.chapters[CHAPTER].claims["bn-fast"].opposite
    wrong = run.to_json().replace('"verdict": "contradicted"', '"verdict": "supported"', 1)
    with pytest.raises(ReplicationError, match="the numbers beside it say contradicted"):
        Replication.from_json(run.name, wrong)


def test_a_design_is_code_library_and_learning_rates() -> None:
    parts = {"code": "a", "library": {"m": "b", "n": "c"}, "tuning": "d", "text": "e", "claims": {}}
    same = design_of({"parts": parts})
    assert same == design_of({"parts": parts | {"text": "f"}})
    assert same == design_of({"parts": parts | {"library": {"n": "c", "m": "b"}}})
    for other in ({"code": "x"}, {"library": {"m": "b"}}, {"tuning": None}):
        assert design_of({"parts": parts | other}) != same
