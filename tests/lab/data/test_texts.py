"""Text: the same for everybody, cut into windows, trained and tested on different modules."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from surveylab import lab
from surveylab.lab.data import packages
from surveylab.lab.data.corpus import Corpus, Document

english = import_module("surveylab.lab.data.english")
SHA = {
    "pycode": "d4cc0e84baa64c58f81fd6ca7575aa36b789ca26f6965ef2f4a188638217f641",
    "english": "6506b28a4b4f38588f82030b714f29db36a63235cda777f2c5d385c2b40cc608",
}


def toy_corpus(modules: int = 40, length: int = 4) -> Corpus:
    """Two packages, each module full of a letter of its own."""
    documents = [
        Document(f"{package}/{k}.py", package, bytes([start + k]) * (50 + 3 * k))
        for package, start in (("one", 0), ("two", 100))
        for k in range(modules)
    ]
    return Corpus.cut("toy", documents, length)


# ------------------------------------------------------------------------------------------ windows


def test_windows_hold_each_byte_and_the_one_after_it() -> None:
    corpus = Corpus.cut("toy", [Document("a/x.py", "a", b"abcdefgh"), Document("a/y.py", "b", b"ABCD")], 3)
    assert [bytes(row.tolist()) for row in corpus.x] == [b"abc", b"efg", b"ABC"]
    assert [bytes(row.tolist()) for row in corpus.y] == [b"bcd", b"fgh", b"BCD"]
    assert corpus.x.dtype == corpus.y.dtype == torch.int64
    assert corpus.text(1) == "efgh"
    assert corpus.domain.tolist() == [0, 0, 1] and corpus.domains == ("a", "b")
    assert corpus.module.tolist() == [0, 0, 1] and corpus.modules == ("a/x.py", "a/y.py")
    longer = corpus.windows(7)
    assert longer.x.shape == (1, 7) and longer.source == corpus.source  # the same text
    other = Corpus.cut("toy", [Document("a/x.py", "a", b"abcdefg"), Document("a/y.py", "b", b"hABCD")], 3)
    assert other.sha256 != corpus.sha256
    with pytest.raises(ValueError, match="length must be at least 1; got 0"):
        corpus.windows(0)
    with pytest.raises(ValueError, match="no document of toy has 9 bytes"):
        corpus.windows(8)


def test_what_is_trained_on_is_from_other_modules_than_what_is_tested_on() -> None:
    corpus = toy_corpus()
    many, few = (corpus.split(lab.make_streams(0, r), train=600, validation=60, test=60) for r in (4, 2))
    assert torch.equal(many.train.view(3, 4, -1)[:, :2].flatten(0, 1), few.train)
    for r in range(12):
        sides = [set(corpus.module[index[r]].tolist()) for index in (many.train, many.validation, many.test)]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
        for index in (many.train, many.validation, many.test):
            assert len(index[r].unique()) == index.shape[1]
            assert corpus.domain[index[r]].unique().tolist() == [0, 1]  # both packages on each side
    assert len({tuple(row.tolist()) for row in many.test}) == 12
    x, y = many.get(many.train[:, :5])
    assert x.shape == y.shape == (12, 5, 4)
    assert torch.equal(x, y)  # of one letter a module


def test_shares_are_about_80_10_and_10_per_cent() -> None:
    corpus = toy_corpus()
    shares = []
    for stream in lab.make_streams(0, 8):
        side = corpus._sides(stream.numpy("split"))[corpus.module.numpy()]
        shares.append(np.bincount(side, minlength=3) / len(side))
    np.testing.assert_allclose(np.mean(shares, axis=0), [0.1, 0.1, 0.8], atol=0.02)


def test_too_many_windows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"toy has \d+ windows in a replicate's modules for test; test asks"):
        toy_corpus().split(lab.make_streams(0, 1), train=10, test=1000)


def test_two_texts_make_one_of_two_domains_and_a_module_stays_on_one_side() -> None:
    first = toy_corpus().with_domain("code")
    both = first + toy_corpus(modules=20).with_domain("prose")
    assert both.domains == ("code", "prose") and both.name == "toy-and-toy"
    assert both.modules == first.modules and len(both.x) > len(first.x)
    split = both.split(lab.make_streams(0, 2), train=300, test=60)
    for r in range(6):
        taught, asked = (set(both.module[index[r]].tolist()) for index in (split.train, split.test))
        assert not taught & asked
        assert both.domain[split.test[r]].unique().tolist() == [0, 1]


# ------------------------------------------------------------------------------------------ docstrings

SOURCE = '''
"""The first sentence of a module is about what is in it.

A title
-------
"""

def f(x):
    r"""Return the value of the ``function`` at a given :class:`~package.Point` [1]_.

    Parameters
    ----------
    x : array_like, shape (n, 3), the default of which is what it is.
        The points at which *all* values are to be computed by us.

    It follows that :math:`\\alpha` is a formula and no English at all.

    >>> f(1)  # This is a doctest and it must not be taken for prose.

    Too short a line.

    .. note:: This is a directive and so it is markup and not a sentence.
    """
    class Inner:
        """The first sentence of a module is about what is in it."""
'''


def test_prose_is_what_a_docstring_says_in_sentences() -> None:
    found = [p for doc in english.docstrings(SOURCE.encode()) for p in english.prose(doc)]
    assert found == [
        "The first sentence of a module is about what is in it.",
        "Return the value of the function at a given package.Point.",
        "The points at which all values are to be computed by us.",
        "The first sentence of a module is about what is in it.",
    ]


def test_docstrings_come_in_the_order_of_the_source() -> None:
    source = b'"""m"""\nif 1:\n  def a():\n    "a"\n    def b(): "b"\nclass C:\n  "c"\n  async def d(): "d"'
    assert list(english.docstrings(source)) == ["m", "a", "b", "c", "d"]


# ------------------------------------------------------------------------------------------ packages


@pytest.fixture
def tiny_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four packages of three modules each in place of those that are installed."""
    for package in packages.PACKAGES:
        for name in ("core/a.py", "core/b.py", "core/tests/c.py", "version.py"):
            path = tmp_path / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            doc = (
                f'"""This sentence stands in the module {name[:6]} of {package}, where it is the only one."""'
            )
            path.write_bytes(f"{doc}\r\nx = 1\r\n".encode())
    monkeypatch.setattr(packages, "_root", lambda package: tmp_path / package)
    return tmp_path


@pytest.mark.usefixtures("tiny_packages")
def test_modules_are_those_that_are_the_same_everywhere() -> None:
    found = dict(packages.modules("scipy"))
    assert list(found) == ["scipy/core/a.py", "scipy/core/b.py"]
    assert found["scipy/core/a.py"].endswith(b"x = 1\n")  # lines end alike


@pytest.mark.usefixtures("tiny_packages", "offline")
def test_english_is_read_once_and_repeats_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    english._documents.cache_clear()
    try:
        corpus = lab.english(16)
        assert len(list(cache.iterdir())) == 1
        assert corpus.domains == ("sympy", "networkx", "scikit-learn", "SciPy")
        text = b"".join(d.text for d in corpus.documents).decode()
        assert text.splitlines() == [
            f"This sentence stands in the module core/{m} of {p}, where it is the only one."
            for p in packages.PACKAGES
            for m in "ab"
        ]
        english._documents.cache_clear()
        monkeypatch.setattr(english, "_make", lambda: pytest.fail("it is in the cache"))
        assert lab.english(16).sha256 == corpus.sha256
    finally:
        english._documents.cache_clear()


def test_another_version_is_said_and_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(packages.PACKAGES, "networkx", ("networkx", "0.1"))
    with pytest.warns(UserWarning, match=r"pycode is another text .* networkx \S+ \(0\.1\)"):
        assert "0.1" not in packages.versions("pycode")


def test_an_absent_package_is_named() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(packages.PACKAGES, "absent_package", ("Absent", "1.2"))
        with pytest.raises(ImportError, match=r"Absent, .*: pip install absent==1\.2"):
            list(packages.modules("absent_package"))


def test_the_versions_are_those_that_are_pinned() -> None:
    lines = (Path(__file__).parents[3] / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().split("==") for line in lines)
    assert {name: pins[name.lower()] for name, _ in packages.PACKAGES.values()} == dict(
        packages.PACKAGES.values()
    )


@pytest.mark.usefixtures("offline")
def test_pycode() -> None:
    corpus = lab.pycode()
    assert corpus.sha256 == SHA["pycode"] and corpus.name == "pycode"
    assert corpus.x.shape == (92062, 64) and corpus.domains == ("sympy", "networkx", "scikit-learn", "SciPy")
    assert (corpus.domain.bincount() > 22_000).all()
    assert "import " in "".join(corpus.text(i) for i in range(50))
    assert not any("/tests/" in module for module in corpus.modules)
    split = corpus.split(lab.make_streams(0, 2), train=20_000, validation=1000, test=2000)
    assert split.train.shape == (6, 20_000)


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
def test_english() -> None:
    corpus = lab.english()
    assert corpus.sha256 == SHA["english"] and corpus.x.shape == (45390, 64)
    text = b"".join(document.text for document in corpus.documents).decode()
    letters = sum(c.isalpha() or c in " \n" for c in text) / len(text)
    assert letters > 0.95 and ">>>" not in text and "``" not in text and ":math:" not in text
    assert corpus.source != lab.pycode().source
