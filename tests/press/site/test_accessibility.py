"""What is repaired for those who hear a page or read it on a phone: each repair does its own and no more."""

from __future__ import annotations

import pytest

from surveylab.press.site.accessibility import accessible


@pytest.mark.parametrize(
    ("page", "repaired"),
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
        (
            '<figure class="a" id="f">\n<img alt="Dots." src="../_images/f.webp" />\n<figcaption>',
            '<figure class="a" id="f">\n<a class="sl-picture" href="../_images/f.webp">'
            '<img alt="Dots." src="../_images/f.webp" /></a>\n<figcaption>',
        ),
        ('<p><img alt="A sign." src="sign.svg" /></p>', '<p><img alt="A sign." src="sign.svg" /></p>'),
    ],
)
def test_repairs(page: str, repaired: str) -> None:
    assert accessible(page) == repaired
