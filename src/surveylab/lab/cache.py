"""What arms gave, kept between runs of a chapter, so that an author pays only for what changed.

``surveylab run`` names a folder in ``SURVEYLAB_CACHE``; without it, as in verification and in CI, nothing is
kept or looked up. An arm is taken from there only if all that could have made it another is the same: the
library's code, that of the author's own modules, every code cell executed so far, the run's parameters, the
arm's values, the data, the versions and the machine. What is loaded equals what was stored to the bit.

What a callback *returns* is kept; what it does besides is not done again. A callback that returns nothing is
there for what it does, so such an arm is not kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from IPython import get_ipython

from surveylab.lab.population import Population
from surveylab.lab.session import active, machine, versions
from surveylab.lab.training import History
from surveylab.lab.tuning import is_tuning

# Arms kept in all, the latest.
MOST = 400


def key_of(arm: str, values: Any, data: str) -> str | None:
    """Under what an arm is kept, or None where nothing is.

    Args:
        arm: Its name.
        values: Its tuned values, and whatever else the call was given.
        data: The checksum of its data.
    """
    run, cells = active(), _cells()
    if not os.environ.get("SURVEYLAB_CACHE") or run is None or cells is None or is_tuning():
        return None
    parts = {
        "arm": arm,
        "values": values,
        "data": data,
        "cells": cells,
        "run": [run.chapter, run.profile, run.seed, run.device.type],
        "library": _library(),
        "modules": _own_modules(),
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


@cache
def _library() -> str:
    """A checksum of the library's code that results may depend on, whether this chapter uses it or not."""
    import surveylab

    root = Path(surveylab.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] != "press":
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def _own_modules() -> Mapping[str, str]:
    """Checksums of the loaded modules that are neither Python's, nor installed, nor the library's."""
    elsewhere = tuple(
        str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib", "platlib")
    )
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or not file.endswith(".py") or name.partition(".")[0] == "surveylab":
            continue
        path = Path(file).resolve()
        if path.is_file() and not str(path).startswith(elsewhere):
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
