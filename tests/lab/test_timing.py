"""Timing in turns: every step in every round, what is done once left out."""

from __future__ import annotations

import pytest
import torch

from surveylab import lab
from surveylab.lab import timing


def test_steps_are_timed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that only the steps move: a call of "slow" takes 4 s, one of "quick" 1 s.
    clock = [0.0]
    calls: list[str] = []

    def step(name: str, takes: float):
        def call() -> None:
            calls.append(name)
            clock[0] += takes

        return call

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    found = lab.interleaved({"quick": step("quick", 1), "slow": step("slow", 4)}, rounds=3, seconds=8)
    assert found["quick"].tolist() == [1, 1, 1] and found["slow"].tolist() == [4, 4, 4]
    round_of_each = ["quick"] * 8 + ["slow"] * 2
    assert calls == ["quick"] * 2 + ["slow"] * 2 + round_of_each * 3


def test_no_rounds_is_an_error() -> None:
    with pytest.raises(ValueError, match="rounds must be at least 1; got 0"):
        lab.interleaved({}, rounds=0)


def test_threads_are_one_while_it_times_and_then_as_before() -> None:
    seen: set[int] = set()

    def fails() -> None:
        seen.add(torch.get_num_threads())
        raise RuntimeError("stop")

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        lab.interleaved({"step": lambda: seen.add(torch.get_num_threads())}, rounds=1, seconds=0)
        with pytest.raises(RuntimeError, match="stop"):
            lab.interleaved({"step": fails}, rounds=1)
        assert seen == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
