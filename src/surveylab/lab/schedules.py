r"""How the learning rate changes in training: factors of it, as for `torch.optim.lr_scheduler.LambdaLR`.

A schedule maps a step, from 0, and their number to a factor. ``warmup`` is the share of the steps over which
the factor rises to 1:

.. math::

    \lambda(t) = \min\Bigl(1, \frac{t + 1}{w}\Bigr) \, d(t / T), \qquad
    w = \lfloor \text{warmup} \cdot T \rfloor,

with :math:`d(u) = 1` (`constant`), :math:`1 - u` (`linear`) or :math:`(1 + \cos \pi u) / 2` (`cosine`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int, int], float]


def constant(warmup: float = 0.0) -> Schedule:
    """The rate stays."""
    return _schedule(warmup, lambda done: 1.0)


def linear(warmup: float = 0.0) -> Schedule:
    """The rate falls linearly to zero."""
    return _schedule(warmup, lambda done: 1 - done)


def cosine(warmup: float = 0.0) -> Schedule:
    """The rate falls to zero along half a cosine [loshchilov2017sgdr]."""
    return _schedule(warmup, lambda done: (1 + math.cos(math.pi * done)) / 2)


def _schedule(warmup: float, decay: Callable[[float], float]) -> Schedule:
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup must be a share of the steps, from 0 to 1; got {warmup}")

    def factor(step: int, steps: int) -> float:
        rise = max(int(warmup * steps), 1)
        return min(1.0, (step + 1) / rise) * decay(step / steps)

    return factor
