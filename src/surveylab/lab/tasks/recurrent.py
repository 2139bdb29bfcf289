r"""Recurrent networks whose cells can be normalised, and which run as a population.

Each takes ``norm``, which makes a normalisation layer for a number of features, as the networks of
`surveylab.lab.models` do, and places it where Ba et al. place Layer Norm (``ba2016layer``, equation 4 and
supplement): in front of the nonlinearities, on what comes from the input and from the state each by itself
where there are gates. Biases are added after it. Without normalisation they are torch's networks of one layer
with ``batch_first=True``, whose state dicts they load; torch's own cannot be vmapped.

A normalisation layer sees the values of one step, (B, features), never other steps. It is one layer with one
set of parameters for all steps; one that keeps running statistics keeps one set of these as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surveylab.lab.models import Norm, no_norm

# Axis legend: B sequences, T steps, I input features, H hidden features, G blocks of H that a step computes.
State = tuple[Tensor, ...]  # each (B, H), the hidden state first


class Recurrent(nn.Module, ABC):
    """A recurrent layer with torch's parameters; a subclass says how a step goes.

    Args:
        input_size: Features of a step's input, I.
        hidden_size: Features of the state, H.
    """

    blocks: int  # G
    states = 1

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        rows = self.blocks * hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows))
        self.bias_hh_l0 = nn.Parameter(torch.empty(rows))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden_size**-0.5), hidden_size**-0.5)  # as torch does

    def forward(
        self, input: Tensor, lengths: Tensor | None = None, *, offsets: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read sequences from a state of zeros.

        Args:
            input: Sequences, (B, T, I).
            lengths: How many steps of each to read, (B,), at most T; the rest is padding, and may hold
                anything. All by default. A Batch Norm inside still counts sequences that have ended.
            offsets: Added to the hidden state after each step, (T, B, H), so that a gradient with respect to
                one is the signal that reaches that state.

        Returns:
            The hidden states after every step, (B, T, H), 0 where a sequence has ended; and after each
            sequence's last step, (B, H).

        Raises:
            ValueError: A shape that does not fit, or, unless under vmap, a length outside 0 to T.
        """
        if input.dim() != 3 or input.shape[1] == 0 or input.shape[2] != self.input_size:
            raise ValueError(
                f"input should have shape (sequences, steps, {self.input_size}) with one step at least, but "
                f"has {tuple(input.shape)}"
            )
        if lengths is not None:
            self._check_lengths(lengths, input)
            steps = torch.arange(input.shape[1], device=input.device)
            # Not multiplied by 0, which leaves NaN as it is; and first, or it would come back in gradients.
            input = torch.where((steps < lengths.unsqueeze(-1)).unsqueeze(-1), input, 0)  # (B, T, 1)
        if offsets is not None and offsets.shape != (*input.shape[1::-1], self.hidden_size):
            raise ValueError(
                f"offsets should have shape (steps, sequences, features), "
                f"{(*input.shape[1::-1], self.hidden_size)}, but has {tuple(offsets.shape)}"
            )
        state = (input.new_zeros(input.shape[0], self.hidden_size),) * self.states
        # Unbound, (B, G H) a step: indexing would fill a whole tensor of zeros a step on the way back.
        from_input = F.linear(input, self.weight_ih_l0).unbind(1)  # (B, T, I) -> T times (B, G H)
        outputs = []
        for t in range(input.shape[1]):
            new = self.step(from_input[t], state)
            if offsets is not None:
                new = (new[0] + offsets[t], *new[1:])
            if lengths is None:
                state = new
                outputs.append(new[0])
            else:
                runs = (t < lengths).unsqueeze(-1)  # (B, 1)
                state = tuple(torch.where(runs, *pair) for pair in zip(new, state, strict=True))
                outputs.append(torch.where(runs, new[0], 0))
        return torch.stack(outputs, 1), state[0]

    def _check_lengths(self, lengths: Tensor, input: Tensor) -> None:
        sequences, steps = input.shape[:2]
        if lengths.shape != (sequences,):
            raise ValueError(
                f"lengths should have shape ({sequences},), one for each sequence, but has "
                f"{tuple(lengths.shape)}"
            )
        if torch._C._functorch.is_functorch_wrapped_tensor(lengths):
            return  # vmap has no values to look at
        if not ((lengths >= 0) & (lengths <= steps)).all():
            raise ValueError(
                f"lengths should be from 0 to the input's {steps} steps, but are {lengths.tolist()}"
            )

    @abstractmethod
    def step(self, from_input: Tensor, state: State) -> State:
        """The next state, from the input's part of the summed inputs, (B, G H), and the last state."""

    def extra_repr(self) -> str:
        """Show the sizes, as torch does."""
        return f"{self.input_size}, {self.hidden_size}"


class RNN(Recurrent):
    r"""A simple recurrent layer.

    .. math:: h_t = \tanh(\mathrm{norm}(W x_t + U h_{t-1}) + b)
    """

    blocks = 1

    def __init__(self, input_size: int, hidden_size: int, norm: Norm = no_norm) -> None:
        super().__init__(input_size, hidden_size)
        self.norm = norm(hidden_size)

    def step(self, from_input: Tensor, state: State) -> State:
        summed = from_input + F.linear(state[0], self.weight_hh_l0)
        return ((self.norm(summed) + self.bias_ih_l0 + self.bias_hh_l0).tanh(),)


class GRU(Recurrent):
    r"""A gated recurrent unit.

    .. math::

        (r_t, z_t) &= \mathrm{sigmoid}(\mathrm{norm}(W x_t) + \mathrm{norm}(U h_{t-1}) + b) \\
        n_t &= \tanh(\mathrm{norm}(W' x_t) + b' + r_t \odot (\mathrm{norm}(U' h_{t-1}) + b'')) \\
        h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}

    Both gates are normalised as one, the candidate :math:`n_t` by itself.
    """

    blocks = 3

    def __init__(self, input_size: int, hidden_size: int, norm: Norm = no_norm) -> None:
        super().__init__(input_size, hidden_size)
        self.norm_ih, self.norm_hh = norm(2 * hidden_size), norm(2 * hidden_size)
        self.norm_ih_candidate, self.norm_hh_candidate = norm(hidden_size), norm(hidden_size)

    def step(self, from_input: Tensor, state: State) -> State:
        (hidden,) = state
        sizes = [2 * self.hidden_size, self.hidden_size]
        from_hidden = F.linear(hidden, self.weight_hh_l0)
        parts = [part.split(sizes, dim=-1) for part in (from_input, from_hidden)]
        biases = [bias.split(sizes) for bias in (self.bias_ih_l0, self.bias_hh_l0)]
        gates = self.norm_ih(parts[0][0]) + self.norm_hh(parts[1][0]) + biases[0][0] + biases[1][0]
        reset, update = gates.sigmoid().chunk(2, dim=-1)
        candidate = self.norm_hh_candidate(parts[1][1]) + biases[1][1]
        candidate = (self.norm_ih_candidate(parts[0][1]) + biases[0][1] + reset * candidate).tanh()
        return (candidate + update * (hidden - candidate),)


class LSTM(Recurrent):
    r"""Long short-term memory.

    .. math::

        (i_t, f_t, g_t, o_t) &= \mathrm{norm}(W x_t) + \mathrm{norm}(U h_{t-1}) + b \\
        c_t &= \mathrm{sigmoid}(f_t) \odot c_{t-1} + \mathrm{sigmoid}(i_t) \odot \tanh(g_t) \\
        h_t &= \mathrm{sigmoid}(o_t) \odot \tanh(\mathrm{norm}(c_t))

    All four are normalised as one; the memory :math:`c_t` itself stays as it is.
    """

    blocks = 4
    states = 2

    def __init__(self, input_size: int, hidden_size: int, norm: Norm = no_norm) -> None:
        super().__init__(input_size, hidden_size)
        self.norm_ih, self.norm_hh = norm(4 * hidden_size), norm(4 * hidden_size)
        self.norm_memory = norm(hidden_size)

    def step(self, from_input: Tensor, state: State) -> State:
        hidden, memory = state
        from_hidden = F.linear(hidden, self.weight_hh_l0)
        summed = self.norm_ih(from_input) + self.norm_hh(from_hidden) + self.bias_ih_l0 + self.bias_hh_l0
        insert, keep, new, show = summed.chunk(4, dim=-1)
        memory = keep.sigmoid() * memory + insert.sigmoid() * new.tanh()
        return show.sigmoid() * self.norm_memory(memory).tanh(), memory
