r"""Standardisation over chosen axes: the one computation that Batch, Layer, Instance and Group Norm share.

Values are shifted and scaled to mean 0 and variance 1 over some of their axes; a scale :math:`\gamma` and a
shift :math:`\beta` that broadcast against the values then restore whatever range is useful. The methods
of this section differ in those axes, in how many :math:`\gamma` and :math:`\beta` there are, and in nothing
else.

For the :math:`n` values :math:`x_i` that are standardised together:

.. math::

    \mu = \tfrac1n \sum_i x_i, \qquad
    \sigma^2 = \tfrac1n \sum_i (x_i - \mu)^2, \qquad
    \hat x_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad
    y_i = \gamma_i \hat x_i + \beta_i .

**The gradient.** Let :math:`g_i = \partial L / \partial y_i` and :math:`s = \sqrt{\sigma^2 + \epsilon}`. The
parameters' are sums over the values that share them: of :math:`g_i` for :math:`\beta`, of
:math:`g_i \hat x_i` for :math:`\gamma`. An input acts on the loss in three ways: directly, through
:math:`\mu` and through :math:`s`. With :math:`\partial \mu / \partial x_j = 1/n` and
:math:`\partial s / \partial x_j = \hat x_j / n`, differentiating :math:`\hat x_i = (x_i - \mu) / s` gives

.. math::

    \frac{\partial \hat x_i}{\partial x_j}
    = \frac1s \Bigl( \delta_{ij} - \frac1n - \frac{\hat x_i \hat x_j}{n} \Bigr)
    \quad\Longrightarrow\quad
    \frac{\partial L}{\partial x_j}
    = \frac1s \Bigl( \gamma_j g_j - \frac1n \sum_i \gamma_i g_i
      - \hat x_j \, \frac1n \sum_i \gamma_i g_i \hat x_i \Bigr).

The gradient is thus itself centred and (but for :math:`\epsilon`) has no component along :math:`\hat x`: no
step lowers the loss by moving or stretching together the values that are standardised together. Besides the
input, only :math:`\mu` and :math:`\sigma^2` must be kept for it.

Pitfalls:
    * :math:`E[x^2] - E[x]^2` in place of the centred sum cancels to noise, even below 0, when the mean is
      large.
    * :math:`\epsilon` belongs inside the root, and the variance is the biased one, over n.
    * A single value has variance 0: its output is always :math:`\beta`.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

Axes = tuple[int, ...]  # counted from the last, so that replicas may stand in front


def standardise_reference(
    input: Tensor,
    axes: tuple[int, ...],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Standardise as the equation reads, the gradient left to autograd. Slow: see `standardise`.

    Args:
        input: Values of any shape.
        axes: Those whose values are standardised together.
        weight: Scale, broadcast against the input; 1 if None.
        bias: Shift, likewise; 0 if None.
        eps: Added to the variance inside the root.

    Returns:
        The standardised input, same shape.
    """
    mean = input.mean(axes, keepdim=True)
    var = (input - mean).square().mean(axes, keepdim=True)
    normalized = (input - mean) / (var + eps).sqrt()
    return normalized * (1 if weight is None else weight) + (0 if bias is None else bias)


def standardise(
    input: Tensor, axes: Axes, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Standardise fast, with the gradient worked out by hand.

    Args:
        input: Values of any shape.
        axes: Those whose values are standardised together, counted from the last: negative.
        weight: Scale, with as many axes as the input, of length 1 where it is shared; 1 if None.
        bias: Shift, of the weight's shape; 0 if None.
        eps: Added to the variance inside the root.

    Returns:
        The standardised input, of its shape, dtype and memory layout; the mean and the biased variance, the
        axes kept with length 1, neither differentiable. An input with no values has mean 0 and variance 1.
    """
    if input.numel() > 0:
        return _Standardise.apply(input, weight, bias, axes, eps)
    kept = [1 if axis - input.dim() in axes else size for axis, size in enumerate(input.shape)]
    empty = input * (1 if weight is None else weight) + (0 if bias is None else bias)
    return empty.to(input.dtype), input.new_zeros(kept), input.new_ones(kept)


def moments(input: Tensor, axes: Axes) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, the axes kept with length 1; two passes, for the sake of large means."""
    mean = input.mean(axes, keepdim=True)
    var = (input - mean).square_().mean(axes, keepdim=True)
    return mean, var


def statistics_dtype(dtype: torch.dtype) -> torch.dtype:
    """Half precision has too few digits for sums: statistics are taken in float32 at least."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def move_running(running: Tensor, batch: Tensor, momentum: float | Tensor) -> None:
    """Move a running statistic in place towards a batch's."""
    if isinstance(momentum, Tensor):
        momentum = momentum.to(batch.dtype)
    moved = torch.lerp(running.to(batch.dtype), batch.view_as(running), momentum)
    running.copy_(moved)  # not lerp_: it has no vmap rule


class _Standardise(torch.autograd.Function):
    """Standardise over some axes, with the gradient derived in the module's docstring.

    Time goes into moving large tensors through memory: each is made by one operation and finished in place,
    which autograd allows here, also when differentiated again. Leading axes may be independent replicas: the
    vmap rule only has to bring the replicas to the front, and a whole population is one call.
    """

    @staticmethod
    def forward(
        input: Tensor, weight: Tensor | None, bias: Tensor | None, axes: Axes, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        values = input.to(statistics_dtype(input.dtype))
        mean, var = moments(values, axes)
        scale = torch.rsqrt(var + eps)
        each = weight is not None and not _shared(weight, axes)
        if weight is not None and not each:
            scale = scale * weight
        output = (values - mean).mul_(scale)
        if weight is not None and each:  # its product with the scale would be as large as the input
            output.mul_(weight)
        if bias is not None:
            output.add_(bias)
        return output.to(input.dtype), mean, var

    @staticmethod
    def setup_context(
        ctx: Any,
        inputs: tuple[Tensor, Tensor | None, Tensor | None, Axes, float],
        output: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        input, weight, bias, ctx.axes, ctx.eps = inputs
        _, mean, var = output
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(input, weight, bias, mean, var)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, bias, mean, var = ctx.saved_tensors
        values, grad = input.to(mean.dtype), grads[0].to(mean.dtype)
        if torch.is_grad_enabled():
            # To be differentiated again: then the statistics count as functions of the input.
            mean, var = moments(values, ctx.axes)
        n = 1
        for axis in ctx.axes:
            n *= input.shape[axis]
        inverse_std = torch.rsqrt(var + ctx.eps)
        # First over the axes along which a scale is shared: these sums serve it and the input.
        shared = ctx.axes if weight is None else _shared(weight, ctx.axes)
        one_scale = shared == ctx.axes  # for all values that are standardised together
        sums = _sum(grad, shared)
        grad_bias = None if bias is None else (grad if weight is None else sums).sum_to_size(bias.shape)
        if not one_scale:
            sums = _dot(sums, weight, mean)
        # Adding 0 makes the mean differ between replicas if the gradients do, as in torch.func.jacrev, so
        # that what is made from it can be finished in place.
        mean = mean + torch.zeros_like(sums)
        products = _sum((values - mean).mul_(grad), shared)
        grad_weight = None if weight is None else _dot(products, inverse_std, weight)
        products = (products if one_scale else _dot(products, weight, mean)) * inverse_std
        # (weight * grad - mean(weight * grad) - normalized * mean(weight * grad * normalized)) * inverse_std
        grad_input = (values - mean).mul_(inverse_std * products / -n)
        grad_input = grad_input.add_(grad) if one_scale else grad_input.addcmul_(grad, weight)
        grad_input.sub_(sums, alpha=1 / n)
        grad_input.mul_(inverse_std * weight if one_scale and weight is not None else inverse_std)
        return (
            grad_input.to(input.dtype),
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        def replicated(tensor: Tensor | None, dim: int | None) -> Tensor | None:
            if tensor is None:
                return None
            return tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)

        *tensors, axes, eps = inputs
        stacked = [replicated(tensor, dim) for tensor, dim in zip(tensors, in_dims[:3], strict=True)]
        return _Standardise.apply(*stacked, axes, eps), (0, 0, 0)


# apply() inspects this signature at every call, a tenth of a small layer's time: keep it at hand.
_Standardise.forward.__signature__ = inspect.signature(_Standardise.forward)  # type: ignore[attr-defined]


def _shared(parameter: Tensor, axes: Axes) -> Axes:
    """Those of the axes along which all values have one parameter."""
    return tuple(axis for axis in axes if parameter.shape[axis] == 1)


def _sum(values: Tensor, axes: Axes) -> Tensor:
    """Sum over axes, kept with length 1; over none if there are none, where torch would sum over all."""
    return values.sum(axes, keepdim=True) if axes else values


def _dot(values: Tensor, factor: Tensor, like: Tensor) -> Tensor:
    """Sum values * factor to the shape of another tensor."""
    on_cpu = values.device.type == "cpu" and not torch.compiler.is_compiling()
    if on_cpu and values.dim() > 1 and values.shape[-1] > 1 and not torch.is_autocast_enabled("cpu"):
        # A matrix product makes no tensor of the input's size. Elsewhere it might round to few digits.
        rows, columns = values.shape[-2:]
        factor = factor.to(values.dtype)
        if factor.shape[-2:] == (rows, 1) and like.shape[-2:] == (1, columns):
            return (factor.mT @ values).sum_to_size(like.shape)
        if factor.shape[-2:] == (1, columns) and like.shape[-2:] == (rows, 1):
            return (values @ factor.mT).sum_to_size(like.shape)
    return (values * factor).sum_to_size(like.shape)
