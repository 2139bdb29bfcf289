"""``python -m surveylab.lab.data``, or ``make data``: fetch and prepare what a chapter would wait for.

That is Fashion-MNIST, which no Python package carries, and what takes seconds to make. It is kept in the
user's cache. Where one cannot be had, the exit status is 1, and only the chapters that need it are affected.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from surveylab.lab.data.dataset import Dataset
from surveylab.lab.data.english import english
from surveylab.lab.data.fashion import fashion, fetch, find
from surveylab.lab.data.mnist1d import mnist1d


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare each data set and say so."""
    parser = argparse.ArgumentParser(prog="python -m surveylab.lab.data", description=__doc__)
    parser.parse_args(arguments)
    done = [_prepare(make) for make in (fashion, mnist1d, english)]
    return 0 if all(done) else 1


def _prepare(make: Callable[[], Dataset]) -> bool:
    start = time.perf_counter()
    try:
        if make is fashion and find() is None:
            fetch(progress=True)
        data = make()
    except (OSError, ImportError) as error:
        print(f"data: {error}", file=sys.stderr)
        return False
    took = time.perf_counter() - start
    print(f"data: {data.name}, {len(data.x):,} examples ({took:.1f} s)", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
