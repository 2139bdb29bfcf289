"""How fast is `surveylab.normalization.BatchNorm` beside torch's fused kernel and labml-nn's layer?

A ratio is the median of nine, each from timings taken in turn in one round, so that a busy machine disturbs
both sides alike. Run as ``python tests/benchmarks/bench_batch_norm.py [--threads 1 2] [--json PATH]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from labml_nn.normalization.batch_norm import BatchNorm as LabmlBatchNorm
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from surveylab.normalization import BatchNorm1d, BatchNorm2d

SHAPES = [(64, 64, 32, 32), (16, 32, 16, 16), (256, 128), (8, 16, 32, 32)]
POPULATION_SHAPES = [(16, 32, 16, 16), (256, 128), (8, 16, 32, 32), (8, 16, 8, 8)]
REPLICAS = 16
ROUNDS = 9
SECONDS = 0.02  # of work in one timing; at least one step

Step = Callable[[], Any]


def training_step(
    layer: Callable[[Tensor], Tensor], shape: tuple[int, ...], parameters: Sequence[Tensor]
) -> Step:
    """A forward and a backward pass of a layer, on data of its own."""
    generator = torch.Generator().manual_seed(0)
    input = torch.randn(shape, generator=generator).requires_grad_()
    grad = torch.randn(shape, generator=generator)
    return lambda: torch.autograd.grad(layer(input), [input, *parameters], grad)


def single(layer: nn.Module, shape: tuple[int, ...], *, compiled: bool = False) -> Step:
    """A training step of one layer."""
    parameters = list(layer.parameters())
    return training_step(torch.compile(layer) if compiled else layer, shape, parameters)


def population(kind: Callable[[int], nn.Module], shape: tuple[int, ...]) -> Step:
    """A training step of many replicas at once, each with its own parameters, buffers and data."""
    layers = [kind(shape[1]) for _ in range(REPLICAS)]
    parameters, buffers = stack_module_state(layers)

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], input: Tensor) -> Tensor:
        return functional_call(layers[0], (parameters, buffers), (input,))

    def layer(input: Tensor) -> Tensor:
        return vmap(one)(parameters, buffers, input)

    return training_step(layer, (REPLICAS, *shape), list(parameters.values()))


def interleaved(steps: dict[str, Step]) -> dict[str, list[float]]:
    """Seconds for one step of each contender, in every round."""
    repeats = {}
    for name, step in steps.items():
        for _ in range(3):  # warm up; compile
            step()
        started = time.perf_counter()
        step()
        repeats[name] = max(1, round(SECONDS / (time.perf_counter() - started)))
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(repeats[name]):
                step()
            seconds[name].append((time.perf_counter() - started) / repeats[name])
    return seconds


def ratio(seconds: dict[str, list[float]], ours: str, theirs: str) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True))


def measure(shape: tuple[int, ...]) -> dict[str, float]:
    """The ratios of one shape."""
    ours, theirs = (BatchNorm2d, nn.BatchNorm2d) if len(shape) == 4 else (BatchNorm1d, nn.BatchNorm1d)
    row: dict[str, float] = {}
    if shape in SHAPES:
        steps = {
            "torch": single(theirs(shape[1]), shape),
            "ours": single(ours(shape[1]), shape),
            "compiled": single(ours(shape[1]), shape, compiled=True),
            "torch compiled": single(theirs(shape[1]), shape, compiled=True),
            "labml": single(LabmlBatchNorm(shape[1]), shape),
        }
        seconds = interleaved(steps)
        row["torch ms"] = statistics.median(seconds["torch"]) * 1e3
        row["ours / torch"] = ratio(seconds, "ours", "torch")
        row["ours compiled / torch"] = ratio(seconds, "compiled", "torch")
        row["torch compiled / torch"] = ratio(seconds, "torch compiled", "torch")
        row["labml / ours"] = ratio(seconds, "labml", "ours")
    if shape in POPULATION_SHAPES:
        seconds = interleaved({"torch": population(theirs, shape), "ours": population(ours, shape)})
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

    columns = ["torch ms", "ours / torch", "ours compiled / torch", "torch compiled / torch", "labml / ours"]
    columns.append(f"ours / torch, {REPLICAS} replicas")
    rows = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        print(
            f"\nforward and backward, {threads} thread{'s' if threads > 1 else ''}, torch {torch.__version__}"
        )
        print(f"{'shape':>18}" + "".join(f"{column:>{len(column) + 3}}" for column in columns))
        for shape in dict.fromkeys(SHAPES + POPULATION_SHAPES):
            row = measure(shape)
            cells = (f"{row[column]:.2f}" if column in row else "-" for column in columns)
            line = "".join(f"{cell:>{len(column) + 3}}" for cell, column in zip(cells, columns, strict=True))
            print(f"{shape!s:>18}{line}", flush=True)
            rows.append({"shape": shape, "threads": threads, **row})
    if arguments.json:
        arguments.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
