"""What does a sparse mixture of experts cost beside a dense network of the same multiply-adds a token?

One timing is a forward and a backward pass, losses included. Ways take turns within a round; a ratio is the
median over rounds. Multiply-adds are counted by torch in the forward pass; "kept" is what the forward pass
stores for the backward pass, parameters apart. Beside ours stand labml-nn's Switch layer and, where it is
installed, the package mixture-of-experts (``pip install --no-deps mixture-of-experts==0.2.3``), which has no
noise and drops tokens above a capacity. A population is timed against its replicas one after another.

Run as ``python tests/benchmarks/bench_mixture_of_experts.py [--threads 1] [--device cuda] [--json PATH]``.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from labml_nn.transformers.feed_forward import FeedForward
from labml_nn.transformers.switch import SwitchFeedForward
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from surveylab.adaptive import SparseMixtureOfExperts, SwitchMixtureOfExperts
from surveylab.lab import Population, interleaved, make_streams

FEATURES, HIDDEN, EXPERTS, K, TOKENS = 128, 256, 16, 2, 4096
SWITCH_FACTOR = 1.25
REPLICAS, REPLICA_SIZES, REPLICA_TOKENS = 16, (16, 32, 16, 8), 64
ROUNDS = 9

Apply = Callable[[Tensor], tuple[Tensor, Tensor | float]]  # the output, and a loss of the layer's own


def dense(width: int) -> nn.Module:
    """A network of two layers with as many multiply-adds a token as ``width / HIDDEN`` experts have."""
    return nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, FEATURES))


def package() -> nn.Module | None:
    """The package's mixture of two experts a token, if it is installed."""
    try:
        found = importlib.import_module("mixture_of_experts")
    except ImportError:
        return None
    return found.MoE(FEATURES, num_experts=EXPERTS, hidden_dim=HIDDEN, activation=nn.ReLU)


def contenders() -> dict[str, tuple[nn.Module, Callable[[nn.Module], Apply]]]:
    """Layers, and how each is called; the first of each k is what the others are compared with."""

    def plain(layer: nn.Module) -> Apply:
        return lambda x: (layer(x), 0.0)

    def ours(layer: nn.Module) -> Apply:
        return lambda x: layer(x)[:2]

    def labml(layer: nn.Module) -> Apply:
        def apply(x: Tensor) -> tuple[Tensor, Tensor]:
            output, counts, probabilities, *_ = layer(x.unsqueeze(1))
            return output, EXPERTS * (counts * probabilities).sum() / len(x) ** 2

        return apply

    def theirs(layer: nn.Module) -> Apply:
        return lambda x: layer(x.unsqueeze(0))

    expert = FeedForward(FEATURES, HIDDEN, dropout=0.0)
    switch = SwitchFeedForward(
        capacity_factor=SWITCH_FACTOR,
        drop_tokens=True,
        is_scale_prob=True,
        n_experts=EXPERTS,
        expert=expert,
        d_model=FEATURES,
    )
    sizes = (FEATURES, HIDDEN, FEATURES, EXPERTS)
    found: dict[str, tuple[nn.Module, Callable[[nn.Module], Apply]]] = {
        "k = 2: dense": (dense(2 * HIDDEN), plain),
        "k = 2: ours": (SparseMixtureOfExperts(*sizes, k=K), ours),
        "k = 2: ours, no noise": (SparseMixtureOfExperts(*sizes, k=K, noisy=False), ours),
        "k = 1: dense": (dense(HIDDEN), plain),
        "k = 1: ours, switch": (SwitchMixtureOfExperts(*sizes, capacity_factor=SWITCH_FACTOR), ours),
        "k = 1: labml-nn": (switch, labml),
    }
    other = package()
    if other is None:
        print("mixture-of-experts is not installed, and left out")
    else:
        found["k = 2: mixture-of-experts"] = (other, theirs)
    return found


def kept_bytes(apply: Apply, x: Tensor, parameters: Sequence[Tensor]) -> int:
    """Bytes of distinct storages that the forward pass stores, without parameters and the input."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (x, *parameters)}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        held = apply(x)
    assert held[0].shape[-1] == FEATURES
    return sum(storages.values())


def measure(device: str) -> list[dict[str, Any]]:
    """All contenders on the same tokens, which are spread over experts as a gate at random spreads them."""
    torch.manual_seed(0)
    x = torch.randn(TOKENS, FEATURES, device=device, requires_grad=True)
    grad = torch.randn(TOKENS, FEATURES, device=device)
    steps, rows = {}, []
    for name, (layer, wrap) in contenders().items():
        layer.to(device)
        with torch.no_grad():
            for gate in (getattr(layer, "gate_weight", None), getattr(layer, "noise_weight", None)):
                if gate is not None:
                    gate.normal_(std=FEATURES**-0.5)
        apply, parameters = wrap(layer), [p for p in layer.parameters() if p.requires_grad]

        def step(apply: Apply = apply, parameters: list[Any] = parameters) -> Any:
            output, loss = apply(x)
            total = (output.view_as(grad) * grad).sum() + loss
            return torch.autograd.grad(total, [x, *parameters], allow_unused=True)

        with FlopCounterMode(display=False) as counter:
            apply(x)
        steps[name] = step
        rows.append(
            {
                "name": name,
                "multiply-adds": counter.get_total_flops() / 2 / TOKENS,
                "parameters MB": sum(p.nbytes for p in parameters) / 1e6,
                "kept MB": kept_bytes(apply, x, parameters) / 1e6,
            }
        )
    seconds = interleaved(steps, rounds=ROUNDS, seconds=0.05)
    for row in rows:
        beside = seconds[row["name"].partition(":")[0] + ": dense"]
        row["ms"] = seconds[row["name"]].median().item() * 1e3
        row["/ dense"] = (seconds[row["name"]] / beside).median().item()
    return rows


def population(device: str) -> float:
    """Time of a population's training step, all replicas together, over that of one after another."""
    x = torch.randn(REPLICAS, REPLICA_TOKENS, REPLICA_SIZES[0], device=device)
    steps = {}
    for strategy in ("vmap", "loop"):
        replicas = Population(
            lambda: SparseMixtureOfExperts(*REPLICA_SIZES),
            make_streams(0, REPLICAS)[:REPLICAS],
            device=device,
            strategy=strategy,  # type: ignore[arg-type]
        )

        def step(replicas: Population = replicas) -> Any:
            given = replicas(x[: len(replicas)])
            loss = given.output.square().sum() + given.loss.sum()
            return torch.autograd.grad(loss, list(replicas.parameters()))

        steps[strategy] = step
    seconds = interleaved(steps, rounds=ROUNDS, seconds=0.05)
    return (seconds["vmap"] / seconds["loop"]).median().item()


def main() -> None:
    """Measure, print a table, write it as JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the table here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    rows = measure(arguments.device)
    print(
        f"{TOKENS} tokens of {FEATURES}, {EXPERTS} experts of hidden width {HIDDEN}, forward and backward, "
        f"{arguments.device}, {arguments.threads} threads, torch {torch.__version__}"
    )
    columns = ["multiply-adds", "parameters MB", "kept MB", "ms", "/ dense"]
    print(f"{'':>26}" + "".join(f"{column:>16}" for column in columns))
    for row in rows:
        print(f"{row['name']:>26}" + "".join(f"{row[column]:>16.2f}" for column in columns))
    ratio = population(arguments.device)
    print(f"population of {REPLICAS} small mixtures, together / one after another: {ratio:.2f}")
    if arguments.json:
        found = {"torch": torch.__version__, "rows": rows, "population": ratio}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
