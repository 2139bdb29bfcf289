r"""AdaGrad: each element's step is divided by the root of all its squared gradients so far.

.. math::

    G_t = G_{t-1} + g_t^2, \qquad
    \theta_t = \theta_{t-1} - \frac{\eta}{1 + (t-1)\,\eta'} \, \frac{g_t}{\sqrt{G_t} + \epsilon},

for every element by itself, with the rate :math:`\eta` and its decay :math:`\eta'`, which is 0 by default.
Elements with rare gradients keep a large step. As :math:`G_t` never shrinks, a steady gradient takes steps of
:math:`\eta / \sqrt{t}`.

Paper: ``duchi2011adaptive``; this is its diagonal form.

Pitfalls:
    * The first step is :math:`\eta \operatorname{sign}(g_1)`, whatever the size of the gradient.
    * With weight decay, :math:`g_t` contains :math:`\lambda \theta_{t-1}` and so does :math:`G_t`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from surveylab.adaptive.elementwise import ElementwiseOptimizer, Group, Lists, check_real, decayed


def adagrad_step(
    param: Tensor,
    grad: Tensor,
    sum: Tensor,
    step: int,
    *,
    lr: float | Tensor = 1e-2,
    lr_decay: float = 0,
    weight_decay: float = 0,
    eps: float = 1e-10,
) -> tuple[Tensor, Tensor]:
    r"""One step of AdaGrad (``duchi2011adaptive``).

    .. math::

        g \leftarrow g + \lambda \theta, \qquad G \leftarrow G + g^2, \qquad
        \theta \leftarrow \theta - \frac{\eta}{1 + (t-1)\,\eta'} \, \frac{g}{\sqrt{G} + \epsilon}.

    Args:
        param: The parameter θ before the step, of any shape; real.
        grad: Its gradient g, of the same shape.
        sum: The sum G of its squared gradients before this one, of the same shape.
        step: The number t of this step, from 1.
        lr: The rate η.
        lr_decay: Its decay η′.
        weight_decay: The factor λ of the penalty ½ λ ‖θ‖².
        eps: Added to the root.

    Returns:
        The new param and sum.

    Raises:
        ValueError: param or grad is complex.
    """
    check_real(param, grad)
    grad = grad + weight_decay * param
    sum = sum + grad.square()
    rate = lr / (1 + (step - 1) * lr_decay)
    return param - rate * grad / (sum.sqrt() + eps), sum


class Adagrad(ElementwiseOptimizer):
    """torch's Adagrad with the computation of `adagrad_step`.

    A sparse gradient, such as an embedding's, changes the elements it names and no others.

    Args:
        params: Parameters, or groups of them.
        lr: The rate.
        lr_decay: Its decay with the number of steps.
        weight_decay: The factor of the penalty on squared parameters.
        initial_accumulator_value: What the sums of squares start from.
            NOTE: a group's own value counts; torch takes the constructor's for all groups.
        eps: Added to the root.
        foreach: False for one parameter after another.
        maximize: Go up the gradient instead of down.
        differentiable, fused: Not served; see `ElementwiseOptimizer`.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def _averages(self, group: Group) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def _one(self, param: Tensor, grad: Tensor, state: dict[str, Tensor], step: int, group: Group) -> Tensor:
        param, state["sum"] = adagrad_step(
            param,
            grad,
            state["sum"],
            step,
            lr=float(group["lr"]),
            lr_decay=group["lr_decay"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
        )
        return param

    def _many(self, params: list[Tensor], grads: list[Tensor], state: Lists, step: int, group: Group) -> None:
        grads = decayed(grads, params, group["weight_decay"])
        torch._foreach_addcmul_(state["sum"], grads, grads)
        roots = torch._foreach_sqrt(state["sum"])
        torch._foreach_add_(roots, group["eps"])
        rate = float(group["lr"]) / (1 + (step - 1) * group["lr_decay"])
        torch._foreach_addcdiv_(params, grads, roots, value=-rate)

    def _sparse(self, param: Tensor, grad: Tensor, state: dict[str, Tensor], step: int, group: Group) -> None:
        if group["weight_decay"] != 0:
            raise RuntimeError(
                f"weight_decay should be 0 for sparse gradients, which name few elements, but is "
                f"{group['weight_decay']}"
            )
        grad = grad.coalesce()  # each element once: the step is not linear in the gradient
        named = tuple(grad.indices())
        rows = {"sum": state["sum"][named]}
        param[named] = self._one(param[named], grad.values(), rows, step, group)
        state["sum"][named] = rows["sum"]
