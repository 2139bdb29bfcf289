"""A norm is torch's own to whatever looks for torch's: averaging, conversion, fusing, filters, subclasses."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn
from torch.ao.quantization import fuse_modules
from torch.func import functional_call, grad, replace_all_batch_norm_modules_, vmap
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn
from torch.utils.checkpoint import checkpoint

from surveylab import normalization
from surveylab.normalization import (
    AdaIN,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GhostBatchNorm2d,
    GroupNorm,
    InstanceNorm2d,
    LayerNorm,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
)

Draw = Callable[..., Tensor]

KINDS = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm", "GroupNorm"]
KINDS += ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]


@pytest.mark.parametrize("name", KINDS)
def test_each_is_torchs(name: str) -> None:
    """So filters by type find it, as those that spare norms weight decay or freeze their statistics."""
    ours, theirs = getattr(normalization, name), getattr(nn, name)
    assert issubclass(ours, theirs)
    here = [kind for kind in ours.__mro__ if kind.__module__.startswith("surveylab")]
    written = {name for kind in here for name in vars(kind) if not name.startswith("__")}
    assert written <= {"forward", "_normalize", "_apply_instance_norm"}  # all else is inherited


def test_ghost_batch_norm_is_batch_norm() -> None:
    assert isinstance(GhostBatchNorm2d(4, 2), nn.BatchNorm2d)
    shown = repr(nn.BatchNorm2d(4)).replace("BatchNorm", "GhostBatchNorm").removesuffix(")")
    assert repr(GhostBatchNorm2d(4, 2)) == f"{shown}, group=2)"


def convolutional(norm: Callable[[int], nn.Module]) -> nn.Sequential:
    """Two convolutions with a norm each, from the same random numbers every time."""
    torch.manual_seed(3)
    layers = nn.Conv2d(3, 4, 3), norm(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), norm(4)
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2))


def test_running_statistics_are_found_by_update_bn(draw: Draw) -> None:
    """As after weight averaging: they are forgotten and taken again over all batches."""
    batches = [draw(4, 3, 8, 8) + step for step in range(3)]
    states = []
    for norm in (BatchNorm2d, nn.BatchNorm2d):
        model = convolutional(norm)
        model(batches[0])
        update_bn(batches, model)
        states.append(model.state_dict())
    for name, expected in states[1].items():
        assert_close(states[0][name], expected)
    assert states[0]["1.running_mean"].abs().max() > 0.1 and states[0]["1.num_batches_tracked"] == 3


@pytest.mark.parametrize("norm", [BatchNorm2d, lambda channels: GhostBatchNorm2d(channels, 2)])
def test_converted_to_batch_norm_over_devices(norm: Callable[[int], nn.Module], draw: Draw) -> None:
    model, input = convolutional(norm), draw(4, 3, 8, 8)
    model(input)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))
    assert [type(layer) for layer in converted].count(nn.SyncBatchNorm) == 2
    for name, expected in model.state_dict().items():
        assert torch.equal(converted.state_dict()[name], expected)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (BatchNorm2d, nn.BatchNorm2d),
        (lambda channels: GhostBatchNorm2d(channels, 1), nn.BatchNorm2d),  # as one example is a batch there
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_are_taken_out(ours: Any, theirs: Any, training: bool, draw: Draw) -> None:
    """For gradients of each example, which else would move what they share."""
    input, results = draw(3, 3, 8, 8), []
    for norm in (ours, theirs):
        model = convolutional(norm).train(training)
        model(input[:1])
        replace_all_batch_norm_modules_(model)
        assert dict(model.named_buffers()) == {}
        parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

        def loss(parameters: dict[str, Tensor], input: Tensor, model: nn.Module = model) -> Tensor:
            return functional_call(model, parameters, input[None]).square().sum()

        results.append(vmap(grad(loss), (None, 0))(parameters, input))
    for name, expected in results[1].items():
        assert_close(results[0][name], expected, offset=100)


def test_fused_with_what_stands_before(draw: Draw) -> None:
    """For inference a norm dissolves into the convolution or linear map before it."""
    cases: list[tuple[list[nn.Module], tuple[int, ...]]] = [
        ([nn.Conv1d(3, 4, 3), BatchNorm1d(4)], (2, 3, 8)),
        ([nn.Conv2d(3, 4, 3), BatchNorm2d(4), nn.ReLU()], (2, 3, 8, 8)),
        ([nn.Conv3d(3, 4, 3), BatchNorm3d(4)], (2, 3, 8, 8, 8)),
        ([nn.Linear(3, 4), BatchNorm1d(4)], (8, 3)),
    ]
    for layers, shape in cases:
        model, input = nn.Sequential(*layers), draw(*shape)
        model(input)
        model.eval()
        fused = fuse_modules(model, [[str(place) for place in range(len(layers))]])
        assert not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in fused.modules())
        assert_close(fused(input), model(input), offset=10)


@pytest.mark.parametrize("kind", [BatchNorm2d, GhostBatchNorm2d, InstanceNorm2d])
def test_an_own_check_of_the_input_is_called(kind: Any) -> None:
    class Strict(kind):
        def _check_input_dim(self, input: Tensor) -> None:
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        Strict(3, 2)(torch.ones(2, 3, 4, 4))


def test_an_uninitialised_layer() -> None:
    """`skip_init` reads the constructor's arguments."""
    layer: Any = nn.utils.skip_init(BatchNorm2d, 3)
    assert layer.weight.shape == (3,) and layer.weight.device.type == "cpu"


def test_an_old_state_without_a_count_on_a_model_on_meta() -> None:
    state = {name: tensor for name, tensor in nn.BatchNorm2d(3).state_dict().items() if "tracked" not in name}
    with torch.device("meta"):
        layer = BatchNorm2d(3)
    layer.load_state_dict(dict(state), assign=True)
    assert layer.to("cpu").num_batches_tracked == 0


# --- construction

WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: BatchNorm2d(0), "num_features should be a whole number, 1 or more, but is 0"),
    (lambda: BatchNorm1d(-3, affine=False), "num_features should be a whole number, 1 or more, but is -3"),
    (lambda: InstanceNorm2d(2.5), "num_features should be a whole number, 1 or more, but is 2.5"),  # type: ignore[arg-type]
    (lambda: BatchNorm3d(3, -1e-5), "eps should be zero or more, but is -1e-05"),
    (lambda: LayerNorm(3, eps=float("nan")), "eps should be zero or more, but is nan"),
    (lambda: BatchNorm2d(3, momentum=2), "momentum should be from 0 to 1, or None, but is 2"),
    (lambda: InstanceNorm2d(3, 1e-5, -0.1), "momentum should be from 0 to 1, or None, but is -0.1"),
    (lambda: GroupNorm(0, 6), "num_groups should be a whole number, 1 or more, but is 0"),
    (lambda: GroupNorm(-3, 6), "num_groups should be a whole number, 1 or more, but is -3"),
    (lambda: GroupNorm(1, 0), "num_channels should be a whole number, 1 or more, but is 0"),
    (lambda: GroupNorm(num_groups=1, num_channels=6, eps=-1), "eps should be zero or more, but is -1"),
    (lambda: LayerNorm(()), "normalized_shape should be a length or a sequence of them"),
    (lambda: LayerNorm((4, -1)), "normalized_shape should be .* but is \\(4, -1\\)"),
    (lambda: GhostBatchNorm2d(3, 0), "group should be a whole number, 1 or more, but is 0"),
    (lambda: GhostBatchNorm2d(3, 2, momentum=1.5), "momentum should be from 0 to 1, or None, but is 1.5"),
    (lambda: AdaIN(3, 0), "code_features should be a whole number, 1 or more, but is 0"),
    (lambda: AdaIN(3, 2, eps=-1.0), "eps should be zero or more, but is -1.0"),
]


@pytest.mark.parametrize(("build", "message"), WRONG, ids=[message for _, message in WRONG])
def test_an_argument_out_of_range(build: Callable[[], object], message: str) -> None:
    """A deliberate deviation: torch takes most of these, and fails or is silent later."""
    with pytest.raises(ValueError, match=message):
        build()


def test_arguments_at_the_edge_of_the_range() -> None:
    BatchNorm2d(1, eps=0.0, momentum=0.0), BatchNorm2d(1, momentum=1), BatchNorm2d(1, momentum=None)
    LayerNorm(0), LayerNorm((0, 3)), LayerNorm(torch.Size([3]))


# --- numbers


def learned(kind: type[nn.Module], *arguments: Any, **options: Any) -> nn.Module:
    layer = kind(*arguments, **options)
    with torch.no_grad():
        layer.get_parameter("weight").fill_(1.3)
        layer.get_parameter("bias").fill_(0.7)
    return layer


@pytest.mark.parametrize("length", [3, 7, 147, 1000, 4099])
@pytest.mark.parametrize("value", [12345.678, 0.1, 1 / 3, 77777.7, 1e8 + 8, -1e-8, 1e30])
def test_equal_values_give_exactly_the_shift(value: float, length: int) -> None:
    """However many there are and whatever the last digit of their mean."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        if dtype == torch.bfloat16 and value == 1e30:
            continue
        input = torch.full((2, 2, length), value, dtype=dtype)
        for layer in (
            learned(LayerNorm, length),
            learned(GroupNorm, 1, 2),
            learned(InstanceNorm2d, 2, affine=True),
            learned(BatchNorm1d, 2),
        ):
            shape = (2, 2, length, 1) if isinstance(layer, InstanceNorm2d) else (2, 2, length)
            output = layer.to(dtype)(input.view(shape))
            assert (output == layer.get_parameter("bias").flatten()[0]).all()
            if isinstance(layer, BatchNorm1d) and abs(value) < 1e8:
                assert_close(layer.get_buffer("running_var"), torch.full((2,), 0.9, dtype=torch.float64))


def test_many_equal_values_have_no_negative_variance() -> None:
    """What rounding leaves of it would outweigh eps: of 5 million values, whose mean is first off by 24."""
    input = torch.full((1, 1, 5_000_011), 123456780.0)
    assert not instance_norm(input).any()


@pytest.mark.parametrize("mean", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("name", ["batch", "layer", "instance", "group"])
def test_gradient_of_the_scale_at_a_large_mean(name: str, mean: float, draw: Draw) -> None:
    """In float32 it is no worse than torch's, even where the output's gradient is far from centred."""
    pairs: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, ...]]] = {
        "batch": (lambda: BatchNorm2d(3), lambda: nn.BatchNorm2d(3), (32, 3, 8, 8)),
        "layer": (lambda: LayerNorm(64), lambda: nn.LayerNorm(64), (64, 64)),
        "instance": (
            lambda: InstanceNorm2d(3, affine=True),
            lambda: nn.InstanceNorm2d(3, affine=True),
            (16, 3, 8, 8),
        ),
        "group": (lambda: GroupNorm(2, 4), lambda: nn.GroupNorm(2, 4), (16, 4, 8, 8)),
    }
    ours, theirs, shape = pairs[name]
    input, pull = draw(*shape) + mean, draw(*shape) + 0.5
    grads = []
    for layer in (ours(), theirs(), theirs().double()):
        dtype = layer.get_parameter("weight").dtype
        output = layer(input.to(dtype))
        grads.append(torch.autograd.grad(output, layer.get_parameter("weight"), pull.to(dtype))[0])
    error, torchs = ((found - grads[2]).abs().max() for found in grads[:2])
    assert error <= torchs
    if name != "layer":  # whose sums run over examples, each with a mean of its own
        assert error < 1e-6 * float(pull.abs().sum())


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("alone", [True, False])
def test_checkpointing_counts_a_batch_once(
    alone: bool, momentum: float | None, reentrant: bool, draw: Draw
) -> None:
    """The running statistics of a plain run, whether the repeated pass ends at the norm or goes on.

    A deliberate deviation: torch counts twice, and with a fixed momentum moves twice.
    """
    states: dict[str, dict[str, Tensor]] = {}
    batches = [draw(4, 3, 5, 5) + 10 * step for step in range(4)]
    for name, norm, again in (
        ("ours", BatchNorm2d, True),
        ("torch, again", nn.BatchNorm2d, True),
        ("torch", nn.BatchNorm2d, False),
    ):
        layer = norm(3, momentum=momentum)
        model = layer if alone else nn.Sequential(layer, nn.ReLU(inplace=True), nn.Tanh())
        for batch in batches:
            input = batch.clone().requires_grad_()
            output: Any = checkpoint(model, input, use_reentrant=reentrant) if again else model(input)
            output.sum().backward()
        states[name] = layer.state_dict()
    for name, expected in states["torch"].items():
        assert_close(states["ours"][name], expected)
    assert states["torch, again"]["num_batches_tracked"] == 8
    if momentum is not None:
        assert not torch.allclose(states["torch, again"]["running_mean"], states["torch"]["running_mean"])


EMPTY = [(0, 3), (3, 0), (0, 0), (1, 0), (2, 0, 4), (0, 3, 4), (2, 3, 0), (1, 3, 0), (2, 0, 0), (0, 3, 0)]
EMPTY += [(0, 3, 1), (2, 0, 1), (1, 0, 1), (2, 3, 0, 4)]


@pytest.mark.parametrize("shape", EMPTY, ids=str)
def test_inputs_of_size_zero_are_as_torchs(shape: tuple[int, ...]) -> None:
    """The same shape comes out, or an error of the same type."""

    def outcome(call: Callable[[Any, Tensor], Tensor], function: Any) -> object:
        try:
            return call(function, torch.zeros(shape)).shape
        except Exception as error:
            return type(error)

    statistics = torch.zeros(shape[1]), torch.ones(shape[1])
    pairs: list[tuple[Any, Any, Callable[[Any, Tensor], Tensor]]] = [
        (batch_norm, F.batch_norm, lambda f, x: f(x, None, None, training=True)),
        (batch_norm, F.batch_norm, lambda f, x: f(x, *statistics)),
        (instance_norm, F.instance_norm, lambda f, x: f(x)),
        (group_norm, F.group_norm, lambda f, x: f(x, 1)),
        (group_norm, F.group_norm, lambda f, x: f(x, 3)),
        (layer_norm, F.layer_norm, lambda f, x: f(x, x.shape[-1:])),
    ]
    for ours, theirs, call in pairs:
        assert outcome(call, ours) == outcome(call, theirs)


def test_no_axes_but_a_size_of_zero() -> None:
    """A deliberate deviation: torch lets it pass, though there are no channels."""
    assert F.batch_norm(torch.zeros(0), None, None, training=True).shape == (0,)
    with pytest.raises(ValueError, match=r"shape \(batch, channels, ...\), but has \(0,\)"):
        batch_norm(torch.zeros(0), None, None, training=True)


@pytest.mark.slow
def test_a_trace_brings_no_warnings() -> None:
    """In a process of its own, as pytest sets the filters of warnings anew."""
    script = (
        "import torch; from surveylab.normalization import *\n"
        "norms = BatchNorm2d(4), LayerNorm(3), GroupNorm(2, 4), InstanceNorm2d(4), GhostBatchNorm2d(4, 2)\n"
        "for layer in norms:\n"
        "    torch.jit.trace(layer, torch.randn(4, 4, 3, 3), check_trace=False)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "TracerWarning" not in run.stderr
