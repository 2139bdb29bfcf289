r"""AdaBelief: Adam that divides by how far gradients were from their prediction, not by their size.

The moving average :math:`m_t` predicts the gradient. A gradient close to it confirms the belief, and the step
is large; one far from it does not, and the step is small:

.. math::

    m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
    s_t = \beta_2 s_{t-1} + (1 - \beta_2) (g_t - m_t)^2 + \epsilon, \qquad
    \theta_t = \theta_{t-1}
        - \eta \, \frac{m_t / (1 - \beta_1^t)}{\sqrt{s_t / (1 - \beta_2^t)} + \epsilon}.

Paper: ``zhuang2020adabelief``; the rectified form: ``liu2020on``.

Pitfalls:
    * :math:`\epsilon` is inside the average as well, once a step. It adds up: inside the root stands
      :math:`\epsilon / (1 - \beta_2)` in the end, a thousand times :math:`\epsilon`. An Adam's 1e-8 would be
      large here; the default is 1e-16.
    * The deviation is from the average that already contains the gradient, :math:`\beta_1 (g_t - m_{t-1})`.
    * The reference package rectifies unless told otherwise; the paper's algorithm, and the default here, does
      not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from surveylab.adaptive.elementwise import ElementwiseOptimizer, Group, Lists, check_real, decayed


def rectification(step: int, beta2: float) -> float | None:
    r"""How much the variance of an adaptive rate asks to shorten the step (``liu2020on``).

    With the length of the average, :math:`\rho_t = \rho_\infty - 2 t \beta_2^t / (1 - \beta_2^t)` and
    :math:`\rho_\infty = 2 / (1 - \beta_2) - 1`,

    .. math::

        r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2)\rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2)\rho_t}}.

    Args:
        step: The number t of the step, from 1.
        beta2: The average's factor β₂.

    Returns:
        The factor r, or None while the length is below 5, where the step is not to be adaptive at all.
        The paper says 4; this is what AdaBelief's reference package computes.
    """
    power = beta2**step
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * power / (1 - power)
    if length < 5:
        return None
    return math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))


def adabelief_step(
    param: Tensor,
    grad: Tensor,
    exp_avg: Tensor,
    exp_avg_var: Tensor,
    step: int,
    max_exp_avg_var: Tensor | None = None,
    *,
    lr: float | Tensor = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-16,
    weight_decay: float = 0,
    weight_decouple: bool = True,
    rectify: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    r"""One step of AdaBelief (``zhuang2020adabelief``, Algorithm 2).

    .. math::

        m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        s \leftarrow \beta_2 s + (1 - \beta_2) (g - m)^2 + \epsilon, \qquad
        \theta \leftarrow \theta - \eta \, \frac{m / (1 - \beta_1^t)}{\sqrt{s / (1 - \beta_2^t)} + \epsilon},

    after :math:`\theta \leftarrow (1 - \eta\lambda)\theta`, or :math:`g \leftarrow g + \lambda\theta` where
    weight decay is not decoupled. Rectified, the step is multiplied by `rectification`, with :math:`\epsilon`
    added to :math:`\sqrt s`; or it is :math:`\eta m / (1 - \beta_1^t)` while there is no factor.

    Args:
        param: The parameter θ before the step, of any shape; real.
        grad: Its gradient g, of the same shape.
        exp_avg: The moving average m of the gradient before the step.
        exp_avg_var: The moving average s of the squared deviation before the step.
        step: The number t of this step, from 1.
        max_exp_avg_var: The largest s before the step, for AMSGrad (``reddi2018on``); None to divide by s.
        lr: The rate η.
        betas: The averages' factors β₁ and β₂.
        eps: Added to the average and to the root.
        weight_decay: The factor λ.
        weight_decouple: Shrink the parameter instead of adding to the gradient.
        rectify: Shorten early steps.

    Returns:
        The new param, exp_avg, exp_avg_var and max_exp_avg_var, which is None if it was None.

    Raises:
        ValueError: param or grad is complex.
    """
    check_real(param, grad)
    beta1, beta2 = betas
    if weight_decouple:
        param = param * (1 - lr * weight_decay)
    else:
        grad = grad + weight_decay * param
    exp_avg = beta1 * exp_avg + (1 - beta1) * grad
    exp_avg_var = beta2 * exp_avg_var + (1 - beta2) * (grad - exp_avg).square() + eps
    largest = exp_avg_var
    if max_exp_avg_var is not None:
        largest = max_exp_avg_var = torch.maximum(max_exp_avg_var, exp_avg_var)
    mean = exp_avg / (1 - beta1**step)
    correction = math.sqrt(1 - beta2**step)
    if not rectify:
        update = mean / (largest.sqrt() / correction + eps)
    elif (factor := rectification(step, beta2)) is not None:
        update = factor * mean / ((largest.sqrt() + eps) / correction)
    else:
        update = mean
    return param - lr * update, exp_avg, exp_avg_var, max_exp_avg_var


class AdaBelief(ElementwiseOptimizer):
    """The AdaBelief optimiser, with the computation of `adabelief_step`.

    Arguments and state are named as in the reference package, whose state dicts can be loaded.

    Args:
        params: Parameters, or groups of them.
        lr: The rate.
        betas: The factors of the averages of the gradient and of its squared deviation.
        eps: Added to the average and to the root; see the pitfalls above.
        weight_decay: The factor of weight decay.
        amsgrad: Divide by the largest average so far. NOTE: also if rectified, where the package forgets it.
        weight_decouple: Shrink the parameter, as AdamW does, instead of adding to the gradient.
        rectify: Shorten early steps as RAdam does. NOTE: the package's default is True.
        foreach: False for one parameter after another.
        maximize: Go up the gradient instead of down.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float = 0,
        amsgrad: bool = False,
        weight_decouple: bool = True,
        *,
        rectify: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "weight_decouple": weight_decouple,
            "rectify": rectify,
            "maximize": maximize,
            "foreach": foreach,
        }
        super().__init__(params, defaults)

    def _averages(self, group: Group) -> dict[str, float]:
        names = ["exp_avg", "exp_avg_var"] + ["max_exp_avg_var"] * bool(group["amsgrad"])
        return dict.fromkeys(names, 0.0)

    def _one(self, param: Tensor, grad: Tensor, state: dict[str, Tensor], step: int, group: Group) -> Tensor:
        param, state["exp_avg"], state["exp_avg_var"], largest = adabelief_step(
            param,
            grad,
            **state,
            step=step,
            lr=float(group["lr"]),
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            weight_decouple=group["weight_decouple"],
            rectify=group["rectify"],
        )
        if largest is not None:
            state["max_exp_avg_var"] = largest
        return param

    def _many(self, params: list[Tensor], grads: list[Tensor], state: Lists, step: int, group: Group) -> None:
        rate, eps, (beta1, beta2) = float(group["lr"]), group["eps"], map(float, group["betas"])
        if not group["weight_decouple"]:
            grads = decayed(grads, params, group["weight_decay"])
        elif group["weight_decay"] != 0:
            torch._foreach_mul_(params, 1 - rate * group["weight_decay"])
        torch._foreach_lerp_(state["exp_avg"], grads, 1 - beta1)
        deviations = torch._foreach_sub(grads, state["exp_avg"])
        torch._foreach_mul_(state["exp_avg_var"], beta2)
        torch._foreach_addcmul_(state["exp_avg_var"], deviations, deviations, value=1 - beta2)
        torch._foreach_add_(state["exp_avg_var"], eps)
        largest = state["exp_avg_var"]
        if "max_exp_avg_var" in state:
            largest = state["max_exp_avg_var"]
            torch._foreach_maximum_(largest, state["exp_avg_var"])
        rate /= 1 - beta1**step
        correction = math.sqrt(1 - beta2**step)
        if group["rectify"]:
            factor = rectification(step, beta2)
            if factor is None:
                torch._foreach_add_(params, state["exp_avg"], alpha=-rate)
                return
            rate *= factor
        else:
            eps *= correction  # of the root, as in Adam: one pass less
        roots = torch._foreach_sqrt(largest)
        torch._foreach_add_(roots, eps)
        torch._foreach_addcdiv_(params, state["exp_avg"], roots, value=-rate * correction)
