"""The scores in `surveylab.lab.data.baselines`, computed again: what classical methods reach on our data.

Run as ``python tests/benchmarks/bench_baselines.py [NAME ...]``; all take some minutes on one core. It prints
each score beside the known one and ends with an error if one differs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from torch import Tensor

from surveylab import lab
from surveylab.lab.data.baselines import BASELINES, METHODS, Baseline, baseline, colour_moments

DATA: dict[str, Callable[[], lab.Dataset]] = {
    "digits": lab.digits,
    "photos": lab.photos,
    "mnist1d": lab.mnist1d,
    "mnist": lab.mnist,
    "fashion": lab.fashion,
    "pycode": lab.pycode,
    "english": lab.english,
}
# What `Baseline.features` says, as what is done to the data and to an example.
VIEWS: dict[str, Callable[[lab.Dataset], lab.Dataset]] = {
    "8×8 pixels": lambda data: lab.mnist_8x8(),
    "14×14 pixels": lambda data: data.shrunk(2),
}
FEATURES: dict[str, Callable[[Tensor], Tensor]] = {"colour moments": colour_moments}


def computed(name: str, known: Baseline, replicates: int = 8) -> float:
    """A score of the lab's own, in the table's unit."""
    data = VIEWS.get(known.features, lambda data: data)(DATA[name]())
    sizes = {"train": known.train, "validation": known.validation, "test": known.test}
    split = data.split(lab.make_streams(0, 8, 1), **sizes)
    assert known.method in METHODS
    scores = baseline(split, known.method, features=FEATURES.get(known.features), replicas=replicates)  # type: ignore[arg-type]
    return float(scores.mean()) * (1 if known.method == "5-gram" else 100)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(DATA), metavar="NAME")
    differ = 0
    for name in parser.parse_args().names:
        for known in (known for known in BASELINES[name] if not known.cite):
            start = time.perf_counter()
            score = computed(name, known)
            took = time.perf_counter() - start
            what = f"{name:8} {known.method:20} {known.features:16}"
            print(f"{what} {score:7.3f} {known.score:7.2f}  {took:.0f} s", flush=True)
            differ += abs(score - known.score) > 0.051
    return differ


if __name__ == "__main__":
    sys.exit(main())
