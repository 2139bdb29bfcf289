r"""Ghost Batch Norm: Batch Norm whose training statistics come from a few examples of a larger batch.

A batch is divided into groups of a few examples each, and each group is normalised by itself. As over which
examples statistics are taken no longer hangs on how many a step is made of, the two can be studied apart
[hoffer2017train]. It is also what several devices do that do not exchange their statistics.

The running statistics are those of the whole batch.
    NOTE: Hoffer et al. average those of the groups. The mean of the groups' variances leaves out how far the
    groups' means lie apart, so that at inference the output would be too large.
"""

from __future__ import annotations

from torch import Tensor

from surveylab.normalization.batch_norm_layers import BatchNorm2d
from surveylab.normalization.standardise import move_running, standardise

# Axis legend: B examples, K examples a group, C channels, S positions (all spatial axes as one).


def ghost_batch_norm(
    input: Tensor, group: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise each channel by the statistics of each group of examples, as in training.

    Args:
        input: Values of shape (B, C) or (B, C, ...), every axis after C being positions.
        group: Consecutive examples whose statistics are taken together, K; B must be a multiple of it.
        weight: Scale of each channel, shape (C,); 1 if None.
        bias: Shift of each channel, shape (C,); 0 if None.
        eps: Added to the variance inside the root.

    Returns:
        The normalised input: same shape and dtype.

    Raises:
        ValueError: The batch cannot be divided into such groups, or a group has one value per channel.
    """
    batch, channels, positions = *input.shape[:2], input.shape[2:].numel()  # (B, C, ...) -> (B, C, S)
    if group < 1 or batch % group:
        raise ValueError(f"group should divide the batch of {batch} examples, but is {group}")
    if group * positions == 1:
        raise ValueError(
            f"Expected more than 1 value per channel and group, but the input has shape {tuple(input.shape)} "
            "and group is 1: its variance is 0 and its output the bias. Use larger groups"
        )
    shape = (batch // group, group, channels, positions)  # (B, C, S) -> (B / K, K, C, S)
    return standardise(input, shape, (-3, -1), (1, 1, channels, 1), weight, bias, eps)[0]


class GhostBatchNorm2d(BatchNorm2d):
    """Ghost Batch Norm of (B, C, height, width); at inference it is Batch Norm.

    Args:
        num_features: Number of channels C.
        group: Examples whose statistics are taken together in training.
        eps: Added to the variance inside the root.
        momentum: Weight of a batch in the running statistics.
    """

    def __init__(self, num_features: int, group: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, eps, momentum)
        self.group = group

    def forward(self, input: Tensor) -> Tensor:
        """Normalise a batch; in training, also update the running statistics by all of it."""
        if not self.training:
            return super().forward(input)
        self._check_dims(input)
        assert self.running_mean is not None and self.running_var is not None
        assert self.momentum is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        values = input.detach().to(self.running_var.dtype)
        axes = (0, 2, 3)
        move_running(self.running_mean, values.mean(axes), self.momentum)
        move_running(self.running_var, values.var(axes), self.momentum)  # unbiased
        return ghost_batch_norm(input, self.group, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"{self.num_features}, group={self.group}, eps={self.eps}, momentum={self.momentum}"
