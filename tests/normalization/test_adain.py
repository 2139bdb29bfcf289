"""Adaptive Instance Norm against the authors' formula, a widespread port, and its own promise."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import pytest
import torch
from tolerances import assert_close
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from surveylab.normalization import AdaIN, adaptive_instance_norm, conditional_instance_norm, instance_norm

Draw = Callable[..., Tensor]


def as_the_authors(content: Tensor, style: Tensor, eps: float = 1e-5) -> Tensor:
    """Huang and Belongie's code: the deviation over n; eps in the content's root alone."""
    output = torch.empty_like(content)
    for b in range(content.shape[0]):
        for c in range(content.shape[1]):
            x, y = content[b, c], style[b, c]
            variance = (x - x.mean()).square().mean()
            deviation = (y - y.mean()).square().mean().sqrt()
            output[b, c] = deviation * (x - x.mean()) / (variance + eps).sqrt() + y.mean()
    return output


def as_the_port(content: Tensor, style: Tensor, eps: float = 1e-5) -> Tensor:
    """A widespread PyTorch version: variances over n - 1, eps in both roots."""
    axes = (2, 3)
    deviations = [(tensor.var(axes, keepdim=True) + eps).sqrt() for tensor in (content, style)]
    means = [tensor.mean(axes, keepdim=True) for tensor in (content, style)]
    return (content - means[0]) / deviations[0] * deviations[1] + means[1]


def test_it_is_the_authors(draw: Draw) -> None:
    """But for eps in the style's root: nothing to see at an ordinary spread."""
    content, style = draw(3, 5, 6, 7, dtype=torch.float64), draw(3, 5, 4, 9, dtype=torch.float64)
    assert_close(adaptive_instance_norm(content, style, eps=1e-14), as_the_authors(content, style, 1e-14))
    ours, theirs = adaptive_instance_norm(content, style), as_the_authors(content, style)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_eps_in_both_roots(draw: Draw) -> None:
    """A deliberate deviation: content that is its own style comes back; a flat style has a gradient."""
    content = draw(3, 5, 6, 7, dtype=torch.float64) * 1e-3  # where eps counts
    assert_close(adaptive_instance_norm(content, content), content)
    assert (as_the_authors(content, content) - content).abs().max() > 1e-4
    flat = torch.ones(3, 5, 4, 4, dtype=torch.float64)
    for adapt, finite in ((adaptive_instance_norm, True), (as_the_authors, False)):
        style = flat.clone().requires_grad_()
        (grad,) = torch.autograd.grad(adapt(content, style).square().sum(), style)
        assert bool(grad.isfinite().all()) is finite


def test_the_port_differs_where_sizes_do(draw: Draw) -> None:
    """With n - 1, a style of few positions counts as the wider: by sqrt(3 / 4 / (99 / 100)) here."""
    content, style = draw(2, 3, 10, 10, dtype=torch.float64), draw(2, 3, 2, 2, dtype=torch.float64)
    ours, port = adaptive_instance_norm(content, style, 1e-14), as_the_port(content, style, 1e-14)
    ratio = ours.std((2, 3)) / port.std((2, 3))
    assert_close(ratio, torch.full_like(ratio, (0.75 / 0.99) ** 0.5))
    same_size = draw(2, 3, 10, 10, dtype=torch.float64)
    assert_close(adaptive_instance_norm(content, same_size, 1e-14), as_the_port(content, same_size, 1e-14))


def test_output_has_the_mean_and_spread_of_the_style(draw: Draw) -> None:
    content, style = draw(4, 5, 16, 16), draw(4, 5, 9, 5) * 3 + 2
    output = adaptive_instance_norm(content, style)
    assert_close(output.mean((2, 3)), style.mean((2, 3)), offset=100)
    torch.testing.assert_close(
        output.std((2, 3), correction=0), style.std((2, 3), correction=0), rtol=1e-4, atol=0
    )


def test_gradients_by_finite_differences(draw: Draw) -> None:
    """Of the content and the style; of the scale and shift given for each example."""
    content, style = (draw(2, 3, 4, dtype=torch.float64).requires_grad_() for _ in range(2))
    weight, bias = (draw(2, 3, dtype=torch.float64).requires_grad_() for _ in range(2))
    for f, leaves in (
        (lambda x, y: adaptive_instance_norm(x, y, eps=0.1), (content, style)),
        (lambda x, w, b: conditional_instance_norm(x, w, b, eps=0.1), (content, weight, bias)),
    ):
        assert gradcheck(f, leaves)
        assert gradgradcheck(f, leaves)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_dtype_and_large_mean(dtype: torch.dtype, mean: float, draw: Draw) -> None:
    spread = 1.0 if dtype == torch.float32 else 1.0 + mean / 100
    content, style = ((draw(3, 4, 8, 8) * spread + mean).to(dtype) for _ in range(2))
    output = adaptive_instance_norm(content, style)
    assert output.dtype == dtype
    assert_close(output, adaptive_instance_norm(content.double(), style.double()), offset=4 * mean)


def test_layout_is_kept(draw: Draw) -> None:
    content = draw(3, 4, 5, 6).contiguous(memory_format=torch.channels_last)
    output = adaptive_instance_norm(content, draw(3, 4, 2, 2))
    assert output.stride() == content.stride()


def test_layer_scales_and_shifts_as_its_code_says(draw: Draw) -> None:
    layer = AdaIN(5, 3)
    input, code = draw(4, 5, 6), draw(4, 3)
    predicted = code @ layer.style.weight.T + layer.style.bias  # first the scales, then the shifts
    for b in range(4):
        expected = instance_norm(input[b : b + 1], None, None, 1 + predicted[b, :5], predicted[b, 5:])
        assert_close(layer(input, code)[b : b + 1], expected)
    assert_close(layer(input, torch.zeros(4, 3)), instance_norm(input))
    assert repr(layer).startswith("AdaIN(\n  5, code_features=3, eps=1e-05\n  (style): Linear(")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(input, code).dtype == torch.float32


def test_reset_starts_anew(draw: Draw) -> None:
    layer = AdaIN(5, 3)
    before = copy.deepcopy(layer.state_dict())
    with torch.no_grad():
        layer.style.bias.fill_(3)
    layer.reset_parameters()
    assert not layer.style.bias.any() and not torch.equal(layer.style.weight, before["style.weight"])
    input = draw(4, 5, 6)
    assert_close(layer(input, torch.zeros(4, 3)), instance_norm(input))
    torch.manual_seed(0)
    fresh = AdaIN(5, 3)
    torch.manual_seed(0)
    layer.reset_parameters()
    assert torch.equal(layer.style.weight, fresh.style.weight)


def test_a_code_for_each_example(draw: Draw) -> None:
    for shape in ((1, 3), (4, 2), (3,), (4, 1, 3)):
        with pytest.raises(RuntimeError, match=r"code should have shape .*\(4, 3\), but has \("):
            AdaIN(5, 3)(draw(4, 5, 6), torch.zeros(shape))


def test_empty_input() -> None:
    assert adaptive_instance_norm(torch.empty(0, 3, 4), torch.empty(0, 3, 5)).shape == (0, 3, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: adaptive_instance_norm(x, x[:1]), RuntimeError, "style should have the content's batch"),
        (lambda x: adaptive_instance_norm(x, x.double()), RuntimeError, "and torch.float64"),
        (lambda x: adaptive_instance_norm(x, x[..., 0]), ValueError, "style should have shape (batch, cha"),
        (lambda x: adaptive_instance_norm(x, x[..., :0]), ValueError, "but has (2, 3, 0)"),
        (lambda x: adaptive_instance_norm(x[..., :1], x), ValueError, "more than 1 spatial element"),
        (lambda x: adaptive_instance_norm(x, x, -1.0), ValueError, "eps should be zero or more"),
        (lambda x: adaptive_instance_norm(x.long(), x.long()), NotImplementedError, "floating point"),
        (lambda x: conditional_instance_norm(x, x[0, :, 0]), RuntimeError, "weight should have shape (2, 3)"),
        (lambda x: conditional_instance_norm(x, None, x), RuntimeError, "bias should have shape (2, 3)"),
    ],
)
def test_errors(call: Callable[[Tensor], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call(torch.ones(2, 3, 4))
