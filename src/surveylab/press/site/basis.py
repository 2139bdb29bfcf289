"""What a verdict rests on, below the facts of its card: the arms, other budgets, other settings.

Only what the evidence holds is shown; evidence without any of it leaves a card as short as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean
from typing import Any

from surveylab.claims import Arm, Cell, Evidence
from surveylab.claims.arms import undertrained
from surveylab.claims.budget import REMAINS
from surveylab.claims.render import number, plain, with_unit
from surveylab.press.site.drawings import STYLES, Axis, Curves

#: More columns than this would not fit a phone; the settings then stand in rows.
_MOST_COLUMNS = 4
_NAMES = {"data": "data set"}
_FRACTIONS = {0.125: "⅛", 0.25: "¼", 0.5: "½", 0.75: "¾"}


Line = tuple[str, list[Cell | None]]


@dataclass(frozen=True)
class Table:
    """Intervals on one scale, in rows and columns.

    Attributes:
        about: Below it, in a sentence.
        head: What stands above the headings of the rows.
        columns: What stands above the intervals.
        rows: The heading of each row, and its cells; None where nothing was run.
        axis: The scale of all cells.
        margin: What is too small to matter.
    """

    title: str
    about: str
    head: str
    columns: list[str]
    rows: list[Line]
    axis: Axis
    margin: float

    @property
    def ticks(self) -> list[float]:
        """Few round numbers: a column may be narrow."""
        return self.axis.ticks(3 if len(self.columns) > 1 else 5)


def guard(evidence: Evidence) -> Table | None:
    """The effect over the budget, with the run itself in its place."""
    if not evidence.guard or evidence.estimate is None or evidence.margin is None:
        return None
    run = Cell({"budget": 1.0}, [], evidence.estimate, evidence.low, evidence.high)
    cells = sorted([*evidence.guard, run], key=lambda cell: float(cell.at["budget"]))
    return Table(
        "At other budgets",
        f"At the other budgets population 0 is run again, with rates found anew. {_kept(evidence)}",
        "Budget",
        ["Effect"],
        [
            (_setting("budget", cell.at["budget"]) + (" (the run)" if cell is run else ""), [cell])
            for cell in cells
        ],
        _axis(cells, evidence.margin),
        evidence.margin,
    )


def _kept(evidence: Evidence) -> str:
    """Whether the effect is there at other budgets too, by the rule of `surveylab.claims.budget`."""
    estimate, margin, low, high = evidence.estimate, evidence.margin, evidence.low, evidence.high
    assert evidence.guard is not None and estimate is not None and margin is not None
    others = {float(cell.at["budget"]): cell.estimate for cell in evidence.guard}
    if low is not None and high is not None and -margin < low <= high < margin:
        size = with_unit(plain(margin), evidence.unit)
        beyond = [budget for budget, effect in others.items() if abs(effect) >= margin]
        if beyond:
            return f"Inside ±{size} in the run, it is not at {_budgets(beyond)}."
        return f"The effect stays inside ±{size} at each of them."
    turned = [budget for budget, effect in others.items() if effect * estimate <= 0]
    if turned:
        return f"The effect does not keep its sign at {_budgets(turned)}."
    larger = {budget: effect / estimate for budget, effect in others.items() if budget > 1}
    if not larger:
        return "The effect keeps its sign."
    budget, share = min(larger.items(), key=lambda item: item[1])
    what = "keeps its sign, and" if share >= REMAINS else "keeps its sign, but only"
    return f"The effect {what} {100 * share:.0f} % of its size is left at {_budgets([budget])}."


def _budgets(budgets: Sequence[float]) -> str:
    return f"{' and '.join(_setting('budget', budget) for budget in sorted(budgets))} the budget"


def scope_map(evidence: Evidence) -> Table | None:
    """The effect in other settings: a grid over two that vary, else one setting a row."""
    cells = evidence.map
    if not cells or evidence.margin is None:
        return None
    names = list(dict.fromkeys(chain.from_iterable(cell.at for cell in cells)))
    levels = {name: _levels(name, cells) for name in names}
    varied = [name for name in names if len(levels[name]) > 1] or names
    fixed = [f"{_named(name)} {_setting(name, levels[name][0])}" for name in names if name not in varied]
    head, columns, rows = ", ".join(map(_named, varied)), ["Effect"], _in_rows(cells, varied, levels)
    if len(varied) == 2 and (grid := _in_grid(cells, varied, levels)):
        head, columns, rows = grid
    return Table(
        "In other settings",
        _about(evidence, fixed),
        head[:1].upper() + head[1:],
        columns,
        rows,
        _axis(cells, evidence.margin),
        evidence.margin,
    )


def _about(evidence: Evidence, fixed: list[str]) -> str:
    assert evidence.map is not None
    counts = sorted({len(cell.values) for cell in evidence.map})
    each = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    where = f", with {' and '.join(fixed)}" if fixed else ""
    return (
        f"The same effect, from {each} replicates each{where}. This shows how far a verdict reaches; it "
        "decides nothing."
    )


def _levels(name: str, cells: Sequence[Cell]) -> list[Any]:
    """The values of a setting: numbers rising, others in the order in which they were run."""
    found = list(dict.fromkeys(cell.at.get(name) for cell in cells))
    if all(isinstance(value, int | float) for value in found):
        found.sort()
    return found


def _in_rows(cells: Sequence[Cell], names: Sequence[str], levels: dict[str, list[Any]]) -> list[Line]:
    def place(cell: Cell) -> list[int]:
        return [levels[name].index(cell.at.get(name)) for name in names]

    return [
        (", ".join(_setting(name, cell.at.get(name)) for name in names), [cell])
        for cell in sorted(cells, key=place)
    ]


def _in_grid(
    cells: Sequence[Cell], names: Sequence[str], levels: dict[str, list[Any]]
) -> tuple[str, list[str], list[Line]] | None:
    """Two settings as rows and columns; None where that would be too wide, mostly empty, or ambiguous."""
    down, across = sorted(names, key=lambda name: -len(levels[name]))
    at = {(cell.at.get(down), cell.at.get(across)): cell for cell in cells}
    places = len(levels[down]) * len(levels[across])
    if len(levels[across]) > _MOST_COLUMNS or len(at) < len(cells) or 2 * len(at) < places:
        return None
    columns = [_setting(across, value) for value in levels[across]]
    if across not in ("budget", "data"):
        columns = [f"{_named(across)} {column}" for column in columns]
    elif across == "budget":
        columns = [f"{column} budget" for column in columns]
    rows = [
        (_setting(down, row), [at.get((row, column)) for column in levels[across]]) for row in levels[down]
    ]
    return _named(down), columns, rows


def _axis(cells: Sequence[Cell], margin: float) -> Axis:
    ends = [end for cell in cells for end in (cell.estimate, cell.low, cell.high) if end is not None]
    return Axis(ends, margin)


def _named(name: str) -> str:
    return _NAMES.get(name, name.replace("_", " "))


def _setting(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if name == "budget":
        return f"{_FRACTIONS.get(value, plain(value))}×"
    return plain(value)


@dataclass(frozen=True)
class Row:
    """One line of the table of arms: an arm with what it reached, or something to compare it with."""

    name: str
    score: str
    accuracy: str = ""
    loss: str = ""
    late: bool = False
    style: int | None = None
    reference: bool = False


@dataclass(frozen=True)
class Arms:
    """What each arm did, what to hold it against, and the learning curves."""

    rows: list[Row]
    curves: Curves | None
    accuracies: bool
    losses: bool


def arms(evidence: Evidence) -> Arms | None:
    """The table of arms, and their curves."""
    if not evidence.arms:
        return None
    found = evidence.arms
    late = [] if evidence.profile == "smoke" else undertrained(found)
    curves = {name: arm.curve for name, arm in found.items() if arm.curve}
    styles = {name: place % STYLES for place, name in enumerate(curves)}
    rows = [
        Row(
            name,
            _mean(arm.values),
            "–" if arm.accuracy is None else _percent(arm.accuracy),
            "–" if arm.loss is None else _mean(arm.loss),
            name in late,
            styles.get(name),
        )
        for name, arm in found.items()
    ]
    return Arms(
        rows + _references(found),
        Curves(curves, styles) if curves else None,
        any(arm.accuracy is not None for arm in found.values()),
        any(arm.loss is not None for arm in found.values()),
    )


def _references(found: dict[str, Arm]) -> list[Row]:
    """Each baseline and each score of guessing once; whose it is, where the arms do not share it."""
    scores: dict[tuple[str, float], list[str]] = {}
    for name, arm in found.items():
        if arm.baseline is not None:
            scores.setdefault((f"{arm.baseline.name} (baseline)", arm.baseline.score), []).append(name)
        if arm.chance is not None:
            scores.setdefault(("guessing", arm.chance), []).append(name)
    return [
        Row(
            label if len(whose) == len(found) else f"{label}, for {', '.join(whose)}",
            number(score),
            reference=True,
        )
        for (label, score), whose in sorted(scores.items(), key=lambda item: item[0][0] == "guessing")
    ]


def _mean(values: Sequence[Sequence[float]]) -> str:
    return number(fmean(chain.from_iterable(values)))


def _percent(values: Sequence[Sequence[float]]) -> str:
    return f"{fmean(chain.from_iterable(values)):.1f}\N{NO-BREAK SPACE}%"
