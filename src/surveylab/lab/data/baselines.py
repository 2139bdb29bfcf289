"""What classical methods reach: a network that is not better has not learnt, or the task is not for it.

`baseline` fits one on a replicate's own split; `BASELINES` has the scores that are known, ours and published
ones, as the page on the data shows them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from surveylab.lab.data.dataset import Split

Method = Literal["logistic regression", "RBF SVM", "5-gram"]
METHODS: tuple[str, ...] = get_args(Method)
# The C among which a replicate's validation examples choose, and the one for a replicate without any.
STRENGTHS = {"logistic regression": (0.01, 0.1, 1.0, 10.0), "RBF SVM": (1.0, 10.0, 100.0, 1000.0)}
DEFAULT = {"logistic regression": 1.0, "RBF SVM": 10.0}
ORDER = 5


@dataclass(frozen=True)
class Baseline:
    """A known score.

    Attributes:
        method: What reached it.
        score: Accuracy in per cent; for text bits a byte.
        train: The number of examples it was trained on.
        test: The number it was tested on, replicates apart.
        validation: The number on which its C was chosen.
        features: What it saw of an example.
        cite: The work that published it, a key of ``book/references.bib``; empty where it is computed here.
    """

    method: str
    score: float
    train: int
    test: int
    validation: int = 0
    features: str = ""
    cite: str = ""


LOGISTIC, SVM = "logistic regression", "RBF SVM"

#: Known scores by data set. Those without a citation are the mean of what `baseline` gives for the eight
#: streams of ``make_streams(0, 8, 1)``; ``tests/benchmarks/bench_baselines.py`` computes them again.
BASELINES: dict[str, tuple[Baseline, ...]] = {
    "digits": (
        Baseline(LOGISTIC, 96.8, 1_000, 400, 300),
        Baseline(SVM, 99.1, 1_000, 400, 300),
    ),
    "photos": (
        Baseline(LOGISTIC, 53.4, 256, 1_000, 256, features="colour moments"),
        Baseline(SVM, 69.8, 256, 1_000, 256, features="colour moments"),
        Baseline(SVM, 60.5, 256, 1_000, 256, features="pixels"),
    ),
    "mnist1d": (
        Baseline(LOGISTIC, 33.0, 4_000, 1_000),
        Baseline(SVM, 63.6, 4_000, 1_000),
        Baseline("logistic regression", 32, 4_000, 1_000, cite="greydanus2024scaling"),
        Baseline("fully connected network", 68, 4_000, 1_000, cite="greydanus2024scaling"),
        Baseline("convolutional network", 94, 4_000, 1_000, cite="greydanus2024scaling"),
        Baseline("gated recurrent network (GRU)", 91, 4_000, 1_000, cite="greydanus2024scaling"),
        Baseline("people", 96, 0, 0, cite="greydanus2024scaling"),
    ),
    "mnist": (
        Baseline(LOGISTIC, 90.8, 3_200, 1_000, 800, features="28×28 pixels"),
        Baseline(SVM, 95.6, 3_200, 1_000, 800, features="28×28 pixels"),
        Baseline(LOGISTIC, 90.1, 3_200, 1_000, 800, features="8×8 pixels"),
        Baseline(SVM, 95.8, 3_200, 1_000, 800, features="8×8 pixels"),
    ),
    "fashion": (
        Baseline(LOGISTIC, 80.2, 2_000, 2_000, 500, features="14×14 pixels"),
        Baseline(SVM, 82.5, 2_000, 2_000, 500, features="14×14 pixels"),
        Baseline("logistic regression", 84.2, 60_000, 10_000, cite="xiao2017fashion"),
        Baseline("RBF SVM", 89.7, 60_000, 10_000, cite="xiao2017fashion"),
        Baseline("people", 83.5, 0, 1_000, cite="xiao2017fashion"),
    ),
    "pycode": (Baseline("5-gram", 2.32, 20_000, 2_000),),
    "english": (Baseline("5-gram", 1.9, 20_000, 2_000),),
}


def baseline(
    split: Split,
    method: Method = "RBF SVM",
    *,
    features: Callable[[Tensor], Tensor] | None = None,
    replicas: int | None = None,
) -> Tensor:
    """Train a classical method on each replicate's training examples and score it on its test examples.

    For logistic regression and the support vector machine all features together have mean 0 and variance 1
    over the training examples; their C is the one that does best on the validation examples (of 0.01 to 10
    and of 1 to 1,000, by powers of ten), and 1 and 10 where there are none. The 5-gram model predicts a byte
    from up to four before it in its window, interpolated after Witten and Bell.

    Args:
        split: The data; labels of classes for the first two methods, tokens for the last.
        method: ``"logistic regression"``, ``"RBF SVM"`` or ``"5-gram"``.
        features: Maps examples (N, ...) to features (N, F); by default all values of an example.
        replicas: For how many replicates; by default for all.

    Returns:
        For each replicate its accuracy, from 0 to 1, or bits a byte: (R,), float64.

    Raises:
        ValueError: If the method is unknown or not for this kind of data.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    tokens = split.data.x.dtype == torch.int64
    if tokens != (method == "5-gram") or split.data.y.is_floating_point():
        kind = "tokens" if tokens else "targets of a regression" if not split.data.classes else "classes"
        raise ValueError(f"method {method!r} does not serve {split.data.name}, which has {kind}")
    scores = []
    for r in range(len(split.train) if replicas is None else replicas):
        train, validation, test = (
            _examples(split, index[r], features) for index in (split.train, split.validation, split.test)
        )
        scores.append(_bits(train, test) if tokens else _accuracy(method, train, validation, test))
    return torch.tensor(scores, dtype=torch.float64)


def table(name: str) -> str:
    """The known scores of a data set as a table in Markdown, for the page on the data."""
    bits = any(known.method == "5-gram" for known in BASELINES[name])
    head = ["method", "bits a byte" if bits else "accuracy", "trained on", "tested on", "by"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for known in BASELINES[name]:
        score = f"{known.score:.2f}" if bits else f"{known.score:g} %"
        method = f"{known.method}, {known.features}" if known.features else known.method
        by = f"{{cite:t}}`{known.cite}`" if known.cite else "the lab"
        counts = [f"{number:,}" if number else "" for number in (known.train, known.test)]
        lines.append(f"| {' | '.join([method, score, *counts, by])} |")
    return "\n".join(lines)


def colour_moments(images: Tensor) -> Tensor:
    """Mean and standard deviation of each channel: (N, C, H, W) → (N, 2C)."""
    return torch.cat([images.mean((2, 3)), images.std((2, 3))], dim=1)


Examples = tuple[np.ndarray, np.ndarray]


def _examples(split: Split, index: Tensor, features: Callable[[Tensor], Tensor] | None) -> Examples:
    x, y = split.get(index)
    if features is not None:
        x = features(x)
    return x.flatten(1).cpu().numpy(), y.cpu().numpy()


def _accuracy(method: str, train: Examples, validation: Examples, test: Examples) -> float:
    from sklearn.exceptions import ConvergenceWarning

    strengths = STRENGTHS[method] if len(validation[1]) else (DEFAULT[method],)
    # One mean and one deviation for all features: pixels at the border, which are nearly always 0, would grow
    # to noise if each had its own.
    mean, deviation = train[0].mean(), train[0].std()
    train, validation, test = (((x - mean) / deviation, y) for x, y in (train, validation, test))
    with warnings.catch_warnings():
        # After a thousand iterations the classes are parted, and only the weights still grow.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = [_classifier(method, strength).fit(*train) for strength in strengths]
    best = max(fitted, key=lambda model: model.score(*validation)) if len(fitted) > 1 else fitted[0]
    return float(best.score(*test))


def _classifier(method: str, strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    return SVC(C=strength) if method == SVM else LogisticRegression(C=strength, max_iter=1000)


def _bits(train: Examples, test: Examples) -> float:
    """Bits a byte of an interpolated n-gram model: p(c|h) = (n(hc) + d(h) p(c|h')) / (n(h) + d(h)).

    n counts how often something was seen, d how many different bytes followed, and h' is h without its
    first byte; below the shortest context all bytes are equally probable.
    """
    probability = np.full(test[1].shape, 1 / 256)
    for before in range(ORDER):
        pairs, counts = np.unique(_contexts(*train, before), return_counts=True)
        contexts, first = np.unique(pairs // 256, return_index=True)
        followers = np.diff(np.append(first, len(pairs)))
        totals = np.add.reduceat(counts, first)
        asked = _contexts(*test, before)
        n_pair = _look_up(pairs, counts, asked)
        n, d = (_look_up(contexts, values, asked // 256) for values in (totals, followers))
        mixed = (n_pair + d * probability) / np.maximum(n + d, 1)
        probability = np.where(n > 0, mixed, probability)
    return float(-np.log2(probability).mean())


def _contexts(x: np.ndarray, y: np.ndarray, before: int) -> np.ndarray:
    """Each target and up to ``before`` bytes before it as one number, the target last: (N, T).

    At the beginning of a window, where there are fewer, they count with a mark of their own.
    """
    code = y.astype(np.int64)
    known = np.concatenate([np.full((len(x), before), 256), x], axis=1)
    for k in range(before):
        # Byte k places before the target: the last of x at the target's place is the one just before it.
        shifted = known[:, before - k : before - k + x.shape[1]]
        code = code + 256 * 257**k * shifted
    return code


def _look_up(keys: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The value of each key that is asked for, and 0 for keys that are not there."""
    place = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
    return np.where(keys[place] == asked, values[place], 0)
