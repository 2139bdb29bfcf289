"""A population's loss as a function of its parameters: gradients, and steps away from where it stands.

Parameters and gradients are dictionaries of stacked tensors by name, (R, …), as in `Population.state`.
Nothing here moves the population or touches its running statistics.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from surveylab.lab.objectives import Loss, cross_entropy, first
from surveylab.lab.population import Population

State = dict[str, Tensor]


def gradients(
    population: Population,
    x: Tensor,
    y: Tensor,
    state: State | None = None,
    *,
    loss: Loss = cross_entropy,
) -> tuple[Tensor, State]:
    """Each replica's loss and gradient on a batch, in the population's present mode.

    Args:
        population: The replicas.
        x, y: A batch for each replica, (R, B, …) and (R, B).
        state: Where to evaluate; by default where the population stands.
        loss: Maps outputs and labels to losses (R,); of several outputs, the first counts.

    Returns:
        Losses (R,) and gradients by parameter.
    """
    where = {name: value.detach().requires_grad_() for name, value in (state or population.state).items()}
    statistics = {name: value.clone() for name, value in population.buffers.items()}
    losses = loss(first(population(x, state=where, buffers=statistics)), y)
    found = torch.autograd.grad(losses.sum(), list(where.values()))
    return losses.detach(), dict(zip(where, found, strict=True))


def moved(
    state: State, direction: State, step: Tensor | float, *, only: Iterable[str] | None = None
) -> State:
    """``state + step · direction``, for the parameters named in ``only`` (all by default).

    Args:
        state, direction: Parameters and a direction, by name.
        step: One number, or one a replica (R,).
        only: Names of the parameters to move.
    """
    names = set(state if only is None else only)
    sizes = torch.as_tensor(step)

    def by(value: Tensor) -> Tensor:
        return sizes.to(value).view(-1, *[1] * (value.ndim - 1)) if sizes.ndim else sizes.to(value)

    return {
        name: value.detach() + by(value) * direction[name] if name in names else value.detach()
        for name, value in state.items()
    }


def norms(state: State, names: Iterable[str] | None = None) -> Tensor:
    """The Euclidean norm of each replica's parameters, (R,), over those named (all by default)."""
    chosen = state if names is None else {name: state[name] for name in names}
    return torch.stack([value.flatten(1).square().sum(1) for value in chosen.values()]).sum(0).sqrt()
