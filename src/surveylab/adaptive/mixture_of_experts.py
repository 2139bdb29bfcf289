r"""Mixture of experts: a gating network says how far each of several networks answers for an input.

The gate's probabilities and the mixture's output are

.. math::

    p(x) = \mathrm{softmax}(V^\top x + c), \qquad y(x) = \sum_{i=1}^{E} p_i(x)\, o_i(x) .

How the experts learn to share the work is a matter of the loss. For a target :math:`d`,

.. math::

    L_\text{cooperative} = \lVert d - \sum_i p_i o_i \rVert^2, \qquad
    L_\text{competitive} = -\log \sum_i p_i \exp\bigl(-\tfrac12 \lVert d - o_i \rVert^2\bigr).

The first couples the experts: each learns what the others leave over. The second is the negative
log-likelihood, up to a constant, of a mixture of Gaussians with unit variance. Its gradient
:math:`\partial L / \partial o_i = -h_i (d - o_i)` weighs an expert by its responsibility
:math:`h_i \propto p_i \exp(-\tfrac12 \lVert d - o_i \rVert^2)`: who is nearest learns most, so experts come
to handle different inputs.

Paper: ``jacobs1991adaptive`` (equations 1.1 and 1.3).

Pitfalls:
    * All experts run on every input: a dense mixture saves no computation
      (`surveylab.adaptive.SparseMixtureOfExperts` does).
    * The competitive loss fits a mixture, and its output :math:`y` is only the mean of that.
    * The unit variance sets a scale: scale targets so that errors of the size of 1 are the ones that matter.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from surveylab.adaptive.experts import Experts

# Axis legend: … any axes of examples, E experts, D features in, O features out.


class Mixture(NamedTuple):
    """What a dense mixture gives.

    Attributes:
        output: The experts' outputs, weighted by the gate: (…, O).
        logits: The gate's, before the softmax: (…, E).
        outputs: Those of each expert: (…, E, O).
    """

    output: Tensor
    logits: Tensor
    outputs: Tensor


def competitive_loss(outputs: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """-log Σ_i p_i exp(-½ ‖d - o_i‖²), for each example.

    Args:
        outputs: What each expert gives, o: (…, E, O).
        logits: The gate's, of which p is the softmax: (…, E).
        target: What is right, d: (…, O).

    Returns:
        One loss an example, (…); take their mean.

    Raises:
        ValueError: Shapes that do not fit each other.
    """
    _check(outputs, logits, target)
    distance = (target.unsqueeze(-2) - outputs).square().sum(-1)  # (…, E)
    return -torch.logsumexp(logits.log_softmax(-1) - distance / 2, -1)


def cooperative_loss(outputs: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """‖d - Σ_i p_i o_i‖², for each example; arguments, result and errors as those of `competitive_loss`."""
    _check(outputs, logits, target)
    return (target - mixed(outputs, logits)).square().sum(-1)


def mixed(outputs: Tensor, logits: Tensor) -> Tensor:
    """Σ_i p_i o_i with p the softmax of the logits: outputs (…, E, O), logits (…, E) → (…, O)."""
    return (logits.softmax(-1).unsqueeze(-1) * outputs).sum(-2)


class MixtureOfExperts(nn.Module):
    """A dense mixture of experts with a linear gate.

    Args:
        in_features: Features of an input, D.
        hidden_features: Width of each expert's hidden layer; None for linear experts, as in the paper.
        out_features: Features of the output, O.
        num_experts: Number of experts, E.
        device: Where parameters live.
        dtype: Their dtype.

    Attributes:
        gate: The gating network, a linear layer.
        experts: The experts.

    Raises:
        ValueError: An argument that is not a whole number of 1 or more.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None,
        out_features: int,
        num_experts: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.experts = Experts(num_experts, in_features, hidden_features, out_features, device, dtype)
        self.gate = nn.Linear(in_features, num_experts, device=device, dtype=dtype)

    def forward(self, input: Tensor) -> Mixture:
        """Mix all experts' outputs: (…, D) → (…, O), with what the losses need.

        Raises:
            ValueError: The input has another number of features, or no axis of examples.
            TypeError: The input is not floating point.
        """
        outputs = self.experts(input)
        logits = self.gate(input)
        return Mixture(mixed(outputs, logits), logits, outputs)


def _check(outputs: Tensor, logits: Tensor, target: Tensor) -> None:
    if logits.shape != outputs.shape[:-1]:
        raise ValueError(
            f"logits should have shape {tuple(outputs.shape[:-1])}, one for each expert of the outputs "
            f"{tuple(outputs.shape)}, but have {tuple(logits.shape)}"
        )
    wanted = (*outputs.shape[:-2], outputs.shape[-1])
    if target.shape != wanted:
        raise ValueError(
            f"target should have shape {wanted}, one for the outputs {tuple(outputs.shape)} of all experts, "
            f"but has {tuple(target.shape)}"
        )
