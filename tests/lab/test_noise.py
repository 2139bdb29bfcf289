"""Counter-based random numbers: uniform, independent, and the same whoever draws beside them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from surveylab import lab
from surveylab.lab import noise
from surveylab.lab.noise import Noise

STREAMS = lab.make_streams(0, 8)
KEYS = noise.keys(STREAMS, "noise")
N = 1 << 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform(dtype: torch.dtype) -> None:
    drawn = noise.uniform(KEYS, 0, 1, N, dtype)
    assert drawn.shape == (24, N) and drawn.dtype == dtype
    assert drawn.min() >= 0 and drawn.max() < 1
    p = [stats.kstest(row, "uniform").pvalue for row in drawn.numpy()]
    assert stats.kstest(p, "uniform").pvalue > 1e-3  # and not too even either


def test_every_bit_is_fair_and_independent_of_the_others() -> None:
    bits = noise.random_bits(KEYS[0], 5, 2, N)
    columns = torch.stack([(bits >> k) & 1 for k in range(32)]).double()
    assert (columns.mean(1) - 0.5).abs().max() < 5 * 0.5 / N**0.5
    correlation = torch.corrcoef(columns) - torch.eye(32)
    assert correlation.abs().max() < 5 / N**0.5


def test_normal() -> None:
    drawn = noise.normal(KEYS, 0, 1, N, torch.float64)
    p = [stats.kstest(row, "norm").pvalue for row in drawn.numpy()]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_replicas_calls_draws_and_neighbours_are_independent() -> None:
    families = {
        "replicas": noise.uniform(KEYS, 0, 1, N),
        "calls": torch.stack([noise.uniform(KEYS[0], call, 1, N) for call in range(24)]),
        "draws": torch.stack([noise.uniform(KEYS[0], 0, draw, N) for draw in range(24)]),
        "shifts": noise.uniform(KEYS[0], 0, 1, N + 24).unfold(0, N, 1)[:24],
    }
    for name, rows in families.items():
        if name != "shifts":  # of 2²⁴ numbers hardly two of 1,536 are the same
            assert len(rows[:, :64].unique()) > 0.99 * rows[:, :64].numel(), name
        correlation = torch.corrcoef(rows.double()) - torch.eye(24)
        assert correlation.abs().max() < 5 / N**0.5, name


def test_no_two_of_many_keys_give_the_same_numbers() -> None:
    many = noise.keys(lab.make_streams(0, 1000), "noise")
    first = noise.random_bits(many, 0, 1, 2).long()
    pairs = first[:, 0] * 2**32 + first[:, 1]
    assert len(pairs.unique()) == len(many)
    assert len(many.unique(dim=0)) == len(many)


def everything(key: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    with Noise(key, 3):
        return (
            F.dropout(x, 0.3),
            torch.dropout(x, 0.3, True),
            F.dropout2d(x.view(1, 4, 2, 2), 0.5),
            torch.rand(3, 4),
            torch.rand((2,), dtype=torch.float64),
            torch.randn(5),
            torch.rand_like(x),
            torch.randn_like(x, dtype=torch.float64),
            torch.randint(3, 7, (50,)),
            torch.randperm(9),
            torch.bernoulli(torch.full((50,), 0.2)),
        )


def test_the_same_under_vmap_and_alone() -> None:
    x = torch.randn(24, 16)
    together = vmap(everything)(KEYS, x)
    for r in range(24):
        for found, expected in zip(together, everything(KEYS[r], x[r]), strict=True):
            assert torch.equal(found[r], expected)


def test_what_torchs_functions_draw() -> None:
    drawn = everything(KEYS[0], torch.ones(16))
    assert set(drawn[8].tolist()) == {3, 4, 5, 6} and drawn[8].dtype == torch.int64
    assert sorted(drawn[9].tolist()) == list(range(9))
    assert set(drawn[10].tolist()) == {0, 1}
    assert drawn[4].dtype == drawn[7].dtype == torch.float64
    with Noise(KEYS[0], 0):
        bounded = torch.empty(1000).uniform_(2, 5)
        shifted = torch.empty(1000).normal_(3, 0.5)
        coins = torch.empty(1000).bernoulli_(0.25)
    assert 2 <= bounded.min() < 2.1 and 4.9 < bounded.max() < 5
    assert abs(shifted.mean() - 3) < 0.1 and abs(shifted.std() - 0.5) < 0.05
    assert abs(coins.mean() - 0.25) < 0.06


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_dropout_keeps_a_share_and_scales_it(p: float) -> None:
    x = torch.ones(100_000, requires_grad=True)
    with Noise(KEYS[0], 0):
        y = nn.Dropout(p)(x)
    kept = y > 0
    assert abs(kept.float().mean() - (1 - p)) < 0.006
    if p < 1:
        torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - p)))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, y.detach())
    with Noise(KEYS[0], 0):
        assert torch.equal(nn.Dropout(p).eval()(x), x)


def test_feature_dropout_drops_whole_channels() -> None:
    with Noise(KEYS[0], 0):
        y = nn.Dropout2d(0.5)(torch.ones(8, 32, 3, 3))
    assert ((y == 0).all((2, 3)) | (y == 2).all((2, 3))).all()
    assert 0.3 < (y == 0).float().mean() < 0.7


def test_a_probability_outside_0_to_1_is_an_error_as_in_torch() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1, but got 1\.5"), Noise(KEYS[0], 0):
        F.dropout(torch.ones(2), 1.5)


def test_a_generator_of_ones_own_is_left_to_torch() -> None:
    own = torch.Generator().manual_seed(3)
    expected = torch.rand(4, generator=torch.Generator().manual_seed(3))
    with Noise(KEYS[0], 0):
        assert torch.equal(torch.rand(4, generator=own), expected)


def test_attention_with_dropout_is_by_its_definition_and_vectorises() -> None:
    query, key, value = (torch.randn(24, 2, 5, 4) for _ in range(3))

    def attend(own: Tensor, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        with Noise(own, 0):
            return F.scaled_dot_product_attention(q, k, v, **options)

    # Nothing dropped in effect: a probability so small that no element falls.
    for options in (
        {},
        {"is_causal": True},
        {"attn_mask": torch.rand(5, 5).round().bool() | torch.eye(5).bool()},
    ):
        found = attend(KEYS[0], query[0], key[0], value[0], dropout_p=1e-9, **options)
        torch.testing.assert_close(
            found, F.scaled_dot_product_attention(query[0], key[0], value[0], **options)
        )
    together = vmap(partial(attend, dropout_p=0.5), randomness="error")(KEYS, query, key, value)
    for r in range(24):
        torch.testing.assert_close(together[r], attend(KEYS[r], query[r], key[r], value[r], dropout_p=0.5))
    assert not torch.allclose(together, F.scaled_dot_product_attention(query, key, value))


def test_dropout_under_checkpointing_is_refused_not_wrong() -> None:
    model = lambda x: nn.Dropout(0.5)(x).square().sum()  # noqa: E731
    x = torch.ones(8, requires_grad=True)
    with (
        pytest.raises(RuntimeError, match="a layer draws random numbers under"),
        Noise(KEYS[0], 0),
    ):
        checkpoint(model, x, use_reentrant=False)
    with Noise(KEYS[0], 0):
        checkpoint(lambda x: x.square().sum(), x, use_reentrant=False).backward()
    torch.testing.assert_close(x.grad, torch.full((8,), 2.0))
