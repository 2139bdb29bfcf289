"""The task of a comparison of stylists: whose style is wanted, what pictures are judged by."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from surveylab import lab
from surveylab.lab.tasks import style

STREAMS = lab.make_streams(0, 2)


@pytest.fixture
def task() -> style.Restyling:
    return style.Restyling(lab.scenes(), number=2)


@pytest.fixture
def comparison(task: style.Restyling) -> lab.Comparison:
    rates = [0.001, 0.01, 0.1]
    return lab.Comparison(lab.scenes(), STREAMS, 4 * 12, rates, 8, 4, 6, metric=task.score(4.0))


def one_group(channels: int) -> nn.Module:
    return nn.GroupNorm(1, channels)


def arm(task: style.Restyling) -> lab.Arm:
    build = partial(style.Stylist, one_group)
    return lab.Arm(build, 4, torch.optim.Adam, task.objective(4.0))


def test_styles_are_squares_of_different_photographs(task: style.Restyling) -> None:
    styles = task.styles(STREAMS)
    assert styles.shape == (6, 2, 3, 192, 192)
    for replica, (first, second) in enumerate(task.labels(STREAMS)):
        assert first != second
        whole = lab.photograph(task.data.classes[first], shrunk=True)
        rows = whole.unfold(2, 192, 1)[0].unfold(0, 192, 1)  # every place of a square's first colour
        assert (rows.transpose(-1, -2) == styles[replica, 0, 0]).all((-1, -2)).any()


def test_a_replicate_is_the_same_among_others_or_alone(task: style.Restyling) -> None:
    assert task.styles(STREAMS[1:2])[0].equal(task.styles(STREAMS)[1])
    contents = lab.scenes().x[:3].expand(6, -1, -1, -1, -1)
    together = task.judge(STREAMS)(contents.flip(1), contents)
    alone = task.judge(STREAMS[1:2])(contents[:1].flip(1), contents[:1])
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many[1], one[0])


def test_arms_start_alike_and_learn(task: style.Restyling, comparison: lab.Comparison) -> None:
    still, moving, again = (
        comparison.run("arm", arm(task), settings=[{"rate": rate}]) for rate in (1e-9, 0.02, 0.02)
    )
    colours = [trained.population.state["colours.weight"] for trained in (still, moving, again)]
    assert not colours[0].equal(colours[1]) and colours[1].equal(colours[2])
    assert (moving.score > still.score).all()


def test_the_score_weighs_the_style(task: style.Restyling, comparison: lab.Comparison) -> None:
    trained = comparison.run("arm", arm(task), settings=[{"rate": 0.01}])
    stylists = trained.population.eval()
    content, match = task.losses(stylists, STREAMS, comparison.split)
    assert content.shape == match.shape == (6,)
    torch.testing.assert_close(trained.score, -(content + 4.0 * match))
    torch.testing.assert_close(trained.test_loss, content + 4.0 * match)
    by_two = task.losses(stylists, STREAMS, comparison.split, batch=2)
    torch.testing.assert_close(by_two, torch.stack([content, match]))


def test_rates_are_chosen_on_contents_that_are_not_tested_on(
    task: style.Restyling, comparison: lab.Comparison
) -> None:
    """The sweep scores validation contents, and higher is better."""
    (row,) = comparison.sweep(arm(task), [0.01])
    trained = comparison.run("arm", arm(task), settings=[{"rate": 0.01}])
    split = comparison.split
    losses = {
        name: task.losses(trained.population.eval(), STREAMS, split, index)
        for name, index in (("validation", split.validation), ("test", split.test))
    }
    content, match = losses["validation"]
    torch.testing.assert_close(row, -(content + 4.0 * match))
    content, match = losses["test"]
    assert not torch.allclose(row, -(content + 4.0 * match), rtol=1e-3)


def test_losses_of_a_perfect_copy(task: style.Restyling, comparison: lab.Comparison) -> None:
    content, match = task.losses(lambda contents: contents, STREAMS, comparison.split)
    assert content.abs().max() == 0
    assert match.min() > 0
    half = lambda contents: contents / 2  # noqa: E731
    content, _ = task.losses(lambda contents: contents, STREAMS, comparison.split, change=half)
    assert content.abs().max() == 0  # a change is of the contents, and not of what is made of them


def test_a_code_picks_each_style(task: style.Restyling, comparison: lab.Comparison) -> None:
    from surveylab.normalization import AdaIN

    codes = torch.eye(2).expand(6, 2, 2)
    build = partial(style.Stylist, lambda channels: AdaIN(channels, 2))
    coded = lab.Arm(build, 2, torch.optim.Adam, task.objective(4.0, codes))
    population = comparison.run("codes", coded, settings=[{"rate": 0.01}]).population
    contents, _ = comparison.split.get(comparison.split.test[:, :1].expand(6, 2))
    first, second = population(contents, codes).unbind(1)
    assert not torch.allclose(first, second)
