"""The verdicts as a reader sees them: one table, from which pages, pictures and style sheets are made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Badge:
    """How one verdict is shown. A verdict is always a sign and a word, never a colour alone.

    Attributes:
        sign: The mark before the word.
        word: The verdict in words.
        light: Its colour on the light page, with a contrast of at least 4.5 as text.
        dark: Its colour on the dark page, likewise.
        answer: Under which heading of the front page a sentence with this verdict stands.
        meaning: What it says, in a sentence; empty for a verdict that no page has to explain.
        opposite: The verdict that says the reverse; empty where there is none.
    """

    sign: str
    word: str
    light: str
    dark: str
    answer: str = ""
    meaning: str = ""
    opposite: str = ""


# The colours are Okabe and Ito's hues, so that the verdicts stay apart for colour-blind readers.
BADGES = {
    "supported": Badge(
        "✓",
        "supported",
        "#00695c",
        "#4cc9ae",
        "Holds",
        "The whole interval lies above the margin, and so does the mean of each population of runs. A claim "
        "of parity: the whole interval lies within the margin.",
        "contradicted",
    ),
    "contradicted": Badge(
        "✗",
        "contradicted",
        "#b03a00",
        "#ff9561",
        "Does not hold",
        "The whole interval lies beyond the margin on the other side: the opposite holds.",
        "supported",
    ),
    "not-seen": Badge(
        "⊘",
        "not seen here",
        "#8a4a2f",
        "#e8a584",
        "Not seen in a small setting",
        "As contradicted, but only a setting smaller than the statement's own speaks: the statement may hold "
        "where it was made.",
    ),
    "negligible": Badge(
        "≈",
        "negligible",
        "#0b5c94",
        "#6fb8ee",
        "Does not hold",
        "The whole interval lies within the margin: if there is an effect, it is too small to matter.",
    ),
    "inconclusive": Badge(
        "?",
        "inconclusive",
        "#7d5a00",
        "#e5b93c",
        "Open",
        "The interval reaches across the margin. The run decides nothing, and the book says how small an "
        "effect it could have shown.",
    ),
    "not-decided": Badge("…", "not decided", "#5b6472", "#a9b3c1", "Open"),
    "cited": Badge(
        "§",
        "cited",
        "#6d4494",
        "#c3a1e8",
        "Known from the literature alone",
        "Only the literature can decide it; the source and the place in it are named.",
    ),
    "mixed": Badge(
        "±",
        "mixed",
        "#a0306f",
        "#f08cc2",
        "Holds in part",
        "A statement was split into several claims, and those decided disagree.",
    ),
    "missing": Badge("○", "not yet examined", "#5b6472", "#a9b3c1"),
}
