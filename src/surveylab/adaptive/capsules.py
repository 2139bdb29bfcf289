r"""Capsules: groups of neurons whose vector's length says whether something is there, and its direction how.

Each capsule :math:`i` of a layer predicts the vector of every capsule :math:`j` of the next, its possible
parents, and is routed to those whose vector agrees with its prediction [sabour2017dynamic]:

.. math::

    \hat u_{j|i} &= W_{ij} u_i \\
    c_{ij} &= \frac{\exp b_{ij}}{\sum_k \exp b_{ik}}, \qquad
    s_j = \sum_i c_{ij} \hat u_{j|i}, \qquad
    v_j = \frac{\|s_j\|^2}{1 + \|s_j\|^2} \frac{s_j}{\|s_j\|} \\
    b_{ij} &\leftarrow b_{ij} + \hat u_{j|i} \cdot v_j

The logits :math:`b` begin at 0 for each example, and the middle line is computed in each of r iterations, the
last line between two of them (procedure 1 of the paper).

Pitfalls:
    * The softmax runs over the *parents* :math:`k` of one capsule, so that a capsule divides one unit among
      them. Over the capsules below it would be an attention of each parent, another method.
    * Gradients flow through all iterations. The paper does not say so; the published code
      (``research/capsules/models/layers/layers.py`` of Sarasra/models) differentiates its whole loop.
    * At :math:`s = 0` the vector is 0 and so is its Jacobian, but as written it is 0/0: the published code
      makes NaN of it. Near 0 the Jacobian is as small as :math:`\|s\|`: capsules that begin very short hardly
      learn.
    * The published code adds a bias to :math:`s_j`, and divides what its first capsules' convolution gives by
      the number of their kinds. The paper has neither, and neither is here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surveylab.adaptive.tracing import has_values
from surveylab.normalization.standardise import statistics_dtype

# Axis legend: B examples, I capsules below of E features, J capsules above (parents) of D features,
# K classes, H and W a map's height and width.


def _lengths(input: Tensor) -> Tensor:
    """Euclidean lengths over the last axis, which is kept; at 0 all derivatives are 0, in place of NaN."""
    square = input.square().sum(-1, keepdim=True)
    there = square > 0
    return torch.where(
        there, torch.where(there, square, 1).sqrt(), 0
    )  # no root of 0, whose slope is infinite


def capsule_lengths(input: Tensor) -> Tensor:
    """Length of each capsule's vector, (..., D) → (...); its gradient at a vector of zeros is 0."""
    return _lengths(input.to(statistics_dtype(input.dtype))).squeeze(-1).to(input.dtype)


def squash(input: Tensor) -> Tensor:
    r"""Shorten each vector to a length below 1 and keep its direction.

    .. math:: v = \frac{\|s\|^2}{1 + \|s\|^2} \frac{s}{\|s\|} = \frac{\|s\|}{1 + \|s\|^2} \, s

    Short vectors become about :math:`\|s\| s`, long ones nearly unit vectors. The second form is finite at 0.

    Args:
        input: Vectors :math:`s`, (..., D).

    Returns:
        Vectors :math:`v`: same shape and dtype.
    """
    s = input.to(statistics_dtype(input.dtype))
    length = _lengths(s)  # (..., 1)
    return (s * (length / (1 + length.square()))).to(input.dtype)


def route(predictions: Tensor, iterations: int = 3) -> tuple[Tensor, Tensor]:
    """Route capsules to the parents that agree with them, as the module's equations say.

    Args:
        predictions: What each capsule below predicts of each parent, :math:`\\hat u_{j|i}`, (..., I, J, D).
        iterations: How often the parents are computed, r; with 1 every parent gets an equal share of all.

    Returns:
        The parents' vectors :math:`v_j`, (..., J, D), and the coefficients :math:`c_{ij}` they were computed
        with, (..., I, J), which sum to 1 over the parents; both of the predictions' dtype.

    Raises:
        ValueError: Fewer axes than three, or no iteration.
        NotImplementedError: The predictions are not floating point.
    """
    if predictions.dim() < 3:
        raise ValueError(
            "predictions should have shape (..., capsules below, capsules above, features), but has "
            f"{tuple(predictions.shape)}"
        )
    _check_floating("predictions", predictions)
    _check_counts(iterations=iterations)
    # Parents in front, (..., J, I, D), so that both sums are products of matrices without another copy.
    votes = predictions.to(statistics_dtype(predictions.dtype)).transpose(-3, -2).contiguous()
    logits = torch.zeros_like(votes[..., 0])  # (..., J, I)
    coefficients, parents = _share(logits, votes)
    for _ in range(iterations - 1):
        logits = logits + (votes @ parents.unsqueeze(-1)).squeeze(-1)  # (..., J, I, D) (..., J, D, 1)
        coefficients, parents = _share(logits, votes)
    dtype = predictions.dtype
    return parents.to(dtype), coefficients.transpose(-1, -2).to(dtype)


def _share(logits: Tensor, votes: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients (..., J, I) and parents (..., J, D) from logits (..., J, I) and votes (..., J, I, D)."""
    coefficients = logits.softmax(-2)  # over the parents
    return coefficients, squash((coefficients.unsqueeze(-2) @ votes).squeeze(-2))  # (..., J, 1, I) by votes


class CapsuleLayer(nn.Module):
    r"""Capsules fully connected to those below: a matrix for each pair, then routing.

    Weights are drawn from a normal distribution of variance :math:`J^2 / (I D)`, with which uniform routing
    keeps the size of the vectors: :math:`E\|s_j\|^2` is the mean of :math:`\|u_i\|^2`.

    NOTE: the published code draws them with standard deviation 0.1 at all sizes; with those of the paper
    ours is 0.074. In a small network vectors would begin so short that nothing is learnt.

    Args:
        in_capsules: Capsules below, I.
        in_features: Length of their vectors, E.
        out_capsules: Capsules of this layer, J.
        out_features: Length of their vectors, D.
        iterations: Of routing.
        device: Where the parameter lives.
        dtype: Its dtype.

    Attributes:
        weight: The matrices :math:`W_{ij}`, (I, J, D, E).

    Raises:
        ValueError: An argument that is not a whole number of 1 or more.
    """

    def __init__(
        self,
        in_capsules: int,
        in_features: int,
        out_capsules: int,
        out_features: int,
        iterations: int = 3,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_counts(
            in_capsules=in_capsules,
            in_features=in_features,
            out_capsules=out_capsules,
            out_features=out_features,
            iterations=iterations,
        )
        self.in_capsules, self.in_features = in_capsules, in_features
        self.out_capsules, self.out_features = out_capsules, out_features
        self.iterations = iterations
        shape = (in_capsules, out_capsules, out_features, in_features)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.normal_(self.weight, std=self.out_capsules / math.sqrt(self.in_capsules * self.out_features))

    def predictions(self, input: Tensor) -> Tensor:
        r"""What each capsule below predicts of each of these, :math:`\hat u_{j|i}`, (B, I, E) → (B, I, J, D).

        Raises:
            ValueError: A shape that does not fit.
        """
        if input.dim() != 3 or input.shape[1:] != (self.in_capsules, self.in_features):
            raise ValueError(
                f"input should have shape (examples, {self.in_capsules}, {self.in_features}), capsules and "
                f"their features, but has {tuple(input.shape)}"
            )
        return torch.einsum("ijde,bie->bijd", self.weight, input)

    def forward(self, input: Tensor) -> Tensor:
        """Vectors of the capsules below, (B, I, E), to those of this layer, (B, J, D).

        Raises:
            ValueError: A shape that does not fit.
        """
        return route(self.predictions(input), self.iterations)[0]

    def extra_repr(self) -> str:
        """Show the arguments, as torch does."""
        return (
            f"{self.in_capsules}, {self.in_features}, {self.out_capsules}, {self.out_features}, "
            f"iterations={self.iterations}"
        )


class PrimaryCapsules(nn.Module):
    """The first capsules: a convolution whose output channels are taken together as vectors and squashed.

    Every kind of capsule stands at every position of the map, with the same weights, and is not routed.

    Args:
        in_channels: Channels of the map below.
        kinds: Kinds of capsules.
        features: Length of their vectors, E.
        kernel_size: Of the convolution, without padding.
        stride: Of the convolution.

    Raises:
        ValueError: An argument that is not a whole number of 1 or more.
    """

    def __init__(
        self, in_channels: int, kinds: int, features: int, kernel_size: int = 9, stride: int = 2
    ) -> None:
        super().__init__()
        _check_counts(
            in_channels=in_channels, kinds=kinds, features=features, kernel_size=kernel_size, stride=stride
        )
        self.kinds, self.features = kinds, features
        self.conv = nn.Conv2d(in_channels, kinds * features, kernel_size, stride)

    def forward(self, input: Tensor) -> Tensor:
        """A map (B, C, H, W) to capsules (B, I, E): kind by kind, in each of them row by row."""
        vectors = self.conv(input).unflatten(1, (self.kinds, self.features))  # (B, kinds, E, H', W')
        return squash(vectors.movedim(2, -1).flatten(1, 3))  # (B, kinds H' W', E)


class CapsNet(nn.Module):
    """Classify one-channel images by the lengths of capsules, and draw them again from the class's capsule.

    A convolution and ReLU, `PrimaryCapsules`, a `CapsuleLayer` with a capsule for each class; the decoder, a
    network of linear layers with ReLU between them and a sigmoid at the end, sees the capsule of one class,
    the others set to 0. The paper trains it for `margin_loss` plus 0.0005 times the squared difference to the
    image, summed over pixels.

    The defaults make a small network for images of 14 x 14; the paper's, for MNIST, is ``CapsNet(28,
    channels=256, kinds=32, primary_features=8, kernel_size=9, class_features=16, decoder=(512, 1024))``.

    Args:
        size: Height and width of the images.
        channels: Of the first convolution.
        kinds: Kinds of primary capsules.
        primary_features: Length of their vectors, E.
        kernel_size: Of both convolutions, without padding; the second has a stride of 2.
        classes: Class capsules, K.
        class_features: Length of their vectors, D.
        iterations: Of routing.
        decoder: Units of the decoder's hidden layers.

    Raises:
        ValueError: An argument that is not a whole number of 1 or more, or images too small for the kernels.
    """

    def __init__(
        self,
        size: int = 14,
        *,
        channels: int = 16,
        kinds: int = 8,
        primary_features: int = 4,
        kernel_size: int = 5,
        classes: int = 10,
        class_features: int = 8,
        iterations: int = 3,
        decoder: Sequence[int] = (64, 128),
    ) -> None:
        super().__init__()
        _check_counts(size=size, channels=channels, kernel_size=kernel_size, classes=classes)
        if size < 2 * kernel_size - 1:
            raise ValueError(
                f"size should be {2 * kernel_size - 1} or more for two kernels of {kernel_size}, but is "
                f"{size}: use larger images or a smaller kernel_size"
            )
        side = (size - 2 * kernel_size + 1) // 2 + 1  # of the primary capsules' map
        self.size = size
        self.conv = nn.Conv2d(1, channels, kernel_size)
        self.primary = PrimaryCapsules(channels, kinds, primary_features, kernel_size)
        self.capsules = CapsuleLayer(
            kinds * side**2, primary_features, classes, class_features, iterations=iterations
        )
        layers: list[nn.Module] = []
        widths = [classes * class_features, *decoder]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.decoder = nn.Sequential(*layers, nn.Linear(widths[-1], size**2), nn.Sigmoid())

    def encode(self, input: Tensor) -> Tensor:
        """Images (B, 1, size, size) to the class capsules' vectors, (B, K, D).

        Raises:
            ValueError: A shape that does not fit.
        """
        if input.dim() != 4 or input.shape[1:] != (1, self.size, self.size):
            raise ValueError(
                f"input should have shape (examples, 1, {self.size}, {self.size}), but has "
                f"{tuple(input.shape)}"
            )
        return self.capsules(self.primary(F.relu(self.conv(input))))

    def decode(self, capsules: Tensor, target: Tensor) -> Tensor:
        """Draw images from the capsule of one class each.

        Args:
            capsules: Vectors of the class capsules, (B, K, D).
            target: The class, (B,).

        Returns:
            Images with values from 0 to 1, (B, 1, size, size).
        """
        chosen = _one_hot(target, capsules.shape[-2]).unsqueeze(-1)  # (B, K, 1)
        drawn = self.decoder(torch.where(chosen, capsules, 0).flatten(1))  # (B, K D) -> (B, size²)
        return drawn.unflatten(1, (1, self.size, self.size))

    def forward(self, input: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Classify images and draw them again.

        Args:
            input: Images, (B, 1, size, size), values from 0 to 1.
            target: The classes to draw them from, (B,); those of the longest capsules if None. In training
                it should be the label.

        Returns:
            The lengths of the class capsules, (B, K), of which the largest names the class; and the images
            as drawn from one capsule, (B, 1, size, size).

        Raises:
            ValueError: A shape that does not fit, or, unless under vmap, a class that there is not.
        """
        capsules = self.encode(input)
        lengths = capsule_lengths(capsules)
        return lengths, self.decode(capsules, lengths.argmax(-1) if target is None else target)


def margin_loss(
    input: Tensor,
    target: Tensor,
    m_plus: float = 0.9,
    m_minus: float = 0.1,
    down_weight: float = 0.5,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Tensor:
    r"""Loss of capsule lengths: those of the classes shown should be long, the others short.

    .. math::

        L = \sum_k T_k \max(0, m^+ - \|v_k\|)^2 + \lambda (1 - T_k) \max(0, \|v_k\| - m^-)^2

    with :math:`T_k = 1` where class k is shown, else 0 (``sabour2017dynamic``, equation 4). Several classes
    may be shown at once.

    Args:
        input: Lengths of the class capsules, (..., K).
        target: The class, whole numbers (...); or which classes are shown, Boolean (..., K).
        m_plus: Length from which a class that is shown costs nothing.
        m_minus: Length up to which another costs nothing.
        down_weight: Weight λ of the classes that are not shown, so that they do not shorten all capsules at
            the start.
        reduction: ``"none"`` for the loss of each example (...), or their ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: A shape that does not fit, an unknown reduction, or, unless under vmap, a class that there
            is not.
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"reduction should be 'none', 'mean' or 'sum', but is {reduction!r}")
    if target.dtype == torch.bool:
        expected, what, shown = input.shape, "Boolean", target
    else:
        expected, what, shown = input.shape[:-1], "of classes", _one_hot(target, input.shape[-1])
    if target.shape != expected:
        raise ValueError(
            f"target, {what}, should have shape {tuple(expected)} for an input of {tuple(input.shape)}, but "
            f"has {tuple(target.shape)}"
        )
    present = F.relu(m_plus - input).square()
    absent = down_weight * F.relu(input - m_minus).square()
    losses = torch.where(shown, present, absent).sum(-1)
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def _one_hot(target: Tensor, classes: int) -> Tensor:
    """Which class it is, Boolean (..., K)."""
    if target.is_floating_point() or target.is_complex():
        raise ValueError(f"target should hold classes as whole numbers, but is {target.dtype}")
    if has_values(target) and not ((target >= 0) & (target < classes)).all():
        raise ValueError(
            f"target should hold classes from 0 to {classes - 1}, but has values from {int(target.min())} to "
            f"{int(target.max())}"
        )
    return target.unsqueeze(-1) == torch.arange(classes, device=target.device)


def _check_counts(**counts: Any) -> None:
    for name, count in counts.items():
        if not isinstance(count, Integral) or int(count) < 1:
            raise ValueError(f"{name} should be a whole number, 1 or more, but is {count}")


def _check_floating(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        raise NotImplementedError(f"{name} should be floating point, but is {tensor.dtype}: convert it")
