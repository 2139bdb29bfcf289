"""How fast is a step of the optimisers beside torch's with ``foreach=True``?

A step updates 200 tensors of mixed sizes. A ratio is the median of the rounds', each from timings taken in
turn, so that a busy machine disturbs both sides alike; the aim is 1, the limit 1.2. AdaBelief, which torch
lacks, is compared with torch's Adam and with the reference package.
Run as ``python tests/benchmarks/bench_optimizers.py [--device cuda] [--rounds 15] [--json PATH]``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import adabelief_pytorch
import torch

from surveylab.adaptive import AdaBelief, Adagrad, Adam, AdamW, RMSprop
from surveylab.lab import interleaved

Make = Callable[..., torch.optim.Optimizer]
LIMIT = 1.2
# Of 50 blocks: a matrix, its bias, a scale, and an embedding or a convolution's kernel.
SIZES = {
    "small": [(32, 32), (32,), (1,), (16, 8, 3)],
    "mixed": [(256, 128), (256,), (128,), (64, 32, 3, 3)],
    "large": [(512, 512), (512,), (512,), (128, 128, 3, 3)],
}


def package(params: Any, **options: Any) -> torch.optim.Optimizer:
    """The reference package's AdaBelief; torch's options do not concern it."""
    options.pop("foreach")
    with redirect_stdout(StringIO()):
        return adabelief_pytorch.AdaBelief(params, rectify=False, print_change_log=False, **options)


# Ours, what it is compared with, and options of both.
ROWS: dict[str, tuple[Make, Make, dict[str, Any]]] = {
    "Adagrad": (Adagrad, torch.optim.Adagrad, {}),
    "RMSprop": (RMSprop, torch.optim.RMSprop, {}),
    "RMSprop, centred, momentum": (RMSprop, torch.optim.RMSprop, {"centered": True, "momentum": 0.9}),
    "Adam": (Adam, torch.optim.Adam, {}),
    "AMSGrad, L2": (Adam, torch.optim.Adam, {"amsgrad": True, "weight_decay": 0.1}),
    "AdamW": (AdamW, torch.optim.AdamW, {}),
    "AdaBelief / torch's Adam": (AdaBelief, torch.optim.Adam, {}),
    "AdaBelief / package": (AdaBelief, package, {}),
}


def step(
    make: Make, shapes: list[tuple[int, ...]], device: str, options: dict[str, Any]
) -> Callable[[], Any]:
    """A step of one optimiser, with parameters and gradients of its own."""
    generator = torch.Generator().manual_seed(0)
    params = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator).to(device)
    return make(params, foreach=True, **options).step


def main() -> None:
    """Measure, print a table, write it as JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the table here")
    arguments = parser.parse_args()

    threads = torch.get_num_threads()
    print(f"one step over 200 tensors, {arguments.device}, {threads} thread(s), torch {torch.__version__}")
    print(f"{'':>28}{'sizes':>8}{'theirs ms':>12}{'ours ms':>10}{'ratio':>8}")
    rows: list[dict[str, Any]] = []
    for sizes in arguments.sizes:
        shapes = SIZES[sizes] * 50
        for name, (ours, theirs, options) in ROWS.items():
            seconds = interleaved(
                {
                    "theirs": step(theirs, shapes, arguments.device, options),
                    "ours": step(ours, shapes, arguments.device, options),
                },
                rounds=arguments.rounds,
                seconds=0.1,  # a step over small tensors takes some milliseconds
            )
            ms = {side: times.median().item() * 1e3 for side, times in seconds.items()}
            ratio = (seconds["ours"] / seconds["theirs"]).median().item()
            late = "  above the limit" if ratio > LIMIT else ""
            print(
                f"{name:>28}{sizes:>8}{ms['theirs']:>12.3f}{ms['ours']:>10.3f}{ratio:>8.2f}{late}", flush=True
            )
            rows.append({"method": name, "sizes": sizes, **ms, "ratio": ratio})
    if arguments.json:
        arguments.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
