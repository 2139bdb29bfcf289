r"""Adaptive computation time: a recurrent network learns how often to update its state for each input.

After each update :math:`n` of a step a halting unit looks at the state. The network halts as soon as the
halting probabilities sum to about one, and what it gives is the mean of the states on the way, weighted by
those probabilities [graves2016adaptive]:

.. math::

    s^n &= S(s^{n-1}, x^n), \qquad h^n = \sigma(W_h s^n + b_h) \\
    N &= \min \Bigl\{ M, \min \bigl\{ n' : \textstyle\sum_{n=1}^{n'} h^n \ge 1 - \epsilon \bigr\} \Bigr\},
    \qquad R = 1 - \sum_{n=1}^{N-1} h^n \\
    p^n &= h^n \text{ for } n < N, \quad p^N = R, \qquad
    s = \sum_{n=1}^N p^n s^n, \qquad \rho = N + R

:math:`s^0` is the mean state of the step before, and :math:`x^n` the input with a feature appended that is 1
at the first update and 0 after it, so that the network can tell an input that it sees for the first time. The
ponder cost :math:`\rho`, times a time penalty :math:`\tau`, is added to the loss.

Pitfalls:
    * :math:`N` has no gradient: that of :math:`\rho` is :math:`\partial \rho / \partial h^n = -1` for
      :math:`n < N` and 0 for :math:`n = N`. Lowering :math:`\rho` raises the early probabilities until their
      sum is reached sooner, and there :math:`\rho` jumps down, by :math:`1 - h^{N-1}`.
    * The last weight is :math:`R`, not :math:`h^N`: else the weights do not sum to one, and the mean shrinks.
    * The paper takes the weighted mean of the outputs as well. Its outputs are linear in the state,
      :math:`y^n = W_y s^n + b_y`, and because the weights sum to one their mean is
      :math:`W_y s + b_y`: a linear layer on the mean state. A nonlinearity belongs behind that.
    * A batch computes as many updates as its slowest example, under `torch.func.vmap` always the maximum.
      What is saved is in `Pondered.steps`, not in the time.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surveylab.adaptive.tracing import has_values
from surveylab.normalization.standardise import statistics_dtype

# Axis legend: B sequences, T steps of them, I input features, H state features, M updates a step at most.
State = Tensor | tuple[Tensor, ...]  # each (B, H), the hidden state first
Cell = Callable[[Tensor, Any], Any]  # as torch's cells: input (B, I + 1) and state to the next state


class Pondered(NamedTuple):
    """What adaptive computation time gives, for one step or, with an axis T after B, for each of several.

    Attributes:
        output: The mean hidden state, (B, H): the first tensor of the state.
        state: The mean state after the (last) step, one tensor (B, H) or several, as the cell takes it.
        ponder: The ponder cost :math:`N + R`, (B,), in float32 at least.
        steps: How many updates were made, :math:`N`, (B,), whole numbers.
        weights: The halting weights :math:`p^n`, (B, M), 0 after :math:`N`, in float32 at least.
    """

    output: Tensor
    state: Any
    ponder: Tensor
    steps: Tensor
    weights: Tensor


def act_step(
    cell: Cell,
    input: Tensor,
    state: State,
    weight: Tensor,
    bias: Tensor,
    max_steps: int = 10,
    epsilon: float = 0.01,
) -> Pondered:
    """Update a state until the halting probabilities sum to one: the module's equations.

    Examples that have halted stay in the batch, masked. Where values can be looked at, the loop ends when all
    have halted; under `torch.func` transforms and when compiled or exported it runs to the maximum, with the
    same result.

    Args:
        cell: Makes the next state from an input of (B, I + 1), whose last feature is the flag, and a state.
        input: Of this step, (B, I).
        state: The state before it, (B, H), or several tensors of which the first is the hidden state.
        weight: Of the halting unit, which sees the hidden state, (1, H).
        bias: Of the halting unit, (1,).
        max_steps: The most updates, M.
        epsilon: How much may be missing to one, so that an example can halt after its first update.

    Raises:
        ValueError: A shape that does not fit, no updates, or an epsilon outside 0 to 1.
    """
    _check_limits(max_steps, epsilon)
    if input.dim() != 2:
        raise ValueError(f"input should have shape (examples, features), but has {tuple(input.shape)}")
    before = _parts(state)
    current = before
    flagged = F.pad(input, (0, 1), value=1.0)  # (B, I + 1)
    dtype = statistics_dtype(before[0].dtype)
    total = torch.zeros(input.shape[0], dtype=dtype, device=input.device)  # of h before the last update
    running = torch.ones_like(total, dtype=torch.bool)
    steps = torch.zeros_like(running, dtype=torch.int64)
    mean = [torch.zeros_like(part, dtype=dtype) for part in before]
    weights = []
    for n in range(max_steps):
        made = _parts(cell(flagged, current if isinstance(state, tuple) else current[0]))
        _check_made(made, before)
        # Halted states stay as they are: what a cell makes of them later, if not finite, would spoil a sum
        # even with a weight of 0.
        current = tuple(torch.where(running.unsqueeze(-1), *pair) for pair in zip(made, current, strict=True))
        halting = F.linear(current[0], weight, bias).squeeze(-1).sigmoid().to(dtype)  # (B, H) -> (B,)
        goes_on = running & (total + halting < 1 - epsilon)
        if n == max_steps - 1:
            goes_on = torch.zeros_like(goes_on)
        share = torch.where(running, torch.where(goes_on, halting, 1 - total), 0)
        weights.append(share)
        mean = [m + share.unsqueeze(-1) * part for m, part in zip(mean, current, strict=True)]
        total = total + torch.where(goes_on, halting, 0)
        steps = steps + running
        running = goes_on
        if has_values(running) and not running.any():
            break
        flagged = F.pad(input, (0, 1))
    means = tuple(m.to(part.dtype) for m, part in zip(mean, before, strict=True))
    return Pondered(
        means[0],
        means if isinstance(state, tuple) else means[0],
        steps + (1 - total),
        steps,
        F.pad(torch.stack(weights, -1), (0, max_steps - len(weights))),
    )


class AdaptiveComputationTime(nn.Module):
    """Adaptive computation time around a recurrent cell, over sequences.

    The halting unit's bias begins at 1, as in the paper, so that few updates are made at first.

    Args:
        cell: Called as `torch.nn.GRUCell` or `torch.nn.LSTMCell` is, with one input feature more than the
            sequences have. torch's own cannot be vmapped well; `GRUCell` can.
        hidden_size: Features of its hidden state, H.
        max_steps: The most updates a step, M.
        epsilon: How much the halting probabilities may miss to one.
        states: Tensors that its state consists of: 1 for a GRU, 2 for an LSTM.

    Attributes:
        halting: The halting unit, a linear layer from H features to one.

    Raises:
        ValueError: An argument that is out of range.
    """

    def __init__(
        self,
        cell: nn.Module,
        hidden_size: int,
        max_steps: int = 10,
        epsilon: float = 0.01,
        states: int = 1,
    ) -> None:
        super().__init__()
        _check_limits(max_steps, epsilon)
        _check_count("hidden_size", hidden_size)
        _check_count("states", states)
        self.cell = cell
        self.hidden_size, self.states = hidden_size, states
        self.max_steps, self.epsilon = max_steps, epsilon
        self.halting = nn.Linear(hidden_size, 1)
        nn.init.ones_(self.halting.bias)

    def forward(self, input: Tensor, state: State | None = None) -> Pondered:
        """Read sequences.

        Args:
            input: Sequences, (B, T, I).
            state: The state to begin with; zeros by default.

        Returns:
            `Pondered` with ``output`` (B, T, H), ``state`` after the last step, ``ponder`` and ``steps``
            (B, T) and ``weights`` (B, T, M).

        Raises:
            ValueError: A shape that does not fit.
        """
        if input.dim() != 3 or input.shape[1] == 0:
            raise ValueError(
                "input should have shape (sequences, steps, features) with one step at least, but has "
                f"{tuple(input.shape)}"
            )
        if state is None:
            zeros = input.new_zeros(input.shape[0], self.hidden_size)
            state = zeros if self.states == 1 else (zeros,) * self.states
        if len(_parts(state)) != self.states:
            raise ValueError(f"state should have {self.states} tensors, but has {len(_parts(state))}")
        each = []
        for step_input in input.unbind(1):  # (B, T, I) -> T times (B, I)
            found = act_step(
                self.cell,
                step_input,
                state,
                self.halting.weight,
                self.halting.bias,
                self.max_steps,
                self.epsilon,
            )
            state = found.state
            each.append(found)
        return Pondered(
            torch.stack([found.output for found in each], 1),
            state,
            torch.stack([found.ponder for found in each], 1),
            torch.stack([found.steps for found in each], 1),
            torch.stack([found.weights for found in each], 1),
        )

    def extra_repr(self) -> str:
        """Show the arguments, as torch does."""
        return f"{self.hidden_size}, max_steps={self.max_steps}, epsilon={self.epsilon}, states={self.states}"


class GRUCell(nn.GRUCell):
    """`torch.nn.GRUCell` from elementary operations, which `torch.func.vmap` can vectorise."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state, (B, H), from an input (B, I) and a state (B, H), zeros by default."""
        state = input.new_zeros(input.shape[0], self.hidden_size) if hx is None else hx
        from_input = F.linear(input, self.weight_ih, self.bias_ih).chunk(3, -1)
        from_state = F.linear(state, self.weight_hh, self.bias_hh).chunk(3, -1)
        reset = (from_input[0] + from_state[0]).sigmoid()
        update = (from_input[1] + from_state[1]).sigmoid()
        candidate = (from_input[2] + reset * from_state[2]).tanh()
        return candidate + update * (state - candidate)


def _parts(state: State) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def _check_made(made: tuple[Tensor, ...], before: tuple[Tensor, ...]) -> None:
    found, right = ([tuple(part.shape) for part in parts] for parts in (made, before))
    if found != right:
        raise ValueError(
            f"cell should return a state of the shapes that it is given, {right}, but returned {found}"
        )


def _check_count(name: str, count: Any) -> None:
    if not isinstance(count, Integral) or int(count) < 1:
        raise ValueError(f"{name} should be a whole number, 1 or more, but is {count}")


def _check_limits(max_steps: int, epsilon: float) -> None:
    _check_count("max_steps", max_steps)
    if not 0 <= epsilon < 1:
        raise ValueError(f"epsilon should be from 0 to less than 1, but is {epsilon}")
