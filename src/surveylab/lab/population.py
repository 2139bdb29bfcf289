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
from torch.utils._pytree import tree_leaves, tree_map

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
            A single replica is always called directly, without the overhead of ``vmap``. Layers that draw
            random numbers, such as dropout, run in the loop, where each replica draws from its own stream.

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
        self.device = torch.device(device)
        models = [_initialise(build, stream) for stream in streams]
        if len({id(model) for model in models}) < len(models):
            raise ValueError("build returned the same model twice; it must make a new one at each call")
        state, buffers = stack_module_state(models)
        self.state: dict[str, Tensor] = {
            name: value.detach().to(device).requires_grad_(value.requires_grad)
            for name, value in state.items()
        }
        self.buffers: dict[str, Tensor] = {name: value.detach().to(device) for name, value in buffers.items()}
        # The first model lends its code; its own numbers are replaced in every call.
        self._skeleton = models[0]
        # Every name at which the model finds a tensor, and the tensor's place among all. Tied weights have
        # several names. Worked out once: functional_call would search the model for ties at every call.
        seen: dict[int, int] = {}
        self._places: dict[str, int] = {}
        for named in (self._skeleton.named_parameters, self._skeleton.named_buffers):
            for name, tensor in named(remove_duplicate=False):
                self._places[name] = seen.setdefault(id(tensor), len(seen))
        # Modes (training or not) in which the model is known to vectorise.
        self._proven: set[bool] = set()
        # What each replica's random layers draw from, in the loop.
        self._noise = [
            torch.Generator(device).manual_seed(stream.torch_seed("noise")).get_state() for stream in streams
        ]

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
        tensors = [
            *_override("state", self.state, state).values(),
            *_override("buffers", self.buffers, buffers).values(),
        ]
        mode = self._skeleton.training
        if self.strategy == "loop":
            return self._looped(tensors, inputs)
        if self.strategy == "vmap" or mode in self._proven:
            return self._vectorised(tensors, inputs)
        written = tensors[len(self.state) :]
        before = [tensor.clone() for tensor in written]
        try:
            outputs = self._vectorised(tensors, inputs)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            failure = str(error).partition("\n")[0]
        else:
            self._proven.add(mode)
            return outputs
        with torch.no_grad():
            for tensor, value in zip(written, before, strict=True):
                tensor.copy_(value)  # the call that failed half-way may have written statistics
        outputs = self._looped(tensors, inputs)  # an error of the model's own is raised here
        self.strategy = "loop"
        warnings.warn(
            f"{type(self._skeleton).__name__} cannot be vectorised over replicas, so they run one after "
            f"another, which is slower but gives the same: {failure}",
            stacklevel=2,
        )
        return outputs

    def replica(self, index: int) -> nn.Module:
        """Replica ``index`` as an ordinary module with its own copy of the parameters and buffers."""
        model = copy.deepcopy(self._skeleton).to(self.device)
        stacked = {**self.state, **self.buffers}
        own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(stacked[name][index])
        return model

    def _check_inputs(self, inputs: tuple[Any, ...]) -> None:
        for leaf in tree_leaves(inputs):
            if not isinstance(leaf, Tensor):
                raise TypeError(f"inputs must be tensors, or tuples and dictionaries of them; got {leaf!r}")
            if leaf.ndim == 0 or leaf.shape[0] != len(self):
                raise ValueError(
                    f"inputs must have a leading dimension of one entry a replica ({len(self)}); "
                    f"got shape {tuple(leaf.shape)}"
                )

    def _one(self, tensors: Sequence[Tensor], inputs: tuple) -> Any:
        """Run the model with one replica's tensors."""
        named = {name: tensors[place] for name, place in self._places.items()}
        return functional_call(self._skeleton, named, inputs, tie_weights=False)

    def _vectorised(self, tensors: list[Tensor], inputs: tuple) -> Any:
        return vmap(self._one, randomness="error")(tensors, inputs)

    def _looped(self, tensors: list[Tensor], inputs: tuple) -> Any:
        # Unbinding collects the gradients of all replicas in one stack; indexing would add up R padded ones.
        # A buffer is indexed because the views that unbinding gives must not be written to.
        state, buffers = tensors[: len(self.state)], tensors[len(self.state) :]
        rows = list(zip(*(value.unbind() for value in state), strict=True)) or [()] * len(self)
        generator = _generator(self.device)
        outside = generator.get_state()
        outputs = []
        try:
            for r, row in enumerate(rows):
                generator.set_state(self._noise[r])
                own = [*row, *(value[r] for value in buffers)]
                outputs.append(self._one(own, tree_map(lambda value, r=r: value[r], inputs)))
                self._noise[r] = generator.get_state()
        finally:
            generator.set_state(outside)
        return tree_map(lambda *values: torch.stack(values), *outputs)


def _initialise(build: Callable[[], nn.Module], stream: Stream) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream.torch_seed("init"))
        return build()


def _override(name: str, own: dict[str, Tensor], given: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """``given`` in the order of ``own``, or ``own`` if there is none."""
    if given is None:
        return own
    if wrong := sorted(own.keys() ^ given.keys()):
        raise ValueError(
            f"{name} must have the keys of the population's own; these differ: {', '.join(wrong)}"
        )
    return {key: given[key] for key in own}


def _generator(device: torch.device) -> torch.Generator:
    """The generator that a device's random layers draw from."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]
    return torch.default_generator
