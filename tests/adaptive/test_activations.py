"""The activations against torch, against their published formulas in loops, and at their limits."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from methods import Case, MethodTests
from tolerances import assert_close
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from surveylab.adaptive import (
    AconB,
    AconC,
    MetaAconC,
    PReLU,
    Swish,
    acon_a,
    acon_b,
    acon_c,
    meta_acon_beta,
    meta_acon_c,
    prelu,
    swish,
)
from surveylab.lab import Population, make_streams

C = 3
SHAPES = [(4, C), (4, C, 5), (2, C, 3, 2), (1, C, 1)]
HALF = [torch.float16, torch.bfloat16]
PICTURES = [(3, 4, 3, 2)]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal values, the same in every run, that ask for a gradient."""
    generator = torch.Generator().manual_seed(seed)
    values = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return values.to(dtype).requires_grad_()


def assert_same_step(actual: Tensor, expected: Tensor, leaves: dict[str, Tensor], offset: float = 10) -> None:
    """Equal outputs, and equal gradients of every leaf."""
    assert actual.dtype == expected.dtype
    assert_close(actual, expected, offset=offset)
    pull = draw(*actual.shape, seed=99, dtype=actual.dtype).detach()
    sources = list(leaves.values())
    found = torch.autograd.grad(actual, sources, pull)
    wanted = torch.autograd.grad(expected, sources, pull)
    for name, grad, right in zip(leaves, found, wanted, strict=True):
        assert grad.dtype == right.dtype, name
        assert_close(grad, right, offset=offset * (1 + float(right.abs().max())))


# --- every method passes the checks that all methods share


class TestPReLU(MethodTests):
    cases = (
        Case("pictures", lambda: PReLU(4), PICTURES, dynamic=[(0, 2, 3)]),
        Case("features, one slope", lambda: PReLU(), [(4, 6)], dynamic=[(0, 1)]),
    )


class TestSwish(MethodTests):
    cases = (
        Case("pictures", lambda: Swish(num_parameters=4), PICTURES, dynamic=[(0, 2, 3)]),
        Case("features, one beta", lambda: Swish(1.5), [(4, 6)], dynamic=[(0, 1)]),
        Case("sequences, fixed", lambda: Swish(0.5, 3, learn=False), [(4, 3, 5)], dynamic=[(0, 2)]),
    )


class TestAconB(MethodTests):
    cases = (
        Case("pictures", lambda: AconB(4), PICTURES, dynamic=[(0, 2, 3)]),
        Case("features, one slope", lambda: AconB(), [(4, 6)], dynamic=[(0, 1)]),
    )


class TestAconC(MethodTests):
    cases = (
        Case("pictures", lambda: seeded(AconC, 4), PICTURES, dynamic=[(0, 2, 3)]),
        Case("features", lambda: seeded(AconC, 6), [(4, 6)], dynamic=[(0,)]),
        Case("sequences, shared", lambda: seeded(AconC), [(4, 3, 5)], dynamic=[(0, 1, 2)]),
    )


class TestMetaAconC(MethodTests):
    cases = (
        Case("pictures", lambda: seeded(MetaAconC, 4, 2), PICTURES, dynamic=[(0, 2, 3)]),
        Case("features", lambda: seeded(MetaAconC, 3, 2), [(4, 3)], dynamic=[(0,)]),
        Case("sequences", lambda: seeded(MetaAconC, 3, 2), [(4, 3, 5)], dynamic=[(0, 2)]),
    )


def seeded(kind: Callable[..., nn.Module], *arguments: Any) -> Any:
    """A layer whose own draws are the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return kind(*arguments)


# --- parity with torch


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("count", [1, C])
@pytest.mark.parametrize("shape", SHAPES)
def test_prelu_is_torchs(shape: tuple[int, ...], count: int, dtype: torch.dtype) -> None:
    """Also at 0, where the gradient is the slope."""
    input, weight = draw(*shape, dtype=dtype), draw(count, seed=1, dtype=dtype)
    with torch.no_grad():
        input.view(-1)[::4] = 0
    leaves = {"input": input, "weight": weight}
    assert_same_step(prelu(input, weight), F.prelu(input, weight), leaves)


@pytest.mark.parametrize("shape", [(), (5,)])
def test_one_value_of_each_parameter_fits_any_shape(shape: tuple[int, ...]) -> None:
    input = draw(*shape)
    for layer, expected in [
        (PReLU(), F.prelu(input, torch.tensor([0.25], dtype=torch.float64))),
        (Swish(), F.silu(input)),
    ]:
        assert_close(layer.double()(input), expected)
    assert AconB()(input.float()).shape == AconC()(input.float()).shape == shape


def test_prelu_is_a_torch_prelu_and_exchanges_states() -> None:
    """Filters by type find it, and either loads the other's state."""
    ours, theirs = PReLU(C, init=0.1), nn.PReLU(C, init=0.1)
    assert isinstance(ours, nn.PReLU) and repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["weight"]
    assert torch.equal(ours.weight, theirs.weight) and torch.equal(PReLU().weight, nn.PReLU().weight)
    input = draw(4, C, 5, dtype=torch.float32)
    for one, other in ((ours, theirs), (theirs, ours)):
        with torch.no_grad():
            one.weight.copy_(draw(C, seed=7, dtype=torch.float32))
        other.load_state_dict(one.state_dict())
        assert_close(ours(input), theirs(input))
        assert not torch.equal(ours(input), F.prelu(input, torch.tensor([0.1])))
        nn.init.ones_(one.weight)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_swish_is_silu_at_beta_one(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    input = draw(*shape, dtype=dtype)
    fixed = Swish(num_parameters=C, learn=False).to(dtype)
    for apply in (swish, acon_a, Swish().to(dtype), fixed):
        assert_same_step(apply(input), F.silu(input), {"input": input})
    assert not list(fixed.parameters()) and list(fixed.state_dict()) == ["beta"]


# --- parity with the published formulas, value by value


def logistic(z: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-z))


def each(input: Tensor, formula: Callable[[Tensor, int, int], Tensor]) -> Tensor:
    """Apply a formula of (value, example, channel) to one value after another."""
    rows = input.reshape(*input.shape[:2], -1)
    examples, channels, positions = rows.shape
    outputs = [
        formula(rows[n, c, s], n, c)
        for n in range(examples)
        for c in range(channels)
        for s in range(positions)
    ]
    return torch.stack(outputs).reshape(input.shape)


def published_acon(x: Tensor, p1: Tensor, p2: Tensor, beta: Tensor) -> Tensor:
    """ACON-C of one value, as the equation stands."""
    return (p1 - p2) * x * logistic(beta * (p1 - p2) * x) + p2 * x


@pytest.mark.parametrize("count", [1, C])
@pytest.mark.parametrize("shape", SHAPES)
def test_formulas_with_loops(shape: tuple[int, ...], count: int) -> None:
    """Parameters shared, or one a channel: every output and every gradient."""
    x, p1, p2, beta = draw(*shape), *(draw(count, seed=seed) for seed in (1, 2, 3))

    def of(parameter: Tensor, c: int) -> Tensor:
        return parameter[c if count > 1 else 0]

    zero, one = torch.zeros(1).double(), torch.ones(1).double()
    slope_or_one: Callable[[Tensor, int, int], Tensor]
    slope_or_one = lambda v, n, c: v if v > 0 else of(p1, c) * v  # noqa: E731
    cases: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = [
        (prelu(x, p1), each(x, slope_or_one), {"p1": p1}),
        (swish(x, beta), each(x, lambda v, n, c: v * logistic(of(beta, c) * v)), {"beta": beta}),
        (
            acon_a(x, beta),
            each(x, lambda v, n, c: published_acon(v, one[0], zero[0], of(beta, c))),
            {"beta": beta},
        ),
        (
            acon_b(x, p1, beta),
            each(
                x,
                lambda v, n, c: (
                    (1 - of(p1, c)) * v * logistic(of(beta, c) * (1 - of(p1, c)) * v) + of(p1, c) * v
                ),
            ),
            {"p": p1, "beta": beta},
        ),
        (
            acon_c(x, p1, p2, beta),
            each(x, lambda v, n, c: published_acon(v, of(p1, c), of(p2, c), of(beta, c))),
            {"p1": p1, "p2": p2, "beta": beta},
        ),
    ]
    for actual, expected, leaves in cases:
        assert_same_step(actual, expected, {"x": x, **leaves}, offset=100)


@pytest.mark.parametrize("shape", SHAPES)
def test_meta_acon_with_loops(shape: tuple[int, ...]) -> None:
    """The means, both linear maps and the gate, as sums of single products."""
    hidden = 2
    x = draw(*shape)
    leaves = {
        "p1": draw(C, seed=1),
        "p2": draw(C, seed=2),
        "fc1_weight": draw(hidden, C, seed=3),
        "fc1_bias": draw(hidden, seed=4),
        "fc2_weight": draw(C, hidden, seed=5),
        "fc2_bias": draw(C, seed=6),
    }
    p1, p2, w1, b1, w2, b2 = leaves.values()
    rows = x.reshape(*x.shape[:2], -1)
    betas = []
    for n in range(rows.shape[0]):
        means = [sum(rows[n, c]) / rows.shape[2] for c in range(C)]
        inner = [sum(w1[k, c] * means[c] for c in range(C)) + b1[k] for k in range(hidden)]
        betas += [logistic(sum(w2[c, k] * inner[k] for k in range(hidden)) + b2[c]) for c in range(C)]
    beta = torch.stack(betas).reshape(-1, C)
    assert_close(meta_acon_beta(x, w1, b1, w2, b2), beta, offset=10)
    expected = each(x, lambda v, n, c: published_acon(v, p1[c], p2[c], beta[n, c]))
    assert_same_step(meta_acon_c(x, *leaves.values()), expected, {"x": x, **leaves}, offset=100)
    plain = meta_acon_beta(x, w1, None, w2, None)
    assert_close(plain, meta_acon_beta(x, w1, 0 * b1, w2, 0 * b2))


def test_meta_acon_as_convolutions() -> None:
    """The authors' two 1x1 convolutions over what is left of a picture, with their weights."""
    layer = seeded(MetaAconC, 40)
    assert layer.fc1.weight.shape == (16, 40)  # at least 16 hidden channels
    assert seeded(MetaAconC, 320).fc1.weight.shape == (20, 320)
    assert seeded(MetaAconC, 12, 4).fc1.weight.shape == (4, 12)
    x = draw(2, 40, 3, 5, dtype=torch.float32)
    first, second = nn.Conv2d(40, 16, 1), nn.Conv2d(16, 40, 1)
    for conv, linear in ((first, layer.fc1), (second, layer.fc2)):
        conv.load_state_dict({"weight": linear.weight[..., None, None], "bias": linear.bias})
    beta = torch.sigmoid(second(first(F.adaptive_avg_pool2d(x, 1))))
    assert_close(layer.beta(x), beta[..., 0, 0])
    p1, p2 = (tensor.detach().view(-1, 1, 1) for tensor in (layer.p1, layer.p2))
    assert_close(layer(x), published_acon(x, p1, p2, beta), offset=10)
    assert layer.beta(x).std(0).min() > 0  # it differs between examples


# --- limits and large values


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF])
def test_beta_zero_is_a_line(dtype: torch.dtype) -> None:
    """Half the input, exactly; the mean of two lines, to the last digits."""
    x = draw(4, C, 5, dtype=dtype)
    p1, p2 = draw(C, seed=1, dtype=dtype), draw(C, seed=2, dtype=dtype)
    zero = torch.zeros(C, dtype=dtype)
    for half in (swish(x, 0.0), swish(x, zero), acon_a(x, 0.0), Swish(0.0).to(dtype)(x)):
        assert torch.equal(half, x / 2)
    mean = (p1.double() + p2.double()) / 2 * x.double().mT
    assert_close(acon_c(x, p1, p2, zero), mean.mT)
    assert_close(acon_b(x, p1, 0.0), ((1 + p1.double()) / 2 * x.double().mT).mT)
    for output in (swish(x, 0.0), acon_c(x, p1, p2, zero)):
        assert torch.autograd.grad(output.sum(), x, create_graph=True)[0].std((0, 2)).max() < 1e-3


SIZES = [1e4, -1e4, 1.0, -1.0, 0.0, 1e-2, -1e-2]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF])
def test_large_beta_is_the_maximum(dtype: torch.dtype) -> None:
    """Exactly, without NaN, and with the gradients of the maximum."""
    x = torch.tensor(SIZES, dtype=dtype).view(1, 1, -1).repeat(2, C, 1).requires_grad_()
    p1 = torch.tensor([1.5, -2.0, 0.25], dtype=dtype, requires_grad=True)
    p2 = torch.tensor([-0.5, 3.0, 1.0], dtype=dtype, requires_grad=True)
    large = 6e4 if dtype == torch.float16 else 1e38
    beta = torch.full((C,), large, dtype=dtype, requires_grad=True)
    a, b = p1.view(-1, 1), p2.view(-1, 1)
    cases = [
        (swish(x, beta), F.relu(x), {}),
        (acon_a(x, beta), F.relu(x), {}),
        (acon_b(x, p1, beta), torch.maximum(x, a * x), {"p1": p1}),
        (acon_c(x, p1, p2, beta), torch.maximum(a * x, b * x), {"p1": p1, "p2": p2}),
    ]
    inside = x.detach() != 0
    pull = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    for actual, expected, leaves in cases:
        assert torch.equal(actual, expected)
        found = torch.autograd.grad(actual, [x, *leaves.values(), beta], pull)
        wanted = torch.autograd.grad(expected, [x, *leaves.values()], pull)
        assert all(grad.isfinite().all() for grad in found)
        assert_close(found[0][inside], wanted[0][inside])
        for grad, right in zip(found[1:-1], wanted[1:], strict=True):
            assert_close(grad, right, offset=1e4)
        assert_close(found[-1], torch.zeros(C))


def test_maximum_of_very_different_lines_keeps_its_digits() -> None:
    """The published sum, computed as it stands, loses the flatter line beside the steeper one."""
    x = torch.tensor([1.0, 2.0, 3.0])
    flat, steep = 0.1, -1e6
    assert torch.equal(acon_c(x, flat, steep, 1.0), flat * x)
    as_it_stands = (flat - steep) * x * torch.sigmoid((flat - steep) * x) + steep * x
    assert (as_it_stands - flat * x).abs().max() > 1e-3


@pytest.mark.parametrize("beta", [1.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_large_values(dtype: torch.dtype, beta: float) -> None:
    """Values are those of double precision, and nothing overflows on the way."""
    x = torch.tensor(SIZES, dtype=dtype).view(1, 1, -1).repeat(2, C, 1).requires_grad_()
    p1, p2 = (torch.tensor([a, -a, 0.5], dtype=dtype, requires_grad=True) for a in (0.75, 0.25))
    betas = torch.full((C,), beta, dtype=dtype, requires_grad=True)
    for function, parameters in ((swish, (betas,)), (acon_b, (p1, betas)), (acon_c, (p1, p2, betas))):
        output = function(x, *parameters)
        exact = function(x.double(), *(parameter.double() for parameter in parameters))
        assert_close(output, exact)
        assert output.dtype == dtype
        grads = torch.autograd.grad(output.float().sum(), [x, *parameters])
        for grad in grads:
            assert grad.isfinite().all() and grad.dtype == dtype


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_float32_rounded_once(dtype: torch.dtype) -> None:
    """Outputs and gradients, sums over many values among them, are those of float32, to the last digit."""
    x, p1, p2, beta = draw(64, C, 50, dtype=dtype), *(draw(C, seed=i, dtype=dtype) for i in (1, 2, 3))
    pull = draw(*x.shape, seed=9, dtype=dtype).detach()
    eye = torch.eye(C, dtype=dtype)

    def meta(x: Tensor, p1: Tensor, p2: Tensor) -> Tensor:
        return meta_acon_c(x, p1, p2, eye.to(x.dtype), None, eye.to(x.dtype), None)

    cases: list[tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = [
        (prelu, (p1,)),
        (swish, (beta,)),
        (acon_b, (p1, beta)),
        (acon_c, (p1, p2, beta)),
        (meta, (p1, p2)),
    ]
    for function, parameters in cases:
        leaves = [x, *parameters]
        full = [leaf.detach().float().requires_grad_() for leaf in leaves]
        output, exact = function(*leaves), function(*full)
        assert torch.equal(output, exact.to(dtype))
        wanted = torch.autograd.grad(exact, full, pull.float())
        for grad, right in zip(torch.autograd.grad(output, leaves, pull), wanted, strict=True):
            assert torch.equal(grad, right.to(dtype))


# --- populations


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "PReLU": lambda: PReLU(C),
    "Swish": lambda: Swish(num_parameters=C),
    "Swish, fixed": lambda: Swish(0.5, learn=False),
    "ACON-B": lambda: AconB(C),
    "ACON-C": lambda: AconC(C),
    "Meta-ACON-C": lambda: MetaAconC(C, 2),
}
R = 4


@pytest.fixture
def no_slow_fallback() -> Iterator[None]:
    """vmap warns where it loops for want of a batching rule."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.usefixtures("no_slow_fallback")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LAYERS)
def test_population_equals_a_loop(name: str, shape: tuple[int, ...]) -> None:
    """Every replica has its own parameters."""
    layers = [LAYERS[name]().double() for _ in range(R)]
    for r, layer in enumerate(layers):
        for place, tensor in enumerate(layer.state_dict().values()):
            tensor.copy_(draw(*tensor.shape, seed=10 * r + place).detach())
    parameters, buffers = stack_module_state(layers)
    template = copy.deepcopy(layers[0]).to("meta")

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], input: Tensor) -> Tensor:
        return functional_call(template, (parameters, buffers), (input,))

    inputs, pull = draw(R, *shape, seed=50), draw(R, *shape, seed=51)
    output = vmap(one)(parameters, buffers, inputs)
    grads = torch.autograd.grad(output, [inputs, *parameters.values()], pull)
    for r, layer in enumerate(layers):
        alone = inputs.detach()[r].requires_grad_()
        expected = layer(alone)
        assert_close(output[r], expected, offset=10)
        wanted = torch.autograd.grad(expected, [alone, *layer.parameters()], pull[r])
        for actual, right in zip(grads, wanted, strict=True):
            assert_close(actual[r], right, offset=100)


@pytest.mark.parametrize("name", LAYERS)
def test_in_the_labs_population(name: str) -> None:
    """Behind a convolution over sequences; vectorised, as one replica after another would have it."""

    def build() -> nn.Module:
        return nn.Sequential(nn.Conv1d(2, C, 3), LAYERS[name](), nn.Flatten(), nn.Linear(C * 6, 2))

    together, looped = (
        Population(build, make_streams(0, R, 1), strategy=strategy)  # type: ignore[arg-type]
        for strategy in ("vmap", "loop")
    )
    x = draw(R, 5, 2, 8, dtype=torch.float32).detach()
    outputs = []
    for population in (together, looped):
        output = population(x)
        output.square().mean((1, 2)).sum().backward()
        outputs.append(output)
    assert outputs[0].shape == (R, 5, 2)
    assert_close(outputs[0], outputs[1], offset=10)
    for key, value in together.state.items():
        other = looped.state[key]
        assert value.grad is not None and other.grad is not None
        assert_close(value.grad, other.grad, offset=10)
        assert value.grad.abs().max() > 0


# --- initial values


def test_initial_values() -> None:
    """Slopes of ACON-C are standard normal: 20000 draws, each moment within four of its standard errors."""
    torch.manual_seed(0)
    count = 20000
    for layer in (AconC(count), seeded(AconC, count)):
        for p in (layer.p1, layer.p2):
            assert abs(p.mean()) < 4 / math.sqrt(count)
            assert abs(p.var() - 1) < 4 * math.sqrt(2 / count)
        assert abs((layer.p1 * layer.p2).mean()) < 4 / math.sqrt(count)
        assert torch.equal(layer.beta, torch.ones(count))
    b = AconB(C)
    assert torch.equal(b.p, torch.full((C,), 0.25)) and torch.equal(b.beta, torch.ones(C))
    assert torch.equal(AconB(init=0.5).p, torch.tensor([0.5]))
    assert torch.equal(Swish(2.0, C).beta, torch.full((C,), 2.0))
    meta, linear = seeded(MetaAconC, 40), nn.Linear(40, 16)
    for values in (meta.p1, meta.p2):
        assert abs(values.mean()) < 4 / math.sqrt(40) and abs(values.var() - 1) < 4 * math.sqrt(2 / 40)
    assert meta.fc1.weight.abs().max() <= 1 / math.sqrt(linear.in_features)


@pytest.mark.parametrize("kind", [Swish, AconB, AconC, lambda: MetaAconC(C)])
def test_reset_parameters_starts_anew(kind: Callable[[], nn.Module]) -> None:
    torch.manual_seed(3)
    layer: Any = kind()
    before = copy.deepcopy(layer.state_dict())
    with torch.no_grad():
        for tensor in layer.state_dict().values():
            tensor.fill_(100)
    layer.reset_parameters()
    for name, tensor in layer.state_dict().items():
        assert tensor.shape == before[name].shape and tensor.abs().max() < 10, name


# --- errors

NO_COUNT: Any = 1.5


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: PReLU(0), "num_parameters should be a whole number, 1 or more, but is 0"),
        (
            lambda: Swish(num_parameters=NO_COUNT),
            "num_parameters should be a whole number, 1 or more, but is 1.5",
        ),
        (lambda: Swish(math.inf), "beta should be a finite number, but is inf"),
        (lambda: AconB(init=math.nan), "init should be a finite number, but is nan"),
        (lambda: AconC(-1), "num_parameters should be"),
        (lambda: MetaAconC(0), "num_channels should be a whole number, 1 or more, but is 0"),
        (lambda: MetaAconC(4, reduction=0), "reduction should be a whole number, 1 or more, but is 0"),
    ],
)
def test_arguments_that_cannot_be_right(make: Callable[[], nn.Module], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize(
    ("apply", "error", "says"),
    [
        (
            lambda x: prelu(x, torch.ones(2)),
            RuntimeError,
            r"weight should be one value, or one of each of its 3 channels, shape \(3,\), for the input "
            r"\(4, 3, 5\), but has shape \(2,\)",
        ),
        (lambda x: prelu(x[0, 0], torch.ones(5)), RuntimeError, r"weight should be one value, for the input"),
        (lambda x: swish(x, torch.ones(1, 3)), RuntimeError, r"beta should be one value.*\(1, 3\)"),
        (lambda x: acon_b(x, torch.ones(3, 1)), RuntimeError, "p2 should be one value"),
        (lambda x: acon_c(x, torch.ones(5), 1.0), RuntimeError, "p1 should be one value"),
        (lambda x: swish(x, torch.ones(3).double()), RuntimeError, "beta is torch.float64 but the input is"),
        (lambda x: prelu(x, torch.ones(3).half()), RuntimeError, "weight is torch.float16 but the input is"),
        (lambda x: prelu(x.long(), torch.ones(3)), NotImplementedError, "input should be floating point"),
        (lambda x: swish(x.int()), NotImplementedError, "input should be floating point, but is torch.int32"),
        (lambda x: MetaAconC(3)(x.int()), NotImplementedError, "input should be floating point"),
        (lambda x: MetaAconC(3)(x[..., :0]), ValueError, r"one position or more, but has \(4, 3, 0\)"),
        (lambda x: MetaAconC(3)(x[0, 0]), ValueError, r"input should have shape \(batch, channels"),
        (
            lambda x: MetaAconC(4)(x),
            RuntimeError,
            r"fc1_weight should have shape \(16, 3\), for an input of 3 channels and 16 hidden ones, but has",
        ),
        (lambda x: MetaAconC(3)(x.double()), RuntimeError, "fc1_weight is torch.float32 but the input is"),
        (
            lambda x: meta_acon_beta(x, torch.ones(2, 3), None, torch.ones(2, 3), None),
            RuntimeError,
            r"fc2_weight should have shape \(3, 2\)",
        ),
    ],
)
def test_inputs_that_cannot_be_right(
    apply: Callable[[Tensor], Tensor], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        apply(torch.ones(4, 3, 5))
