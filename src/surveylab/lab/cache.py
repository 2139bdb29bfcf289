"""Trained arms, kept between runs of a chapter, so that an author pays only for what changed.

``surveylab run`` names a folder in ``SURVEYLAB_CACHE``; without it, as in verification and in CI, nothing is
kept or looked up. An arm is taken from there only if all that could have made it another is the same: the
library's code, that of the author's own modules, every code cell executed so far and how many arms they asked
for, the run's parameters, the arm's values, the parameters and data it starts from, the versions and the
machine. What is loaded equals what was stored to the bit.

What a callback *returns* is kept; its side effects are not repeated. A callback that returns nothing has no
other purpose, so such an arm is not kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from IPython import get_ipython
from torch import Tensor

from surveylab.lab.population import Population
from surveylab.lab.session import active, machine, versions
from surveylab.lab.training import History
from surveylab.lab.tuning import is_tuning

# Arms kept in all, the latest.
MOST = 400
# When this process began, as near as it matters; and how many arms it has asked for.
_STARTED = time.time()
_calls = 0


def key_of(arm: str, values: Any, *tensors: Tensor) -> str | None:
    """Under what an arm is kept, or None where nothing is.

    Args:
        arm: Its name.
        values: Its tuned values, and whatever else the call was given.
        tensors: What it starts from: parameters, buffers, data and split.
    """
    global _calls
    _calls += 1
    run, cells = active(), _cells()
    if not os.environ.get("SURVEYLAB_CACHE") or run is None or cells is None or is_tuning():
        return None
    modules = _own_modules()
    if modules is None or _library() is None:
        return None
    parts = {
        "arm": arm,
        # The same cells in the same order ask for the same arms in the same order.
        "call": _calls,
        "values": values,
        "tensors": [_checksum(tensor) for tensor in tensors],
        "cells": cells,
        "run": [run.chapter, run.profile, run.seed, run.device.type],
        "library": _library(),
        "modules": modules,
        "machine": machine(run.device),
        "versions": versions(),
        "settings": _settings(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load(key: str | None, population: Population) -> History | None:
    """Fill a population with what was kept under a key, and return its history; None if nothing was."""
    path = _path(key)
    if path is None or not path.is_file():
        return None
    try:
        kept = torch.load(path, map_location=population.device, weights_only=True)
    except Exception:  # a file cut short by a full disk: train again
        path.unlink(missing_ok=True)
        return None
    population.load(kept["state"])
    population.calls = kept["calls"]
    population.train()
    path.touch()  # so that what is used is kept longest
    return History(kept["losses"].cpu(), kept["steps"], kept["values"])


def save(key: str | None, population: Population, history: History) -> None:
    """Keep a trained population under a key."""
    path = _path(key)
    if path is None or any(value is None for value in history.values):
        return
    content = {
        "state": {name: value.detach() for name, value in {**population.state, **population.buffers}.items()},
        "calls": population.calls,
        "losses": history.losses,
        "steps": history.steps,
        "values": history.values,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        torch.save(content, file)
    try:
        torch.load(file.name, weights_only=True)
    except Exception:  # a callback returned what only pickle knows
        Path(file.name).unlink()
        return
    Path(file.name).replace(path)
    for old in sorted(path.parent.glob("*.pt"), key=lambda old: old.stat().st_mtime)[:-MOST]:
        old.unlink(missing_ok=True)


def _path(key: str | None) -> Path | None:
    return None if key is None else Path(os.environ["SURVEYLAB_CACHE"]) / f"{key}.pt"


def _cells() -> list[str] | None:
    """Every code cell executed so far, the running one last; None outside a notebook."""
    shell = get_ipython()
    return None if shell is None else [str(cell) for cell in shell.user_ns.get("In", [])]


def _checksum(tensor: Tensor) -> str:
    values = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{values.dtype} {tuple(values.shape)}".encode())
    digest.update(values.view(torch.uint8).numpy().tobytes() if values.ndim else repr(values.item()).encode())
    return digest.hexdigest()


def _library(root: Path = Path(__file__).parents[1]) -> str | None:
    """A checksum of the library's code that results may depend on, whether this chapter uses it or not.

    None if a file was edited after this process began: what is loaded is then not what the file says.
    """
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] != "press":
            if path.stat().st_mtime > _STARTED:
                return None
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def _own_modules() -> Mapping[str, str] | None:
    """Checksums of the loaded modules that are neither Python's, nor installed, nor the library's.

    None if one was edited after this process began.
    """
    python = str(Path(sysconfig.get_path("stdlib")).resolve())
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or not file.endswith(".py") or name.partition(".")[0] == "surveylab":
            continue
        path = Path(file).resolve()
        if "site-packages" in path.parts or str(path).startswith(python) or not path.is_file():
            continue
        if path.stat().st_mtime > _STARTED:
            return None
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _settings() -> dict[str, Any]:
    """torch's own switches that change results."""
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "dtype": str(torch.get_default_dtype()),
        "precision": torch.get_float32_matmul_precision(),
        "data": os.environ.get("SURVEYLAB_DATA", ""),
    }
