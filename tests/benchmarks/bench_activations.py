"""How fast are the learnt activations beside torch's fused kernels?

A forward and a backward pass, the parameters' gradients included. A ratio is the median of nine, each from
timings taken in turn in one round. "as published" is ACON-C written as its equation stands, with autograd.
Run as ``python tests/benchmarks/bench_activations.py [--threads 1 2] [--json PATH]``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bench_norms import REPLICAS, Shape, population, ratio, single, timed  # type: ignore[import-not-found]
from torch import Tensor, nn

from surveylab.adaptive import AconB, AconC, MetaAconC, PReLU, Swish

Make = Callable[[Shape], nn.Module]


class AsPublished(AconC):
    """ACON-C, the sum and products one after another."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply to (N, C, ...)."""
        beside = (-1,) + (1,) * (input.dim() - 2)
        p1, p2, beta = (parameter.view(beside) for parameter in (self.p1, self.p2, self.beta))
        return (p1 - p2) * input * torch.sigmoid(beta * ((p1 - p2) * input)) + p2 * input


OURS: dict[str, Make] = {
    "PReLU": lambda shape: PReLU(shape[1]),
    "Swish, fixed": lambda shape: Swish(learn=False),
    "Swish": lambda shape: Swish(num_parameters=shape[1]),
    "ACON-B": lambda shape: AconB(shape[1]),
    "ACON-C": lambda shape: AconC(shape[1]),
    "Meta-ACON-C": lambda shape: MetaAconC(shape[1]),
}
THEIRS: dict[str, Make] = {
    "nn.PReLU": lambda shape: nn.PReLU(shape[1]),
    "nn.SiLU": lambda shape: nn.SiLU(),
    "F.gelu": lambda shape: nn.GELU(),
    "as published": lambda shape: AsPublished(shape[1]),
}
SHAPES: list[Shape] = [(64, 64, 16, 16), (8, 16, 8, 8), (32, 16, 40), (256, 128), (64, 32)]
IN_POPULATION: list[Shape] = [(8, 16, 8, 8), (32, 16, 40), (64, 32)]


def measure(shape: Shape, step: Callable[[Make, Shape], Callable[[], Any]]) -> dict[str, dict[str, float]]:
    """Microseconds of every layer, and ours in ratio to torch's."""
    seconds = timed({name: step(make, shape) for name, make in (OURS | THEIRS).items()})
    rows = {}
    for name in OURS | THEIRS:
        rows[name] = {"µs": seconds[name].median().item() * 1e6}
        rows[name] |= {f"/ {other}": ratio(seconds, name, other) for other in THEIRS if other != name}
    return rows


def main() -> None:
    """Measure, print a table for each shape, write all as JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the tables here")
    arguments = parser.parse_args()

    columns = ["µs", *(f"/ {other}" for other in THEIRS)]
    found: list[dict[str, Any]] = []
    cases = [("one layer", shape, lambda make, shape: single(make(shape), shape)) for shape in SHAPES]
    cases += [(f"{REPLICAS} replicas", shape, population) for shape in IN_POPULATION]
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for what, shape, step in cases:
            rows = measure(shape, step)
            print(f"\n{what}, {shape}, {threads} thread{'s' if threads > 1 else ''}")
            print(f"{'':>14}" + "".join(f"{column:>16}" for column in columns))
            for name, row in rows.items():
                cells = (f"{row[column]:.2f}" if column in row else "-" for column in columns)
                print(f"{name:>14}" + "".join(f"{cell:>16}" for cell in cells), flush=True)
            found.append({"what": what, "shape": shape, "threads": threads, "rows": rows})
    if arguments.json:
        arguments.json.write_text(json.dumps({"torch": torch.__version__, "tables": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
