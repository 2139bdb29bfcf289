"""The 5,000 digits of MNIST, and as another domain than `digits`."""

from __future__ import annotations

import pytest
import torch

from surveylab import lab

SHA = "4c1e7730905ee53829b98b6e40c3bd07e9ea4c7e529938351c68bef9f61e2155"


@pytest.mark.usefixtures("offline")
def test_mnist() -> None:
    data = lab.mnist.__wrapped__()
    assert data.sha256 == SHA and data.name == "mnist"
    assert data.x.shape == (5000, 1, 28, 28) and data.x.dtype == torch.float32
    assert data.x.min() == 0 and data.x.max() == 1
    assert data.y.bincount().tolist() == [500] * 10 and data.held_out is None
    # Ink lies in the middle, as MNIST was made, and ones have less of it than zeros.
    assert data.x[..., 4:24, 4:24].sum() > 0.95 * data.x.sum()
    ink = torch.stack([data.x[data.y == label].mean() for label in range(10)])
    assert ink.argmin() == 1 and ink.argmax() == 0
    assert data.shrunk(2).x.shape == (5000, 1, 14, 14)


def test_small_mnist_is_another_domain_than_digits() -> None:
    from sklearn.svm import SVC

    small, digits = lab.mnist_8x8(), lab.digits()
    assert small.x.shape == (5000, 1, 8, 8) and small.source == lab.mnist().source
    assert small.x.shape[1:] == digits.x.shape[1:] and 0 <= small.x.min() <= small.x.max() <= 1
    split = digits.split(lab.make_streams(0, 1, 1), train=1300, test=400)
    flat, labels = digits.x.flatten(1).numpy(), digits.y.numpy()
    model = SVC(C=10).fit(flat[split.train[0]], labels[split.train[0]])
    assert model.score(flat[split.test[0]], labels[split.test[0]]) > 0.97
    across = model.score(small.x.flatten(1).numpy(), small.y.numpy())
    assert 0.3 < across < 0.75  # better than chance, and far from home
