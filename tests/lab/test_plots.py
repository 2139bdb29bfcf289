"""Figures draw what they are given, all of it and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from surveylab.lab import plots

X = np.array([1.0, 2.0, 4.0])
ROWS = np.arange(33.0).reshape(11, 3) ** 1.5


@pytest.fixture
def axes() -> Iterator[Axes]:
    figure, axes = plots.panels()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would stand in the published page
        yield axes
        figure.canvas.draw()
    plt.close(figure)


def along(line: Line2D) -> list[float]:
    return list(np.asarray(line.get_xdata(), dtype=float))


def up(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)


def band(axes: Axes, place: int = 0) -> np.ndarray:
    """The corners of a shaded band."""
    return np.asarray(axes.collections[place].get_paths()[0].vertices)


def test_curves(axes: Axes) -> None:
    plots.curves(axes, X, {"one": ROWS, "two": torch.tensor(ROWS + 100)})
    one, two = axes.lines
    assert along(one) == X.tolist()
    assert up(one).tolist() == np.median(ROWS, axis=0).tolist()
    assert up(two).tolist() == np.median(ROWS + 100, axis=0).tolist()
    corners = {(round(x, 6), round(y, 6)) for x, y in band(axes)}
    for k, x in enumerate(X):
        assert {(x, round(float(np.quantile(ROWS[:, k], q)), 6)) for q in (0.1, 0.9)} <= corners
    legend = axes.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["one", "two"]
    assert [to_hex(line.get_color()).upper() for line in axes.lines] == list(plots.COLOURS[:2])
    assert one.get_marker() != two.get_marker()  # colour is never the only difference


def test_curves_named_at_their_ends(axes: Axes) -> None:
    rows = ROWS.copy()
    rows[:, 2] = np.nan
    plots.curves(axes, X, {"one": ROWS, "two": rows}, label_ends=True, colours={"two": "#123456"})
    assert axes.get_legend() is None
    one, two = axes.texts
    assert (one.get_text(), *one.xy) == ("one", 4.0, np.median(ROWS[:, 2]))  # type: ignore[attr-defined]
    assert (two.get_text(), *two.xy) == ("two", 2.0, np.median(ROWS[:, 1]))  # type: ignore[attr-defined]
    assert to_hex(two.get_color()) == axes.lines[1].get_color() == "#123456"


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_curves_leave_missing_values_out(axes: Axes, missing: float) -> None:
    rows = ROWS.copy()
    rows[:4, 0], rows[:, 1] = missing, missing
    plots.curves(axes, X, {"one": rows})
    found = up(axes.lines[0])
    assert found[0] == np.median(ROWS[4:, 0]) and found[2] == np.median(ROWS[:, 2])
    assert np.isnan(found[1])
    np.testing.assert_array_equal(rows[:4, 0], missing)  # the data itself is left alone


def test_curves_with_nothing_there(axes: Axes) -> None:
    plots.curves(axes, X, {"one": np.full((5, 3), np.nan)})
    assert np.isnan(up(axes.lines[0])).all()


def dots_of(axes: Axes) -> list[np.ndarray]:
    found = [c.get_offsets() for c in axes.collections if isinstance(c, PathCollection)]
    return [np.ma.getdata(offsets) for offsets in found]


def test_dots(axes: Axes) -> None:
    arms: dict[str, npt.ArrayLike] = {"one": torch.tensor([[3.0, 1.0], [2.0, 6.0]]), "two": [5.0]}
    plots.dots(axes, arms, margin=0.5)
    one, two = dots_of(axes)
    assert one[:, 0].tolist() == [3, 1, 2, 6] and two[:, 0].tolist() == [5]
    assert np.abs(one[:, 1]).max() < 0.5 and len(set(one[:, 1])) == 4  # side by side, in row 0
    assert abs(two[0, 1] - 1) < 0.5
    assert [along(line) for line in axes.lines] == [[3, 3], [5, 5], [0, 0]]  # two means, and zero
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
    assert axes.get_ylim() == (1.5, -0.5)  # the first on top
    (shade,) = axes.patches
    low, high = shade.get_extents().transformed(axes.transData.inverted()).intervalx
    assert (low, high) == pytest.approx((-0.5, 0.5))


def test_dots_leave_missing_values_out(axes: Axes) -> None:
    plots.dots(axes, {"one": [1.0, np.nan, 5.0], "none": [np.nan] * 3})
    one, _ = dots_of(axes)
    assert one[:, 0][np.isfinite(one[:, 0])].tolist() == [1, 5]
    assert along(axes.lines[0]) == [3, 3]
    assert np.isnan(along(axes.lines[1])).all()
    assert not axes.patches and len(axes.lines) == 2  # neither band nor zero unless asked for
    plots.dots(axes, {"one": [1.0]}, zero=True)
    assert along(axes.lines[-1]) == [0, 0]


def search(first: list[list[float]], last: dict[float, list[float]], best: list[float]) -> dict[str, object]:
    """The record of a search over three rates by two populations, alike in all but what they chose."""
    grid = [0.25, 0.5, 1.0]
    stages = [
        {"share": 0.25, "points": [[{"rate": rate} for rate in grid]] * 2, "scores": [first] * 2},
        {
            "share": 1.0,
            "points": [[{"rate": rate} for rate in last]] * 2,
            "scores": [list(last.values())] * 2,
        },
    ]
    return {"grid": {"rate": grid}, "stages": stages, "best": [{"rate": rate} for rate in best]}


def test_sweep_table() -> None:
    one = search([[10, 30], [80, 100], [50, 50]], {0.5: [91, 93], 1.0: [90, 94]}, [0.5, 1.0])
    two = search([[90, 90], [40, 60], [0, 0]], {0.25: [95, 95.2], 0.5: [60, 60.2]}, [0.25, 0.25])
    figure = plots.sweep_table({"one": one, "two": two})
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    # Both stages; a star for the best, and for what is within two standard errors of it.
    assert texts[:6] == ["20\n", "90\n92*", "50\n92*", "90\n95*", "50\n60", "0\n"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2⁻²", "2⁻¹", "2⁰"]
    outlined = [p.get_xy() for p in axes.patches if isinstance(p, Rectangle)]
    assert outlined == [(1, 0), (2, 0), (0, 1)]  # (column, row)
    assert texts[6:] == ["1", "1", "2"]  # so many populations chose it
    plt.close(figure)


def test_sweep_table_of_other_scores_and_grids() -> None:
    one = search([[-1.0, -1.0], [-0.5, -0.5], [-2.0, -2.0]], {0.5: [-0.25, -0.25]}, [0.5, 0.5])
    two = {"grid": {"rate": [1.0, 2.0, 4.0]}, "best": [{"rate": 2.0}]}
    points = [[{"rate": rate} for rate in (1.0, 2.0, 4.0)]]
    two["stages"] = [{"share": 1.0, "points": points, "scores": [[[-3.0], [-1.0], [-2.0]]]}]
    figure = plots.sweep_table({"one": one, "two": two}, score="minus the loss", digits=2)
    (axes,) = figure.axes
    assert axes.get_title(loc=plt.rcParams["axes.titlelocation"]) == "Minus the loss, by learning rate"
    texts = [text.get_text() for text in axes.texts]
    assert "-0.50\n-0.25*" in texts and "-1.00\n*" in texts and "-3.00\n" in texts
    assert len(axes.get_xticklabels()) == 5
    plt.close(figure)


def test_panels() -> None:
    figure, (left, right) = plots.panels(2, width=8, height=3, width_ratios=[2, 3])
    assert figure.get_size_inches().tolist() == [8, 3]
    figure.canvas.draw()
    assert right.get_position().width > left.get_position().width
    assert to_hex(figure.get_facecolor()) == "#ffffff"
    plt.close(figure)


def test_colours_are_told_apart_from_each_other_and_from_white() -> None:
    def luminance(colour: str) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    assert len(set(plots.COLOURS)) == len(plots.COLOURS) == len(set(plots.MARKERS))
    assert all(1.05 / (luminance(colour) + 0.05) > 2.2 for colour in plots.COLOURS)


def test_influence() -> None:
    one, two = np.zeros((2, 3, 4), dtype=bool), np.zeros((2, 3, 4), dtype=bool)
    one[:, 1] = True
    two[1, :, 2:] = True
    figure = plots.influence({"one": torch.tensor(one), "two": two}, (1, 1, 2))
    figure.canvas.draw()
    grids = np.array(figure.axes).reshape(2, 2)  # an example a row, a layer a column
    for column, (name, depends) in enumerate({"one": one, "two": two}.items()):
        assert grids[0, column].get_title() == f"{name}\n{depends.sum()} of 24"
        for example in (0, 1):
            axes = grids[example, column]
            assert np.asarray(axes.collections[0].get_array()).tolist() == depends[example].tolist()
            assert axes.get_ylim() == (3, 0)  # the first channel on top
            marked = [patch.get_xy() for patch in axes.patches if isinstance(patch, Rectangle)]
            assert marked == [(2, 1)] * (example == 1)  # (position, channel), in the output's example
    assert [axes.get_ylabel() for axes in grids[:, 0]] == ["example 1", "example 2"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "the output",
        "inputs it depends on",
        "all others",
    ]
    plt.close(figure)
