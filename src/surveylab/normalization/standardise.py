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

**The mean's last digits.** In float32 a mean of 10⁴ is off by up to 10⁻³, however close the values. So the
mean of what is left after subtraction is taken as well and added: the mean is then as exact as its dtype, and
values that are all equal give exactly :math:`\beta`. What the addition rounds away is kept for the gradient
of :math:`\gamma`, a sum in which it would be multiplied by the number of values.

Pitfalls:
    * :math:`E[x^2] - E[x]^2` in place of the centred sum cancels to noise, even below 0, when the mean is
      large.
    * :math:`\epsilon` belongs inside the root, and the variance is the biased one, over n.
    * A single value has variance 0: its output is always :math:`\beta`.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

# As torch does for its own layers: that a trace leaves out checks of shapes is no news.
warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=r"surveylab\.normalization")

Shape = tuple[int, ...]
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
    input: Tensor,
    shape: Shape,
    axes: Axes,
    parameters: Shape,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Standardise fast, with the gradient worked out by hand.

    Args:
        input: Values of any shape.
        shape: As which they are seen, such as (B, C, S).
        axes: Those of this shape whose values are standardised together, counted from the last: negative.
        parameters: As which the parameters are seen beside it, such as (1, C, 1): 1 where they are shared.
        weight: Scale; 1 if None.
        bias: Shift; 0 if None.
        eps: Added to the variance inside the root.

    Returns:
        The standardised input, of its shape, dtype and memory layout; the mean and the biased variance, the
        axes kept with length 1, neither differentiable. An input with no values has mean 0 and variance 1.

    Raises:
        ValueError: An axis that is not counted from the last: replicas stand in front of the first.
    """
    if any(axis >= 0 for axis in axes):
        raise ValueError(f"axes should be counted from the last, such as (-1,), but are {axes}")
    if input.numel() > 0:
        output, mean, var, _ = _applied(input, weight, bias, shape, axes, parameters, eps)
        return output, mean, var
    kept = [1 if axis - len(shape) in axes else length for axis, length in enumerate(shape)]
    values = input.reshape(shape).clone()
    for parameter, combine in ((weight, torch.mul), (bias, torch.add)):  # they get a gradient, of 0
        values = values if parameter is None else combine(values, parameter.reshape(parameters))
    return values.to(input.dtype).view(input.shape), input.new_zeros(kept), input.new_ones(kept)


def moments(input: Tensor, axes: Axes) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance, by passes over what is left after subtraction, for the sake of large means.

    Returns:
        The mean, as exact as its dtype; the variance; what is missing from the mean beyond its last digit.
        The axes are kept with length 1.
    """
    rough = input.mean(axes, keepdim=True)
    centred = input - rough
    missed = centred.mean(axes, keepdim=True)
    var = centred.pow_(2).mean(axes, keepdim=True)  # not square_: it has no vmap rule
    var = torch.addcmul(var, missed, missed, value=-1).clamp_min(0)
    mean = rough + missed
    return mean, var, (rough - mean) + missed


def statistics_dtype(dtype: torch.dtype) -> torch.dtype:
    """Half precision has too few digits for sums: statistics are taken in float32 at least."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def recomputing() -> bool:
    """Whether a forward pass repeats an earlier one for a backward pass, as under checkpointing.

    What a layer learns from a batch in passing, such as running statistics, it has then learned already.
    """
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def move_running(running: Tensor, batch: Tensor, momentum: float | Tensor) -> None:
    """Move a running statistic in place towards a batch's, once a batch.

    NOTE: torch's layers move twice under checkpointing.
    """
    if recomputing():
        return
    if isinstance(momentum, Tensor):
        momentum = momentum.to(batch.dtype)
    moved = torch.lerp(running.to(batch.dtype), batch.view_as(running), momentum)
    running.copy_(moved)  # not lerp_: it has no vmap rule


def _standardised(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    shape: Shape,
    axes: Axes,
    parameters: Shape,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The computation: the output as it is seen, mean, variance, and what the mean misses."""
    values = input.reshape(shape).to(statistics_dtype(input.dtype))
    weight, bias = _viewed(weight, parameters), _viewed(bias, parameters)
    mean, var, missed = moments(values, axes)
    scale = torch.rsqrt(var + eps)
    each = weight is not None and not _shared(weight, axes)
    if weight is not None and not each:
        scale = scale * weight
    output = (values - mean).mul_(scale)
    if weight is not None and each:  # its product with the scale would be as large as the input
        output.mul_(weight)
    if bias is not None:
        output.add_(bias)
    return output.to(input.dtype), mean, var, missed


class _Standardise(torch.autograd.Function):
    """Standardise over some axes, with the gradient derived in the module's docstring.

    Time goes into moving large tensors through memory: each is made by one operation and finished in place,
    which autograd allows here, also when differentiated again. Leading axes may be independent replicas: the
    vmap rule only has to bring the replicas to the front, and a whole population is one call.
    """

    @staticmethod
    def forward(
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        shape: Shape,
        axes: Axes,
        parameters: Shape,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        output, mean, var, missed = _standardised(input, weight, bias, shape, axes, parameters, eps)
        # NOTE: no ordinary view. autograd refuses to change one that a function of its own has made in place.
        return torch.ops.aten._unsafe_view(output, input.shape), mean, var, missed

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        input, weight, bias, ctx.shape, ctx.axes, ctx.parameters, ctx.eps = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(input, weight, bias, *output[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if grads[0] is None:
            return (None,) * 7
        input_needed, weight_needed, bias_needed = ctx.needs_input_grad[:3]
        grad_input = grad_weight = grad_bias = None
        input, own_weight, own_bias, mean, var, missed = ctx.saved_tensors
        grad = grads[0].reshape(ctx.shape).to(mean.dtype)
        weight = _viewed(own_weight, ctx.parameters)
        # First over the axes along which a scale is shared: these sums serve it and the input.
        shared = ctx.axes if weight is None else _shared(weight, ctx.axes)
        one_scale = shared == ctx.axes  # for all values that are standardised together
        sums = _sum(grad, shared)
        if bias_needed:
            grad_bias = (grad if weight is None else sums).sum_to_size(ctx.parameters)
        if input_needed or weight_needed:
            values = input.reshape(ctx.shape).to(mean.dtype)
            if torch.is_grad_enabled() or _has_tangent(input):
                # To be differentiated again: then the statistics count as functions of the input.
                mean, var, missed = moments(values, ctx.axes)
            inverse_std = torch.rsqrt(var + ctx.eps)
            # Adding 0 makes the mean differ between replicas if the gradients do, as in torch.func.jacrev, so
            # that what is made from it can be finished in place.
            mean = mean + grad.new_zeros(1)
            products = _sum((values - mean).mul_(grad), shared)
            if shared:  # else nothing has been summed yet: one more pass over the input for little
                products = torch.addcmul(products, missed, sums, value=-1)
            if weight is not None and weight_needed:
                grad_weight = _dot(products, inverse_std, weight)
        if input_needed:
            n = 1
            for axis in ctx.axes:
                n *= values.shape[axis]
            if weight is not None and not one_scale:
                sums, products = _dot(sums, weight, mean), _dot(products, weight, mean)
            products = products * inverse_std
            # (weight grad - mean(weight grad) - normalized mean(weight grad normalized)) * inverse_std
            grad_input = (values - mean).mul_(inverse_std * products / -n)
            if weight is None or one_scale:
                grad_input.add_(grad)
            elif torch.is_grad_enabled():  # also in torch.func, where addcmul_ has no vmap rule
                grad_input = torch.addcmul(grad_input, grad, weight)
            else:
                grad_input.addcmul_(grad, weight)
            grad_input.sub_(sums, alpha=1 / n)
            grad_input.mul_(inverse_std * weight if one_scale and weight is not None else inverse_std)
        owners = ((grad_input, input), (grad_weight, own_weight), (grad_bias, own_bias))
        return (
            *(None if grad is None else grad.to(own.dtype).reshape(own.shape) for grad, own in owners),
            *[None] * 4,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        def replicated(tensor: Tensor | None, dim: int | None) -> Tensor | None:
            if tensor is None:
                return None
            return tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)

        stacked = [replicated(tensor, dim) for tensor, dim in zip(inputs[:3], in_dims[:3], strict=True)]
        shape, axes, parameters, eps = inputs[3:]
        shape, parameters = (info.batch_size, *shape), (info.batch_size, *parameters)
        return _applied(*stacked, shape, axes, parameters, eps), (0, 0, 0, 0)


class _StandardiseForward(_Standardise):
    """The same with its derivative along a direction, for forward-mode differentiation."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _Standardise.setup_context(ctx, inputs, output)
        ctx.save_for_forward(*inputs[:3])

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, None, None, None]:
        """Differentiate as the module's docstring does, along an input x', a scale and a shift:

        y' = gamma (x' - mean(x') - normalized mean(normalized x')) / s + gamma' normalized + beta'.
        """
        input, weight, _ = ctx.saved_tensors
        input = forward_ad.unpack_dual(input).primal
        if weight is not None:
            weight = forward_ad.unpack_dual(weight).primal
        dtype = statistics_dtype(input.dtype)
        along_input, along_weight, along_bias = (
            None if tangent is None else tangent.reshape(shape).to(dtype)
            for tangent, shape in zip(tangents, (ctx.shape, ctx.parameters, ctx.parameters), strict=False)
        )
        # What another derivative is taken of at the same time must stay so, the statistics included.
        with forward_ad._set_fwd_grad_enabled(True):
            values = input.reshape(ctx.shape).to(dtype)
            mean, var, _ = moments(values, ctx.axes)
            inverse_std = torch.rsqrt(var + ctx.eps)
            normalized = (values - mean) * inverse_std
            along = torch.zeros_like(normalized)
            if along_input is not None:
                step = along_input - along_input.mean(ctx.axes, keepdim=True)
                along = (step - normalized * (normalized * step).mean(ctx.axes, keepdim=True)) * inverse_std
                if weight is not None:
                    along = along * weight.reshape(ctx.parameters)
            if along_weight is not None:
                along = along + along_weight * normalized
            if along_bias is not None:
                along = along + along_bias
            return along.to(input.dtype).reshape(input.shape), None, None, None


def _applied(*given: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if torch.jit.is_tracing():  # a trace cannot hold our backward pass: its own is autograd's
        output, *statistics = _standardised(*given)
        mean, var, missed = (statistic.detach() for statistic in statistics)
        return output.view(given[0].shape), mean, var, missed
    # torch.compile takes no function that has a jvp.
    function = _Standardise if torch.compiler.is_compiling() else _StandardiseForward
    return function.apply(*given)


def _has_tangent(tensor: Tensor) -> bool:
    """Whether it is being differentiated in forward mode, beside which this is differentiated backward."""
    return not torch.compiler.is_compiling() and forward_ad.unpack_dual(tensor).tangent is not None


# apply() inspects this signature at every call, a tenth of a small layer's time: keep it at hand.
_Standardise.forward.__signature__ = inspect.signature(_Standardise.forward)  # type: ignore[attr-defined]


def _viewed(parameter: Tensor | None, shape: Shape) -> Tensor | None:
    return None if parameter is None else parameter.reshape(shape)


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
