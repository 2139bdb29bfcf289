"""Formulas as MathML, which browsers set by themselves: no script is loaded for them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from math_core import LatexError, LatexToMathML

# A bracket of a given size that carries an index: only in a row of its own does Chromium give it that size.
_BRACKET = re.compile(r"(<m(?:sub|sup|subsup)>)(<mo [^>]*minsize[^>]*>[^<]*</mo>)")
# The signs of U+2032 and its like are raised already.
_PRIME = re.compile(r"<msup>(<mi>[^<]*</mi>)<mo>([′″‴])</mo></msup>")


def mathml(latex: str, *, display: bool) -> str:
    """A formula in MathML Core.

    Args:
        latex: As between dollars. Lines that end with two backslashes are aligned at their `&`; a blank line
            parts lines too, as in Sphinx's own renderer.
        display: Whether it stands on lines of its own.

    Raises:
        ValueError: It is no LaTeX, or has a command that is not known.
    """
    latex = re.sub(r"\n\s*\n", r"\\\\", latex.strip())
    if r"\\" in latex and r"\begin" not in latex:
        lines = "aligned" if "&" in latex else "gathered"
        latex = rf"\begin{{{lines}}}{latex}\end{{{lines}}}"
    try:
        found = _converter().convert_with_local_state(latex, displaystyle=display)
    except LatexError as error:
        raise ValueError(f"the formula {latex!r} cannot be set: {error}") from error
    found = _BRACKET.sub(r"\1<mrow>\2</mrow>", found)
    return _PRIME.sub(r'<mrow>\1<mo lspace="0" rspace="0">\2</mo></mrow>', found)


@cache
def _converter() -> LatexToMathML:
    # The sign for a line over several letters stands beside them in Chromium.
    return LatexToMathML(fancy_error=False, macros={"overline": r"\bar{#1}"})


def setup(app: Any) -> None:
    """Register with Sphinx as the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))


def _inline(translator: Any, node: Any) -> None:
    _add(translator, node, "span", display=False)


def _block(translator: Any, node: Any) -> None:
    _add(translator, node, "div", display=True)


def _add(translator: Any, node: Any, tag: str, *, display: bool) -> None:
    from docutils.nodes import SkipNode
    from sphinx.util import logging
    from sphinx.util.math import get_node_equation_number

    body = translator.body
    body.append(translator.starttag(node, tag, "", CLASS="math notranslate nohighlight"))
    if node.get("number"):
        body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, "Link to this equation")
        body.append("</span>")
    try:
        body.append(mathml(node.astext(), display=display))
    except ValueError as error:
        logging.getLogger(__name__).warning(str(error), location=node)
    body.append(f"</{tag}>" + ("\n" if display else ""))
    raise SkipNode
