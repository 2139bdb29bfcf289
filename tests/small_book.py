"""A book in miniature for the tests of pages and build: one chapter, a claim for each verdict, no torch."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

from surveylab.claims import Claim, Evidence, judge, load_claims, render_markdown, render_text

ROOT = Path(__file__).parents[1]
CHAPTER = "demo/one"
REPOSITORY = "https://github.com/owner/name"
ADDRESS = "https://owner.github.io/name/"

REVIEW = """\
- section: demo
  title: Demonstration
  opens:
    - says: "This *only* connects."
  chapters:
    - chapter: one
      title: The first chapter
      text:
        - {id: st-good, says: "The method gains.", cite: [someone2020]}
        - {id: st-split, says: "It is fast & exact."}
        - {id: st-wrong, says: "It never fails."}
        - {id: st-open, says: "It scales."}
    - chapter: two
      title: The second chapter
      text:
        - {id: st-later, says: "Nobody looked at this."}
"""

CLAIMS = """\
- id: good
  says: The method gains <a point>.
  covers: [st-good]
  kind: experiment
  effect: Gain of the method.
  unit: points
  margin: 1.0
  why: Less than a point would not matter.
  cite: [someone2020]
  history:
    - {date: 2026-01-31, change: The margin was 2., why: It was copied.}
- {id: fast, says: It is fast., covers: [st-split], kind: experiment, setting: own,
   effect: Time., unit: s, margin: 1.0, why: A second., corrects: It is exact but slow.}
- {id: exact, says: It is exact., covers: [st-split], kind: identity,
   effect: Error., unit: units, margin: 0.001, why: Rounding.}
- {id: never, says: It never fails., covers: [st-wrong], kind: identity,
   effect: Error., margin: 0.001, why: Rounding.}
- {id: open, says: It scales., covers: [st-open], kind: experiment,
   effect: Slope., unit: points, margin: 1.0, why: As above.}
- {id: paper, says: The paper says so., covers: [st-good], kind: source,
   cite: [someone2020], place: Table 1}
- {id: extra, says: A control holds., kind: experiment,
   effect: Control., unit: points, margin: 1.0, why: As above.}
"""

BIBLIOGRAPHY = "@article{someone2020, title={A Title}, author={Some One}, journal={J}, year={2020}}\n"

API = """\
# Claims

```{eval-rst}
.. automodule:: surveylab.claims
   :members: judge, combine
   :imported-members:
```
"""

# In turn: supported, contradicted, supported, contradicted, inconclusive, cited, negligible.
VALUES: dict[str, Any] = {
    "good": [[2.9, 3.1] * 4] * 3,
    "fast": [[-2.9, -3.1] * 4] * 3,
    "exact": [1e-4] * 20,
    "never": [1e-4] * 19 + [0.5],
    "open": [[-3.0, 5.0] * 4] * 3,
    "paper": None,
    "extra": [[-0.1, 0.1] * 4] * 3,
}
DATA = {"name": "tiny", "sha256": "0" * 64}
RECORD = {
    "fingerprint": "abcdef0123456789",
    "profile": "standard",
    "seed": 0,
    "device": "cpu",
    "executed": "2026-01-31T12:00:00+00:00",
    "duration": 1.5,
    "machine": {"processor": "A processor", "capability": "AVX2", "threads": 2, "accelerator": None},
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "data": {"tiny": "0" * 64},
}


def make_book(root: Path) -> Path:
    """Write the project and return its root."""
    files = {
        "book/review_text.yml": REVIEW,
        "book/claims/demo/one.yml": CLAIMS,
        "book/references.bib": BIBLIOGRAPHY,
        "book/intro.md": "# A small book\n\n{{statements}} statements.\n\n{{summary}}\n\n{{wall}}\n\n"
        "{{effects}}\n\n{{legend}}\n",
        "book/method.md": "# Method\n\n## Firmness: would it come out again?\n\nIt may.\n",
        "book/data.md": "# Data\n\n## Tiny\n\nA little.\n",
        "book/references.md": "# References\n\n```{bibliography}\n:all:\n```\n",
        "book/api/claims.md": API,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "_config.yml", root)
    shutil.copytree(ROOT / "book/_static", root / "book/_static")
    write(root / "notebooks/demo/one.ipynb", notebook([]))
    write(root / "book/demo/one.ipynb", published(root))
    return root


def evidence(claims: dict[str, Claim]) -> dict[str, Evidence]:
    """The evidence on each claim."""
    return {
        id: judge(claims[id], values, profile="standard", seed=0, data=None if values is None else DATA)
        for id, values in VALUES.items()
    }


def published(root: Path) -> dict[str, Any]:
    """The executed chapter."""
    claims = load_claims(root / "book/claims")
    run = (
        {"text/plain": "standard: 3 x 8 replicates"},
        {"surveylab": {"run": {"chapter": CHAPTER, **RECORD}}},
    )
    checks = [
        (
            {"text/plain": render_text(found), "text/markdown": render_markdown(claims[id], found)},
            {"surveylab": found.to_metadata()},
        )
        for id, found in evidence(claims).items()
    ]
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "markdown",
            "id": "title",
            "metadata": {},
            "source": "(one)=\n# The first chapter\n\nA formula, $x^2$, and words enough to describe it.",
        },
        {
            "cell_type": "code",
            "id": "figure",
            "execution_count": 1,
            "metadata": {"mystnb": {"image": {"alt": "A grey square."}}},
            "source": "from surveylab import claims\n\nclaims.judge",
            "outputs": [{"output_type": "display_data", "data": {"image/png": _picture()}, "metadata": {}}],
        },
        _code("begin", "run = begin()", [run]),
        _code("checks", "run.check_all()", checks),  # all in one cell, as a chapter often has them
    ]
    return notebook(cells, surveylab=RECORD)


def _code(id: str, source: str, outputs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """An executed cell that displayed these data with these metadata."""
    shown = [{"output_type": "display_data", "data": data, "metadata": meta} for data, meta in outputs]
    cell = {"cell_type": "code", "id": id, "execution_count": 1, "metadata": {}}
    return {**cell, "source": source, "outputs": shown}


def _picture() -> str:
    """A PNG as a notebook keeps it."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def notebook(cells: list[dict[str, Any]], **metadata: Any) -> dict[str, Any]:
    """A notebook with these cells."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": cells, "metadata": kernel | metadata, "nbformat": 4, "nbformat_minor": 5}


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a notebook."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
