"""``fashion``: Fashion-MNIST, 70,000 grey images of articles of clothing [xiao2017fashion].

No Python package carries it, so it is looked for in several places, and fetched into the user's cache if it
is in none. Whatever brought a file, it counts only if what is inside has the published MD5.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch

from surveylab.lab.data.cache import folder, replace_atomically
from surveylab.lab.data.dataset import Dataset, checksum

# The files of the data set with the MD5 of each once it is unpacked: Debian, for one, has packed them anew.
FILES = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
CLASSES = (
    *("T-shirt", "trousers", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
DEBIAN = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
SOURCE = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"


@cache
def fashion() -> Dataset:
    """Fashion-MNIST: 70,000 grey images of 28x28 pixels in 10 classes, 10,000 held out [xiao2017fashion].

    The images are uint8 (55 MB); ``fashion().shrunk(2)`` has 14x14 pixels as float32 (55 MB). They are looked
    for in the folder that ``SURVEYLAB_DATA`` names, where Debian's package installs them, and in the user's
    cache, into which they are fetched otherwise.

    Raises:
        FileNotFoundError: If it is nowhere and cannot be fetched; the message says what to do.
    """
    found = find() or fetch()
    images, labels = (
        np.concatenate([_parse(found[f"{part}-{kind}"]) for part in ("train", "t10k")])
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    pixels, y = images[:, None], labels.astype(np.int64)
    held_out = torch.arange(len(y)) >= len(_parse(found["train-labels-idx1-ubyte"]))
    tensors = torch.from_numpy(pixels), torch.from_numpy(y)
    return Dataset("fashion", *tensors, CLASSES, None, checksum(pixels, y), held_out)


def places() -> list[Path]:
    """Where the files are looked for, in this order."""
    own = os.environ.get("SURVEYLAB_DATA")
    mine = [Path(own), Path(own, "fashion-mnist")] if own else []
    return [*mine, INSTALLED, folder() / "fashion-mnist"]


def find() -> dict[str, bytes] | None:
    """The content of each file, from the first place that holds all of them undamaged."""
    for place in places():
        contents = {name: content for name in FILES if (content := _content(place, name)) is not None}
        if len(contents) == len(FILES):
            return contents
    return None


def fetch(*, progress: bool = False) -> dict[str, bytes]:
    """Bring the files into the user's cache: from Debian's package, else from the authors' repository.

    Args:
        progress: Whether to show a bar for each download.

    Raises:
        FileNotFoundError: If neither works; the message says what else to do.
    """
    problems = []
    ways = {"apt-get download": _from_debian, f"download from {SOURCE}": _from_source}
    for name, way in ways.items():
        try:
            way(folder() / "fashion-mnist", progress)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            problems.append(f"{name}: {error}")
        if found := find():
            return found
    raise FileNotFoundError(_help(problems))


def _from_debian(target: Path, progress: bool) -> None:
    """Unpack Debian's package, which needs no rights."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise FileNotFoundError("not a Debian system")
    with tempfile.TemporaryDirectory() as work:
        _call("apt-get", "download", "-q", DEBIAN, folder=work)
        (package,) = Path(work).glob("*.deb")
        _call("dpkg-deb", "-x", package.name, ".", folder=work)
        for file in sorted(Path(work, *INSTALLED.parts[1:]).glob("*.gz")):
            replace_atomically(target / file.name, file.read_bytes())


def _call(*command: str, folder: str) -> None:
    subprocess.run(command, cwd=folder, check=True, timeout=300, capture_output=True)


def _from_source(target: Path, progress: bool) -> None:
    import pooch

    for name in FILES:
        if _content(target, name) is None:
            file = target / f"{name}.gz"
            file.unlink(missing_ok=True)  # damaged
            pooch.retrieve(
                SOURCE + file.name, known_hash=None, fname=file.name, path=target, progressbar=progress
            )
            if _content(target, name) is None:
                file.unlink(missing_ok=True)
                raise ValueError(f"what {SOURCE}{file.name} sent has not the published MD5")


def _content(place: Path, name: str) -> bytes | None:
    """What a file holds once unpacked, or None where it is absent or not what was published."""
    for file in (place / f"{name}.gz", place / name):
        try:
            packed = file.read_bytes()
            content = gzip.decompress(packed) if file.suffix == ".gz" else packed
        except (OSError, EOFError, zlib.error):  # gzip.BadGzipFile is an OSError
            continue
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == FILES[name]:
            return content
    return None


def _parse(content: bytes) -> np.ndarray:
    """An array of bytes in the IDX format: 0, 0, 8, dimensions, each size in 4 bytes, values."""
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"an IDX file of bytes begins with 0, 0, 8; got {[*content[:3]]}")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], dtype=">u4")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _help(problems: list[str]) -> str:
    ways = [
        f"Debian, Ubuntu: sudo apt-get install {DEBIAN}",
        f"anywhere with a network: make data (or python -m surveylab.lab.data), which keeps it in {folder()}",
        f"by hand: the files {', '.join(f'{name}.gz' for name in FILES)} of {SOURCE} in a folder "
        "that SURVEYLAB_DATA names",
    ]
    looked = [f"{place}: {_state(place)}" for place in places()]
    if not os.environ.get("SURVEYLAB_DATA"):
        looked.insert(0, "SURVEYLAB_DATA: not set")
    said = ["Fashion-MNIST is not here. Any one of these brings it:", *ways, "Tried:", *looked, *problems]
    return "\n  - ".join(said).replace("  - Tried:", "Tried:")


def _state(place: Path) -> str:
    there = [name for name in FILES if (place / f"{name}.gz").exists() or (place / name).exists()]
    if not there:
        return "holds none of the files" if place.is_dir() else "no such folder"
    states = [f"{name} is missing" for name in FILES if name not in there]
    states += [f"{name} has not the published MD5" for name in there if _content(place, name) is None]
    return ", ".join(states)
