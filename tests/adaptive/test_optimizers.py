"""The optimisers equal torch's and the reference package's, step by step, and serve a population."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import adabelief_pytorch
import pytest
import torch
from labml_nn.optimizers import WeightDecay
from labml_nn.optimizers.ada_belief import AdaBelief as LabmlAdaBelief
from tolerances import assert_close
from torch import Tensor, nn
from toy_data import toy

from surveylab import lab
from surveylab.adaptive import (
    AdaBelief,
    Adagrad,
    Adam,
    AdamW,
    RMSprop,
    adabelief_step,
    adagrad_step,
    adam_step,
    elementwise,
    rmsprop_step,
)

Make = Callable[..., torch.optim.Optimizer]
SHAPES = [(4, 3), (5,), (), (2, 0), (1, 2, 3)]


def package(params: Any, lr: float = 1e-3, **options: Any) -> torch.optim.Optimizer:
    """The reference package's AdaBelief, which rectifies by default and prints much."""
    options = {"rectify": False} | options
    return adabelief_pytorch.AdaBelief(params, lr=lr, print_change_log=False, **options)


# Ours, the one it should equal, and options of both.
PAIRS: dict[str, tuple[Make, Make, dict[str, Any]]] = {
    "Adagrad": (Adagrad, torch.optim.Adagrad, {}),
    "Adagrad, all": (
        Adagrad,
        torch.optim.Adagrad,
        {"lr": 0.1, "lr_decay": 0.02, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
    ),
    "RMSprop": (RMSprop, torch.optim.RMSprop, {}),
    "RMSprop, momentum": (RMSprop, torch.optim.RMSprop, {"momentum": 0.9, "alpha": 0.8, "eps": 1e-2}),
    "RMSprop, all": (
        RMSprop,
        torch.optim.RMSprop,
        {"momentum": 0.5, "centered": True, "weight_decay": 0.1, "eps": 1e-3},
    ),
    "Adam": (Adam, torch.optim.Adam, {}),
    "Adam, decay": (Adam, torch.optim.Adam, {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-2}),
    "Adam, decoupled": (Adam, torch.optim.Adam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    "AMSGrad": (Adam, torch.optim.Adam, {"amsgrad": True, "weight_decay": 0.1, "betas": (0.9, 0.9)}),
    "AdamW": (AdamW, torch.optim.AdamW, {}),
    "AdamW, all": (AdamW, torch.optim.AdamW, {"weight_decay": 0.5, "amsgrad": True, "lr": 0.01}),
    "AdaBelief": (AdaBelief, package, {}),
    "AdaBelief, eps": (AdaBelief, package, {"eps": 1e-2, "betas": (0.8, 0.95)}),
    "AdaBelief, decay": (AdaBelief, package, {"weight_decay": 0.1, "eps": 1e-8}),
    "AdaBelief, L2": (AdaBelief, package, {"weight_decay": 0.1, "weight_decouple": False}),
    "AdaBelief, AMSGrad": (AdaBelief, package, {"amsgrad": True, "betas": (0.9, 0.9), "eps": 1e-8}),
    "AdaBelief, rectified": (AdaBelief, package, {"rectify": True, "eps": 1e-4}),
    "AdaBelief, never adaptive": (AdaBelief, package, {"rectify": True, "betas": (0.9, 0.5)}),
}
WITH_TORCH = [name for name, (_, theirs, _) in PAIRS.items() if theirs is not package]
FIVE: dict[str, tuple[Make, Make]] = {
    "Adagrad": (Adagrad, torch.optim.Adagrad),
    "RMSprop": (RMSprop, torch.optim.RMSprop),
    "Adam": (Adam, torch.optim.Adam),
    "AdamW": (AdamW, torch.optim.AdamW),
    "AdaBelief": (AdaBelief, package),
}


def start(dtype: torch.dtype = torch.float64, shapes: Any = SHAPES, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def walk(
    steps: int,
    *sides: tuple[torch.optim.Optimizer, list[Tensor]],
    seed: int = 2,
    gaps: bool = False,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Let optimisers take steps with the same random gradients, of sizes that differ by element."""
    generator = torch.Generator().manual_seed(seed)
    scales = [torch.rand(p.shape, generator=generator) * 3 for p in sides[0][1]]
    for step in range(steps):
        for i, parameters in enumerate(zip(*(parameters for _, parameters in sides), strict=True)):
            dtype = parameters[0].dtype
            grad = torch.randn(scales[i].shape, generator=generator, dtype=dtype) * scales[i] + 0.1
            for parameter in parameters:
                missing = gaps and (step + i) % 3 == 0
                parameter.grad = None if missing else grad.to(dtype).clone()
        for optimizer, _ in sides:
            optimizer.step()
        check()


def flat(values: list[Tensor]) -> Tensor:
    return torch.cat([torch.view_as_real(v).flatten() if v.is_complex() else v.flatten() for v in values])


def assert_equal(actual: list[Tensor], expected: list[Tensor], tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(flat(actual), flat(expected), rtol=tolerance, atol=tolerance)


def by_hand(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def states(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [optimizer.state[p] for group in optimizer.param_groups for p in group["params"]]


def assert_equal_states(ours: torch.optim.Optimizer, theirs: torch.optim.Optimizer) -> None:
    for mine, other in zip(states(ours), states(theirs), strict=True):
        assert mine.keys() == other.keys()
        for key, expected in other.items():
            if key == "step":
                assert float(mine[key]) == float(expected)
            else:
                assert mine[key].dtype == expected.dtype and mine[key].shape == expected.shape
                torch.testing.assert_close(mine[key], expected, rtol=1e-12, atol=1e-12)


# --------------------------------------------------------------------------------------------- parity


@pytest.mark.parametrize("how", ["lists", "portions", "one by one"])
@pytest.mark.parametrize("name", PAIRS)
def test_equals_the_reference_at_every_step(name: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, reference, options = PAIRS[name]
    foreach = False if how == "one by one" else None
    if how == "portions":
        monkeypatch.setattr(elementwise, "PORTION", 7)
    mine, other = start(), start()
    ours, theirs = make(mine, foreach=foreach, **options), reference(other, **options)
    walk(300, (ours, mine), (theirs, other), check=lambda: assert_equal(mine, other, 1e-10))
    assert_equal_states(ours, theirs)
    assert (flat(mine) - flat(start())).abs().min() > 1e-4


@pytest.mark.parametrize(("dtype", "steps"), [(torch.float32, 300), (torch.bfloat16, 5)])
@pytest.mark.parametrize("name", PAIRS)
def test_equals_the_reference_in_lower_precision(name: str, dtype: torch.dtype, steps: int) -> None:
    make, reference, options = PAIRS[name]
    mine, other = start(dtype), start(dtype)
    ours, theirs = make(mine, **options), reference(other, **options)
    walk(steps, (ours, mine), (theirs, other), check=lambda: assert_close(flat(mine), flat(other)))


@pytest.mark.parametrize("foreach", [None, False], ids=["lists", "one by one"])
@pytest.mark.parametrize("name", WITH_TORCH)
def test_complex_parameters_and_maximize_are_as_torchs(name: str, foreach: bool | None) -> None:
    make, reference, options = PAIRS[name]
    shapes = [(3, 2), (4,)]
    mine, other = start(torch.complex128, shapes), start(torch.complex128, shapes)
    mine, other = mine + start(), other + start()  # of several dtypes in one group
    ours = make(mine, maximize=True, foreach=foreach, **options)
    theirs = reference(other, maximize=True, **options)
    walk(50, (ours, mine), (theirs, other))
    assert_equal(mine, other)
    assert_equal_states(ours, theirs)


def test_adabelief_takes_complex_values_as_pairs_and_goes_up_if_asked() -> None:
    (value,) = start(torch.complex128, [(3, 2)])
    (real,) = (torch.view_as_real(value.detach()).clone().requires_grad_(),)
    up, down = AdaBelief([value], maximize=True), AdaBelief([real])
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        value.grad = torch.randn(3, 2, generator=generator, dtype=torch.complex128)
        real.grad = -torch.view_as_real(value.grad)
        up.step()
        down.step()
    assert_equal([torch.view_as_real(value.detach())], [real])


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # torch's own step
@pytest.mark.parametrize("foreach", [None, False], ids=["lists", "one by one"])
def test_sparse_gradients_as_torchs_adagrad(foreach: bool | None) -> None:
    generator = torch.Generator().manual_seed(0)
    mine, other = start(shapes=[(6, 3), (5, 4, 2), (4,)]), start(shapes=[(6, 3), (5, 4, 2), (4,)])
    ours = Adagrad(mine, lr=0.1, lr_decay=0.1, foreach=foreach, maximize=True)
    theirs = torch.optim.Adagrad(other, lr=0.1, lr_decay=0.1, maximize=True)
    for _ in range(40):
        for a, b in zip(mine[:2], other[:2], strict=True):
            axes = a.ndim - 1  # of rows in one, of single columns of them in the other; some named twice
            index = torch.stack([torch.randint(0, n, (4,), generator=generator) for n in a.shape[:axes]])
            values = torch.randn(4, a.shape[-1], generator=generator, dtype=a.dtype)
            a.grad = torch.sparse_coo_tensor(index, values, a.shape, check_invariants=True)
            b.grad = a.grad.clone()
        mine[2].grad = torch.randn(4, generator=generator, dtype=torch.float64)
        other[2].grad = mine[2].grad.clone()
        ours.step()
        theirs.step()
    assert_equal(mine, other)
    assert_equal_states(ours, theirs)


def test_an_embeddings_untouched_rows_stay() -> None:
    embedding = nn.Embedding(10, 3, sparse=True)
    before = embedding.weight.detach().clone()
    optimizer = Adagrad(embedding.parameters(), lr=0.1)
    embedding(torch.tensor([1, 4, 4])).sum().backward()
    optimizer.step()
    assert (before != embedding.weight).any(1).nonzero().flatten().tolist() == [1, 4]
    moved = before - embedding.weight.detach()
    torch.testing.assert_close(moved[[1, 4]], torch.full((2, 3), 0.1), rtol=1e-5, atol=1e-6)  # summed first


def test_sparse_complex_gradients_step_as_dense_ones() -> None:
    """NOTE: torch squares sparse complex values as such, unlike its dense ones."""
    sparse, dense = start(torch.complex128, [(5, 3)]), start(torch.complex128, [(5, 3)])
    ours, theirs = Adagrad(sparse), torch.optim.Adagrad(dense)
    for _ in range(5):
        values = torch.randn(2, 3, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
        sparse[0].grad = torch.sparse_coo_tensor(torch.tensor([[3, 1]]), values, (5, 3))
        dense[0].grad = sparse[0].grad.to_dense()
        ours.step()
        theirs.step()
    assert_equal(sparse, dense)


@pytest.mark.parametrize("make", [RMSprop, Adam, AdamW, AdaBelief])
def test_others_refuse_sparse_gradients(make: Make) -> None:
    (value,) = start(shapes=[(5, 3)])
    value.grad = torch.sparse_coo_tensor(torch.tensor([[1]]), torch.ones(1, 3, dtype=value.dtype), (5, 3))
    with pytest.raises(RuntimeError, match=rf"{make.__name__} takes dense gradients, .* \(5, 3\) is sparse"):
        make([value]).step()


def test_weight_decay_and_sparse_gradients_exclude_each_other() -> None:
    (value,) = start(shapes=[(5, 3)])
    value.grad = torch.sparse_coo_tensor(torch.tensor([[1]]), torch.ones(1, 3, dtype=value.dtype), (5, 3))
    with pytest.raises(RuntimeError, match=r"weight_decay should be 0 .* sparse gradients, .* but is 0\.1"):
        Adagrad([value], weight_decay=0.1).step()


def test_adabelief_keeps_eps_in_its_average() -> None:
    """As published and as in the package; labml's leaves it out, and differs."""
    apart = {}
    for eps in (0.0, 1e-3):
        mine, other = start(), start()
        labml = LabmlAdaBelief(
            other, eps=eps, rectify=False, degenerate_to_sgd=False, weight_decay=WeightDecay()
        )
        walk(100, (AdaBelief(mine, eps=eps), mine), (labml, other))
        apart[eps] = (flat(mine) - flat(other)).abs().max().item()
    assert apart[0.0] < 1e-12 and apart[1e-3] > 1e-2

    # Of a steady gradient nothing but eps is left in the average: eps (1 + β₂ + β₂² + …).
    value = torch.zeros(1, dtype=torch.float64)
    steady = AdaBelief([value], betas=(0.0, 0.9), eps=1e-3)
    for _ in range(200):
        value.grad = torch.ones_like(value)
        steady.step()
    assert steady.state[value]["exp_avg_var"].item() == pytest.approx(1e-3 / (1 - 0.9), rel=1e-6)


def test_a_rectified_adabelief_heeds_amsgrad() -> None:
    """NOTE: the package divides by the present average then."""
    options: dict[str, Any] = {"betas": (0.9, 0.9), "rectify": True, "lr": 1.0}
    value, other = by_hand(0), by_hand(0)
    ours, theirs = AdaBelief([value], amsgrad=True, **options), package([other], amsgrad=True, **options)
    param, exp_avg, exp_avg_var, largest = (by_hand(0) for _ in range(4))
    for step in range(1, 60):
        value.grad = by_hand(math.sin(step) * (10 if step < 20 else 0.1))
        other.grad = value.grad.clone()
        ours.step()
        theirs.step()
        param, exp_avg, exp_avg_var, new = adabelief_step(
            param, value.grad, exp_avg, exp_avg_var, step, largest, **options
        )
        assert new is not None
        largest = new
    assert largest.item() > 10 * exp_avg_var.item()
    assert_equal([value], [param])
    assert (value - other).abs().item() > 0.1


def test_a_centred_rmsprop_survives_a_steady_gradient() -> None:
    """NOTE: rounding makes the variance negative, of which torch takes the root."""
    steady = torch.linspace(0.1, 3, 1000)
    finite = {}
    for make in (RMSprop, torch.optim.RMSprop):
        value = torch.zeros(1000)
        optimizer = make([value], centered=True)
        for _ in range(4000):
            value.grad = steady.clone()
            optimizer.step()
        finite[make] = bool(value.isfinite().all())
    assert finite == {RMSprop: True, torch.optim.RMSprop: False}


# ------------------------------------------------------------------------------- one step, by its formula


def test_steps_by_hand() -> None:
    """θ = 1, g = 2, and averages that are not 0."""
    theta, g = by_hand(1), by_hand(2)
    param, total = adagrad_step(theta, g, by_hand(5), 3, lr=0.6, lr_decay=0.25, eps=1)
    assert (param.item(), total.item()) == pytest.approx((1 - 0.6 / 1.5 * 2 / 4, 9))

    new = rmsprop_step(theta, g, by_hand(1), by_hand(3), by_hand(0.0), alpha=0.5, eps=0, momentum=0.5, lr=0.1)
    b = 0.5 * 3 + 2 / math.sqrt(2.5 - 1)
    assert [x.item() for x in new if x is not None] == pytest.approx([1 - 0.1 * b, 2.5, b, 1])
    assert rmsprop_step(theta, g, by_hand(4), eps=0)[0].item() == pytest.approx(1 - 0.01 * 2 / 2)
    assert rmsprop_step(theta, g, by_hand(4))[2:] == (None, None)

    new4 = adam_step(theta, g, by_hand(1), by_hand(12), 2, by_hand(20), lr=0.1, betas=(0.5, 0.5), eps=1)
    expected = 1 - 0.1 * (1.5 / 0.75) / (math.sqrt(20 / 0.75) + 1)
    assert [x.item() for x in new4 if x is not None] == pytest.approx([expected, 1.5, 8, 20])

    new4 = adabelief_step(theta, g, by_hand(1), by_hand(0.5), 2, lr=0.1, betas=(0.5, 0.5), eps=1)
    s = 0.5 * 0.5 + 0.5 * 0.25 + 1
    expected = 1 - 0.1 * (1.5 / 0.75) / (math.sqrt(s / 0.75) + 1)
    assert [x.item() for x in new4 if x is not None] == pytest.approx([expected, 1.5, s])


@pytest.mark.parametrize("step", [adagrad_step, rmsprop_step, adam_step, adabelief_step])
def test_the_pure_functions_change_nothing_and_refuse_complex_values(step: Callable[..., Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    count = 2 if step in (adam_step, adabelief_step) else 1
    arguments = [torch.rand(3, generator=generator) for _ in range(2 + count)]
    numbers = () if step is rmsprop_step else (2,)
    before = [value.clone() for value in arguments]
    step(*arguments, *numbers, lr=0.1, weight_decay=0.1)
    assert all(torch.equal(a, b) for a, b in zip(arguments, before, strict=True))
    with pytest.raises(ValueError, match="should be real"):
        step(arguments[0] * 1j, *arguments[1:], *numbers)


# ------------------------------------------------------------------------- groups, states, what torch does


@pytest.mark.parametrize("name", PAIRS)
def test_groups_missing_gradients_a_late_group_and_a_schedule(name: str) -> None:
    make, reference, options = PAIRS[name]
    sides = []
    for build in (make, reference):
        a, b = start(), start(seed=5)
        own = {"lr": 0.05, "weight_decay": 0.2, "eps": 1e-3}
        optimizer = build([{"params": a[:2]}, {"params": a[2:], **own}], **options)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t))
        sides.append((optimizer, a, b, schedule))
    for step in range(20):
        walk(1, *((optimizer, a) for optimizer, a, _, _ in sides), seed=step, gaps=step % 2 == 0)
        for _, _, _, schedule in sides:
            schedule.step()
    for optimizer, _, b, _ in sides:
        optimizer.add_param_group({"params": b, "lr": 0.02})
    for step in range(20):
        walk(1, *((optimizer, a + b) for optimizer, a, b, _ in sides), seed=step, gaps=True)
    assert_equal(sides[0][1] + sides[0][2], sides[1][1] + sides[1][2])
    assert_equal_states(sides[0][0], sides[1][0])


@pytest.mark.parametrize("name", PAIRS)
def test_a_state_dict_goes_both_ways(name: str) -> None:
    """Ten steps of one, then ten of the other with its state; the package takes none of ours."""
    make, reference, options = PAIRS[name]
    directions = [(reference, make)] + [(make, reference)] * (reference is not package)
    for first, second in directions:
        begun, whole = start(), start()
        optimizer, uninterrupted = first(begun, **options), first(whole, **options)
        walk(10, (optimizer, begun), (uninterrupted, whole))
        other = {"lr": 0.7, **({} if reference is package else {"maximize": True})}
        resumed = second(begun, **{**options, **other})
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        assert resumed.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
        walk(10, (resumed, begun), (uninterrupted, whole), seed=3)
        assert_equal(begun, whole)
        assert_equal_states(resumed, uninterrupted)


@pytest.mark.parametrize("name", WITH_TORCH)
def test_state_dicts_look_alike(name: str) -> None:
    make, reference, options = PAIRS[name]
    mine, other = start(), start()
    ours, theirs = make(mine, **options), reference(other, **options)
    walk(2, (ours, mine), (theirs, other))
    found, expected = ours.state_dict(), theirs.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    for key, values in expected["state"].items():
        assert {k: (v.dtype, v.shape) for k, v in found["state"][key].items()} == {
            k: (v.dtype, v.shape) for k, v in values.items()
        }


def test_a_state_of_torchs_fused_adam_is_taken_over() -> None:
    mine, other = start(torch.float32), start(torch.float32)
    theirs = torch.optim.Adam(other, fused=True)
    walk(5, (theirs, other))
    with torch.no_grad():
        for a, b in zip(mine, other, strict=True):
            a.copy_(b)
    ours = Adam(mine)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    assert ours.param_groups[0]["fused"] is None
    walk(5, (ours, mine), (theirs, other))
    assert_close(flat(mine), flat(other))


def test_adamw_stays_decoupled_whatever_it_loads() -> None:
    mine, other = start(), start()
    adam = torch.optim.Adam(other, weight_decay=0.1)
    ours, theirs = AdamW(mine), torch.optim.AdamW(other)
    walk(3, (adam, other))
    with torch.no_grad():
        for a, b in zip(mine, other, strict=True):
            a.copy_(b)
    for optimizer in (ours, theirs):
        optimizer.load_state_dict(copy.deepcopy(adam.state_dict()))
    walk(5, (ours, mine), (theirs, other))
    assert_equal(mine, other)


@pytest.mark.parametrize("name", FIVE)
def test_a_copy_goes_on_by_itself(name: str) -> None:
    mine = start()
    ours = FIVE[name][0](mine)
    walk(3, (ours, mine))
    twin = copy.deepcopy(ours)
    theirs = [p for group in twin.param_groups for p in group["params"]]
    walk(3, (ours, mine), (twin, theirs))
    assert_equal(mine, theirs)
    before = [p.detach().clone() for p in theirs]
    walk(1, (ours, mine))
    assert_equal(before, theirs, 0)


@pytest.mark.parametrize("name", FIVE)
def test_a_closure_is_called_once_with_gradients_and_its_loss_returned(name: str) -> None:
    value = torch.tensor([3.0, -2.0], requires_grad=True)
    optimizer = FIVE[name][0]([value], lr=0.05)
    calls: list[float] = []

    def closure() -> float:
        optimizer.zero_grad()
        loss = value.square().sum()
        loss.backward()
        calls.append(loss.item())
        return loss.item()

    losses = [optimizer.step(closure) for _ in range(30)]
    assert losses == calls and losses[-1] < losses[0]
    assert optimizer.step() is None


@pytest.mark.parametrize("name", FIVE)
def test_a_rate_may_be_a_tensor(name: str) -> None:
    rate = torch.tensor(0.05, dtype=torch.float64)
    make = FIVE[name][0]
    mine, other = start(), start()
    ours, plain = make(mine, lr=rate), make(other, lr=0.05)
    walk(3, (ours, mine), (plain, other))
    rate.fill_(0.02)  # as a schedule does
    plain.param_groups[0]["lr"] = 0.02
    walk(3, (ours, mine), (plain, other))
    assert_equal(mine, other)


def test_amsgrad_can_begin_later() -> None:
    mine = start()
    ours = Adam(mine)
    walk(3, (ours, mine))
    ours.param_groups[0]["amsgrad"] = True
    walk(3, (ours, mine))
    assert all("max_exp_avg_sq" in state for state in states(ours))


def test_a_groups_own_accumulator_counts() -> None:
    """NOTE: torch takes the constructor's."""
    a, b = start(shapes=[(2,), (2,)])
    groups: list[dict[str, Any]] = [{"params": [a]}, {"params": [b], "initial_accumulator_value": 3.0}]
    optimizer = Adagrad(groups)
    a.grad, b.grad = torch.ones_like(a), torch.ones_like(b)
    optimizer.step()
    assert optimizer.state[a]["sum"].tolist() == [1, 1] and optimizer.state[b]["sum"].tolist() == [4, 4]


@pytest.mark.parametrize("name", FIVE)
def test_no_gradients_at_all_are_no_step(name: str) -> None:
    mine = start()
    optimizer = FIVE[name][0](mine)
    optimizer.step()
    assert_equal(mine, start(), 0)
    assert all(not state for state in states(optimizer))


def test_hooks_are_called() -> None:
    mine = start()
    seen: list[str] = []
    optimizer = AdamW(mine)
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    walk(1, (optimizer, mine))
    assert seen == ["before", "after"]


WRONG: list[tuple[Make, str, Any, str]] = [
    (Adagrad, "lr", -0.1, "lr should be a number or a tensor of one element, zero or more, but is -0.1"),
    (Adam, "lr", "0.1", "lr should be a number or a tensor of one element, zero or more, but is 0.1"),
    (AdaBelief, "eps", None, "eps should be a number, zero or more, but is None"),
    (Adam, "lr", torch.ones(2), "lr should be a number or a tensor of one element"),
    (Adagrad, "lr_decay", -1, "lr_decay should be a number, zero or more, but is -1"),
    (Adagrad, "initial_accumulator_value", -1, "initial_accumulator_value should be a number, zero or more"),
    (RMSprop, "alpha", 1.0, "alpha should be a number, at least 0 and below 1, but is 1.0"),
    (RMSprop, "momentum", -0.5, "momentum should be a number, zero or more, but is -0.5"),
    (RMSprop, "eps", math.nan, "eps should be a number, zero or more, but is nan"),
    (
        Adam,
        "betas",
        (0.9, 1.0),
        "betas should be two numbers, each at least 0 and below 1, but is (0.9, 1.0)",
    ),
    (AdaBelief, "betas", 0.9, "betas should be two numbers"),
    (AdamW, "weight_decay", -1, "weight_decay should be a number, zero or more, but is -1"),
    (Adam, "foreach", 3, "foreach should be True, False or None, but is 3"),
    (Adam, "fused", True, "fused should be False"),
    (RMSprop, "capturable", True, "capturable should be False"),
    (AdamW, "differentiable", True, "differentiable should be False"),
]


@pytest.mark.parametrize(("make", "name", "value", "says"), WRONG)
def test_errors_name_the_argument(make: Make, name: str, value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        make(start(), **{name: value})
    with pytest.raises(ValueError, match=re.escape(says)):  # NOTE: torch does not look at a group's own
        make([{"params": start(), name: value}])


# ----------------------------------------------------------------------------------------- a population

STREAMS = lab.make_streams(0, 3, 1)
SCHEDULE = lab.schedules.cosine(warmup=0.1)


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double()


def trained(streams: list[lab.Stream], rates: Any, optimizer: Make) -> lab.Population:
    population = lab.Population(network, streams)
    split = toy().split(streams, train=20, validation=5, test=10)
    lab.train(population, split, steps=40, batch=4, rates=rates, optimizer=optimizer, schedule=SCHEDULE)
    return population


@pytest.mark.parametrize("rates", [[0.01, 0.002, 0.005], [0.01] * 3], ids=["own rates", "one rate"])
@pytest.mark.parametrize("name", [*FIVE, "AdaBelief, rectified"])
def test_replicas_train_together_as_alone_and_as_with_the_reference(name: str, rates: list[float]) -> None:
    ours, theirs = FIVE[name.split(",")[0]]
    if name == "AdaBelief, rectified":
        ours, theirs = partial(ours, rectify=True), partial(theirs, rectify=True)
    together = trained(STREAMS, torch.tensor(rates, dtype=torch.float64), ours)
    for r, stream in enumerate(STREAMS):
        begun = lab.Population(network, [stream]).state
        for make in (ours, theirs):
            alone = trained([stream], rates[r], make)
            for key, expected in alone.state.items():
                torch.testing.assert_close(together.state[key][r], expected[0], rtol=0, atol=1e-12)
                assert (begun[key][0] - expected[0]).abs().max() > 1e-4
