"""`surveylab tune`: find a chapter's learning rates and keep them, with their sweeps, in `book/tuning/`."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from surveylab.press.console import Progress, seconds, table
from surveylab.press.project import PressError, Project, WrongUse, ensure_writable, write_atomically
from surveylab.press.run.kernel import CELL_TIMEOUT, make_task, perform

# Rates must not be chosen on the streams that the published run draws from.
SEED = 1000


def tune(
    project: Project,
    chapter: str,
    say: Callable[[str], None],
    *,
    seed: int = SEED,
    device: str = "auto",
    timeout: int = CELL_TIMEOUT,
    missing: bool = False,
) -> Path:
    """Execute a chapter's sweeps and write what they found.

    The chapter itself sweeps (`lab.tuned`), into a file whose name the kernel is given; a best rate at the
    edge of its grid raises there. Only when the whole chapter went through is the kept file replaced.

    Raises:
        WrongUse: the seed is that of the published run.
        PressError: the chapter failed, or has nothing to tune; the kept file is unchanged.
    """
    if seed == 0:
        raise WrongUse("seed 0 is the published run's: rates are chosen with another one")
    kept = project.tuning(chapter)
    ensure_writable(kept)
    label = f"{chapter} (tuning)"
    with tempfile.TemporaryDirectory(prefix="surveylab-") as folder, Progress({label: None}) as progress:
        found = Path(folder) / "tuning.json"
        task = make_task(
            project,
            chapter,
            seed=seed,
            device=device,
            environment={"SURVEYLAB_TUNE": str(found)}
            | ({"SURVEYLAB_TUNE_KEPT": str(kept)} if missing else {}),
            timeout=timeout,
            strict=False,
        )
        executed = perform(task, partial(progress.cell, label))
        sweeps = _read(chapter, found)
    write_atomically(kept, json.dumps(sweeps, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    say(_shown(sweeps))
    say(f"{chapter}: tuned in {seconds(executed.seconds)} -> {project.shown(kept)}")
    return kept


def _read(chapter: str, path: Path) -> dict[str, Any]:
    if not path.exists():
        raise PressError(f"{chapter}: nothing was tuned: it calls `lab.tuned` nowhere")
    try:
        sweeps = json.loads(path.read_text(encoding="utf-8"))
        for name, sweep in sweeps.items():
            if sweep["rate"] not in sweep["grid"] or len(sweep["scores"]) != len(sweep["grid"]):
                raise PressError(f"{chapter}: the sweep '{name}' does not fit its own grid")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise PressError(f"{chapter}: the lab left no readable sweep: {error!r}") from error
    if not sweeps:
        raise PressError(f"{chapter}: nothing was tuned: it calls `lab.tuned` nowhere")
    return dict(sweeps)


def _shown(sweeps: dict[str, Any]) -> str:
    rows = []
    for name, sweep in sorted(sweeps.items()):
        means = [statistics.fmean(s) if isinstance(s, list) else float(s) for s in sweep["scores"]]
        scores = "  ".join(
            f"{'*' if rate == sweep['rate'] else ''}{rate:g}: {mean:.4g}"
            for rate, mean in zip(sweep["grid"], means, strict=True)
        )
        rows.append([name, f"{sweep['rate']:g}", scores])
    return table(["what", "rate", "mean score of each rate tried"], rows)
