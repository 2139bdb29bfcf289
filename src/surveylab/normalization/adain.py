r"""Adaptive Instance Normalisation: content is given the mean and spread of a style, channel by channel.

Instance Norm removes each channel's own mean and spread, which carry much of a picture's style; here those of
another picture's features take their place. More generally each *example* brings its own scale
:math:`\gamma` and shift :math:`\beta`, whether measured on a style, looked up in a table of styles, or
predicted from a code.

For one channel of one example, with content :math:`x` and style :math:`y`, which may differ in size:

.. math::

    \mathrm{AdaIN}(x, y) = \sigma(y) \, \frac{x - \mu(x)}{\sigma(x)} + \mu(y), \qquad
    \sigma(x) = \sqrt{\tfrac1n \sum_i (x_i - \mu(x))^2 + \epsilon} .

Papers: ``huang2017arbitrary``; ``dumoulin2017learned``, with a learned scale and shift for each style.

Pitfalls:
    * The authors' code takes the biased variance (over n) of both, :math:`\epsilon` in the content's only; a
      widespread port takes the unbiased one of both, :math:`\epsilon` in both. NOTE: here both are biased and
      both have :math:`\epsilon`: content that is its own style comes back as it was, and a style without
      spread has a gradient.
    * The style takes part in the gradient. A fixed style should be detached.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from surveylab.normalization.checks import check_input, check_parameters, check_positions, checked
from surveylab.normalization.standardise import moments, standardise, statistics_dtype

# Axis legend: B batch, C channels, S positions (all spatial axes as one).
_POSITIONS = (-1,)


def conditional_instance_norm(
    input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Instance Norm whose scale and shift are given for each example.

    Args:
        input: Values of shape (B, C, ...), every axis after C being positions.
        weight: Scale of each channel of each example, shape (B, C); 1 if None.
        bias: Shift of each channel of each example, shape (B, C); 0 if None.
        eps: Added to the variance inside the root.

    Returns:
        The normalised input: same shape, dtype and memory layout.

    Raises:
        ValueError: One position, or eps is negative.
        RuntimeError: A shape or dtype that does not fit the input's.
        NotImplementedError: The input is not floating point.
    """
    check_positions(input)
    check_input(input, eps)
    per_example = "one value for each channel of each example"
    check_parameters(input, {"weight": weight, "bias": bias}, tuple(input.shape[:2]), per_example)
    batch, channels, positions = *input.shape[:2], math.prod(input.shape[2:])
    seen, beside = (batch, channels, positions), (batch, channels, 1)  # (B, C, ...) -> (B, C, S)
    output, _, _ = standardise(input, seen, _POSITIONS, beside, weight, bias, eps)
    return output


def adaptive_instance_norm(content: Tensor, style: Tensor, eps: float = 1e-5) -> Tensor:
    """Give each channel of the content the mean and standard deviation of the style's.

    Args:
        content: Values of shape (B, C, ...), every axis after C being positions.
        style: Values of shape (B, C, ...); the positions may be others.
        eps: Added to both variances inside the root.

    Returns:
        The content in its new range: same shape, dtype and memory layout.

    Raises:
        ValueError: The content has one position, the style none, or eps is negative.
        RuntimeError: The style's batch, channels or dtype are not the content's.
        NotImplementedError: The content is not floating point.
    """
    check_input(content, eps)
    if style.shape[:2] != content.shape[:2] or style.dtype != content.dtype:
        raise RuntimeError(
            f"style should have the content's batch, channels and dtype, {tuple(content.shape[:2])} and "
            f"{content.dtype}, but has shape {tuple(style.shape)} and {style.dtype}"
        )
    if style.dim() < 3 or 0 in style.shape[2:]:
        raise ValueError(f"style should have shape (batch, channels, ...), but has {tuple(style.shape)}")
    values = style.flatten(2).to(statistics_dtype(style.dtype))  # (B, C, ...) -> (B, C, S)
    mean, var, _ = moments(values, _POSITIONS)
    return conditional_instance_norm(content, (var + eps).sqrt().squeeze(-1), mean.squeeze(-1), eps)


@checked
class AdaIN(nn.Module):
    """Instance Norm whose scale and shift a linear layer predicts from a code that comes with each example.

    The code may be a learned embedding of a style (``dumoulin2017learned``) or a generator's latent code.

    Args:
        num_features: Number of channels C.
        code_features: Length of the code.
        eps: Added to the variance inside the root.
        device: Where parameters live.
        dtype: Their dtype.
    """

    def __init__(
        self,
        num_features: int,
        code_features: int,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.code_features = code_features
        self.eps = eps
        self.style = nn.Linear(code_features, 2 * num_features, device=device, dtype=dtype)
        nn.init.zeros_(self.style.bias)  # as reset_parameters; the rest has been drawn once already

    def reset_parameters(self) -> None:
        """Start anew, so that the code 0 is plain Instance Norm at initialisation."""
        self.style.reset_parameters()
        nn.init.zeros_(self.style.bias)

    def forward(self, input: Tensor, code: Tensor) -> Tensor:
        """Normalise (B, C, ...) under codes of shape (B, code_features).

        Raises:
            ValueError: One position.
            RuntimeError: A code for each example is missing, or of another length; or an input of other
                channels.
            NotImplementedError: The input is not floating point.
        """
        wanted = (*input.shape[:1], self.code_features)
        if code.shape != wanted:
            raise RuntimeError(
                f"code should have shape (batch, code_features), {wanted}, but has {tuple(code.shape)}"
            )
        predicted = self.style(code).to(input.dtype)  # autocast may have lowered it
        scale, shift = predicted.chunk(2, dim=-1)  # (B, 2 C) -> (B, C) and (B, C)
        # What is predicted is added to 1, so that the code 0 starts as plain Instance Norm.
        return conditional_instance_norm(input, 1 + scale, shift, self.eps)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"{self.num_features}, code_features={self.code_features}, eps={self.eps}"
