"""Whether a tensor's values can be looked at, which compiling, exporting, tracing and vmap do not allow."""

from __future__ import annotations

import torch
from torch import Tensor


def has_values(tensor: Tensor) -> bool:
    """Whether a decision may depend on the tensor's values."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or tensor.device.type == "meta":
        return False
    return not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
