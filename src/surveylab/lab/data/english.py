"""``english``: the sentences in the docstrings of four Python packages, without code and markup."""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np

from surveylab.lab.data.cache import kept
from surveylab.lab.data.corpus import Corpus, Document
from surveylab.lab.data.packages import PACKAGES, modules, versions

# Markup and what is left of it: roles, links, code, bold and italic text; references to the literature go.
MARKUP = (
    (re.compile(r":(?:\w+:)?\w+:`~?([^`<]*?)(?:\s*<[^`>]*>)?`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?"), r"\1"),
    (re.compile(r"``([^`]*)``"), r"\1"),
    (re.compile(r"`([^`]*)`_{0,2}"), r"\1"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"\1"),
    (re.compile(r"(?<!\w)\*([^*\s][^*]*)\*(?!\w)"), r"\1"),
    (re.compile(r"\s*\[\w+\]_"), ""),
    (re.compile(r"\s+"), " "),
)
HEADING = re.compile(r"^.*\n\s*[-=~^]{3,}\s*$", re.MULTILINE)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
NOT_PROSE = re.compile(r"[\\=_{}<>|^]|::|\s[.,;:]")


def english(length: int = 64) -> Corpus:
    """English about mathematics, graphs and data: docstrings' sentences in windows of ``length`` bytes.

    From all modules of sympy, networkx, scikit-learn and SciPy, without signatures, doctests, formulas and
    markup; a paragraph that occurs again is left out. The domain of a window is its package. Reading the
    modules takes some seconds the first time; the result is kept in the user's cache.
    """
    return Corpus.cut("english", _documents(), length)


@cache
def _documents() -> tuple[Document, ...]:
    # The text depends on the packages' versions and on the rules in this file.
    rules = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    arrays = kept(f"english-{versions('english')}-{rules}", _make)
    texts = np.split(arrays["text"], arrays["ends"][:-1])
    names = dict(PACKAGES)
    return tuple(
        Document(module, names[module.partition("/")[0]][0], text.tobytes())
        for module, text in zip(arrays["module"].tolist(), texts, strict=True)
    )


def _make() -> dict[str, np.ndarray]:
    seen: set[str] = set()
    found: dict[str, bytes] = {}
    for package in PACKAGES:
        for module, source in modules(package):
            paragraphs = [p for doc in docstrings(source) for p in prose(doc) if p not in seen]
            seen.update(paragraphs)
            if paragraphs:
                found[module] = "\n".join([*dict.fromkeys(paragraphs), ""]).encode()
    ends = np.cumsum([len(text) for text in found.values()])
    text = np.frombuffer(b"".join(found.values()), np.uint8)
    return {"module": np.array(list(found)), "ends": ends, "text": text}


def docstrings(source: bytes) -> Iterator[str]:
    """The docstrings of a module, its classes and its functions, in the order in which they stand."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's escapes in strings
        todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield text
        # Definitions stand in statements only: expressions need not be searched.
        todo += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)][::-1]


def prose(doc: str) -> Iterator[str]:
    """The paragraphs of a docstring that are sentences, each on one line and without markup."""
    lines = HEADING.sub("", doc).splitlines()
    # A paragraph ends where a line is blank or the indentation changes: so the name and type of a parameter
    # part from the description under it.
    for (depth, _), block in groupby(lines, lambda line: (len(line) - len(line.lstrip()), not line.strip())):
        text = " ".join(line.strip() for line in block).strip()
        # Most blocks are too short for a sentence: without their eight words the rest need not be looked at.
        if text.count(" ") < 7 or text.startswith((">>>", "..", "|", "+-")) or depth > 8:
            continue
        for pattern, left in MARKUP:
            text = pattern.sub(left, text)
        letters = sum(c.isalpha() or c == " " for c in text)
        if (
            text[:1].isupper()
            and text[-1] in ".!?:"
            and text.count(" ") >= 7
            and letters >= 0.92 * len(text)
            and not NOT_PROSE.search(text)
        ):
            yield text
