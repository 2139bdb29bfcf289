"""A verdict in words, numbers and colours: what a notebook shows, and the table that pages are made from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from example_claims import run

from surveylab.claims import BADGES, NOT_SEEN, VERDICTS, Claim, render_markdown, render_text
from surveylab.claims.render import factor, number, plain, with_unit

Make = Callable[..., Claim]
Draw = Callable[..., np.ndarray]
MINUS = "\N{MINUS SIGN}"


def test_the_table_of_verdicts_is_whole(make: Make, draw: Draw) -> None:
    assert set(VERDICTS) | {NOT_SEEN, "mixed", "missing"} == set(BADGES)
    for shown in ("sign", "word"):
        assert len({getattr(badge, shown) for badge in BADGES.values()}) == len(BADGES)
    for name, badge in BADGES.items():
        assert not badge.opposite or BADGES[badge.opposite].opposite == name
    assert render_text(run(make(), draw(5.0))) == "bn-fast: supported"


@pytest.mark.parametrize(
    ("kind", "changes", "values", "said"),
    [
        ("experiment", {}, lambda d: d(5.0), r"+4.61 steps, 99 % interval +4.14 to +5.07; margin 1."),
        (
            "experiment",
            {"unit": "octaves"},
            lambda d: [[2.9, 3.1] * 4] * 3,
            "+3.00 octaves (×8.00), 99 % interval +2.94 to +3.06; margin 1.",
        ),
        (
            "identity",
            {"margin": 1e-5},
            lambda d: [2.4e-7] * 24,
            "Largest error 2.40×10⁻⁷ ≤ tolerance 10⁻⁵ steps.",
        ),
        ("identity", {"margin": 1e-5}, lambda d: [0.3] * 24, "Largest error 0.300 > tolerance 10⁻⁵ steps."),
        ("source", {}, lambda d: None, "Rests on the literature."),
    ],
)
def test_three_paragraphs_say_it(
    kind: str, changes: dict[str, Any], values: Callable[[Draw], Any], said: str, make: Make, draw: Draw
) -> None:
    claim = make(kind, **changes)
    evidence = run(claim, values(draw))
    badge = BADGES[evidence.verdict]
    place = " (Table 1)" if kind == "source" else ""
    first, second, third = render_markdown(claim, evidence).split("\n\n")
    assert first == f"**{badge.sign} {badge.word}** `bn-fast`" and second == claim.says + place
    assert third.replace("\u00a0", " ") == said + "\n"


@pytest.mark.parametrize(
    ("unit", "value", "said"),
    [("octaves", 1.0, "×2.00"), ("decades", -1.0, "×0.100"), ("log", 0.0, "×1.00"), ("points", 1.0, "")],
)
def test_a_logarithm_is_said_as_the_ratio(unit: str, value: float, said: str, make: Make, draw: Draw) -> None:
    evidence = run(make(unit=unit), draw(5.0))
    assert factor(evidence, value) == said
    assert factor(evidence, 1e9) == ""


def test_a_measurement_is_a_logarithm_whatever_its_unit(make: Make) -> None:
    evidence = run(make("measurement", unit="doublings"), np.log([2.0] * 15))
    assert factor(evidence, np.log(2.0)) == "×2.00"


@pytest.mark.parametrize(
    ("margin", "unit", "said"),
    [
        (1.0, "percentage points", "1\u00a0percentage point"),
        (2.0, "percentage points", "2\u00a0percentage points"),
        (1.0, "shares of replicates", "1\u00a0shares of replicates"),
        (1.0, "s", "1\u00a0s"),
    ],
)
def test_one_is_said_of_one_thing(margin: float, unit: str, said: str) -> None:
    assert with_unit(plain(margin), unit) == said


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize(("theme", "paper"), [("light", "#ffffff"), ("dark", "#14181e")])
def test_verdicts_have_contrast_in_both_themes(theme: str, paper: str) -> None:
    for verdict, badge in BADGES.items():
        colour = getattr(badge, theme)
        # A badge is tinted with a tenth of its own colour.
        tone, base = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in (colour, paper))
        tint = "#" + "".join(f"{round(x):02x}" for x in 0.1 * tone + 0.9 * base)
        bright, dark = sorted((luminance(colour), luminance(tint)), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, verdict


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (5.136, "5.14"),
        (-0.0312, f"{MINUS}0.0312"),
        (0.05, "0.0500"),
        (99.96, "100"),
        (0.9996, "1.00"),
        (1234.0, "1230"),
        (2.4e-7, "2.40×10⁻⁷"),
        (-2.4e-7, f"{MINUS}2.40×10⁻⁷"),
        (123456.0, "1.23×10⁵"),
    ],
)
def test_numbers_to_three_digits(value: float, text: str) -> None:
    assert number(value) == text
    if value > 0:
        assert number(value, sign=True) == "+" + text


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2"), (0.25, "0.25"), (1e-5, "10⁻⁵"), (2.5e-7, "2.5×10⁻⁷"), (-1.5, f"{MINUS}1.5"), (1e15, "10¹⁵")],
)
def test_numbers_as_they_were_written(value: float, text: str) -> None:
    assert plain(value) == text


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = "{'scipy', 'pybtex', 'nbformat', 'torch', 'matplotlib', 'pandas'}"
    code = f"import sys, surveylab.claims; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
