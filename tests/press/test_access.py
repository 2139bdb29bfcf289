"""What is mended for those who hear a page: each repair does its own and leaves the rest as it was."""

from __future__ import annotations

import pytest

from surveylab.press.access import accessible


@pytest.mark.parametrize(
    ("page", "mended"),
    [
        ('<i class="fas fa-x"></i>', '<i aria-hidden="true" class="fas fa-x"></i>'),
        ('<span class="fa-solid fa-x"></span>', '<span aria-hidden="true" class="fa-solid fa-x"></span>'),
        ('<i class="fast">fa-x</i>', '<i class="fast">fa-x</i>'),
        (
            '<details><summary><span class="toctree-toggle"></span></summary>',
            '<details><summary aria-label="Pages below"><span class="toctree-toggle"></span></summary>',
        ),
        ('<div class="citation" role="doc-biblioentry">', '<div class="citation" role="listitem">'),
        (
            '<dt class="sig sig-object py">f(<dl>\n<dd>a,</dd>\n</dl>)</dt><dd><dl><dd>text</dd></dl></dd>',
            '<dt class="sig sig-object py">f(<span class="sl-parameters">\n<span>a,</span>\n</span>)</dt>'
            "<dd><dl><dd>text</dd></dl></dd>",
        ),
    ],
)
def test_repairs(page: str, mended: str) -> None:
    assert accessible(page) == mended
