"""A tiny project with claims of every kind, and a place for displayed outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch

from surveylab import lab
from surveylab.lab import session

matplotlib.use("Agg")

CLAIMS = """\
- id: gain
  says: It gains.
  kind: experiment
  effect: gain in points
  unit: points
  margin: 1.0
  why: less would not be noticed
  cite: []
- id: exact
  says: It is exact.
  kind: identity
  effect: largest error
  margin: 1.0e-5
  why: rounding
  cite: []
- id: cost
  says: It costs more.
  kind: measurement
  effect: logarithm of the ratio of times
  unit: log
  margin: 0.1
  why: a tenth
  cite: []
- id: known
  says: It is known.
  kind: source
  cite: [somebody2020]
  place: Table 1
"""
OTHER_CLAIMS = """\
- id: elsewhere
  says: It is elsewhere.
  kind: identity
  effect: largest error
  margin: 1.0e-5
  why: rounding
  cite: []
"""


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide what the caller's shell may say, and leave neither a run nor a thread count behind."""
    for name in ("SURVEYLAB_ROOT", "SURVEYLAB_VERIFY", "SURVEYLAB_TUNE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(session, "_current", None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small tensors: more threads mostly wait for each other
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a tiny project."""
    claims = tmp_path / "book" / "claims" / "demo"
    claims.mkdir(parents=True)
    for chapter, text in {"one": CLAIMS, "two": OTHER_CLAIMS}.items():
        (claims / f"{chapter}.yml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("SURVEYLAB_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a notebook would have been sent: its outputs in order, each with ``data`` and ``metadata``."""
    found: list[dict[str, Any]] = []

    def display(data: dict[str, str], *, metadata: dict[str, Any] | None = None, raw: bool = False) -> None:
        assert raw and "text/plain" in data
        found.append({"output_type": "display_data", "data": data, "metadata": metadata or {}})

    monkeypatch.setattr("surveylab.lab.output.display", display)
    monkeypatch.setattr("surveylab.lab.output.in_notebook", lambda: True)
    return found


@pytest.fixture
def begin(root: Path, shown: list[dict[str, Any]]) -> Callable[..., lab.Run]:
    """Begin the tiny project's chapter."""

    def started(chapter: str = "demo/one", **parameters: Any) -> lab.Run:
        return lab.begin(chapter, **({"device": "cpu"} | parameters))

    return started
