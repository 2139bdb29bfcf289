"""Run rows, sorted by expert, through their experts: in a form for every use and a fast one for training.

The first is composed of functions that can be differentiated, transformed and put into a graph at will. The
second goes expert by expert, so that what it makes on the way fits into a processor's cache: with large
temporary tensors, moving them takes as long as the products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from surveylab.adaptive.grouped_linear import grouped_linear, making_graph

# Axis legend: T tokens, N rows (pairs of token and expert), n rows of one expert, E experts, D features in,
# H hidden, O out.


def run_rows(
    input: Tensor, token: Tensor, weight: Tensor, starts: Tensor, ends: Tensor, *layers: Tensor
) -> Tensor:
    """Run each group of rows through its expert and add the weighted results up by token.

    Args:
        input: Tokens, (T, D).
        token: Which token a row is of: (N,), int64.
        weight: By what a row's result is multiplied: (N,).
        starts, ends: Rows starts[e]:ends[e] are those of expert e; other rows do not count: (E,), int64.
        *layers: Weight and bias of each layer: (E, D, H), (E, H), … .

    Returns:
        (T, O).
    """
    plain = len(layers) == 4 and not making_graph() and not _transformed()
    way = _Fused.apply if plain else _composed
    return way(input, token, weight, starts, ends, *layers)


def _composed(
    input: Tensor, token: Tensor, weight: Tensor, starts: Tensor, ends: Tensor, *layers: Tensor
) -> Tensor:
    rows = input.index_select(0, token)  # (N, D)
    for layer in range(0, len(layers), 2):
        rows = rows.relu() if layer else rows
        rows = grouped_linear(rows, layers[layer], layers[layer + 1], starts, ends)
    weighted = rows * weight.unsqueeze(-1)  # (N, O)
    return weighted.new_zeros(input.shape[0], rows.shape[-1]).index_add(0, token, weighted)


class _Fused(torch.autograd.Function):
    r"""`_composed` for experts of two layers.

    With :math:`g_n` the gradient of the output of row n's token, :math:`h_n` the row's hidden values,
    :math:`w_n` its weight and :math:`u_n = W^{(2)} g_n`: the gradient of the weight is
    :math:`u_n \cdot h_n + b^{(2)} \cdot g_n`, so that the expert's output need not be kept; that before the
    ReLU is :math:`w_n u_n` where :math:`h_n > 0`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        token: Tensor,
        weight: Tensor,
        starts: Tensor,
        ends: Tensor,
        weight1: Tensor,
        bias1: Tensor,
        weight2: Tensor,
        bias2: Tensor,
    ) -> Tensor:
        output = input.new_zeros(len(input), bias2.shape[-1])
        hidden = input.new_empty(len(token), bias1.shape[-1])  # (N, H)
        for e, (start, end) in _occupied(starts, ends):
            own = token[start:end]
            h = torch.addmm(bias1[e], input.index_select(0, own), weight1[e], out=hidden[start:end]).relu_()
            y = torch.addmm(bias2[e], h, weight2[e])
            output.index_add_(0, own, y.mul_(weight[start:end, None]))
        ctx.save_for_backward(input, token, weight, starts, ends, weight1, bias1, weight2, bias2, hidden)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *given, hidden = ctx.saved_tensors
        needed = ctx.needs_input_grad
        again = torch.is_grad_enabled()
        batched = torch._C._functorch.is_legacy_batchedtensor(grad)  # as by is_grads_batched
        if again or batched or _transformed():
            with torch.enable_grad():
                # As views, because one argument may have been made from another, as a weight from the input.
                views = [
                    tensor.view_as(tensor) if wanted else tensor
                    for tensor, wanted in zip(given, needed, strict=True)
                ]
                leaves = [view for view, wanted in zip(views, needed, strict=True) if wanted]
                found = iter(torch.autograd.grad(_composed(*views), leaves, grad, create_graph=again))
            return tuple(next(found) if wanted else None for wanted in needed)
        input, token, weight, starts, ends, weight1, _, weight2, bias2 = given
        grad_input, _, grad_weight, _, _, *grad_layers = (
            torch.zeros_like(tensor) if wanted else None for tensor, wanted in zip(given, needed, strict=True)
        )
        grad_weight1, grad_bias1, grad_weight2, grad_bias2 = grad_layers
        with torch.autocast(grad.device.type, enabled=False):  # dtypes are those of the forward pass
            for e, (start, end) in _occupied(starts, ends):
                own, h, w = token[start:end], hidden[start:end], weight[start:end].unsqueeze(-1)
                g = grad.index_select(0, own)  # (n, O)
                u = g @ weight2[e].mT  # (n, H)
                if grad_weight is not None:
                    torch.add((u * h).sum(-1), g @ bias2[e], out=grad_weight[start:end])
                g.mul_(w)
                if grad_weight2 is not None:
                    torch.mm(h.mT, g, out=grad_weight2[e])
                if grad_bias2 is not None:
                    torch.sum(g, 0, out=grad_bias2[e])
                u = torch.ops.aten.threshold_backward(u.mul_(w), h, 0)
                if grad_weight1 is not None:
                    torch.mm(input.index_select(0, own).mT, u, out=grad_weight1[e])
                if grad_bias1 is not None:
                    torch.sum(u, 0, out=grad_bias1[e])
                if grad_input is not None:
                    grad_input.index_add_(0, own, u @ weight1[e].mT)
        return grad_input, None, grad_weight, None, None, *grad_layers


def _occupied(starts: Tensor, ends: Tensor) -> list[tuple[int, tuple[int, int]]]:
    """Each expert that has rows, with the first and the end of them."""
    bounds = zip(starts.tolist(), ends.tolist(), strict=True)
    return [(e, (start, end)) for e, (start, end) in enumerate(bounds) if start < end]


def _transformed() -> bool:
    """Whether `torch.func` or forward-mode differentiation is at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
