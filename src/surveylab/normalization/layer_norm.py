r"""Layer Normalisation: every example is standardised with the mean and variance of its own features.

The features are the last axes of the input, `normalized_shape`; each has its own learned scale
:math:`\gamma` and shift :math:`\beta`. Nothing depends on the batch, so training and evaluation are the same,
a batch of one will do, and a recurrent network can normalise each time step by itself.

For one example with :math:`n` features :math:`x_i`:

.. math::

    \mu = \tfrac1n \sum_i x_i, \qquad
    \sigma^2 = \tfrac1n \sum_i (x_i - \mu)^2, \qquad
    y_i = \gamma_i \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta_i .

The gradient is worked out in `surveylab.normalization.standardise`. The layer is torch's `nn.LayerNorm` with
another `forward`.

Paper: ``ba2016layer``.

Pitfalls:
    * On pictures (B, C, H, W) the features are C, H and W, and :math:`\gamma` has as many values:
      `LayerNorm(C)` would normalise over W if that happens to equal C, and Vision Transformers normalise over
      C alone, one position after another.
    * The variance is the biased one, over n, and :math:`\epsilon` belongs inside the root.
    * An example whose features are all equal has no direction left: its output is :math:`\beta`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral

from torch import Tensor, nn

from surveylab.normalization.checks import autocasted, check_input, check_parameters, checked
from surveylab.normalization.standardise import standardise

# Axis legend: M examples (all axes in front as one), D features (all axes of normalized_shape as one).
_FEATURES = (-1,)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise over the last axes, with the signature of `torch.nn.functional.layer_norm`.

    Args:
        input: Values of shape ``(..., *normalized_shape)``.
        normalized_shape: Lengths of the last axes, over which each example is normalised.
        weight: Scale of each feature, of shape normalized_shape; 1 if None.
        bias: Shift of each feature, likewise; 0 if None.
        eps: Added to the variance inside the root.

    Returns:
        The normalised input: same shape and dtype (float32 under autocast on CUDA), contiguous.

    Raises:
        RuntimeError: A shape or dtype that does not fit the input's.
        ValueError: eps is negative. NOTE: torch takes it, and where the variance is smaller, gives NaN.
        NotImplementedError: The input is not floating point.
    """
    if isinstance(normalized_shape, Integral):  # NumPy's as well
        raise TypeError(f"normalized_shape should be a sequence, ({normalized_shape},), but is an int")
    shape = tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"normalized_shape should be the lengths of the input's last axes, one or more, but is {shape} "
            f"and the input has shape {tuple(input.shape)}"
        )
    check_input(input, eps)
    input, weight, bias = autocasted(input, weight, bias)
    check_parameters(input, {"weight": weight, "bias": bias}, shape, "one value for each feature")
    examples, features = math.prod(input.shape[: -len(shape)]), math.prod(shape)
    rows, beside = (examples, features), (1, features)  # (..., *normalized_shape) -> (M, D)
    output, _, _ = standardise(input.contiguous(), rows, _FEATURES, beside, weight, bias, eps)
    return output


@checked
class LayerNorm(nn.LayerNorm):
    """torch's Layer Norm with the computation of `layer_norm`.

    Args:
        normalized_shape: Lengths of the last axes, over which each example is normalised; or of the last one.
        eps: Added to the variance inside the root.
        elementwise_affine: Learn a scale (`weight`) and a shift (`bias`) for each feature.
        bias: Learn the shift, if elementwise_affine.
        device: Where parameters live.
        dtype: Their dtype.

    Raises:
        ValueError: An argument that is out of range. NOTE: torch takes no lengths at all and a negative eps.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each example."""
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)
