"""Capsules are the published equations: beside a transcription in loops, by identities, in a network."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from labml_nn.capsule_networks import MarginLoss as LabmlMarginLoss
from labml_nn.capsule_networks import Router as LabmlRouter
from methods import Case, MethodTests
from tolerances import assert_close
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import vmap

from surveylab import lab
from surveylab.adaptive import (
    CapsNet,
    CapsuleLayer,
    PrimaryCapsules,
    capsule_lengths,
    margin_loss,
    route,
    squash,
)

B, I, J, D, E = 3, 6, 4, 5, 2  # noqa: E741


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def squashed(s: Tensor) -> Tensor:
    """Equation 1 of the paper, of one vector."""
    norm = torch.sqrt((s**2).sum())
    return norm**2 / (1 + norm**2) * (s / norm)


def routed(predictions: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Procedure 1 of the paper for one example, (I, J, D), one capsule after another."""
    below, above = predictions.shape[:2]
    b = [[torch.zeros((), dtype=predictions.dtype) for _ in range(above)] for _ in range(below)]
    for _ in range(iterations):
        c = []
        for i in range(below):
            total = sum(b[i][k].exp() for k in range(above))
            c.append([b[i][j].exp() / total for j in range(above)])
        v = []
        for j in range(above):
            s = torch.zeros(predictions.shape[2], dtype=predictions.dtype)
            for i in range(below):
                s = s + c[i][j] * predictions[i, j]
            v.append(squashed(s))
        for i in range(below):
            for j in range(above):
                b[i][j] = b[i][j] + (predictions[i, j] * v[j]).sum()
    return torch.stack(v), torch.stack([torch.stack(row) for row in c])


class Predicted(nn.Module):
    """Routing as a layer of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return route(input, 3)[0]


class TestCapsules(MethodTests):
    cases = (
        Case("layer", lambda: CapsuleLayer(3, 2, 3, 2), [(2, 3, 2)], dynamic=[(0,)]),
        Case("uniform", lambda: CapsuleLayer(4, 2, 3, 2, iterations=1), [(2, 4, 2)], dynamic=[(0,)]),
        Case("routing", Predicted, [(2, 4, 3, 2)], dynamic=[(0, 1, 2, 3)]),
        Case("primary", lambda: PrimaryCapsules(2, 2, 3, 2), [(2, 2, 4, 3)], dynamic=[(0,)]),
    )


@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_routing_is_the_published_procedure(iterations: int) -> None:
    """Vectors, coefficients and gradients, which flow through every iteration."""
    ours, theirs = (draw(B, I, J, D).requires_grad_() for _ in range(2))
    parents, coefficients = route(ours, iterations)
    each = [routed(example, iterations) for example in theirs]
    expected, expected_coefficients = (torch.stack(part) for part in zip(*each, strict=True))
    assert_close(parents, expected)
    assert_close(coefficients, expected_coefficients)
    (found,) = torch.autograd.grad((parents * draw(B, J, D, seed=1)).sum(), ours)
    (wanted,) = torch.autograd.grad((expected * draw(B, J, D, seed=1)).sum(), theirs)
    assert_close(found, wanted, offset=1e3)


def test_a_layer_is_the_published_one() -> None:
    layer, input = CapsuleLayer(I, E, J, D).double(), draw(B, I, E)
    for b in range(B):
        predictions = torch.stack(
            [torch.stack([layer.weight[i, j] @ input[b, i] for j in range(J)]) for i in range(I)]
        )
        assert_close(layer(input)[b], routed(predictions, 3)[0])


def test_gradients_do_flow_through_the_coefficients() -> None:
    """Held as constants, as some public code does, they give others."""
    input = draw(B, I, J, D).requires_grad_()
    parents, coefficients = route(input)
    constant = squash((coefficients.detach().unsqueeze(-1) * input).sum(1))
    assert_close(parents, constant)
    both = [torch.autograd.grad(out.sum(), input)[0] for out in (parents, constant)]
    assert (both[0] - both[1]).abs().max() > 0.01


def test_labml_divides_among_the_wrong_capsules() -> None:
    """Its router normalises over the capsules below: the same with the axes exchanged, and far from ours."""
    theirs = LabmlRouter(I, J, E, D, 3).double()
    ours = CapsuleLayer(I, E, J, D).double()
    ours.load_state_dict({"weight": theirs.weight.detach().transpose(-1, -2)})
    input = draw(B, I, E)
    found, wrong = ours(input), theirs(input)
    assert (found - wrong).abs().max() > 0.1

    votes = ours.predictions(input)
    logits = torch.zeros(B, I, J, dtype=torch.float64)
    for _ in range(3):
        parents = squash((logits.softmax(1).unsqueeze(-1) * votes).sum(1))
        logits = logits + (votes * parents.unsqueeze(1)).sum(-1)
    torch.testing.assert_close(wrong, parents, rtol=1e-6, atol=1e-6)  # it adds 1e-8 under a root


def test_coefficients_sum_to_one_over_the_parents() -> None:
    coefficients = route(draw(B, I, J, D, scale=5))[1]
    assert_close(coefficients.sum(-1), torch.ones(B, I, dtype=torch.float64))
    assert (coefficients.sum(-2) - 1).abs().max() > 0.1  # and not over the capsules below
    assert (coefficients >= 0).all()


def test_one_iteration_is_uniform() -> None:
    predictions = draw(B, I, J, D)
    parents, coefficients = route(predictions, 1)
    assert_close(coefficients, torch.full((B, I, J), 1 / J, dtype=torch.float64))
    assert_close(parents, squash(predictions.sum(1) / J))


def agreement(predictions: Tensor, iterations: int) -> Tensor:
    """Mean scalar product of predictions and parents, weighted by the coefficients, of each example."""
    parents, coefficients = route(predictions, iterations)
    return (coefficients * (predictions * parents.unsqueeze(-3)).sum(-1)).sum((-1, -2)) / predictions.shape[
        -3
    ]


def test_agreement_grows_with_the_iterations() -> None:
    """On random predictions, and where most predictions of one parent are the same and all others differ."""
    random, constructed = draw(20, I, J, D), draw(20, I, J, D, seed=1)
    constructed[:, : I - 1, 2] = draw(20, 1, D, seed=2) + 0.1 * draw(20, I - 1, D, seed=3)
    for predictions in (random, constructed):
        values = torch.stack([agreement(predictions, r) for r in range(1, 7)])
        assert (values[1:] > values[:-1]).all()
    first, last = (route(constructed, r)[1][:, : I - 1, 2].mean() for r in (1, 4))
    assert first == 1 / J and last > 2 / J


def test_equal_parents_stay_equal() -> None:
    """Nothing but the predictions tells parents apart: no other symmetry is broken."""
    predictions = draw(B, I, 1, D).expand(B, I, J, D)
    assert_close(route(predictions)[1], torch.full((B, I, J), 1 / J, dtype=torch.float64))


def test_what_order_capsules_come_in_does_not_matter() -> None:
    predictions, below, above = draw(B, I, J, D), torch.randperm(I), torch.randperm(J)
    parents, coefficients = route(predictions)
    found = route(predictions[:, below][:, :, above])
    assert_close(found[0], parents[:, above])
    assert_close(found[1], coefficients[:, below][:, :, above])


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3])
def test_squash_keeps_the_direction_and_makes_lengths_below_one(scale: float) -> None:
    s = draw(50, D, scale=scale)
    v, norm = squash(s), s.norm(dim=-1)
    assert_close(v, torch.stack([squashed(row) for row in s]))
    assert (v.norm(dim=-1) < 1).all()
    assert_close(capsule_lengths(v), norm**2 / (1 + norm**2))
    assert_close(torch.cosine_similarity(v, s, eps=1e-30), torch.ones(50, dtype=torch.float64))


def test_squash_by_hand() -> None:
    assert_close(squash(torch.tensor([3.0, 4.0])), torch.tensor([3.0, 4.0]) * 5 / 26)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_vectors_of_zeros_have_finite_derivatives(dtype: torch.dtype) -> None:
    """The Jacobian of squash is 0 there, its limit; as published it is NaN."""
    zeros = torch.zeros(2, D, dtype=dtype, requires_grad=True)
    for function in (squash, capsule_lengths):
        output = function(zeros)
        assert not output.any()
        (slope,) = torch.autograd.grad(output.sum(), zeros, create_graph=True)
        assert not slope.any()
        (curve,) = torch.autograd.grad((slope.sum() + function(zeros).sum()), zeros)
        assert curve.isfinite().all()
    assert torch.autograd.grad(squashed(zeros[0]).sum(), zeros)[0].isnan().any()
    near = draw(1, D, scale=1e-9)
    jacobian: Any = torch.autograd.functional.jacobian(squash, near)
    assert jacobian.abs().max() < 1e-8
    capsules = torch.zeros(B, I, J, D, dtype=dtype, requires_grad=True)
    assert torch.autograd.grad(route(capsules)[0].sum(), capsules)[0].isfinite().all()


def test_derivatives_of_the_functions() -> None:
    assert gradcheck(squash, draw(3, D).requires_grad_(), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(squash, draw(3, D).requires_grad_())
    target = torch.tensor([0, 2, 1])

    def loss(lengths: Tensor) -> Tensor:
        return margin_loss(lengths, target)

    assert gradcheck(loss, draw(3, J).sigmoid().requires_grad_(), check_forward_ad=True)


def test_half_precision_routes_in_float32() -> None:
    """Logits of many capsules would lose what tells them apart."""
    predictions = draw(2, 50, J, D).bfloat16()
    parents, coefficients = route(predictions)
    expected = route(predictions.double())
    assert parents.dtype == coefficients.dtype == torch.bfloat16
    assert_close(parents, expected[0])
    assert_close(coefficients, expected[1])


def test_margin_loss_is_the_published_one() -> None:
    lengths, target = draw(B, 7, J).sigmoid(), torch.randint(0, J, (B, 7))
    losses = margin_loss(lengths, target, reduction="none")
    for b in range(B):
        for n in range(7):
            expected = 0.0
            for k in range(J):
                v, t = lengths[b, n, k].item(), float(target[b, n] == k)
                expected += t * max(0, 0.9 - v) ** 2 + 0.5 * (1 - t) * max(0, v - 0.1) ** 2
            assert math.isclose(losses[b, n].item(), expected, rel_tol=1e-12)
    assert_close(margin_loss(lengths, target), losses.mean())
    assert_close(margin_loss(lengths, target, reduction="sum"), losses.sum())
    several = torch.zeros(B, 7, J, dtype=torch.bool).scatter(-1, target.unsqueeze(-1), True)
    assert torch.equal(margin_loss(lengths, several, reduction="none"), losses)
    assert torch.equal(vmap(margin_loss)(lengths, target), losses.mean(1))


def test_margin_loss_of_several_classes_and_at_the_margins() -> None:
    shown = torch.tensor([True, True, False])
    assert margin_loss(torch.tensor([0.9, 0.95, 0.1]), shown) == 0
    assert_close(margin_loss(torch.tensor([0.4, 0.9, 0.6]), shown), torch.tensor(0.5**2 + 0.5 * 0.5**2))
    assert_close(margin_loss(torch.tensor([0.4, 0.9, 0.6]), shown, 0.8, 0.2, 0.25), torch.tensor(0.2))


def test_labml_leaves_out_the_square() -> None:
    vectors, target = draw(B, J, D), torch.tensor([0, 2, 1])
    vectors = squash(vectors)
    ours = margin_loss(capsule_lengths(vectors), target)
    assert abs(ours - LabmlMarginLoss(n_labels=J)(vectors, target)) > 0.1


def test_primary_capsules_are_a_convolutions_channels() -> None:
    layer, image = PrimaryCapsules(2, 3, 4, 3).double(), draw(2, 2, 7, 9)
    map, capsules = layer.conv(image), layer(image)
    assert capsules.shape == (2, 3 * 3 * 4, 4)
    for kind in range(3):
        for row in range(3):
            for column in range(4):
                vector = map[1, 4 * kind : 4 * kind + 4, row, column]
                assert_close(capsules[1, 12 * kind + 4 * row + column], squashed(vector))


@pytest.mark.parametrize("sizes", [(72, 4, 10, 8), (300, 8, 10, 16), (20, 16, 3, 4)])
def test_initial_weights_keep_the_size_of_vectors(sizes: tuple[int, int, int, int]) -> None:
    torch.manual_seed(0)
    below, features, above, out = sizes
    layer, input = CapsuleLayer(below, features, above, out), torch.randn(200, below, features)
    uniform = layer.predictions(input).sum(1) / above
    ratio = uniform.square().sum(-1).mean() / input.square().sum(-1).mean()
    assert 0.8 < ratio < 1.25


def test_the_network_of_the_paper() -> None:
    net = CapsNet(
        28,
        channels=256,
        kinds=32,
        primary_features=8,
        kernel_size=9,
        class_features=16,
        decoder=(512, 1024),
    )
    assert net.capsules.weight.shape == (1152, 10, 16, 8)  # figure 1: 32 x 6 x 6 capsules
    assert sum(p.numel() for p in net.decoder.parameters()) == 160 * 512 + 512 * 1024 + 1024 * 784 + 2320
    lengths, images = net(torch.rand(2, 1, 28, 28))
    assert lengths.shape == (2, 10) and images.shape == (2, 1, 28, 28)


def test_an_image_is_drawn_from_one_capsule() -> None:
    net = CapsNet(classes=3, decoder=(5,)).double()
    image, target = draw(4, 1, 14, 14).sigmoid(), torch.tensor([0, 2, 1, 1])
    capsules = net.encode(image).detach().requires_grad_()
    (grad,) = torch.autograd.grad(net.decode(capsules, target).sum(), capsules)
    assert (grad.abs().sum(-1) > 0).equal(torch.arange(3) == target.unsqueeze(-1))
    lengths, drawn = net(image)
    assert_close(lengths, net.encode(image).norm(dim=-1))
    assert torch.equal(drawn, net(image, lengths.argmax(-1))[1])
    assert torch.equal(net(image, target)[1], net.decode(net.encode(image), target))


@pytest.mark.slow
def test_the_network_is_compiled_and_exported() -> None:
    """Without a graph break, argmax and all."""
    net, image = CapsNet(12).double(), draw(4, 1, 12, 12).sigmoid()
    compiled: Any = torch.compile(net, fullgraph=True)
    exported = torch.export.export(net, (image,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).module()
    for actual, again, expected in zip(compiled(image), exported(image), net(image), strict=True):
        assert_close(actual, expected, offset=10)
        assert_close(again, expected, offset=10)


def test_a_population_equals_a_loop() -> None:
    population = lab.Population(lambda: CapsNet(12).double(), lab.make_streams(0, 3, 1), strategy="vmap")
    image, target = draw(3, 4, 1, 12, 12).sigmoid(), torch.randint(0, 10, (3, 4))
    lengths, images = population(image, target)
    losses = margin_loss(lengths, target, reduction="none").mean(1) + (images - image).square().sum(
        (1, 2, 3, 4)
    )
    grads = torch.autograd.grad(losses.sum(), list(population.parameters()))
    for r in range(3):
        replica = population.replica(r)
        own = replica(image[r], target[r])
        assert_close(lengths[r], own[0])
        assert_close(images[r], own[1])
        loss = margin_loss(own[0], target[r]) + (own[1] - image[r]).square().sum()
        for found, wanted in zip(grads, torch.autograd.grad(loss, list(replica.parameters())), strict=True):
            assert_close(found[r], wanted, offset=1e4)


def test_a_network_learns_and_its_capsules_route() -> None:
    """Bars lying and standing: all are told apart, and routing has become less than uniform."""
    torch.manual_seed(0)
    target = torch.arange(40) % 2
    image = torch.zeros(40, 1, 14, 14)
    for n in range(40):
        place = 2 + n // 4
        if target[n]:
            image[n, 0, place] = 1
        else:
            image[n, 0, :, place] = 1
    net = CapsNet(classes=2, decoder=(16,))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(40):
        lengths, drawn = net(image, target)
        loss = margin_loss(lengths, target) + 0.0005 * (drawn - image).square().sum((1, 2, 3)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    lengths, _ = net(image)
    assert (lengths.argmax(-1) == target).all() and (lengths < 1).all()
    with torch.no_grad():
        below = net.primary(net.conv(image).relu())
        predictions = net.capsules.predictions(below)
        values = torch.stack([agreement(predictions, r).mean() for r in range(1, 5)])
    assert (values[1:] > values[:-1]).all()


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"predictions should have shape .* but has \(3, 4\)"):
        route(torch.zeros(3, 4))
    with pytest.raises(NotImplementedError, match="predictions should be floating point, but is torch"):
        route(torch.zeros(1, 2, 3, dtype=torch.int64))
    for wrong in (0, -1, 1.5):
        with pytest.raises(
            ValueError, match=f"iterations should be a whole number, 1 or more, but is {wrong}"
        ):
            route(torch.zeros(1, 2, 3), wrong)  # type: ignore[arg-type]
    for place, name in enumerate(["in_capsules", "in_features", "out_capsules", "out_features"]):
        sizes: list[Any] = [2, 2, 2, 2]
        sizes[place] = 0
        with pytest.raises(ValueError, match=f"{name} should be a whole number, 1 or more, but is 0"):
            CapsuleLayer(*sizes)
    for shape in ((B, E, I), (I, E), (B, I, E, 1)):
        with pytest.raises(ValueError, match=r"input should have shape \(examples, 6, 2\), .*, but has"):
            CapsuleLayer(I, E, J, D)(torch.zeros(shape))
    with pytest.raises(ValueError, match="size should be 9 or more for two kernels of 5, but is 8"):
        CapsNet(8)
    with pytest.raises(ValueError, match=r"shape \(examples, 1, 14, 14\), but has \(2, 3, 14, 14\)"):
        CapsNet()(torch.zeros(2, 3, 14, 14))
    lengths = torch.rand(2, J)
    with pytest.raises(ValueError, match=r"target, of classes, should have shape \(2,\) .* but has \(3,\)"):
        margin_loss(lengths, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"target, Boolean, should have shape \(2, 4\) .* but has \(2,\)"):
        margin_loss(lengths, torch.zeros(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="classes from 0 to 3, but has values from 1 to 4"):
        margin_loss(lengths, torch.tensor([1, 4]))
    with pytest.raises(ValueError, match=r"classes as whole numbers, but is torch.float32"):
        margin_loss(lengths, torch.zeros(2))
    with pytest.raises(ValueError, match="reduction should be 'none', 'mean' or 'sum', but is 'average'"):
        margin_loss(lengths, torch.zeros(2, dtype=torch.int64), reduction="average")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="classes from 0 to 9, but has values from 0 to 10"):
        CapsNet()(torch.zeros(2, 1, 14, 14), torch.tensor([0, 10]))
