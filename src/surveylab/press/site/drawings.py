"""What a card draws: values on one axis, and learning curves.

Horizontal positions are percentages, so that a drawing fits any width while its text keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from surveylab.claims import Claim, Evidence
from surveylab.claims.intervals import estimate
from surveylab.claims.render import number, percent, plain, with_unit

#: So many lines of a drawing can be told apart, by colour and dashes (`book/_static/survey.css`).
STYLES = 8
#: From this ratio of largest to smallest loss on, curves are drawn on a logarithmic scale.
_WIDE = 20.0


class Axis:
    """A horizontal axis that holds some values, zero, and the margin to either side."""

    def __init__(self, values: Iterable[float], margin: float) -> None:
        held = [*values, 0.0, margin, -margin]
        room = 0.08 * (max(held) - min(held))
        self.left, self.right = min(held) - room, max(held) + room

    def at(self, value: float) -> str:
        """Where a value stands, in per cent of the width."""
        return f"{100 * (value - self.left) / (self.right - self.left):.2f}%"

    def span(self, low: float, high: float) -> str:
        """How wide the way between two values is, likewise."""
        return f"{100 * (high - low) / (self.right - self.left):.2f}%"

    def ticks(self, most: int = 6) -> list[float]:
        """At most so many round numbers, far enough from the ends for their labels."""
        room = 0.05 * (self.right - self.left)
        return round_numbers(self.left + room, self.right - room, most)


def round_numbers(low: float, high: float, most: int) -> list[float]:
    """At most so many multiples of 1, 2 or 5 times a power of ten between two numbers."""
    power = math.floor(math.log10(high - low)) - 1
    while True:
        for base in (1.0, 2.0, 5.0):
            step = float(f"{base}e{power}")
            first, last = math.ceil(low / step), math.floor(high / step)
            if last - first < most:
                return [float(f"{i * step:.10g}") for i in range(first, last + 1)]
        power += 1


def population_means(evidence: Evidence) -> list[float]:
    """The mean of each population of an experiment, or what its statistic has in place of a mean.

    None for other kinds.
    """
    if evidence.kind != "experiment" or evidence.values is None:
        return []
    return [estimate(np.asarray(row), evidence.statistic or "mean") for row in evidence.values]


class Plot(Axis):
    """The interval against the margin, the population means, and the source's own figure."""

    def __init__(self, claim: Claim, evidence: Evidence) -> None:
        assert evidence.estimate is not None and evidence.margin is not None
        centre, margin = evidence.estimate, evidence.margin
        self.means = population_means(evidence)
        low = centre if evidence.low is None else evidence.low
        high = centre if evidence.high is None else evidence.high
        self.published = claim.published.value if claim.published else None
        also = [] if self.published is None else [self.published]
        super().__init__([low, high, *self.means, *also], margin)
        said = [f"Estimate {number(centre, sign=True)}"]
        if evidence.low is not None:
            said.append(
                f"{percent(evidence.level)} interval {number(low, sign=True)} to {number(high, sign=True)}"
            )
        said.append(f"margin ±{with_unit(plain(margin), evidence.unit)}")
        if self.means:
            said.append("population means " + ", ".join(number(mean, sign=True) for mean in self.means))
        if self.published is not None:
            said.append(f"the source’s figure {number(self.published, sign=True)}")
        self.label = ", ".join(said)

    @staticmethod
    def drawn(evidence: Evidence) -> bool:
        """Whether there is an effect to draw."""
        return evidence.margin is not None and evidence.kind != "identity"


@dataclass(frozen=True)
class Line:
    """One learning curve: whose it is, and its points in a box of 1000 × 100."""

    name: str
    style: int
    points: str


class Curves:
    """Learning curves in one frame: loss over steps, on a logarithmic scale where they span a wide range.

    Args:
        curves: Pairs (step, loss) by the name of the arm.
        styles: Which of the `STYLES` each arm is drawn in.
    """

    def __init__(self, curves: Mapping[str, Sequence[Sequence[float]]], styles: Mapping[str, int]) -> None:
        steps = [step for step, _ in chain.from_iterable(curves.values())]
        losses = [loss for _, loss in chain.from_iterable(curves.values())]
        self.first, self.last = min(steps), max(steps)
        self.logarithmic = min(losses) > 0 and max(losses) >= _WIDE * min(losses)
        low, high = self._scale(min(losses)), self._scale(max(losses))
        room = 0.05 * (high - low) or 1.0
        self._low, self._high = low - room, high + room
        self.lines = [Line(name, styles[name], self._points(curve)) for name, curve in curves.items()]
        scale = " on a logarithmic scale" if self.logarithmic else ""
        ends = "; ".join(
            f"{name} from {number(curve[0][1])} to {number(curve[-1][1])}" for name, curve in curves.items()
        )
        self.label = (
            f"Training loss{scale} over steps {plain(self.first)} to {plain(self.last)}, as means over the "
            f"replicates: {ends}"
        )

    def _scale(self, loss: float) -> float:
        return math.log10(loss) if self.logarithmic else loss

    def height(self, loss: float) -> float:
        """Where a loss stands, from 0 at the top to 100 at the bottom."""
        return 100 * (self._high - self._scale(loss)) / (self._high - self._low)

    def _points(self, curve: Sequence[Sequence[float]]) -> str:
        width = self.last - self.first or 1.0
        return " ".join(
            f"{1000 * (step - self.first) / width:.1f},{self.height(loss):.1f}" for step, loss in curve
        )

    @property
    def ticks(self) -> list[float]:
        """At most four round losses."""
        if not self.logarithmic:
            return round_numbers(self._low, self._high, 4)
        powers = range(math.floor(self._low), math.floor(self._high) + 1)
        for bases in ((1,), (1, 2, 5)):
            found = [float(f"{base}e{power}") for power in powers for base in bases]
            found = [loss for loss in found if self._low <= math.log10(loss) <= self._high]
            if len(found) > 1:
                break
        return found[:: math.ceil(len(found) / 4)]
