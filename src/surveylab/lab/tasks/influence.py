"""Which inputs an output depends on, found by trying: what a normalisation layer normalises over."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call


def influence_on(
    layer: nn.Module | Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    at: tuple[int, ...],
    *,
    tries: int = 3,
    seed: int = 0,
) -> Tensor:
    """Find the input elements of which one output element is a function.

    Each input element in turn is replaced by other random values, and the output element depends on it if it
    changes at all. A finite number of tries can miss a dependence, but never invents one. Nothing is assumed
    of the layer but that equal inputs give equal outputs: it need not be differentiable, and what it hides
    from its gradient still counts.

    Args:
        layer: Maps a tensor of this shape to one of the same shape. A module is used as it stands, in
            training or evaluation mode, and is left as it was: its running statistics do not move.
        shape: Shape of the input, such as (examples, channels, positions).
        at: The output element.
        tries: Values that each input element is tried with.
        seed: Of the random values.

    Returns:
        Truth values of the input's shape: true where the output element depends on the input element.

    Raises:
        ValueError: The place is outside the shape, the output has another shape or values that are not
            finite, or the layer is random.
    """
    if len(at) != len(shape) or not all(0 <= i < n for i, n in zip(at, shape, strict=True)):
        raise ValueError(f"at should be a place in an input of shape {shape}, but is {at}")
    generator = torch.Generator().manual_seed(seed)
    input = torch.randn(shape, generator=generator, dtype=torch.float64)

    module = copy.deepcopy(layer).double() if isinstance(layer, nn.Module) else None

    # Not the state dict, which leaves out buffers that are not persistent.
    tensors = {} if module is None else {**dict(module.named_parameters()), **dict(module.named_buffers())}

    @torch.no_grad()
    def output(values: Tensor) -> Tensor:
        if module is None:
            found = layer(values)
        else:  # with its state anew each time: running statistics must not remember
            state = {name: value.clone() for name, value in tensors.items()}
            found = functional_call(module, state, (values,))
        if found.shape != values.shape:
            raise ValueError(f"layer should keep the shape {shape}, but gave {tuple(found.shape)}")
        if not found.isfinite().all():
            raise ValueError("layer should give finite values, but gives some that are not")
        return found

    before = output(input.clone())
    if not torch.equal(output(input.clone()), before):
        raise ValueError("layer should give equal outputs for equal inputs, but is random: call .eval()?")
    influences = torch.zeros(input.numel(), dtype=torch.bool)
    for place in range(input.numel()):
        for value in torch.randn(tries, generator=generator, dtype=torch.float64):
            changed = input.clone()
            changed.view(-1)[place] = value
            if not torch.equal(output(changed)[at], before[at]):
                influences[place] = True
                break
    return influences.view(shape)
