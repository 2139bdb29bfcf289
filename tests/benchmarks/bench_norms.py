"""How fast are Layer, Instance and Group Norm beside torch's fused kernels and labml-nn's layers?

A ratio is the median of nine, each from timings taken in turn in one round, so that a busy machine disturbs
both sides alike; "ours / copy" compares with copying as many bytes as a forward and a backward pass must read
and write. Run as ``python tests/benchmarks/bench_norms.py [--threads 1 2] [--json PATH]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from bench_batch_norm import REPLICAS, Step, interleaved, population, ratio, single
from labml_nn.normalization.group_norm import GroupNorm as LabmlGroupNorm
from labml_nn.normalization.instance_norm import InstanceNorm as LabmlInstanceNorm
from labml_nn.normalization.layer_norm import LayerNorm as LabmlLayerNorm
from torch import nn

from surveylab.normalization import GroupNorm, InstanceNorm2d, LayerNorm

GROUPS = 8
Make = Callable[[tuple[int, ...]], nn.Module]

# For each method ours, torch's and labml-nn's layer for a shape, all with a learned scale and shift.
METHODS: dict[str, tuple[Make, Make, Make]] = {
    "LN": (
        lambda shape: LayerNorm(shape[1:]),
        lambda shape: nn.LayerNorm(shape[1:]),
        lambda shape: LabmlLayerNorm(shape[1:]),
    ),
    "IN": (
        lambda shape: InstanceNorm2d(shape[1], affine=True),
        lambda shape: nn.InstanceNorm2d(shape[1], affine=True),
        lambda shape: LabmlInstanceNorm(shape[1]),
    ),
    "GN": (
        lambda shape: GroupNorm(GROUPS, shape[1]),
        lambda shape: nn.GroupNorm(GROUPS, shape[1]),
        lambda shape: LabmlGroupNorm(GROUPS, shape[1]),
    ),
}
# Rows of features for Layer Norm, pictures for the others.
SHAPES = {
    "LN": [(4096, 1024), (512, 768), (256, 128), (64, 32)],
    "IN": [(64, 64, 32, 32), (16, 32, 16, 16), (8, 16, 32, 32), (8, 16, 8, 8)],
    "GN": [(64, 64, 32, 32), (16, 32, 16, 16), (8, 16, 32, 32), (8, 16, 8, 8)],
}
LARGEST_OF_POPULATION = 2**18  # values of one replica
COLUMNS = [
    "torch ms",
    "ours / torch",
    "ours compiled / torch",
    "torch compiled / torch",
    "labml / ours",
    "ours / copy",
    f"ours / torch, {REPLICAS} replicas",
]


def copied(shape: tuple[int, ...]) -> Step:
    """A copy of as much as a forward and a backward pass must touch: x and y; x, its gradient and that of y."""
    source = torch.zeros(5 * torch.Size(shape).numel() // 2)
    target = torch.zeros_like(source)
    return lambda: target.copy_(source)


def measure(method: str, shape: tuple[int, ...]) -> dict[str, float]:
    """The ratios of one method and shape."""
    ours, theirs, labml = METHODS[method]
    steps = {
        "torch": single(theirs(shape), shape),
        "ours": single(ours(shape), shape),
        "compiled": single(ours(shape), shape, compiled=True),
        "torch compiled": single(theirs(shape), shape, compiled=True),
        "labml": single(labml(shape), shape),
        "copy": copied(shape),
    }
    seconds = interleaved(steps)
    row = {
        "torch ms": statistics.median(seconds["torch"]) * 1e3,
        "ours / torch": ratio(seconds, "ours", "torch"),
        "ours compiled / torch": ratio(seconds, "compiled", "torch"),
        "torch compiled / torch": ratio(seconds, "torch compiled", "torch"),
        "labml / ours": ratio(seconds, "labml", "ours"),
        "ours / copy": ratio(seconds, "ours", "copy"),
    }
    if torch.Size(shape).numel() <= LARGEST_OF_POPULATION:
        seconds = interleaved(
            {
                "torch": population(lambda channels: theirs(shape), shape),
                "ours": population(lambda channels: ours(shape), shape),
            }
        )
        row[f"ours / torch, {REPLICAS} replicas"] = ratio(seconds, "ours", "torch")
    return row


def main() -> None:
    """Measure, print a table, write it as JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the table here")
    arguments = parser.parse_args()

    rows = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        print(
            f"\nforward and backward, {threads} thread{'s' if threads > 1 else ''}, torch {torch.__version__}"
        )
        print(f"{'':>4}{'shape':>18}" + "".join(f"{column:>{len(column) + 3}}" for column in COLUMNS))
        for method, shapes in SHAPES.items():
            for shape in shapes:
                torch.compiler.reset()  # or after some shapes it would compile for all shapes at once
                row = measure(method, shape)
                cells = (f"{row[column]:.2f}" if column in row else "-" for column in COLUMNS)
                line = "".join(
                    f"{cell:>{len(column) + 3}}" for cell, column in zip(cells, COLUMNS, strict=True)
                )
                print(f"{method:>4}{shape!s:>18}{line}", flush=True)
                rows.append({"method": method, "shape": shape, "threads": threads, **row})
    if arguments.json:
        arguments.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
