r"""Switch: one expert a token, whose output is multiplied by the gate's value among all experts.

.. math::

    p(x) = \mathrm{softmax}(x W), \qquad j = \arg\max_i p_i(x), \qquad y = p_j(x)\, o_j(x), \qquad
    L = \alpha E \sum_i f_i P_i ,

with :math:`f_i` the share of tokens whose expert is i and :math:`P_i` the mean of :math:`p_i`. An expert
takes at most (tokens / experts) x capacity factor tokens. The output of the rest is zero: the layer stands
beside a residual connection.

Paper: ``fedus2022switch`` (equations 1 to 6).

Pitfalls:
    * Which tokens are dropped depends on the other tokens of the batch, in evaluation too.
    * :math:`f` is a count: the gate learns balance through :math:`P` alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surveylab.adaptive.experts import Experts, check_features, check_weights, one_hot
from surveylab.adaptive.sparse_mixture_of_experts import (
    SparseMixture,
    expert_capacity,
    gate_logits,
)

# Axis legend: … any axes, T tokens (all axes before the last as one), E experts, D features in, O out.


def switch_balance(probabilities: Tensor, index: Tensor) -> Tensor:
    """E Σ_i f_i P_i: 1 if tokens spread evenly, up to E if one expert gets all; 0 without tokens.

    Args:
        probabilities: The gate's, (T, E).
        index: Each token's expert, (T,).
    """
    num_experts = probabilities.shape[-1]
    tokens = torch.ones_like(index).sum().clamp_min(1)  # a tensor, so that a graph fits any number
    shares = one_hot(index, num_experts).sum(0).to(probabilities.dtype) / tokens
    return num_experts * (shares * probabilities.sum(0) / tokens).sum()


class SwitchMixtureOfExperts(nn.Module):
    """One expert a token, with a capacity: the layer of the Switch Transformer.

    Args:
        in_features: Features of a token, D.
        hidden_features: Width of each expert's hidden layer; None for linear experts.
        out_features: Features of the output, O.
        num_experts: Number of experts, E.
        balance_weight: α, the weight of the balance loss.
        capacity_factor: An expert takes at most T / E tokens times this, rounded up; None for no limit.
        device: Where parameters live.
        dtype: Their dtype.

    Attributes:
        gate_weight: W, (D, E).
        experts: The experts.

    The gate computes in float32 at least.
        NOTE: the paper also multiplies the gate's input by uniform noise in training; here there is none.
        It begins as `torch.nn.Linear` does, where the paper draws all weights from a truncated normal.

    Raises:
        ValueError: An argument that is out of range.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None,
        out_features: int,
        num_experts: int,
        *,
        balance_weight: float = 0.01,
        capacity_factor: float | None = 1.25,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_weights(balance_weight=balance_weight, capacity_factor=capacity_factor)
        self.balance_weight, self.capacity_factor = balance_weight, capacity_factor
        self.experts = Experts(num_experts, in_features, hidden_features, out_features, device, dtype)
        self.gate_weight = nn.Parameter(torch.empty(in_features, num_experts, device=device, dtype=dtype))
        nn.init.uniform_(self.gate_weight, -(in_features**-0.5), in_features**-0.5)

    def forward(self, input: Tensor) -> SparseMixture:
        """Run each token's expert: (…, D) → (…, O); what is dropped is zero.

        Raises:
            ValueError: The input has another number of features, or no axis of tokens.
            TypeError: The input is not floating point.
        """
        check_features(input, self.experts.in_features)
        tokens = input.reshape(-1, input.shape[-1])  # (…, D) -> (T, D)
        probabilities = gate_logits(tokens, self.gate_weight).softmax(-1)  # (T, E)
        gates, index = probabilities.topk(1, -1)  # (T, 1)
        load = one_hot(index[:, 0], probabilities.shape[-1]).to(probabilities.dtype).sum(0)
        loss = self.balance_weight * switch_balance(probabilities, index[:, 0])
        capacity = expert_capacity(index, probabilities.shape[-1], self.capacity_factor)
        output, counts, dropped = self.experts.dispatch(tokens, index, gates, capacity)
        output = output.reshape(*input.shape[:-1], output.shape[-1])
        return SparseMixture(output, loss, probabilities.sum(0), load, counts, dropped)

    def extra_repr(self) -> str:
        """Show the arguments, as torch does."""
        return f"balance_weight={self.balance_weight}, capacity_factor={self.capacity_factor}"
