"""MNIST-1D is the authors' frozen set, and making it disturbs nobody's random numbers."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from surveylab import lab

SHA = "0ecb4214cd075489923b777acbc15e6203fabf273e62d8c7eececbeacf1c4f0f"


@pytest.mark.usefixtures("offline")
def test_it_is_the_official_set(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mnist1d import data as authors

    made: dict[str, np.ndarray] = {}
    make = authors.make_dataset
    monkeypatch.setattr(authors, "make_dataset", lambda arguments: made.update(make(arguments)) or made)
    data = lab.mnist1d.__wrapped__()
    assert data.sha256 == SHA and data.source == {"name": "mnist1d", "sha256": SHA}
    assert data.x.shape == (5000, 1, 40) and data.x.dtype == torch.float32
    assert data.y.bincount().tolist() == [500] * 10
    assert data.held_out is not None and data.held_out.nonzero().flatten().tolist() == [*range(4000, 5000)]
    # The whole set was centred and scaled by its authors.
    assert abs(float(data.x.mean())) < 1e-5 and float(data.x.std()) == pytest.approx(1, abs=1e-4)
    # As the authors' own function splits it.
    assert np.array_equal(data.y[4000:], made["y_test"])
    np.testing.assert_allclose(data.x[:4000, 0], made["x"], rtol=1e-6, atol=1e-7)
    again = lab.mnist1d.__wrapped__()  # from the cache this time
    assert torch.equal(again.x, data.x) and again.sha256 == SHA
    assert [path.name for path in cache.iterdir()] == ["mnist1d-0.0.2.post1-5000.npz"]


@pytest.mark.usefixtures("cache")
def test_global_generators_stay_where_they_were() -> None:
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)
    expected = random.random(), np.random.rand(), float(torch.rand(()))  # noqa: NPY002
    random.seed(1)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(3)
    lab.mnist1d.__wrapped__(100)
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == expected  # noqa: NPY002


@pytest.mark.usefixtures("cache")
def test_there_may_be_more_or_fewer_signals() -> None:
    small = lab.mnist1d.__wrapped__(200)
    assert small.x.shape == (200, 1, 40)
    assert small.held_out is not None and small.held_out.sum() == 40
    assert small.y.bincount().tolist() == [20] * 10 and small.sha256 != SHA
    for wrong in (0, -10, 25):
        with pytest.raises(ValueError, match=f"samples must be a positive multiple of 10.*; got {wrong}"):
            lab.mnist1d(wrong)


def test_replicates_share_no_training_example_with_the_official_test() -> None:
    split = lab.mnist1d().split(lab.make_streams(0, 4), train=3000, validation=1000, test=500)
    assert split.train.max() < 4000 and split.validation.max() < 4000 and split.test.min() >= 4000
    x, y = split.get(split.train[:, :16])
    assert x.shape == (12, 16, 1, 40) and y.shape == (12, 16)
