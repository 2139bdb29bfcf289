"""A project in miniature for the tests of the press: chapters that run in a second, without torch.

Its package `tinylib` stands for the lab and the methods: it emits what the lab emits, and its values move
a little with the number of threads, as real arithmetic does.
"""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLAIMS = """\
- id: tiny-gain
  says: The method gains.
  kind: experiment
  effect: Gain of the method.
  unit: points
  margin: 1.0
  why: Less than a point would not matter.
  cite: [someone2020]
- id: tiny-exact
  says: The method equals its definition.
  kind: identity
  effect: Largest difference.
  unit: units
  margin: 0.001
  why: Rounding.
- id: tiny-paper
  says: The paper says so.
  kind: source
  cite: [someone2020]
  place: Table 1
"""

BIBLIOGRAPHY = "@article{someone2020, title={A Title}, author={Someone, A.}, journal={J}, year={2020}}\n"

TINYLIB = '''\
"""Stands for the lab."""
import json
import os
from pathlib import Path

from IPython.display import display
from surveylab.claims import judge, load_claims, published_path, read_notebook, evidence_of, render_markdown
from surveylab.claims import render_text

from . import method

ROOT = Path(os.environ["SURVEYLAB_ROOT"])


class Run:
    def __init__(self, chapter, profile, seed, device):
        self.chapter, self.profile, self.seed = chapter, profile, seed
        machine = {"processor": "test", "capability": os.environ.get("TINY_CAPABILITY", "A"),
                   "threads": threads(), "accelerator": None}
        versions = {"python": "3", "tinylib": os.environ.get("TINY_VERSION", "1")}
        record = {"chapter": chapter, "profile": profile, "seed": seed, "device": "cpu",
                  "machine": machine, "versions": versions}
        show({"text/plain": f"{profile}: 3 x 8 replicates"}, {"run": record})

    def check(self, claim, values=None, data=None):
        if "SURVEYLAB_TUNE" in os.environ:
            return
        claims = load_claims(ROOT / "book" / "claims")
        evidence = judge(claims[claim], values, profile=self.profile, seed=self.seed, data=data)
        if "SURVEYLAB_VERIFY" in os.environ:
            evidence = evidence_of(read_notebook(published_path(ROOT, self.chapter)))[claim]
        said = render_markdown(claims[claim], evidence)
        show({"text/plain": render_text(evidence), "text/markdown": said}, evidence.to_metadata())


def show(data, record):
    display(data, raw=True, metadata={"surveylab": record})


def threads():
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def rounding():
    # Arithmetic moves a little with the number of threads and with the instruction set.
    return 1e-6 * threads() + (1e-6 if os.environ.get("TINY_CAPABILITY") == "B" else 0)


def gains(seed):
    return [[method.gain(seed, p, r) + rounding() for r in range(8)] for p in range(3)]


def tuned(name, best=0.1):
    if "SURVEYLAB_TUNE" in os.environ:
        grid = [0.01, 0.1, 1.0]
        if best in (grid[0], grid[-1]):
            raise ValueError(f"{name}: the best rate {best} lies at the edge of its grid {grid}: widen it")
        scores = [[0.5, 0.6], [0.9, 0.8], [0.1, 0.2]]
        points = [{"rate": rate} for rate in grid]
        stage = {"share": 1.0, "points": [points] * 3, "scores": [scores] * 3}
        search = {"grid": {"rate": grid}, "stages": [stage], "best": [{"rate": best}] * 3}
        Path(os.environ["SURVEYLAB_TUNE"]).write_text(json.dumps({name: search}))
'''

METHOD = '''\
"""Stands for a method."""
import random


def gain(seed, population, replicate):
    """How much one replicate gains."""
    return 3 + random.Random(f"{seed} {population} {replicate}").gauss(0, 1)  # a comment
'''

DATA = {"name": "tiny", "sha256": "0" * 64}

PARAMETERS = 'profile = "standard"\nseed = 0\ndevice = "auto"\ncandidate = None'

GOOD = [
    "import tinylib\n\nrun = tinylib.Run('{chapter}', profile, seed, device)",
    "tinylib.tuned('arm')",
    f"run.check('tiny-gain', tinylib.gains(seed), data={DATA!r})",
    "run.check('tiny-exact', [1e-7] * 20)\nprint('two')\nprint('lines')",
    "run.check('tiny-paper')",
]


def make_project(root: Path) -> Path:
    """Write a project with the chapter `demo/one`, never run, and return its root."""
    for path, text in {
        "book/claims/demo/one.yml": CLAIMS,
        "book/references.bib": BIBLIOGRAPHY,
        "src/tinylib/__init__.py": TINYLIB,
        "src/tinylib/method.py": METHOD,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    write_chapter(root, "demo/one", GOOD)
    return root


def write_chapter(root: Path, chapter: str, code: list[str], *, kernel: str | None = "python3") -> Path:
    """Write a source: a title, the parameters, and code cells in which `{chapter}` stands for its name."""
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "id": "title", "metadata": {}, "source": f"# {chapter}"},
        _code("parameters", PARAMETERS, tags=["parameters"]),
    ]
    cells += [
        _code(f"code-{number}", textwrap.dedent(text).replace("{chapter}", chapter))
        for number, text in enumerate(code)
    ]
    metadata = {}
    if kernel is not None:
        metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": kernel}}
    path = root / "notebooks" / f"{chapter}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_notebook(path, {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
    return path


def _code(id: str, source: str, tags: list[str] | None = None) -> dict[str, Any]:
    metadata = {"tags": tags} if tags else {}
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": id,
        "metadata": metadata,
        "outputs": [],
        "source": source,
    }


def read(path: Path) -> Any:
    """A notebook as plain data."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_notebook(path: Path, notebook: Any) -> None:
    """Write a notebook as nbformat lays it out, so that only what was meant to differ differs."""
    import nbformat

    text = nbformat.writes(nbformat.from_dict(notebook)) + "\n"
    path.write_text(text, encoding="utf-8")


def outputs(notebook: Any) -> list[Any]:
    """All outputs, in order."""
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def card(notebook: Any, claim: str) -> Any:
    """The output that carries a claim's evidence."""
    return next(
        o for o in outputs(notebook) if o.get("metadata", {}).get("surveylab", {}).get("claim") == claim
    )


def note(path: Path, what: str) -> str:
    """A cell that adds a line to a file outside the project: how often, when and where it was executed."""
    return f"import os\nwith open({str(path)!r}, 'a') as file:\n    print({what}, file=file)"


def lines(path: Path) -> list[str]:
    """What such cells have written so far."""
    return path.read_text().splitlines() if path.exists() else []


def page(root: Path, chapter: str) -> list[str]:
    """A published page without what differs from run to run."""
    text = (root / f"book/{chapter}.ipynb").read_text().splitlines()
    return [line for line in text if not line.strip().startswith(('"executed"', '"duration"'))]


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
