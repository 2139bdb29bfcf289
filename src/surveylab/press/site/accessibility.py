"""Fix what theme and Sphinx leave unsaid, or too small, for those who hear a page or read it on a phone."""

from __future__ import annotations

import re

_ICON = re.compile(r'<(i|span) class="(fa[srb]? [^"]*|fa-(?:solid|regular|brands) [^"]*)"')
_SIGNATURE = re.compile(r'<dt class="sig sig-object.*?</dt>', re.DOTALL)
_FIGURE = re.compile(r'(<figure [^>]*>\n)(<img [^>]*src="([^"]+)"[^>]*/>)')
# MyST-NB writes a paragraph into each summary, which may hold phrases only.
_SUMMARY = re.compile(r'<p class="((?:collapsed|expanded) admonition-title)">(.*?)</p>')
_SAID = {
    # The corner of a table with heads on both sides is no head.
    '<th class="head"><p></p></th>': "<td></td>",
    # The arrow that opens a part of the contents has no words.
    '<summary><span class="toctree-toggle"': '<summary aria-label="Pages below"><span class="toctree-toggle"',
    # A list holds list items. (This role of a reference is no longer one.)
    'role="doc-biblioentry"': 'role="listitem"',
    # Everything on a page lies in a region that can be named and skipped.
    'id="pst-primary-sidebar"': 'id="pst-primary-sidebar" role="complementary" aria-label="The book"',
}


def accessible(page: str) -> str:
    """A page of the built site, fixed."""
    # An icon says nothing that the words beside it do not.
    page = _ICON.sub(r'<\1 aria-hidden="true" class="\2"', page)
    # Parameters on lines of their own are no definitions.
    page = _SIGNATURE.sub(lambda signature: _without_list(signature[0]), page)
    # A figure leads to its picture: in a column as narrow as a phone nobody can read its labels.
    page = _FIGURE.sub(r'\1<a class="sl-picture" href="\3">\2</a>', page)
    page = _SUMMARY.sub(r'<span class="\1">\2</span>', page)
    for found, better in _SAID.items():
        page = page.replace(found, better)
    return page


def _without_list(signature: str) -> str:
    signature = signature.replace("<dl>", '<span class="sl-parameters">').replace("</dl>", "</span>")
    return signature.replace("<dd>", "<span>").replace("</dd>", "</span>")
