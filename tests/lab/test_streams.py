"""Streams: pinned, independent by purpose, and the same whatever runs beside them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from surveylab import lab
from surveylab.lab.streams import PURPOSES


def test_golden_values() -> None:
    # A change of these changes every published number.
    assert PURPOSES == ("split", "init", "batches", "noise", "probe", "objective")
    stream = lab.Stream(0, 1, 2)
    assert stream.numpy("split").integers(0, 1000, 4).tolist() == [833, 511, 353, 804]
    assert stream.torch_seed("init") == 8465106434810208200
    assert torch.rand(2, generator=stream.torch("init"), dtype=torch.float64).tolist() == [
        0.20648459091281324,
        0.9080959402564539,
    ]
    assert lab.Stream(0, 0, 0).torch_seed("init") == 7649410250529249988


def test_each_is_numpys_own_spawn_key() -> None:
    for place, purpose in enumerate(PURPOSES):
        expected = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(2, 5, place)))
        assert lab.Stream(3, 2, 5).numpy(purpose).random() == expected.random()  # type: ignore[arg-type]


def test_no_two_share_a_number() -> None:
    streams = [*lab.make_streams(0, 8), *lab.make_streams(1, 8)]
    seeds = [stream.torch_seed(purpose) for stream, purpose in itertools.product(streams, PURPOSES)]  # type: ignore[arg-type]
    assert len(set(seeds)) == len(seeds) == 2 * 24 * 6
    assert all(0 <= seed < 2**63 for seed in seeds)
    first = [stream.numpy("split").random() for stream in streams]
    other = [stream.numpy("batches").random() for stream in streams]
    assert len({*first, *other}) == 96
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.5


def test_each_call_starts_anew() -> None:
    stream = lab.Stream(0, 0, 0)
    assert stream.numpy("split").random() == stream.numpy("split").random()
    assert torch.equal(*(torch.rand(3, generator=stream.torch("noise")) for _ in range(2)))


def test_population_by_population_whatever_their_number() -> None:
    few, many = lab.make_streams(0, 2), lab.make_streams(0, 8)
    assert [(s.population, s.replica) for s in few] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert few == [s for s in many if s.replica < 2]
    assert lab.make_streams(0, 8, 1) == many[:8]


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="seed must be at least 0; got -1"):
        lab.make_streams(-1, 8)
    with pytest.raises(ValueError, match="at least 1; got 0 and 3"):
        lab.make_streams(0, 0)
    with pytest.raises(ValueError, match="at least 1; got 8 and 0"):
        lab.make_streams(0, 8, 0)
    with pytest.raises(ValueError, match=r"purpose must be one of split, .* got 'luck'"):
        lab.Stream(0, 0, 0).numpy("luck")  # type: ignore[arg-type]
