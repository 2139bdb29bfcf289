"""Photographs and digits: the same each time, from nowhere but the installed packages, and split fairly."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch

from surveylab import lab

# The package has a function of the module's name.
module = import_module("surveylab.lab.data.photos")

SHA = {
    "digits": "fea03068f0fb61ecafecd121b1d350140fc7df6c3b4181fde7f4525ba36324a8",
    "photos": "c0b442c4334c8f3a1baf2debf7ea5b9373bdb8f9e88e789c560429f00bc65968",
    "scenes": "c58a35626418c01b3554b0e0aa339cc2c7f728c56c43edb1d8009412af1a3e87",
}


@pytest.mark.usefixtures("offline")
def test_made_anew_they_are_what_they_were() -> None:
    # JPEG decoders differ in last bits: after an upgrade of one a new checksum may be right, but
    # published results then rest on other data and must be run anew.
    for make in (lab.digits, lab.photos, lab.scenes):
        data, again = make.__wrapped__(), make()
        assert data.sha256 == again.sha256 == SHA[data.name]
        assert torch.equal(data.x, again.x) and torch.equal(data.y, again.y)
        assert data.source == {"name": data.name, "sha256": SHA[data.name]}


def test_digits() -> None:
    data = lab.digits()
    assert data.x.shape == (1797, 1, 8, 8) and data.x.dtype == torch.float32
    assert data.x.min() == 0 and data.x.max() == 1
    assert data.y.dtype == torch.int64
    assert data.y.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.classes == tuple("0123456789") and data.half is None


def test_photos() -> None:
    data = lab.photos()
    assert data.x.shape == (3200, 3, 32, 32) and data.x.dtype == torch.float32
    assert data.x.min() >= 0 and data.x.max() <= 1
    assert data.y.bincount().tolist() == [320] * 10
    assert data.half is not None
    assert all((data.half[data.y == k].bincount() == 160).all() for k in range(10))
    assert len(data.classes) == len(set(data.classes)) == 10
    assert (data.x.flatten(1).std(1) > 0).float().mean() > 0.95  # pictures, not blank paper
    whole = lab.photograph("cat")
    patch = data.x[data.y == data.classes.index("cat")][0]
    assert torch.equal(patch, whole[:, :32, :32])


def test_scenes_are_patches_of_the_photographs_in_small() -> None:
    data = lab.scenes()
    assert data.x.shape == (3200, 3, 32, 32) and data.y.bincount().tolist() == [320] * 10
    assert data.half is not None
    assert all((data.half[data.y == k].bincount() == 160).all() for k in range(10))
    for name in data.classes:
        assert 200 <= lab.photograph(name, shrunk=True).shape[1] < 400
    patch = data.x[data.y == data.classes.index("coffee")][0]
    small, large = (lab.photograph("coffee", shrunk=shrunk) for shrunk in (True, False))
    assert torch.equal(patch, small[:, :32, :32])
    blocks = torch.nn.functional.avg_pool2d(large, 2)  # 400 rows of which 200 are left
    assert (small - blocks).abs().max() <= 0.5 / 255 + 1e-6  # rounded to whole grey levels


def test_halves_share_no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {file: module._photograph(package, file).shape for _, package, file in module.PHOTOGRAPHS}

    def coordinates(package: str, file: str) -> np.ndarray:
        """A picture whose every pixel says where it is."""
        height, width, _ = shapes[file]
        rows, columns = np.mgrid[:height, :width]
        return np.stack([rows, columns, np.zeros_like(rows)], axis=2)

    monkeypatch.setattr(module, "_photograph", coordinates)
    data = lab.photos.__wrapped__()
    assert data.half is not None
    columns = (data.x[:, 1] * 255).round().long()
    for label, (_, _, file) in enumerate(module.PHOTOGRAPHS):
        one, two = (columns[(data.y == label) & (data.half == half)] for half in (0, 1))
        middle = shapes[file][1] // 2
        assert one.max() < middle <= two.min()
        assert one.min() == 0 and two.max() == shapes[file][1] - 1  # and they reach the borders


def test_photos_train_and_test_on_different_halves() -> None:
    data = lab.photos()
    assert data.half is not None
    split = data.split(lab.make_streams(0, 8), train=1000, validation=300, test=1000)
    sides: list[int] = []
    for r in range(24):
        seen = torch.cat([split.train[r], split.validation[r]])
        for label in range(10):
            taught = data.half[seen[data.y[seen] == label]].unique()
            asked = data.half[split.test[r][data.y[split.test[r]] == label]].unique()
            assert len(taught) == len(asked) == 1 and taught != asked
            sides.append(int(taught))
    assert 0.3 < np.mean(sides) < 0.7  # which half teaches is drawn, by class and replicate
    # By each of them: else the sides on which classes stand would differ from one replicate to the next.
    by_replicate = np.array(sides).reshape(24, 10).sum(1)
    assert ((by_replicate > 0) & (by_replicate < 10)).mean() > 0.9 and len(set(by_replicate.tolist())) > 1


def test_bad_input() -> None:
    streams = lab.make_streams(0, 2)
    with pytest.raises(
        ValueError, match=r"1600 for testing; .* asks for 1601 and test for 10: ask for fewer"
    ):
        lab.photos().split(streams, train=1600, validation=1, test=10)
    with pytest.raises(ValueError, match=r"1600 examples for training .* test for 1601"):
        lab.photos().split(streams, train=10, test=1601)
    with pytest.raises(ValueError, match=r"one of astronaut, cat, .* got 'dog'"):
        lab.photograph("dog")
    with pytest.raises(FileNotFoundError, match=r"absent\.png is missing from skimage.data: reinstall"):
        module._photograph("skimage.data", "absent.png")
