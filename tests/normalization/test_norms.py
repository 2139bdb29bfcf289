"""Layer, Instance and Group Norm give what torch gives: forward, gradients, buffers, dtypes, layouts."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from same_step import assert_same_step
from tolerances import assert_close
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from surveylab.normalization import (
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    group_norm,
    instance_norm,
    layer_norm,
    standardise,
)

Draw = Callable[..., Tensor]
Kind = type[nn.Module]

PAIRS: dict[Kind, Kind] = {
    LayerNorm: nn.LayerNorm,
    InstanceNorm1d: nn.InstanceNorm1d,
    InstanceNorm2d: nn.InstanceNorm2d,
    InstanceNorm3d: nn.InstanceNorm3d,
    GroupNorm: nn.GroupNorm,
}
FUNCTIONS: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
    layer_norm: F.layer_norm,
    instance_norm: F.instance_norm,
    group_norm: F.group_norm,
}
# Layer, its first arguments, shape of the input.
CASES: list[tuple[Kind, tuple[Any, ...], tuple[int, ...]]] = [
    (LayerNorm, (5,), (8, 5)),
    (LayerNorm, (5,), (5,)),
    (LayerNorm, (7,), (4, 5, 7)),
    (LayerNorm, ([5, 7],), (4, 5, 7)),
    (LayerNorm, ((5, 3, 6),), (4, 5, 3, 6)),
    (LayerNorm, ((1, 9),), (1, 1, 9)),  # one example
    (InstanceNorm1d, (5,), (4, 5, 7)),
    (InstanceNorm1d, (5,), (5, 7)),  # no batch axis
    (InstanceNorm2d, (5,), (4, 5, 3, 6)),
    (InstanceNorm2d, (5,), (5, 3, 6)),
    (InstanceNorm2d, (1,), (1, 1, 2, 3)),
    (InstanceNorm3d, (5,), (3, 5, 2, 3, 4)),
    (InstanceNorm3d, (5,), (5, 2, 3, 4)),
    (GroupNorm, (2, 12), (8, 12)),
    (GroupNorm, (1, 6), (4, 6, 7)),
    (GroupNorm, (3, 6), (4, 6, 3, 5)),
    (GroupNorm, (6, 6), (4, 6, 3, 5)),
    (GroupNorm, (2, 6), (1, 6, 3, 5)),
    (GroupNorm, (2, 6), (3, 6, 2, 3, 4)),
]
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "LayerNorm": [{}, {"elementwise_affine": False}, {"bias": False}, {"eps": 0.1}],
    "InstanceNorm": [
        {},
        {"affine": True},
        {"affine": True, "bias": False},
        {"track_running_stats": True},
        {"affine": True, "track_running_stats": True, "momentum": 0.3, "eps": 0.1},
        {"track_running_stats": True, "momentum": None},
    ],
    "GroupNorm": [{}, {"affine": False}, {"bias": False}, {"eps": 0.1}],
}
WITH_OPTIONS = [
    (kind, arguments, shape, options)
    for kind, arguments, shape in CASES
    for options in OPTIONS[kind.__name__.rstrip("123d")]
]
# One of each, all that can be learned or kept learned and kept.
LAYERS: list[tuple[Kind, tuple[Any, ...], tuple[int, ...], dict[str, Any]]] = [
    (LayerNorm, (6,), (8, 4, 6), {}),
    (InstanceNorm2d, (6,), (8, 6, 4, 3), {"affine": True, "track_running_stats": True}),
    (GroupNorm, (3, 6), (8, 6, 4, 3), {}),
]
LOW = [torch.bfloat16, torch.float16]
each_layer = pytest.mark.parametrize(
    ("kind", "arguments", "shape", "options"), LAYERS, ids=["layer", "instance", "group"]
)


def pair(kind: Kind, *arguments: Any, **options: Any) -> tuple[nn.Module, nn.Module]:
    """Our layer and torch's, with the same random parameters and running statistics."""
    generator = torch.Generator().manual_seed(1)
    theirs = PAIRS[kind](*arguments, **options)
    with torch.no_grad():
        for tensor in theirs.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    ours = kind(*arguments, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize(("kind", "arguments", "shape", "options"), WITH_OPTIONS, ids=str)
def test_training_and_evaluation_equal_torch(
    kind: Kind, arguments: tuple[Any, ...], shape: tuple[int, ...], options: dict[str, Any], draw: Draw
) -> None:
    ours, theirs = pair(kind, *arguments, **options)
    for _ in range(2):
        assert_same_step(ours, theirs, draw(*shape))
    ours.eval(), theirs.eval()
    assert_same_step(ours, theirs, draw(*shape))


# --- against loops: the equation, one set of values after another, in double precision


def looped(values: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Standardise a set of values one by one; each with its scale and shift."""
    numbers = values.double().flatten().tolist()
    mean = sum(numbers) / len(numbers)
    variance = sum((x - mean) ** 2 for x in numbers) / len(numbers)
    scales, shifts = (p.double().expand_as(values).flatten().tolist() for p in (weight, bias))
    outcome = [
        g * (x - mean) / (variance + eps) ** 0.5 + b for x, g, b in zip(numbers, scales, shifts, strict=True)
    ]
    return torch.tensor(outcome, dtype=torch.float64).view(values.shape)


def test_layer_norm_is_its_equation(draw: Draw) -> None:
    input, weight, bias = draw(4, 3, 5, 2), draw(5, 2), draw(5, 2)
    output = layer_norm(input, (5, 2), weight, bias, 0.01)
    for m, t in itertools.product(range(4), range(3)):
        assert_close(output[m, t], looped(input[m, t], weight, bias, 0.01))


def test_instance_norm_is_its_equation(draw: Draw) -> None:
    input, weight, bias = draw(4, 3, 5, 2), draw(3), draw(3)
    output = instance_norm(input, None, None, weight, bias, eps=0.01)
    for b, c in itertools.product(range(4), range(3)):
        assert_close(output[b, c], looped(input[b, c], weight[c], bias[c], 0.01))


def test_group_norm_is_its_equation(draw: Draw) -> None:
    input, weight, bias = draw(4, 6, 5, 2), draw(6), draw(6)
    output = group_norm(input, 2, weight, bias, 0.01)
    for b, group in itertools.product(range(4), (slice(0, 3), slice(3, 6))):
        own = weight[group].view(3, 1, 1), bias[group].view(3, 1, 1)
        assert_close(output[b, group], looped(input[b, group], *own, 0.01))


def test_running_statistics_average_over_examples(draw: Draw) -> None:
    """By hand: channel values 1, 3 and 5, 9 have means 2 and 7, unbiased variances 2 and 8."""
    layer = InstanceNorm1d(1, momentum=0.5, track_running_stats=True, eps=3.0)
    output = layer(torch.tensor([[[1.0, 3.0]], [[5.0, 9.0]]]))
    assert_close(output[0], torch.tensor([[-0.5, 0.5]]))  # 1 / sqrt(1 + 3): biased, eps inside the root
    assert_close(layer.get_buffer("running_mean"), torch.tensor([2.25]))  # half of 4.5
    assert_close(layer.get_buffer("running_var"), torch.tensor([3.0]))  # half of 1 + 5
    assert layer.num_batches_tracked == 0  # as in torch: it is never counted


# --- dtypes, large means, layouts


@pytest.mark.parametrize(
    ("dtype", "parameters"),
    [(torch.float64, torch.float64)] + [(low, dtype) for low in LOW for dtype in (low, torch.float32)],
)
@each_layer
def test_dtypes_are_torchs_and_digits_are_not_lost(
    kind: Kind,
    arguments: tuple[Any, ...],
    shape: tuple[int, ...],
    options: dict[str, Any],
    dtype: torch.dtype,
    parameters: torch.dtype,
    draw: Draw,
) -> None:
    """In half precision torch's own gradients may err by several times as much."""
    for training in (True, False):
        ours, theirs = (layer.to(parameters).train(training) for layer in pair(kind, *arguments, **options))
        assert_as_exact(ours, theirs, draw(*shape, dtype=dtype), draw(*shape, dtype=dtype))


def assert_as_exact(
    ours: nn.Module, theirs: nn.Module, input: Tensor, grad: Tensor, cancels: float = 1.0
) -> None:
    """Our layer has the dtypes of torch's, and the values of torch's in double precision.

    Args:
        ours, theirs: The layers, of one state.
        input, grad: What they are given, and the gradient of their output.
        cancels: How many times larger than its spread the input is, where it keeps digits enough to tell.
    """
    results: list[dict[str, Tensor]] = []
    exact = copy.deepcopy(theirs).double()
    for layer, dtype in ((ours, input.dtype), (theirs, input.dtype), (exact, torch.float64)):
        leaf = input.to(dtype).clone().requires_grad_()
        leaves = {"input": leaf} | dict(layer.named_parameters())
        output = layer(leaf)
        grads = torch.autograd.grad(output, list(leaves.values()), grad.to(dtype))
        results.append(
            {"output": output} | dict(zip(leaves, grads, strict=True)) | dict(layer.named_buffers())
        )
    summed = input.numel() / ours.get_parameter("weight").numel()  # values that share a parameter
    offsets = {  # of what was rounded on the way: each value by itself, or a sum of such errors, or of values
        "output": 10 * cancels,
        "input": 10 * cancels,
        "weight": 5 * cancels * summed**0.5,
        "bias": float(grad.double().abs().sum()),
        "running_mean": 10 * cancels,
        "running_var": 10.0,
    }
    for name, expected in results[2].items():
        actual = results[0][name]
        assert actual.dtype == results[1][name].dtype, name
        # What is stored in half precision is rounded when it is stored, and only then.
        low = (input if name in ("output", "input") else actual).dtype != torch.float32
        assert_close(actual, expected, offset=0.0 if low else offsets.get(name, 0.0))


@pytest.mark.parametrize("dtype", [torch.float32, *LOW])
@pytest.mark.parametrize("mean", [0.0, 1e2, 1e4])
@pytest.mark.parametrize(
    ("kind", "arguments", "shape", "options"),
    [
        (LayerNorm, (64,), (8, 64), {}),
        (InstanceNorm2d, (6,), (8, 6, 8, 8), {"affine": True, "track_running_stats": True}),
        (GroupNorm, (3, 6), (8, 6, 8, 8), {}),
    ],
    ids=["layer", "instance", "group"],
)
def test_a_large_mean_does_no_harm(
    kind: Kind,
    arguments: tuple[Any, ...],
    shape: tuple[int, ...],
    options: dict[str, Any],
    mean: float,
    dtype: torch.dtype,
    draw: Draw,
) -> None:
    """Also where torch itself loses digits."""
    spread = 1.0 if dtype == torch.float32 else 1.0 + mean / 100  # so that many different values are left
    input = (draw(*shape) * spread + mean).to(dtype)
    ours, theirs = pair(kind, *arguments, **options)
    # Of mean 0 in each channel, else a weight's gradient would mostly show by how little the mean was missed.
    grad = draw(input.numel(), dtype=dtype).view(shape)
    assert_as_exact(ours, theirs, input, grad, cancels=1 + mean / spread)


@pytest.mark.parametrize(
    ("kind", "arguments", "shape", "layout"),
    [
        (GroupNorm, (3, 6), (4, 6, 3, 5), torch.channels_last),
        (GroupNorm, (3, 6), (4, 6, 2, 3, 4), torch.channels_last_3d),
        (GroupNorm, (3, 6), (4, 6, 3, 5), torch.contiguous_format),
        (LayerNorm, ((6, 3, 5),), (4, 6, 3, 5), torch.channels_last),  # torch: contiguous, and so ours
        (LayerNorm, (5,), (4, 6, 3, 5), torch.channels_last),
        (InstanceNorm2d, (6,), (4, 6, 3, 5), torch.contiguous_format),
    ],
)
def test_memory_format_is_torchs(
    kind: Kind, arguments: tuple[Any, ...], shape: tuple[int, ...], layout: torch.memory_format, draw: Draw
) -> None:
    ours, theirs = pair(kind, *arguments)
    input = draw(*shape).contiguous(memory_format=layout)
    assert_same_step(ours, theirs, input)
    strides = []
    for layer in (ours, theirs):
        leaf = input.clone(memory_format=torch.preserve_format).requires_grad_()
        output = layer(leaf)
        (grad,) = torch.autograd.grad(output, leaf, draw(*shape).contiguous(memory_format=layout))
        strides.append((output.stride(), grad.stride()))
    assert strides[0][0] == strides[1][0]
    assert strides[0][1] == strides[1][1] or kind is LayerNorm


def test_layer_norm_is_contiguous_as_torchs(draw: Draw) -> None:
    """Also where no copy would be needed to see the features side by side."""
    assert_same_step(LayerNorm(5), nn.LayerNorm(5), draw(5, 4).t())
    assert LayerNorm(5)(draw(5, 4).t()).is_contiguous()


def test_layout_of_any_dense_input_is_kept(draw: Draw) -> None:
    """A deliberate deviation: torch's output is contiguous here."""
    channels_last = draw(4, 6, 3, 5).contiguous(memory_format=torch.channels_last)
    assert InstanceNorm2d(6)(channels_last).stride() == channels_last.stride()
    assert nn.InstanceNorm2d(6)(channels_last).is_contiguous()
    permuted = draw(4, 7, 6).transpose(1, 2)
    for ours, theirs in ((InstanceNorm1d(6), nn.InstanceNorm1d(6)), (GroupNorm(3, 6), nn.GroupNorm(3, 6))):
        assert ours(permuted).stride() == permuted.stride()
        assert theirs(permuted).is_contiguous()


@pytest.mark.parametrize(
    "view",
    [
        lambda draw: draw(4, 7, 5, 6).permute(0, 3, 2, 1),
        lambda draw: draw(6, 4, 5, 7).transpose(0, 1),
        lambda draw: draw(4, 6, 10, 9)[:, :, ::2, 1:8],
        lambda draw: draw(4, 1, 5, 7).expand(4, 6, 5, 7),
    ],
    ids=["permuted", "transposed", "strided", "expanded"],
)
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [(LayerNorm, (7,)), (LayerNorm, ((6, 5, 7),)), (InstanceNorm2d, (6,)), (GroupNorm, (3, 6))],
    ids=str,
)
def test_views_equal_torch(
    kind: Kind, arguments: tuple[Any, ...], view: Callable[[Draw], Tensor], draw: Draw
) -> None:
    ours, theirs = pair(kind, *arguments)
    assert_same_step(ours, theirs, view(draw))


def test_parameters_may_be_views(draw: Draw) -> None:
    input, weight, bias = draw(4, 3, 5), draw(5, 3).t(), draw(3, 10)[:, ::2]
    assert_close(layer_norm(input, (3, 5), weight, bias), F.layer_norm(input, (3, 5), weight, bias))
    assert layer_norm(input[:0], (3, 5), weight, bias).shape == (0, 3, 5)


@pytest.mark.parametrize(
    ("kind", "arguments", "shape"),
    [
        (LayerNorm, (5,), (0, 5)),
        (LayerNorm, (0,), (3, 0)),
        (LayerNorm, ((3, 0),), (2, 3, 0)),
        (LayerNorm, (5,), (2, 0, 5)),
        (GroupNorm, (3, 6), (0, 6)),
        (GroupNorm, (3, 6), (0, 6, 4)),
        (InstanceNorm1d, (6,), (2, 6, 0)),
    ],
    ids=str,
)
def test_empty_input_equals_torch(kind: Kind, arguments: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    options = {"affine": True} if kind is InstanceNorm1d else {}
    assert_same_step(*pair(kind, *arguments, **options), torch.empty(shape))


def test_empty_input_where_torch_fails() -> None:
    """Deliberate deviations: the gradient of no values is 0; running statistics do not move."""
    weight = torch.ones(6, requires_grad=True)
    for empty, normalize in (
        (torch.empty(2, 6, 0), lambda input: group_norm(input, 3, weight)),
        (torch.empty(0, 6, 4), lambda input: instance_norm(input, weight=weight)),
    ):
        (grad,) = torch.autograd.grad(normalize(empty.requires_grad_()).sum(), weight)
        assert grad.tolist() == [0.0] * 6
    with pytest.raises(IndexError):
        F.instance_norm(torch.empty(0, 6, 4).requires_grad_(), weight=weight).sum().backward()
    (theirs,) = torch.autograd.grad(F.group_norm(torch.empty(2, 6, 0), 3, weight).sum(), weight)
    assert theirs.isnan().all()
    layer = InstanceNorm1d(6, track_running_stats=True)
    layer(torch.empty(0, 6, 4))
    assert layer.get_buffer("running_var").tolist() == [1.0] * 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@each_layer
def test_autocast_equals_torch(
    kind: Kind,
    arguments: tuple[Any, ...],
    shape: tuple[int, ...],
    options: dict[str, Any],
    dtype: torch.dtype,
    draw: Draw,
) -> None:
    """The backward pass included, where a matrix product would be taken in bfloat16."""
    ours, theirs = pair(kind, *arguments, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_as_exact(ours, theirs, draw(*shape, dtype=dtype), draw(*shape, dtype=dtype))


@pytest.fixture
def cuda_autocast() -> Iterator[None]:
    """As `torch.autocast("cuda")`, which needs a GPU."""
    torch.set_autocast_enabled("cuda", True)
    yield
    torch.set_autocast_enabled("cuda", False)


@pytest.mark.usefixtures("cuda_autocast")
@pytest.mark.parametrize(
    ("dtype", "parameters"),
    [(dtype, dtype) for dtype in (torch.float64, torch.float32, *LOW)]
    + [(low, torch.float32) for low in LOW],
)
def test_autocast_on_cuda_gives_the_dtypes_of_torch(dtype: torch.dtype, parameters: torch.dtype) -> None:
    """It raises Layer and Group Norm to float32, and only these. Fake tensors: no GPU is needed."""
    with FakeTensorMode():
        input = torch.empty(2, 6, 6, device="cuda", dtype=dtype)
        weight = bias = torch.empty(6, device="cuda", dtype=parameters)
        raised = torch.float64 if dtype == torch.float64 else torch.float32
        for found, wanted in (
            (layer_norm(input, (6,), weight, bias), raised),
            (F.layer_norm(input, (6,), weight, bias), raised),
            (group_norm(input, 3, weight, bias), raised),
            (F.group_norm(input, 3, weight, bias), raised),
            (instance_norm(input, weight=weight, bias=bias), dtype),
            (F.instance_norm(input, weight=weight, bias=bias), dtype),
        ):
            assert found.dtype == wanted


@each_layer
def test_input_without_gradient_and_frozen_parameters(
    kind: Kind, arguments: tuple[Any, ...], shape: tuple[int, ...], options: dict[str, Any], draw: Draw
) -> None:
    layer, theirs = pair(kind, *arguments, **options)
    input = draw(*shape)
    for module in (layer, theirs):
        module.get_parameter("weight").requires_grad_(False)
        module(input).square().sum().backward()
    assert layer.get_parameter("weight").grad is None
    ours_grad, expected = (module.get_parameter("bias").grad for module in (layer, theirs))
    assert ours_grad is not None and expected is not None
    assert_close(ours_grad, expected)
    with torch.no_grad():
        assert not layer(input).requires_grad


@pytest.mark.parametrize("parameter", ["weight", "bias"])
@pytest.mark.parametrize("function", [layer_norm, instance_norm, group_norm])
def test_one_parameter_alone(function: Callable[..., Tensor], parameter: str, draw: Draw) -> None:
    """Beside a scale of 1 or a shift of 0: torch's Group Norm has no gradient for a shift alone."""
    results = []
    shape = (6, 5) if function is layer_norm else (6,)
    input, given, grad = draw(4, 6, 5), draw(*shape), draw(4, 6, 5)
    middle: dict[str, Any] = {"layer_norm": {"normalized_shape": (6, 5)}, "group_norm": {"num_groups": 3}}
    both: dict[str, Tensor] = {"weight": torch.ones(shape), "bias": torch.zeros(shape)}
    for normalize, others in ((function, {}), (FUNCTIONS[function], both)):
        leaves = [input.clone().requires_grad_(), given.clone().requires_grad_()]
        parameters = others | {parameter: leaves[1]}
        output = normalize(leaves[0], **middle.get(function.__name__, {}), **parameters)
        results.append([output, *torch.autograd.grad(output, leaves, grad)])
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected)


# --- errors: torch's types, and a message that says what to do


def ones(*shape: int) -> Tensor:
    return torch.ones(shape)


ERRORS: list[tuple[Callable[..., Tensor], Callable[[Any], object], str]] = [
    (layer_norm, lambda f: f(ones(3, 4), 4), r"should be a sequence, \(4,\), but is an int"),
    (layer_norm, lambda f: f(ones(3, 4), ()), r"one or more, but is \(\)"),
    (layer_norm, lambda f: f(ones(3, 4), (5,)), r"is \(5,\) and the input has shape \(3, 4\)"),
    (layer_norm, lambda f: f(ones(4), (3, 4)), r"is \(3, 4\) and the input has shape \(4,\)"),
    (
        layer_norm,
        lambda f: f(ones(3, 4), (4,), ones(1)),
        r"weight should have shape \(4,\), one value for each",
    ),
    (layer_norm, lambda f: f(ones(3, 4), (4,), None, ones(3)), r"bias should have shape \(4,\).*has \(3,\)"),
    (layer_norm, lambda f: f(ones(3, 4), (4,), ones(4).double()), "weight is torch.float64.*convert"),
    (layer_norm, lambda f: f(ones(3, 4).double(), (4,), ones(4)), "weight is torch.float32.*convert"),
    (layer_norm, lambda f: f(ones(3, 4).long(), (4,)), "should be floating point, but is torch.int64"),
    (group_norm, lambda f: f(ones(6), 3), r"shape \(batch, channels, ...\), but has \(6,\)"),
    (group_norm, lambda f: f(ones(2, 6), 4), "num_groups should divide the input's 6 channels, but is 4"),
    (group_norm, lambda f: f(ones(2, 6), -3), "num_groups should divide.*is -3"),
    (group_norm, lambda f: f(ones(1, 6, 1), 6), r"more than 1 value.*\(1, 6, 1\).*num_groups is 6"),
    (
        group_norm,
        lambda f: f(ones(2, 6), 3, ones(3)),
        r"weight should have shape \(6,\).*\(2, 6\).*has \(3,\)",
    ),
    (group_norm, lambda f: f(ones(2, 6), 3, None, ones(6, 1)), r"bias should have shape \(6,\)"),
    (group_norm, lambda f: f(ones(2, 6), 3, ones(6).half()), "weight is torch.float16.*convert"),
    (group_norm, lambda f: f(ones(2, 6).long(), 3), "should be floating point, but is torch.int64"),
    (instance_norm, lambda f: f(ones(2, 6)), r"shape \(batch, channels, positions, ...\), but has \(2, 6\)"),
    (instance_norm, lambda f: f(ones(6)), r"shape \(batch, channels, positions, ...\), but has \(6,\)"),
    (
        instance_norm,
        lambda f: f(ones(2, 6, 1, 1)),
        r"more than 1 spatial.*\(2, 6, 1, 1\).* single position.* larger",
    ),
    (instance_norm, lambda f: f(ones(2, 6, 4), ones(6), None), "belong together, but only running_mean"),
    (instance_norm, lambda f: f(ones(2, 6, 4), None, ones(6)), "belong together, but only running_var"),
    (instance_norm, lambda f: f(ones(2, 6, 4), use_input_stats=False), "must be given when use_input_stats"),
    (instance_norm, lambda f: f(ones(2, 6, 4), ones(3), ones(3)), r"running_mean should have shape \(6,\)"),
    (instance_norm, lambda f: f(ones(2, 6, 4), weight=ones(3)), r"weight should have shape \(6,\)"),
    (instance_norm, lambda f: f(ones(2, 6, 4), bias=ones(1)), r"bias should have shape \(6,\)"),
    (instance_norm, lambda f: f(ones(2, 6, 4), weight=ones(6).double()), "weight is torch.float64.*convert"),
    (layer_norm, lambda f: f(ones(3, 4).half(), (4,), ones(4).half(), ones(4)), "have one dtype, but are"),
    (group_norm, lambda f: f(ones(2, 6).half(), 3, ones(6), ones(6).half()), "have one dtype, but are"),
    (
        instance_norm,
        lambda f: f(ones(2, 6, 4).half(), weight=ones(6), bias=ones(6).half()),
        "weight and bias should have one dtype, but are torch.float32 and torch.float16",
    ),
    (instance_norm, lambda f: f(ones(2, 6, 4).long()), "should be floating point, but is torch.int64"),
]


@pytest.mark.parametrize(("function", "call", "message"), ERRORS, ids=[message for _, _, message in ERRORS])
def test_errors_are_of_torchs_type_and_helpful(
    function: Callable[..., Tensor], call: Callable[[Any], object], message: str
) -> None:
    with pytest.raises(Exception) as theirs:
        call(FUNCTIONS[function])
    with pytest.raises(theirs.type, match=message):
        call(function)


@pytest.mark.parametrize(
    "call",
    [
        lambda f: f[layer_norm](ones(3, 4), (4,), eps=-1.0),
        lambda f: f[group_norm](ones(3, 4), 2, eps=-1.0),
        lambda f: f[instance_norm](ones(3, 4, 2), eps=-1.0),
    ],
)
def test_a_negative_eps_is_an_error(call: Callable[[Any], Tensor]) -> None:
    """A deliberate deviation: torch gives NaN."""
    assert call(FUNCTIONS).isnan().all()
    with pytest.raises(ValueError, match=r"eps should be zero or more, but is -1\.0"):
        call({function: function for function in FUNCTIONS})


def test_axes_are_counted_from_the_last() -> None:
    """Else they would be others under vmap, where replicas stand in front."""
    for axes in ((1,), (0, -1)):
        with pytest.raises(ValueError, match=r"axes should be counted from the last.* but are \(.*\)"):
            standardise(ones(3, 4), (3, 4), axes, (1, 4))


@pytest.mark.parametrize(
    ("kind", "arguments", "shape"),
    [
        (InstanceNorm1d, (6,), (6,)),
        (InstanceNorm1d, (6,), (2, 6, 4, 4)),
        (InstanceNorm2d, (6,), (6, 4)),
        (InstanceNorm3d, (6,), (6, 4, 4)),
    ],
)
def test_wrong_number_of_axes(kind: Kind, arguments: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as theirs:
        PAIRS[kind](*arguments)(ones(*shape))
    with pytest.raises(ValueError) as ours:
        kind(*arguments)(ones(*shape))
    assert str(ours.value) == str(theirs.value)


def test_wrong_number_of_channels() -> None:
    for layers in ((InstanceNorm1d, GroupNorm), (nn.InstanceNorm1d, nn.GroupNorm)):
        with pytest.raises(ValueError, match="num_features"):
            layers[0](6, affine=True)(ones(2, 4, 3))
        with pytest.warns(UserWarning, match="num_features"):
            layers[0](6)(ones(2, 4, 3))
        with pytest.raises(RuntimeError, match="weight"):
            layers[1](2, 6)(ones(2, 4, 3))
        with pytest.raises(ValueError, match=r"num_channels \(6\) must be divisible by num_groups \(4\)"):
            layers[1](4, 6)
    with pytest.raises(ValueError, match=r"num_groups should be .* but is 0"):  # torch divides by zero
        GroupNorm(0, 6)
    with pytest.raises(ValueError, match=r"match num_features \(6\), but got: 4"):
        InstanceNorm1d(6, affine=True)(ones(4, 3))


# --- state and interface


def test_interface_is_torchs() -> None:
    for ours, theirs in (FUNCTIONS | PAIRS).items():
        parameters = inspect.signature(ours).parameters
        expected = inspect.signature(theirs).parameters
        assert list(parameters) == list(expected)
        for name, parameter in expected.items():
            assert parameters[name].default == parameter.default
            assert parameters[name].kind == parameter.kind


@pytest.mark.parametrize(("kind", "arguments", "shape", "options"), WITH_OPTIONS, ids=str)
def test_representation_and_state_are_torchs(
    kind: Kind, arguments: tuple[Any, ...], shape: tuple[int, ...], options: dict[str, Any], draw: Draw
) -> None:
    ours, theirs = pair(kind, *arguments, **options)
    assert repr(ours) == repr(theirs)
    ours(draw(*shape))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    for name, expected in ours.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], expected)


def test_numbers_of_numpy_are_numbers() -> None:
    kinds: list[Any] = [LayerNorm, nn.LayerNorm]
    for kind in kinds:
        layer = kind(np.int64(5))
        assert layer.normalized_shape == (5,) and layer(ones(2, 5)).shape == (2, 5)
    with pytest.raises(TypeError, match="should be a sequence"):
        layer_norm(ones(2, 5), np.int64(5))  # type: ignore[arg-type]


@pytest.mark.parametrize("strict", [True, False])
def test_statistics_of_an_old_state_dict_are_an_error(strict: bool) -> None:
    """Of one without versions, as torch saved them when its layers kept statistics by default."""
    state = dict(nn.InstanceNorm2d(6, track_running_stats=True).state_dict())
    del state["num_batches_tracked"]
    for kind in (InstanceNorm2d, nn.InstanceNorm2d):
        with pytest.raises(
            RuntimeError, match=r"Unexpected running stats buffer\(s\).*running_mean.*track_runn"
        ):
            kind(6).load_state_dict(state, strict=strict)
        kind(6, track_running_stats=True).load_state_dict(state)


def test_one_value_in_each_group() -> None:
    """An error for a batch of one alone: a larger one passes, its output the shift."""
    for normalize in (group_norm, F.group_norm):
        assert not normalize(ones(2, 6), 6).any()
        with pytest.raises(ValueError, match="more than 1 value"):
            normalize(ones(1, 6), 6)


@each_layer
def test_reset_meta_device_and_dtype(
    kind: Kind, arguments: tuple[Any, ...], shape: tuple[int, ...], options: dict[str, Any], draw: Draw
) -> None:
    layer = kind(*arguments, **options, device="meta", dtype=torch.float64)
    assert {tensor.device.type for tensor in layer.state_dict().values()} == {"meta"}
    output = layer(torch.empty(shape, device="meta", dtype=torch.float64))
    assert (output.shape, output.device.type) == (shape, "meta")
    real = layer.to_empty(device="cpu")
    real.reset_parameters()  # type: ignore[operator]
    fresh = PAIRS[kind](*arguments, **options, dtype=torch.float64)
    for name, expected in fresh.state_dict().items():
        assert torch.equal(real.state_dict()[name], expected)
    assert_same_step(real, fresh, draw(*shape, dtype=torch.float64))
