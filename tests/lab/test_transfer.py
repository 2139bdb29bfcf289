"""What the arms of a comparison of stylists share, and what they do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from surveylab import lab
from surveylab.lab import style

Begin = Callable[..., lab.Run]


@pytest.fixture
def transfer(root: object, begin: Begin) -> style.Transfer:
    run = begin(profile="smoke")
    sizes = {"train": 8, "validation": 4, "test": 6}
    return style.Transfer(lab.scenes(), run.streams(), steps=3, rates=[0.001, 0.01, 0.1], number=2, **sizes)


def test_styles_are_squares_of_different_photographs(transfer: style.Transfer) -> None:
    assert transfer.styles.shape == (6, 2, 3, 192, 192)
    for replica, (first, second) in enumerate(transfer.labels):
        assert first != second
        whole = lab.photograph(transfer.data.classes[first], shrunk=True)
        square = transfer.styles[replica, 0]
        rows = whole.unfold(2, 192, 1)[0].unfold(0, 192, 1)  # every place of a square's first colour
        assert (rows.transpose(-1, -2) == square[0]).all((-1, -2)).any()


def test_a_replicate_is_the_same_among_others_or_alone(transfer: style.Transfer) -> None:
    alone = replace(transfer, streams=transfer.streams[1:2])
    assert alone.styles[0].equal(transfer.styles[1])
    assert alone.split.test[0].equal(transfer.split.test[1])


def test_arms_start_alike_and_learn(transfer: style.Transfer) -> None:
    def norm(channels: int) -> nn.Module:
        return nn.GroupNorm(1, channels)

    transfer = replace(transfer, steps=12)
    before = transfer.train_at(0.0, "still", norm, 4.0)
    after = transfer.train_at(0.02, "moving", norm, 4.0)
    again = transfer.train_at(0.02, "moving", norm, 4.0)
    assert not before.state["colours.weight"].equal(after.state["colours.weight"])
    assert after.state["colours.weight"].equal(again.state["colours.weight"])
    assert (transfer.total(after, 4.0) < transfer.total(before, 4.0)).all()


def test_the_total_weighs_the_style(transfer: style.Transfer) -> None:
    stylists = transfer.run("arm", nn.BatchNorm2d, 4.0)
    content, match = transfer.losses(stylists)
    assert content.shape == match.shape == (6,)
    torch.testing.assert_close(transfer.total(stylists, 0.5), content + 0.5 * match)
    torch.testing.assert_close(transfer.losses(stylists, batch=2), transfer.losses(stylists))


def test_losses_of_a_perfect_copy(transfer: style.Transfer) -> None:
    content, match = transfer.losses(lambda contents: contents)
    assert content.abs().max() == 0
    assert match.min() > 0
    content, _ = transfer.losses(lambda contents: contents, change=lambda contents: contents / 2)
    assert content.abs().max() == 0  # a change is of the contents, and not of what is made of them


def test_a_code_picks_each_style(transfer: style.Transfer) -> None:
    from surveylab.normalization import AdaIN

    codes = torch.eye(2).expand(6, 2, 2)
    population = transfer.train_at(0.01, "codes", lambda channels: AdaIN(channels, 2), 4.0, codes)
    contents, _ = transfer.split.get(transfer.split.test[:, :1].expand(6, 2))
    first, second = population(contents, codes).unbind(1)
    assert not torch.allclose(first, second)
