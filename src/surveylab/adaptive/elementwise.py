"""What the optimisers of this section share: every element of a parameter takes its step by itself.

`ElementwiseOptimizer` gathers parameters, gradients and running averages and counts steps; a method says
which averages it keeps and how a step is taken, once as a pure function of tensors and once in place on whole
lists of them (``torch._foreach_…``), which is what makes it fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

#: Elements that a processor updates at once.
PORTION = 2**16

Group = dict[str, Any]
Lists = dict[str, list[Tensor]]


def _is_number(value: Any) -> bool:
    return value.numel() == 1 if isinstance(value, Tensor) else isinstance(value, Real)


def _at_least_zero(value: Any) -> bool:
    return _is_number(value) and bool(0 <= value < math.inf)


def _below_one(value: Any) -> bool:
    return _is_number(value) and bool(0 <= value < 1)


def _are_betas(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(_below_one, value))


_ZERO_OR_MORE = (_at_least_zero, "a number, zero or more")
_ONLY_EAGER = (lambda value: not value, "False: the step is neither captured nor fused nor differentiated")
# What is right for a hyperparameter of that name, and how to say so.
_RIGHT: dict[str, tuple[Callable[[Any], bool], str]] = {
    "lr": (_at_least_zero, "a number or a tensor of one element, zero or more"),
    "betas": (_are_betas, "two numbers, each at least 0 and below 1"),
    "alpha": (_below_one, "a number, at least 0 and below 1"),
    "eps": _ZERO_OR_MORE,
    "weight_decay": _ZERO_OR_MORE,
    "momentum": _ZERO_OR_MORE,
    "lr_decay": _ZERO_OR_MORE,
    "initial_accumulator_value": _ZERO_OR_MORE,
    "foreach": (lambda value: value in (None, True, False), "True, False or None"),
    "capturable": _ONLY_EAGER,
    "differentiable": _ONLY_EAGER,
    "fused": _ONLY_EAGER,
}


def check_real(*tensors: Tensor) -> None:
    """Raise a ValueError for complex values, whose real and imaginary parts are elements by themselves."""
    if any(tensor.is_complex() for tensor in tensors):
        raise ValueError("param and grad should be real; pass complex ones as torch.view_as_real(…)")


def decayed(grads: list[Tensor], params: list[Tensor], weight_decay: float) -> list[Tensor]:
    """Gradients of the loss with the penalty ½ λ ‖θ‖²: g + λ θ."""
    if weight_decay == 0:
        return grads
    return list(torch._foreach_add(grads, params, alpha=weight_decay))


class ElementwiseOptimizer(Optimizer):
    """The part of an optimiser that is the same for all methods here.

    Arguments and state have torch's names, so that state dicts go both ways. Parameters of one device, dtype
    and number of steps are updated together, in place; ``foreach=False`` updates them one by one, with the
    method's pure function.

    NOTE: unlike torch, lists are the default on the CPU too, a group's own hyperparameters are checked like
    the defaults, and `capturable`, `differentiable` and `fused` are arguments for the sake of the signature:
    they say so if set, and are dropped from a state dict of torch's.
    """

    def _averages(self, group: Group) -> dict[str, float]:
        """Names of the running values that the method keeps for each element, and what they start from."""
        raise NotImplementedError

    def _one(self, param: Tensor, grad: Tensor, state: dict[str, Tensor], step: int, group: Group) -> Tensor:
        """The parameter after a step, by the method's pure function; puts the new averages into ``state``."""
        raise NotImplementedError

    def _many(self, params: list[Tensor], grads: list[Tensor], state: Lists, step: int, group: Group) -> None:
        """Take the same step for whole lists, in place."""
        raise NotImplementedError

    def _sparse(self, param: Tensor, grad: Tensor, state: dict[str, Tensor], step: int, group: Group) -> None:
        """Take a step for the elements that a sparse gradient names, if the method has one."""
        raise RuntimeError(
            f"{type(self).__name__} takes dense gradients, but that of a parameter of shape "
            f"{tuple(param.shape)} is sparse: use Adagrad or SGD, or an embedding with sparse=False"
        )

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with hyperparameters of their own.

        Raises:
            ValueError: A hyperparameter, the group's or a default, is out of range.
        """
        for name, value in {**self.defaults, **param_group}.items():
            is_right, right = _RIGHT.get(name, (None, ""))
            if is_right is not None and not is_right(value):
                raise ValueError(f"{name} should be {right}, but is {value}")
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state, also one that torch or AdaBelief's reference package wrote."""
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)
                if _RIGHT.get(name) is _ONLY_EAGER:
                    group[name] = default
        for values in self.state.values():
            if "step" in values:  # as a number or on a GPU, it would have to be fetched from there each time
                values["step"] = torch.tensor(float(values["step"]), dtype=torch.float32)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take a step for every parameter that has a gradient.

        Args:
            closure: Computes gradients anew and returns the loss.

        Returns:
            What the closure returned, if there is one.

        Raises:
            RuntimeError: A gradient is sparse, and the method takes only dense ones.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: Group) -> None:
        averages = self._averages(group)
        counters: list[Tensor] = []
        together: dict[tuple[torch.device, torch.dtype, int], list[list[Tensor]]] = {}
        for param in group["params"]:
            grad = param.grad
            if grad is None:
                continue
            state = self.state[param]
            try:
                counter = state["step"]
                row = [param, grad, *map(state.__getitem__, averages)]
            except KeyError:
                self._begin(param, state, averages)
                counter = state["step"]
                row = [param, grad, *map(state.__getitem__, averages)]
            dtype = param.dtype
            if dtype.is_complex:
                row = [_as_real(value) for value in row]
            counters.append(counter)
            step = int(counter.item()) + 1
            if grad.is_sparse:
                param, grad, *rest = row
                grad = -grad if group["maximize"] else grad
                self._sparse(param, grad, dict(zip(averages, rest, strict=True)), step, group)
                continue
            key = (param.device, dtype, step)
            if key in together:
                together[key].append(row)
            else:
                together[key] = [row]
        if counters:
            torch._foreach_add_(counters, torch.tensor(1.0), alpha=1.0)  # a tensor, made once for all
        for (device, _, step), rows in together.items():
            for portion in _portions(rows) if device.type == "cpu" else (rows,):
                params, grads, *lists = (list(column) for column in zip(*portion, strict=True))
                if group["maximize"]:
                    grads = list(torch._foreach_neg(grads))
                if group["foreach"] is False:
                    for param, grad, *row in zip(params, grads, *lists, strict=True):
                        self._one_in_place(param, grad, dict(zip(averages, row, strict=True)), step, group)
                else:
                    self._many(params, grads, dict(zip(averages, lists, strict=True)), step, group)

    def _begin(self, param: Tensor, state: dict[str, Tensor], averages: dict[str, float]) -> None:
        """Add what the state of a parameter lacks."""
        state.setdefault("step", torch.tensor(0.0, dtype=torch.float32))  # where torch keeps it: on the CPU
        for name, start in averages.items():
            if name not in state:
                value = complex(start, start) if param.is_complex() else start
                state[name] = torch.full_like(param, value, memory_format=torch.preserve_format)

    def _one_in_place(
        self, param: Tensor, grad: Tensor, state: dict[str, Tensor], step: int, group: Group
    ) -> None:
        new = dict(state)
        param.copy_(self._one(param, grad, new, step, group))
        for name, value in state.items():
            value.copy_(new[name])


def _portions(rows: list[list[Tensor]]) -> Iterator[list[list[Tensor]]]:
    """Cut rows of a parameter and what belongs to it into parts of up to `PORTION` elements, or one row.

    A step goes over its lists several times; the values of a part are then still in the processor's cache.
    """
    begin, size = 0, 0
    for end, row in enumerate(rows):
        count = row[0].numel()
        if size and size + count > PORTION:
            yield rows[begin:end]
            begin, size = end, 0
        size += count
    yield rows[begin:]


def _as_real(value: Tensor) -> Tensor:
    """The real and imaginary parts of a complex tensor as one more axis, which torch's optimisers step by."""
    if value.is_sparse:
        value = value.coalesce()
        parts = torch.view_as_real(value.values())
        return torch.sparse_coo_tensor(
            value.indices(), parts, (*value.shape, 2), is_coalesced=True, check_invariants=False
        )
    return torch.view_as_real(value.resolve_conj())
