"""Errors of torch's types that say what would be right; and the dtypes that autocast would choose."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from numbers import Integral
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from surveylab.normalization.standardise import statistics_dtype

Layer = TypeVar("Layer", bound=nn.Module)


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) > 0


def _are_lengths(value: Any) -> bool:
    lengths = (value,) if isinstance(value, Integral) else tuple(value)
    return bool(lengths) and all(isinstance(length, Integral) and int(length) >= 0 for length in lengths)


_COUNT = (_is_count, "a whole number, 1 or more")
# What is right for an argument of that name, and how to say so.
_RIGHT: dict[str, tuple[Callable[[Any], bool], str]] = {
    "num_features": _COUNT,
    "num_channels": _COUNT,
    "num_groups": _COUNT,
    "code_features": _COUNT,
    "group": _COUNT,
    "num_parameters": _COUNT,
    "reduction": _COUNT,
    "normalized_shape": (_are_lengths, "a length or a sequence of them, whole numbers that are zero or more"),
    "init": (math.isfinite, "a finite number"),
    "beta": (math.isfinite, "a finite number"),
    "eps": (lambda value: 0 <= value < math.inf, "zero or more"),
    "momentum": (lambda value: value is None or 0 <= value <= 1, "from 0 to 1, or None"),
}


def checked(kind: type[Layer]) -> type[Layer]:
    """Let a layer's constructor raise a ValueError where an argument cannot be right. A decorator of classes.

    NOTE: torch takes no channels, a negative eps and a momentum of 2, and computes something with them.
    """
    construct = kind.__init__
    signature = inspect.signature(construct)

    @functools.wraps(construct)
    def __init__(*args: Any, **kwargs: Any) -> None:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            is_right, right = _RIGHT.get(name, (None, ""))
            if is_right is not None and not is_right(value):
                raise ValueError(f"{name} should be {right}, but is {value}")
        construct(*args, **kwargs)

    kind.__init__ = __init__  # type: ignore[method-assign, assignment]
    return kind


def check_input(input: Tensor, eps: float = 0.0) -> None:
    """Raise what torch raises for a dtype; and for a negative eps, of which torch makes NaN in silence."""
    if not input.is_floating_point():
        raise NotImplementedError(f"input should be floating point, but is {input.dtype}: convert it")
    if eps < 0:  # NOTE: of torch's norms only Batch Norm raises here
        raise ValueError(f"eps should be zero or more, but is {eps}")


def check_parameters(
    input: Tensor, parameters: dict[str, Tensor | None], shape: tuple[int, ...], meaning: str
) -> None:
    """Raise what torch raises for a parameter of another shape or dtype, and say what would be right."""
    for name, tensor in parameters.items():
        if tensor is None:
            continue
        if tensor.shape != shape:
            raise RuntimeError(
                f"{name} should have shape {tuple(shape)}, {meaning} of the input {tuple(input.shape)}, "
                f"but has {tuple(tensor.shape)}"
            )
        if tensor.dtype not in (input.dtype, statistics_dtype(input.dtype)):
            raise RuntimeError(
                f"{name} is {tensor.dtype} but the input is {input.dtype}: convert one of them, for instance "
                f"by module.to({input.dtype})"
            )
    weight, bias = parameters["weight"], parameters["bias"]
    if weight is not None and bias is not None and weight.dtype != bias.dtype:
        raise RuntimeError(f"weight and bias should have one dtype, but are {weight.dtype} and {bias.dtype}")


def check_running(running_mean: Tensor | None, running_var: Tensor | None) -> None:
    """Raise an error where one of the running statistics is missing."""
    if (running_mean is None) != (running_var is None):
        given = "running_var" if running_mean is None else "running_mean"
        raise ValueError(f"running_mean and running_var belong together, but only {given} was given")


def check_channels(input: Tensor) -> None:
    """Raise an error where there is no axis of channels."""
    if input.dim() < 2:
        raise ValueError(f"input should have shape (batch, channels, ...), but has {tuple(input.shape)}")


def check_positions(input: Tensor) -> None:
    """Raise what torch raises where a channel has a single position, or no axis of them."""
    shape = tuple(input.shape)
    if len(shape) < 3:
        raise ValueError(f"input should have shape (batch, channels, positions, ...), but has {shape}")
    if math.prod(shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, but each channel of the input {shape} has "
            "a single position: its variance is 0 and its output the bias. Use larger maps, or Layer or "
            "Group Norm"
        )


def autocasted(
    input: Tensor, weight: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Raise half precision to float32 where torch's Layer and Group Norm do: under CUDA's autocast.

    It leaves Batch and Instance Norm as they are, and on the CPU all of them.
    """
    if input.device.type != "cuda" or not torch.is_autocast_enabled("cuda"):
        return input, weight, bias

    def raised(tensor: Tensor) -> Tensor:
        return tensor.to(statistics_dtype(tensor.dtype))

    weight, bias = (None if tensor is None else raised(tensor) for tensor in (weight, bias))
    return raised(input), weight, bias
