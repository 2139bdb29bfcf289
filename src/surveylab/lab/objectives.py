"""What a population is trained for: one loss a replica, from the population and a batch.

An `Objective` sees the whole population, so that anything can be trained with the one loop of
`surveylab.lab.train`: a loss on labels (`supervised`), a mixture with a balance loss, mixup, adversarial
examples, distillation, style transfer.

>>> def mixup(population, batch):
...     share = batch.rand(1)                                    # (R, 1)
...     mixed = share[..., None] * batch.x + (1 - share[..., None]) * batch.x.flip(1)
...     logits = population(mixed)
...     return (share[:, 0] * cross_entropy(logits, batch.y)
...             + (1 - share[:, 0]) * cross_entropy(logits, batch.y.flip(1)))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from surveylab.lab import noise
from surveylab.lab.data.dataset import IGNORED
from surveylab.lab.population import Population
from surveylab.lab.streams import Stream

# Axis legend: R replicas, B examples, K classes, T tokens.


@dataclass(frozen=True, eq=False)
class Batch:
    """What an objective is given at one step.

    Attributes:
        x: The examples, (R, B, …).
        y: Their labels or targets, (R, B, …).
        step, steps: Which update this is, from 0, and how many there are.
        streams: One a replica.
    """

    x: Tensor
    y: Tensor
    step: int
    steps: int
    streams: Sequence[Stream]
    _draws: list[int] = field(default_factory=list, repr=False)

    def rand(self, *shape: int) -> Tensor:
        """Uniform random numbers on [0, 1), (R, …) of the given shape; each call gives new ones."""
        return self._draw(noise.uniform, shape)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal random numbers, (R, …) of the given shape; each call gives new ones."""
        return self._draw(noise.normal, shape)

    def _draw(self, distribution: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        key = noise.keys(self.streams, "objective", self.x.device)
        self._draws.append(math.prod(shape))
        drawn = distribution(key, self.step, len(self._draws), self._draws[-1])
        return drawn.view(len(self.streams), *shape)


Objective = Callable[[Population, Batch], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def supervised(loss: Loss | None = None) -> Objective:
    """The loss of what the model returns against the labels; of several outputs, the first counts.

    Args:
        loss: Maps outputs and labels to (R,); `cross_entropy` by default.
    """
    loss = loss or cross_entropy

    def objective(population: Population, batch: Batch) -> Tensor:
        return loss(first(population(batch.x)), batch.y)

    return objective


def first(outputs: Any) -> Tensor:
    """The first of a model's outputs, or the only one."""
    found = outputs[0] if isinstance(outputs, tuple | list) else outputs
    if not isinstance(found, Tensor):
        raise TypeError(
            f"the model returns {type(outputs).__name__}: return a tensor or a tuple that begins with one, "
            "or give an objective and a metric of your own"
        )
    return found


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each replica: logits (R, …, K), labels (R, …) → (R,).

    Labels of `IGNORED` do not count; a replica without any other has loss 0. For tokens, logits are
    (R, B, T, K) and labels (R, B, T).
    """
    losses = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none", ignore_index=IGNORED)
    losses = losses.view(len(labels), -1)  # (R, …)
    counted = (labels != IGNORED).flatten(1).sum(1)
    return losses.sum(1) / counted.clamp_min(1)


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of each replica: outputs and targets (R, …) → (R,)."""
    if outputs.shape != targets.shape:
        raise ValueError(
            f"targets must have the shape of the outputs, {tuple(outputs.shape)}; got {tuple(targets.shape)}"
        )
    return (outputs - targets).square().flatten(1).mean(1)
