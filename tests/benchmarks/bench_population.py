"""How much faster does a population train than its replicas one after another, and how does it grow?

First the chapter's small CNN on `digits`: as a `Population`, and as ordinary modules with torch's layers and
optimiser in a plain loop. Both see the same batches and must give the same losses. A ratio is the median of
nine, each from timings taken in turn in one round, so that a busy machine disturbs both sides alike. Then
populations of 1 to 64 replicas, each in a process of its own: time per step and peak memory.

Run as ``python tests/benchmarks/bench_population.py [--device cuda] [--threads 2] [--json PATH]``.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surveylab import lab
from surveylab.lab.models import Norm, small_cnn
from surveylab.normalization import BatchNorm2d

NORMS: dict[str, Norm] = {"surveylab's Batch Norm": BatchNorm2d, "torch's Batch Norm": nn.BatchNorm2d}
GOAL = 2.5
ROUNDS = 9
RATE = 0.05
TOLERANCE = 1e-3  # between losses of about 2 after STEPS steps in single precision
SIZES = (1, 2, 4, 8, 16, 32, 64)
WARM_UP = 3


def seconds(work: Callable[[], Any], device: str) -> float:
    """How long ``work`` takes, by events on a GPU, where the host's clock sees only the launches."""
    if device == "cuda":
        started = torch.cuda.Event(enable_timing=True)
        ended = torch.cuda.Event(enable_timing=True)
        started.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        return started.elapsed_time(ended) / 1000
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def together(norm: Norm, streams: list[lab.Stream], split: lab.Split, steps: int, batch: int) -> Tensor:
    """Train a population; its losses, (steps, R)."""
    device = split.train.device
    population = lab.Population(lambda: small_cnn(norm), streams, device=device, strategy="vmap")
    losses: list[Tensor] = []

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        found = lab.cross_entropy(logits, labels)
        losses.append(found.detach())
        return found

    lab.train(population, split, steps=steps, batch=batch, rates=RATE, decay=False, loss=loss)
    return torch.stack(losses)


def one_by_one(streams: list[lab.Stream], split: lab.Split, steps: int, batch: int) -> Tensor:
    """Train the replicas one after another as anyone would with torch; their losses, (steps, R)."""
    device = split.train.device
    losses = torch.empty(steps, len(streams), device=device)
    order = lab.batch_order(streams, split.train.shape[1], steps * batch).to(device)
    examples = split.train.gather(1, order)
    for r, stream in enumerate(streams):
        torch.manual_seed(stream.torch_seed("init"))
        model = small_cnn(nn.BatchNorm2d).to(device)
        criterion = nn.CrossEntropyLoss()
        optimiser = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
        for step, index in enumerate(examples[r].split(batch)):
            loss = criterion(model(split.data.x[index]), split.data.y[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses[step, r] = loss.detach()
    return losses


def compare(replicas: int, batch: int, steps: int, device: str) -> dict[str, Any]:
    """Population against loop, results and time."""
    streams = lab.make_streams(0, replicas, 1)
    split = lab.digits().standardised().to(device).split(streams, train=600, test=100)
    work: dict[str, Callable[[], Tensor]] = {
        name: lambda norm=norm: together(norm, streams, split, steps, batch)  # type: ignore[misc]
        for name, norm in NORMS.items()
    }
    work["loop"] = lambda: one_by_one(streams, split, steps, batch)
    losses = {name: train() for name, train in work.items()}  # warms up as well
    apart = {name: float((losses[name] - losses["loop"]).abs().max()) for name in NORMS}
    for name, difference in apart.items():
        if not difference <= TOLERANCE:
            raise SystemExit(f"{name}: losses differ from the loop's by {difference:.2g} > {TOLERANCE:g}")
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, train in work.items():
            times[name].append(seconds(train, device) / steps)
    ratios = {
        name: [loop / own for loop, own in zip(times["loop"], times[name], strict=True)] for name in NORMS
    }
    return {
        "replicas": replicas,
        "batch": batch,
        "ms_per_step": {name: 1000 * statistics.median(found) for name, found in times.items()},
        "ratio": {name: statistics.median(found) for name, found in ratios.items()},
        "range": {name: [min(found), max(found)] for name, found in ratios.items()},
        "largest_difference_of_losses": apart,
    }


def measure(replicas: int, batch: int, steps: int, device: str) -> dict[str, float]:
    """Time per step and the peak memory of this process, or on a GPU of what torch allocated there."""
    streams = lab.make_streams(0, replicas, 1)
    split = lab.digits().standardised().to(device).split(streams, train=600, test=100)
    population = lab.Population(lambda: small_cnn(nn.BatchNorm2d), streams, device=device)
    lab.train(population, split, steps=WARM_UP, batch=batch, rates=RATE)
    times = [
        seconds(lambda: lab.train(population, split, steps=steps, batch=batch, rates=RATE), device) / steps
        for _ in range(3)
    ]
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else 1024 * _resident("VmHWM")
    return {"replicas": replicas, "ms_per_step": 1000 * statistics.median(times), "peak_mib": peak / 2**20}


def _resident(field: str) -> int:
    """A memory figure of this process in KiB, from the system's own account."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field))
    except (OSError, StopIteration):  # not Linux: the peak, in bytes on macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def grow(batch: int, steps: int, device: str, threads: int) -> list[dict[str, float]]:
    """`measure` for every size, each in a fresh process, since a process never lowers its peak."""
    rows = []
    for replicas in SIZES:
        words = [sys.executable, __file__, "--measure", str(replicas), "--batch", str(batch)]
        words += ["--steps", str(steps), "--device", device, "--threads", str(threads)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
    return rows


def show(comparison: dict[str, Any], growth: list[dict[str, float]]) -> None:
    """Print both tables."""
    ms = comparison["ms_per_step"]
    print(f"{comparison['replicas']} replicas at batch {comparison['batch']}, median of {ROUNDS} rounds")
    print(f"{'':<26}{'ms/step':>9}{'times faster':>14}{'(range)':>15}{'losses apart':>14}")
    print(f"{'one after another':<26}{ms['loop']:>9.2f}")
    for name in NORMS:
        low, high = comparison["range"][name]
        apart = comparison["largest_difference_of_losses"][name]
        print(
            f"{name:<26}{ms[name]:>9.2f}{comparison['ratio'][name]:>14.2f}"
            f"{f'({low:.2f}-{high:.2f})':>15}{apart:>14.1e}"
        )
    if growth:
        print(f"\n{'replicas':>8}{'ms/step':>10}{'ms/step/replica':>17}{'peak MiB':>10}{'above one':>11}")
        for row in growth:
            r, t, peak = row["replicas"], row["ms_per_step"], row["peak_mib"]
            print(f"{r:>8}{t:>10.2f}{t / r:>17.3f}{peak:>10.0f}{peak - growth[0]['peak_mib']:>11.1f}")


def main() -> int:
    """Run the benchmark; 1 if a population is not at least GOAL times as fast as the loop."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--replicas", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="updates in one timing")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-growth", action="store_true", help="leave out the table over replicas")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.measure:
        print(json.dumps(measure(given.measure, given.batch, given.steps, given.device)))
        return 0
    comparison = compare(given.replicas, given.batch, given.steps, given.device)
    growth = [] if given.no_growth else grow(given.batch, given.steps, given.device, given.threads)
    show(comparison, growth)
    if given.json:
        settings = {"threads": given.threads, "device": given.device, "torch": torch.__version__}
        record = settings | {"comparison": comparison, "growth": growth}
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0 if min(comparison["ratio"].values()) >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
