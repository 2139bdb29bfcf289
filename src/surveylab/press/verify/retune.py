"""`surveylab verify --retune`: repeat the sweeps from which a chapter's learning rates were chosen.

Without it, a rate replaced by a bad one, with a sweep edited to fit, would agree with everything. On the
versions and kind of processor of the published chapter every score is equal. Elsewhere training amplifies
rounding, and of two rates that are nearly as good either may win; there the kept value must not be worse in
the new sweep than its best by more than chance, by Student's t over the replicas at 1 %, divided by the
number of choices.
"""

from __future__ import annotations

import json
import math
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from surveylab.claims import LEVEL, record
from surveylab.press.project import PressError, Project
from surveylab.press.run.kernel import CELL_TIMEOUT
from surveylab.press.run.tune import named, read_sweeps, repeat

# Of so many points with the best scores the spread of the replicas is taken: bad ones scatter more.
_BEST = 3


def in_turn(chapters: Sequence[str], day: date) -> list[str]:
    """The chapter whose turn it is in the week of a day: each comes once in as many weeks as there are."""
    week = (day.toordinal() - 1) // 7  # weeks from Monday on, also across the end of a year
    return [sorted(chapters)[week % len(chapters)]] if chapters else []


def repeat_sweeps(
    project: Project, chapter: str, *, device: str = "auto", timeout: int = CELL_TIMEOUT
) -> tuple[list[str], int]:
    """Repeat a chapter's sweeps and compare them with those that are kept.

    Returns:
        A sentence for each difference, a failure included, and how many sweeps were repeated. A chapter
        without a tuning file has none.
    """
    path = project.tuning(chapter)
    if not path.exists():
        return [], 0
    try:
        kept = read_sweeps(chapter, path)
        with tempfile.TemporaryDirectory(prefix="surveylab-") as folder:
            found = Path(folder) / "found.json"
            executed = repeat(project, chapter, found, device=device, timeout=timeout)
            again = read_sweeps(chapter, found)
        published = record.read_notebook(project.published(chapter))
    except (PressError, record.RecordError) as error:
        return [f"could not be tuned again: {error}"], 0
    here = record.run_of(json.loads(executed.notebook)) or {}
    same = record.same_machine(record.run_of(published) or {}, here)
    return list(sweep_differences(kept, again, exact=same)), len(again)


def sweep_differences(kept: Mapping[str, Any], again: Mapping[str, Any], *, exact: bool) -> Iterator[str]:
    """A sentence for each sweep that is not what was kept.

    Args:
        kept: the searches of the tuning file.
        again: those of a second tuning.
        exact: whether every score must be equal.
    """
    choices = max(1, sum(len(search["best"]) for search in kept.values()))
    for name in [*kept, *(name for name in again if name not in kept)]:
        if name not in again:
            yield f"the sweep '{name}' is kept, but the chapter makes no such sweep"
        elif name not in kept:
            yield f"the chapter makes a sweep '{name}' that is not kept"
        elif kept[name]["grid"] != again[name]["grid"]:
            yield f"the sweep '{name}': the kept grid is not the one that the chapter searches"
        elif exact:
            yield from _unequal(name, kept[name], again[name])
        else:
            yield from _worse(name, kept[name], again[name], choices)


def _unequal(name: str, kept: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    if kept["best"] != again["best"]:
        yield (
            f"the sweep '{name}' chooses other values on the same machine: kept {_chosen(kept)}, "
            f"now {_chosen(again)}"
        )
    elif kept["stages"] != again["stages"]:
        yield f"the sweep '{name}' has other scores on the same machine"


def _worse(name: str, kept: Mapping[str, Any], again: Mapping[str, Any], choices: int) -> Iterator[str]:
    """A sentence for each population whose kept value the new sweep finds worse than its best."""
    from scipy.special import stdtrit

    if len(kept["best"]) != len(again["best"]):
        yield f"the sweep '{name}' was made for {len(kept['best'])} populations, now {len(again['best'])}"
        return
    for population, (point, best) in enumerate(zip(kept["best"], again["best"], strict=True)):
        if point == best:
            continue
        stage = next(
            (stage for stage in reversed(again["stages"]) if point in stage["points"][population]), None
        )
        if stage is None:
            yield f"the sweep '{name}', population {population}: the kept {named(point)} was never tried"
            continue
        tried = zip(stage["points"][population], stage["scores"][population], strict=True)
        rows = {named(at): row for at, row in tried}
        leading = sorted(rows.values(), key=statistics.fmean, reverse=True)[:_BEST]
        gap = statistics.fmean(leading[0]) - statistics.fmean(rows[named(point)])
        replicas, freedom = len(leading[0]), len(leading) * (len(leading[0]) - 1)
        variance = statistics.fmean([statistics.variance(row) for row in leading]) if replicas > 1 else 0.0
        allowed = math.sqrt(2 * variance / replicas)
        if freedom:
            allowed *= float(stdtrit(freedom, 1 - (1 - LEVEL) / choices))
        if gap > allowed:
            yield (
                f"the sweep '{name}', population {population}: the kept {named(point)} scores {gap:.3g} "
                f"less than {named(best)}, more than chance explains ({allowed:.2g})"
            )


def _chosen(search: Mapping[str, Any]) -> str:
    return "; ".join(named(point) for point in search["best"])
