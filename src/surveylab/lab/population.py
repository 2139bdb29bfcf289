"""Training many replicas of a model at once.

A `Population` stacks the parameters and buffers of R independently initialised copies of a model along a new
first dimension and runs them with one `torch.func.vmap` over `torch.func.functional_call`. The rest is
ordinary PyTorch: the stacked parameters are leaves, the losses are a vector with one entry a replica, and
because no replica's loss depends on another's parameters, ``losses.sum().backward()`` gives each its own
gradient. Any optimiser that works element by element then serves all of them.

>>> population = Population(lambda: nn.Linear(8, 2), make_streams(seed=0, replicates=8))
>>> optimiser = torch.optim.SGD(population.parameters(), lr=0.1)
>>> losses = cross_entropy(population(x), y)          # x: (R, B, 8), y: (R, B), losses: (R,)
>>> losses.sum().backward(); optimiser.step()

Many small models leave a processor idle most of the time: each operation is too short to fill it. One
operation over the whole population costs little more than over one model.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from surveylab.lab.streams import Stream

Strategy = Literal["auto", "vmap", "loop"]


class Population:
    """R replicas of a model whose parameters, buffers and inputs carry a leading dimension R.

    Args:
        build: Makes one freshly initialised model. Called once a replica, with torch's global generator
            seeded from the replica's stream, so that replica r is the same whatever R is.
        streams: One stream a replica.
        device: Where the stacked state lives.
        strategy: ``"vmap"`` runs all replicas in one vectorised call, ``"loop"`` one after another;
            ``"auto"`` tries the first and, where the model cannot be vectorised, warns and takes the second.
            A single replica is always called directly, without the overhead of ``vmap``.

    Attributes:
        state: The stacked parameters by name, each of shape (R, …), leaves that require gradients.
        buffers: The stacked buffers by name.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        streams: Sequence[Stream],
        *,
        device: torch.device | str = "cpu",
        strategy: Strategy = "auto",
    ) -> None:
        if not streams:
            raise ValueError("streams is empty; a population needs at least one replica")
        if strategy not in ("auto", "vmap", "loop"):
            raise ValueError(f"strategy must be 'auto', 'vmap' or 'loop'; got {strategy!r}")
        self.streams = tuple(streams)
        self.strategy: Strategy = "loop" if len(streams) == 1 else strategy
        models = [_initialise(build, stream) for stream in streams]
        state, buffers = stack_module_state(models)
        self.state: dict[str, Tensor] = {
            name: value.detach().to(device).requires_grad_() for name, value in state.items()
        }
        self.buffers: dict[str, Tensor] = {name: value.detach().to(device) for name, value in buffers.items()}
        # The skeleton holds code, not numbers: on the meta device its own parameters take no memory.
        self._skeleton = copy.deepcopy(models[0]).to("meta")

    def __len__(self) -> int:
        return len(self.streams)

    def parameters(self) -> Iterator[Tensor]:
        """The stacked parameters, for an optimiser."""
        yield from self.state.values()

    def train(self, mode: bool = True) -> Population:
        """Put every replica into training mode, as `torch.nn.Module.train` does."""
        self._skeleton.train(mode)
        return self

    def eval(self) -> Population:
        """Put every replica into evaluation mode."""
        return self.train(False)

    def __call__(
        self, *inputs: Any, state: dict[str, Tensor] | None = None, buffers: dict[str, Tensor] | None = None
    ) -> Any:
        """Run every replica on its own inputs.

        Args:
            *inputs: Tensors of shape (R, …), or nested tuples and dictionaries of them.
            state: Stacked parameters to use in place of the population's own, as for a look along a gradient.
            buffers: Stacked buffers likewise. Layers that keep running statistics write into them.

        Returns:
            What the model returns, each tensor with a leading dimension R.
        """
        self._check_inputs(inputs)
        state = self.state if state is None else state
        buffers = self.buffers if buffers is None else buffers
        if self.strategy == "loop":
            return self._looped(state, buffers, inputs)
        if self.strategy == "vmap":
            return self._vectorised(state, buffers, inputs)
        before = {name: value.clone() for name, value in buffers.items()}
        try:
            outputs = self._vectorised(state, buffers, inputs)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            for name, value in before.items():  # a call that failed half-way may have written statistics
                buffers[name].copy_(value)
            outputs = self._looped(state, buffers, inputs)  # an error of the model's own is raised here
            self.strategy = "loop"
            warnings.warn(
                f"{type(self._skeleton).__name__} cannot be vectorised over replicas, so they run one after "
                f"another, which is slower but gives the same: {str(error).splitlines()[0]}",
                stacklevel=2,
            )
            return outputs
        self.strategy = "vmap"
        return outputs

    def replica(self, index: int) -> nn.Module:
        """Replica ``index`` as an ordinary module with its own copy of the parameters and buffers."""
        model = copy.deepcopy(self._skeleton).to_empty(device=next(self.parameters()).device)
        both = {**self.state, **self.buffers}
        # Only what the module saves; a non-persistent buffer is set by name.
        own = dict(model.named_parameters()) | dict(model.named_buffers())
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(both[name][index])
        return model

    def _check_inputs(self, inputs: tuple[Any, ...]) -> None:
        for tensor in _tensors(inputs):
            if tensor.ndim == 0 or tensor.shape[0] != len(self):
                raise ValueError(
                    f"inputs must have a leading dimension of one entry a replica ({len(self)}); "
                    f"got shape {tuple(tensor.shape)}"
                )

    def _vectorised(self, state: dict[str, Tensor], buffers: dict[str, Tensor], inputs: tuple) -> Any:
        def one(state: dict[str, Tensor], buffers: dict[str, Tensor], inputs: tuple) -> Any:
            return functional_call(self._skeleton, (state, buffers), inputs)

        return vmap(one, randomness="error")(state, buffers, inputs)

    def _looped(self, state: dict[str, Tensor], buffers: dict[str, Tensor], inputs: tuple) -> Any:
        outputs = [
            functional_call(
                self._skeleton,
                ({k: v[r] for k, v in state.items()}, {k: v[r] for k, v in buffers.items()}),
                torch.utils._pytree.tree_map(lambda value, r=r: value[r], inputs),
            )
            for r in range(len(self))
        ]
        return torch.utils._pytree.tree_map(lambda *values: torch.stack(values), *outputs)


def _initialise(build: Callable[[], nn.Module], stream: Stream) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream.torch_seed("init"))
        return build()


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
