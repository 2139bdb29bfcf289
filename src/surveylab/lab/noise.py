r"""Random numbers that depend on where they are needed and on nothing else.

An ordinary generator hands out its numbers in order: what replica 3 gets depends on how many replicas draw
beside it. Here a number is a hash of a key (the replica's), a call, a draw within the call, and the element's
index in the tensor [salmon2011parallel]. So a replica draws the same numbers whether it runs alone, in a
loop or under `torch.func.vmap` with any number of others, and dropout needs no loop.

.. math::

    u_i = h\bigl(h(i \oplus k_1) + k_2\bigr), \qquad k_1, k_2 \text{ hashes of key, call and draw},

with the 32-bit mixer :math:`h` known as ``lowbias32``, in which each input bit flips each output bit with a
probability within :math:`10^{-3}` or so of one half. Tests hold uniformity and independence. Not for
cryptography.

Inside `Noise`, torch's own random functions and layers draw this way: ``F.dropout`` and its kin, ``rand``,
``randn``, ``bernoulli``, ``randint``, ``randperm``, their ``_like`` and in-place forms, and attention
with dropout. What draws behind a function of torch's own, such as ``multi_head_attention_forward``, is out of
its reach: such a model runs in the loop, where each replica draws from a generator of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from surveylab.lab.streams import Purpose, Stream

# Axis legend: keys (…, 2) as two 32-bit words; draws (…, n) for n elements.


def keys(streams: Sequence[Stream], purpose: Purpose, device: torch.device | str = "cpu") -> Tensor:
    """The two 32-bit words from which each replica draws for ``purpose``: (R, 2), int32."""
    seeds = torch.tensor([stream.torch_seed(purpose) for stream in streams])
    words = torch.stack([seeds & 0xFFFFFFFF, seeds >> 32], -1)
    return torch.where(words >= 2**31, words - 2**32, words).to(device, torch.int32)


def random_bits(key: Tensor, call: int, draw: int, n: int) -> Tensor:
    """32 random bits for each of n elements: key (…, 2) → (…, n), int32."""
    first, second = key[..., 0], key[..., 1]
    first = _mix(_mix(first ^ _word(call)) + draw)
    second = _mix(_mix(second + _word(0x9E3779B9 * call)) ^ _word(0x85EBCA6B * draw))
    index = torch.arange(n, dtype=torch.int32, device=key.device)
    return _mix(_mix(index ^ first.unsqueeze(-1)) + second.unsqueeze(-1))


def uniform(key: Tensor, call: int, draw: int, n: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Uniform on [0, 1), with 24 random bits, or 53 in double precision: (…, n)."""
    bits = random_bits(key, call, draw, n)
    if dtype == torch.float64:  # two words an element
        more = random_bits(key, call + 2**30, draw, n)
        return (_shift(bits, 5).double() * 2**26 + _shift(more, 6).double()) * 2.0**-53
    return (_shift(bits, 8).float() * 2.0**-24).to(dtype)


def normal(key: Tensor, call: int, draw: int, n: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal, by Box and Muller: (…, n)."""
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    radius = (-2 * torch.log1p(-uniform(key, call, draw, n, exact))).sqrt()
    angle = 2 * math.pi * uniform(key, call + 2**29, draw, n, exact)
    return (radius * angle.cos()).to(dtype)


def _word(number: int) -> int:
    """The lowest 32 bits of a number, as a signed one."""
    return (number + 2**31) % 2**32 - 2**31


def _shift(bits: Tensor, by: int) -> Tensor:
    """Shift right and fill with zeros; torch fills with the sign."""
    return (bits >> by) & ((1 << (32 - by)) - 1)


def _mix(bits: Tensor) -> Tensor:
    """``lowbias32``: a permutation of the 32-bit numbers. Products wrap around."""
    bits = (bits ^ _shift(bits, 16)) * 0x7FEB352D
    bits = (bits ^ _shift(bits, 15)) * _word(0x846CA68B)
    return bits ^ _shift(bits, 16)


class Noise(TorchFunctionMode):
    """Within it, torch's random functions draw for one replica.

    Args:
        key: The replica's, (2,); under `torch.func.vmap` one of a batch.
        call: Which call of the model this is; another gives other numbers.

    Attributes:
        draws: How many tensors were drawn.
    """

    def __init__(self, key: Tensor, call: int) -> None:
        super().__init__()
        self.key, self.call, self.draws = key, call, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        rule = _RULES.get(func)
        if rule is None or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        return rule(self, *args, **kwargs)

    def uniform(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Uniform on [0, 1)."""
        return self._draw(uniform, shape, dtype)

    def normal(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Standard normal."""
        return self._draw(normal, shape, dtype)

    def _draw(
        self, distribution: Callable[..., Tensor], shape: Sequence[int], dtype: torch.dtype | None
    ) -> Tensor:
        self._next()
        dtype = dtype or torch.get_default_dtype()
        return distribution(self.key, self.call, self.draws, math.prod(shape), dtype).view(tuple(shape))

    def _next(self) -> None:
        """Count a draw. Under activation checkpointing the second pass would draw other numbers: refuse."""
        hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
        if hooks is not None and "checkpoint" in getattr(hooks[0], "__qualname__", ""):
            raise RuntimeError(
                "a layer draws random numbers under torch.utils.checkpoint, whose second pass a population "
                "cannot give the same numbers: checkpoint a part without dropout, or none"
            )
        self.draws += 1

    def keep(self, shape: Sequence[int], p: float) -> Tensor:
        """True with probability 1 - p: which elements dropout leaves."""
        self._next()
        bits = _shift(random_bits(self.key, self.call, self.draws, math.prod(shape)), 1)
        return (bits >= round(p * 2**31)).view(tuple(shape))


def _dropout(
    noise: Noise, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    return _drop(noise, input, input.shape, p, training, inplace)


def _feature_dropout(positions: int) -> Callable[..., Tensor]:
    """Dropout of whole channels of (B, C, …); without a batch of (C, …)."""

    def drop(
        noise: Noise, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        kept = input.shape[: input.ndim - positions]
        return _drop(noise, input, [*kept, *[1] * positions], p, training, inplace)

    return drop


def _drop(
    noise: Noise, input: Tensor, shape: Sequence[int], p: float, training: bool, inplace: bool
) -> Tensor:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0:
        return input
    factor = noise.keep(shape, p).to(input.dtype) * (1 / (1 - p) if p < 1 else 0.0)
    return input.mul_(factor) if inplace else input * factor


def _sized(name: str) -> Callable[..., Tensor]:
    """`torch.rand` and `torch.randn`, which take a size as one argument or several."""

    def draw(
        noise: Noise, *size: Any, dtype: torch.dtype | None = None, device: Any = None, **rest: Any
    ) -> Tensor:
        del device, rest  # where the model is
        size = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        return getattr(noise, name)(size, dtype)

    return draw


def _like(name: str) -> Callable[..., Tensor]:
    def draw(noise: Noise, input: Tensor, *, dtype: torch.dtype | None = None, **rest: Any) -> Tensor:
        del rest
        return getattr(noise, name)(input.shape, dtype or input.dtype)

    return draw


def _randint(noise: Noise, *args: Any, dtype: torch.dtype = torch.int64, **rest: Any) -> Tensor:
    bounds = [*args, *(rest.pop(name) for name in ("low", "high", "size") if name in rest)]
    low, high, size = bounds if len(bounds) == 3 else (0, *bounds)
    return (noise.uniform(size, torch.float64) * (high - low)).floor().to(dtype) + low


def _randperm(noise: Noise, n: int, *, dtype: torch.dtype = torch.int64, **rest: Any) -> Tensor:
    del rest
    return noise.uniform((n,), torch.float64).argsort().to(dtype)


def _bernoulli(noise: Noise, input: Tensor, p: float | None = None, **rest: Any) -> Tensor:
    del rest
    return (noise.uniform(input.shape) < (input if p is None else p)).to(input.dtype)


def _bernoulli_(noise: Noise, input: Tensor, p: float | Tensor = 0.5, **rest: Any) -> Tensor:
    del rest
    return input.copy_(noise.uniform(input.shape) < p)


def _uniform_(noise: Noise, input: Tensor, a: float = 0.0, b: float = 1.0, **names: Any) -> Tensor:
    low, high = names.get("from", a), names.get("to", b)
    return input.copy_(noise.uniform(input.shape, input.dtype) * (high - low) + low)


def _normal_(noise: Noise, input: Tensor, mean: float = 0.0, std: float = 1.0, **rest: Any) -> Tensor:
    del rest
    return input.copy_(noise.normal(input.shape, input.dtype) * std + mean)


def _exponential_(noise: Noise, input: Tensor, lambd: float = 1.0, **rest: Any) -> Tensor:
    del rest
    return input.copy_(-torch.log1p(-noise.uniform(input.shape, input.dtype)) / lambd)


def _attention(
    noise: Noise,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **rest: Any,
) -> Tensor:
    """Scaled dot-product attention; with dropout by its definition, without it torch's own kernel."""
    options = {"attn_mask": attn_mask, "is_causal": is_causal, "scale": scale, **rest}
    if dropout_p == 0 or rest.get("enable_gqa"):
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout_p, **options)
    scores = query @ key.transpose(-1, -2) * (scale or query.shape[-1] ** -0.5)  # (…, L, S)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if masked else scores + attn_mask
    return _dropout(noise, scores.softmax(-1), dropout_p) @ value


_RULES: dict[Callable[..., Any], Callable[..., Tensor]] = {
    F.dropout: _dropout,
    torch.dropout: lambda noise, input, p, train: _dropout(noise, input, p, train),
    F.dropout1d: _feature_dropout(1),
    F.dropout2d: _feature_dropout(2),
    F.dropout3d: _feature_dropout(3),
    torch.rand: _sized("uniform"),
    torch.randn: _sized("normal"),
    torch.rand_like: _like("uniform"),
    torch.randn_like: _like("normal"),
    torch.randint: _randint,
    torch.randperm: _randperm,
    torch.bernoulli: _bernoulli,
    Tensor.bernoulli: _bernoulli,
    Tensor.bernoulli_: _bernoulli_,
    Tensor.uniform_: _uniform_,
    Tensor.normal_: _normal_,
    Tensor.exponential_: _exponential_,
    F.scaled_dot_product_attention: _attention,
}
