"""What every data set is, `Dataset`, and each replicate's share of it, `Split`.

A replicate draws its own split into training, validation and test examples: with one fixed test set, which
images happen to be in it would move every result by points that no number of replicates removes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from surveylab.lab.streams import Stream

IGNORED = -100  # the label of a token that does not count, as in torch


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples with labels, and where they may be used.

    Attributes:
        name: Its name, as in a claim's record.
        x: The examples: images (N, C, H, W) or signals (N, C, T), floating point; images may be uint8, whose
            0 to 255 stand for 0 to 1 and which `Split.get` hands out as float32; or tokens (N, T), int64.
        y: The labels, (N,), int64; for tokens the next ones, (N, T); or targets of a regression, float32.
        classes: The name of each label; empty for a regression.
        half: (N,), 0 or 1: examples of different halves share no pixel. None where all are independent.
        sha256: A checksum of the content.
        held_out: (N,), bool: the official test examples. None where there is no official split.
    """

    name: str
    x: Tensor
    y: Tensor
    classes: tuple[str, ...]
    half: Tensor | None
    sha256: str
    held_out: Tensor | None = None

    @staticmethod
    def of(
        x: Any,
        y: Any,
        name: str = "mine",
        classes: Sequence[str] | None = None,
        held_out: Any = None,
    ) -> Dataset:
        """A data set of your own arrays or tensors, copied and checked.

        Args:
            x: The examples, one a row: floating point (kept as torch's default dtype), uint8 for images whose
                0 to 255 stand for 0 to 1, or other whole numbers, which are tokens.
            y: Whole numbers from 0 are labels, (N,), or for tokens the next ones, (N, T), of which -100 does
                not count; floating-point numbers are the targets of a regression, (N,) or (N, K).
            name: Its name, as in a claim's record.
            classes: The name of each label; by default their numbers.
            held_out: (N,), true for official test examples: `split` then draws test examples from these and
                the others from the rest.

        Raises:
            TypeError: If x or y are not numbers.
            ValueError: If shapes do not fit, values are not finite, or labels have no class.
        """
        examples, labels = _numbers("x", x), _numbers("y", y)
        if examples.ndim < 2:
            raise ValueError(
                f"x must have one row an example, (N, ...); got shape {tuple(examples.shape)}: "
                "a single feature is x[:, None]"
            )
        if not len(examples):
            raise ValueError("x holds no example")
        if labels.ndim < 1 or len(labels) != len(examples):
            raise ValueError(
                f"y must have one entry for each of the {len(examples)} examples of x; "
                f"got shape {tuple(labels.shape)}"
            )
        if labels.is_floating_point():
            if classes is not None:
                raise ValueError("classes are for labels, which are whole numbers; y is floating point")
            named: tuple[str, ...] = ()
        else:
            labels = labels.long()
            named = _classes(examples, labels, classes)
        aside = None
        if held_out is not None:
            aside = torch.as_tensor(held_out).cpu()
            if aside.dtype != torch.bool or aside.shape != (len(examples),):
                raise ValueError(
                    f"held_out must be true or false for each of the {len(examples)} examples; "
                    f"got {aside.dtype} of shape {tuple(aside.shape)}"
                )
        content = [t.cpu().numpy() for t in (examples, labels) + (() if aside is None else (aside,))]
        return Dataset(name, examples, labels, named, None, checksum(*content), aside)

    @property
    def source(self) -> dict[str, str]:
        """What a claim records of the data it rests on."""
        return {"name": self.name, "sha256": self.sha256}

    def to(self, device: torch.device | str) -> Dataset:
        """The same data on another device."""
        return replace(self, x=self.x.to(device), y=self.y.to(device))

    def standardised(self) -> Dataset:
        """The same data with mean 0 and variance 1 over all examples, pixels and channels.

        Where there is an official split, over its training examples.
        """
        if self.x.dtype == torch.int64:
            raise ValueError(f"{self.name} holds tokens, which have no mean")
        x = as_float(self.x)
        seen = x if self.held_out is None else x[~self.held_out.to(x.device)]
        variance, mean = torch.var_mean(seen)
        return replace(self, x=(x - mean) / variance.sqrt())

    def shrunk(self, factor: int) -> Dataset:
        """The same images, each block of ``factor`` x ``factor`` pixels averaged into one."""
        if self.x.ndim != 4:
            raise ValueError(f"shrunk needs images (N, C, H, W); {self.name} has shape {tuple(self.x.shape)}")
        height, width = self.x.shape[-2:]
        if factor < 1 or height % factor or width % factor:
            raise ValueError(f"factor must divide the images' {height}x{width} pixels; got {factor}")
        # In parts: all images of a uint8 set at once as floats would take four times its memory.
        return replace(self, x=torch.cat([F.avg_pool2d(as_float(x), factor) for x in self.x.split(10_000)]))

    def split(self, streams: Sequence[Stream], *, train: int, validation: int = 0, test: int) -> Split:
        """Draw each replicate's training, validation and test examples.

        Where the data has halves, each class's training and validation examples come from one half, drawn by
        the replicate, and its test examples from the other. Where there is an official split, training and
        validation examples come from its training part and test examples from its test part.

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
        drawn = np.stack([self._draw(stream.numpy("split"), train, validation, test) for stream in streams])
        index = torch.from_numpy(drawn).to(self.x.device)
        return Split(self, *index.split([train, validation, test], dim=1))

    def _draw(self, rng: np.random.Generator, train: int, validation: int, test: int) -> np.ndarray:
        """Indices of ``train`` + ``validation`` + ``test`` examples, in this order."""
        if self.half is not None:
            side = torch.from_numpy(rng.integers(0, 2, size=len(self.classes)))
            is_test = (self.half != side[self.y.cpu()]).numpy()
        elif self.held_out is not None:
            is_test = self.held_out.numpy()
        else:
            wanted, there = train + validation + test, len(self.y)
            if wanted > there:
                raise ValueError(
                    f"{self.name} has {there} examples; train + validation + test asks for {wanted}: "
                    "ask for fewer"
                )
            return rng.permutation(there)[:wanted]
        first, second = (rng.permutation(np.flatnonzero(mask)) for mask in (~is_test, is_test))
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
        """The examples (R, B, ...) and labels (R, B) at ``index`` (R, B); tokens both as (R, B, T)."""
        return as_float(self.data.x[index]), self.data.y[index]


def as_float(x: Tensor) -> Tensor:
    """Pixels stored as uint8, as float32 in [0, 1]; all else as it is."""
    return x.float() / 255 if x.dtype == torch.uint8 else x


def checksum(*arrays: np.ndarray) -> str:
    """SHA-256 of the arrays' dtypes, shapes and values, whatever their layout in memory."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _numbers(argument: str, given: Any) -> Tensor:
    """A copy as a tensor: floating point in the default dtype, uint8 as it is, other whole numbers int64."""
    if not isinstance(given, Tensor):
        array = np.asarray(given)
        if array.dtype.kind not in "fiub":
            hint = "; numpy.unique(y, return_inverse=True)[1] numbers names" if argument == "y" else ""
            raise TypeError(f"{argument} must be an array of numbers; got dtype {array.dtype}{hint}")
        given = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    if given.is_complex():
        raise TypeError(f"{argument} must be real numbers; got dtype {given.dtype}")
    if given.is_floating_point():
        if not (finite := given.isfinite()).all():
            raise ValueError(f"{argument} must be finite; {int((~finite).sum())} of its values are not")
        return given.detach().to(torch.get_default_dtype(), copy=True)
    return given.detach().to(torch.uint8 if given.dtype == torch.uint8 else torch.int64, copy=True)


def _classes(x: Tensor, y: Tensor, classes: Sequence[str] | None) -> tuple[str, ...]:
    """The name of each label, or why y cannot be labels."""
    if y.ndim != 1 and not (x.dtype == torch.int64 and y.shape == x.shape):
        raise ValueError(
            f"labels must be one whole number an example, ({len(y)},); got shape {tuple(y.shape)}: "
            "targets of a regression are floating point"
        )
    counted = y[y != IGNORED] if y.ndim > 1 else y  # a token may be left out
    if not len(counted) or counted.min() < 0:
        raise ValueError(
            f"labels must count from 0, and tokens that do not count be {IGNORED}; the smallest of y is "
            f"{int(y.min())}"
        )
    if classes is None:
        return tuple(str(label) for label in range(int(y.max()) + 1))
    if len(classes) <= y.max():
        raise ValueError(f"classes names {len(classes)} labels, but y goes up to {int(y.max())}")
    return tuple(classes)
