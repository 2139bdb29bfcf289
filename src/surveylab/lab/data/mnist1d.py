"""``mnist1d``: signals of 40 points in ten classes, a benchmark for small experiments [greydanus2024scaling].

Twelve-point drawings of the ten digits are padded, moved, sheared, made noisy and resampled. The package
`mnist1d` makes them offline; with its default arguments they are the authors' frozen set.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version

import numpy as np
import torch

from surveylab.lab.data.cache import kept
from surveylab.lab.data.dataset import Dataset, checksum

OFFICIAL = 5000


@cache
def mnist1d(samples: int = OFFICIAL) -> Dataset:
    """MNIST-1D: signals (N, 1, 40) in 10 classes, the last fifth of them held out [greydanus2024scaling].

    Args:
        samples: How many in all, a multiple of 10. 5,000 is the official set: 4,000 to train and validate on
            and 1,000 to test on. Another number is another draw of the same kind, test examples included: its
            scores compare with each other, not with published ones.

    Raises:
        ValueError: If ``samples`` is not a positive multiple of 10.
    """
    if samples < 10 or samples % 10:
        raise ValueError(f"samples must be a positive multiple of 10, some of each class; got {samples}")
    arrays = kept(f"mnist1d-{version('mnist1d')}-{samples}", lambda: _make(samples))
    x, y = arrays["x"], arrays["y"]
    held_out = torch.arange(samples) >= int(arrays["train"])
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    return Dataset("mnist1d", *tensors, tuple("0123456789"), None, checksum(x, y), held_out)


def _make(samples: int) -> dict[str, np.ndarray]:
    from mnist1d.data import get_dataset_args, make_dataset

    arguments = get_dataset_args()
    arguments.num_samples = samples
    with _generators_kept():
        made = make_dataset(arguments)
    x = np.concatenate([made["x"], made["x_test"]]).astype(np.float32)[:, None]
    y = np.concatenate([made["y"], made["y_test"]]).astype(np.int64)
    return {"x": x, "y": y, "train": np.array(len(made["y"]))}


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Leave Python's, NumPy's and torch's global generators as they were: the package seeds what it finds."""
    before, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - it is what the package seeds
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(before)
        np.random.set_state(legacy)  # noqa: NPY002
