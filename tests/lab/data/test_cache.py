"""What the cache keeps is what was made, or it is made anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from surveylab.lab.data.cache import kept, replace_atomically

ARRAYS = {"x": np.arange(6.0).reshape(2, 3), "names": np.array(["a", "bc"])}


def counting() -> tuple[Callable[[], dict[str, np.ndarray]], list[int]]:
    calls: list[int] = []

    def make() -> dict[str, np.ndarray]:
        calls.append(1)
        return dict(ARRAYS)

    return make, calls


def same(found: dict[str, np.ndarray]) -> bool:
    return found.keys() == ARRAYS.keys() and all(np.array_equal(found[k], ARRAYS[k]) for k in ARRAYS)


def test_arrays_are_made_once(cache: Path) -> None:
    make, calls = counting()
    assert same(kept("set-1", make)) and same(kept("set-1", make)) and len(calls) == 1
    kept("set-2", make)
    assert len(calls) == 2
    assert sorted(path.name for path in cache.iterdir()) == ["set-1.npz", "set-2.npz"]  # nothing half written


def spoil_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def spoil_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


def spoil_values(path: Path) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **(arrays | {"x": arrays["x"] + 1}))


def spoil_with_objects(path: Path) -> None:
    np.savez(path, x=np.array([{"a": 1}], dtype=object), allow_pickle=True)


def spoil_whole(path: Path) -> None:
    path.write_bytes(b"")


def spoil_kind(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, ARRAYS["x"])


@pytest.mark.parametrize(
    "spoil", [spoil_end, spoil_middle, spoil_values, spoil_with_objects, spoil_whole, spoil_kind]
)
def test_what_is_damaged_is_made_anew(cache: Path, spoil: Callable[[Path], None]) -> None:
    make, calls = counting()
    kept("set", make)
    spoil(cache / "set.npz")
    assert same(kept("set", make)) and len(calls) == 2
    assert same(kept("set", make)) and len(calls) == 2  # and is whole again


def test_without_a_place_to_write_arrays_are_made_each_time(cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way", encoding="utf-8")
    make, calls = counting()
    assert same(kept("set", make)) and same(kept("set", make)) and len(calls) == 2


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    replace_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        replace_atomically(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]  # noqa: PTH208
