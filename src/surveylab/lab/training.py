"""The loop that trains a population, and what is measured along the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surveylab.lab.data import Dataset, Split
from surveylab.lab.population import Population
from surveylab.lab.streams import Stream
from surveylab.lab.watching import progress


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each replica: logits (R, B, K), labels (R, B) → (R,)."""
    replicas, batch, classes = logits.shape
    losses = F.cross_entropy(logits.reshape(-1, classes), labels.reshape(-1), reduction="none")
    return losses.view(replicas, batch).mean(1)


def batch_order(streams: Sequence[Stream], examples: int, draws: int) -> Tensor:
    """Which of its ``examples`` each replica sees, in order: (R, draws), epoch by epoch, each shuffled.

    The order depends on the stream alone, so arms with different batch sizes see the same examples in the
    same order and differ only in where one batch ends and the next begins.
    """
    if examples < 1:
        raise ValueError(f"examples must be at least 1; got {examples}")
    epochs = -(-draws // examples)
    orders = []
    for stream in streams:
        rng = stream.numpy("batches")
        orders.append(np.concatenate([rng.permutation(examples) for _ in range(epochs)])[:draws])
    return torch.from_numpy(np.stack(orders))


def train(
    population: Population,
    split: Split,
    *,
    steps: int,
    batch: int,
    rates: Tensor | float,
    momentum: float = 0.9,
    decay: bool = True,
    warmup: int = 0,
    loss: Callable[[Any, Tensor], Tensor] = cross_entropy,
    every: int = 0,
    watch: Callable[[int], Any] | None = None,
    label: str = "",
) -> list[Any]:
    """Train every replica by stochastic gradient descent with momentum, each at a rate of its own.

    v ← μ v + η_r λ(t) ∇L_r,   θ_r ← θ_r − v,   λ(t) = min(1, (t + 1) / warmup) (1 − t / steps)

    The rate multiplies the replica's loss rather than the step: for this form of momentum it is the same,
    and one optimiser then serves replicas of different rates.

    Args:
        population: The replicas; put into training mode.
        split: Their data; batches come from ``split.train`` in the order of `batch_order`.
        steps: Number of updates.
        batch: Examples a step.
        rates: The learning rate, one for all or one a replica.
        momentum: μ.
        decay: Whether the rate falls linearly to zero; without, that factor is 1.
        warmup: Steps over which the rate rises linearly from zero; 0 for none.
        loss: Maps the population's output and the labels (R, B) to losses (R,).
        every, watch: Call ``watch(step)`` before the first update, every ``every`` updates and after the
            last; what it returns is collected. It may switch modes: training mode is restored.
        label: What the progress bar says.

    Returns:
        What ``watch`` returned, in order.

    Raises:
        ValueError: If split or rates are not the population's, or there is nothing to do.
    """
    replicas = len(population)
    if steps < 1 or batch < 1:
        raise ValueError(f"steps and batch must be at least 1; got {steps} and {batch}")
    if len(split.train) != replicas:
        raise ValueError(f"split holds data for {len(split.train)} replicas, the population has {replicas}")
    rates = torch.as_tensor(rates, dtype=torch.float32, device=split.train.device)
    if rates.shape not in ((), (replicas,)):
        raise ValueError(f"rates must be one number or one a replica ({replicas}); got {tuple(rates.shape)}")
    order = batch_order(population.streams, split.train.shape[1], steps * batch).to(split.train.device)
    seen = split.train.gather(1, order)
    optimiser = torch.optim.SGD(population.parameters(), lr=1.0, momentum=momentum, fused=True)
    watched: list[Any] = []
    population.train()
    for step in progress(range(steps), label):
        if watch is not None and every and step % every == 0:
            watched.append(watch(step))
            population.train()
        x, y = split.get(seen[:, step * batch : (step + 1) * batch])
        fade = (1 - step / steps if decay else 1.0) * min(1.0, (step + 1) / max(warmup, 1))
        losses = loss(population(x), y)
        optimiser.zero_grad()
        (losses * rates * fade).sum().backward()
        optimiser.step()
    if watch is not None:
        watched.append(watch(steps))
        population.train()
    return watched


@torch.no_grad()
def predict(population: Population, split: Split, index: Tensor, *, chunk: int = 256) -> Tensor:
    """The population's logits in evaluation mode on the examples at ``index`` (R, N): (R, N, K).

    Of a model that returns more than one thing, the first counts.
    """
    population.eval()
    outputs = [population(split.data.x[part]) for part in index.split(chunk, dim=1)]
    return torch.cat([o[0] if isinstance(o, tuple) else o for o in outputs], dim=1)


def accuracy(population: Population, split: Split, index: Tensor) -> Tensor:
    """Share of examples at ``index`` (R, N) that each replica classifies correctly: (R,).

    A replica whose outputs are not finite gets none right.
    """
    logits = predict(population, split, index)
    right = (logits.argmax(-1) == split.data.y[index]) & logits.isfinite().all(-1)
    return right.float().mean(1)


def sweep(
    build: Callable[[], nn.Module],
    data: Dataset,
    streams: Sequence[Stream],
    rates: Sequence[float],
    *,
    train_examples: int,
    validation: int,
    **training: Any,
) -> Tensor:
    """Validation accuracy after training at each rate: (rates, replicates), every pair a replica of its own.

    A replicate's initialisation, data and batches are the same at every rate.

    Args:
        build: Makes one model.
        data: What to draw each replicate's examples from.
        streams: One a replicate.
        rates: The learning rates.
        train_examples, validation: How many examples of each.
        **training: Passed on to `train`.
    """
    repeated = [stream for _ in rates for stream in streams]
    split = data.split(repeated, train=train_examples, validation=validation, test=0)
    population = Population(build, repeated, device=data.x.device)
    training = {"label": f"{len(rates)} learning rates"} | training
    train(population, split, rates=torch.tensor(rates).repeat_interleave(len(streams)), **training)
    return accuracy(population, split, split.validation).view(len(rates), len(streams))
