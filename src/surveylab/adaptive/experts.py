r"""Experts as stacked parameters, and dispatch: each token is multiplied by the matrices of its own experts.

E experts are networks of two layers whose parameters lie in one tensor a layer,

.. math::

    o_i(x) = W_i^{(2)\top} \max(0, W_i^{(1)\top} x + b_i^{(1)}) + b_i^{(2)}, \qquad i = 1, \dots, E .

Where a token needs only k of them, the pairs of token and expert are sorted by expert; then the rows of one
expert lie together, and one matrix product an expert does exactly the work that was asked for. There is no
loop over tokens and no padding. Under `torch.func.vmap` replicas are further groups, so a population runs
the same products. An expert that no token chose is not touched: its gradient is exactly zero.

Sources: ``shazeer2017outrageously``, ``fedus2022switch``.

Pitfalls:
    * Under a capacity, which tokens an expert drops depends on the other tokens of the batch.
    * The sizes of the groups are read by the host: on a GPU it waits for them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surveylab.adaptive.expert_rows import run_rows

# Axis legend: R replicas, T tokens, k experts a token, N = k * T rows sorted by expert, E experts,
# D features in, H hidden, O out. Rows starts[e]:ends[e] belong to expert e; rows in none stay zero.


class Dispatched(NamedTuple):
    """What the chosen experts gave.

    Attributes:
        output: Sum over each token's experts, weighted: (T, O).
        counts: Tokens that each expert ran on: (E,), int64.
        dropped: Pairs of token and expert that were left out for want of capacity: (), int64.
    """

    output: Tensor
    counts: Tensor
    dropped: Tensor


class Experts(nn.Module):
    """E networks of two layers with ReLU between them, or of one layer.

    Args:
        num_experts: Number of experts E.
        in_features: Features of a token, D.
        hidden_features: Width of the hidden layer, H; None for linear experts of one layer.
        out_features: Features that come out, O.
        device: Where parameters live.
        dtype: Their dtype.

    Attributes:
        weight1: (E, D, H), or (E, D, O) of linear experts.
        bias1: (E, H), or (E, O).
        weight2: (E, H, O), or None.
        bias2: (E, O), or None.

    Parameters begin as those of `torch.nn.Linear` do.
    """

    weight2: Tensor | None
    bias2: Tensor | None

    def __init__(
        self,
        num_experts: int,
        in_features: int,
        hidden_features: int | None,
        out_features: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = {"num_experts": num_experts, "in_features": in_features, "out_features": out_features}
        check_counts(**sizes, **({} if hidden_features is None else {"hidden_features": hidden_features}))
        self.num_experts, self.in_features, self.out_features = num_experts, in_features, out_features
        self.hidden_features = hidden_features
        first = out_features if hidden_features is None else hidden_features
        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight1 = nn.Parameter(torch.empty(num_experts, in_features, first, **like))
        self.bias1 = nn.Parameter(torch.empty(num_experts, first, **like))
        if hidden_features is None:
            self.register_parameter("weight2", None)
            self.register_parameter("bias2", None)
        else:
            self.weight2 = nn.Parameter(torch.empty(num_experts, hidden_features, out_features, **like))
            self.bias2 = nn.Parameter(torch.empty(num_experts, out_features, **like))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters uniformly within 1 / sqrt(features in) of zero, as `torch.nn.Linear` does."""
        for weight, bias in self._layers():
            bound = weight.shape[1] ** -0.5
            for parameter in (weight, bias):
                nn.init.uniform_(parameter, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Run every expert on every token: (…, D) → (…, E, O)."""
        check_features(input, self.in_features)
        (weight, bias), *second = self._layers()
        output = torch.einsum("...d,edh->...eh", input, weight) + bias
        for weight, bias in second:
            output = torch.einsum("...eh,eho->...eo", output.relu(), weight) + bias
        return output

    def dispatch(
        self, input: Tensor, index: Tensor, weight: Tensor, capacity: int | None = None
    ) -> Dispatched:
        """Run each token's own experts and add up what they give.

        Args:
            input: Tokens, (T, D).
            index: Each token's experts, the most important first: (T, k), int64.
            weight: By what their outputs are multiplied: (T, k).
            capacity: How many tokens an expert takes. First choices come before second ones, earlier tokens
                before later ones; the rest is dropped. None for as many as there are.
        """
        layers = [parameter for layer in self._layers() for parameter in layer]  # weight, bias, …
        device = input.device.type
        if torch.is_autocast_enabled(device) and input.dtype != torch.float64:  # which torch leaves as it is
            low = torch.get_autocast_dtype(device)
            input, layers = input.to(low), [parameter.to(low) for parameter in layers]
        tokens = index.shape[0]
        experts, order = index.mT.reshape(-1).sort(stable=True)  # (T, k) -> (N,), first choices first
        ends = one_hot(experts, self.num_experts).sum(0).cumsum(0)  # (E,)
        starts = F.pad(ends[:-1], (1, 0))
        weight = weight.mT.reshape(-1).index_select(0, order)  # (T, k) -> (N,)
        if capacity is not None:
            ends = torch.minimum(ends, starts + capacity)
        token = torch.arange(tokens, device=input.device).repeat(index.shape[1]).index_select(0, order)
        output = run_rows(input, token, weight.to(input.dtype), starts, ends, *layers)
        counts = ends - starts
        return Dispatched(output, counts, index.numel() - counts.sum())

    def _layers(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of each layer."""
        layers: list[tuple[Tensor, Tensor]] = [(self.weight1, self.bias1)]
        if self.weight2 is not None and self.bias2 is not None:
            layers.append((self.weight2, self.bias2))
        return layers

    def extra_repr(self) -> str:
        """Show the arguments, as torch does."""
        return (
            f"{self.num_experts}, in_features={self.in_features}, hidden_features={self.hidden_features}, "
            f"out_features={self.out_features}"
        )


def one_hot(index: Tensor, num_experts: int) -> Tensor:
    """Which expert is meant: (…) → (…, E), bool."""
    return index.unsqueeze(-1) == torch.arange(num_experts, device=index.device)


def check_counts(**counts: int) -> None:
    """Raise an error for a number of features or experts that is not a whole number of 1 or more."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{name} should be a whole number, 1 or more, but is {count}")


def check_weights(**weights: float | None) -> None:
    """Raise an error for a weight or a factor, by its name, that is negative, infinite or no number."""
    for name, weight in weights.items():
        if weight is not None and not 0 <= weight < math.inf:
            raise ValueError(f"{name} should be zero or more, but is {weight}")


def check_features(input: Tensor, features: int) -> None:
    """Raise an error for an input that is not (…, features) or not floating point."""
    if not input.is_floating_point():
        raise TypeError(f"input should be floating point, but is {input.dtype}: convert it")
    if input.dim() < 2 or input.shape[-1] != features:
        raise ValueError(
            f"input should have shape (tokens, {features}) or (..., tokens, {features}), but has "
            f"{tuple(input.shape)}"
        )
