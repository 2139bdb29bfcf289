"""Style transfer: losses as defined, filters as described, a network that takes codes and learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from toy_data import toy

from surveylab import lab
from surveylab.lab.tasks import style
from surveylab.normalization import AdaIN


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def scenes(number: int, size: int) -> Tensor:
    """Noise in colours of its own for each picture, so that every filter answers to some."""
    return 0.3 * pictures(number, 3, size, size) + 0.7 * pictures(number, 3, 1, 1)


def test_gram_is_the_mean_product_of_every_two_channels() -> None:
    features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    found = style.gram(features)
    for picture, matrix in zip(features, found, strict=True):
        for i, one in enumerate(picture):
            for j, other in enumerate(picture):
                assert matrix[i, j] == pytest.approx((one * other).mean().item(), abs=1e-6)
    moved = features.flatten(2)[..., torch.randperm(20)].view(2, 3, 4, 5)
    torch.testing.assert_close(style.gram(moved), found)


def test_losses_are_what_is_written_over_them() -> None:
    sizes = [(4, 6), (2, 3)]
    made, wanted = ([pictures(2, 3, *size) * (k + 1) for size in sizes] for k in range(2))
    grams = [style.gram(features) for features in wanted]
    content, match = style.content_loss(made, wanted), style.style_loss(made, grams)
    for b in range(2):
        apart = [((x[b] - y[b]) ** 2).mean() for x, y in zip(made, wanted, strict=True)]
        assert content[b] == pytest.approx(torch.stack(apart).mean().item())
        off = [
            ((style.gram(x[b]) - g[b]) ** 2).sum() / (g[b] ** 2).sum()
            for x, g in zip(made, grams, strict=True)
        ]
        assert match[b] == pytest.approx(torch.stack(off).mean().item())
    assert style.style_loss(wanted, grams).abs().max() < 1e-10


def test_half_of_the_filters_see_no_brightness_and_all_speak_equally_loud() -> None:
    torch.manual_seed(0)
    reference = scenes(20, 32)
    filters = style.RandomFilters(reference, channels=8)
    found = filters(reference)
    assert [tuple(f.shape) for f in found] == [(20, 8, 28, 28), (20, 8, 12, 12), (20, 8, 4, 4)]
    for features in found:
        torch.testing.assert_close(features.square().mean((0, 2, 3)), torch.ones(8))
    # Up to the edges: beside a padding of zeros brightness would show.
    shift = torch.tensor([0.3, -0.2, 0.1]).view(3, 1, 1)
    brighter = filters(reference + shift)
    structure = [[f[:, :4] for f in features] for features in (brighter, found)]
    assert style.content_loss(*structure).max() < 1e-6
    for before, after in zip(found, brighter, strict=True):
        assert (after[:, 4:] - before[:, 4:]).abs().amax((0, 2, 3)).min() > 0.1
    assert not any(p.requires_grad for p in filters.parameters())


def test_the_judge_compares_content_by_structure_and_style_by_the_one_that_is_wanted() -> None:
    streams = lab.make_streams(0, 2, 1)
    styles = pictures(2, 3, 3, 24, 24)
    judge = style.Judge(streams, styles, scenes(40, 20))
    content, match = judge(styles, styles, torch.arange(3))
    assert content.shape == match.shape == (2, 3)
    assert content.abs().max() < 1e-10 and match.abs().max() < 1e-8
    assert judge(styles, styles, 0)[1][:, 1:].min() > 1e-3  # the others are not the first style
    assert judge(styles.flip(1), styles)[0][:, 0].min() > 1e-3
    assert judge(styles + 0.3, styles)[0].max() < 1e-6  # brightness is no content


def test_a_stylist_keeps_the_size_and_takes_codes() -> None:
    torch.manual_seed(0)
    x = pictures(2, 3, 12, 10)
    plain = style.Stylist(nn.BatchNorm2d, width=4)(x)
    assert plain.shape == x.shape and plain.min() >= 0 and plain.max() <= 1
    coded = style.Stylist(lambda channels: AdaIN(channels, 3), width=4)
    same = x[:1].expand(3, -1, -1, -1)
    found = coded(same, torch.eye(3))
    assert (found[0] - found[1]).abs().max() > 1e-3
    torch.testing.assert_close(found[:1], coded(x[:1], torch.eye(3)[:1]))


def test_training_lowers_the_loss_of_every_replica() -> None:
    streams = lab.make_streams(0, 2, 1)
    colours = replace(toy(), x=pictures(40, 3, 8, 8))
    split = colours.split(streams, train=20, test=10)
    stylists = lab.Population(lambda: style.Stylist(nn.BatchNorm2d, width=4), streams)
    wanted = torch.tensor([0.2, 0.8]).view(2, 1, 1, 1, 1)

    def loss(stylists: lab.Population, batch: lab.Batch) -> Tensor:
        return (stylists(batch.x) - wanted).square().mean((1, 2, 3, 4))

    found = lab.train(stylists, split, loss, steps=60, rates=0.03, batch=5, optimizer=torch.optim.Adam)
    assert (found.losses[-1] < 0.1 * found.losses[0]).all()
