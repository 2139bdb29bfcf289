"""How fast are the normalisation layers beside torch's fused kernels and labml-nn's layers?

A ratio is the median of nine, each from timings taken in turn in one round, so that a busy machine disturbs
both sides alike. "ours / copy" compares with copying as many bytes as a training step must touch.
Run as ``python tests/benchmarks/bench_norms.py [--methods LN GN] [--threads 1 2] [--json PATH]``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from labml_nn.normalization.batch_norm import BatchNorm as LabmlBatchNorm
from labml_nn.normalization.group_norm import GroupNorm as LabmlGroupNorm
from labml_nn.normalization.instance_norm import InstanceNorm as LabmlInstanceNorm
from labml_nn.normalization.layer_norm import LayerNorm as LabmlLayerNorm
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from surveylab.lab import interleaved
from surveylab.normalization import BatchNorm1d, BatchNorm2d, GroupNorm, InstanceNorm2d, LayerNorm

GROUPS = 8
REPLICAS = 16
LARGEST_REPLICA = 2**18  # values
ROUNDS = 9
SECONDS = 0.02  # of work in one timing; at least one step

Shape = tuple[int, ...]
Step = Callable[[], Any]
Make = Callable[[Shape], nn.Module]

# Ours, torch's and labml-nn's layer for inputs of a shape, each with a learned scale and shift.
METHODS: dict[str, tuple[Make, Make, Make]] = {
    "BN": (
        lambda shape: (BatchNorm2d if len(shape) == 4 else BatchNorm1d)(shape[1]),
        lambda shape: (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(shape[1]),
        lambda shape: LabmlBatchNorm(shape[1]),
    ),
    "LN": (
        lambda shape: LayerNorm(shape[1:]),
        lambda shape: nn.LayerNorm(shape[1:]),
        lambda shape: LabmlLayerNorm(torch.Size(shape[1:])),
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
PICTURES: list[Shape] = [(64, 64, 32, 32), (16, 32, 16, 16), (8, 16, 32, 32), (8, 16, 8, 8)]
FEATURES: list[Shape] = [(4096, 1024), (512, 768), (256, 128), (64, 32)]
SHAPES: dict[str, list[Shape]] = {
    "BN": [*PICTURES, (256, 128)],
    "LN": [*FEATURES, (8, 16, 32, 32)],
    "IN": PICTURES,
    "GN": PICTURES,
}
POPULATION = f"ours / torch, {REPLICAS} replicas"
FROZEN = "ours / torch, frozen"  # the gradient of the input alone
FIRST = "ours / torch, first layer"  # those of the parameters alone
COLUMNS = [
    "torch ms",
    "ours / torch",
    "ours compiled / torch",
    "torch compiled / torch",
    "labml / ours",
    "ours / copy",
    FROZEN,
    FIRST,
    POPULATION,
]


def training_step(
    layer: Callable[[Tensor], Tensor], shape: Shape, parameters: Sequence[Tensor], *, first: bool = False
) -> Step:
    """A forward and a backward pass of a layer, on data of its own; a first layer's needs no gradient."""
    generator = torch.Generator().manual_seed(0)
    input = torch.randn(shape, generator=generator).requires_grad_(not first)
    grad = torch.randn(shape, generator=generator)
    leaves = [*([] if first else [input]), *(p for p in parameters if p.requires_grad)]
    return lambda: torch.autograd.grad(layer(input), leaves, grad)


def single(layer: nn.Module, shape: Shape, *, compiled: bool = False, first: bool = False) -> Step:
    """A training step of one layer."""
    parameters = list(layer.parameters())
    return training_step(torch.compile(layer) if compiled else layer, shape, parameters, first=first)


def population(make: Make, shape: Shape) -> Step:
    """A training step of many replicas at once, each with its own parameters, buffers and data."""
    layers = [make(shape) for _ in range(REPLICAS)]
    parameters, buffers = stack_module_state(layers)

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], input: Tensor) -> Tensor:
        return functional_call(layers[0], (parameters, buffers), (input,))

    def layer(input: Tensor) -> Tensor:
        return vmap(one)(parameters, buffers, input)

    return training_step(layer, (REPLICAS, *shape), list(parameters.values()))


def copied(shape: Shape) -> Step:
    """A copy of all that a forward and a backward pass must touch: x and y; x and two gradients."""
    source = torch.zeros(5 * torch.Size(shape).numel() // 2)
    target = torch.zeros_like(source)
    return lambda: target.copy_(source)


def timed(steps: dict[str, Step]) -> dict[str, Tensor]:
    """Seconds of one step of each contender, in every round."""
    return interleaved(steps, rounds=ROUNDS, seconds=SECONDS)


def ratio(seconds: dict[str, Tensor], ours: str, theirs: str) -> float:
    """Median of the rounds' ratios."""
    return (seconds[ours] / seconds[theirs]).median().item()


def measure(method: str, shape: Shape) -> dict[str, float]:
    """The ratios of one method and shape."""
    ours, theirs, labml = METHODS[method]
    seconds = timed(
        {
            "torch": single(theirs(shape), shape),
            "ours": single(ours(shape), shape),
            "compiled": single(ours(shape), shape, compiled=True),
            "torch compiled": single(theirs(shape), shape, compiled=True),
            "labml": single(labml(shape), shape),
            "copy": copied(shape),
            "torch frozen": single(theirs(shape).requires_grad_(False), shape),
            "ours frozen": single(ours(shape).requires_grad_(False), shape),
            "torch first": single(theirs(shape), shape, first=True),
            "ours first": single(ours(shape), shape, first=True),
        }
    )
    row = {
        "torch ms": seconds["torch"].median().item() * 1e3,
        "ours / torch": ratio(seconds, "ours", "torch"),
        "ours compiled / torch": ratio(seconds, "compiled", "torch"),
        "torch compiled / torch": ratio(seconds, "torch compiled", "torch"),
        "labml / ours": ratio(seconds, "labml", "ours"),
        "ours / copy": ratio(seconds, "ours", "copy"),
        FROZEN: ratio(seconds, "ours frozen", "torch frozen"),
        FIRST: ratio(seconds, "ours first", "torch first"),
    }
    if torch.Size(shape).numel() <= LARGEST_REPLICA:
        seconds = timed({"torch": population(theirs, shape), "ours": population(ours, shape)})
        row[POPULATION] = ratio(seconds, "ours", "torch")
    return row


def main() -> None:
    """Measure, print a table, write it as JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the table here")
    arguments = parser.parse_args()

    rows: list[dict[str, Any]] = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        print(
            f"\nforward and backward, {threads} thread{'s' if threads > 1 else ''}, torch {torch.__version__}"
        )
        print(f"{'':>4}{'shape':>18}" + "".join(f"{column:>{len(column) + 3}}" for column in COLUMNS))
        for method in arguments.methods:
            for shape in SHAPES[method]:
                torch.compiler.reset()  # or after some shapes it would compile for any shape
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
