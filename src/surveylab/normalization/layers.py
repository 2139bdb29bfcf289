"""What the layers have in common: learned scale and shift, and the running statistics some of them keep.

The names, order and defaults of arguments, parameters and buffers are torch's, so that a layer drops in and
state dicts load both ways.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class AffineNorm(nn.Module):
    """A layer with a learned scale (`weight`) and shift (`bias`), each of which may be absent (None).

    Args:
        shape: Their shape.
        weight: Learn a scale.
        bias: Learn a shift.
        device: Where parameters live.
        dtype: Their dtype.
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        shape: tuple[int, ...],
        weight: bool,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()

        def learned(wanted: bool) -> nn.Parameter | None:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype)) if wanted else None

        self.register_parameter("weight", learned(weight))
        self.register_parameter("bias", learned(bias))

    def reset_parameters(self) -> None:
        """Start anew: scale 1, shift 0."""
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class ChannelNorm(AffineNorm):
    """A layer with parameters and running statistics for each channel; a subclass says what it computes.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance inside the root.
        momentum: Weight of a batch in the running statistics.
        affine: Learn a scale (`weight`) and a shift (`bias`) for each channel.
        track_running_stats: Keep running statistics for evaluation.
        device: Where parameters and buffers live.
        dtype: Their dtype.
        bias: Learn the shift, if affine.
    """

    _version = 2  # of the state dict: since 2, it holds num_batches_tracked
    _input_dims: tuple[int, ...]

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        *,
        bias: bool,
    ) -> None:
        super().__init__((num_features,), affine, affine and bias, device, dtype)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats

        def statistic() -> Tensor | None:
            return torch.empty(num_features, device=device, dtype=dtype) if track_running_stats else None

        self.register_buffer("running_mean", statistic())
        self.register_buffer("running_var", statistic())
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
        super().reset_parameters()

    def extra_repr(self) -> str:
        """Show the arguments, as torch does."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def _check_dims(self, input: Tensor) -> None:
        if input.dim() not in self._input_dims:
            wanted = " or ".join(f"{dim}D" for dim in self._input_dims)
            raise ValueError(
                f"expected {wanted} input (got {input.dim()}D input): {type(self).__name__} was given shape "
                f"{tuple(input.shape)}"
            )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        version = local_metadata.get("version")
        if (version is None or version < 2) and self.num_batches_tracked is not None:
            state_dict.setdefault(prefix + "num_batches_tracked", self.num_batches_tracked)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)
