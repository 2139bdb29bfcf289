"""Layers around `batch_norm`: they hold its parameters, and the running statistics that evaluation needs.

The names, order and defaults of arguments, parameters and buffers are torch's, so that a layer drops in and
state dicts load both ways.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from surveylab.normalization.batch_norm import batch_norm


class BatchNormBase(nn.Module):
    """Batch Norm with torch's arguments, parameters and buffers; a subclass says which inputs it takes.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance inside the root.
        momentum: Weight of a batch in the running statistics; None for the plain average of all batches.
        affine: Learn a scale (`weight`) and a shift (`bias`) for each channel.
        track_running_stats: Keep running statistics for evaluation, which else uses the batch's own.
        device: Where parameters and buffers live.
        dtype: Their dtype.
        bias: Learn the shift, if affine.
    """

    _version = 2  # of the state dict: since 2, it holds num_batches_tracked
    _input_dims: tuple[int, ...]

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats

        def empty() -> Tensor:
            return torch.empty(num_features, device=device, dtype=dtype)

        self.register_parameter("weight", nn.Parameter(empty()) if affine else None)
        self.register_parameter("bias", nn.Parameter(empty()) if affine and bias else None)
        self.register_buffer("running_mean", empty() if track_running_stats else None)
        self.register_buffer("running_var", empty() if track_running_stats else None)
        count = torch.tensor(0, dtype=torch.long, device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget all batches: running mean 0, running variance 1, no batch counted."""
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Start anew: scale 1, shift 0, and the running statistics forgotten."""
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a batch; in training, also update the running statistics."""
        if input.dim() not in self._input_dims:
            wanted = " or ".join(f"{dim}D" for dim in self._input_dims)
            raise ValueError(
                f"expected {wanted} input (got {input.dim()}D input): {type(self).__name__} was given shape "
                f"{tuple(input.shape)}"
            )
        momentum: float | Tensor = self.momentum or 0.0
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the average of all batches so far; stays a tensor, for vmap
                momentum = 1.0 / self.num_batches_tracked.double()
        use_running = self.track_running_stats or not self.training
        return batch_norm(
            input,
            self.running_mean if use_running else None,
            self.running_var if use_running else None,
            self.weight,
            self.bias,
            self.training or (self.running_mean is None and self.running_var is None),
            momentum,
            self.eps,
        )

    def extra_repr(self) -> str:
        """Show the arguments, as torch does."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        version = local_metadata.get("version")
        if (version is None or version < 2) and self.num_batches_tracked is not None:
            state_dict.setdefault(prefix + "num_batches_tracked", self.num_batches_tracked)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class BatchNorm1d(BatchNormBase):
    """Batch Norm of (B, C) or (B, C, length)."""

    _input_dims = (2, 3)


class BatchNorm2d(BatchNormBase):
    """Batch Norm of (B, C, height, width)."""

    _input_dims = (4,)


class BatchNorm3d(BatchNormBase):
    """Batch Norm of (B, C, depth, height, width)."""

    _input_dims = (5,)
