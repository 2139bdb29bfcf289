r"""Experts as stacked parameters, and dispatch: each token is multiplied by the matrices of its own experts.

E experts are networks of two layers whose parameters lie in one tensor a layer,

.. math::

    o_i(x) = W_i^{(2)\top} \max(0, W_i^{(1)\top} x + b_i^{(1)}) + b_i^{(2)}, \qquad i = 1, \dots, E .

Where a token needs only k of them, the pairs of token and expert are sorted by expert; then the rows of one
expert lie together, and one matrix product an expert does exactly the work that was asked for. There is no
loop over tokens and no padding. Under `torch.func.vmap` replicas are further groups, so a population runs
the same products. An expert that no token chose is not touched: its gradient is exactly zero.

Sources: ``shazeer2017outrageously``, ``fedus2022switch``.

Pitfalls:
    * Under a capacity, which tokens an expert drops depends on the other tokens of the batch.
    * On a GPU the sizes of the groups are read by the host, which waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

# Axis legend: R replicas, T tokens, k experts a token, N = k * T rows sorted by expert, E experts,
# D features in, H hidden, O out. Rows starts[e]:ends[e] belong to expert e; rows in none stay zero.


class Dispatched(NamedTuple):
    """What the chosen experts gave.

    Attributes:
        output: Sum over each token's experts, weighted: (T, O).
        counts: Tokens that each expert ran on: (E,), int64.
        dropped: Pairs of token and expert that were left out for want of capacity: (), int64.
    """

    output: Tensor
    counts: Tensor
    dropped: Tensor


class Experts(nn.Module):
    """E networks of two layers with ReLU between them, or of one layer.

    Args:
        num_experts: Number of experts E.
        in_features: Features of a token, D.
        hidden_features: Width of the hidden layer, H; None for linear experts of one layer.
        out_features: Features that come out, O.
        device: Where parameters live.
        dtype: Their dtype.

    Attributes:
        weight1: (E, D, H), or (E, D, O) of linear experts.
        bias1: (E, H), or (E, O).
        weight2: (E, H, O), or None.
        bias2: (E, O), or None.

    Parameters begin as those of `torch.nn.Linear` do.
    """

    weight2: Tensor | None
    bias2: Tensor | None

    def __init__(
        self,
        num_experts: int,
        in_features: int,
        hidden_features: int | None,
        out_features: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = {"num_experts": num_experts, "in_features": in_features, "out_features": out_features}
        check_counts(**sizes, **({} if hidden_features is None else {"hidden_features": hidden_features}))
        self.num_experts, self.in_features, self.out_features = num_experts, in_features, out_features
        self.hidden_features = hidden_features
        first = out_features if hidden_features is None else hidden_features
        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight1 = nn.Parameter(torch.empty(num_experts, in_features, first, **like))
        self.bias1 = nn.Parameter(torch.empty(num_experts, first, **like))
        if hidden_features is None:
            self.register_parameter("weight2", None)
            self.register_parameter("bias2", None)
        else:
            self.weight2 = nn.Parameter(torch.empty(num_experts, hidden_features, out_features, **like))
            self.bias2 = nn.Parameter(torch.empty(num_experts, out_features, **like))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters uniformly within 1 / sqrt(features in) of zero, as `torch.nn.Linear` does."""
        for weight, bias in self._layers():
            bound = weight.shape[1] ** -0.5
            for parameter in (weight, bias):
                nn.init.uniform_(parameter, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Run every expert on every token: (…, D) → (…, E, O)."""
        check_features(input, self.in_features)
        (weight, bias), *second = self._layers()
        output = torch.einsum("...d,edh->...eh", input, weight) + bias
        for weight, bias in second:
            output = torch.einsum("...eh,eho->...eo", output.relu(), weight) + bias
        return output

    def dispatch(
        self, input: Tensor, index: Tensor, weight: Tensor, capacity: int | None = None
    ) -> Dispatched:
        """Run each token's own experts and add up what they give.

        Args:
            input: Tokens, (T, D).
            index: Each token's experts, the most important first: (T, k), int64.
            weight: By what their outputs are multiplied: (T, k).
            capacity: How many tokens an expert takes. First choices come before second ones, earlier tokens
                before later ones; the rest is dropped. None for as many as there are.
        """
        device = input.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else input.dtype
        tokens = index.shape[0]
        experts, order = index.mT.reshape(-1).sort(stable=True)  # (T, k) -> (N,), first choices first
        ends = one_hot(experts, self.num_experts).sum(0).cumsum(0)  # (E,)
        starts = F.pad(ends[:-1], (1, 0))
        weight = weight.mT.reshape(-1).index_select(0, order)  # (T, k) -> (N,)
        if capacity is not None:
            ends = torch.minimum(ends, starts + capacity)
        token = torch.arange(tokens, device=input.device).repeat(index.shape[1]).index_select(0, order)
        rows = input.to(dtype).index_select(0, token)  # (N, D)
        for layer, (matrix, bias) in enumerate(self._layers()):
            rows = rows.relu_() if layer else rows  # in place: time goes into moving large tensors
            rows = grouped_linear(rows, matrix.to(dtype), bias.to(dtype), starts, ends)
        weighted = rows * weight.to(dtype).unsqueeze(-1)
        output = weighted.new_zeros(tokens, self.out_features).index_add(0, token, weighted)
        counts = ends - starts
        return Dispatched(output, counts, index.numel() - counts.sum())

    def _layers(self) -> Sequence[tuple[Tensor, Tensor]]:
        """Weight and bias of each layer."""
        layers = [(self.weight1, self.bias1)]
        if self.weight2 is not None and self.bias2 is not None:
            layers.append((self.weight2, self.bias2))
        return layers

    def extra_repr(self) -> str:
        """Show the arguments, as torch does."""
        return (
            f"{self.num_experts}, in_features={self.in_features}, hidden_features={self.hidden_features}, "
            f"out_features={self.out_features}"
        )


def one_hot(index: Tensor, num_experts: int) -> Tensor:
    """Which expert is meant: (…) → (…, E), bool."""
    return index.unsqueeze(-1) == torch.arange(num_experts, device=index.device)


def check_counts(**counts: int) -> None:
    """Raise an error for a number of features or experts that is not a whole number of 1 or more."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{name} should be a whole number, 1 or more, but is {count}")


def check_features(input: Tensor, features: int) -> None:
    """Raise an error for an input that is not (…, features) or not floating point."""
    if not input.is_floating_point():
        raise TypeError(f"input should be floating point, but is {input.dtype}: convert it")
    if input.dim() < 2 or input.shape[-1] != features:
        raise ValueError(
            f"input should have shape (tokens, {features}) or (..., tokens, {features}), but has "
            f"{tuple(input.shape)}"
        )


# ------------------------------------------------------------------------------- products by groups of rows


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
    return _linear_op(*given) if _in_graph() else _Linear.apply(*given)


def _outer(*given: Tensor | None) -> Tensor:
    return _outer_op(*given) if _in_graph() else _Outer.apply(*given)


def _in_graph() -> bool:
    """Whether a graph is being made, which cannot hold a function that has a jvp."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()
