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


def sweep_table(sweeps: Mapping[str, Mapping[str, Any]], *, width: float = 7.6) -> Figure:
    """Mean scores of every arm, a row, at every rate, a column, in per cent; the chosen rate outlined.

    Args:
        sweeps: As `surveylab.lab.sweeps` returns them, all on one grid.
        width: Of the figure, in inches.
    """
    arms = list(sweeps)
    grid = sweeps[arms[0]]["grid"]
    means = np.array([np.mean(sweeps[arm]["scores"], axis=1) for arm in arms])
    figure, axes = plt.subplots(figsize=(width, 0.7 + 0.3 * len(arms)), layout="constrained")
    columns = [f"2{str(round(np.log2(rate))).translate(_SUPERSCRIPTS)}" for rate in grid]
    sns.heatmap(
        100 * means,
        ax=axes,
        cmap="cividis",
        annot=True,
        fmt=".0f",
        annot_kws={"size": 8},
        cbar=False,
        xticklabels=columns,
        yticklabels=arms,
        linewidths=0.5,
    )
    for row, arm in enumerate(arms):
        place = grid.index(sweeps[arm]["rate"])
        axes.add_patch(Rectangle((place, row), 1, 1, fill=False, edgecolor=COLOURS[1], linewidth=2.5))
    axes.set(xlabel="learning rate")
    axes.tick_params(length=0)
    return figure


def influence(maps: Mapping[str, npt.ArrayLike], at: tuple[int, int, int], *, width: float = 8.4) -> Figure:
    """Show on which inputs one output depends: a column for each layer, in it a grid for each example.

    Rows of a grid are channels, its columns positions. The output is marked in every column.

    Args:
        maps: Truth values by layer, each (N, C, S): examples, channels, positions; as
            `surveylab.lab.influence_on` finds them.
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
