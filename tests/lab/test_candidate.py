"""The reader's own method: found, tried the way a chapter uses it, compared; each slip is named at once."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from surveylab import lab

NORM: dict[str, Any] = {"arguments": {"num_features": 8}, "shape": (4, 8, 6, 6)}
Shown = list[dict[str, Any]]

MINE = """
import torch
from torch import nn


class Norm(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.register_buffer("running", torch.zeros(num_features))

    def forward(self, x):
        if self.training:
            self.running.mul_(0.9).add_(0.1 * x.detach().mean((0, 2, 3)))
        return (x - self.running[:, None, None]) * self.weight[:, None, None]


class Assigned(Norm):
    def forward(self, x):
        if self.training:
            self.running = 0.9 * self.running + 0.1 * x.detach().mean((0, 2, 3))
        return (x - self.running[:, None, None]) * self.weight[:, None, None]


class Hidden(nn.BatchNorm2d):
    def __init__(self, num_features):
        super().__init__(num_features, track_running_stats=False)
        self.kept = [torch.zeros(num_features)]

    def forward(self, x):
        if self.training:
            self.kept[0].add_(x.detach().mean((0, 2, 3)))
        return x * self.weight[:, None, None] - self.kept[0][:, None, None]


class TwoArguments(Norm):
    def __init__(self, num_features, groups):
        super().__init__(num_features)


class Broken(Norm):
    def forward(self, x):
        return x @ torch.ones(3)


class Flat(Norm):
    def forward(self, x):
        return x.flatten(1)


class Tuple(Norm):
    def forward(self, x):
        return x, x


class Infinite(Norm):
    def forward(self, x):
        return x * self.weight[:, None, None] / 0


class Deaf(Norm):
    def forward(self, x):
        return x.detach() * self.weight[:, None, None]


class Fixed(Norm):
    def forward(self, x):
        return x.detach()


class Steep(Norm):
    def forward(self, x):
        return x * self.weight[:, None, None] + (x - x).abs().sqrt()


class SteepWeight(Norm):
    def forward(self, x):
        return x + (self.weight - self.weight).sqrt()[:, None, None]


class OnlyTraining(Norm):
    def forward(self, x):
        if not self.training:
            raise NotImplementedError("no inference yet")
        return x * 1


class NoBackward(Norm):
    def forward(self, x):
        return Refuse.apply(x)


class Refuse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        raise RuntimeError("cannot go back")


class Branching(Norm):
    def forward(self, x):
        return x * self.weight[:, None, None] if x.mean() > 0 else x * 2


class Random(Norm):
    def forward(self, x):
        return x * (1 + torch.rand(()))


def made(num_features):
    return Norm(num_features)


def nothing(num_features):
    return None


constant = 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The reader's folder, with the file `mine.py`."""
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in [
        name
        for name in sys.modules
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == tmp_path
    ]:
        del sys.modules[name]


def said(shown: Shown) -> str:
    (output,) = shown
    return str(output["data"]["text/markdown"]).removesuffix("\n\n<!-- computed -->")


def test_no_candidate(shown: Shown) -> None:
    assert lab.load_candidate(None, **NORM) is None
    assert shown == []


@pytest.mark.parametrize("name", ["Norm", "made"])
@pytest.mark.usefixtures("mine")
def test_a_candidate_is_announced(name: str, shown: Shown) -> None:
    found = lab.load_candidate(f"mine:{name}", **NORM)
    assert found is not None and isinstance(found(4), nn.Module)
    assert said(shown) == f"`{name}` of `mine` joins the comparison."


def test_a_candidate_takes_arguments_of_its_own(shown: Shown) -> None:
    found = lab.load_candidate("torch.nn:BatchNorm2d?eps=1e-3&affine=False", **NORM)
    assert found is not None
    layer = found(8)
    assert layer.num_features == 8 and layer.eps == 1e-3 and layer.affine is False
    assert found.__name__ == "BatchNorm2d(eps=0.001, affine=False)"
    assert found.__name__ in said(shown)


def test_torchs_own_layers_pass(shown: Shown) -> None:
    assert lab.load_candidate("torch.nn:BatchNorm2d", **NORM) is nn.BatchNorm2d
    group: dict[str, Any] = {"arguments": {"num_groups": 2, "num_channels": 8}, "shape": (4, 8, 6, 6)}
    assert lab.load_candidate("torch.nn:GroupNorm", **group) is nn.GroupNorm


@pytest.mark.usefixtures("mine")
def test_one_that_cannot_be_vectorised_is_told_of_and_taken(shown: Shown) -> None:
    assert lab.load_candidate("mine:Branching", **NORM) is not None
    assert "Branching cannot be vectorised over replicas, so they run one after another" in said(shown)


@pytest.mark.usefixtures("mine")
def test_one_that_draws_random_numbers_is_vectorised(shown: Shown) -> None:
    assert lab.load_candidate("mine:Random", **NORM) is not None
    assert said(shown) == "`Random` of `mine` joins the comparison."


def test_other_kinds_of_methods(mine: Path, shown: Shown) -> None:
    """A chapter says how it makes what it compares; a layer that keeps its input's shape is only one kind."""
    assert lab.load_candidate("torch.nn:ReLU", arguments={}, shape=(4, 3)) is nn.ReLU
    weights = [nn.Parameter(torch.zeros(2))]
    sgd = lab.load_candidate("torch.optim:SGD", arguments={"params": weights, "lr": 0.1})
    assert sgd is torch.optim.SGD
    with pytest.raises(lab.CandidateError, match=r"SGD\(lr=0\.1\) cannot be made: TypeError"):
        lab.load_candidate("torch.optim:SGD", arguments={"lr": 0.1})
    assert lab.load_candidate("mine:TwoArguments") is not None  # made otherwise: not tried


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mine.Norm", r"must read 'package\.module:Class' or .*; got 'mine\.Norm'"),
        (":Norm", "must read"),
        ("mine:", "must read"),
        (".mine:Norm", "must read"),
        (3, "must read 'package.module:Class' or .*; got 3"),
        ("mine:Norm?groups", "arguments must read name=value; got 'groups'"),
        ("mine:Norm?2=3", "arguments must read name=value; got '2=3'"),
        ("mine:Norm?groups=four", "groups must be a literal such as 4, .*; got 'four'"),
        ("mine:Norm?groups=4", r"Norm\(num_features=8, groups=4\) cannot be made: TypeError"),
        (
            "mime:Norm",
            r"cannot import mime: ModuleNotFoundError: No module named 'mime' \(mime\.py belongs beside the "
            r"notebook, or where surveylab run is called\)",
        ),
        ("needs:Norm", r"cannot import needs: ModuleNotFoundError: No module named 'not_there'$"),
        ("slip:Norm", r"cannot import slip: SyntaxError: .*slip\.py, line 2"),
        ("mine:Nrm", "mine has no Nrm; it has Norm$"),
        ("torch.nn:GrupNorm", "torch.nn has no GrupNorm; it has GroupNorm$"),
        ("empty:Norm", "empty has no Norm$"),
        ("other:Norm", "other has no Norm; it has Mine$"),
        ("mine:constant", "must be a class, or a function that makes the method; got 3"),
        ("mine:TwoArguments", r"TwoArguments\(num_features=8\) cannot be made: TypeError: .*'groups'"),
        ("mine:nothing", r"nothing\(num_features=8\) must be a torch\.nn\.Module; it is None"),
        (
            "mine:Broken",
            r"Broken\(num_features=8\) fails in training on an input of shape \(4, 8, 6, 6\): Ru",
        ),
        ("mine:OnlyTraining", "fails in evaluation .*: NotImplementedError: no inference yet"),
        ("mine:NoBackward", "fails in the backward pass: RuntimeError: cannot go back"),
        (
            "mine:Flat",
            r"must keep the shape \(4, 8, 6, 6\) of its input; in training it returns shape \(4, 288",
        ),
        ("mine:Tuple", r"must keep the shape .*; in training it returns \(tensor"),
        ("mine:Infinite", "returns values that are not finite in training"),
        ("mine:Deaf", "passes no gradient on to its input in training; does it detach it"),
        ("mine:Fixed", "passes no gradient on in training; does it detach its input"),
        ("mine:Steep", "has a gradient with respect to its input that is not finite"),
        ("mine:SteepWeight", "has a gradient with respect to weight that is not finite"),
        ("mine:Assigned", r"does not compute the same where several train together: .* buffers .* in place"),
        ("mine:Hidden", "does not compute the same where several train together"),
    ],
)
def test_a_slip_is_named_with_what_is_expected(mine: Path, shown: Shown, spec: Any, message: str) -> None:
    (mine / "needs.py").write_text("import not_there\n", encoding="utf-8")
    (mine / "slip.py").write_text("x = 1\ndef\n", encoding="utf-8")
    (mine / "empty.py").write_text("", encoding="utf-8")
    (mine / "other.py").write_text("from torch import nn\nclass Mine(nn.Identity): pass\n", encoding="utf-8")
    with pytest.raises(lab.CandidateError, match=message) as error:
        lab.load_candidate(spec, **NORM)
    assert str(error.value).startswith("candidate ") and shown == []


def test_a_comparison_shows_means_and_paired_differences(shown: Shown) -> None:
    base = torch.tensor([80.0, 82.0, 84.0, 86.0])
    lab.compare({"BN": base, "Mine": base + torch.tensor([1.0, 2.0, 3.0, 2.0])}, "BN", title="batches of 2")
    # Student's t with 3 degrees of freedom: 2 ± 5.841 · 0.8165 / 2.
    half = 5.84091 * math.sqrt(2 / 3) / 2
    assert said(shown).splitlines() == [
        "| batches of 2 | mean (points) | minus BN, 99 % interval |",
        "|---|---|---|",
        "| BN | 83.0 |  |",
        f"| Mine | 85.0 | +2.00 [−{half - 2:.3f}, +{2 + half:.2f}] |",
    ]


def test_an_arm_whose_rate_was_found_runs_in_the_comparison(
    begin: Callable[..., lab.Run], mine: Path, shown: Shown
) -> None:
    run = begin(profile="smoke")
    found = lab.load_candidate("mine:Norm", **NORM)
    assert found is not None
    common = lab.Comparison(lab.digits().standardised(), run.streams(), 64, [0.01, 0.1, 1.0], 64, 32, 50)
    arm = lab.Arm(lambda: lab.models.small_cnn(found))
    score = common.run("mine", arm, settings=common.search("mine", arm)).score
    assert score.shape == (6,) and score.isfinite().all()
