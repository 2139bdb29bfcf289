"""``photos`` and ``scenes``: patches cut from ten photographs that come with scikit-image and scikit-learn.

``photos`` are patches of 32x32 pixels, ``scenes`` patches of the same photographs shrunk; the left and the
right half of each photograph are told apart, so that no pixel is both trained on and tested on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from surveylab.lab.data.dataset import Dataset, checksum

# Ten colour photographs: (class name, package, file within the package).
PHOTOGRAPHS: tuple[tuple[str, str, str], ...] = (
    ("astronaut", "skimage.data", "astronaut.png"),
    ("cat", "skimage.data", "chelsea.png"),
    ("coffee", "skimage.data", "coffee.png"),
    ("rocket", "skimage.data", "rocket.jpg"),
    ("galaxies", "skimage.data", "hubble_deep_field.jpg"),
    ("retina", "skimage.data", "retina.jpg"),
    ("tissue", "skimage.data", "ihc.png"),
    ("motorcycle", "skimage.data", "motorcycle_left.png"),
    ("temple", "sklearn.datasets.images", "china.jpg"),
    ("flower", "sklearn.datasets.images", "flower.jpg"),
)
PATCH = 32
PATCHES_PER_HALF = 160


@cache
def photos() -> Dataset:
    """Patches of ten photographs: 3,200 colour images of 32x32 pixels, labelled with their photograph."""
    return _cut("photos", [_photograph(package, file) for _, package, file in PHOTOGRAPHS])


@cache
def scenes() -> Dataset:
    """As `photos`, of the photographs shrunk to 200 to 300 pixels in height: things rather than surfaces."""
    return _cut("scenes", [_shrunk(_photograph(package, file)) for _, package, file in PHOTOGRAPHS])


def _cut(name: str, images: Sequence[np.ndarray]) -> Dataset:
    """Patches of the left and the right half of each photograph."""
    patches: list[np.ndarray] = []
    labels: list[int] = []
    halves: list[int] = []
    for label, image in enumerate(images):
        middle = image.shape[1] // 2
        for half, part in enumerate((image[:, :middle], image[:, middle:])):
            cut = _patches(part)
            patches.append(cut)
            labels += [label] * len(cut)
            halves += [half] * len(cut)
    pixels = np.concatenate(patches).transpose(0, 3, 1, 2)
    y = np.array(labels, dtype=np.int64)
    classes = tuple(photograph for photograph, _, _ in PHOTOGRAPHS)
    x = torch.from_numpy(np.ascontiguousarray(pixels.astype(np.float32) / 255))
    return Dataset(name, x, torch.from_numpy(y), classes, torch.tensor(halves), checksum(pixels, y))


def photograph(name: str, *, shrunk: bool = False) -> Tensor:
    """One whole photograph by class name, (3, H, W), float32 in [0, 1].

    Args:
        name: Its class.
        shrunk: As its patches in `scenes` show it.
    """
    for label, package, file in PHOTOGRAPHS:
        if label == name:
            image = _photograph(package, file)
            pixels = (_shrunk(image) if shrunk else image).transpose(2, 0, 1)
            return torch.from_numpy(pixels.astype(np.float32) / 255)
    raise ValueError(f"name must be one of {', '.join(p[0] for p in PHOTOGRAPHS)}; got {name!r}")


def _photograph(package: str, file: str) -> np.ndarray:
    from skimage.io import imread

    path = files(package).joinpath(file)
    if not path.is_file():
        raise FileNotFoundError(f"{file} is missing from {package}: reinstall the package that carries it")
    return np.asarray(imread(str(path)))[..., :3]


def _shrunk(image: np.ndarray) -> np.ndarray:
    """Each block of k x k pixels averaged into one, k being as large as leaves 200 rows."""
    k = max(1, image.shape[0] // 200)
    height, width = image.shape[0] // k, image.shape[1] // k
    blocks = image[: height * k, : width * k].reshape(height, k, width, k, 3)
    # A sum of whole numbers, divided in whole numbers: the same on every machine.
    return ((blocks.astype(np.int64).sum((1, 3)) + k * k // 2) // (k * k)).astype(np.uint8)


def _patches(image: np.ndarray) -> np.ndarray:
    """PATCHES_PER_HALF patches on an even grid of positions over the whole image, (N, 32, 32, 3)."""
    height, width = image.shape[:2]
    rows = int(np.ceil(np.sqrt(PATCHES_PER_HALF * height / width)))
    columns = int(np.ceil(PATCHES_PER_HALF / rows))
    tops = np.linspace(0, height - PATCH, rows).astype(int)
    lefts = np.linspace(0, width - PATCH, columns).astype(int)
    every = [image[t : t + PATCH, s : s + PATCH] for t in tops for s in lefts]
    keep = np.linspace(0, len(every) - 1, PATCHES_PER_HALF).astype(int)
    return np.stack([every[k] for k in keep])
