"""The card says everything in words, escapes everything, and draws what the numbers say."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surveylab.claims import BADGES, Arm, Change, Claim, Evidence, judge
from surveylab.press.site.cards import render_card
from surveylab.press.site.evidence import shown

Make = Callable[..., Claim]
Draw = Callable[..., np.ndarray]
MINUS = "\N{MINUS SIGN}"
DATA = {"name": "digits", "sha256": "ab" * 32}
CSS = Path(__file__).parents[3] / "book" / "_static" / "survey.css"


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
    "inconclusive": ("experiment", {}, lambda d: d(1.0), "smallest effect this run could have shown is 1.67"),
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
    "ratio": (
        "measurement",
        {"margin": 0.05},
        lambda d: np.log([1.9, 2.1] * 8),
        "a factor of ×2.00 (×1.92 to ×2.08)",
    ),
    "source": ("source", {}, lambda d: None, "Rests on ioffe2015batch : Table 1"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_card_says_it_in_words(case: str, make: Make, draw: Draw) -> None:
    kind, changes, values, words = CASES[case]
    claim = make(kind, **changes)
    evidence = run(claim, values(draw))
    html = render_card(claim, evidence)
    page = Page(html)
    assert words in page.text
    assert claim.says in page.text
    badge = BADGES[evidence.verdict]
    assert f"{badge.sign} {badge.word}" in page.text
    assert ("sl-card" in html) and f"sl-{evidence.verdict}" in html
    assert html == render_card(claim, evidence)
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
        assert "on digits" in page.text and "profile standard, seed 0" in page.text


def test_what_it_rests_on_is_folded_and_can_be_linked_to(make: Make, draw: Draw) -> None:
    html = render_card(make(note="A note."), run(make(), draw(5.0)))
    shown, _, folded = html.partition("<details")
    assert "+4.61" in shown and "What it rests on" not in shown
    for part in ('id="rests-bn-fast"', "A note.", "One step is one step.", "steps saved"):
        assert part in folded and part not in shown


def test_a_claim_that_a_note_names_is_a_link(make: Make, draw: Draw) -> None:
    claim = make(
        note="As bn-slow, not bn-slower <x>.", history=(Change("2026-01-31", "It was 2.", "Copied"),)
    )
    html = render_card(claim, run(claim, draw(5.0)), "../", {"bn-slow": "../a/b.html#claim-bn-slow"})
    assert 'As <a href="../a/b.html#claim-bn-slow"><code>bn-slow</code></a>, not bn-slower &lt;x&gt;.' in html
    assert "2026-01-31: It was 2. Copied." in html


def test_the_drawing_is_to_scale(make: Make, draw: Draw) -> None:
    evidence = run(make(), draw(5.0))
    page = Page(render_card(make(), evidence))

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
    page = Page(render_card(claim, run(claim, scale * draw(mean))))
    assert 2 <= len(page.of("sl-tick")) <= 6


HOSTILE = '<script>alert("1")</script> & \'"'


def test_every_text_is_escaped(make: Make, draw: Draw) -> None:
    texts = ("says", "effect", "unit", "why", "scope", "note")
    claim = make(**dict.fromkeys(texts, HOSTILE), cite=(HOSTILE,), place=HOSTILE)
    html = render_card(
        claim, judge(claim, draw(5.0), profile="standard", seed=0, data=DATA | {"name": HOSTILE})
    )
    page = Page(html)
    assert "<script" not in html
    assert all(tag != "script" for tag, _ in page.tags)
    assert "alert('1')" not in html
    assert page.text.count('<script>alert("1")</script>') >= len(texts) + 2
    source = dataclasses.replace(make("source"), says=HOSTILE, cite=(HOSTILE,), place=HOSTILE)
    assert "<script" not in render_card(source, run(source, None))
    identity = make("identity", unit=HOSTILE)
    assert "<script" not in render_card(identity, run(identity, np.zeros(20)))


def test_no_colour_is_written_into_a_card(make: Make, draw: Draw) -> None:
    for kind, changes, values, _ in CASES.values():
        claim = make(kind, **changes)
        html = render_card(claim, run(claim, values(draw)))
        assert "style=" not in html
        assert not re.search(r'(?:fill|stroke)="', html)


def test_smoke_says_that_nothing_is_decided(make: Make) -> None:
    for values in ([[1.0]], [[1.0, 2.0]]):
        page = Page(render_card(make(), run(make(), values, "smoke")))
        assert "too short to decide anything" in page.text
        assert "… not decided" in page.text


def test_a_card_says_what_overrules_the_interval_and_what_each_arm_reached(make: Make, draw: Draw) -> None:
    claim = make("experiment")
    curve = [[step, 1.0 - step / 100] for step in range(10, 90, 10)]  # still falling
    arms = {
        "fits": Arm(
            draw(5.0).tolist(), loss=np.full((3, 8), 0.1).tolist(), accuracy=np.full((3, 8), 97.5).tolist()
        ),
        "does not": Arm(draw(5.0).tolist(), curve=curve, accuracy=np.full((3, 8), 40.0).tolist()),
    }
    evidence = judge(claim, draw(5.0), profile="standard", seed=0, data=DATA, arms=arms)
    text = Page(render_card(claim, evidence)).text
    assert "Undertrained: does not had not finished learning." in text
    assert "97.5 % of its training data right, training loss 0.100" in text
    assert "40.0 % of its training data right; it had not finished learning" in text
    assert "firm" not in text


@pytest.mark.parametrize(("mean", "said"), [(5.0, "firm"), (2.1, "not firm: again in")])
def test_a_card_says_whether_its_verdict_is_firm(make: Make, draw: Draw, mean: float, said: str) -> None:
    claim = make("experiment")
    evidence = judge(claim, draw(mean), profile="standard", seed=0, data=DATA)
    assert evidence.verdict == "supported"
    assert said in Page(render_card(claim, evidence)).text


def test_contradicted_by_a_small_setting_alone_is_not_seen_here(make: Make, draw: Draw) -> None:
    scaled, own = make("experiment", setting="scaled"), make("experiment", setting="own")
    evidence = judge(scaled, draw(-5.0), profile="standard", seed=0, data=DATA)
    assert evidence.verdict == "contradicted"
    text = Page(render_card(scaled, shown(scaled, evidence))).text
    assert "⊘ not seen here" in text and "Only a setting smaller than the statement's own speaks." in text
    assert "✗ contradicted" in Page(render_card(own, shown(own, evidence))).text


def test_the_style_sheet_knows_every_class_and_keeps_text_readable(make: Make, draw: Draw) -> None:
    css = CSS.read_text(encoding="utf-8").split("end of badges and claim cards")[0]
    used = set()
    for kind, changes, values, _ in CASES.values():
        claim = make(kind, **changes)
        used |= set(re.findall(r"\bsl-[a-z-]+\b", render_card(claim, run(claim, values(draw)))))
    styled = set(re.findall(r"\.(sl-[a-z-]+)", css)) | {f"sl-{name}" for name in BADGES}
    assert used - styled <= {"sl-reason", "sl-run", "sl-firmness"}  # which look like the text around them
    sizes = [float(size) for size in re.findall(r"font-size:\s*([\d.]+)px", css)]
    assert min(sizes) >= 11
