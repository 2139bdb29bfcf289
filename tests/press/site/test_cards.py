"""The card says everything in words, escapes everything, and draws what the numbers say."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_claims import everything

from surveylab.claims import BADGES, Arm, Baseline, Change, Claim, Evidence, Published, judge
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
    "fails": (
        "identity",
        {"margin": 1e-5},
        lambda d: np.full(24, 0.3),
        "0.300 steps where the claim allows 10⁻⁵ at most Measured: ",
    ),
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
    assert "Arm Score Training data right Training loss" in text
    assert re.search(r" fits 4\.61 97\.5.% 0\.100 ", text)
    assert re.search(r" does not had not finished learning 4\.61 40\.0.% – ", text)
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


def rows(html: str, table: str) -> list[list[str]]:
    """The cells of a card's table, as text."""
    body = html.partition(f'<table class="{table}">')[2].partition("<tfoot")[0].partition("</table>")[0]
    split = [re.split(r"(?=<t[hd])", row)[1:] for row in body.split("<tr")[1:]]
    return [[Page(f"<p>{re.sub(r'</?t[^>]*>', '', cell)}</p>").text for cell in row] for row in split]


def test_a_card_shows_the_arms_beside_baseline_and_chance(make: Make, draw: Draw) -> None:
    html = render_card(*everything(make, draw))
    assert rows(html, "sl-arms") == [
        ["Arm", "Score", "Training data right", "Training loss"],
        ["Group Norm", "80.6", "98.5 %", "0.0496"],
        ["Batch Norm", "75.6", "98.5 %", "0.0496"],
        ["support vector machine on pixels (baseline)", "64.0", "", ""],
        ["guessing", "10.0", "", ""],
    ]
    page = Page(html)
    (curves,) = page.of("sl-curves")
    assert "logarithmic scale over steps 0 to 1000" in (curves["aria-label"] or "")
    assert "Group Norm from 2.32 to 0.0206" in (curves["aria-label"] or "")
    lines = [attrs for tag, attrs in page.tags if tag == "polyline"]
    for line, name in zip(lines, ("0", "1"), strict=True):
        points = [tuple(map(float, point.split(","))) for point in (line["points"] or "").split()]
        assert f"sl-curve-{name}" in (line["class"] or "")
        assert (len(points), points[0][0], points[-1][0]) == (21, 0, 1000)
        assert [y for _, y in points] == sorted(y for _, y in points)  # a loss that falls goes down


def test_an_arm_without_the_others_baseline_is_named(make: Make, draw: Draw) -> None:
    fits = {"values": draw(5.0).tolist(), "accuracy": np.full((3, 8), 99.0).tolist()}
    arms = {"a": Arm(**fits, baseline=Baseline("nearest centroid", 3.0)), "b": Arm(**fits)}
    html = render_card(make(), judge(make(), draw(5.0), profile="standard", seed=0, data=DATA, arms=arms))
    assert rows(html, "sl-arms")[-1] == ["nearest centroid (baseline), for a", "3.00", ""]
    assert "sl-curves" not in html


def test_a_card_shows_the_effect_over_the_budget(make: Make, draw: Draw) -> None:
    claim, evidence = everything(make, draw)
    html = render_card(claim, dataclasses.replace(evidence, map=None))
    table = rows(html, "sl-settings")
    assert [row[0] for row in table] == ["Budget", "¼×", "½×", "1× (the run)", "2×", "4×"]
    assert evidence.guard is not None
    estimates = [cell.estimate for cell in evidence.guard]
    shown = [float(row[1].split()[0]) for row in table[1:]]
    assert shown == pytest.approx([*estimates[:2], evidence.estimate, *estimates[2:]], abs=0.006)


@pytest.mark.parametrize(
    ("run", "guard", "said"),
    [
        (5.0, {0.5: 4.0, 2.0: 3.0}, "keeps its sign, and 57 % of its size is left at 2× the budget"),
        (5.0, {0.5: 4.0, 2.0: 5.0, 4.0: 2.0}, "keeps its sign, but only 35 % of its size is left at 4×"),
        (5.0, {0.5: -4.0, 2.0: 5.0}, "does not keep its sign at ½× the budget"),
        (0.0, {0.5: 0.1, 2.0: -0.1}, "stays inside ±1 step at each of them"),
        (0.0, {0.5: 0.1, 2.0: 3.0}, "Inside ±1 step in the run, it is not at 2× the budget"),
    ],
)
def test_a_card_says_what_other_budgets_leave_of_the_effect(
    run: float, guard: dict[float, float], said: str, make: Make, draw: Draw
) -> None:
    others = {budget: draw(mean, 0.1)[0] for budget, mean in guard.items()}
    evidence = judge(make(), draw(run, 0.1), profile="standard", seed=0, data=DATA, guard=others)
    text = Page(render_card(make(), evidence)).text
    share = re.search(r"(\d+) % of", said)
    assert re.sub(r"\d+ % of", "% of", said) in re.sub(r"\d+ % of", "% of", text)
    if share:
        budget = max(guard)
        assert evidence.guard is not None and evidence.estimate is not None
        found = next(cell.estimate for cell in evidence.guard if cell.at["budget"] == budget)
        assert f"{100 * found / evidence.estimate:.0f} % of its size is left" in text


def test_a_scope_map_over_two_settings_is_a_grid(make: Make, draw: Draw) -> None:
    claim, evidence = everything(make, draw)
    html = render_card(claim, dataclasses.replace(evidence, guard=None))
    table = rows(html, "sl-settings")
    assert table[0] == ["Budget", "mnist1d", "fashion"]
    assert [row[0] for row in table[1:]] == ["½×", "1×", "2×"]
    assert evidence.map is not None
    for row, (left, right) in zip(
        table[1:], zip(evidence.map[:3], evidence.map[3:], strict=True), strict=True
    ):
        for text, cell in zip(row[1:], (left, right), strict=True):
            found = [float(x) for x in re.findall(r"[-+]?\d+\.\d+", text.replace(MINUS, "-"))]
            assert found == pytest.approx([cell.estimate, cell.low, cell.high], rel=0.01)
    assert "from 8 replicates each, with width 16." in Page(html).text
    strips = Page(html).of("sl-strip")
    assert len(strips) == 6 and all(strip["aria-hidden"] == "true" for strip in strips)


def test_a_scope_map_over_other_numbers_of_settings_is_a_list(make: Make, draw: Draw) -> None:
    def listed(*settings: dict[str, Any]) -> list[str]:
        cells = [(at, draw(2.0)[0]) for at in settings]
        evidence = judge(make(), draw(5.0), profile="standard", seed=0, data=DATA, scope_map=cells)
        return [row[0] for row in rows(render_card(make(), evidence), "sl-settings")]

    assert listed({"depth": 50}, {"depth": 2}) == ["Depth", "2", "50"]
    three = [
        {"data": d, "budget": b, "wide": w} for d in ("x", "a") for b in (2, 0.25) for w in (True, False)
    ]
    assert listed(*three)[:3] == ["Data set, budget, wide", "x, ¼×, no", "x, ¼×, yes"]
    star = [{"width": 16, "depth": d} for d in (1, 2, 4)] + [
        {"width": w, "depth": 1} for w in (2, 4, 8, 32, 64)
    ]
    assert listed(*star)[0] == "Width, depth"
    assert len(listed(*star)) == 9


def test_a_card_shows_the_sources_own_figure_on_its_axis(make: Make, draw: Draw) -> None:
    claim, evidence = everything(make, draw)
    html = render_card(claim, evidence, named={"ioffe2015batch": "Ioffe (2015)"})
    face = Page(str(html).partition("<details")[0] + "</article>")
    assert "the source: +8.00 points, Ioffe (2015) : Table 1" in face.text
    (plot,) = face.of("sl-plot")
    assert "the source’s figure +8.00" in (plot["aria-label"] or "")
    (mark,) = [attrs for tag, attrs in face.tags if tag == "svg" and attrs.get("overflow")]
    (zero,), (band,) = face.of("sl-zero"), face.of("sl-band")
    percent = [float((x or "").rstrip("%")) for x in (mark["x"], zero["x1"], band["width"])]
    assert (percent[0] - percent[1]) / (percent[2] / 2) == pytest.approx(8.0, abs=0.05)


def test_a_card_says_reach_standing_clusters_and_pilot(make: Make, draw: Draw) -> None:
    text = Page(render_card(*everything(make, draw))).text
    assert "supported in small convolutional networks on mnist1d and fashion: Group Norm beats" in text
    assert "firm revised, edition 2" in text
    assert "It was copied. Result before: supported, +5.1 points." in text
    assert "The 24 values come from 4 clusters (style 0, style 1, style 2, style 3)." in text
    assert "4 replicates on seed 1001 gave +4.80 points, standard deviation 1.10" in text
    plain = Page(render_card(make(), run(make(), draw(5.0)))).text
    assert "firm registered" in plain and "Registered: unchanged since before its first result." in plain
    assert "Revised after a result was known, see below. Edition 2." in text and "Edition" not in plain


def test_without_evidence_of_it_nothing_of_it_is_shown(make: Make, draw: Draw) -> None:
    html = render_card(make(), run(make(), draw(5.0)))
    for name in (
        "sl-more",
        "sl-arms",
        "sl-settings",
        "sl-curves",
        "sl-source",
        "sl-reach",
        "Shared",
        "Pilot",
    ):
        assert name not in html


def test_what_evidence_names_is_escaped(make: Make, draw: Draw) -> None:
    claim = make(published=Published(1.0, HOSTILE, HOSTILE), reach=HOSTILE)
    arms = {HOSTILE: Arm(draw(5.0).tolist(), accuracy=np.full((3, 8), 99.0).tolist())}
    cells = [({HOSTILE: HOSTILE}, draw(2.0)[0])]
    clusters = [[HOSTILE, "b"] * 4] * 3
    evidence = judge(
        claim, draw(5.0), profile="standard", seed=0, data=None, arms=arms, scope_map=cells, clusters=clusters
    )
    html = render_card(claim, evidence)
    assert "<script" not in html and Page(html).text.count("<script>") >= 6


def test_a_reader_s_margin_is_offered_where_a_margin_decides(make: Make, draw: Draw) -> None:
    evidence = run(make(), draw(5.0))
    own = Page(render_card(make(setting="scaled"), evidence)).tags[0][1]
    *ends, direction = (own["data-bounds"] or "").split()
    means = [float(np.mean(row)) for row in draw(5.0)]
    expected = [evidence.low, evidence.high, min(means), max(means)]
    assert direction == "greater" and [float(end) for end in ends] == pytest.approx(expected, rel=1e-6)
    said = json.loads(own["data-own"] or "")
    assert (said["against"], said["margin"], said["unit"].strip()) == ("not-seen", 1.0, "steps")
    assert said["badges"]["not-seen"] == ["⊘", "not seen here"]
    for kind, values in (("identity", np.full(24, 2.0)), ("source", None)):
        assert "data-bounds" not in render_card(make(kind), run(make(kind), values))
    late = {"late": Arm(draw(5.0).tolist(), accuracy=np.full((3, 8), 40.0).tolist())}
    evidence = judge(make(), draw(5.0), profile="standard", seed=0, data=None, arms=late)
    assert "data-bounds" not in render_card(make(), evidence)


def test_the_style_sheet_knows_every_class_and_keeps_text_readable(make: Make, draw: Draw) -> None:
    css = CSS.read_text(encoding="utf-8").split("end of badges and claim cards")[0]
    used = set()
    for kind, changes, values, _ in CASES.values():
        claim = make(kind, **changes)
        used |= set(re.findall(r"\bsl-[a-z-]+\b", render_card(claim, run(claim, values(draw)))))
    used |= set(re.findall(r"\bsl-[a-z-]+\b", render_card(*everything(make, draw))))
    styled = set(re.findall(r"\.(sl-[a-z-]+)", css)) | {f"sl-{name}" for name in BADGES}
    assert used - styled <= {"sl-reason", "sl-run", "sl-hidden"}  # as the text around, or unseen
    sizes = [float(size) for size in re.findall(r"font-size:\s*([\d.]+)px", css)]
    assert min(sizes) >= 11
