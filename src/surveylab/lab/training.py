"""The loop that trains a population, and what is measured of a trained one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from surveylab.lab.data import Split
from surveylab.lab.data.dataset import IGNORED
from surveylab.lab.objectives import Batch, Objective, first, supervised
from surveylab.lab.population import Population
from surveylab.lab.schedules import Schedule, linear
from surveylab.lab.streams import Stream
from surveylab.lab.watching import progress

MakeOptimizer = Callable[..., torch.optim.Optimizer]
#: Stochastic gradient descent with momentum 0.9, for an arm that names no other optimiser.
sgd: MakeOptimizer = partial(torch.optim.SGD, momentum=0.9)


class Metric(Protocol):
    """One number a replica, (R,), from a population on the examples at ``index`` (R, N) of a split."""

    def __call__(self, population: Population, split: Split, index: Tensor, /) -> Tensor: ...


@dataclass
class History:
    """What was recorded along the way.

    Attributes:
        losses: The training loss at every step, before its update, (steps, R), on the CPU.
        steps: The steps at which the callback was called.
        values: What it returned.
    """

    losses: Tensor
    steps: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)


def batch_order(streams: Sequence[Stream], examples: int, draws: int) -> Tensor:
    """Which of its ``examples`` each replica sees, in order: (R, draws), epoch by epoch, each shuffled.

    The order depends on the stream alone, so arms with different batch sizes see the same examples in the
    same order and differ only in where one batch ends and the next begins.
    """
    if examples < 1:
        raise ValueError(f"examples must be at least 1; got {examples}")
    epochs = -(-draws // examples)
    orders: dict[Stream, np.ndarray] = {}  # a sweep repeats streams
    for stream in set(streams):
        rng = stream.numpy("batches")
        orders[stream] = np.concatenate([rng.permutation(examples) for _ in range(epochs)])[:draws]
    return torch.from_numpy(np.stack([orders[stream] for stream in streams]))


def train(
    population: Population,
    split: Split,
    objective: Objective | None = None,
    *,
    steps: int,
    batch: int,
    rates: Tensor | float,
    optimizer: MakeOptimizer = sgd,
    schedule: Schedule | None = None,
    clip: float | None = None,
    frozen: Iterable[str] = (),
    every: int = 0,
    callback: Callable[[int], Any] | None = None,
    label: str = "",
) -> History:
    """Train every replica as ``torch.optim`` with ``LambdaLR`` would train it alone, each at its own rate.

    One optimiser serves all replicas, since what it does to an element depends on no other. Where rates
    differ, it takes its step at rate 1 and each replica keeps its share of it,

        θ_r ← θ_r + η_r λ(t) (θ̂_r − θ_r),

    which is the step at rate η_r λ(t) for every optimiser whose step is proportional to its rate: SGD,
    Adam, AdamW, RMSprop, Adagrad, NAdam and their like. The optimiser is tried on a few numbers first; one
    that is not so, such as L-BFGS or Rprop, is refused.

    Args:
        population: The replicas; put into training mode.
        split: Their data; batches come from ``split.train`` in the order of `batch_order`.
        objective: One loss a replica from population and `Batch`; by default the cross-entropy.
        steps: Number of updates.
        batch: Examples a step.
        rates: The learning rate η, one for all or one a replica (R,).
        optimizer: Makes the optimiser from parameters and ``lr``: a class, or one with options,
            ``partial(AdamW, weight_decay=0.1)``. Parameters come stacked, with a leading dimension R.
        schedule: The factor λ of the rate by step (`surveylab.lab.schedules`); by default linear to zero.
        clip: Shorten a replica's gradient to this norm if it is longer, as `torch.nn.utils.clip_grad_norm_`
            does, which recurrent networks need; None to leave it.
        frozen: Names of parameters that stay as they are.
        every, callback: Call ``callback(step)`` before the first update, every ``every`` updates and after
            the last; what it returns is kept. It may switch modes: training mode is restored.
        label: What the progress bar says.

    Raises:
        ValueError: If split, rates or frozen do not fit the population, there is nothing to do, or the
            optimiser cannot train several replicas at once.
    """
    replicas = len(population)
    if steps < 1 or batch < 1:
        raise ValueError(f"steps and batch must be at least 1; got {steps} and {batch}")
    if len(split.train) != replicas:
        raise ValueError(f"split holds data for {len(split.train)} replicas, the population has {replicas}")
    rates = torch.as_tensor(rates, dtype=torch.float64)
    if rates.shape not in ((), (replicas,)):
        raise ValueError(f"rates must be one number or one a replica ({replicas}); got {tuple(rates.shape)}")
    objective, schedule = objective or supervised(), schedule or linear()
    order = batch_order(population.streams, split.train.shape[1], steps * batch).to(split.train.device)
    seen = split.train.gather(1, order)
    update = _Update(population, optimizer, rates, frozen)
    record = History(torch.empty(steps, replicas))
    losses: list[Tensor] = []

    def look(step: int) -> None:
        if callback is not None:
            record.steps.append(step)
            record.values.append(callback(step))
            population.train()

    population.train()
    for step in progress(range(steps), label):
        if every and step % every == 0:
            look(step)
        x, y = split.get(seen[:, step * batch : (step + 1) * batch])
        loss = objective(population, Batch(x, y, step, steps, population.streams))
        if loss.shape != (replicas,):
            raise ValueError(f"objective must give one loss a replica ({replicas}); got {tuple(loss.shape)}")
        update.zero_grad()
        loss.sum().backward()
        if clip is not None:
            _clip(update.parameters, clip)
        update.step(schedule(step, steps))
        losses.append(loss.detach())
    look(steps)
    record.losses = torch.stack(losses).cpu()
    return record


class _Update:
    """One optimiser for all replicas, each at its own rate."""

    def __init__(
        self, population: Population, optimizer: MakeOptimizer, rates: Tensor, frozen: Iterable[str]
    ) -> None:
        frozen = {frozen} if isinstance(frozen, str) else set(frozen)
        if unknown := sorted(frozen - population.state.keys()):
            raise ValueError(
                f"frozen names no parameter: {', '.join(unknown)}; there are {', '.join(population.state)}"
            )
        self.parameters = [
            value for name, value in population.state.items() if name not in frozen and value.requires_grad
        ]
        if not self.parameters:
            raise ValueError("frozen leaves no parameter to train")
        self.rates = rates
        # One rate for all is torch's ordinary loop.
        self.shared = rates.ndim == 0 or bool((rates == rates[0]).all())
        _check_optimizer(optimizer)
        rate = float(rates.flatten()[0]) if self.shared else 1.0
        self.optimizer = optimizer(self.parameters, lr=rate)
        self.initial = [group["lr"] for group in self.optimizer.param_groups]

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self, factor: float) -> None:
        if self.shared:
            for group, rate in zip(self.optimizer.param_groups, self.initial, strict=True):
                group["lr"] = rate * factor
            self.optimizer.step()
        else:
            _step_in_shares(self.optimizer, self.parameters, self.rates * factor)


@torch.no_grad()
def _step_in_shares(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], shares: Tensor) -> None:
    """Take the optimiser's step, of which each replica keeps its share (R,)."""
    before = torch._foreach_add(list(parameters), 0)
    optimizer.step()
    for value, old in zip(parameters, before, strict=True):
        value.sub_(old).mul_(shares.to(value).view(-1, *[1] * (value.ndim - 1))).add_(old)


def _check_optimizer(make: MakeOptimizer) -> None:
    """Try whether an optimiser trains two replicas, at rates that change, as it trains each alone.

    Raises:
        ValueError: It does not; the message says which property it lacks.
    """
    name = getattr(make, "func", make)
    name = getattr(name, "__name__", repr(name))
    gradients = torch.tensor(
        [[[0.3, -0.5], [2.0, 0.1]], [[-0.2, -0.4], [1.0, 0.7]], [[0.9, 0.2], [-0.6, 0.4]]],
        dtype=torch.float64,
    )
    rates = torch.tensor(
        [[0.5, 0.01], [0.4, 0.008], [0.1, 0.002]], dtype=torch.float64
    )  # by step and replica

    def start(*index: int) -> Tensor:
        return torch.tensor([[0.5, -1.0], [0.25, 2.0]], dtype=torch.float64)[index].clone().requires_grad_()

    together, alone = start(), [start(0), start(1)]
    try:
        optimizers = [make([together], lr=1.0)]
        optimizers += [make([value], lr=float(rates[0, r])) for r, value in enumerate(alone)]
        for gradient, rate in zip(gradients, rates, strict=True):
            together.grad = gradient.clone()
            _step_in_shares(optimizers[0], [together], rate)
            for r, value in enumerate(alone):
                value.grad = gradient[r].clone()
                for group in optimizers[1 + r].param_groups:
                    group["lr"] = float(rate[r])
                optimizers[1 + r].step()
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"optimizer {name} cannot train a population: it must be made from parameters and lr, take steps "
            f"without a closure and accept parameters of any shape; {type(error).__name__}: {error}"
        ) from error
    if not torch.allclose(together, torch.stack(alone), rtol=1e-9, atol=1e-12):
        raise ValueError(
            f"optimizer {name} cannot train a population: its step must be proportional to its rate and "
            "treat each element by itself, as SGD, Adam, AdamW, RMSprop, Adagrad and NAdam do"
        )


@torch.no_grad()
def _clip(parameters: Sequence[Tensor], longest: float) -> None:
    """Shorten each replica's gradient to a norm, by `torch.nn.utils.clip_grad_norm_`'s rule."""
    gradients = [value.grad for value in parameters if value.grad is not None]
    squares = [gradient.flatten(1).square().sum(1) for gradient in gradients]
    share = (longest / (torch.stack(squares).sum(0).sqrt() + 1e-6)).clamp_max(1)
    for gradient in gradients:
        gradient.mul_(share.view(-1, *[1] * (gradient.ndim - 1)))


@torch.no_grad()
def predict(population: Population, split: Split, index: Tensor, *, chunk: int = 256) -> Tensor:
    """The population's outputs in evaluation mode on the examples at ``index`` (R, N): (R, N, …).

    Of a model that returns more than one thing, the first counts.
    """
    population.eval()
    return torch.cat([first(population(split.get(part)[0])) for part in index.split(chunk, dim=1)], dim=1)


def accuracy(population: Population, split: Split, index: Tensor) -> Tensor:
    """Share of labels at ``index`` (R, N) that each replica gets right: (R,).

    Labels of `IGNORED` do not count. A replica whose outputs are not finite gets none right.
    """
    logits, labels = predict(population, split, index), split.get(index)[1]
    right = (logits.argmax(-1) == labels) & logits.isfinite().all(-1)
    return right.flatten(1).sum(1) / (labels != IGNORED).flatten(1).sum(1)


@torch.no_grad()
def mean_loss(
    population: Population,
    split: Split,
    index: Tensor,
    objective: Objective | None = None,
    *,
    chunk: int = 256,
) -> Tensor:
    """An objective's mean in evaluation mode over the examples at ``index`` (R, N): (R,).

    Of tokens, over those that count.
    """
    objective = objective or supervised()
    population.eval()
    total, counted = [], []
    for part in index.split(chunk, dim=1):
        x, y = split.get(part)
        with torch.enable_grad():  # an objective may need a gradient, as adversarial training does
            loss = objective(population, Batch(x, y, 0, 1, population.streams)).detach()
        tokens = y.ndim > 2 and not y.is_floating_point()
        count = (y != IGNORED).flatten(1).sum(1) if tokens else torch.full_like(loss, part.shape[1])
        total.append(loss * count)
        counted.append(count)
    return torch.stack(total).sum(0) / torch.stack(counted).sum(0)
