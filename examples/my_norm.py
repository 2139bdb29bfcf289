"""A norm of one's own, to copy and change: Batch Norm that divides by the root mean square only.

    surveylab run batch_norm --profile smoke --candidate examples.my_norm:MyNorm

trains it in the Batch Norm chapter's comparison of batch sizes, at a learning rate found for it as for the
others; with `norm_comparison` for `batch_norm`, beside all four norms of the book. A chapter makes it with a
number of channels and expects the shape of the input, (B, C, H, W), back. Many replicas train together, so
what changes in training is a buffer and is changed in place.
"""

import torch
from torch import nn


class MyNorm(nn.Module):
    """y = weight * x / sqrt(mean(x²) + eps) + bias, the mean over a batch and all positions."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_square", torch.ones(num_features))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        square = self.running_square
        if self.training:
            square = input.square().mean((0, 2, 3))
            self.running_square.mul_(1 - self.momentum).add_(self.momentum * square.detach())
        scale = self.weight * (square + self.eps).rsqrt()
        return input * scale[:, None, None] + self.bias[:, None, None]
