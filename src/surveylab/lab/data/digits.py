"""``digits``: 1,797 handwritten digits of 8x8 pixels that come with scikit-learn."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from surveylab.lab.data.dataset import Dataset, checksum


@cache
def digits() -> Dataset:
    """Handwritten digits: 1,797 grey images of 8x8 pixels in 10 classes [alpaydin1998optical]."""
    from sklearn.datasets import load_digits

    raw, labels = load_digits(return_X_y=True)
    pixels = raw.astype(np.uint8).reshape(-1, 1, 8, 8)
    x = torch.from_numpy(pixels.astype(np.float32) / 16)
    y = labels.astype(np.int64)
    return Dataset("digits", x, torch.from_numpy(y), tuple("0123456789"), None, checksum(pixels, y))
