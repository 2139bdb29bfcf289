r"""Sparse mixture of experts: each token runs k of E experts, so parameters grow while computation does not.

**Noisy top-k gating** [shazeer2017outrageously]. For a token x with standard normal noise :math:`\epsilon_i`,

.. math::

    H(x)_i = (x W_g)_i + \epsilon_i\, \mathrm{softplus}\bigl((x W_\text{noise})_i\bigr), \qquad
    G(x) = \mathrm{softmax}(\mathrm{KeepTopK}(H(x), k)), \qquad
    y = \sum_{i : G(x)_i > 0} G(x)_i\, o_i(x),

where KeepTopK sets all but the k largest to :math:`-\infty`. Two losses keep all experts in use, with
:math:`\mathrm{CV}` the coefficient of variation over experts and :math:`X` a batch:

.. math::

    \mathrm{Importance}(X)_i = \sum_{x \in X} G(x)_i, \qquad
    \mathrm{Load}(X)_i = \sum_{x \in X} P(x, i), \qquad
    L = w_\text{imp} \mathrm{CV}(\mathrm{Importance}(X))^2 + w_\text{load} \mathrm{CV}(\mathrm{Load}(X))^2 ,

    P(x, i) = \Phi\left(\frac{(x W_g)_i - \mathrm{kth\_excluding}(H(x), k, i)}
                             {\mathrm{softplus}((x W_\text{noise})_i)}\right).

:math:`P(x, i)` is the probability that expert i is among the k if only its own noise were drawn anew:
kth_excluding is the k-th largest of the other components. It is a smooth estimate of how many tokens an
expert gets (equations 3 to 11 and appendix A).

Paper: ``shazeer2017outrageously``.

Pitfalls:
    * With noisy top-k gating and k = 1 the one gate that is kept is exactly 1: the gate learns nothing from
      the output. `SwitchMixtureOfExperts` multiplies by the probability among all experts instead.
    * Without noise the load is a count, which has no gradient: only importance is then learnt.
    * CV divides by the number of experts, as of a whole population, and not by one less.
    * Batch mates matter: through the losses always, and under a capacity also in the output.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surveylab.adaptive.experts import Experts, check_counts, check_features, check_weights, one_hot

# Axis legend: … any axes, T tokens (all axes before the last as one), E experts, k chosen, D features in,
# O features out.


class SparseMixture(NamedTuple):
    """What a sparse mixture gives; all but the first are of one batch, so that replicas have their own.

    Attributes:
        output: The chosen experts' outputs, weighted: (…, O).
        loss: What keeps experts in use, with its weights, to be added to the task's loss: ().
        importance: Sum over tokens of the gate's values: (E,).
        load: Number of tokens whose choice an expert is, or its smooth estimate: (E,).
        counts: Tokens that each expert ran on: (E,), int64.
        dropped: Pairs of token and expert left out for want of capacity: (), int64.
    """

    output: Tensor
    loss: Tensor
    importance: Tensor
    load: Tensor
    counts: Tensor
    dropped: Tensor


def noisy_logits(clean: Tensor, raw_scale: Tensor, noise: Tensor) -> Tensor:
    """H = clean + noise · softplus(raw_scale), all of one shape (…, E)."""
    return clean + noise * F.softplus(raw_scale)


def top_k_gates(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Keep the k largest and take their softmax: (…, E) → values and places, (…, k) each, largest first.

    Raises:
        ValueError: k is not from 1 to E.
    """
    if not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"k should be from 1 to the number of experts {logits.shape[-1]}, but is {k}")
    values, index = logits.topk(k, -1)
    return values.softmax(-1), index


def selection_probability(clean: Tensor, raw_scale: Tensor, noisy: Tensor, k: int) -> Tensor:
    """P(x, i): how likely an expert is among the k largest if its own noise alone were drawn anew.

    Args:
        clean: x W_g, (…, E).
        raw_scale: x W_noise, (…, E).
        noisy: H(x), (…, E).
        k: Number of experts that are kept.

    Returns:
        Probabilities, (…, E), differentiable in all three; 1 where every expert is kept.
    """
    num_experts = clean.shape[-1]
    if k == num_experts:
        return torch.ones_like(clean)
    values, index = noisy.topk(k + 1, -1)
    kept = torch.zeros_like(clean, dtype=torch.bool).scatter(-1, index[..., :k], 1)
    # Without a kept one the next moves up to be the k-th of the rest; without another the k-th stays.
    kth, following = values[..., k - 1 :].split(1, -1)
    threshold = torch.where(kept, following, kth)
    # NOTE: where softplus has underflowed the quotient would be 0 / 0.
    scale = F.softplus(raw_scale).clamp_min(torch.finfo(raw_scale.dtype).eps)
    return torch.special.ndtr((clean - threshold) / scale)


def cv_squared(values: Tensor) -> Tensor:
    """Squared coefficient of variation, variance / mean²: (…, E) → (…); 0 where all values are 0."""
    mean = values.mean(-1)
    variance = (values - mean.unsqueeze(-1)).square().mean(-1)
    return variance / torch.where(mean == 0, 1, mean.square())


class SparseMixtureOfExperts(nn.Module):
    """k of E experts a token, by noisy top-k gating.

    Args:
        in_features: Features of a token, D.
        hidden_features: Width of each expert's hidden layer; None for linear experts.
        out_features: Features of the output, O.
        num_experts: Number of experts, E.
        k: Experts a token runs.
        noisy: Add noise in training, whose scale is learnt. In evaluation there is none.
        importance_weight: Weight of CV(importance)² in the loss.
        load_weight: Weight of CV(load)² in the loss.
        capacity_factor: An expert takes at most k T / E tokens times this, rounded up; None for no limit.
        device: Where parameters live.
        dtype: Their dtype.

    Attributes:
        gate_weight: W_g, (D, E), zero at first, as in the paper.
        noise_weight: W_noise, (D, E), zero at first; None if not noisy.
        experts: The experts.

    The gate computes in float32 at least, also under autocast: rounding would change the choice.

    Raises:
        ValueError: An argument that is out of range.
    """

    noise_weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None,
        out_features: int,
        num_experts: int,
        k: int = 2,
        *,
        noisy: bool = True,
        importance_weight: float = 0.1,
        load_weight: float = 0.1,
        capacity_factor: float | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(num_experts=num_experts, k=k)
        if k > num_experts:
            raise ValueError(f"k should be at most the number of experts {num_experts}, but is {k}")
        check_weights(
            importance_weight=importance_weight, load_weight=load_weight, capacity_factor=capacity_factor
        )
        self.k, self.capacity_factor = k, capacity_factor
        self.importance_weight, self.load_weight = importance_weight, load_weight
        self.experts = Experts(num_experts, in_features, hidden_features, out_features, device, dtype)
        self.gate_weight = nn.Parameter(torch.zeros(in_features, num_experts, device=device, dtype=dtype))
        if noisy:
            self.noise_weight = nn.Parameter(torch.zeros_like(self.gate_weight))
        else:
            self.register_parameter("noise_weight", None)

    def forward(self, input: Tensor) -> SparseMixture:
        """Run each token's k experts: (…, D) → (…, O), with the loss and what it is made of.

        Raises:
            ValueError: The input has another number of features, or no axis of tokens.
            TypeError: The input is not floating point.
        """
        check_features(input, self.experts.in_features)
        tokens = input.reshape(-1, input.shape[-1])  # (…, D) -> (T, D)
        if self.noise_weight is not None and self.training:
            both = gate_logits(tokens, torch.cat([self.gate_weight, self.noise_weight], 1))  # (T, 2 E)
            clean, raw_scale = both.chunk(2, -1)  # (T, E) each
            logits = noisy_logits(clean, raw_scale, self._noise(clean))
            load = selection_probability(clean, raw_scale, logits, self.k).sum(0)
        else:
            logits = clean = gate_logits(tokens, self.gate_weight)
            load = None
        gates, index = top_k_gates(logits, self.k)  # (T, k)
        importance = torch.zeros_like(clean).scatter(-1, index, gates).sum(0)
        if load is None:
            load = one_hot(index, clean.shape[-1]).to(clean.dtype).sum((0, 1))
        loss = self.importance_weight * cv_squared(importance) + self.load_weight * cv_squared(load)
        capacity = expert_capacity(index, clean.shape[-1], self.capacity_factor)
        output, counts, dropped = self.experts.dispatch(tokens, index, gates, capacity)
        output = output.reshape(*input.shape[:-1], output.shape[-1])
        return SparseMixture(output, loss, importance, load, counts, dropped)

    def _noise(self, clean: Tensor) -> Tensor:
        """Standard normal."""
        return torch.randn_like(clean)

    def extra_repr(self) -> str:
        """Show the arguments, as torch does."""
        return (
            f"k={self.k}, noisy={self.noise_weight is not None}, importance_weight={self.importance_weight}, "
            f"load_weight={self.load_weight}, capacity_factor={self.capacity_factor}"
        )


def gate_logits(tokens: Tensor, weight: Tensor) -> Tensor:
    """(T, D), (D, E) → (T, E), in float32 at least."""
    dtype = torch.promote_types(tokens.dtype, torch.float32)
    with torch.autocast(tokens.device.type, enabled=False):
        return tokens.to(dtype) @ weight.to(dtype)


def expert_capacity(index: Tensor, num_experts: int, factor: float | None) -> int | None:
    """Tokens an expert takes: their even share times the factor, rounded up.

    NOTE: the papers do not say how to round. In whole numbers, as 1.1 * 100 / 10 is a little more than 11.
    """
    if factor is None:
        return None
    exact = Fraction(repr(float(factor)))
    tokens, k = index.shape
    return -(-tokens * k * exact.numerator // (num_experts * exact.denominator))
