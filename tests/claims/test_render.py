"""The card says everything in words, escapes everything, and draws what the numbers say."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surveylab.claims import BADGES, VERDICTS, Claim, Evidence, judge, render_badge, render_html, render_text
from surveylab.claims.render import number, plain

Make = Callable[..., Claim]
Draw = Callable[..., np.ndarray]
MINUS = "\N{MINUS SIGN}"
DATA = {"name": "digits", "sha256": "ab" * 32}
CSS = Path(__file__).parents[2] / "book" / "_static" / "survey.css"


def run(claim: Claim, values: Any, profile: str = "standard") -> Evidence:
    return judge(claim, values, profile=profile, seed=0, data=DATA)


class Page(HTMLParser):
    """Checks nesting, and collects the text, the tags and their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for _, attrs in self.tags if name in (attrs.get("class") or "").split()]


CASES: dict[str, tuple[str, dict[str, Any], Callable[[Draw], Any], str]] = {
    "supported": ("experiment", {}, lambda d: d(5.0), "above the margin of 1 step, and so does the mean"),
    "contradicted": ("experiment", {}, lambda d: d(-5.0), f"below {MINUS}1 step"),
    "negligible": ("experiment", {}, lambda d: d(0.0, 0.1), "inside ±1 step: if there is an effect"),
    "inconclusive": ("experiment", {}, lambda d: d(1.0), "smallest effect this run could have shown is 1.6"),
    "equivalent": ("experiment", {"direction": "equivalent"}, lambda d: d(0.0, 0.1), "no difference that"),
    "different": ("experiment", {"direction": "equivalent"}, lambda d: d(5.0), "outside ±1 step"),
    "no spread": ("experiment", {}, lambda d: np.full((3, 8), 5.0), "All values are equal"),
    "guard": ("experiment", {}, lambda d: d(5.0) * [[0.1], [1], [1]], "the mean of a population does not"),
    "sign": ("experiment", {"statistic": "sign", "margin": 0.2}, lambda d: np.ones((3, 8)), "24 for, 0 even"),
    "holds": (
        "identity",
        {"margin": 1e-5},
        lambda d: np.full(24, 2.4e-7),
        "largest error 2.40×10⁻⁷ ≤ tolerance",
    ),
    "fails": ("identity", {"margin": 1e-5}, lambda d: np.full(24, 0.3), "0.300 > tolerance 10⁻⁵ steps"),
    "ratio": ("measurement", {"margin": 0.05}, lambda d: np.log([1.9, 2.1] * 8), "a factor of ×2.00, ×1.92"),
    "source": ("source", {}, lambda d: None, "Rests on ioffe2015batch : Table 1"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_card_says_it_in_words(case: str, make: Make, draw: Draw) -> None:
    kind, changes, values, words = CASES[case]
    claim = make(kind, **changes)
    evidence = run(claim, values(draw))
    html = render_html(claim, evidence)
    page = Page(html)
    assert words in page.text
    assert claim.says in page.text
    assert " ".join(BADGES[evidence.verdict]) in page.text
    assert ("sl-card" in html) and f"sl-{evidence.verdict}" in html
    assert html == render_html(claim, evidence)
    drawn = kind in ("experiment", "measurement")
    assert (len(page.of("sl-plot")) == 1) is drawn
    if drawn:
        (plot,) = page.of("sl-plot")
        assert plot["role"] == "img"
        assert "margin ±" in (plot["aria-label"] or "")
        assert len(page.of("sl-zero")) == len(page.of("sl-band")) == len(page.of("sl-dot")) == 1
        assert len(page.of("sl-bar")) == (evidence.low is not None)
        assert len(page.of("sl-mean")) == (3 if kind == "experiment" else 0)
    if kind != "source":
        assert claim.why is not None
        assert claim.why in page.text
        assert "digits, sha256 abababababab" in page.text
        assert "profile standard, seed 0" in page.text


def test_the_drawing_is_to_scale(make: Make, draw: Draw) -> None:
    evidence = run(make(), draw(5.0))
    page = Page(render_html(make(), evidence))

    def percent(value: str | None) -> float:
        assert value is not None
        return float(value.rstrip("%"))

    (zero,), (band,), (bar,), (dot,) = (page.of(f"sl-{x}") for x in ("zero", "band", "bar", "dot"))
    origin, left, width = percent(zero["x1"]), percent(band["x"]), percent(band["width"])
    assert left + width / 2 == pytest.approx(origin, abs=0.02)
    scale = width / 2  # per cent of the width for one step, the margin being one step
    assert evidence.low is not None
    assert evidence.high is not None
    assert evidence.estimate is not None
    assert percent(bar["x"]) == pytest.approx(origin + scale * evidence.low, abs=0.1)
    assert percent(bar["width"]) == pytest.approx(scale * (evidence.high - evidence.low), abs=0.1)
    assert percent(dot["cx"]) == pytest.approx(origin + scale * evidence.estimate, abs=0.1)
    means = [percent(mean["cx"]) for mean in page.of("sl-mean")]
    assert evidence.values is not None
    assert means == pytest.approx([origin + scale * np.mean(row) for row in evidence.values], abs=0.1)
    ticks = [percent(tick["x"]) for tick in page.of("sl-tick")]
    assert 2 <= len(ticks) <= 6
    for attrs in [*page.of("sl-mean"), dot]:
        assert 0 < percent(attrs["cx"]) < 100


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 0.7, 1.0, 3.0, 1e3, 1e12])
@pytest.mark.parametrize("mean", [-40.0, -1.0, 0.0, 0.3, 7.0])
def test_ticks_suit_every_range(scale: float, mean: float, make: Make, draw: Draw) -> None:
    claim = make(margin=scale)
    page = Page(render_html(claim, run(claim, scale * draw(mean))))
    assert 2 <= len(page.of("sl-tick")) <= 6


HOSTILE = '<script>alert("1")</script> & \'"'


def test_every_text_is_escaped(make: Make, draw: Draw) -> None:
    texts = ("says", "effect", "unit", "why", "scope", "note")
    claim = make(**dict.fromkeys(texts, HOSTILE), cite=(HOSTILE,), place=HOSTILE)
    html = render_html(
        claim, judge(claim, draw(5.0), profile="standard", seed=0, data=DATA | {"name": HOSTILE})
    )
    page = Page(html)
    assert "<script" not in html
    assert all(tag != "script" for tag, _ in page.tags)
    assert "alert('1')" not in html
    assert page.text.count('<script>alert("1")</script>') >= len(texts) + 2
    source = dataclasses.replace(make("source"), says=HOSTILE, cite=(HOSTILE,), place=HOSTILE)
    assert "<script" not in render_html(source, run(source, None))
    identity = make("identity", unit=HOSTILE)
    assert "<script" not in render_html(identity, run(identity, np.zeros(20)))


def test_no_colour_is_written_into_a_card(make: Make, draw: Draw) -> None:
    for kind, changes, values, _ in CASES.values():
        claim = make(kind, **changes)
        html = render_html(claim, run(claim, values(draw)))
        assert "style=" not in html
        assert set(re.findall(r'(?:fill|stroke)="([^"]*)"', html)) <= {"currentColor"}


def test_smoke_says_that_nothing_is_decided(make: Make) -> None:
    for values in ([[1.0]], [[1.0, 2.0]]):
        page = Page(render_html(make(), run(make(), values, "smoke")))
        assert "too short to decide anything" in page.text
        assert "… not decided" in page.text


def test_badges_and_text(make: Make, draw: Draw) -> None:
    assert set(VERDICTS) | {"mixed", "missing"} == set(BADGES)
    assert len({symbol for symbol, _ in BADGES.values()}) == len(BADGES)
    assert len({word for _, word in BADGES.values()}) == len(BADGES)
    for verdict, (symbol, word) in BADGES.items():
        assert Page(render_badge(verdict)).text == f"{symbol} {word}"
        assert f".sl-{verdict} {{" in CSS.read_text(encoding="utf-8")
    assert render_text(run(make(), draw(5.0))) == "bn-fast: supported"


def test_the_style_sheet_knows_every_class_and_keeps_text_readable(make: Make, draw: Draw) -> None:
    css = CSS.read_text(encoding="utf-8").split("end of claim cards and badges")[0]
    used = set()
    for kind, changes, values, _ in CASES.values():
        claim = make(kind, **changes)
        used |= set(re.findall(r"\bsl-[a-z-]+\b", render_html(claim, run(claim, values(draw)))))
    styled = set(re.findall(r"\.(sl-[a-z-]+)", css))
    assert used - styled <= {"sl-words"}  # marks the wording for a refresh, has no look of its own
    sizes = [float(size) for size in re.findall(r"font-size:\s*([\d.]+)px", css)]
    assert min(sizes) >= 11


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize(("theme", "paper"), [(":root", "#ffffff"), ('html[data-theme="dark"]', "#14181e")])
def test_verdicts_have_contrast_in_both_themes(theme: str, paper: str) -> None:
    block = CSS.read_text(encoding="utf-8").split(theme + " {", 1)[1].split("}", 1)[0]
    for verdict in BADGES:
        found = re.search(rf"--sl-{verdict}: (#[0-9a-f]{{6}})", block)
        assert found, verdict
        # A badge is tinted with a tenth of its own colour.
        tone, base = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in (found[1], paper))
        tint = "#" + "".join(f"{round(x):02x}" for x in 0.1 * tone + 0.9 * base)
        bright, dark = sorted((luminance(found[1]), luminance(tint)), reverse=True)
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


@pytest.mark.parametrize(
    ("margin", "unit", "said"),
    [
        (1.0, "percentage points", "1\u00a0percentage point,"),
        (2.0, "percentage points", "2\u00a0percentage points,"),
        (1.0, "shares of replicates", "1\u00a0shares of replicates,"),
    ],
)
def test_one_is_said_of_one_thing(margin: float, unit: str, said: str, make: Make, draw: Draw) -> None:
    claim = make(margin=margin, unit=unit)
    assert f"margin of {said}" in render_html(claim, run(claim, draw(50.0)))
