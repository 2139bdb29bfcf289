r"""AdaBN: a trained network is given the Batch Norm statistics of another domain, and nothing else changes.

Batch Norm standardises each channel in evaluation with a mean and a variance gathered in training. On data of
another domain these do not fit. AdaBN replaces them by those of the target domain, for which it needs
examples but no labels. It trains nothing: weights, :math:`\gamma` and :math:`\beta` stay as they are, to the
last bit.

For channel c of a Batch Norm layer, with the values :math:`x_i` that it has at all positions of *all* target
examples, n in all:

.. math::

    \mu_c = \tfrac1n \sum_i x_i, \qquad
    \sigma_c^2 = \tfrac1{n - 1} \sum_i (x_i - \mu_c)^2, \qquad
    y = \gamma_c \, \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + \beta_c .

What enters a deeper layer depends on the statistics of the layers before it. Here a layer's are taken when
all before it have theirs, from all target examples: the result does not depend on how the examples are
divided into batches. Layer after layer, the examples pass through the network once for each Batch Norm layer;
if there is a single batch, once in all.

Papers: ``li2016revisiting``, ``li2018adaptive``.

Pitfalls:
    * A running average with momentum, as a pass in training mode takes it, forgets the first batches and
      keeps a share of the source's statistics.
    * The mean of the batches' variances is too small: the spread between the batches is missing. So with
      several batches `torch.optim.swa_utils.update_bn` gives something else. With a single one it differs
      in deeper layers alone and a little: in its pass values are normalised with the variance over n.
    * Statistics of few examples are noisy, and those of a target with other shares of the classes differ for
      that reason alone.
    * NOTE: the variance kept is the unbiased one, over n - 1, as torch keeps it for evaluation.
    * NOTE: the examples pass in evaluation mode, as the statistics are for evaluation: dropout rests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from surveylab.normalization.standardise import moments, statistics_dtype

Model = TypeVar("Model", bound=nn.Module)


def adapt_batch_norm(model: Model, batches: Iterable[Any]) -> Model:
    """Give every Batch Norm layer of a model the statistics of target data, in place.

    Parameters, modes, ``requires_grad``, ``momentum`` and all other buffers stay as they are;
    ``num_batches_tracked`` becomes the number of batches. A layer that keeps no running statistics, or that
    the examples do not pass, is left alone. If anything fails, nothing is changed.

    Args:
        model: With Batch Norm layers, torch's or ours, at any depth.
        batches: Of inputs, or of tuples or lists that begin with them, such as (x, y); on the model's device.
            All inputs are kept in memory, as they pass through the model once for each layer.

    Returns:
        The model.

    Raises:
        ValueError: No layer to adapt, no target examples, or one value per channel in all.
        RuntimeError: A layer is used twice in one pass: its statistics would depend on themselves.
    """
    state, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    adapted = adapted_buffers(model, state, buffers, batches)
    with torch.no_grad():
        for name, buffer in buffers.items():
            if adapted[name] is not buffer:
                buffer.copy_(adapted[name])
    return model


@torch.no_grad()
def adapted_buffers(
    model: nn.Module,
    state: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    batches: Iterable[Any],
) -> dict[str, Tensor]:
    """The buffers of a model after AdaBN, as a function that changes nothing.

    Under `torch.func.vmap` it adapts many replicas at once, each to its own data. For a population, with
    target data ``x`` of shape (R, B, ...)::

        adapt = torch.func.vmap(functools.partial(adapted_buffers, population.replica(0)))
        population.load(adapt(population.state, population.buffers, [x]))

    Args:
        model: Whose code runs.
        state: Its parameters by name.
        buffers: Its buffers by name; under vmap one a replica.
        batches: As for `adapt_batch_norm`.

    Returns:
        All buffers by name: those of Batch Norm layers as new tensors, the others those given.

    Raises:
        ValueError: No layer to adapt, no target examples, or one value per channel in all.
        RuntimeError: A layer is used twice in one pass.
    """
    names = _adaptable(model)
    inputs = [batch[0] if isinstance(batch, list | tuple) else batch for batch in batches]
    inputs = [input for input in inputs if len(input) > 0]
    if not inputs:
        raise ValueError("batches should hold target examples, but there is none")
    adapted = {
        name: buffer.clone() if name.rpartition(".")[0] in names.values() else buffer
        for name, buffer in buffers.items()
    }
    gathered: dict[nn.Module, _Statistics] = {}  # in the order in which the layers are reached
    passed: set[nn.Module] = set()  # by the current batch
    done = 0  # layers that have their statistics

    def gather(layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        if layer in passed:
            raise RuntimeError(
                f"layer {names[layer]!r} is used twice in one pass of the model: its statistics would depend "
                "on themselves. Give each use a Batch Norm of its own"
            )
        passed.add(layer)
        statistics = gathered.setdefault(layer, _Statistics())
        if len(inputs) == 1 or layer is list(gathered)[done]:
            statistics.add(args[0] if args else kwargs["input"])
            statistics.write(layer)  # at once: a single batch goes on to the next layer

    with _evaluating(model), _before_each(names, gather):
        while done == 0 or done < len(gathered):
            for input in inputs:
                passed.clear()
                functional_call(model, {**state, **adapted}, (input,))
            done = len(gathered) if len(inputs) == 1 else done + 1
    if not gathered:
        raise ValueError("model should use its Batch Norm layers in evaluation, but no example passes one")
    for layer, statistics in gathered.items():
        if statistics.count < 2:
            raise ValueError(
                f"batches should hold more than 1 value per channel, but at layer {names[layer]!r} there is "
                "one: it has no variance. Give more examples"
            )
        prefix = names[layer] + "." if names[layer] else ""
        adapted[prefix + "num_batches_tracked"].fill_(len(inputs))
    return adapted


class _Statistics:
    """Count, mean and sum of squared deviations of each channel over all that was added."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def add(self, input: Tensor) -> None:
        """Add (B, C, ...)."""
        values = input.reshape(*input.shape[:2], -1)  # (B, C, ...) -> (B, C, S)
        mean, var, missed = moments(values.to(statistics_dtype(values.dtype)), (-3, -1))
        mean, var = mean.double().add(missed).flatten(), var.double().flatten()  # (1, C, 1) -> (C,)
        count = values.shape[0] * values.shape[2]
        total = self.count + count
        shift = mean - self.mean
        self.squares = self.squares + var * count + shift.square() * (self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total

    def write(self, layer: nn.Module) -> None:
        """Make them a layer's running statistics."""
        layer.get_buffer("running_mean").copy_(torch.as_tensor(self.mean))
        layer.get_buffer("running_var").copy_(torch.as_tensor(self.squares / max(self.count - 1, 1)))


def _adaptable(model: nn.Module) -> dict[nn.Module, str]:
    """The names of the Batch Norm layers that keep running statistics."""
    found = {layer: name for name, layer in model.named_modules() if isinstance(layer, _BatchNorm)}
    names: dict[nn.Module, str] = {
        layer: name for layer, name in found.items() if layer.running_mean is not None
    }
    if not names:
        raise ValueError(
            f"model should have Batch Norm layers that keep running statistics, but {type(model).__name__} "
            + ("has only such with track_running_stats=False" if found else "has no Batch Norm")
        )
    return names


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and every module of it back into its own afterwards."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


@contextmanager
def _before_each(layers: Iterable[nn.Module], hook: Callable[..., None]) -> Iterator[None]:
    """Let a hook run before each of some layers does."""
    handles = [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
