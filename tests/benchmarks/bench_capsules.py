"""How fast is routing beside a loop over capsules and labml-nn's router, and a population beside a loop?

Forward and backward; a ratio is the median of nine, each from timings taken in turn in one round, so that a
busy machine disturbs both sides alike. labml-nn normalises over the wrong axis, which costs the same.
Run as ``python tests/benchmarks/bench_capsules.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from labml_nn.capsule_networks import Router
from torch import Tensor

from surveylab.adaptive import CapsNet, CapsuleLayer, margin_loss, squash
from surveylab.lab import Population, interleaved, make_streams

ROUNDS = 9
SECONDS = 0.02  # of work in one timing; at least one step
REPLICAS = 24
Sizes = tuple[int, int, int, int, int]
SIZES: list[Sizes] = [(32, 72, 4, 10, 8), (32, 288, 8, 10, 16)]  # B, I, E, J, D


def looped(layer: CapsuleLayer, input: Tensor) -> Tensor:
    """The same layer, one parent after another wherever that can be."""
    votes = [torch.einsum("ide,bie->bid", layer.weight[:, j], input) for j in range(layer.out_capsules)]
    logits = [torch.zeros_like(vote[..., 0]) for vote in votes]
    for _ in range(layer.iterations):
        shares = torch.stack(logits).softmax(0)
        parents = [squash((shares[j].unsqueeze(-1) * vote).sum(1)) for j, vote in enumerate(votes)]
        logits = [logits[j] + (vote * parents[j].unsqueeze(1)).sum(-1) for j, vote in enumerate(votes)]
    return torch.stack(parents, 1)


def layers(sizes: Sizes) -> dict[str, Callable[[], Any]]:
    """A step of each contender."""
    batch, below, features, above, out = sizes
    ours, labml = CapsuleLayer(below, features, above, out), Router(below, above, features, out, 3)
    input = torch.randn(batch, below, features).requires_grad_()

    def step(apply: Callable[[Tensor], Tensor], weight: Tensor) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(apply(input).square().sum(), [input, weight])

    assert torch.allclose(ours(input), looped(ours, input), atol=1e-5)
    return {
        "ours": step(ours, ours.weight),
        "loop": step(lambda input: looped(ours, input), ours.weight),
        "labml": step(labml, labml.weight),
    }


def networks() -> dict[str, Callable[[], Any]]:
    """A training step of as many networks, together and one after another."""
    image, target = torch.rand(REPLICAS, 32, 1, 14, 14), torch.randint(0, 10, (REPLICAS, 32))

    def step(strategy: Any) -> Callable[[], Any]:
        population = Population(CapsNet, make_streams(0, REPLICAS, 1), strategy=strategy)

        def run() -> Any:
            lengths, images = population(image, target)
            loss = margin_loss(lengths, target) + 0.0005 * (images - image).square().sum()
            return torch.autograd.grad(loss, list(population.parameters()))

        return run

    return {"ours": step("vmap"), "loop": step("loop")}


def main() -> None:
    """Measure and print a table."""
    torch.set_num_threads(1)
    print(f"forward and backward, 1 thread, torch {torch.__version__}")
    cases = [(f"layer {sizes}", layers(sizes)) for sizes in SIZES]
    for name, steps in [*cases, (f"{REPLICAS} networks", networks())]:
        seconds = interleaved(steps, rounds=ROUNDS, seconds=SECONDS)
        ratios = [
            f"{other} / ours {(seconds[other] / seconds['ours']).median().item():.2f}"
            for other in steps
            if other != "ours"
        ]
        ours = seconds["ours"].median().item() * 1e3
        print(f"{name}: ours {ours:.2f} ms, " + ", ".join(ratios), flush=True)


if __name__ == "__main__":
    main()
