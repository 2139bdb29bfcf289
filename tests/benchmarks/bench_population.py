"""How fast a population trains: beside its replicas one after another with torch.nn, and beside JAX.

Each case is a small network of the kind that chapters train. One timing is a whole update of all replicas:
forward, backward and a step of SGD with momentum. Ways take turns within a round, so that a busy machine
disturbs all alike; ratios are medians over rounds. ``auto`` is the way that a population takes by itself, by
a fixed rule from the sizes of the operations. GFLOP/s count matrix products and convolutions, forward and
backward, and stand beside those of a large matrix product on the same threads. JAX (``jit(vmap(step))`` on
the CPU, the same network and optimiser) takes part where it is installed; on a GPU events are timed.

Run as ``python tests/benchmarks/bench_population.py [--device cuda] [--threads 1] [--json PATH]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from surveylab import lab
from surveylab.lab.models import small_cnn
from surveylab.lab.tasks.recurrent import GRU

RATE = 0.01
try:
    import jax
    import jax.numpy as jnp
except ImportError:
    jax = None


class LastState(nn.Module):
    """A GRU that reads signals step by step; its last state is classified."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gru = GRU(1, hidden)
        self.head = nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x.transpose(1, 2))[1])  # (B, 1, T) -> (B, T, 1)


class TorchGRU(LastState):
    """The same with torch's own kernel, which cannot be vectorised."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden)
        self.gru = nn.GRU(1, hidden, batch_first=True)  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x.transpose(1, 2))[1][0])


def signals_cnn(width: int = 25) -> nn.Sequential:
    """The 1-D network of MNIST-1D's authors: three convolutions."""
    layers: list[nn.Module] = []
    for before, kernel in ((1, 5), (width, 3), (width, 3)):
        layers += [nn.Conv1d(before, width, kernel, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(10))


@dataclass(frozen=True)
class Case:
    """A network, how many replicas of it, and what they see."""

    name: str
    build: Callable[[], nn.Module]
    replicas: int
    batch: int
    shape: tuple[int, ...]
    plain: Callable[[], nn.Module] | None = None  # what one would train alone, if another


CASES = [
    Case("CNN, width 8", partial(small_cnn, channels=3, width=8), 24, 16, (3, 16, 16)),
    Case("CNN, width 32", partial(small_cnn, channels=3, width=32), 24, 16, (3, 16, 16)),
    Case("CNN of digits", partial(small_cnn, width=8), 16, 8, (1, 8, 8)),
    Case("1-D CNN", partial(signals_cnn), 24, 64, (1, 40)),
    Case("GRU", partial(LastState, 32), 24, 64, (1, 40), partial(TorchGRU, 32)),
]


def made(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> nn.Module:
    model = build()
    model(torch.zeros(2, *shape))  # lazy layers learn their sizes
    return model


def update(step: Callable[[], Tensor], optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    step().backward()
    optimiser.step()


def ways(case: Case, device: str) -> dict[str, Callable[[], Any]]:
    """What does one update of all replicas, by name."""
    streams = lab.make_streams(0, case.replicas, 1)
    x = torch.randn(case.replicas, case.batch, *case.shape, device=device)
    y = torch.randint(0, 10, (case.replicas, case.batch), device=device)
    sgd = partial(torch.optim.SGD, lr=RATE, momentum=0.9)
    found: dict[str, Callable[[], Any]] = {}
    for strategy in ("vmap", "loop", "auto"):
        build = partial(made, case.build, case.shape)
        population = lab.Population(build, streams, device=device, strategy=strategy)  # type: ignore[arg-type]
        loss = lambda population=population: lab.cross_entropy(population(x), y).sum()  # noqa: E731
        found[strategy] = partial(update, loss, sgd(list(population.parameters())))
    models = [made(case.plain or case.build, case.shape).to(device) for _ in streams]

    def loss_of(r: int) -> Tensor:
        return nn.functional.cross_entropy(models[r](x[r]), y[r])

    alone = [partial(update, partial(loss_of, r), sgd(model.parameters())) for r, model in enumerate(models)]
    found["torch.nn"] = lambda: [train() for train in alone]
    if jax is not None and device == "cpu":
        found["JAX"] = jax_update(case, x, y)
    return found


def jax_update(case: Case, x: Tensor, y: Tensor) -> Callable[[], Any]:
    """The same network, vectorised and compiled by JAX."""
    model = made(case.build, case.shape)
    parameters = [jnp.stack([jnp.asarray(p.detach().numpy())] * case.replicas) for p in model.parameters()]
    forward = {"GRU": _jax_gru}.get(case.name, partial(_jax_cnn, list(model.modules())))

    def loss(parameters: list[Any], x: Any, y: Any) -> Any:
        logits = forward(parameters, x)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()

    def step(parameters: list[Any], velocity: list[Any], x: Any, y: Any) -> Any:
        gradient = jax.grad(loss)(parameters, x, y)
        velocity = [0.9 * v + g for v, g in zip(velocity, gradient, strict=True)]
        return [p - RATE * v for p, v in zip(parameters, velocity, strict=True)], velocity

    compiled = jax.jit(jax.vmap(step))
    images, labels = jnp.asarray(x.numpy()), jnp.asarray(y.numpy())
    state = [parameters, [jnp.zeros_like(p) for p in parameters]]

    def run() -> None:
        state[:] = jax.block_until_ready(compiled(*state, images, labels))

    return run


def _jax_cnn(layers: list[nn.Module], parameters: list[Any], x: Any) -> Any:
    """What a chain of torch's layers computes, in JAX."""
    left = list(parameters)
    for layer in layers:
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            weight, bias = left.pop(0), left.pop(0)
            padding = [(p, p) for p in layer.padding]  # type: ignore[union-attr]
            x = jax.lax.conv_general_dilated(x, weight, layer.stride, padding)
            x = x + bias.reshape(1, -1, *[1] * (x.ndim - 2))
        elif isinstance(layer, nn.ReLU):
            x = jax.nn.relu(x)
        elif isinstance(layer, nn.MaxPool2d):
            x = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).max((3, 5))
        elif isinstance(layer, lab.models.MeanOverPositions):
            x = x.mean((2, 3))
        elif isinstance(layer, nn.Flatten):
            x = x.reshape(len(x), -1)
        elif isinstance(layer, nn.Linear):
            x = x @ left.pop(0).T + left.pop(0)
    assert not left
    return x


def _jax_gru(parameters: list[Any], x: Any) -> Any:
    w_ih, w_hh, b_ih, b_hh, head, bias = parameters

    def step(hidden: Any, here: Any) -> Any:
        own, before = here @ w_ih.T + b_ih, hidden @ w_hh.T + b_hh
        reset, keep = (
            jax.nn.sigmoid(a + b)
            for a, b in zip(*(jnp.split(v, 3, 1)[:2] for v in (own, before)), strict=True)
        )
        new = jnp.tanh(jnp.split(own, 3, 1)[2] + reset * jnp.split(before, 3, 1)[2])
        return new + keep * (hidden - new), None

    last, _ = jax.lax.scan(step, jnp.zeros((len(x), w_hh.shape[1])), x.transpose(2, 0, 1))
    return last @ head.T + bias


def seconds(work: Callable[[], Any], device: str, at_least: float) -> float:
    """Seconds of one call, a mean over calls that take so long together; by events on a GPU."""
    calls, spent = 0, 0.0
    while spent < at_least:
        if device == "cuda":
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()  # type: ignore[no-untyped-call]
            work()
            ended.record()  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
            spent += began.elapsed_time(ended) / 1000  # type: ignore[no-untyped-call]
        else:
            start = time.perf_counter()
            work()
            spent += time.perf_counter() - start
        calls += 1
    return spent / calls


def measure(case: Case, device: str, rounds: int, at_least: float) -> dict[str, Any]:
    """Milliseconds an update, ratios to torch.nn, and operations a second."""
    torch.manual_seed(0)
    contenders = ways(case, device)
    for work in contenders.values():
        work()
    with FlopCounterMode(display=False) as counter:
        contenders["loop"]()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            times[name].append(seconds(work, device, at_least))
    middle = {name: statistics.median(found) for name, found in times.items()}
    ratios = {
        name: statistics.median(t / own for t, own in zip(times["torch.nn"], found, strict=True))
        for name, found in times.items()
    }
    x = torch.zeros(case.replicas, case.batch, *case.shape, device=device)
    streams = lab.make_streams(0, case.replicas, 1)
    plan = lab.Population(partial(made, case.build, case.shape), streams, device=device).plan(x)
    return {
        "case": case.name,
        "size": f"{case.replicas} × {case.batch} × {'×'.join(map(str, case.shape))}",
        "plan": plan,
        "ms": {name: 1000 * value for name, value in middle.items()},
        "times faster than torch.nn": ratios,
        "GFLOP/s": counter.get_total_flops() / middle["auto"] / 1e9,
    }


def matrix_product(device: str, at_least: float) -> float:
    """GFLOP/s of a product of two matrices of 1,024 × 1,024."""
    a, b = (torch.randn(1024, 1024, device=device) for _ in range(2))
    torch.mm(a, b)
    return 2 * 1024**3 / seconds(lambda: torch.mm(a, b), device, at_least) / 1e9


def main() -> None:
    """Measure every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of one timing")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    product = matrix_product(given.device, given.seconds)
    rows = [measure(case, given.device, given.rounds, given.seconds) for case in CASES]
    names = list(rows[0]["ms"])
    print(f"{given.threads} thread(s), {given.device}; a matrix product: {product:.0f} GFLOP/s")
    print(
        "| case | size | plan | " + " | ".join(f"{name}, ms" for name in names) + " | auto faster | GFLOP/s |"
    )
    print("|---|---|---|" + "---|" * (len(names) + 2))
    for row in rows:
        ms = " | ".join(f"{row['ms'][name]:.1f}" for name in names)
        faster = row["times faster than torch.nn"]["auto"]
        print(
            f"| {row['case']} | {row['size']} | {row['plan']} | {ms} | {faster:.2f} | {row['GFLOP/s']:.1f} |"
        )
    if given.json:
        record = {"threads": given.threads, "device": given.device, "torch": torch.__version__}
        record |= {"matrix product, GFLOP/s": product, "rows": rows}
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
