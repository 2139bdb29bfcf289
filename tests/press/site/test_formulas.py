"""Formulas as browsers read them."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from fontTools.ttLib import TTFont

from surveylab.press.site.formulas import mathml

ROOT = Path(__file__).parents[3]


def test_a_formula_stands_in_its_line_or_on_its_own() -> None:
    assert mathml("x_1", display=False) == "<math><msub><mi>x</mi><mn>1</mn></msub></math>"
    assert mathml("x", display=True) == '<math display="block"><mi>x</mi></math>'


@pytest.mark.parametrize(
    ("latex", "rows", "columns"),
    [(r"a &= b \\ c &= d", 2, 2), ("a = b\n\nc = d", 2, 1), (r"\begin{aligned} a &= b \end{aligned}", 1, 2)],
)
def test_lines_stand_below_each_other(latex: str, rows: int, columns: int) -> None:
    found = mathml(latex, display=True)
    assert (found.count("<mtr"), found.count("<mtd")) == (rows, rows * columns)


def test_a_bracket_with_an_index_keeps_its_size() -> None:
    assert re.search(
        r"<msup><mrow><mo [^>]*minsize[^>]*>\)</mo></mrow>", mathml(r"\bigl( x \bigr)^2", display=True)
    )


def test_a_prime_is_raised_once() -> None:
    assert "<msup>" not in mathml("x' + y''", display=False)
    assert "<msup>" in mathml("x^2", display=False)


@pytest.mark.parametrize("latex", [r"\nosuchcommand x", r"\frac{1", "a_b_c"])
def test_what_is_no_formula_is_named(latex: str) -> None:
    with pytest.raises(ValueError, match=f"^the formula {re.escape(repr(latex))} cannot be set: "):
        mathml(latex, display=False)


def test_the_font_has_all_signs_of_the_chapters() -> None:
    there = TTFont(ROOT / "book/_static/math.woff").getBestCmap()
    used: set[str] = set()
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                text = re.sub(r"`[^`]*`", "", cell.source)
                for latex in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", text, re.DOTALL):
                    used |= set(re.sub(r"<[^>]+>", "", mathml("".join(latex), display=False)))
    used -= set(re.findall(r"\s", "".join(used)))
    assert len(used) > 50 and [sign for sign in sorted(used) if ord(sign) not in there] == []
