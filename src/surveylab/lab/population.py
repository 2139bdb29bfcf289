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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from surveylab.lab.noise import Noise, keys
from surveylab.lab.streams import Stream

Strategy = Literal["auto", "vmap", "loop"]
# Floating-point operations of one replica's typical matrix product or convolution above which replicas run
# one after another on a CPU: such an operation fills a core by itself (tests/benchmarks/bench_population.py).
LOOP_ABOVE = 2**25


class Population:
    """R replicas of a model whose parameters, buffers and inputs carry a leading dimension R.

    Args:
        build: Makes one freshly initialised model. Called once a replica, with torch's global generator
            seeded from the replica's stream, so that replica r is the same whatever R is.
        streams: One stream a replica.
        device: Where the stacked state lives.
        strategy: ``"vmap"`` runs all replicas in one vectorised call, ``"loop"`` one after another.
            ``"auto"`` decides by the sizes of the operations, never by timing, so that a run repeats to the
            last digit: on a CPU the loop where one replica's operations are large (`LOOP_ABOVE`), else the
            vectorised call; where the model cannot be vectorised, it warns and takes the loop. A single
            replica is always called directly, without the overhead of ``vmap``.

    Layers that draw random numbers, such as dropout, draw by counters (`surveylab.lab.noise`): each replica
    from its own stream, the same whatever the strategy and however many replicas there are.

    Attributes:
        state: The stacked parameters by name, each of shape (R, …), leaves that require gradients.
        buffers: The stacked buffers by name.
        calls: In how many calls so far a layer drew random numbers.
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
        self.strategy: Strategy = strategy
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
        # Modes in which the model is known to vectorise.
        self._proven: set[bool] = set()
        # What the rule for "auto" gave, by mode (training or not) and shapes of the inputs.
        self._plans: dict[Any, Strategy] = {}
        # What random layers draw from, and the number of calls in which one drew: looking at a model in
        # evaluation mode, where dropout rests, does not change what it draws in training.
        self._keys = keys(streams, "noise", device)
        self.calls = 0

    def __len__(self) -> int:
        return len(self.streams)

    def parameters(self) -> Iterator[Tensor]:
        """The stacked parameters, for an optimiser."""
        yield from self.state.values()

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> Population:
        """Set parameters and buffers by name, each one for all replicas or one a replica (R, …).

        Raises:
            ValueError: A name is unknown, or a shape does not fit.
        """
        own = {**self.state, **self.buffers}
        for name, value in state.items():
            if name not in own:
                raise ValueError(f"state has {name!r}, which the model has not; it has {', '.join(own)}")
            if value.shape not in (own[name].shape, own[name].shape[1:]):
                raise ValueError(
                    f"state of {name!r} must have shape {tuple(own[name].shape[1:])}, or "
                    f"{tuple(own[name].shape)} with one entry a replica; got {tuple(value.shape)}"
                )
            own[name].copy_(value)
        return self

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
        if self.plan(*inputs) == "loop":
            return self._looped(tensors, inputs)
        if self.strategy == "vmap" or self._skeleton.training in self._proven:
            return self._vectorised(tensors, inputs)
        written = tensors[len(self.state) :]
        before = [tensor.clone() for tensor in written]
        try:
            outputs = self._vectorised(tensors, inputs)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            failure = str(error).partition("\n")[0]
        else:
            self._proven.add(self._skeleton.training)
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

    def plan(self, *inputs: Any) -> Strategy:
        """``"vmap"`` or ``"loop"``, whichever suits such inputs: a fixed rule from the operations' sizes."""
        if len(self) == 1 or self.strategy == "loop":
            return "loop"
        if self.strategy == "vmap" or self.device.type != "cpu":
            return "vmap"
        case = (self._skeleton.training, *(leaf.shape for leaf in tree_leaves(inputs)))
        if case not in self._plans:
            self._plans[case] = "loop" if self._typical_operations(inputs) > LOOP_ABOVE else "vmap"
        return self._plans[case]

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

    def _one(self, tensors: Sequence[Tensor], noise: Noise, inputs: tuple) -> Any:
        """Run the model with one replica's tensors."""
        named = {name: tensors[place] for name, place in self._places.items()}
        with noise:
            return functional_call(self._skeleton, named, inputs, tie_weights=False)

    def _vectorised(self, tensors: list[Tensor], inputs: tuple) -> Any:
        noises: list[Noise] = []

        def one(tensors: list[Tensor], key: Tensor, inputs: tuple) -> Any:
            noises.append(Noise(key, self.calls))
            return self._one(tensors, noises[0], inputs)

        outputs = vmap(one, randomness="error")(tensors, self._keys, inputs)
        self.calls += noises[0].draws > 0
        return outputs

    def _looped(self, tensors: list[Tensor], inputs: tuple) -> Any:
        # Unbinding collects the gradients of all replicas in one stack; indexing would add up R padded ones.
        # A buffer is indexed because the views that unbinding gives must not be written to.
        state, buffers = tensors[: len(self.state)], tensors[len(self.state) :]
        rows = list(zip(*(value.unbind() for value in state), strict=True)) or [()] * len(self)
        outputs, drew = [], False
        for r, row in enumerate(rows):
            own = [*row, *(value[r] for value in buffers)]
            part = tree_map(lambda value, r=r: value[r], inputs)
            noise = Noise(self._keys[r], self.calls)
            with _seeded(self.streams[r], self.calls, self.device) as used:
                outputs.append(self._one(own, noise, part))
            drew |= noise.draws > 0 or used()
        self.calls += drew
        return tree_map(lambda *values: torch.stack(values), *outputs)

    @torch.no_grad()
    def _typical_operations(self, inputs: tuple) -> float:
        """Operations of one replica's matrix products and convolutions: the mean weighted by size."""
        own = [value[0].clone() for value in (*self.state.values(), *self.buffers.values())]
        first = tree_map(lambda value: value[0], inputs)
        seeded = _seeded(self.streams[0], self.calls, self.device)  # a look must leave no trace
        try:
            with seeded, _Operations() as counted:
                self._one(own, Noise(self._keys[0], self.calls), first)
        except Exception:  # what is wrong with the model or its inputs is said by the call itself
            return 0.0
        return sum(n * n for n in counted.sizes) / max(sum(counted.sizes), 1)


class _Operations(TorchDispatchMode):
    """Counts the floating-point operations of each matrix product and convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.sizes.append(count(*args, **(kwargs or {}), out_val=result))
        return result


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


@contextmanager
def _seeded(stream: Stream, call: int, device: torch.device) -> Iterator[Callable[[], bool]]:
    """Seed torch's generator for random functions that `Noise` does not know, and leave it as it was.

    Yields a function that says whether anything was drawn from it.
    """
    generator = torch.default_generator
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generator = torch.cuda.default_generators[index]
    outside = generator.get_state()
    generator.manual_seed((stream.torch_seed("noise") + call) % 2**63)
    fresh = generator.get_state()
    changed: list[bool] = []
    try:
        yield lambda: changed[0]
    finally:
        changed.append(not torch.equal(generator.get_state(), fresh))
        generator.set_state(outside)
