"""What a layer of torch can do, a method of the survey can do too: one set of checks for all of them.

A new method gets them in a few lines of its test file:

    class TestLayerNorm(MethodTests):
        cases = (Case("tokens", lambda: LayerNorm(6), [(4, 5, 6)], dynamic=[(0, 1)]),)

Every check runs on every case. Values are drawn anew for each, the same in every run, in double precision
unless it is about dtypes. What a method computes is tested beside it, against torch or another reference.
"""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, jacfwd, jacrev, jvp, vjp, vmap
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Shape = tuple[int, ...]

REPLICAS = 3
GROWTH = 2  # by which an axis of any length is longer where that is tried


@dataclass(frozen=True)
class Case:
    """A layer in one of its uses.

    Args:
        name: What the use is called.
        build: Makes it, in the mode that is meant (`.eval()` if need be).
        shapes: Those of its inputs; small, as Jacobians and finite differences are taken.
        dynamic: For each input, the axes that may have any length. One that is in several inputs is as long
            in each.
    """

    name: str
    build: Callable[[], nn.Module]
    shapes: Sequence[Shape]
    dynamic: Sequence[Shape] = field(kw_only=True)

    def layer(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Module:
        """The layer with parameters and buffers at random, buffers staying positive if they were."""
        generator = torch.Generator().manual_seed(seed)
        layer = self.build().to(dtype)
        with torch.no_grad():
            for tensor in layer.state_dict().values():
                if tensor.is_floating_point():
                    tensor.add_(torch.rand(tensor.shape, generator=generator))
        return layer

    def inputs(self, *, grown: bool = False, seed: int = 1) -> list[Tensor]:
        """Its inputs at random; grown along each axis that may have any length."""
        generator = torch.Generator().manual_seed(seed)
        return [
            torch.randn(
                [n + GROWTH if grown and axis in any_length else n for axis, n in enumerate(shape)],
                generator=generator,
                dtype=torch.float64,
            )
            for shape, any_length in zip(self.shapes, self.dynamic, strict=True)
        ]


Tensors = dict[str, Tensor]
Layer = Callable[..., Tensor]


def step(layer: nn.Module, inputs: Sequence[Tensor], apply: Layer | None = None) -> Tensors:
    """What a forward and a backward pass leave behind: the output, all gradients, the buffers.

    Args:
        layer: Whose gradients and buffers count.
        inputs: What it is given.
        apply: What is called on the inputs if not the layer itself, such as a compiled one.
    """
    leaves = [input.detach().requires_grad_() for input in inputs]
    output = (apply or layer)(*leaves)
    generator = torch.Generator().manual_seed(2)
    pull = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
    sources = {f"input {i}": leaf for i, leaf in enumerate(leaves)} | dict(layer.named_parameters())
    grads = torch.autograd.grad(output, list(sources.values()), pull)
    left = {f"gradient of {name}": grad for name, grad in zip(sources, grads, strict=True)}
    return {"output": output.detach()} | left | {name: b.clone() for name, b in layer.named_buffers()}


def assert_same(actual: Tensors, expected: Tensors, offset: float = 10.0) -> None:
    """The same was left behind, element by element and in dtype."""
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        assert actual[name].dtype == wanted.dtype, name
        assert_close(actual[name], wanted, offset=offset)


class Function:
    """A layer as a function of its inputs and parameters, which leaves its own buffers as they are."""

    def __init__(self, layer: nn.Module, inputs: Sequence[Tensor]) -> None:
        self.layer, self.count = layer, len(inputs)
        self.names = [name for name, _ in layer.named_parameters()]
        self.values = (*inputs, *(parameter.detach() for parameter in layer.parameters()))

    def __call__(self, *values: Tensor) -> Tensor:
        return self.with_buffers(
            {name: buffer.clone() for name, buffer in self.layer.named_buffers()}, *values
        )

    def with_buffers(self, buffers: Tensors, *values: Tensor) -> Tensor:
        """Those given, which may be changed in place."""
        parameters = dict(zip(self.names, values[self.count :], strict=True))
        return functional_call(self.layer, parameters | buffers, values[: self.count])

    def scalar(self, *values: Tensor) -> Tensor:
        """A number that is curved in every argument."""
        return self(*values).pow(3).sum()


@contextmanager
def no_warnings() -> Iterator[None]:
    """A warning is an error: vmap warns where it loops for want of a rule."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def stacked_buffers(replicas: Sequence[Function]) -> Tensors:
    """Those of all replicas, along a new first axis."""
    each = [dict(replica.layer.named_buffers()) for replica in replicas]
    return {name: torch.stack([buffers[name] for buffers in each]) for name in each[0]}


class MethodTests:
    """A test class of a method derives from this and names its cases."""

    cases: ClassVar[tuple[Case, ...]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Every check runs on every case."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases, ids=[case.name for case in self.cases])

    # --- derivatives

    def test_gradients_by_finite_differences(self, case: Case) -> None:
        """Backward and forward mode, and the gradients' own gradients."""
        function = Function(case.layer(), case.inputs())
        leaves = tuple(value.clone().requires_grad_() for value in function.values)
        assert gradcheck(function, leaves, check_forward_ad=True, check_batched_grad=True)
        assert gradgradcheck(function, leaves)

    def test_function_transforms(self, case: Case) -> None:
        """`torch.func`: products, Jacobians and second derivatives by every mix of the two modes."""
        function = Function(case.layer(), case.inputs())
        values, every = function.values, tuple(range(len(function.values)))
        jacobian = torch.autograd.functional.jacobian(function, values)
        along = tuple(torch.randn_like(value) for value in values)
        output, moved = jvp(function, values, along)[:2]
        expected = sum(torch.tensordot(j, a, a.dim()) for j, a in zip(jacobian, along, strict=True))
        assert_close(moved, torch.as_tensor(expected), offset=1e3)
        weights = torch.randn_like(output)
        pull: Any = vjp(function, *values)[1]
        for actual, j in zip(pull(weights), jacobian, strict=True):
            assert_close(actual, torch.tensordot(weights, j, weights.dim()), offset=1e3)
        for transform in (jacrev, jacfwd):
            for actual, j in zip(transform(function, every)(*values), jacobian, strict=True):
                assert_close(actual, j, offset=1e3)
        rows: list[list[Tensor]] = [
            list(row) for row in torch.autograd.functional.hessian(function.scalar, values)
        ]
        for outer in (jacrev, jacfwd):
            for inner in (jacrev, jacfwd):
                found = outer(inner(function.scalar, every), every)(*values)
                for row, expected_row in zip(found, rows, strict=True):
                    for actual, wanted in zip(row, expected_row, strict=True):
                        assert_close(actual, wanted, offset=1e4)

    def test_vmap_over_every_argument(self, case: Case) -> None:
        """Over each input and parameter alone and all of them, along the first axis and the last.

        Buffers are stacked throughout: what one replica learns in passing is not another's.
        """
        replicas = [Function(case.layer(seed=r), case.inputs(seed=r)) for r in range(REPLICAS)]
        places = range(len(replicas[0].values))
        buffers = stacked_buffers(replicas)
        for replicated in [{place} for place in places] + [set(places)]:
            for axis in (0, -1):
                leaves = [
                    torch.stack([replica.values[i] for replica in replicas], axis)
                    if i in replicated
                    else replicas[0].values[i].clone()
                    for i in places
                ]
                leaves = [leaf.requires_grad_() for leaf in leaves]
                together = {name: buffer.clone() for name, buffer in buffers.items()}
                axes = tuple(axis if i in replicated else None for i in places)
                with no_warnings():
                    output = vmap(replicas[0].with_buffers, (0, *axes))(together, *leaves)
                    grads = torch.autograd.grad(output.pow(3).sum(), leaves)

                sums = [torch.zeros_like(leaf) for leaf in leaves]
                for r in range(REPLICAS):
                    alone = [
                        (leaf.detach().select(axis, r) if i in replicated else leaf.detach()).requires_grad_()
                        for i, leaf in enumerate(leaves)
                    ]
                    own = {name: buffer[r].clone() for name, buffer in buffers.items()}
                    expected = replicas[0].with_buffers(own, *alone)
                    assert_close(output[r], expected, offset=10)
                    for name, buffer in own.items():
                        assert_close(together[name][r], buffer)
                    for i, grad in enumerate(torch.autograd.grad(expected.pow(3).sum(), alone)):
                        (sums[i].select(axis, r) if i in replicated else sums[i]).add_(grad)
                for actual, wanted in zip(grads, sums, strict=True):
                    assert_close(actual, wanted, offset=1e4)

    def test_gradients_of_each_example(self, case: Case) -> None:
        """vmap over a gradient: how the loss on each of several inputs depends on every argument."""
        replicas = [Function(case.layer(seed=r), case.inputs(seed=r)) for r in range(REPLICAS)]
        shared, buffers = replicas[0].values[len(case.shapes) :], stacked_buffers(replicas)
        each_place = zip(*(case.inputs(seed=r) for r in range(REPLICAS)), strict=True)
        stacked = [torch.stack(values) for values in each_place]

        def loss(values: tuple[Tensor, ...], buffers: Tensors) -> Tensor:
            return replicas[0].with_buffers(buffers, *values).pow(3).sum()

        each = vmap(torch.func.grad(loss), ((*[0] * len(stacked), *[None] * len(shared)), 0))
        with no_warnings():
            grads = each((*stacked, *shared), {name: buffer.clone() for name, buffer in buffers.items()})
        for r in range(REPLICAS):
            own = {name: buffer[r].clone() for name, buffer in buffers.items()}
            alone = torch.func.grad(loss)((*(values[r] for values in stacked), *shared), own)
            for actual, wanted in zip(grads, alone, strict=True):
                assert_close(actual[r], wanted, offset=1e4)

    # --- in a model

    @pytest.mark.parametrize(
        ("change", "plain"),
        [
            (lambda y, x: F.relu(y, inplace=True), lambda y, x: F.relu(y)),
            (lambda y, x: y.add_(x), lambda y, x: y + x),
            (lambda y, x: y.mul_(2).tanh_(), lambda y, x: (y * 2).tanh()),
        ],
        ids=["relu", "residual", "twice"],
    )
    def test_output_may_be_changed_in_place(self, case: Case, change: Layer, plain: Layer) -> None:
        """As `nn.ReLU(inplace=True)` does, and `y += x`."""
        layer, inputs = case.layer(), case.inputs()
        twin, beside = copy.deepcopy(layer), torch.randn_like(layer(*inputs))
        layer.load_state_dict(twin.state_dict())  # as the call above may have moved it
        actual = step(layer, inputs, lambda *given: change(layer(*given), beside))
        assert_same(actual, step(twin, inputs, lambda *given: plain(twin(*given), beside)))
        with torch.no_grad():
            change(layer(*inputs), beside)

    @pytest.mark.parametrize("reentrant", [False, True])
    def test_checkpointing(self, case: Case, reentrant: bool) -> None:
        """A pass that is repeated for the sake of memory gives the same and learns nothing twice."""
        layer = case.layer()
        twin = copy.deepcopy(layer)
        for seed in (1, 2):
            inputs = case.inputs(seed=seed)
            expected = step(twin, inputs, lambda *given: twin(*given).sin())
            leaves = [input.requires_grad_() for input in inputs]
            output: Any = checkpoint(lambda *given: layer(*given).sin(), *leaves, use_reentrant=reentrant)
            layer.zero_grad()
            generator = torch.Generator().manual_seed(2)
            output.backward(torch.randn(output.shape, generator=generator, dtype=torch.float64))
            found = {"output": output.detach()}
            found |= {f"gradient of input {i}": leaf.grad for i, leaf in enumerate(leaves)}
            found |= {f"gradient of {name}": p.grad for name, p in layer.named_parameters()}
            assert_same(found | dict(layer.named_buffers()), expected)

    def test_copies_and_pickles(self, case: Case) -> None:
        """Equal, and independent of the first."""
        layer, inputs = case.layer(), case.inputs()
        step(layer, inputs)
        twins = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
        before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
        for twin in twins:
            assert repr(twin) == repr(layer) and twin.training == layer.training
            assert twin.state_dict().keys() == before.keys()
            for name, tensor in twin.state_dict().items():
                assert torch.equal(tensor, before[name])
            with torch.no_grad():
                for tensor in twin.state_dict().values():
                    tensor.add_(1)
            for name, tensor in layer.state_dict().items():
                assert torch.equal(tensor, before[name])
            twin.load_state_dict(before)
            assert_same(step(twin, inputs), step(copy.deepcopy(layer), inputs))

    def test_built_on_meta_and_given_its_state(self, case: Case) -> None:
        layer, inputs = case.layer(), case.inputs()
        with torch.device("meta"):
            hollow = case.build()
        assert {tensor.device.type for tensor in hollow.state_dict().values()} <= {"meta"}
        hollow.load_state_dict(copy.deepcopy(layer.state_dict()), assign=True)
        assert_same(step(hollow, inputs), step(layer, inputs))

    def test_evaluation_changes_nothing(self, case: Case) -> None:
        layer = case.layer().eval()
        before = copy.deepcopy(layer.state_dict())
        with torch.no_grad():
            output = layer(*case.inputs())
        assert not output.requires_grad
        for name, tensor in layer.state_dict().items():
            assert torch.equal(tensor, before[name])

    # --- what inputs may be

    def test_layouts(self, case: Case) -> None:
        """Values do not depend on how an input lies in memory."""
        layer, inputs = case.layer(), case.inputs()
        expected = step(copy.deepcopy(layer), inputs)
        layouts: list[Callable[[Tensor], Tensor]] = [
            lambda x: x.movedim(-1, 0).contiguous().movedim(0, -1),
            lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),  # channels last
            lambda x: torch.stack([x, x], -1)[..., 0],
            lambda x: x.flip(0).flip(0),
        ]
        for lay in layouts:
            assert_same(step(copy.deepcopy(layer), [lay(input) for input in inputs]), expected, offset=100)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_dtypes(self, case: Case, dtype: torch.dtype) -> None:
        """The output has the input's; its values are those of double precision."""
        layer = case.layer(dtype)
        inputs = [input.to(dtype) for input in case.inputs()]
        exact = step(copy.deepcopy(layer).double(), [input.double() for input in inputs])
        low = step(layer, inputs)
        assert low["output"].dtype == dtype
        assert_close(low["output"], exact["output"], offset=20)
        for name, found in low.items():
            if name.startswith("gradient"):
                assert found.dtype == dtype and found.isfinite().all(), name

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_autocast(self, case: Case, dtype: torch.dtype) -> None:
        """Under it, with float32 parameters, all that is left is what float32 gives to two digits."""
        layer = case.layer(torch.float32)
        inputs = [input.to(dtype) for input in case.inputs()]
        expected = step(copy.deepcopy(layer), [input.float() for input in inputs])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = step(layer, inputs)
        for name, wanted in expected.items():
            scale = 1 + float(wanted.abs().max())
            assert_close(found[name].to(torch.bfloat16), wanted, offset=10 * scale)
        for name, parameter in layer.named_parameters():
            assert found[f"gradient of {name}"].dtype == parameter.dtype

    def test_no_examples(self, case: Case) -> None:
        """A batch of none, where the first axis may have any length: nothing comes out, nothing is learnt."""
        if any(0 not in axes for axes in case.dynamic):
            pytest.skip("its first axis has a length of its own")
        layer = case.layer()
        left = step(layer, [input[:0] for input in case.inputs()], lambda *given: layer(*given).relu_())
        assert left["output"].shape[0] == 0
        for name, _ in layer.named_parameters():
            assert not left[f"gradient of {name}"].any()

    # --- compiled, exported, traced: at other lengths than they were made with

    @pytest.mark.slow
    def test_compiled(self, case: Case) -> None:
        """Without a graph break, backward pass and buffers included, and changed in place after it."""
        torch.compiler.reset()
        layer = case.layer()
        twin = copy.deepcopy(layer)

        def apply(*inputs: Tensor) -> Tensor:
            return F.relu(layer(*inputs), inplace=True)

        compiled: Any = torch.compile(apply, fullgraph=True)
        for seed in (1, 2):
            inputs = case.inputs(seed=seed)
            expected = step(twin, inputs, lambda *given: F.relu(twin(*given)))
            assert_same(step(layer, inputs, compiled), expected, offset=1e3)

    def test_exported(self, case: Case) -> None:
        dynamic = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in case.dynamic)
        layer = case.layer()
        exported = torch.export.export(copy.deepcopy(layer), tuple(case.inputs()), dynamic_shapes=dynamic)
        module = exported.module()
        for grown in (True, False):
            inputs = case.inputs(grown=grown)
            assert_close(module(*inputs), layer(*inputs), offset=10)
        for name, buffer in layer.named_buffers():
            assert_close(module.get_buffer(name), buffer, offset=10)

    @pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
    @pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
    def test_traced(self, case: Case) -> None:
        """And saved and loaded."""
        layer = case.layer()
        traced = torch.jit.trace(copy.deepcopy(layer), tuple(case.inputs()), check_trace=False)
        file = io.BytesIO()
        torch.jit.save(traced, file)
        file.seek(0)
        loaded = torch.jit.load(file)
        loaded.load_state_dict(layer.state_dict())  # as tracing has moved it
        for _ in range(3):  # after some calls it is optimised
            inputs = case.inputs(grown=True)
            assert_same(step(loaded, inputs), step(layer, inputs), offset=1e3)
