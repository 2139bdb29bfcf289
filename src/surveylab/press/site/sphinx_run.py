"""Run Sphinx on the staged book in a process of its own: it keeps state, and autodoc imports torch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from surveylab.press.project import PressError
from surveylab.press.run.environment import cleaned

# Jupyter Book switches it on for everyone. It is of no use here, and its scripts name other sites.
UNWANTED = ("sphinx_thebe",)


def run_sphinx(source: Path, html: Path, doctrees: Path, settings: Mapping[str, Any]) -> None:
    """Make the pages.

    Args:
        source: The staged book, `_config.yml` and `_toc.yml` in it.
        html: Where the pages go.
        doctrees: Where Sphinx keeps what it has read.
        settings: What `surveylab.press.site.sphinx_ext` is told.

    Raises:
        PressError: Sphinx has an error or a warning.
    """
    order = {"source": str(source), "html": str(html), "doctrees": str(doctrees), "settings": settings}
    done = subprocess.run(
        [sys.executable, "-m", "surveylab.press.site.sphinx_run"],
        input=json.dumps(order),
        # Neither the order of a set nor the author's configuration must decide what a page looks like.
        env=cleaned(os.environ) | {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "TZ": "UTC"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr or done.stdout).replace(f"{source}/", "")
    lines = list(
        dict.fromkeys(line for line in said.splitlines() if re.search(r"WARNING|ERROR|CRITICAL", line))
    )
    shown = "\n  ".join(lines[:40] or said.strip().splitlines()[-15:])
    raise PressError(f"Sphinx did not accept the book (staged in {source}):\n  {shown}")


def main() -> int:
    """Build what standard input describes."""
    from jupyter_book import config, sphinx
    from sphinx_external_toc import events

    order = json.load(sys.stdin)
    defaults = config.get_default_sphinx_config

    def wanted() -> dict[str, Any]:
        found: dict[str, Any] = defaults()
        return found | {"extensions": [name for name in found["extensions"] if name not in UNWANTED]}

    config.get_default_sphinx_config = wanted
    # It looks for pages by a pattern that begins with the folder, in whose name [x] is no pattern.
    toc: Any = events
    source = Path(order["source"])
    toc.glob = SimpleNamespace(iglob=lambda pattern, recursive: map(str, source.rglob(Path(pattern).name)))
    address = order["settings"]["site"]["address"]
    result = sphinx.build_sphinx(
        order["source"],
        order["html"],
        doctreedir=order["doctrees"],
        noconfig=True,
        path_config=order["source"] + "/_config.yml",
        confoverrides={
            "nitpicky": True,
            "external_toc_path": order["source"] + "/_toc.yml",
            "latex_individualpages": False,
            "surveylab": order["settings"],
            **({"html_baseurl": address} if address else {}),
        },
        freshenv=True,
        force_all=True,
        warningiserror=True,
        keep_going=True,
        quiet=True,
    )
    return result if isinstance(result, int) else 1


if __name__ == "__main__":
    sys.exit(main())
