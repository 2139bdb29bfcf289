"""Every published experiment that trains shows that its arms have learnt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from surveylab.claims import Evidence, evidence_of, read_notebook

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted((ROOT / "book").glob("*/*.ipynb"))

UNTRAINED = "nothing is trained: it is measured at initialisation, or on given values"
UNDER_WAY = "it measures training under way, whose end is not what it asks"
SAME_RUNS = "its networks are those of another claim, which stores their arms"
#: Experiments that store no arms, and why they need none. A new claim goes here only with a reason.
WITHOUT = {
    "bn-statistics-error": UNTRAINED,
    "bn-noise-variance": UNTRAINED,
    "bn-gradients-default": UNTRAINED,
    "bn-gradients-he": UNTRAINED,
    "bn-gradients-large": UNTRAINED,
    "bn-recurrent-padding": SAME_RUNS,
    "ln-recurrent-default": UNTRAINED,
    "ln-recurrent-orthogonal": UNTRAINED,
    "cmp-dependency-bn": UNTRAINED,
    "cmp-dependency-gn": UNTRAINED,
    "bn-lr-max": UNDER_WAY,
    "bn-lr-range": UNDER_WAY,
    "bn-fast": UNDER_WAY,
    "bn-covariate-own-rate": UNDER_WAY,
    "bn-covariate-same-rate": UNDER_WAY,
    "bn-covariate-evaluation": UNDER_WAY,
    "bn-covariate-gradient": UNDER_WAY,
    "bn-noisy-drift": UNDER_WAY,
    "bn-smooth-loss": UNDER_WAY,
    "bn-smooth-gradient": UNDER_WAY,
    "cmp-bn-fast-digits": UNDER_WAY,
    "cmp-bn-fast-photos": UNDER_WAY,
    "ln-recurrent-size": SAME_RUNS,
    "ln-recurrent-state": SAME_RUNS,
    "opt-adagrad-frequent": UNDER_WAY,
    "opt-rmsprop-alive": UNDER_WAY,
    "opt-adabelief-trust": UNTRAINED,
}


def unexplained(evidence: dict[str, Evidence]) -> list[str]:
    """Experiments without arms for which no reason is given."""
    return [id for id, e in evidence.items() if e.kind == "experiment" and not e.arms and id not in WITHOUT]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_an_experiment_stores_its_arms_or_says_why_not(path: Path) -> None:
    evidence = evidence_of(read_notebook(path))
    assert unexplained(evidence) == []
    assert [id for id, e in evidence.items() if e.arms and id in WITHOUT] == [], "take these off the list"


def test_no_reason_outlives_its_claim() -> None:
    published = {id for path in PUBLISHED for id in evidence_of(read_notebook(path))}
    assert set(WITHOUT) - published == set()


def test_arms_that_are_taken_away_are_missed() -> None:
    notebook = read_notebook(ROOT / "book/normalization/group_norm.ipynb")
    stored = [id for id, e in evidence_of(notebook).items() if e.arms]
    assert stored
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            output.get("metadata", {}).get("surveylab", {}).pop("arms", None)
    assert unexplained(evidence_of(json.loads(json.dumps(notebook)))) == stored
