"""Fashion-MNIST: found in the right order, believed by its checksum only, never downloaded by a test."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from surveylab import lab
from surveylab.lab.data import __main__ as command

module = import_module("surveylab.lab.data.fashion")
SHA = "8c989c34e65965fe1d2dba6078ee13af35d5807432a931798ec820266d56f70d"
TRAIN, TEST = 30, 10


def idx(array: np.ndarray) -> bytes:
    """Bytes in the published format."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small files in the published format, with their own checksums in place of the published ones."""
    rng = np.random.default_rng(0)
    made = {}
    for part, number in (("train", TRAIN), ("t10k", TEST)):
        made[f"{part}-images-idx3-ubyte"] = idx(rng.integers(0, 256, (number, 28, 28)))
        made[f"{part}-labels-idx1-ubyte"] = idx(np.arange(number) % 10)
    sums = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in made.items()}
    monkeypatch.setattr(module, "FILES", sums)
    return made


@pytest.fixture
def nowhere(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A computer without the data, the network and Debian's tools; the folder where the cache would be."""
    monkeypatch.delenv("SURVEYLAB_DATA", raising=False)
    monkeypatch.setattr(module, "INSTALLED", cache.parent / "no-such-folder")
    monkeypatch.setattr(module, "SOURCE", "http://127.0.0.1:9/")  # the port where nothing answers
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    return cache / "fashion-mnist"


def put(folder: Path, files: dict[str, bytes], *, packed: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content, 1) if packed else content)


@pytest.mark.usefixtures("nowhere", "offline")
@pytest.mark.parametrize("packed", [True, False])
def test_what_the_files_hold_is_what_is_trained_on(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    put(tmp_path / "own", files, packed=packed)
    monkeypatch.setenv("SURVEYLAB_DATA", str(tmp_path / "own"))
    data = lab.fashion.__wrapped__()
    assert data.x.shape == (TRAIN + TEST, 1, 28, 28) and data.x.dtype == torch.uint8
    pixels = np.frombuffer(files["t10k-images-idx3-ubyte"][16:], np.uint8).reshape(TEST, 28, 28)
    assert np.array_equal(data.x[TRAIN:, 0], pixels)
    assert data.y.tolist() == [i % 10 for i in [*range(TRAIN), *range(TEST)]]
    assert data.held_out is not None and data.held_out.tolist() == [False] * TRAIN + [True] * TEST
    assert len(data.classes) == 10 and data.classes[9] == "ankle boot"
    x, _ = data.split(lab.make_streams(0, 2), train=20, validation=10, test=10).get(torch.tensor([[0]] * 6))
    assert x.dtype == torch.float32 and x.max() <= 1
    assert data.shrunk(2).x.dtype == torch.float32


def test_it_is_looked_for_in_the_stated_order(
    nowhere: Path, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / "own", tmp_path / "own/fashion-mnist", tmp_path / "system", nowhere]
    monkeypatch.setenv("SURVEYLAB_DATA", str(places[0]))
    monkeypatch.setattr(module, "INSTALLED", places[2])
    assert module.places() == places
    read: list[Path] = []
    content = module._content

    def reading(place: Path, name: str) -> bytes | None:
        read.append(place)
        found: bytes | None = content(place, name)
        return found

    monkeypatch.setattr(module, "_content", reading)
    for expected in reversed(places):
        put(expected, files)
        read.clear()
        assert module.find() == files
        assert read[-1] == expected


def test_a_damaged_file_is_passed_over_and_named(
    nowhere: Path, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    put(own, files)
    put(own, {"t10k-labels-idx1-ubyte": b"something else"})
    (own / "train-labels-idx1-ubyte.gz").write_bytes(b"no gzip at all")
    monkeypatch.setenv("SURVEYLAB_DATA", str(own))
    with pytest.raises(FileNotFoundError) as raised:
        lab.fashion.__wrapped__()
    for name in ("t10k-labels", "train-labels"):
        assert f"{name}-idx1-ubyte has not the published MD5" in str(raised.value)
    assert "images-idx3-ubyte has" not in str(raised.value)
    put(nowhere, files)
    assert lab.fashion.__wrapped__().x.shape[0] == TRAIN + TEST


def test_where_nothing_works_the_error_says_what_to_do(nowhere: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        lab.fashion.__wrapped__()
    said = str(raised.value)
    for part in (
        "apt-get install dataset-fashion-mnist",
        "make data",
        "python -m surveylab.lab.data",
        "SURVEYLAB_DATA",
        "train-images-idx3-ubyte.gz",
        f"{nowhere}: holds none of the files",
        "not a Debian system",
        "127.0.0.1",
    ):
        assert part in said, said


@pytest.fixture
def server(tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server on this computer in place of the authors', and the folder it serves."""
    folder = tmp_path / "served"
    put(folder, files)

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(module, "SOURCE", f"http://127.0.0.1:{running.server_port}/")
        yield folder
        running.shutdown()


def test_it_is_downloaded_into_the_cache(
    nowhere: Path, server: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = module.SOURCE
    monkeypatch.setattr(module, "SOURCE", address)
    nowhere.mkdir(parents=True)
    (nowhere / "t10k-labels-idx1-ubyte.gz").write_bytes(b"half a download")
    assert module.fetch(progress=True) == files
    assert sorted(path.name for path in nowhere.iterdir()) == sorted(f"{name}.gz" for name in files)
    for path in server.iterdir():
        path.unlink()
    assert lab.fashion.__wrapped__().x.shape[0] == TRAIN + TEST  # and is there from now on


def test_a_download_of_something_else_is_refused_and_not_kept(nowhere: Path, server: Path) -> None:
    put(server, {"train-labels-idx1-ubyte": b"a page that asks to log in"})
    with pytest.raises(FileNotFoundError, match=r"train-labels-idx1-ubyte\.gz sent has not the"):
        module.fetch()
    assert not (nowhere / "train-labels-idx1-ubyte.gz").exists()


def test_without_rights_debian_s_package_is_unpacked_into_the_cache(
    nowhere: Path, files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INSTALLED", Path("/usr/share/datasets/fashion-mnist"))
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")
    called: list[tuple[str, ...]] = []

    def run(*command: str, folder: str) -> None:
        called.append(command)
        if command[0] == "apt-get":
            Path(folder, "the.deb").touch()
        else:
            put(Path(folder, "usr/share/datasets/fashion-mnist"), files)

    monkeypatch.setattr(module, "_call", run)
    monkeypatch.setattr(module, "places", lambda: [nowhere])
    assert module.fetch() == files and nowhere.is_dir()
    assert called == [
        ("apt-get", "download", "-q", "dataset-fashion-mnist"),
        ("dpkg-deb", "-x", "the.deb", "."),
    ]


def test_the_command_goes_on_where_one_cannot_be_had(
    nowhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "english", lambda: lab.digits())  # its own takes seconds
    lab.fashion.cache_clear()
    try:
        assert command.main([]) == 1
    finally:
        lab.fashion.cache_clear()
    out, err = capsys.readouterr()
    assert "Fashion-MNIST is not here" in err and "data: mnist1d, 5,000 examples" in out


def test_a_file_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with 0, 0, 8"):
        module._parse(b"PNG....")


def test_make_data_runs_the_command_and_the_book_and_the_tests_ask_for_it() -> None:
    root = Path(__file__).parents[3]
    text = (root / "Makefile").read_text(encoding="utf-8")
    for target in ("book", "test"):
        recipe = text.partition(f"\n{target}: ")[2].partition("\n\n")[0]
        assert "$(DATA)" in recipe, target
    assert "$(BIN)/python -m surveylab.lab.data" in text.partition("\ndata: ")[2].partition("\n\n")[0]
    assert "dataset-fashion-mnist" in (root / ".ci/run").read_text(encoding="utf-8")


@pytest.mark.usefixtures("offline")
def test_the_real_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fetch", dict)  # nothing, and no download
    lab.fashion.cache_clear()
    try:
        data = lab.fashion()
    except KeyError:
        if os.environ.get("CI") == "true" and sys.platform == "linux":
            pytest.fail("CI has to read the real files: .ci/run installs them, or `make data` fetches them")
        pytest.skip("Fashion-MNIST is not here; `make data` fetches it")
    assert data.sha256 == SHA and data.x.shape == (70000, 1, 28, 28)
    assert data.y[:60000].bincount().tolist() == [6000] * 10
    assert data.y[60000:].bincount().tolist() == [1000] * 10
    assert data.held_out is not None and data.held_out.sum() == 10000
    assert int(data.x[:60000].sum()) / (60000 * 784 * 255) == pytest.approx(0.2860, abs=1e-4)
    small = data.shrunk(2)
    assert small.x.shape == (70000, 1, 14, 14) and small.source == data.source
    split = small.split(lab.make_streams(0, 4), train=2000, validation=500, test=2000)
    assert split.train.max() < 60000 <= split.test.min()
