r"""Activations that are learnt: PReLU, Swish, and the ACON family, which switches between linear and not.

PReLU learns the slope :math:`a` of its negative side:

.. math:: \mathrm{PReLU}(x) = \max(0, x) + a \min(0, x) .

Swish multiplies each value by a gate that the value itself opens (:math:`\sigma` is the logistic function):

.. math:: \mathrm{Swish}(x) = x \, \sigma(\beta x) .

At :math:`\beta = 1` this is the SiLU; at :math:`\beta = 0` it is the line :math:`x / 2`; towards
:math:`\beta \to \infty` it is ReLU.

ACON (activate or not) is the smooth maximum of two lines, :math:`p_1 x` and :math:`p_2 x`:

.. math::

    \text{ACON-A}(x) &= x \, \sigma(\beta x) \\
    \text{ACON-B}(x) &= (1 - p) x \, \sigma(\beta (1 - p) x) + p x \\
    \text{ACON-C}(x) &= (p_1 - p_2) x \, \sigma(\beta (p_1 - p_2) x) + p_2 x .

ACON-A, the smooth maximum of :math:`x` and 0, is Swish. At :math:`\beta = 0` each is the mean of its two
lines, so it does not activate; towards :math:`\beta \to \infty` it is their maximum. Meta-ACON-C works
:math:`\beta` out from the input, for each channel :math:`c` of each example, from the mean of each channel
over all positions:

.. math:: \beta_c = \sigma \Bigl( W_2 \bigl( W_1 \, \overline{x} + b_1 \bigr) + b_2 \Bigr)_c .

Papers: ``he2015delving`` (PReLU); ``ramachandran2017searching`` (Swish); ``elfwing2018sigmoid`` (SiLU);
``ma2021activate`` (ACON).

Pitfalls:
    * Weight decay pulls PReLU's slope towards ReLU's, Swish's :math:`\beta` towards the line, and ACON's
      slopes towards 0. The authors of PReLU leave the slope without it.
    * ACON is the same if :math:`p_1` and :math:`p_2` are exchanged: which is the larger means nothing. At a
      negative :math:`\beta` it is a smooth minimum.
    * Meta-ACON's :math:`\beta` lies between 0 and 1: it reaches neither the exact line nor the maximum, but
      large slopes come as near to the maximum as a large :math:`\beta`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surveylab.normalization.checks import check_input, checked
from surveylab.normalization.standardise import statistics_dtype

# Axis legend: N examples, C channels (axis 1, as in nn.PReLU), S positions (all axes behind as one),
# K hidden channels.


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """Scale negative values by a slope, with the signature of `torch.nn.functional.prelu`.

    Args:
        input: Values of shape (N, C, ...); of any shape if there is one slope.
        weight: Slope of the negative side, shape (C,) or one value.

    Returns:
        The activations: shape and dtype of the input. At 0 the gradient is the slope, as in torch.

    Raises:
        RuntimeError: A shape or dtype that does not fit the input's.
        NotImplementedError: The input is not floating point.
    """
    values, weight = _prepared(input, weight=weight)
    return torch.addcmul(values.relu(), weight, values.clamp(max=0)).to(input.dtype)


def swish(input: Tensor, beta: Tensor | float = 1.0) -> Tensor:
    """Multiply each value by the logistic function of beta times the value.

    Args:
        input: Values of shape (N, C, ...); of any shape if there is one beta.
        beta: How sharply the gate opens: a number, or a tensor of one value, of shape (C,) or of shape
            (N, C).

    Returns:
        The activations: shape and dtype of the input.

    Raises:
        RuntimeError: A shape or dtype that does not fit the input's.
        NotImplementedError: The input is not floating point.
    """
    values, beta = _prepared(input, beta=beta)
    return (values * torch.sigmoid(beta * values)).to(input.dtype)


def acon_a(input: Tensor, beta: Tensor | float = 1.0) -> Tensor:
    """Smooth maximum of x and 0: `acon_c` with the slopes 1 and 0, which is Swish."""
    return acon_c(input, 1.0, 0.0, beta)


def acon_b(input: Tensor, p: Tensor | float, beta: Tensor | float = 1.0) -> Tensor:
    """Smooth maximum of x and p x: `acon_c` with the slopes 1 and p.

    At p < 1 it tends to PReLU of slope p as beta grows.
    """
    return acon_c(input, 1.0, p, beta)


def acon_c(input: Tensor, p1: Tensor | float, p2: Tensor | float, beta: Tensor | float = 1.0) -> Tensor:
    """Smooth maximum of p1 x and p2 x.

    Args:
        input: Values of shape (N, C, ...); of any shape if there is one value of each parameter.
        p1: Slope of one line: a number, or a tensor of one value, of shape (C,) or of shape (N, C).
        p2: Slope of the other line, likewise.
        beta: How sharply it switches between the lines, likewise; 0 gives the mean of both.

    Returns:
        The activations: shape and dtype of the input.

    Raises:
        RuntimeError: A shape or dtype that does not fit the input's.
        NotImplementedError: The input is not floating point.
    """
    values, p1, p2, beta = _prepared(input, p1=p1, p2=p2, beta=beta)
    return _smooth_maximum(values, p1, p2, beta).to(input.dtype)


def meta_acon_beta(
    input: Tensor,
    fc1_weight: Tensor,
    fc1_bias: Tensor | None,
    fc2_weight: Tensor,
    fc2_bias: Tensor | None,
) -> Tensor:
    """Meta-ACON's switching factor, from 0 to 1, of each channel of each example.

    Args:
        input: Values of shape (N, C, ...), every axis after C being positions, one or more.
        fc1_weight: First linear map, shape (K, C).
        fc1_bias: Its shift, shape (K,); 0 if None.
        fc2_weight: Second linear map, shape (C, K).
        fc2_bias: Its shift, shape (C,); 0 if None.

    Returns:
        The factors, shape (N, C); in float32 if the input is in half precision.

    Raises:
        ValueError: No axis of channels, or no positions.
        RuntimeError: A shape or dtype that does not fit the input's.
        NotImplementedError: The input is not floating point.
    """
    values = _prepared(input)[0]
    return _switching_factors(input, values, fc1_weight, fc1_bias, fc2_weight, fc2_bias)


def meta_acon_c(
    input: Tensor,
    p1: Tensor | float,
    p2: Tensor | float,
    fc1_weight: Tensor,
    fc1_bias: Tensor | None,
    fc2_weight: Tensor,
    fc2_bias: Tensor | None,
) -> Tensor:
    """ACON-C whose beta the input decides: `acon_c` with the beta of `meta_acon_beta`, and their errors.

    Args:
        input: Values of shape (N, C, ...), every axis after C being positions, one or more.
        p1: Slope of one line, shape (C,) or one value.
        p2: Slope of the other line, likewise.
        fc1_weight: First linear map, shape (K, C).
        fc1_bias: Its shift, shape (K,); 0 if None.
        fc2_weight: Second linear map, shape (C, K).
        fc2_bias: Its shift, shape (C,); 0 if None.

    Returns:
        The activations: shape and dtype of the input.
    """
    # Converted once, so that the gradient that comes back through beta is not rounded by itself.
    values = _prepared(input)[0]
    beta = _switching_factors(input, values, fc1_weight, fc1_bias, fc2_weight, fc2_bias)
    beta = _beside(values, "beta", beta)
    p1, p2 = (_beside(input, name, p).to(values.dtype) for name, p in (("p1", p1), ("p2", p2)))
    return _smooth_maximum(values, p1, p2, beta).to(input.dtype)


@checked
class PReLU(nn.PReLU):
    """torch's PReLU with the computation of `prelu`.

    Args:
        num_parameters: Number of slopes (`weight`): 1, or one for each channel.
        init: The slope to begin with.
        device: Where parameters live.
        dtype: Their dtype.

    Raises:
        ValueError: An argument that is out of range.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply to (N, C, ...), or to any shape if there is one slope."""
        return prelu(input, self.weight)


@checked
class Swish(nn.Module):
    """The computation of `swish` with a beta that is learnt or fixed. With a fixed beta of 1 it is `nn.SiLU`.

    Args:
        beta: The beta to begin with.
        num_parameters: Number of betas: 1, or one for each channel.
        learn: Learn beta. If False it is a buffer, so that it is part of the state either way.
        device: Where beta lives.
        dtype: Its dtype.

    Raises:
        ValueError: An argument that is out of range.
    """

    beta: Tensor

    def __init__(
        self,
        beta: float = 1.0,
        num_parameters: int = 1,
        learn: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.init = beta
        self.num_parameters = num_parameters
        self.learn = learn
        values = torch.empty(num_parameters, device=device, dtype=dtype)
        if learn:
            self.beta = nn.Parameter(values)
        else:
            self.register_buffer("beta", values)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start anew."""
        nn.init.constant_(self.beta, self.init)

    def forward(self, input: Tensor) -> Tensor:
        """Apply to (N, C, ...), or to any shape if there is one beta."""
        return swish(input, self.beta)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"beta={self.init}, num_parameters={self.num_parameters}, learn={self.learn}"


@checked
class AconB(nn.Module):
    """The computation of `acon_b` with learnt `p` and `beta`.

    Args:
        num_parameters: Number of values of each: 1, or one for each channel.
        init: The slope p to begin with; PReLU's by default. Beta begins with 1.
        device: Where parameters live.
        dtype: Their dtype.

    Raises:
        ValueError: An argument that is out of range.
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.p = nn.Parameter(torch.empty(num_parameters, device=device, dtype=dtype))
        self.beta = nn.Parameter(torch.empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start anew."""
        nn.init.constant_(self.p, self.init)
        nn.init.ones_(self.beta)

    def forward(self, input: Tensor) -> Tensor:
        """Apply to (N, C, ...), or to any shape if there is one value of each parameter."""
        return acon_b(input, self.p, self.beta)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"num_parameters={self.num_parameters}, init={self.init}"


@checked
class AconC(nn.Module):
    """The computation of `acon_c` with learnt `p1`, `p2` and `beta`.

    As in the authors' code the slopes begin with draws from the standard normal distribution, beta with 1.

    Args:
        num_parameters: Number of values of each: one for each channel as in the paper, or 1.
        device: Where parameters live.
        dtype: Their dtype.

    Raises:
        ValueError: An argument that is out of range.
    """

    def __init__(
        self,
        num_parameters: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.p1 = nn.Parameter(torch.empty(num_parameters, device=device, dtype=dtype))
        self.p2 = nn.Parameter(torch.empty(num_parameters, device=device, dtype=dtype))
        self.beta = nn.Parameter(torch.empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start anew."""
        nn.init.normal_(self.p1)
        nn.init.normal_(self.p2)
        nn.init.ones_(self.beta)

    def forward(self, input: Tensor) -> Tensor:
        """Apply to (N, C, ...), or to any shape if there is one value of each parameter."""
        return acon_c(input, self.p1, self.p2, self.beta)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"num_parameters={self.num_parameters}"


@checked
class MetaAconC(nn.Module):
    """The computation of `meta_acon_c` with learnt `p1`, `p2` and two linear layers, `fc1` and `fc2`.

    The hidden channels are ``max(reduction, num_channels // reduction)``, and the slopes begin with draws
    from the standard normal distribution, as in the authors' code.

    NOTE: the authors' code (``acon.py`` of nmaac/acon) has a Batch Norm after each linear layer. Another
    version in its history has none, and they advise to remove both for batches of one, where training fails
    (issue 4). Here is none: an example's beta depends on that example alone, in training as in evaluation.

    NOTE: the authors' linear layers are 1x1 convolutions over the one position that is left, which is the
    same computation; their weights have two more axes of length 1.

    Args:
        num_channels: Number of channels C.
        reduction: By how much fewer the hidden channels are, and their least number.
        device: Where parameters live.
        dtype: Their dtype.

    Raises:
        ValueError: An argument that is out of range.
    """

    def __init__(
        self,
        num_channels: int,
        reduction: int = 16,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.reduction = reduction
        hidden = max(reduction, num_channels // reduction)
        self.p1 = nn.Parameter(torch.empty(num_channels, device=device, dtype=dtype))
        self.p2 = nn.Parameter(torch.empty(num_channels, device=device, dtype=dtype))
        self.fc1 = nn.Linear(num_channels, hidden, device=device, dtype=dtype)
        self.fc2 = nn.Linear(hidden, num_channels, device=device, dtype=dtype)
        nn.init.normal_(self.p1)  # as reset_parameters; the layers have been drawn once already
        nn.init.normal_(self.p2)

    def reset_parameters(self) -> None:
        """Start anew."""
        nn.init.normal_(self.p1)
        nn.init.normal_(self.p2)
        self.fc1.reset_parameters()
        self.fc2.reset_parameters()

    def beta(self, input: Tensor) -> Tensor:
        """The switching factors that `forward` uses for (N, C, ...), of shape (N, C)."""
        return meta_acon_beta(input, self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Apply to (N, C, ...)."""
        fc1, fc2 = self.fc1, self.fc2
        return meta_acon_c(input, self.p1, self.p2, fc1.weight, fc1.bias, fc2.weight, fc2.bias)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"num_channels={self.num_channels}, reduction={self.reduction}"


def _smooth_maximum(values: Tensor, p1: Tensor, p2: Tensor, beta: Tensor) -> Tensor:
    """ACON-C of what `_prepared` gives."""
    # beta last: its product with the slopes might overflow and make NaN of a value that is 0.
    gate = torch.sigmoid(beta * ((p1 - p2) * values))
    # The published sum cancels digits where one line is much steeper. As a slope between the two it is
    # exactly the steeper or the flatter line where the gate is fully open or shut.
    return values * torch.lerp(p2, p1, gate)


def _switching_factors(
    input: Tensor,
    values: Tensor,
    fc1_weight: Tensor,
    fc1_bias: Tensor | None,
    fc2_weight: Tensor,
    fc2_bias: Tensor | None,
) -> Tensor:
    """Meta-ACON's beta, shape (N, C), of an input and its values in float32 at least."""
    shape = tuple(input.shape)
    if len(shape) < 2 or 0 in shape[2:]:
        raise ValueError(
            f"input should have shape (batch, channels, ...) with one position or more, but has {shape}"
        )
    channels, hidden = shape[1], fc1_weight.shape[0]
    wanted = {
        "fc1_weight": (fc1_weight, (hidden, channels)),
        "fc1_bias": (fc1_bias, (hidden,)),
        "fc2_weight": (fc2_weight, (channels, hidden)),
        "fc2_bias": (fc2_bias, (channels,)),
    }
    dtype = values.dtype
    for name, (tensor, right) in wanted.items():
        if tensor is None:
            continue
        if tensor.shape != right:
            raise RuntimeError(
                f"{name} should have shape {right}, for an input of {channels} channels and {hidden} hidden "
                f"ones, but has {tuple(tensor.shape)}"
            )
        _check_dtype(input, name, tensor)
    means = values
    if len(shape) > 2:
        means = values.flatten(2).mean(-1)  # (N, C, ...) -> (N, C, S) -> (N, C)
    b1, b2 = (None if bias is None else bias.to(dtype) for bias in (fc1_bias, fc2_bias))
    logits = F.linear(F.linear(means, fc1_weight.to(dtype), b1), fc2_weight.to(dtype), b2)
    return torch.sigmoid(logits.to(dtype))  # autocast has multiplied in half precision


def _prepared(input: Tensor, **parameters: Tensor | float) -> tuple[Tensor, ...]:
    """The input and the parameters in float32 at least, the parameters shaped to lie beside the input."""
    check_input(input)
    dtype = statistics_dtype(input.dtype)
    values = input.to(dtype)
    return (values, *(_beside(input, name, given).to(dtype) for name, given in parameters.items()))


def _beside(input: Tensor, name: str, given: Tensor | float) -> Tensor:
    """A parameter in a shape that broadcasts against the input."""
    if not isinstance(given, Tensor):
        return input.new_full((), given, dtype=statistics_dtype(input.dtype))
    _check_dtype(input, name, given)
    shape = tuple(input.shape)
    positions = (1,) * (len(shape) - 2)
    if given.dim() == 2 and given.shape == shape[:2]:
        return given.reshape(*shape[:2], *positions)  # (N, C) -> (N, C, 1, ...)
    if given.dim() == 1 and len(shape) > 1 and given.shape[0] == shape[1]:
        return given.reshape(-1, *positions)  # (C,) -> (C, 1, ...)
    if given.dim() < 2 and given.numel() == 1:
        return given.reshape(())
    channels = f", or one of each of its {shape[1]} channels, shape ({shape[1]},)" if len(shape) > 1 else ""
    raise RuntimeError(
        f"{name} should be one value{channels}, for the input {shape}, but has shape {tuple(given.shape)}"
    )


def _check_dtype(input: Tensor, name: str, given: Tensor) -> None:
    """Raise an error where a parameter has neither the input's dtype nor that of the computation."""
    if given.dtype not in (input.dtype, statistics_dtype(input.dtype)):
        raise RuntimeError(
            f"{name} is {given.dtype} but the input is {input.dtype}: convert one of them, for instance "
            f"by module.to({input.dtype})"
        )
