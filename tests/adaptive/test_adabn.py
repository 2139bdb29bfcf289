"""AdaBN: the statistics of all target examples together, layer after layer, and nothing else."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn
from torch.func import stack_module_state, vmap
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

from surveylab.adaptive import adapt_batch_norm, adapted_buffers
from surveylab.lab import Population, make_streams
from surveylab.normalization import BatchNorm1d, BatchNorm2d, GhostBatchNorm2d, InstanceNorm2d


class Residual(nn.Module):
    """A block with a Batch Norm inside and one after the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.last = BatchNorm2d(4)  # registered first, used last
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4, momentum=None), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Add, normalise."""
        return self.last(x + self.inner(x))


def mixed() -> nn.Sequential:
    """Ours and torch's Batch Norm at several depths, beside layers that AdaBN must leave alone."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        Residual(),
        InstanceNorm2d(4, affine=True, track_running_stats=True),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 5),
        nn.BatchNorm1d(5, affine=False),
        nn.Linear(5, 3),
    )


ADAPTED = ["1", "4.inner.1", "4.last", "8"]  # of `mixed`, in the order in which they are used


def random(*shape: int, seed: int = 0, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64) * 2 + shift


def trained(build: Callable[[], nn.Module] = mixed, seed: int = 0) -> Any:
    """With statistics of a source and parameters that are not those of a fresh model."""
    torch.manual_seed(seed)
    model = build().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for _ in range(3):
            model(random(8, 2, 6, 6, seed=seed + 50))
    return model


def examples(count: int = 12, seed: int = 1) -> Tensor:
    return random(count, 2, 6, 6, seed=seed, shift=1.0)


def divided(x: Tensor, sizes: list[int]) -> list[Tensor]:
    return list(x.split(sizes))


def inputs_of(model: nn.Module, names: list[str], x: Tensor) -> dict[str, Tensor]:
    """What enters the named layers in evaluation."""
    seen: dict[str, Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: seen.update({name: args[0]})
        )
        for name in names
    ]
    with torch.no_grad():
        copy_ = model.training
        model.eval()(x)
        model.train(copy_)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("sizes", [[12], [6, 6], [5, 1, 6], [1] * 12], ids=str)
def test_each_layer_has_the_statistics_of_what_enters_it(sizes: list[int]) -> None:
    """The definition: over all target examples, when the layers before have theirs; however divided."""
    model, x = trained(), examples()
    before = inputs_of(model, ADAPTED, x)
    assert adapt_batch_norm(model, divided(x, sizes)) is model
    entering = inputs_of(model, ADAPTED, x)
    assert list(entering) == ADAPTED
    for name, values in entering.items():
        layer = model.get_submodule(name)
        per_channel = values.transpose(0, 1).flatten(1)
        assert_close(layer.running_mean, per_channel.mean(1), offset=10)
        assert_close(layer.running_var, per_channel.var(1), offset=100)
        assert layer.num_batches_tracked == len(sizes)
        if name != ADAPTED[0]:  # the layers before it matter
            assert (before[name] - values).abs().max() > 0.1


def test_nothing_else_changes() -> None:
    """No parameter by a bit; no mode, gradient, momentum, buffer of another layer or random state."""
    model = trained()
    model[4].inner[1].eval()
    model[0].weight.requires_grad_(False)
    model[7].weight.grad = torch.ones_like(model[7].weight)
    before = copy.deepcopy(model)
    identities = {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()}
    torch.manual_seed(3)
    drawn = torch.get_rng_state()
    adapt_batch_norm(model, divided(examples(), [6, 6]))
    assert torch.equal(torch.get_rng_state(), drawn)
    changed = {f"{name}.{kind}" for name in ADAPTED for kind in ("running_mean", "running_var")}
    changed |= {f"{name}.num_batches_tracked" for name in ADAPTED}
    for name, tensor in before.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor) is (name not in changed), name
    for (name, ours), theirs in zip(model.named_modules(), before.modules(), strict=True):
        assert ours.training == theirs.training, name
        assert getattr(ours, "momentum", 0) == getattr(theirs, "momentum", 0)
        assert not ours._forward_pre_hooks
    for ours, theirs in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(ours, theirs) and ours.requires_grad == theirs.requires_grad
    assert torch.equal(model[7].weight.grad, torch.ones_like(model[7].weight))
    assert {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()} == identities
    assert not any(buffer.requires_grad for buffer in model.buffers())


def plain() -> nn.Sequential:
    """Without what is another function in training."""
    modes = (nn.Dropout, InstanceNorm2d)
    return nn.Sequential(*(nn.Identity() if isinstance(layer, modes) else layer for layer in mixed()))


def test_update_bn() -> None:
    """Of one batch torch's function gives nearly the same; of several the mean of their variances.

    Nearly, as in its pass a layer gives on what it normalised with the variance over n, not over n - 1.
    """
    x = examples()
    single = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    for build, offset in ((lambda: single, 10.0), (plain, None)):
        ours = trained(build)
        theirs = copy.deepcopy(ours)
        adapt_batch_norm(ours, [x])
        update_bn([x], theirs)
        for name, buffer in theirs.named_buffers():
            found = ours.get_buffer(name)
            if offset is None and buffer.is_floating_point():
                torch.testing.assert_close(found, buffer, rtol=0.1, atol=0.05)
            else:
                assert_close(found, buffer, offset=offset or 0)
    several = divided(x.sort(0).values, [6, 6])
    ours, theirs = trained(lambda: copy.deepcopy(single)), trained(lambda: copy.deepcopy(single))
    adapt_batch_norm(ours, several)
    update_bn(several, theirs)
    assert_close(ours[1].running_mean, theirs[1].running_mean, offset=10)
    assert (theirs[1].running_var < ours[1].running_var).all()
    assert theirs[1].running_var[0] < 0.6 * ours[1].running_var[0]


def test_batches_may_be_a_loader_an_iterator_or_pairs() -> None:
    x = examples()
    expected = adapt_batch_norm(trained(), [x]).state_dict()
    pairs = TensorDataset(x, torch.zeros(12))
    for batches in (
        DataLoader(pairs, batch_size=5),
        DataLoader(pairs, batch_size=5, shuffle=True),
        iter([x[:4], x[4:]]),
        [[x[:4], None], [x[4:], None]],
        [x[:0], x[:7], x[:0], x[7:]],
    ):
        for name, tensor in adapt_batch_norm(trained(), batches).state_dict().items():
            if tensor.is_floating_point():
                assert_close(tensor, expected[name], offset=100)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_means_and_dtypes(dtype: torch.dtype) -> None:
    """Batches whose means are far apart, in the precision of the model."""
    x = (random(64, 3, seed=4) + torch.arange(64)[:, None] * 200.0).to(dtype)
    model = nn.BatchNorm1d(3).to(dtype)
    adapt_batch_norm(model, x.split(8))
    assert {buffer.dtype for buffer in model.buffers()} == {dtype, torch.int64}
    assert_close(model.get_buffer("running_mean"), x.double().mean(0))
    assert_close(model.get_buffer("running_var"), x.double().var(0))
    close = (random(64, 3, seed=4) + 1e4).float()
    model = adapt_batch_norm(BatchNorm1d(3), close.split(8))
    found = model.get_buffer("running_var").double()
    torch.testing.assert_close(found, close.double().var(0), rtol=1e-5, atol=0)


def test_a_domain_that_is_scaled_and_shifted_is_undone() -> None:
    """If Batch Norm comes first, a change of every channel's mean and scale is removed altogether."""
    norms = BatchNorm2d(2, eps=0.0), nn.BatchNorm2d(4, eps=0.0)
    model = nn.Sequential(norms[0], nn.Conv2d(2, 4, 3), norms[1], nn.ReLU()).double()
    source = random(16, 2, 6, 6)
    target = source * torch.tensor([3.0, 0.5]).view(1, 2, 1, 1) + torch.tensor([7.0, -2.0]).view(1, 2, 1, 1)
    adapt_batch_norm(model, [source]).eval()
    expected = model(source)
    assert (model(target) - expected).abs().max() > 1
    assert_close(adapt_batch_norm(model, target.split(4))(target), expected, offset=1e3)


def test_in_models_of_one_layer_and_ghost_batches() -> None:
    x = random(8, 4, 3, 3)
    for layer in (nn.BatchNorm2d(4), GhostBatchNorm2d(4, 2), nn.SyncBatchNorm(4)):
        adapt_batch_norm(layer.double(), [x])
        assert_close(layer.get_buffer("running_var"), x.var((0, 2, 3)), offset=10)


class Unused(nn.Module):
    """Batch Norm of which one is used in training only, under keyword arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.auxiliary = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        """Use it."""
        return self.auxiliary(x) if self.training else self.norm(input=x)


def test_layers_that_no_example_passes_stay() -> None:
    model = Unused().double()
    before = copy.deepcopy(model.auxiliary.state_dict())
    adapt_batch_norm(model, [random(8, 3)])
    assert_close(model.norm.get_buffer("running_mean"), random(8, 3).mean(0))
    for name, tensor in model.auxiliary.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("sizes", [[12], [5, 7]], ids=str)
@pytest.mark.filterwarnings("error")
def test_replicas_together_are_each_alone(sizes: list[int]) -> None:
    """In a population, each with target data of its own, and its parameters stay."""
    population = Population(lambda: mixed(), make_streams(0, 3, 1), strategy="vmap")
    with torch.no_grad():
        population.eval()
        for parameter in population.parameters():
            parameter.add_(0.1)
    x = torch.stack([examples(seed=r + 1) for r in range(3)]).float()
    alone = [adapt_batch_norm(population.replica(r), x[r].split(sizes)) for r in range(3)]
    before = {name: tensor.clone() for name, tensor in (population.state | population.buffers).items()}
    adapt = vmap(partial(adapted_buffers, population.replica(0)))
    adapted = adapt(population.state, population.buffers, list(x.split(sizes, 1)))
    for name, tensor in (population.state | population.buffers).items():
        assert torch.equal(tensor, before[name])  # so far it was a function
    population.load(adapted)
    for name, tensor in population.state.items():
        assert torch.equal(tensor, before[name])
    for r, model in enumerate(alone):
        for name, buffer in model.named_buffers():
            assert_close(population.buffers[name][r], buffer, offset=10)
        assert_close(population(x)[r], model.eval()(x[r]), offset=10)
    assert (population.buffers["1.running_mean"][0] - population.buffers["1.running_mean"][1]).abs().max() > 0


def test_replicas_with_modules_of_torch_alone() -> None:
    models = [trained(seed=r) for r in range(3)]
    state, buffers = stack_module_state(models)
    x = torch.stack([examples(seed=r) for r in range(3)])
    together = vmap(partial(adapted_buffers, models[0]))(state, buffers, [(x, x)])
    for r, model in enumerate(models):
        for name, buffer in adapt_batch_norm(model, [x[r]]).named_buffers():
            assert_close(together[name][r], buffer, offset=10)


def test_layers_without_running_statistics_stay() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False)).double()
    adapt_batch_norm(model, [random(8, 3)])
    assert_close(model[0].get_buffer("running_mean"), random(8, 3).mean(0))
    assert list(model.state_dict()) == [
        *("0.weight", "0.bias", "0.running_mean", "0.running_var", "0.num_batches_tracked"),
        *("1.weight", "1.bias"),
    ]


class Twice(nn.Module):
    """One Batch Norm, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        """Use it twice."""
        return self.norm(self.norm(x).relu())


X = torch.ones(4, 3)


@pytest.mark.parametrize(
    ("build", "batches", "error", "message"),
    [
        (lambda: nn.Linear(3, 2), [X], ValueError, "model should have Batch Norm layers that keep running"),
        (lambda: nn.Linear(3, 2), [X], ValueError, "but Linear has no Batch Norm"),
        (lambda: nn.BatchNorm1d(3, track_running_stats=False), [X], ValueError, "track_running_stats=False"),
        (lambda: nn.BatchNorm1d(3), [], ValueError, "batches should hold target examples, but there is none"),
        (lambda: nn.BatchNorm1d(3), [X[:0], X[:0]], ValueError, "but there is none"),
        (lambda: nn.BatchNorm1d(3), [X[:1]], ValueError, "more than 1 value per channel, but at layer ''"),
        (Twice, [X], RuntimeError, "layer 'norm' is used twice"),
        (lambda: nn.BatchNorm1d(3), [X, X[:, :2]], RuntimeError, "3"),
    ],
)
def test_errors_change_nothing(
    build: Callable[[], nn.Module], batches: list[Tensor], error: type[Exception], message: str
) -> None:
    model = build()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=re.escape(message)):
        adapt_batch_norm(model, batches)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    for layer in model.modules():
        assert layer.training and not layer._forward_pre_hooks
