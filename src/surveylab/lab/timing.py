"""Times that can be compared: several steps in turns, so that a slow moment of the machine touches all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


def interleaved(
    steps: Mapping[str, Callable[[], Any]], *, rounds: int, seconds: float = 0.02, threads: int = 1
) -> dict[str, Tensor]:
    """Time steps in turns.

    Args:
        steps: What to time, by name.
        rounds: How often each is timed; in every round all of them, one after another.
        seconds: Of work in one timing. A step is repeated until about that long has passed.
        threads: Of torch's while it is timed: one by default, so that work is timed and not waiting.

    Returns:
        Seconds for one call of each, (rounds,). The ratio of two of them in one round is one measurement.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1; got {rounds}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        repeats = {}
        for name, step in steps.items():
            step()  # what is done once, such as compiling, is not timed
            repeats[name] = max(1, round(seconds / max(_time(step, 1), 1e-9)))
        taken = [{name: _time(step, repeats[name]) for name, step in steps.items()} for _ in range(rounds)]
    finally:
        torch.set_num_threads(before)
    return {name: torch.tensor([times[name] for times in taken], dtype=torch.float64) for name in steps}


def _time(step: Callable[[], Any], repeats: int) -> float:
    """Mean seconds of one call. A GPU works behind Python's back: wait for it at both ends."""
    _wait()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    _wait()
    return (time.perf_counter() - start) / repeats


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
