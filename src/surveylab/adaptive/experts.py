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

from collections.abc import Sequence
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
            place = torch.arange(order.shape[0], device=input.device)
            weight = weight.masked_fill(place >= ends.index_select(0, experts), 0)
        token = torch.arange(tokens, device=input.device).repeat(index.shape[1]).index_select(0, order)
        rows = input.to(dtype).index_select(0, token)  # (N, D)
        for layer, (matrix, bias) in enumerate(self._layers()):
            rows = rows.relu() if layer else rows
            rows = grouped_product(rows, matrix.to(dtype), starts, ends)
            rows = rows + bias.to(dtype).index_select(0, experts)
        weighted = rows * weight.to(dtype).unsqueeze(-1)
        output = weighted.new_zeros(tokens, self.out_features).index_add(0, token, weighted)
        counts = ends - starts
        return Dispatched(output, counts, index.numel() - counts.sum())

    def _layers(self) -> list[tuple[Tensor, Tensor]]:
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


def grouped_product(rows: Tensor, matrices: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Multiply each group of rows by the group's own matrix.

    Args:
        rows: (N, D).
        matrices: One a group: (E, D, H).
        starts, ends: Group e is ``rows[starts[e]:ends[e]]``; groups do not overlap: (E,), int64.

    Returns:
        The products, (N, H); zeros in rows that are in no group.
    """
    given = [tensor.unsqueeze(0) for tensor in (rows, matrices, starts, ends)]
    return _product(*given).squeeze(0)


@torch.library.custom_op("surveylab::grouped_product", mutates_args=())
def _product_op(rows: Tensor, matrices: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """(R, N, D), (R, E, D, H) → (R, N, H). An operator of torch's own kind, so that a graph can hold it."""
    output = rows.new_zeros(*rows.shape[:2], matrices.shape[-1])
    for r, e, start, end in _groups(starts, ends):
        torch.mm(rows[r, start:end], matrices[r, e], out=output[r, start:end])
    return output


@torch.library.custom_op("surveylab::grouped_outer", mutates_args=())
def _outer_op(left: Tensor, right: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """(R, N, D), (R, N, H) → (R, E, D, H): the sum over each group's rows of their outer products."""
    output = left.new_zeros(*starts.shape, left.shape[-1], right.shape[-1])
    for r, e, start, end in _groups(starts, ends):
        torch.mm(left[r, start:end].mT, right[r, start:end], out=output[r, e])
    return output


def _groups(starts: Tensor, ends: Tensor) -> list[tuple[int, int, int, int]]:
    """Replica, expert, first row and end of each group that has rows."""
    bounds = zip(starts.tolist(), ends.tolist(), strict=True)
    return [
        (r, e, start, end)
        for r, replica in enumerate(bounds)
        for e, (start, end) in enumerate(zip(*replica, strict=True))
        if start < end
    ]


@_product_op.register_fake
def _(rows: Tensor, matrices: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    return rows.new_empty(*rows.shape[:2], matrices.shape[-1])


@_outer_op.register_fake
def _(left: Tensor, right: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    return left.new_empty(*starts.shape, left.shape[-1], right.shape[-1])


@register_flop_formula(torch.ops.surveylab.grouped_product)
def _product_flops(rows: Any, matrices: Any, *rest: Any, **options: Any) -> int:
    return 2 * rows[0] * rows[1] * rows[2] * matrices[-1]


@register_flop_formula(torch.ops.surveylab.grouped_outer)
def _outer_flops(left: Any, right: Any, *rest: Any, **options: Any) -> int:
    return 2 * left[0] * left[1] * left[2] * right[-1]


# Both operations are bilinear, and the derivatives of each are made of the two: so they can be differentiated
# as often as one likes.
def _product_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    rows, matrices, *groups = ctx.saved_tensors
    needed = ctx.needs_input_grad
    grad = grad.contiguous()
    return (
        _product(grad, matrices.mT, *groups) if needed[0] else None,
        _outer(rows, grad, *groups) if needed[1] else None,
        None,
        None,
    )


def _outer_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    left, right, *groups = ctx.saved_tensors
    needed = ctx.needs_input_grad
    return (
        _product(right, grad.mT, *groups) if needed[0] else None,
        _product(left, grad, *groups) if needed[1] else None,
        None,
        None,
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


_product_op.register_autograd(_product_backward, setup_context=_save)
_outer_op.register_autograd(_outer_backward, setup_context=_save)


class _Bilinear(torch.autograd.Function):
    """What an operator of torch's kind cannot do: forward-mode derivatives, and vmap by further replicas."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @classmethod
    def along(cls, ctx: Any, tangents: Sequence[Tensor | None]) -> Tensor:
        """The derivative along a direction: that of a product."""
        first, second, *groups = ctx.saved_tensors
        first, second = (forward_ad.unpack_dual(tensor).primal for tensor in (first, second))
        with forward_ad._set_fwd_grad_enabled(True):  # another derivative may be taken at the same time
            parts = [] if tangents[0] is None else [cls.apply(tangents[0], second, *groups)]
            parts += [] if tangents[1] is None else [cls.apply(first, tangents[1], *groups)]
            return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    @classmethod
    def replicated(cls, info: Any, in_dims: Sequence[int | None], given: Sequence[Tensor]) -> Any:
        """(V, R, …) → (V R, …) and back."""
        stacked = [
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(given, in_dims, strict=True)
        ]
        output = cls.apply(*(tensor.flatten(0, 1) for tensor in stacked))
        return output.unflatten(0, (info.batch_size, -1)), 0


class _Product(_Bilinear):
    @staticmethod
    def forward(rows: Tensor, matrices: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
        return _product_op(rows, matrices, starts, ends)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _product_backward(ctx, grad)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        return _Product.along(ctx, tangents)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *given: Tensor) -> tuple[Tensor, int]:
        return _Product.replicated(info, in_dims, given)


class _Outer(_Bilinear):
    @staticmethod
    def forward(left: Tensor, right: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
        return _outer_op(left, right, starts, ends)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _outer_backward(ctx, grad)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        return _Outer.along(ctx, tangents)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *given: Tensor) -> tuple[Tensor, int]:
        return _Outer.replicated(info, in_dims, given)


def _product(*given: Tensor) -> Tensor:
    return _product_op(*given) if _in_graph() else _Product.apply(*given)


def _outer(*given: Tensor) -> Tensor:
    return _outer_op(*given) if _in_graph() else _Outer.apply(*given)


def _in_graph() -> bool:
    """Whether a graph is being made, which cannot hold a function that has a jvp."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()
