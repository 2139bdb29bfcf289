"""What all generated pages share: badges, links to cards, HTML inside Markdown."""

from __future__ import annotations

from html import escape

from surveylab.claims import BADGES, Claim


def card_link(claim: Claim) -> str:
    """Where a claim's evidence is shown, seen from a page at the top of the book."""
    edition = "full/" if claim.profile == "full" else ""
    return f"{edition}{claim.chapter}.html#claim-{claim.id}"


def raw_html(lines: list[str]) -> str:
    """Lines of HTML as a block of MyST Markdown."""
    # Blank lines would end an HTML block in Markdown; in a directive they may stand.
    return "```{raw} html\n" + "\n".join(lines) + "\n```\n"


def linked_badge(verdict: str, href: str, about: str) -> str:
    """A verdict as a badge that leads somewhere, with a text for whoever points at it."""
    symbol, word = BADGES[verdict]
    return (
        f'<a class="sl-badge sl-{verdict}" href="{escape(href)}" title="{escape(about)}">'
        f'<span class="sl-mark" aria-hidden="true">{symbol}</span> {word}</a>'
    )


def unexamined() -> str:
    """What stands in place of a badge where there is no evidence yet."""
    words = "not yet examined"
    return f'<span class="sl-open" title="{words}">○<span class="sl-hidden"> {words}</span></span>'
