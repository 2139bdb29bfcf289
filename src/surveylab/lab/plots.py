"""One look for every figure: spread over replicates always visible, colours that the colour-blind tell apart.

Figures are opaque white in light and dark pages alike, since their colours carry meaning. An arm keeps its
colour and its marker throughout a chapter, and is named beside its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

#: Okabe and Ito's palette without its yellow, which is too light for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#555555")
#: A colour for each normalisation, the same in every chapter.
NORMS = dict(zip(("BN", "LN", "IN", "GN"), COLOURS, strict=False))
#: A marker for each of the colours, so that none is told by its colour alone.
MARKERS = ("o", "s", "^", "D", "v", "P")
#: The colour of text and axes.
INK = "#222222"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def style() -> None:
    """Set the book's style; called when the lab is imported."""
    sns.set_theme(
        context="notebook",
        style="ticks",
        palette=COLOURS,
        rc={
            "figure.figsize": (7.0, 3.6),
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "savefig.bbox": "tight",
            "axes.facecolor": "white",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.titlelocation": "left",
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.labelsize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],
        },
    )


def panels(columns: int = 1, *, width: float = 7.0, height: float = 3.4, **kwargs: Any) -> tuple[Figure, Any]:
    """A figure with ``columns`` panels side by side, laid out so that nothing overlaps."""
    return plt.subplots(1, columns, figsize=(width, height), layout="constrained", **kwargs)


def curves(
    axes: Axes,
    x: npt.ArrayLike,
    arms: Mapping[str, npt.ArrayLike],
    *,
    colours: Mapping[str, str] | None = None,
    label_ends: bool = False,
) -> None:
    """Draw each arm's median over replicates with the middle 80 % shaded; missing values (NaN) are left out.

    Args:
        axes: Where.
        x: The common abscissa, (T,).
        arms: Values by name, each (R, T): one row a replicate.
        colours: An arm's colour; by default in order.
        label_ends: Name each line at its right end instead of in a legend.
    """
    x = np.asarray(x)
    for place, (name, values) in enumerate(arms.items()):
        rows = np.asarray(values, dtype=float)
        colour = (colours or {}).get(name, COLOURS[place % len(COLOURS)])
        low, middle, high = _quantiles(rows)
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        marker = MARKERS[place % len(MARKERS)] if len(x) <= 16 else None
        axes.plot(x, middle, color=colour, marker=marker, label=name)
        if label_ends:
            there = np.flatnonzero(np.isfinite(middle))
            end = there[-1] if len(there) else -1
            axes.annotate(
                name,
                (x[end], middle[end]),
                xytext=(6, 0),
                textcoords="offset points",
                color=colour,
                va="center",
            )
    if not label_ends:
        axes.legend()


def dots(
    axes: Axes,
    arms: Mapping[str, npt.ArrayLike],
    *,
    colours: Mapping[str, str] | None = None,
    margin: float | None = None,
    zero: bool = False,
) -> None:
    """One row an arm: every replicate a dot, the mean a bar; optionally the claim's margin as a band.

    Missing values (NaN) are left out.

    Args:
        axes: Where; values run along x.
        arms: Values by name, one a replicate.
        colours: An arm's colour; by default in order.
        margin: Shade ±margin, within which an effect would not matter.
        zero: Draw a line at zero.
    """
    names = list(arms)
    for place, name in enumerate(names):
        values = np.asarray(arms[name], dtype=float).ravel()
        colour = (colours or {}).get(name, COLOURS[place % len(COLOURS)])
        # By replicate and not at random, so that the picture is the same each time.
        jitter = np.linspace(-0.16, 0.16, len(values))
        axes.scatter(values, place + jitter, s=16, color=colour, alpha=0.6, linewidths=0, zorder=3)
        present = values[np.isfinite(values)]
        mean = present.mean() if len(present) else np.nan
        axes.plot([mean] * 2, [place - 0.32, place + 0.32], color=INK, linewidth=2.4, zorder=4)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    if margin is not None:
        axes.axvspan(-margin, margin, color="#888888", alpha=0.15, linewidth=0)
    if zero or margin is not None:
        axes.axvline(0, color=INK, linewidth=0.8)


def sweep_table(
    sweeps: Mapping[str, Mapping[str, Any]],
    *,
    score: str = "validation accuracy (%)",
    digits: int = 0,
    width: float = 8.4,
) -> Figure:
    """Every arm, a row, at every rate, a column: its mean score, and how many populations chose the rate.

    The upper number is the mean score over all populations after the first part of the budget, the
    lower that of those which tried the rate for all of it, with a star where it is within two standard errors
    of the row's best. Shades compare within a row. Outlined rates were chosen, by as many populations
    as the corner says.

    Args:
        sweeps: As `surveylab.lab.sweeps` returns them.
        score: What the scores are.
        digits: Of a score, after the point.
        width: Of the figure, in inches.
    """
    rates = sorted({rate for sweep in sweeps.values() for rate in sweep["grid"]["rate"]})
    shades = np.full((len(sweeps), len(rates)), np.nan)
    texts = np.full(shades.shape, "", dtype=object)
    chosen = [[rates.index(point["rate"]) for point in sweep["best"]] for sweep in sweeps.values()]
    for row, sweep in enumerate(sweeps.values()):
        first = _scores_by_rate(sweep["stages"][0])
        last = _scores_by_rate(sweep["stages"][-1]) if len(sweep["stages"]) > 1 else {}
        means = {rate: float(np.mean(scores)) for rate, scores in first.items()}
        low, high = min(means.values()), max(means.values())
        within = _near_best(last or first)
        for rate, mean in means.items():
            column = rates.index(rate)
            shades[row, column] = (mean - low) / max(high - low, 1e-12)
            lower = f"{np.mean(last[rate]):.{digits}f}" if rate in last else ""
            texts[row, column] = f"{mean:.{digits}f}\n{lower}{'*' if rate in within else ''}"
    figure, axes = plt.subplots(figsize=(width, 0.8 + 0.42 * len(sweeps)), layout="constrained")
    sns.heatmap(
        shades,
        ax=axes,
        cmap="cividis",
        annot=texts,
        fmt="",
        annot_kws={"size": 7.5},
        cbar=False,
        xticklabels=[f"2{str(round(np.log2(rate))).translate(_SUPERSCRIPTS)}" for rate in rates],
        yticklabels=list(sweeps),
        linewidths=0.5,
    )
    for row, columns in enumerate(chosen):
        for column in sorted(set(columns)):
            box = Rectangle((column, row), 1, 1, fill=False, edgecolor=COLOURS[1], linewidth=2.5)
            axes.add_patch(box)
            axes.annotate(
                f"{columns.count(column)}",
                (column + 0.97, row + 0.04),
                ha="right",
                va="top",
                size=7,
                color=COLOURS[1],
                weight="bold",
            )
    axes.set(xlabel="learning rate", title=f"{score.capitalize()}, by learning rate")
    axes.tick_params(length=0)
    return figure


def _scores_by_rate(stage: Mapping[str, Any]) -> dict[float, list[float]]:
    """All populations' scores of a stage by rate; of what else was tuned, the best counts."""
    found: dict[float, list[float]] = {}
    for points, scores in zip(stage["points"], stage["scores"], strict=True):
        best: dict[float, list[float]] = {}
        for point, row in zip(points, scores, strict=True):
            rate = point["rate"]
            if rate not in best or np.mean(row) > np.mean(best[rate]):
                best[rate] = row
        for rate, row in best.items():
            found.setdefault(rate, []).extend(row)
    return found


def _near_best(scores: Mapping[float, list[float]]) -> set[float]:
    """The rates whose mean is within two standard errors of the difference from the best."""
    mean = {rate: float(np.mean(values)) for rate, values in scores.items()}
    error = {
        rate: float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
        for rate, values in scores.items()
    }
    best = max(mean, key=lambda rate: mean[rate])
    return {rate for rate in mean if mean[best] - mean[rate] <= 2 * np.hypot(error[best], error[rate])}


def influence(maps: Mapping[str, npt.ArrayLike], at: tuple[int, int, int], *, width: float = 8.4) -> Figure:
    """Show on which inputs one output depends: a column for each layer, in it a grid for each example.

    Rows of a grid are channels, its columns positions. The output is marked in every column.

    Args:
        maps: Truth values by layer, each (N, C, S): examples, channels, positions; as
            `surveylab.lab.tasks.influence.influence_on` finds them.
        at: The output's example, channel and position.
        width: Of the figure, in inches.
    """
    grids = {name: np.asarray(values, dtype=bool) for name, values in maps.items()}
    examples, channels, positions = next(iter(grids.values())).shape
    cell = width / (len(grids) * (positions + 1.5) + 2)
    height = examples * (channels + 1) * cell + 1.3
    figure, rows = plt.subplots(
        examples, len(grids), figsize=(width, height), layout="constrained", squeeze=False
    )
    kinds = {"the output": COLOURS[1], "inputs it depends on": COLOURS[0], "all others": "#E4E4E4"}
    for column, (name, depends) in zip(rows.T, grids.items(), strict=True):
        for example, axes in enumerate(column):
            axes.pcolormesh(
                np.where(depends[example], 1, 0),
                cmap=ListedColormap([kinds["all others"], kinds["inputs it depends on"]]),
                vmin=0,
                vmax=1,
                edgecolors="white",
                linewidth=1.2,
            )
            axes.set(aspect="equal", xticks=[], yticks=[], ylim=(channels, 0), xlim=(0, positions))
            sns.despine(ax=axes, left=True, bottom=True)
            if axes in rows[:, 0]:
                axes.set_ylabel(f"example {example + 1}")
        box = Rectangle((at[2], at[1]), 1, 1, facecolor=kinds["the output"], edgecolor=INK, linewidth=1.5)
        column[at[0]].add_patch(box)
        column[0].set_title(f"{name}\n{depends.sum()} of {depends.size}", loc="center")
    rows[-1, 0].set_xlabel("positions →, channels ↓")
    handles = [Patch(facecolor=colour, label=kind) for kind, colour in kinds.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _quantiles(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The 0.1, 0.5 and 0.9 quantiles of each column's finite values, (3, T); NaN where a column has none."""
    found = np.full((3, rows.shape[1]), np.nan)
    some = np.isfinite(rows).any(axis=0)
    finite = np.where(np.isfinite(rows), rows, np.nan)[:, some]
    found[:, some] = np.nanquantile(finite, [0.1, 0.5, 0.9], axis=0)
    return found


style()
