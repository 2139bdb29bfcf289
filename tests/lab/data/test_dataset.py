"""What every data set can do: be split fairly, be made of one's own arrays, be seen otherwise."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from toy_data import toy

from surveylab import lab
from surveylab.lab.data.dataset import checksum


def test_checksum_covers_pixels_labels_and_shape() -> None:
    x, y = np.arange(12, dtype=np.uint8), np.zeros(3, dtype=np.int64)
    sums = {checksum(*arrays) for arrays in [(x, y), (x[::-1], y), (x, y + 1), (x.reshape(3, 4), y)]}
    assert len(sums) == 4
    assert checksum(x[::-1].copy(), y) in sums  # content, not memory layout


@pytest.mark.parametrize("data", [lab.digits(), lab.photos()], ids=["digits", "photos"])
def test_splits(data: lab.Dataset) -> None:
    sizes = {"train": 400, "validation": 100, "test": 200}
    many, few = (data.split(lab.make_streams(0, r), **sizes) for r in (8, 2))
    drawn = torch.cat([many.train, many.validation, many.test], dim=1)
    assert {name: getattr(many, name).shape[1] for name in sizes} == sizes
    assert all(len(row.unique()) == 700 for row in drawn)  # disjoint, none twice
    assert len({tuple(row.tolist()) for row in drawn}) == 24
    for name in sizes:
        alike = getattr(many, name).view(3, 8, -1)[:, :2].flatten(0, 1)
        assert torch.equal(getattr(few, name), alike)
    x, y = many.get(many.test[:, :5])
    assert torch.equal(x[3], data.x[many.test[3, :5]]) and torch.equal(y[3], data.y[many.test[3, :5]])
    assert (data.y[many.train[0]].bincount(minlength=10) > 15).all()


@pytest.mark.parametrize(
    ("data", "drawn"),
    [(lab.digits, "6d3d5520d81d86dd"), (lab.photos, "258c7243a922d85a"), (lab.scenes, "258c7243a922d85a")],
)
def test_published_splits_are_drawn_as_they_were(data: Any, drawn: str) -> None:
    split = data().split(lab.make_streams(3, 2), train=300, validation=100, test=200)
    index = torch.cat([split.train, split.validation, split.test], dim=1).numpy()
    assert hashlib.sha256(index.astype("<i8").tobytes()).hexdigest().startswith(drawn)


def test_held_out_examples_are_tested_on_and_nothing_else_is() -> None:
    held_out = torch.arange(50) % 5 == 0
    data = lab.Dataset.of(torch.randn(50, 3), torch.arange(50) % 2, held_out=held_out)
    split = data.split(lab.make_streams(0, 4), train=30, validation=10, test=6)
    assert held_out[split.test].all() and not held_out[split.train].any()
    assert not held_out[split.validation].any()
    for taught, asked in zip(torch.cat([split.train, split.validation], 1), split.test, strict=True):
        assert len(taught.unique()) == 40 and len(asked.unique()) == 6
    assert len({tuple(row.tolist()) for row in split.test.sort(dim=1).values}) > 1  # drawn by each
    with pytest.raises(ValueError, match=r"has 40 examples for training and validation and 10 for testing"):
        data.split(lab.make_streams(0, 2), train=40, test=11)


# ------------------------------------------------------------------------------------------ of one's own


def test_own_arrays_make_a_data_set_that_is_their_copy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3, 7)), rng.integers(0, 4, 20)
    y[0] = 3
    data = lab.Dataset.of(x, y, "waves")
    assert data.name == "waves" and data.x.dtype == torch.float32 and data.y.dtype == torch.int64
    assert data.classes == ("0", "1", "2", "3") and data.half is None and data.held_out is None
    assert lab.Dataset.of(torch.tensor(x), y.tolist()).sha256 == data.sha256  # content, not container
    assert lab.Dataset.of(x, (y + 1) % 4).sha256 != data.sha256
    held_out = np.arange(20) > 15
    assert lab.Dataset.of(x, y, held_out=held_out).sha256 != data.sha256
    before = data.x.clone()
    x[:] = 0
    assert torch.equal(data.x, before)
    assert lab.Dataset.of(x, y, classes=list("abcd")).classes == ("a", "b", "c", "d")


def test_own_targets_may_be_a_regression_and_own_examples_pixels_or_tokens() -> None:
    x = torch.rand(12, 5, dtype=torch.float64)
    regression = lab.Dataset.of(x, x.sum(1))
    assert regression.y.dtype == torch.float32 and regression.classes == ()
    assert regression.split(lab.make_streams(0, 1), train=6, test=6).get(torch.tensor([[0]]))[1].shape == (
        1,
        1,
    )
    pixels = torch.randint(0, 256, (12, 1, 4, 4), dtype=torch.uint8)
    images = lab.Dataset.of(pixels, torch.zeros(12, dtype=torch.int32))
    assert images.x.dtype == torch.uint8
    seen, _ = images.split(lab.make_streams(0, 1, 1), train=12, test=0).get(torch.arange(12)[None])
    assert torch.equal(seen[0], pixels.float() / 255)
    torch.testing.assert_close(images.shrunk(2).x[3, 0, 1, 1], pixels[3, 0, 2:, 2:].float().mean() / 255)
    assert abs(float(images.standardised().x.mean())) < 1e-5
    tokens = lab.Dataset.of(
        torch.arange(24, dtype=torch.int16).view(6, 4), torch.ones(6, 4, dtype=torch.int64)
    )
    assert tokens.x.dtype == torch.int64 and tokens.y.shape == (6, 4)
    with pytest.raises(ValueError, match="tokens, which have no mean"):
        tokens.standardised()


X, Y = np.zeros((6, 2)), np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((X[:, 0], Y), ValueError, r"x must have one row an example, .* got shape \(6,\): .* x\[:, None\]"),
        ((X, Y[:5]), ValueError, r"one entry for each of the 6 examples of x; got shape \(5,\)"),
        ((X[:0], Y[:0]), ValueError, "holds no example"),
        ((X.astype(str), Y), TypeError, "x must be an array of numbers; got dtype <U"),
        ((X, np.array(list("abcabc"))), TypeError, "y must be .* return_inverse=True"),
        ((X * 1j, Y), TypeError, "x must be an array of numbers; got dtype complex"),
        ((torch.zeros(6, 2, dtype=torch.complex64), Y), TypeError, "x must be real numbers"),
        ((X + np.nan, Y), ValueError, "x must be finite; 12 of its values are not"),
        ((X, Y + np.inf), ValueError, "y must be finite"),
        ((X, Y - 1), ValueError, "labels must count from 0, .* the smallest of y is -1"),
        (
            (X, Y[:, None]),
            ValueError,
            r"one whole number an example, \(6,\); got shape \(6, 1\)",
        ),
        ((X, Y, "mine", ["a", "b"]), ValueError, "classes names 2 labels, but y goes up to 2"),
        ((X, Y / 2, "mine", ["a"]), ValueError, "classes are for labels"),
        (
            (X, Y, "mine", None, [0, 1]),
            ValueError,
            "held_out must be true or false for each of the 6",
        ),
    ],
)
def test_own_arrays_that_do_not_fit_are_refused(arguments: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        lab.Dataset.of(*arguments)


# ------------------------------------------------------------------------------------------ seen otherwise


def test_standardised_and_moved() -> None:
    data = lab.photos().standardised()
    assert abs(float(data.x.mean())) < 1e-4 and float(data.x.var()) == pytest.approx(1, abs=1e-4)
    assert data.source == lab.photos().source  # the same data, seen otherwise
    assert lab.photos().x.max() <= 1  # and what is kept is left alone
    moved = data.to("meta")
    assert moved.x.is_meta and moved.y.is_meta and not data.x.is_meta


def test_an_official_split_is_standardised_by_its_training_examples() -> None:
    x = torch.cat([torch.randn(40, 2), 100 + torch.randn(10, 2)])
    data = lab.Dataset.of(x, torch.zeros(50, dtype=torch.int64), held_out=torch.arange(50) >= 40)
    seen = data.standardised().x[:40]
    assert abs(float(seen.mean())) < 1e-4 and float(seen.var()) == pytest.approx(1, abs=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_the_same_examples_are_drawn() -> None:
    streams = lab.make_streams(0, 2)
    for data in (lab.mnist1d(), lab.photos()):
        here, there = (
            data.to(device).split(streams, train=64, validation=8, test=32) for device in ("cpu", "cuda")
        )
        assert there.train.is_cuda and torch.equal(there.test.cpu(), here.test)
        assert torch.equal(there.get(there.train)[0].cpu(), here.get(here.train)[0])
        torch.testing.assert_close(data.to("cuda").standardised().x.cpu(), data.standardised().x)


def test_bad_input() -> None:
    streams = lab.make_streams(0, 2)
    with pytest.raises(ValueError, match=r"toy has 40 examples; .* asks for 41: ask for fewer"):
        toy().split(streams, train=20, validation=1, test=20)
    assert toy().split(streams, train=20, validation=0, test=20).validation.shape == (6, 0)
    with pytest.raises(ValueError, match="at least 0; got 5, -1 and 3"):
        toy().split(streams, train=5, validation=-1, test=3)
    with pytest.raises(ValueError, match=r"shrunk needs images .* mine has shape \(6, 2\)"):
        lab.Dataset.of(X, Y).shrunk(2)


def test_shrunk_images_average_blocks_and_keep_the_rest() -> None:
    data = lab.photos()
    small = data.shrunk(2)
    assert small.x.shape == (3200, 3, 16, 16) and small.source == data.source
    torch.testing.assert_close(small.x[5, 1, 3, 4], data.x[5, 1, 6:8, 8:10].mean())
    with pytest.raises(ValueError, match="factor must divide the images' 32x32 pixels; got 3"):
        data.shrunk(3)
