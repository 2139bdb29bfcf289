"""Batch Norm gives what torch gives: forward, gradients, buffers; train and eval; every dtype and layout."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from same_step import assert_same_step
from tolerances import assert_close
from torch import Tensor, nn

from surveylab.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d, batch_norm, batch_norm_reference
from surveylab.normalization.batch_norm import BatchNormBase

Draw = Callable[..., Tensor]

PAIRS: dict[type[BatchNormBase], type[nn.Module]] = {
    BatchNorm1d: nn.BatchNorm1d,
    BatchNorm2d: nn.BatchNorm2d,
    BatchNorm3d: nn.BatchNorm3d,
}
SHAPES: list[tuple[type[BatchNormBase], tuple[int, ...]]] = [
    (BatchNorm1d, (8, 5)),
    (BatchNorm1d, (4, 5, 7)),
    (BatchNorm2d, (4, 5, 3, 6)),
    (BatchNorm2d, (1, 3, 7, 5)),  # one example, many positions
    (BatchNorm2d, (6, 1, 1, 1)),  # one channel, one position
    (BatchNorm3d, (3, 5, 2, 3, 4)),
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"affine": False},
    {"bias": False},
    {"track_running_stats": False},
    {"momentum": 0.3, "eps": 0.1},
    {"momentum": None},
    {"momentum": 0.0},
]
LOW = [torch.bfloat16, torch.float16]


def pair(kind: type[BatchNormBase], channels: int, **options: Any) -> tuple[BatchNormBase, nn.Module]:
    """Our layer and torch's, with the same random parameters and running statistics."""
    generator = torch.Generator().manual_seed(1)
    theirs = PAIRS[kind](channels, **options)
    with torch.no_grad():
        for tensor in theirs.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(channels, generator=generator) + 0.5)
    ours = kind(channels, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("kind", "shape"), SHAPES, ids=str)
def test_training_and_evaluation_equal_torch(
    kind: type[BatchNormBase], shape: tuple[int, ...], options: dict[str, Any], draw: Draw
) -> None:
    ours, theirs = pair(kind, shape[1], **options)
    for _ in range(3):
        assert_same_step(ours, theirs, draw(*shape))
    ours.eval(), theirs.eval()
    assert_same_step(ours, theirs, draw(*shape))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("dtype", "parameters"),
    [(torch.float64, torch.float64)] + [(low, dtype) for low in LOW for dtype in (low, torch.float32)],
)
def test_dtypes_equal_torch(dtype: torch.dtype, parameters: torch.dtype, training: bool, draw: Draw) -> None:
    ours, theirs = (layer.to(parameters).train(training) for layer in pair(BatchNorm2d, 5))
    for _ in range(2):
        assert_same_step(ours, theirs, draw(16, 5, 4, 4, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, *LOW])
@pytest.mark.parametrize("mean", [0.0, 1e2, 1e4])
def test_a_large_mean_does_no_harm(mean: float, dtype: torch.dtype, draw: Draw) -> None:
    """Against the equation in float64, on the very same input: also where torch itself loses digits."""
    spread = 1.0 if dtype == torch.float32 else 1.0 + mean / 100  # so that many different values are left
    input = (draw(32, 3, 8, 8) * spread + mean).to(dtype)
    weight, bias = torch.tensor([0.5, -1.0, 1.5]), draw(3)
    running_mean, running_var = torch.zeros(3), torch.ones(3)
    grad = draw(32, 3, 8, 8, dtype=dtype)
    total = grad.double().sum((0, 2, 3))
    leaves = [input.clone().requires_grad_(), weight.clone().requires_grad_(), bias.clone().requires_grad_()]
    output = batch_norm(leaves[0], running_mean, running_var, leaves[1], leaves[2], training=True)
    grads = torch.autograd.grad(output, leaves, grad)

    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    expected = batch_norm_reference(exact[0].flatten(2), exact[1], exact[2]).unflatten(2, (8, 8))
    expected_grads = torch.autograd.grad(expected, exact, grad.double())
    # The mean itself has a last digit, and a channel's spread is half of what is meant, or more.
    offset = 2 * mean if dtype == torch.float32 else 0.0
    assert_close(output, expected, offset=offset)
    assert_close(grads[0], expected_grads[0], offset=offset)
    for actual, wanted in zip(
        grads[1:], expected_grads[1:], strict=True
    ):  # sums: of what was rounded, and a rounding each
        assert_close(actual, wanted, offset=float(total.abs().max()) * offset + float(grad.abs().sum()))
    unbiased = exact[0].detach().transpose(0, 1).flatten(1).var(1, correction=1)
    assert_close(running_mean, 0.1 * exact[0].detach().mean((0, 2, 3)))
    assert_close(running_var, 0.9 + 0.1 * unbiased)


def test_statistics_switched_off_later_equal_torch(draw: Draw) -> None:
    """Buffers that are there but not tracked stay as they are, and so do averages of an unknown count."""
    cases: list[tuple[str, Any, float | None]] = [
        ("track_running_stats", False, 0.1),
        ("num_batches_tracked", None, None),
    ]
    for attribute, value, momentum in cases:
        ours, theirs = pair(BatchNorm2d, 5, momentum=momentum)
        for layer in (ours, theirs):
            setattr(layer, attribute, value)
        before = ours.get_buffer("running_var").clone()
        assert_same_step(ours, theirs, draw(4, 5, 3, 3))
        assert torch.equal(ours.get_buffer("running_var"), before)
        ours.eval(), theirs.eval()
        assert_same_step(ours, theirs, draw(4, 5, 3, 3))


def test_running_variance_is_unbiased_and_output_is_not(draw: Draw) -> None:
    """By hand: the values 1 and 3 have mean 2, variance 1 over n and 2 over n - 1."""
    layer = BatchNorm1d(1, momentum=1.0, eps=3.0)
    output = layer(torch.tensor([[1.0], [3.0]]))
    assert_close(output, torch.tensor([[-0.5], [0.5]]))  # 1 / sqrt(1 + 3): eps is inside the root
    assert_close(layer.get_buffer("running_mean"), torch.tensor([2.0]))
    assert_close(layer.get_buffer("running_var"), torch.tensor([2.0]))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("kind", "shape", "layout"),
    [
        (BatchNorm2d, (4, 5, 3, 6), torch.channels_last),
        (BatchNorm3d, (3, 5, 2, 3, 4), torch.channels_last_3d),
        (BatchNorm2d, (4, 5, 3, 6), torch.contiguous_format),
    ],
)
def test_memory_format_is_kept(
    kind: type[BatchNormBase], shape: tuple[int, ...], layout: torch.memory_format, training: bool, draw: Draw
) -> None:
    ours, theirs = pair(kind, shape[1])
    ours.train(training), theirs.train(training)
    input = draw(*shape).contiguous(memory_format=layout)
    assert_same_step(ours, theirs, input)
    leaf = input.clone(memory_format=torch.preserve_format).requires_grad_()
    output = ours(leaf)
    (grad,) = torch.autograd.grad(output, leaf, draw(*shape).contiguous(memory_format=layout))
    assert output.stride() == theirs(leaf).stride() == input.stride()
    assert grad.stride() == input.stride()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "view",
    [
        lambda draw: draw(4, 7, 6, 5).permute(0, 3, 2, 1),
        lambda draw: draw(5, 8, 4, 3).transpose(0, 1),
        lambda draw: draw(4, 5, 8, 6)[:, :, ::2, 1:4],
        lambda draw: draw(4, 1, 3, 3).expand(4, 5, 3, 3),
    ],
    ids=["permuted", "transposed", "strided", "expanded"],
)
def test_views_equal_torch(view: Callable[[Draw], Tensor], training: bool, draw: Draw) -> None:
    ours, theirs = pair(BatchNorm2d, 5)
    ours.train(training), theirs.train(training)
    assert_same_step(ours, theirs, view(draw))


def test_layout_of_any_dense_input_is_kept(draw: Draw) -> None:
    """A deliberate deviation: torch makes other permutations than channels-last contiguous."""
    input = draw(4, 7, 5).transpose(1, 2)
    assert BatchNorm1d(5)(input).stride() == input.stride()
    assert nn.BatchNorm1d(5)(input).is_contiguous()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("kind", "shape"), [(BatchNorm1d, (0, 5)), (BatchNorm2d, (0, 5, 3, 3)), (BatchNorm2d, (4, 5, 0, 3))]
)
def test_empty_input_equals_torch(kind: type[BatchNormBase], shape: tuple[int, ...], training: bool) -> None:
    ours, theirs = pair(kind, 5)
    ours.train(training), theirs.train(training)
    assert_same_step(ours, theirs, torch.empty(shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_equals_torch(dtype: torch.dtype, draw: Draw) -> None:
    ours, theirs = pair(BatchNorm2d, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same_step(ours, theirs, draw(8, 5, 4, 4, dtype=dtype))


def test_input_without_gradient_and_frozen_parameters(draw: Draw) -> None:
    input = draw(8, 5)
    layer = BatchNorm1d(5)
    weight, bias = layer.get_parameter("weight").requires_grad_(False), layer.get_parameter("bias")
    output = layer(input)
    output.square().sum().backward()
    assert weight.grad is None
    assert bias.grad is not None
    assert_close(bias.grad, 2 * output.detach().sum(0))
    assert not BatchNorm1d(5, affine=False)(input).requires_grad
    with torch.no_grad():
        assert not layer(input).requires_grad


# --- errors: torch's types, and a message that says what to do


def ones(*shape: int) -> Tensor:
    return torch.ones(shape)


ERRORS: list[tuple[Callable[[Any], object], str]] = [
    (
        lambda f: f(ones(1, 3), None, None, training=True),
        r"more than 1 value per channel.*\(1, 3\).*larger batch",
    ),
    (lambda f: f(ones(1, 3, 1, 1), None, None, training=True), r"\(1, 3, 1, 1\).*drop_last=True"),
    (lambda f: f(ones(4, 3), ones(3), None, training=True), "belong together, but only running_mean"),
    (lambda f: f(ones(4, 3), None, None), "must be given when training=False"),
    (lambda f: f(ones(4, 3), None, None, training=True, eps=0.0), "eps should be positive.*but is 0.0"),
    (
        lambda f: f(ones(4, 3).half(), None, None, ones(3), ones(3).half(), training=True),
        "weight and bias should have one dtype",
    ),
    (
        lambda f: f(ones(4, 3).half(), ones(3), ones(3), ones(3), ones(3).half()),
        "weight and bias should have one dtype",
    ),
    (lambda f: f(ones(4, 3), ones(3), ones(3), eps=-1.0), "eps should be zero or more, but is -1.0"),
    (
        lambda f: f(ones(4, 3), ones(2), ones(3)),
        r"running_mean should have shape \(3,\).*\(4, 3\).*has \(2,\)",
    ),
    (lambda f: f(ones(4, 3), None, None, ones(4), training=True), r"weight should have shape \(3,\)"),
    (lambda f: f(ones(4, 3), None, None, None, ones(4), training=True), r"bias should have shape \(3,\)"),
    (lambda f: f(ones(4, 3), ones(3).double(), ones(3).double()), r"running_mean is torch.float64.*convert"),
    (lambda f: f(ones(4, 3).long(), ones(3), ones(3)), "should be floating point, but is torch.int64"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message for _, message in ERRORS])
def test_errors_are_of_torchs_type_and_helpful(call: Callable[[Any], object], message: str) -> None:
    with pytest.raises(Exception) as theirs:
        call(torch.nn.functional.batch_norm)
    with pytest.raises(theirs.type, match=message):
        call(batch_norm)


def test_one_axis_is_too_few() -> None:
    with pytest.raises(ValueError, match=r"shape \(batch, channels, ...\), but has \(3,\)"):
        batch_norm(ones(3), None, None, training=True)


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        (BatchNorm1d, (3,), r"expected 2D or 3D input \(got 1D input\)"),
        (BatchNorm1d, (2, 3, 4, 4), r"expected 2D or 3D input \(got 4D input\)"),
        (BatchNorm2d, (2, 3, 4), r"expected 4D input \(got 3D input\)"),
        (BatchNorm3d, (2, 3, 4, 4), r"expected 5D input \(got 4D input\)"),
    ],
)
def test_wrong_number_of_axes(kind: type[BatchNormBase], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError):
        PAIRS[kind](3)(ones(*shape))
    with pytest.raises(ValueError, match=message):
        kind(3)(ones(*shape))


# --- state and interface


def test_interface_is_torchs() -> None:
    functional = inspect.signature(torch.nn.functional.batch_norm).parameters
    assert [(p.name, p.default) for p in functional.values()] == [
        (p.name, p.default) for p in inspect.signature(batch_norm).parameters.values()
    ]
    for ours, theirs in PAIRS.items():
        parameters = inspect.signature(ours).parameters
        for parameter in inspect.signature(theirs).parameters.values():
            assert parameters[parameter.name].default == parameter.default
            assert parameters[parameter.name].kind == parameter.kind


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_representation_is_torchs(options: dict[str, Any]) -> None:
    for ours, theirs in PAIRS.items():
        assert repr(ours(7, **options)) == repr(theirs(7, **options))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_state_loads_both_ways(options: dict[str, Any], draw: Draw) -> None:
    ours, theirs = pair(BatchNorm2d, 5, **options)
    ours(draw(4, 5, 3, 3))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    for name, expected in ours.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], expected)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert [n for n, _ in ours.named_buffers()] == [n for n, _ in theirs.named_buffers()]


def test_old_state_without_a_count_of_batches_loads(draw: Draw) -> None:
    ours, theirs = nn.Sequential(BatchNorm1d(5)), nn.Sequential(nn.BatchNorm1d(5))
    for model in (ours, theirs):
        model(draw(8, 5))
        old = {name: tensor for name, tensor in model.state_dict().items() if "tracked" not in name}
        model.load_state_dict(old)  # no version: keeps its own count
        assert model[0].num_batches_tracked == 1
    new = ours.state_dict()  # version 2: incomplete
    del new["0.num_batches_tracked"]
    with pytest.raises(RuntimeError, match=r"Missing key.*num_batches_tracked"):
        ours.load_state_dict(new)


def test_reset(draw: Draw) -> None:
    fresh, used = BatchNorm1d(5), BatchNorm1d(5)
    used(draw(8, 5))
    with torch.no_grad():
        for parameter in used.parameters():
            parameter.add_(1)
    used.reset_running_stats()
    assert used.get_parameter("weight").tolist() == [2.0] * 5
    assert all(torch.equal(a, b) for a, b in zip(used.buffers(), fresh.buffers(), strict=True))
    used.reset_parameters()
    assert all(torch.equal(a, b) for a, b in zip(used.parameters(), fresh.parameters(), strict=True))


def test_meta_device_and_dtype_arguments(draw: Draw) -> None:
    layer = BatchNorm2d(5, device="meta", dtype=torch.float64)
    assert {tensor.device.type for tensor in layer.state_dict().values()} == {"meta"}
    assert layer.get_buffer("running_var").dtype == torch.float64
    output = layer(torch.empty(4, 5, 3, 3, device="meta", dtype=torch.float64))
    assert (output.shape, output.device.type) == ((4, 5, 3, 3), "meta")
    real = layer.to_empty(device="cpu")
    real.reset_parameters()
    assert_same_step(real, nn.BatchNorm2d(5, dtype=torch.float64), draw(4, 5, 3, 3, dtype=torch.float64))
