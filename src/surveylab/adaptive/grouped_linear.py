r"""Products by groups of rows: each group with its own matrix and bias, differentiable without end.

Rows sorted by group are multiplied by one matrix a group, so that no row is padded and no group without rows
is touched. For group e with rows :math:`X_e`,

.. math::

    Y_e = X_e W_e + \mathbf{1} b_e^\top, \qquad
    \frac{\partial L}{\partial W_e} = X_e^\top \frac{\partial L}{\partial Y_e} .

torch's ``grouped_mm`` is as fast on a CPU, but takes no float64 and no replicas, and has neither second nor
forward-mode derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

# Axis legend: R replicas, N rows, E groups, D features in, H features out.


def grouped_linear(
    rows: Tensor, matrices: Tensor, bias: Tensor | None, starts: Tensor, ends: Tensor
) -> Tensor:
    """Multiply each group of rows by the group's own matrix, and add the group's bias.

    Args:
        rows: (N, D).
        matrices: One a group: (E, D, H).
        bias: One a group, (E, H); 0 if None.
        starts, ends: Group e is ``rows[starts[e]:ends[e]]``, and the groups follow each other: (E,), int64.

    Returns:
        (N, H), zeros in rows that are in no group.
    """
    given = [None if tensor is None else tensor.unsqueeze(0) for tensor in (rows, matrices, bias)]
    return _linear(*given, starts.unsqueeze(0), ends.unsqueeze(0)).squeeze(0)


@torch.library.custom_op("surveylab::grouped_linear", mutates_args=())
def _linear_op(rows: Tensor, matrices: Tensor, bias: Tensor | None, starts: Tensor, ends: Tensor) -> Tensor:
    """(R, N, D), (R, E, D, H), (R, E, H) → (R, N, H). An operator of torch's kind: a graph can hold it."""
    output = rows.new_empty(*rows.shape[:2], matrices.shape[-1])
    for r, bounds in enumerate(_bounds(starts, ends)):
        given, own, left, last = rows[r], matrices[r].unbind(), output[r], 0
        for e, (start, end) in enumerate(bounds):
            left[last:start] = 0
            if start < end and bias is None:
                torch.mm(given[start:end], own[e], out=left[start:end])
            elif start < end and bias is not None:
                torch.addmm(bias[r, e], given[start:end], own[e], out=left[start:end])
            last = end
        left[last:] = 0
    return output


@torch.library.custom_op("surveylab::grouped_outer", mutates_args=())
def _outer_op(left: Tensor, right: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """(R, N, D), (R, N, H) → (R, E, D, H): the sum over each group's rows of their outer products."""
    output = left.new_empty(*starts.shape, left.shape[-1], right.shape[-1])
    for r, bounds in enumerate(_bounds(starts, ends)):
        first, second, sums = left[r].mT, right[r], output[r].unbind()
        for total, (start, end) in zip(sums, bounds, strict=True):
            if start < end:
                torch.mm(first[:, start:end], second[start:end], out=total)
            else:
                total.zero_()
    return output


def _bounds(starts: Tensor, ends: Tensor) -> list[list[tuple[int, int]]]:
    """First row and end of each replica's groups."""
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    return [list(zip(*replica, strict=True)) for replica in pairs]


@_linear_op.register_fake
def _(rows: Tensor, matrices: Tensor, bias: Tensor | None, starts: Tensor, ends: Tensor) -> Tensor:
    return rows.new_empty(*rows.shape[:2], matrices.shape[-1])


@_outer_op.register_fake
def _(left: Tensor, right: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    return left.new_empty(*starts.shape, left.shape[-1], right.shape[-1])


@register_flop_formula(torch.ops.surveylab.grouped_linear)
def _linear_flops(rows: Any, matrices: Any, *rest: Any, **options: Any) -> int:
    return 2 * rows[0] * rows[1] * rows[2] * matrices[-1]


@register_flop_formula(torch.ops.surveylab.grouped_outer)
def _outer_flops(left: Any, right: Any, *rest: Any, **options: Any) -> int:
    return 2 * left[0] * left[1] * left[2] * right[-1]


# Both operations are linear in each argument, and the derivatives of each are made of the two: so they can be
# differentiated as often as one likes. Sums over a group's rows are products with a column of ones.
def _linear_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    rows, matrices, *groups = ctx.saved_tensors
    needed = ctx.needs_input_grad
    return (
        _linear(grad, matrices.mT, None, *groups) if needed[0] else None,
        _outer(rows, grad, *groups) if needed[1] else None,
        _outer(_ones(grad), grad, *groups).squeeze(-2) if needed[2] else None,
        None,
        None,
    )


def _outer_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    left, right, *groups = ctx.saved_tensors
    needed = ctx.needs_input_grad
    return (
        _linear(right, grad.mT, None, *groups) if needed[0] else None,
        _linear(left, grad, None, *groups) if needed[1] else None,
        None,
        None,
    )


def _ones(rows: Tensor) -> Tensor:
    """(R, N, H) → (R, N, 1)."""
    return rows.new_ones(*rows.shape[:-1], 1)


def _save_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    rows, matrices, _, starts, ends = inputs
    ctx.save_for_backward(rows, matrices, starts, ends)


def _save_outer(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


_linear_op.register_autograd(_linear_backward, setup_context=_save_linear)
_outer_op.register_autograd(_outer_backward, setup_context=_save_outer)


# What such an operator cannot do: forward-mode derivatives, and vmap by further replicas.
class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(rows: Tensor, matrices: Tensor, bias: Tensor | None, starts: Tensor, ends: Tensor) -> Tensor:
        return _linear_op(rows, matrices, bias, starts, ends)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _save_linear(ctx, inputs, output)
        ctx.save_for_forward(*inputs[:2], *inputs[3:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _linear_backward(ctx, grad)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        rows, matrices, groups = _primals(ctx)
        along_rows, along_matrices, along_bias, *_ = tangents
        with forward_ad._set_fwd_grad_enabled(True):  # another derivative may be taken at the same time
            parts = [
                None if along_rows is None else _linear(along_rows, matrices, None, *groups),
                None if along_matrices is None else _linear(rows, along_matrices, None, *groups),
                None if along_bias is None else _linear(_ones(rows), along_bias.unsqueeze(-2), None, *groups),
            ]
            return _total(parts)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *given: Tensor | None) -> tuple[Tensor, int]:
        return _replicated(_linear, info, in_dims, given)


class _Outer(torch.autograd.Function):
    @staticmethod
    def forward(left: Tensor, right: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
        return _outer_op(left, right, starts, ends)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _save_outer(ctx, inputs, output)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _outer_backward(ctx, grad)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        left, right, groups = _primals(ctx)
        with forward_ad._set_fwd_grad_enabled(True):
            parts = [
                None if tangents[0] is None else _outer(tangents[0], right, *groups),
                None if tangents[1] is None else _outer(left, tangents[1], *groups),
            ]
            return _total(parts)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *given: Tensor | None) -> tuple[Tensor, int]:
        return _replicated(_outer, info, in_dims, given)


def _primals(ctx: Any) -> tuple[Tensor, Tensor, list[Tensor]]:
    first, second, *groups = ctx.saved_tensors
    first, second = (forward_ad.unpack_dual(tensor).primal for tensor in (first, second))
    return first, second, groups


def _total(parts: Sequence[Tensor | None]) -> Tensor:
    """The sum of those there are: at least one."""
    first, *rest = [part for part in parts if part is not None]
    for part in rest:
        first = first + part
    return first


def _replicated(
    apply: Callable[..., Tensor], info: Any, in_dims: Sequence[int | None], given: Sequence[Tensor | None]
) -> tuple[Tensor, int]:
    """(V, R, …) → (V R, …) and back."""
    stacked: list[Tensor | None] = []
    for tensor, dim in zip(given, in_dims, strict=True):
        if tensor is not None:
            one = tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            stacked.append(one.flatten(0, 1))
        else:
            stacked.append(None)
    return apply(*stacked).unflatten(0, (info.batch_size, -1)), 0


def _linear(*given: Tensor | None) -> Tensor:
    return _linear_op(*given) if making_graph() else _Linear.apply(*given)


def _outer(*given: Tensor | None) -> Tensor:
    return _outer_op(*given) if making_graph() else _Outer.apply(*given)


def making_graph() -> bool:
    """Whether a graph is being made, which cannot hold a function that has a jvp."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()
