"""Real data that is always there: nothing here is downloaded.

``digits`` are 1,797 handwritten digits of 8x8 pixels that come with scikit-learn; ``photos`` are patches of
32x32 pixels cut from ten colour photographs that come with scikit-image and scikit-learn, ``scenes`` patches
of the same photographs shrunk. All are made the same way each time and carry a checksum of their content,
which every claim that rests on them records.

A replicate draws its own split into training, validation and test examples: with one fixed test set, which
images happen to be in it would move every result by points that no number of replicates removes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from surveylab.lab.streams import Stream

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


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples with labels, and where they may be used.

    Attributes:
        name: Its name, as in a claim's record.
        x: The examples, (N, C, H, W), float32 in [0, 1].
        y: The labels, (N,), int64.
        classes: The name of each label.
        half: (N,), 0 or 1: examples of different halves share no pixel. None where all are independent.
        sha256: A checksum of the content.
    """

    name: str
    x: Tensor
    y: Tensor
    classes: tuple[str, ...]
    half: Tensor | None
    sha256: str

    @property
    def source(self) -> dict[str, str]:
        """What a claim records of the data it rests on."""
        return {"name": self.name, "sha256": self.sha256}

    def to(self, device: torch.device | str) -> Dataset:
        """The same data on another device."""
        return replace(self, x=self.x.to(device), y=self.y.to(device))

    def standardised(self) -> Dataset:
        """The same data with mean 0 and variance 1 over all examples, pixels and channels."""
        variance, mean = torch.var_mean(self.x)
        return replace(self, x=(self.x - mean) / variance.sqrt())

    def shrunk(self, factor: int) -> Dataset:
        """The same images, each block of ``factor`` x ``factor`` pixels averaged into one."""
        height, width = self.x.shape[-2:]
        if factor < 1 or height % factor or width % factor:
            raise ValueError(f"factor must divide the images' {height}x{width} pixels; got {factor}")
        return replace(self, x=F.avg_pool2d(self.x, factor))

    def split(self, streams: Sequence[Stream], *, train: int, validation: int = 0, test: int) -> Split:
        """Draw each replicate's training, validation and test examples.

        Where the data has halves, each class's training and validation examples come from one half, drawn by
        the replicate, and its test examples from the other.

        Args:
            streams: One a replicate.
            train, validation, test: How many examples of each.

        Raises:
            ValueError: If there are not enough examples, or a number is negative.
        """
        if min(train, validation, test) < 0:
            raise ValueError(
                f"train, validation and test must be at least 0; got {train}, {validation} and {test}"
            )
        draw = self._draw_by_half if self.half is not None else self._draw
        drawn = np.stack([draw(stream.numpy("split"), train, validation, test) for stream in streams])
        index = torch.from_numpy(drawn).to(self.x.device)
        return Split(self, *index.split([train, validation, test], dim=1))

    def _draw(self, rng: np.random.Generator, train: int, validation: int, test: int) -> np.ndarray:
        wanted, there = train + validation + test, len(self.y)
        if wanted > there:
            raise ValueError(
                f"{self.name} has {there} examples; train + validation + test asks for {wanted}: "
                "ask for fewer"
            )
        return rng.permutation(there)[:wanted]

    def _draw_by_half(self, rng: np.random.Generator, train: int, validation: int, test: int) -> np.ndarray:
        assert self.half is not None
        side = rng.integers(0, 2, size=len(self.classes))
        is_train = (self.half == torch.from_numpy(side)[self.y.cpu()]).numpy()
        first, second = (rng.permutation(np.flatnonzero(mask)) for mask in (is_train, ~is_train))
        if train + validation > len(first) or test > len(second):
            raise ValueError(
                f"{self.name} has {len(first)} examples for training and validation and {len(second)} for "
                f"testing; train + validation asks for {train + validation} and test for {test}: "
                "ask for fewer"
            )
        return np.concatenate([first[: train + validation], second[:test]])


@dataclass(frozen=True, eq=False)
class Split:
    """Each replicate's examples, as indices into a dataset: (R, train), (R, validation), (R, test)."""

    data: Dataset
    train: Tensor
    validation: Tensor
    test: Tensor

    def get(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The examples (R, B, C, H, W) and labels (R, B) at ``index`` (R, B)."""
        return self.data.x[index], self.data.y[index]


@cache
def digits() -> Dataset:
    """Handwritten digits: 1,797 grey images of 8x8 pixels in 10 classes [alpaydin1998optical]."""
    from sklearn.datasets import load_digits

    raw, labels = load_digits(return_X_y=True)
    pixels = raw.astype(np.uint8).reshape(-1, 1, 8, 8)
    x = torch.from_numpy(pixels.astype(np.float32) / 16)
    y = torch.from_numpy(labels.astype(np.int64))
    return Dataset("digits", x, y, tuple("0123456789"), None, _checksum(pixels, labels.astype(np.int64)))


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
    return Dataset(name, x, torch.from_numpy(y), classes, torch.tensor(halves), _checksum(pixels, y))


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


def _checksum(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
