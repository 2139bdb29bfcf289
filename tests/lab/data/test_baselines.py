"""Classical baselines: the known scores are what the methods give, and the page shows them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.bench_baselines import DATA, computed

from surveylab import lab
from surveylab.lab.data import baselines
from surveylab.lab.data.corpus import Corpus, Document

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "book/data.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["digits", "photos", "mnist1d"])
def test_the_known_scores_are_computed(name: str) -> None:
    own = [known for known in lab.BASELINES[name] if not known.cite and known.features != "pixels"]
    assert {known.method for known in own} == {"logistic regression", "RBF SVM"}
    for known in own:
        if (name, known.method) != ("mnist1d", "RBF SVM"):  # takes seconds a replicate
            # Other versions of scikit-learn stop elsewhere on the way to the optimum.
            assert computed(name, known) == pytest.approx(known.score, abs=0.4), known


def test_colours_say_more_than_pixels_to_a_support_vector_machine() -> None:
    split = lab.photos().split(lab.make_streams(1000, 2, 1), train=256, validation=100, test=300)
    moments = lab.baseline(split, features=lab.colour_moments)
    assert moments.shape == (2,) and moments.dtype == torch.float64
    assert (moments > lab.baseline(split)).all()
    assert lab.baseline(split, replicas=1, features=lab.colour_moments).tolist() == moments[:1].tolist()


def test_labels_that_say_nothing_leave_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(600, 5, generator=generator), torch.randint(0, 4, (600,), generator=generator)
    split = lab.Dataset.of(x, y).split(lab.make_streams(0, 2, 1), train=200, validation=100, test=300)
    for method in ("logistic regression", "RBF SVM"):
        assert (lab.baseline(split, method) < 0.4).all()  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ n-grams


def transcribed(train: list[bytes], window: bytes, place: int, byte: int, before: int) -> float:
    """Witten and Bell's probability of a byte, by counting in plain loops; windows are T + 1 bytes."""
    if before < 0:
        return 1 / 256
    start = place - before
    mark = max(0, -start)  # how many bytes lie before the window
    context = window[max(start, 0) : place]
    followers = []
    for text in train:
        for i in range(1, len(text)):
            there = text[max(i - before, 0) : i]
            if there == context and max(0, before - i) == mark:
                followers.append(text[i])
    lower = transcribed(train, window, place, byte, before - 1)
    if not followers:
        return lower
    different = len(set(followers))
    return (followers.count(byte) + different * lower) / (len(followers) + different)


def test_the_n_gram_model_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    texts = [bytes(rng.choice(list(b"abc"), 12, p=[0.6, 0.3, 0.1]).tolist()) for _ in range(10)]
    corpus = Corpus.cut("toy", [Document(f"p/{k}", "d", text) for k, text in enumerate(texts)], 11)
    train, test = (corpus.x[:7].numpy(), corpus.y[:7].numpy()), (corpus.x[7:].numpy(), corpus.y[7:].numpy())
    bits = [
        -np.log2(transcribed(texts[:7], text, i, text[i], baselines.ORDER - 1))
        for text in texts[7:]
        for i in range(1, 12)
    ]
    assert baselines._bits(train, test) == pytest.approx(np.mean(bits), rel=1e-12)
    whole = sum(transcribed(texts[:7], texts[8], 6, byte, baselines.ORDER - 1) for byte in range(256))
    assert whole == pytest.approx(1)


def test_an_n_gram_model_knows_what_repeats_and_nothing_of_noise() -> None:
    rng = np.random.default_rng(0)
    alike = [Document(f"p/{k}", "d", b"abcdefgh" * 40) for k in range(40)]
    noise = [Document(f"p/{k}", "d", rng.integers(0, 256, 320, dtype=np.uint8).tobytes()) for k in range(40)]
    bits = []
    for documents in (alike, noise):
        split = Corpus.cut("toy", documents, 15).split(lab.make_streams(0, 1, 1), train=500, test=50)
        bits.append(float(lab.baseline(split, "5-gram")))
    # Nobody predicts noise in less than eight bits a byte; what was memorised in vain costs some more.
    assert bits[0] < 0.3 and 7.99 < bits[1] < 9.5


def test_methods_are_refused_where_they_do_not_serve() -> None:
    split = lab.digits().split(lab.make_streams(0, 1, 1), train=50, test=50)
    with pytest.raises(ValueError, match="one of logistic regression, RBF SVM, 5-gram; got 'knn'"):
        lab.baseline(split, "knn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'5-gram' does not serve digits, which has classes"):
        lab.baseline(split, "5-gram")
    x = torch.randn(30, 2)
    regression = lab.Dataset.of(x, x[:, 0]).split(lab.make_streams(0, 1, 1), train=20, test=10)
    with pytest.raises(ValueError, match="does not serve mine, which has targets of a regression"):
        lab.baseline(regression)


# ------------------------------------------------------------------------------------------ the page


def test_the_page_has_a_section_for_each_with_checksum_and_scores() -> None:
    sections = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", PAGE, re.MULTILINE))
    for name in DATA:
        section = sections[name.capitalize() if name != "mnist1d" and name != "mnist" else name.upper()]
        assert baselines.table(name) in section, name
        assert "Licence" in section and "Fit for" in section and "Unfit for" in section, name
        if name != "english":  # it takes seconds to make; its own test has its checksum
            data = lab.fashion if name == "fashion" else DATA[name]
            if name != "fashion":
                assert data().sha256 in section, name
    assert lab.scenes().sha256 in sections["Scenes"]


def test_the_page_has_the_checksums_of_what_takes_long() -> None:
    for file, name in (("test_texts.py", "english"), ("test_fashion.py", "fashion")):
        text = (Path(__file__).parent / file).read_text(encoding="utf-8")
        sums = re.findall(r"[0-9a-f]{64}", text)
        assert sums and all(found in PAGE for found in sums), name


def test_cited_works_are_in_the_bibliography() -> None:
    bibliography = (ROOT / "book/references.bib").read_text(encoding="utf-8")
    cited = {known.cite for all_known in lab.BASELINES.values() for known in all_known if known.cite}
    assert cited
    for key in cited:
        assert f"{{{key}," in bibliography
