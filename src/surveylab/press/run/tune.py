"""`surveylab tune`: find a chapter's learning rates and keep them, with their sweeps, in `book/tuning/`."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from surveylab.claims import FIRST_DESIGN_SEED
from surveylab.press.console import Progress, seconds, table
from surveylab.press.project import PressError, Project, WrongUse, ensure_writable, write_atomically
from surveylab.press.run.kernel import CELL_TIMEOUT, Executed, make_task, perform


def tune(
    project: Project,
    chapter: str,
    say: Callable[[str], None],
    *,
    seed: int = FIRST_DESIGN_SEED,
    device: str = "auto",
    timeout: int = CELL_TIMEOUT,
    missing: bool = False,
) -> Path:
    """Execute a chapter's sweeps and write what they found.

    The chapter itself searches, as it runs the arms of its comparisons, into a file whose name the kernel is
    given; a best rate at the edge of its grid raises there. Only when the whole chapter went through is the
    kept file replaced. What was found before a failure stays in ``_build/tuning/``, where `missing` finds it.

    Raises:
        WrongUse: the seed is that of the published run.
        PressError: the chapter failed, or has nothing to tune; the kept file is unchanged.
    """
    if seed < FIRST_DESIGN_SEED:
        raise WrongUse(
            f"--seed {seed}: rates are found on seeds from {FIRST_DESIGN_SEED} on; those below are for "
            "published runs"
        )
    kept = project.tuning(chapter)
    ensure_writable(kept)
    found = project.root / "_build" / "tuning" / f"{chapter}.json"
    known = (_searches(kept) | _searches(found)) if missing else {}
    executed = repeat(project, chapter, found, seed=seed, device=device, timeout=timeout, known=known)
    sweeps = read_sweeps(chapter, found)
    write_atomically(kept, json.dumps(sweeps, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    found.unlink()  # not before: what was found must not be lost on a full disk
    say(_shown(sweeps))
    say(f"{chapter}: tuned in {seconds(executed.seconds)} -> {project.shown(kept)}")
    return kept


def repeat(
    project: Project,
    chapter: str,
    found: Path,
    *,
    seed: int = FIRST_DESIGN_SEED,
    device: str = "auto",
    timeout: int = CELL_TIMEOUT,
    known: Mapping[str, Any] | None = None,
) -> Executed:
    """Let a chapter search for its values, and return it as it was executed for that.

    Args:
        known: searches that are not repeated.

    Raises:
        ChapterFailed: it did not go through. What was found before is in the file.
    """
    label = f"{chapter} (tuning)"
    found.parent.mkdir(parents=True, exist_ok=True)
    found.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="surveylab-") as folder, Progress({label: None}) as progress:
        before = Path(folder) / "known.json"
        before.write_text(json.dumps(dict(known or {})), encoding="utf-8")
        task = make_task(
            project,
            chapter,
            seed=seed,
            device=device,
            environment=search_variables(found, before),
            timeout=timeout,
            strict=False,
        )
        return perform(task, partial(progress.cell, label))


def search_variables(found: Path, known: Path) -> dict[str, str]:
    """What tells a chapter to search, into which file, and which searches are not repeated."""
    return {"SURVEYLAB_TUNE": str(found), "SURVEYLAB_TUNE_KEPT": str(known)}


def _searches(path: Path) -> dict[str, Any]:
    """The searches in a file that may not be there, or hold something else."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def read_sweeps(chapter: str, path: Path) -> dict[str, Any]:
    """The searches of a chapter.

    Raises:
        PressError: there are none, or they contradict themselves: a value that is kept is not the best of
            its own sweep.
    """
    if not path.exists():
        raise PressError(f"{chapter}: nothing was tuned: it runs no arm of a comparison")
    try:
        searches = json.loads(path.read_text(encoding="utf-8"))
        for name, search in searches.items():
            for point in search["best"]:
                if any(value not in search["grid"][key] for key, value in point.items()):
                    raise PressError(f"{chapter}: the search '{name}' does not fit its own grid")
            for stage in search["stages"]:
                if [len(points) for points in stage["points"]] != [len(rows) for rows in stage["scores"]]:
                    raise PressError(f"{chapter}: the search '{name}' has not one score a point")
            if wrong := _not_best(search):
                raise PressError(f"{chapter}: the search '{name}' keeps {wrong}")
    except (ValueError, AttributeError, LookupError, TypeError) as error:
        raise PressError(f"{chapter}: the lab left no readable search: {error!r}") from error
    if not searches:
        raise PressError(f"{chapter}: nothing was tuned: it runs no arm of a comparison")
    return dict(searches)


# Scores are kept to six digits: means that differ by less may be those of either.
_ROUNDING = 1e-6


def _not_best(search: Mapping[str, Any]) -> str | None:
    """What a search keeps that is not the best of its last stage, in words; None if all is.

    Of the points that share all but the rate with the kept one, it must have the highest mean, and of equal
    means the lowest rate. Which value of another axis is best is decided over all populations together.
    """
    last, best = search["stages"][-1], search["best"]
    if not len(best) == len(last["points"]) == len(last["scores"]):
        return f"{len(best)} points for {len(last['points'])} populations"
    for number, (kept, points, rows) in enumerate(zip(best, last["points"], last["scores"], strict=True)):
        at = f"{named(kept)} for population {number}"
        if kept not in points:
            return f"{at}, which its last stage did not try"
        means = {
            point["rate"]: statistics.fmean(row)
            for point, row in zip(points, rows, strict=True)
            if _without_rate(point) == _without_rate(kept)
        }
        mean, top = means[kept["rate"]], max(means.values())
        ahead = min(rate for rate, score in means.items() if score >= top - _ROUNDING / 1000)
        if mean < top - _ROUNDING or (kept["rate"] > ahead and mean >= top - _ROUNDING / 1000):
            return f"{at}, of mean score {mean:.6g}, though at rate {ahead:g} it is {means[ahead]:.6g}"
    if len({named(_without_rate(kept)) for kept in best}) > 1:
        return "another value of what is no rate for each population, though these train together"
    return None


def _without_rate(point: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in point.items() if name != "rate"}


def named(point: Mapping[str, float]) -> str:
    """`rate 0.1, width 8`."""
    return ", ".join(f"{name} {value:g}" for name, value in point.items())


def _shown(searches: dict[str, Any]) -> str:
    rows = []
    for name, search in sorted(searches.items()):
        best = ", ".join(" ".join(f"{value:g}" for value in point.values()) for point in search["best"])
        stage = search["stages"][-1]
        scores = "; ".join(
            "  ".join(
                f"{' '.join(f'{value:g}' for value in point.values())}: {statistics.fmean(row):.4g}"
                for point, row in zip(points, block, strict=True)
            )
            for points, block in zip(stage["points"], stage["scores"], strict=True)
        )
        rows.append([name, best, scores])
    return table(["what", "chosen, by population", "mean scores of those left at the end"], rows)
