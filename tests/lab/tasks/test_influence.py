"""What an output depends on is found by trying, for layers that share no code with the one that looks."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from surveylab.lab.tasks.influence import influence_on
from surveylab.normalization import BatchNorm1d, GroupNorm, InstanceNorm1d, LayerNorm

N, C, S = 3, 6, 4
AT = (1, 2, 3)
# A layer, and the examples, channels and positions that its output at AT depends on.
Region = tuple[slice | int, slice | int, slice | int]
ALL = slice(None)
CASES: dict[str, tuple[Callable[[], nn.Module], Region]] = {
    "BN": (lambda: BatchNorm1d(C), (ALL, 2, ALL)),
    "BN, evaluation": (lambda: BatchNorm1d(C).eval(), (1, 2, 3)),
    "LN": (lambda: LayerNorm((C, S)), (1, ALL, ALL)),
    "LN over positions": (lambda: LayerNorm(S), (1, 2, ALL)),
    "IN": (lambda: InstanceNorm1d(C), (1, 2, ALL)),
    "GN": (lambda: GroupNorm(3, C), (1, slice(2, 4), ALL)),
    "GN, one group": (lambda: GroupNorm(1, C), (1, ALL, ALL)),
    "torch's BN": (lambda: nn.BatchNorm1d(C), (ALL, 2, ALL)),
    "torch's GN": (lambda: nn.GroupNorm(2, C), (1, slice(0, 3), ALL)),
    "nothing": (nn.Identity, (1, 2, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_depend_on_what_they_normalise_over(name: str) -> None:
    make, region = CASES[name]
    expected = torch.zeros(N, C, S, dtype=torch.bool)
    expected[region] = True
    assert torch.equal(influence_on(make(), (N, C, S), AT), expected)


def test_numbers_follow_from_the_definitions() -> None:
    counts = {name: int(influence_on(CASES[name][0](), (N, C, S), AT).sum()) for name in CASES}
    assert (counts["BN"], counts["LN"], counts["IN"], counts["GN"]) == (N * S, C * S, S, C // 3 * S)


def test_what_a_gradient_would_not_show() -> None:
    """Statistics that are detached, and a step that has no slope."""

    def detached(input: Tensor) -> Tensor:
        return input - input.mean(-1, keepdim=True).detach()

    assert influence_on(detached, (2, 5), (0, 1)).tolist() == [[True] * 5, [False] * 5]
    assert influence_on(lambda x: x.sum(0, keepdim=True).sign().expand(2, 5), (2, 5), (0, 1)).sum() == 2


def test_the_layer_is_left_as_it_was() -> None:
    layer = BatchNorm1d(C)
    layer(torch.randn(8, C))
    before = copy.deepcopy(layer.state_dict())
    influence_on(layer, (N, C, S), AT)
    assert layer.training
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]) and value.dtype == before[name].dtype


class Remembering(nn.Module):
    """Gives what it was given before, kept in a buffer."""

    last: Tensor

    def __init__(self, persistent: bool) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(2, 3), persistent=persistent)

    def forward(self, input: Tensor) -> Tensor:
        output = self.last.clone()
        self.last.copy_(input)
        return output


@pytest.mark.parametrize("persistent", [True, False])
def test_state_is_anew_each_time(persistent: bool) -> None:
    layer = Remembering(persistent)
    assert not influence_on(layer, (2, 3), (0, 0)).any()
    assert not layer.last.any()


def test_errors() -> None:
    for at in ((1, 2), (3, 0, 0), (0, -1, 0)):
        with pytest.raises(ValueError, match="at should be a place"):
            influence_on(nn.Identity(), (N, C, S), at)
    with pytest.raises(ValueError, match="should keep the shape"):
        influence_on(nn.Flatten(), (N, C, S), AT)
    with pytest.raises(ValueError, match="is random"):
        influence_on(nn.Dropout(0.5), (N, C, S), AT)
    for broken in (lambda x: x * torch.nan, lambda x: x / 0):
        with pytest.raises(ValueError, match="should give finite values, but gives some that are not"):
            influence_on(broken, (2, 3), (0, 0))
