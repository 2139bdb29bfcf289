"""``pycode``: source of four Python packages, byte by byte."""

from __future__ import annotations

import hashlib
from functools import cache

from surveylab.lab.data.corpus import Corpus, Document
from surveylab.lab.data.packages import PACKAGES, modules, versions

# Of each package so much, in modules that are not longer than this: the longest are tables.
BYTES = 1_500_000
LONGEST = 64_000


def pycode(length: int = 64) -> Corpus:
    """Python source of sympy, networkx, scikit-learn and SciPy: 6 MB in windows of ``length`` bytes.

    The domain of a window is its package. Docstrings are in it, hence what `english` has of the same modules.
    """
    return Corpus.cut("pycode", _documents(), length)


@cache
def _documents() -> tuple[Document, ...]:
    versions("pycode")
    found = []
    for package, (name, _) in PACKAGES.items():
        sources = {module: text for module, text in modules(package) if len(text) <= LONGEST}
        # Drawn by a hash of the name: a sample of the whole package, and the same one each time.
        drawn = sorted(sources, key=lambda module: hashlib.sha256(module.encode()).digest())
        size, kept = 0, []
        for module in drawn:
            if size + len(sources[module]) <= BYTES:
                size += len(sources[module])
                kept.append(module)
        found += [Document(module, name, sources[module]) for module in sorted(kept)]
    return tuple(found)
