r"""RMSprop: each element's step is divided by the root of a moving average of its squared gradients.

.. math::

    v_t = \alpha v_{t-1} + (1 - \alpha) g_t^2, \qquad
    \theta_t = \theta_{t-1} - \eta \frac{g_t}{\sqrt{v_t} + \epsilon}.

AdaGrad's sum grows for ever; the average forgets in about :math:`1 / (1 - \alpha)` steps, so that a steady
gradient goes on taking steps of :math:`\eta`. The centred form divides by the standard deviation instead,
:math:`\sqrt{v_t - \bar g_t^2}` with the moving average :math:`\bar g_t` of the gradient; with momentum
:math:`\mu`, the scaled gradients are summed up, :math:`b_t = \mu b_{t-1} + g_t / (\sqrt{v_t} + \epsilon)`,
and the step is :math:`\eta b_t`.

Source: ``tieleman2012lecture``; the centred form: ``graves2013generating``.

Pitfalls:
    * The average starts from 0 and nothing corrects for it, so the first steps are large: the very first is
      :math:`\eta / \sqrt{1 - \alpha}`, ten times the rate by default.
    * :math:`\epsilon` belongs outside the root here; others put it inside, where it weighs more.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from surveylab.adaptive.elementwise import ElementwiseOptimizer, Group, Lists, check_real, decayed


def rmsprop_step(
    param: Tensor,
    grad: Tensor,
    square_avg: Tensor,
    momentum_buffer: Tensor | None = None,
    grad_avg: Tensor | None = None,
    *,
    lr: float | Tensor = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0,
    momentum: float = 0,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    r"""One step of RMSprop (``tieleman2012lecture``); with ``grad_avg`` centred (``graves2013generating``).

    .. math::

        g \leftarrow g + \lambda \theta, \qquad
        v \leftarrow \alpha v + (1 - \alpha) g^2, \qquad
        \bar g \leftarrow \alpha \bar g + (1 - \alpha) g, \qquad
        b \leftarrow \mu b + \frac{g}{\sqrt{v - \bar g^2} + \epsilon}, \qquad
        \theta \leftarrow \theta - \eta b,

    without :math:`\bar g` if it is not centred.

    Args:
        param: The parameter θ before the step, of any shape; real.
        grad: Its gradient g, of the same shape.
        square_avg: The moving average v of its square before the step.
        momentum_buffer: The sum b before the step; None for 0, which is right without momentum.
        grad_avg: The moving average ḡ of the gradient before the step; None if not centred.
        lr: The rate η.
        alpha: The averages' factor α.
        eps: Added to the root.
        weight_decay: The factor λ of the penalty ½ λ ‖θ‖².
        momentum: The factor μ.

    Returns:
        The new param, square_avg, momentum_buffer and grad_avg; None for those that were None.

    Raises:
        ValueError: param or grad is complex.
    """
    check_real(param, grad)
    grad = grad + weight_decay * param
    square_avg = alpha * square_avg + (1 - alpha) * grad.square()
    variance = square_avg
    if grad_avg is not None:
        grad_avg = alpha * grad_avg + (1 - alpha) * grad
        # NOTE: of a steady gradient, rounding can leave less than 0, whose root torch takes: NaN.
        variance = (square_avg - grad_avg.square()).clamp_min(0)
    scaled = grad / (variance.sqrt() + eps)
    if momentum_buffer is None:
        return param - lr * scaled, square_avg, None, grad_avg
    momentum_buffer = momentum * momentum_buffer + scaled
    return param - lr * momentum_buffer, square_avg, momentum_buffer, grad_avg


class RMSprop(ElementwiseOptimizer):
    """torch's RMSprop with the computation of `rmsprop_step`.

    Args:
        params: Parameters, or groups of them.
        lr: The rate.
        alpha: The averages' factor. NOTE: torch takes 1 and more, where nothing is averaged.
        eps: Added to the root.
        weight_decay: The factor of the penalty on squared parameters.
        momentum: The factor of the sum of scaled gradients; 0 for none.
        centered: Divide by the standard deviation of the gradient.
            NOTE: where rounding makes its square negative, it counts as 0; torch gives NaN.
        foreach: False for one parameter after another.
        maximize: Go up the gradient instead of down.
        capturable, differentiable: Not served; see `ElementwiseOptimizer`.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _averages(self, group: Group) -> dict[str, float]:
        names = ["square_avg"]
        if group["momentum"] > 0:
            names.append("momentum_buffer")
        if group["centered"]:
            names.append("grad_avg")
        return dict.fromkeys(names, 0.0)

    def _one(self, param: Tensor, grad: Tensor, state: dict[str, Tensor], step: int, group: Group) -> Tensor:
        param, *new = rmsprop_step(
            param,
            grad,
            **state,
            lr=float(group["lr"]),
            alpha=group["alpha"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
        )
        for name, value in zip(("square_avg", "momentum_buffer", "grad_avg"), new, strict=True):
            if value is not None:
                state[name] = value
        return param

    def _many(self, params: list[Tensor], grads: list[Tensor], state: Lists, step: int, group: Group) -> None:
        alpha, rate = group["alpha"], float(group["lr"])
        grads = decayed(grads, params, group["weight_decay"])
        torch._foreach_mul_(state["square_avg"], alpha)
        torch._foreach_addcmul_(state["square_avg"], grads, grads, value=1 - alpha)
        if "grad_avg" in state:
            torch._foreach_lerp_(state["grad_avg"], grads, 1 - alpha)
            roots = torch._foreach_addcmul(
                state["square_avg"], state["grad_avg"], state["grad_avg"], value=-1
            )
            torch._foreach_clamp_min_(roots, 0)
            torch._foreach_sqrt_(roots)
        else:
            roots = torch._foreach_sqrt(state["square_avg"])
        torch._foreach_add_(roots, group["eps"])
        if "momentum_buffer" in state:
            torch._foreach_mul_(state["momentum_buffer"], group["momentum"])
            torch._foreach_addcdiv_(state["momentum_buffer"], grads, roots)
            torch._foreach_add_(params, state["momentum_buffer"], alpha=-rate)
        else:
            torch._foreach_addcdiv_(params, grads, roots, value=-rate)
