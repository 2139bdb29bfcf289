r"""Batch Normalisation: every channel is standardised with the mean and variance of the current batch.

Each channel of a layer's input is shifted and scaled to mean 0 and variance 1 over the batch and all
positions; a learned scale :math:`\gamma` and shift :math:`\beta` then restore whatever range is useful. In
evaluation, running averages gathered in training replace the batch's statistics, so that an output does not
depend on its batch mates.

For one channel with :math:`n` values :math:`x_i` (all examples, all positions):

.. math::

    \mu = \tfrac1n \sum_i x_i, \qquad
    \sigma^2 = \tfrac1n \sum_i (x_i - \mu)^2, \qquad
    \hat x_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad
    y_i = \gamma \hat x_i + \beta .

**The gradient.** Let :math:`g_i = \partial L / \partial y_i` and :math:`s = \sqrt{\sigma^2 + \epsilon}`. The
parameters' are sums: :math:`\partial L / \partial \beta = \sum_i g_i` and
:math:`\partial L / \partial \gamma = \sum_i g_i \hat x_i`. An input acts on the loss in three ways: directly,
through :math:`\mu` and through :math:`s`. With :math:`\partial \mu / \partial x_j = 1/n` and
:math:`\partial s / \partial x_j = \hat x_j / n`, differentiating :math:`\hat x_i = (x_i - \mu) / s` gives

.. math::

    \frac{\partial \hat x_i}{\partial x_j}
    = \frac1s \Bigl( \delta_{ij} - \frac1n - \frac{\hat x_i \hat x_j}{n} \Bigr)
    \quad\Longrightarrow\quad
    \frac{\partial L}{\partial x_j}
    = \frac{\gamma}{s} \Bigl( g_j - \frac1n \sum_i g_i - \hat x_j \, \frac1n \sum_i g_i \hat x_i \Bigr).

The gradient is thus itself centred and (but for :math:`\epsilon`) has no component along :math:`\hat x`: no
step lowers the loss by moving or stretching a channel's values together. Besides the input, only :math:`\mu`
and :math:`\sigma^2` must be kept for it.

Paper: ``ioffe2015batch``.

Pitfalls:
    * :math:`E[x^2] - E[x]^2` in place of the centred sum cancels to noise, even below 0, when the mean is
      large.
    * :math:`\epsilon` belongs inside the root. The batch is normalised with the biased variance (over n),
      while the running variance stores the unbiased one (over n - 1).
    * With one value per channel the output is always :math:`\beta`: an error in training, not a warning.
    * In training the examples of a batch are not independent: padding or an outlier in one changes all
      outputs.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

# Axis legend: B batch, C channels, S positions (all spatial axes as one), R replicas, * any number of R.
# The n = B * S values of a channel lie along these two axes of an input (*, B, C, S):
_BATCH_AND_POSITIONS = (-3, -1)


def batch_norm_reference(
    input: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Batch Norm in training as its equation reads, the gradient left to autograd. Slow: see `batch_norm`.

    Args:
        input: Values of shape (B, C, S).
        weight: Scale of each channel, shape (C,); 1 if None.
        bias: Shift of each channel, shape (C,); 0 if None.
        eps: Added to the variance inside the root.

    Returns:
        The normalised input, same shape.
    """
    mean = input.mean((0, 2), keepdim=True)
    var = (input - mean).square().mean((0, 2), keepdim=True)
    normalized = (input - mean) / (var + eps).sqrt()
    return normalized * (1 if weight is None else weight[:, None]) + (0 if bias is None else bias[:, None])


def _beside(per_channel: Tensor) -> Tensor:
    """Let one value per channel broadcast against the input, (*, C) -> (*, 1, C, 1)."""
    return per_channel.unsqueeze(-2).unsqueeze(-1)


def _moments(input: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance, (*, B, C, S) -> (*, 1, C, 1); two passes, for the sake of large means."""
    mean = input.mean(_BATCH_AND_POSITIONS, keepdim=True)
    var = (input - mean).square_().mean(_BATCH_AND_POSITIONS, keepdim=True)
    return mean, var


def _shaped_like(grad: Tensor, parameter: Tensor | None) -> Tensor | None:
    """A parameter's gradient in its own shape and dtype, (*, 1, C, 1) -> (*, C)."""
    return None if parameter is None else grad.view_as(parameter).to(parameter.dtype)


def _statistics_dtype(dtype: torch.dtype) -> torch.dtype:
    """Half precision has too few digits for sums: statistics are taken in float32 at least."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


class _BatchNormTraining(torch.autograd.Function):
    """Normalise (*, B, C, S) by its own statistics, with the gradient derived in the module's docstring.

    Time goes into moving large tensors through memory, so only one of the input's size is alive beside input
    and output: each is made by a subtraction and finished in place. Autograd allows that here, also when
    differentiated again. Leading axes are independent replicas: the vmap rule only has to bring the replicas
    to the front, and a whole population is one call.
    """

    @staticmethod
    def forward(
        input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        values = input.to(_statistics_dtype(input.dtype))
        mean, var = _moments(values)
        scale = torch.rsqrt(var + eps)  # (*, 1, C, 1), as are mean and var
        if weight is not None:
            scale = scale * _beside(weight)
        output = (values - mean).mul_(scale)
        if bias is not None:
            output.add_(_beside(bias))
        return output.to(input.dtype), mean, var

    @staticmethod
    def setup_context(
        ctx: Any,
        inputs: tuple[Tensor, Tensor | None, Tensor | None, float],
        output: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        input, weight, bias, ctx.eps = inputs
        _, mean, var = output
        ctx.mark_non_differentiable(mean, var)
        ctx.save_for_backward(input, weight, bias, mean, var)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, bias, mean, var = ctx.saved_tensors
        values, grad = input.to(mean.dtype), grads[0].to(mean.dtype)
        if torch.is_grad_enabled():
            # To be differentiated again: then the statistics count as functions of the input.
            mean, var = _moments(values)
        n = input.shape[-3] * input.shape[-1]
        inverse_std = torch.rsqrt(var + ctx.eps)  # (*, 1, C, 1), as are the next three
        grad_bias = grad.sum(_BATCH_AND_POSITIONS, keepdim=True)
        grad_weight = (values - mean).mul_(grad).sum(_BATCH_AND_POSITIONS, keepdim=True) * inverse_std
        scale = inverse_std if weight is None else inverse_std * _beside(weight)
        # scale * (grad - grad_bias / n - normalized * grad_weight / n), from the inside out:
        grad_input = (values - mean).mul_(inverse_std * grad_weight / -n)
        grad_input.add_(grad).sub_(grad_bias, alpha=1 / n).mul_(scale)
        return (
            grad_input.to(input.dtype),
            _shaped_like(grad_weight, weight),
            _shaped_like(grad_bias, bias),
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        def replicated(tensor: Tensor | None, dim: int | None) -> Tensor | None:
            if tensor is None:
                return None
            return tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)

        *tensors, eps = inputs
        stacked = [replicated(tensor, dim) for tensor, dim in zip(tensors, in_dims[:3], strict=True)]
        return _BatchNormTraining.apply(*stacked, eps), (0, 0, 0)


# apply() inspects this signature at every call, a tenth of a small layer's time: keep it at hand.
_BatchNormTraining.forward.__signature__ = inspect.signature(_BatchNormTraining.forward)  # type: ignore[attr-defined]


def _check(input: Tensor, per_channel: dict[str, Tensor | None], training: bool, eps: float) -> None:
    """Raise what torch raises, and say what would be right."""
    shape = tuple(input.shape)
    if len(shape) < 2:
        raise ValueError(f"input should have shape (batch, channels, ...), but has {shape}")
    if not input.is_floating_point():
        raise NotImplementedError(f"input should be floating point, but is {input.dtype}: convert it")
    given = [name for name in ("running_mean", "running_var") if per_channel[name] is not None]
    if len(given) == 1:
        raise ValueError(f"running_mean and running_var belong together, but only {given[0]} was given")
    if not training and not given:
        raise RuntimeError("running_mean and running_var must be given when training=False")
    if eps < 0 or (training and eps == 0):
        raise ValueError(f"eps should be {'positive' if training else 'zero or more'}, but is {eps}")
    for name, tensor in per_channel.items():
        if tensor is None:
            continue
        if tensor.shape != input.shape[1:2]:
            raise RuntimeError(
                f"{name} should have shape ({shape[1]},), one value for each channel of the input {shape}, "
                f"but has {tuple(tensor.shape)}"
            )
        if tensor.dtype not in (input.dtype, _statistics_dtype(input.dtype)):
            raise RuntimeError(
                f"{name} is {tensor.dtype} but the input is {input.dtype}: convert one of them, for instance "
                f"by module.to({input.dtype})"
            )
    if training and shape[0] * input.shape[2:].numel() == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, but the input has shape {shape}: its "
            "variance is 0 and its output the bias. Use a larger batch, drop an incomplete last one "
            "(DataLoader(drop_last=True)), or call .eval()"
        )


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel, with the signature of `torch.nn.functional.batch_norm`.

    Args:
        input: Values of shape (B, C) or (B, C, ...), every axis after C being positions.
        running_mean: Running mean of shape (C,); updated in place if training. May be None if training.
        running_var: Running unbiased variance of shape (C,); likewise.
        weight: Scale of each channel, shape (C,); 1 if None.
        bias: Shift of each channel, shape (C,); 0 if None.
        training: Normalise with the batch's statistics if true, else with the running ones.
        momentum: Weight of this batch in the running statistics.
            NOTE: may be a tensor here, so that vmapped replicas can each have their own.
        eps: Added to the variance inside the root.

    Returns:
        The normalised input: same shape and dtype.
        NOTE: its memory layout is that of the input, whatever that is (torch: contiguous or channels-last).

    Raises:
        ValueError: One value per channel in training, eps out of range, or one running statistic alone.
        RuntimeError: A shape or dtype that does not fit the input's, or no running statistics in evaluation.
        NotImplementedError: The input is not floating point.
    """
    per_channel = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    _check(input, per_channel, training, eps)
    values = input.flatten(2) if input.dim() > 2 else input.unsqueeze(-1)  # (B, C, ...) -> (B, C, S)
    n = values.shape[0] * values.shape[2]
    if training and n > 0:
        output, mean, var = _BatchNormTraining.apply(values, weight, bias, eps)
        if running_mean is not None and running_var is not None:
            unbiased_var = var * (n / (n - 1))
            if isinstance(momentum, Tensor):
                momentum = momentum.to(mean.dtype)
            for running, batch in ((running_mean, mean), (running_var, unbiased_var)):
                moved = torch.lerp(running.to(mean.dtype), batch.view_as(running), momentum)
                running.copy_(moved)  # not lerp_: it has no vmap rule
        return output.view(input.shape)
    values = values.to(_statistics_dtype(input.dtype))
    if running_mean is None or running_var is None:  # training with no values at all: any statistics will do
        running_mean, running_var = values.new_zeros(input.shape[1]), values.new_ones(input.shape[1])
    centred = values - _beside(running_mean)
    scale = torch.rsqrt(running_var.to(values.dtype) + eps)
    if weight is not None:
        scale = scale * weight
    if bias is None:
        output = centred * _beside(scale)
    else:
        output = torch.addcmul(_beside(bias).to(values.dtype), centred, _beside(scale))
    return output.to(input.dtype).view(input.shape)
