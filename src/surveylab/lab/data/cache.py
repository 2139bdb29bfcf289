"""Where what was downloaded or took seconds to make is kept: the user's cache folder.

Arrays carry a checksum, are made anew if they do not fit it, and are read without executing anything.
The folder is in ``XDG_CACHE_HOME`` or the system's own place, such as ``~/.cache/surveylab``.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from surveylab.lab.data.dataset import checksum


def folder() -> Path:
    """The user's cache folder for this library, which need not exist."""
    import pooch

    return Path(pooch.os_cache("surveylab"))


def kept(name: str, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays that ``make`` returns, from the cache if they are there undamaged.

    Args:
        name: The file's name without suffix. It must say all that the arrays depend on, versions included.
        make: Makes them; what it returned is written for the next time, if that is possible.
    """
    path = folder() / f"{name}.npz"
    if (arrays := _read(path)) is None:
        arrays = dict(make())
        with suppress(OSError):  # a home that cannot be written to: they are made anew next time
            _write(path, arrays)
    return arrays


def replace_atomically(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _seal(arrays: Mapping[str, np.ndarray]) -> str:
    return checksum(*(array for name in sorted(arrays) for array in (np.array(name), arrays[name])))


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    from io import BytesIO

    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays, sha256=np.array(_seal(arrays)))
    replace_atomically(path, buffer.getvalue())


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays in a file, or None where it is absent or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    sealed = str(arrays.pop("sha256", ""))
    return arrays if sealed == _seal(arrays) else None
