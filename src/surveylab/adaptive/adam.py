r"""Adam: momentum, divided by the root of the average squared gradient, both corrected for their start.

.. math::

    m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
    v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad
    \theta_t = \theta_{t-1}
        - \eta \, \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}.

The averages start from 0; of a steady gradient they are :math:`1 - \beta^t` times what they should be, which
the divisions undo. AMSGrad divides by the largest :math:`v` so far, so that a step never grows again because
gradients were forgotten. AdamW takes weight decay out of the gradient, where it would be divided by
:math:`\sqrt{v}` like the rest, and shrinks the parameter itself:
:math:`\theta \leftarrow (1 - \eta\lambda)\theta`.

Papers: ``kingma2015adam``; AMSGrad: ``reddi2018on``; AdamW: ``loshchilov2019decoupled``.

Pitfalls:
    * Weight decay is L2 regularisation for plain SGD, not for Adam: with `Adam`, elements with large
      gradients are decayed less; with `AdamW`, all alike.
    * :math:`\epsilon` is added to the corrected root. The paper's faster order of computation, in which the
      corrections go into the rate, adds it to the uncorrected one.
    * AMSGrad's maximum is of :math:`v` before its correction, as in torch; the paper corrects nothing.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from surveylab.adaptive.elementwise import ElementwiseOptimizer, Group, Lists, check_real, decayed


def adam_step(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: int,
    max_exp_avg_sq: Tensor | None = None,
    *,
    lr: float | Tensor = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0,
    decoupled_weight_decay: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    r"""One step of Adam (``kingma2015adam``), AMSGrad or AdamW.

    .. math::

        m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
        \theta \leftarrow \theta - \eta \, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon},

    after :math:`g \leftarrow g + \lambda\theta`, or :math:`\theta \leftarrow (1 - \eta\lambda)\theta` where
    weight decay is decoupled (``loshchilov2019decoupled``). AMSGrad (``reddi2018on``) divides by
    :math:`\hat v \leftarrow \max(\hat v, v)` instead of :math:`v`.

    Args:
        param: The parameter θ before the step, of any shape; real.
        grad: Its gradient g, of the same shape.
        exp_avg: The moving average m of the gradient before the step.
        exp_avg_sq: The moving average v of its square before the step.
        step: The number t of this step, from 1.
        max_exp_avg_sq: The largest v before the step, for AMSGrad; None for Adam.
        lr: The rate η.
        betas: The averages' factors β₁ and β₂.
        eps: Added to the root.
        weight_decay: The factor λ.
        decoupled_weight_decay: Shrink the parameter instead of adding to the gradient.

    Returns:
        The new param, exp_avg, exp_avg_sq and max_exp_avg_sq, which is None if it was None.

    Raises:
        ValueError: param or grad is complex.
    """
    check_real(param, grad)
    beta1, beta2 = betas
    if decoupled_weight_decay:
        param = param * (1 - lr * weight_decay)
    else:
        grad = grad + weight_decay * param
    exp_avg = beta1 * exp_avg + (1 - beta1) * grad
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad.square()
    largest = exp_avg_sq
    if max_exp_avg_sq is not None:
        largest = max_exp_avg_sq = torch.maximum(max_exp_avg_sq, exp_avg_sq)
    mean = exp_avg / (1 - beta1**step)
    root = (largest / (1 - beta2**step)).sqrt()
    return param - lr * mean / (root + eps), exp_avg, exp_avg_sq, max_exp_avg_sq


class Adam(ElementwiseOptimizer):
    """torch's Adam with the computation of `adam_step`.

    Args:
        params: Parameters, or groups of them.
        lr: The rate.
        betas: The factors of the averages of the gradient and of its square.
        eps: Added to the corrected root.
        weight_decay: The factor of weight decay.
        amsgrad: Divide by the largest average so far.
        foreach: False for one parameter after another.
        maximize: Go up the gradient instead of down.
        capturable, differentiable, fused: Not served; see `ElementwiseOptimizer`.
        decoupled_weight_decay: Shrink the parameter, as `AdamW` does, instead of adding to the gradient.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _averages(self, group: Group) -> dict[str, float]:
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * bool(group["amsgrad"])
        return dict.fromkeys(names, 0.0)

    def _one(self, param: Tensor, grad: Tensor, state: dict[str, Tensor], step: int, group: Group) -> Tensor:
        param, state["exp_avg"], state["exp_avg_sq"], largest = adam_step(
            param,
            grad,
            **state,
            step=step,
            lr=float(group["lr"]),
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled_weight_decay=group["decoupled_weight_decay"],
        )
        if largest is not None:
            state["max_exp_avg_sq"] = largest
        return param

    def _many(self, params: list[Tensor], grads: list[Tensor], state: Lists, step: int, group: Group) -> None:
        rate, (beta1, beta2) = float(group["lr"]), map(float, group["betas"])
        if not group["decoupled_weight_decay"]:
            grads = decayed(grads, params, group["weight_decay"])
        elif group["weight_decay"] != 0:
            torch._foreach_mul_(params, 1 - rate * group["weight_decay"])
        torch._foreach_lerp_(state["exp_avg"], grads, 1 - beta1)
        torch._foreach_mul_(state["exp_avg_sq"], beta2)
        torch._foreach_addcmul_(state["exp_avg_sq"], grads, grads, value=1 - beta2)
        largest = state["exp_avg_sq"]
        if "max_exp_avg_sq" in state:
            largest = state["max_exp_avg_sq"]
            torch._foreach_maximum_(largest, state["exp_avg_sq"])
        # The root's correction goes into eps and rate, which saves going over all elements once more.
        correction = math.sqrt(1 - beta2**step)
        roots = torch._foreach_sqrt(largest)
        torch._foreach_add_(roots, group["eps"] * correction)
        rate *= correction / (1 - beta1**step)
        torch._foreach_addcdiv_(params, state["exp_avg"], roots, value=-rate)


class AdamW(Adam):
    """torch's AdamW: Adam with decoupled weight decay, 0.01 by default.

    The arguments are those of `Adam`, without decoupled_weight_decay.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state; also Adam's, whose decay was perhaps not decoupled."""
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
