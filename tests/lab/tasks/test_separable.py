"""Wilson et al.'s example: adaptive methods fit it and call everything new 1; gradient descent does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from surveylab.adaptive import AdaBelief, Adagrad, Adam, RMSprop
from surveylab.lab.tasks.separable import (
    descend,
    least_norm_solution,
    separable,
    sign_solution,
    unseen,
)

Make = Callable[[list[Tensor]], torch.optim.Optimizer]
ADAPTIVE: dict[str, Make] = {
    "Adagrad": lambda params: Adagrad(params, lr=0.1, eps=0),
    "RMSprop": lambda params: RMSprop(params, lr=0.005, eps=0),
    "Adam": lambda params: Adam(params, lr=0.005, betas=(0.9, 0.99), eps=0),
    "torch's Adam": lambda params: torch.optim.Adam(params, lr=0.005, betas=(0.9, 0.99), eps=0),
    "AdaBelief": lambda params: AdaBelief(params, lr=0.005, betas=(0.9, 0.99), eps=0),
}
NEW = torch.tensor([1, -1, -1, 1, -1])


@pytest.fixture(params=[(7, 5), (30, 3), (2, 1)], ids=["12", "33", "3"])
def labels(request: pytest.FixtureRequest) -> Tensor:
    positive, negative = request.param
    order = torch.randperm(positive + negative, generator=torch.Generator().manual_seed(0))
    return torch.tensor([1] * positive + [-1] * negative)[order]


def after(make: Make, x: Tensor, y: Tensor, decay: float, steps: int = 1500) -> tuple[Tensor, Tensor]:
    w = torch.zeros(x.shape[1], dtype=torch.float64)
    optimizer = make([w])
    return w, descend(optimizer, w, x, y, steps, LambdaLR(optimizer, lambda t: decay**t))


def test_examples_are_built_as_published(labels: Tensor) -> None:
    x = separable(labels)
    for row, label in zip(x, labels.tolist(), strict=True):
        assert row[:3].tolist() == [label, 1, 1]
        assert row[3:].sum() == (1 if label == 1 else 5)
    assert set(x[:, 3:].unique().tolist()) == {0, 1}
    assert (x[:, 3:].sum(0) == 1).all()  # each of these belongs to one example
    assert unseen(NEW, x.shape[1])[:, :3].tolist() == [[label, 1, 1] for label in NEW.tolist()]
    assert not unseen(NEW, x.shape[1])[:, 3:].any()
    assert torch.equal((x @ torch.eye(x.shape[1])[0].double()).sign(), labels.double())  # feature 1 suffices


def test_the_condition_of_the_lemma_holds(labels: Tensor) -> None:
    x, y = separable(labels), labels.double()
    assert torch.equal(x @ (x.T @ y).sign(), 4 * y)
    assert torch.equal(x @ sign_solution(x, labels), y)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_methods_walk_along_the_sign_vector_and_call_all_new_examples_1(
    name: str, labels: Tensor
) -> None:
    x = separable(labels)
    w, path = after(ADAPTIVE[name], x, labels, 1.0 if name == "Adagrad" else 0.995)
    direction = (x.T @ labels.double()).sign()
    torch.testing.assert_close(path, path[:, :1] * direction, rtol=1e-9, atol=1e-12)  # every single step
    assert (path[:, 0] > 0).all()
    torch.testing.assert_close(w, sign_solution(x, labels), rtol=0, atol=1e-4)
    assert torch.equal((x @ w).sign(), labels.double())
    new = unseen(NEW, x.shape[1]) @ w
    torch.testing.assert_close(new, (NEW + 2).double() / 4, rtol=0, atol=1e-3)
    assert (new > 0).all()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_gradient_descent_finds_the_least_norm_and_generalises(momentum: float, labels: Tensor) -> None:
    x = separable(labels)
    w, _ = after(lambda params: torch.optim.SGD(params, lr=0.01, momentum=momentum), x, labels, 1.0)
    torch.testing.assert_close(w, least_norm_solution(x, labels), rtol=0, atol=1e-5)
    assert w.norm() < sign_solution(x, labels).norm()
    assert torch.equal((unseen(NEW, x.shape[1]) @ w).sign(), NEW.double())


def test_the_least_norm_solution_in_closed_form(labels: Tensor) -> None:
    """It is Xᵀ a with one coefficient for each label: y (n₊ a₊ − n₋ a₋) + 2 (n₊ a₊ + n₋ a₋) + own a = y."""
    x, y = separable(labels), labels.double()
    more, less = int((labels == 1).sum()), int((labels == -1).sum())
    share = 15 * more + 3 * less + 8 * more * less + 5
    up, down = (4 * less + 5) / share, -(4 * more + 1) / share
    expected = x.T @ torch.where(labels == 1, y.new_tensor(up), y.new_tensor(down))
    torch.testing.assert_close(least_norm_solution(x, y), expected, rtol=0, atol=1e-12)


def test_errors() -> None:
    with pytest.raises(ValueError, match="labels should be 1 or −1, in one dimension"):
        separable(torch.tensor([1, 0, 1]))
    with pytest.raises(ValueError, match="1 more often than −1, but their sum is 0"):
        separable(torch.tensor([1, -1]))
