"""Layers around `batch_norm`: they hold its parameters, and the running statistics that evaluation needs.

Arguments, parameters and buffers are torch's: see `surveylab.normalization.layers`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surveylab.normalization.batch_norm import batch_norm
from surveylab.normalization.layers import ChannelNorm


class BatchNormBase(ChannelNorm):
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
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a batch; in training, also update the running statistics."""
        self._check_dims(input)
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


class BatchNorm1d(BatchNormBase):
    """Batch Norm of (B, C) or (B, C, length)."""

    _input_dims = (2, 3)


class BatchNorm2d(BatchNormBase):
    """Batch Norm of (B, C, height, width)."""

    _input_dims = (4,)


class BatchNorm3d(BatchNormBase):
    """Batch Norm of (B, C, depth, height, width)."""

    _input_dims = (5,)
