"""The same arms at other budgets, and the settings of a scope map that show them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from surveylab import lab


def test_arms_are_trained_again_for_population_0_alone(root: Path, begin: Callable[..., lab.Run]) -> None:
    run = begin(profile="smoke")
    comparison = lab.Comparison(lab.digits(), run.streams(), 320, [0.1], train=64, validation=32, test=50)
    found = lab.at_budgets(comparison, lambda other: other, budgets=(0.25, 2))
    assert list(found) == [0.25, 2]
    assert [other.samples for other in found.values()] == [80, 640]
    assert [other.label for other in found.values()] == ["0.25 × budget", "2 × budget"]
    assert all(other.streams == comparison.streams[: run.replicates] for other in found.values())


@pytest.mark.parametrize("budgets", [(), (0.5, 1), (0, 2)])
def test_a_budget_that_is_none_or_the_runs_own_is_an_error(budgets: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="budgets must be positive and other than 1"):
        lab.at_budgets(None, nn.Identity(), budgets=budgets)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(24,), (3, 8)])
def test_the_runs_own_effect_stands_between_those_of_the_guard(begin, shape: tuple[int, ...]) -> None:
    begin(profile="standard")
    values = torch.arange(24.0).reshape(shape)
    guard = {2.0: torch.ones(8), 0.5: torch.zeros(8)}
    cells = lab.over_budgets(values, guard, data="digits")
    assert [at for at, _ in cells] == [{"data": "digits", "updates": u} for u in ("0.5 ×", "as run", "2 ×")]
    assert [effect.tolist() for _, effect in cells] == [[0.0] * 8, list(range(8)), [1.0] * 8]
