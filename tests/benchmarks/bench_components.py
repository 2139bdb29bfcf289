"""How fast are Squeeze-and-Excitation, dynamic convolution and AdaBN?

A ratio is the median over rounds, each from timings taken in turn in one round, so that a busy machine
disturbs both sides alike. Steps are forward and backward passes unless a column says otherwise.
Run as ``python tests/benchmarks/bench_components.py [--threads 1 2] [--rounds 7] [--json PATH]``.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from surveylab.adaptive import (
    DynamicConv1d,
    DynamicConv2d,
    SqueezeExcitation,
    adapt_batch_norm,
    adapted_buffers,
    dynamic_convolution,
)
from surveylab.lab import interleaved

BATCH = 64
REPLICAS = 8
SECONDS = 0.02  # of work in one timing; at least one step
CONVOLUTIONS: dict[int, Any] = {3: F.conv1d, 4: F.conv2d}

Step = Callable[[], Any]
# (C, positions ...), output channels
SHAPES: list[tuple[tuple[int, ...], int]] = [
    ((1, 40), 25),
    ((25, 20), 25),
    ((64, 40), 64),
    ((1, 14, 14), 16),
    ((3, 16, 16), 16),
    ((16, 14, 14), 16),
    ((32, 16, 16), 32),
]


def mixed_outputs(input: Tensor, attention: Tensor, weight: Tensor, bias: Tensor, *, padding: int) -> Tensor:
    """The outputs of all K kernels in one convolution, mixed: the same at K times the operations."""
    kernels, outputs = weight.shape[:2]
    each = CONVOLUTIONS[input.dim()](input, weight.flatten(0, 1), bias.flatten(), padding=padding)
    each = each.view(input.shape[0], kernels, outputs, *each.shape[2:])
    return torch.einsum("bk,bko...->bo...", attention, each)


def looped(input: Tensor, attention: Tensor, weight: Tensor, bias: Tensor, *, padding: int) -> Tensor:
    """One example after another."""
    mixed = (attention @ weight.flatten(1)).view(-1, *weight.shape[1:])
    shift = attention @ bias
    convolve = CONVOLUTIONS[input.dim()]
    each = [convolve(input[b : b + 1], mixed[b], shift[b], padding=padding) for b in range(input.shape[0])]
    return torch.cat(each)


def both_ways(function: Callable[..., Tensor], values: Sequence[Tensor]) -> Step:
    """A forward and a backward pass on data of its own."""
    leaves = [value.detach().clone().requires_grad_() for value in values]
    with torch.no_grad():
        grad = torch.randn_like(function(*leaves))
    return lambda: torch.autograd.grad(function(*leaves), leaves, grad)


def forward(function: Callable[..., Tensor], values: Sequence[Tensor]) -> Step:
    """A forward pass alone."""

    def step() -> None:
        with torch.no_grad():
            function(*values)

    return step


def whole(layer: nn.Module, x: Tensor) -> Step:
    """A training step of a layer, with the gradients of all its parameters."""
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    return both_ways(run, [x, *layer.parameters()])


def dynamic(shape: tuple[int, ...], outputs: int, rounds: int) -> dict[str, float]:
    """The grouped convolution beside a loop, beside mixed outputs, and beside a static convolution."""
    channels, positions = shape[0], len(shape) - 1
    size = (3,) * positions
    x = torch.randn(BATCH, *shape)
    attention = torch.softmax(torch.randn(BATCH, 4), 1)
    values = [x, attention, torch.randn(4, outputs, channels, *size), torch.randn(4, outputs)]
    stacked = [torch.stack([value] * REPLICAS) for value in values]
    ways = {
        "grouped": partial(dynamic_convolution, padding=1),
        "loop": partial(looped, padding=1),
        "mixed": partial(mixed_outputs, padding=1),
    }
    ours, static = (DynamicConv1d, nn.Conv1d) if positions == 1 else (DynamicConv2d, nn.Conv2d)
    steps = {name: both_ways(way, values) for name, way in ways.items()}
    steps |= {f"forward {name}": forward(way, values) for name, way in ways.items()}
    steps |= {f"vmap {name}": both_ways(vmap(ways[name]), stacked) for name in ("grouped", "mixed")}
    steps["layer"] = whole(ours(channels, outputs, 3, padding=1), x)
    steps["static"] = whole(static(channels, outputs, 3, padding=1), x)
    taken = interleaved(steps, rounds=rounds, seconds=SECONDS)
    return {
        "grouped ms": taken["grouped"].median().item() * 1e3,
        "loop / grouped": ratio(taken, "loop", "grouped"),
        "loop / grouped, forward": ratio(taken, "forward loop", "forward grouped"),
        "mixed / grouped": ratio(taken, "mixed", "grouped"),
        "mixed / grouped, vmap": ratio(taken, "vmap mixed", "vmap grouped"),
        "vmap / replicas, each": ratio(taken, "vmap grouped", "grouped") / REPLICAS,
        "layer / static": ratio(taken, "layer", "static"),
    }


def ratio(taken: dict[str, Tensor], first: str, second: str) -> float:
    """Median of the rounds' ratios."""
    return (taken[first] / taken[second]).median().item()


def gate(shape: tuple[int, ...], rounds: int) -> dict[str, float]:
    """Squeeze-and-Excitation beside torchvision's way, and beside a multiplication."""
    x = torch.randn(BATCH, *shape)
    block = SqueezeExcitation(shape[0], max(shape[0] // 16, 1))

    def convolved(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)
        return F.conv2d(F.conv2d(pooled, w1, b1).relu(), w2, b2).sigmoid() * x

    factor = torch.randn(BATCH, shape[0], 1, 1)
    steps = {
        "ours": whole(block, x),
        "torchvision": both_ways(convolved, [x, *block.parameters()]),
        "product": both_ways(torch.mul, [x, factor]),
    }
    taken = interleaved(steps, rounds=rounds, seconds=SECONDS)
    return {
        "ours ms": taken["ours"].median().item() * 1e3,
        "ours / torchvision": ratio(taken, "ours", "torchvision"),
        "ours / product": ratio(taken, "ours", "product"),
    }


def network() -> nn.Module:
    """Three convolutions with Batch Norm."""
    layers: list[nn.Module] = []
    for inputs in (1, 16, 16):
        layers += [nn.Conv2d(inputs, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 14 * 14, 10))


def adabn(rounds: int) -> dict[str, float]:
    """AdaBN beside torch's one pass in training mode, and of replicas together beside one after another."""
    x = torch.randn(512, 1, 14, 14)
    models = [network() for _ in range(REPLICAS)]
    state, buffers = stack_module_state(models)
    small = x[:BATCH]
    steps: dict[str, Step] = {
        "update_bn": partial(update_bn, [x], copy.deepcopy(models[0])),
        "one batch": partial(adapt_batch_norm, copy.deepcopy(models[0]), [x]),
        "eight": partial(adapt_batch_norm, copy.deepcopy(models[0]), x.split(64)),
        "together": lambda: vmap(partial(adapted_buffers, models[0]), (0, 0, None))(state, buffers, [small]),
        "alone": lambda: [adapt_batch_norm(model, [small]) for model in models],
    }
    taken = interleaved(steps, rounds=rounds, seconds=SECONDS)
    return {
        "one batch ms": taken["one batch"].median().item() * 1e3,
        "one batch / update_bn": ratio(taken, "one batch", "update_bn"),
        "eight batches / one": ratio(taken, "eight", "one batch"),
        f"{REPLICAS} replicas, together / alone": ratio(taken, "together", "alone"),
    }


def main() -> None:
    """Measure, print, write as JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the numbers here")
    arguments = parser.parse_args()

    rows: list[dict[str, Any]] = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        print(f"\n{threads} thread{'s' if threads > 1 else ''}, torch {torch.__version__}, batch {BATCH}")
        measured = [
            *(
                (f"dynamic {shape} to {out}", partial(dynamic, shape, out, arguments.rounds))
                for shape, out in SHAPES
            ),
            *(
                (f"gate {shape}", partial(gate, shape, arguments.rounds))
                for shape in [(64, 8, 8), (32, 16, 16)]
            ),
            ("AdaBN", partial(adabn, arguments.rounds)),
        ]
        for name, measure in measured:
            row = measure()
            print(f"{name:<28}" + "  ".join(f"{key} {value:.2f}" for key, value in row.items()), flush=True)
            rows.append({"what": name, "threads": threads, **row})
    if arguments.json:
        arguments.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
