r"""A linearly separable task on which adaptive methods fit the training data and generalise badly.

Labels :math:`y_i` are 1 or −1, and 1 is the more frequent. An example has

* one feature that is its label,
* two features that are always 1,
* features of its own, which no other example has and which are 1: one if its label is 1, five if it is −1.

A linear model :math:`w` is trained by least squares, :math:`\tfrac12 \lVert X w - y \rVert^2`, from
:math:`w = 0` and with all examples at once. The first feature alone would solve the task, new examples
included. Gradient descent finds the solution of least norm, which puts most of its weight there and labels
new examples rightly. A method that divides each element's step by the size of its gradients finds

.. math::

    w = \tfrac14 \operatorname{sign}(X^\top y),

which also fits every training example. On a new one, of whose own features it knows nothing, it gives
:math:`(y + 2) / 4`, which is positive for both labels: it calls everything 1.

The reason is Lemma 3.1 of the paper: where :math:`X \operatorname{sign}(X^\top y) = c\, y` for some number
:math:`c`, here 4, the gradient is a multiple of :math:`X^\top y` at every step, and the division cancels out
the sizes of its elements; exactly, if the optimiser's :math:`\epsilon` is 0.

Source: [wilson2017marginal], section 3.3, where examples have infinitely many features; those that are 0 for
all of them are left out here.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Axis legend: N examples, D features.
SHARED = 3  # features that every example has


def separable(labels: Tensor) -> Tensor:
    """The examples of these labels.

    Args:
        labels: 1 or −1, (N,); more of the first kind.

    Returns:
        Features, (N, D): the label, two ones, and for each example its own, one or five.

    Raises:
        ValueError: Labels are of another shape or kind, or 1 is not the more frequent.
    """
    if labels.ndim != 1 or not bool((labels.abs() == 1).all()):
        raise ValueError(f"labels should be 1 or −1, in one dimension, but are {labels.tolist()}")
    if not labels.sum() > 0:
        raise ValueError(f"labels should be 1 more often than −1, but their sum is {int(labels.sum())}")
    own = (3 - 2 * labels).long()  # features of one's own: 1 or 5
    owner = torch.arange(len(labels), device=labels.device).repeat_interleave(own)
    mine = owner == torch.arange(len(labels), device=labels.device)[:, None]  # (N, D - SHARED)
    return torch.cat([_shared(labels), mine.double()], dim=1)


def unseen(labels: Tensor, features: int) -> Tensor:
    """New examples, as far as a model of so many features sees them: their own features are none of these.

    Args:
        labels: 1 or −1, (N,).
        features: The number D of features of the training examples.

    Returns:
        Features, (N, D), of which all but the shared ones are 0.
    """
    return torch.cat([_shared(labels), labels.new_zeros(len(labels), features - SHARED).double()], dim=1)


def _shared(labels: Tensor) -> Tensor:
    ones = torch.ones_like(labels)
    return torch.stack([labels, ones, ones], dim=1).double()


def sign_solution(x: Tensor, y: Tensor) -> Tensor:
    """What adaptive methods find: sign(Xᵀ y) / 4, (D,), from examples (N, D) and labels (N,)."""
    return (x.T @ y.to(x)).sign() / 4


def least_norm_solution(x: Tensor, y: Tensor) -> Tensor:
    """What gradient descent from 0 finds: the shortest solution of X w = y, (D,)."""
    return torch.linalg.lstsq(x, y.to(x), driver="gelsd").solution


def descend(
    optimizer: torch.optim.Optimizer,
    w: Tensor,
    x: Tensor,
    y: Tensor,
    steps: int,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> Tensor:
    """Train ``w`` (D,), in place, by least squares on all examples at once.

    Args:
        optimizer: Holds w.
        w: The linear model; zero to begin with.
        x, y: Examples (N, D) and labels (N,).
        steps: Number of steps.
        schedule: Of the rate; one step of it after each of the optimiser's.

    Returns:
        The model after every step, (steps, D).
    """
    path = []
    for _ in range(steps):
        w.grad = x.T @ (x @ w.detach() - y.to(x))
        optimizer.step()
        if schedule is not None:
            schedule.step()
        path.append(w.detach().clone())
    return torch.stack(path)
