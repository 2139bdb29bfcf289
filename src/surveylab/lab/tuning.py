"""Learning rates, chosen once on validation data with other seeds and kept with the whole sweep.

A chapter asks for the rate of an arm with `tuned`. In an ordinary run the answer comes from
``book/tuning/<chapter>.json``; ``surveylab tune`` runs the chapter with other seeds and lets each arm's sweep
write that file; with ``--missing``, arms that it holds already keep what they have. A comparison in which
both arms use one rate mostly compares how well that rate suits them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surveylab.lab.session import current


class TuningError(ValueError):
    """A rate is not known, or the sweep cannot tell which is best."""


def is_tuning() -> bool:
    """Whether this run is there to find rates."""
    return bool(os.environ.get("SURVEYLAB_TUNE"))


def tuned(arm: str, rates: Sequence[float], sweep: Callable[[list[float]], Tensor]) -> float:
    """The learning rate of an arm.

    Args:
        arm: Its name, as in the tuning file.
        rates: The grid to search, ascending.
        sweep: Given the grid, trains at each of its rates and returns scores on validation data, higher is
            better, of shape (rates, replicates). Runs only under ``surveylab tune``.

    Returns:
        The rate with the best mean score.

    Raises:
        TuningError: If the arm has not been tuned on this grid, or its best rate lies at the edge of the
            grid, where a better one may lie beyond.
    """
    rates = [float(rate) for rate in rates]
    if sorted(set(rates)) != rates or len(rates) < 3:
        raise TuningError(f"{arm}: rates must be at least three, ascending and distinct; got {rates}")
    if is_tuning():
        path = Path(os.environ["SURVEYLAB_TUNE"])
        kept = os.environ.get("SURVEYLAB_TUNE_KEPT")
        entry = _read(Path(kept)).get(arm) if kept else None
        if entry is None or entry["grid"] != rates:
            entry = _sweep(arm, rates, sweep)
        path.write_text(json.dumps(_read(path) | {arm: entry}, indent=1) + "\n", encoding="utf-8")
        return float(entry["rate"])
    run = current()
    found = sweeps()
    if arm not in found or found[arm]["grid"] != rates:
        if run.profile == "smoke":
            return rates[len(rates) // 2]  # so that an author can see a chapter run before tuning it
        why = "has not been tuned" if arm not in found else "was tuned on another grid"
        raise TuningError(f"{arm} {why}; run: surveylab tune {run.chapter}")
    return float(found[arm]["rate"])


def sweeps() -> dict[str, Any]:
    """Every arm's sweep of the current chapter: rate, grid, scores (rates, replicates)."""
    run = current()
    kept = run.root / "book" / "tuning" / f"{run.chapter}.json"
    return _read(Path(os.environ["SURVEYLAB_TUNE"]) if is_tuning() else kept)


def _read(path: Path) -> dict[str, Any]:
    """The sweeps in a file; none if it is not there or empty, as a file just made for them is."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    try:
        return dict(json.loads(text)) if text.strip() else {}
    except (TypeError, ValueError) as error:
        raise TuningError(f"{path} is not a record of sweeps ({error}); tune the chapter anew") from error


def _sweep(arm: str, rates: list[float], sweep: Callable[[list[float]], Tensor]) -> dict[str, Any]:
    scores = torch.as_tensor(sweep(rates)).double().cpu()
    if scores.ndim != 2 or len(scores) != len(rates):
        raise TuningError(f"{arm}: sweep must return (rates, replicates) scores; got {tuple(scores.shape)}")
    if not scores.isfinite().all():
        raise TuningError(f"{arm}: a score is not finite; score a run that diverged as the worst there is")
    best = int(scores.mean(1).argmax())
    if best in (0, len(rates) - 1) and current().profile != "smoke":
        means = ", ".join(f"{rate:g}: {mean:.4g}" for rate, mean in zip(rates, scores.mean(1), strict=True))
        raise TuningError(
            f"{arm}: the best rate {rates[best]:g} lies at the edge of its grid ({means}); widen it"
        )
    rounded = [[round(float(score), 6) for score in row] for row in scores]
    return {"rate": rates[best], "grid": rates, "scores": rounded}
