"""Whole models that people use, every norm replaced by ours: they compute and train as before."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surveylab.normalization import BatchNorm2d, GroupNorm, LayerNorm

pytestmark = pytest.mark.slow  # importing transformers alone takes some seconds

STEPS = 20


def replaced(model: nn.Module) -> nn.Module:
    """A copy with our layer, of the same arguments and state, for each of torch's norms."""

    def ours(layer: nn.Module) -> nn.Module:
        match layer:
            case nn.BatchNorm2d():
                own: nn.Module = BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
            case nn.LayerNorm():
                own = LayerNorm(layer.normalized_shape, layer.eps)
            case nn.GroupNorm():
                own = GroupNorm(layer.num_groups, layer.num_channels, layer.eps)
            case _:
                return layer
        own.to(next(layer.parameters()).dtype).load_state_dict(layer.state_dict())
        return own

    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            setattr(parent, name, ours(layer))
    return model


class Block(nn.Module):
    """Two convolutions with Group Norm, added to what comes in."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(2, outputs) for _ in range(2))
        self.skip = nn.Conv2d(inputs, outputs, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, input: Tensor) -> Tensor:
        """In place wherever it can be."""
        output = self.norms[1](self.second(self.relu(self.norms[0](self.first(input)))))
        output += self.skip(input)
        return self.relu(output)


class UNet(nn.Module):
    """Down, along the bottom, and up beside what was left on the way down."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.bottom, self.up = Block(3, 8), Block(8, 16), Block(24, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, input: Tensor) -> Tensor:
        """A class for each position."""
        fine = self.down(input)
        coarse = F.interpolate(self.bottom(F.max_pool2d(fine, 2)), scale_factor=2)
        return self.head(self.up(torch.cat([fine, coarse], 1)))


# What a model is given, and what it should say.
Batch = tuple[Tensor, Tensor]
Draw = Callable[[torch.Generator], Batch]


def pictures(generator: torch.Generator) -> Batch:
    """Of three colours."""
    labels = torch.randint(3, (12,), generator=generator)
    shade = labels.view(12, 1, 1, 1) * torch.tensor([1.0, -1.0, 0.5]).view(3, 1, 1)
    return torch.randn(12, 3, 16, 16, generator=generator).double() + shade, labels


def scenes(generator: torch.Generator) -> Batch:
    """Pictures in which each position is bright or dark."""
    input, _ = pictures(generator)
    return input, (input.mean(1) > 0).long()


def sentences(generator: torch.Generator) -> Batch:
    """Counting up from somewhere; the next number is to be named."""
    ids = (torch.randint(20, (4, 1), generator=generator) + torch.arange(13)) % 20
    return ids[:, :-1], ids[:, 1:]


def resnet() -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes: dict[str, Any] = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [2, 1], "num_labels": 3}
    model = ResNetForImageClassification(ResNetConfig(**sizes, layer_type="basic"))
    for layer in model.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = True  # as in the ResNets of others
    return model


def vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "image_size": 16, "patch_size": 4, "num_labels": 3}
    return ViTForImageClassification(ViTConfig(**sizes))


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes: dict[str, Any] = {"vocab_size": 20, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    dropout: dict[str, Any] = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(**sizes, **dropout, bos_token_id=0, eos_token_id=0))


def predicted(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits and loss."""
    input, target = batch
    output = model(input)
    logits = output if isinstance(output, Tensor) else output.logits
    if logits.dim() == 3:  # (B, T, V) -> (B, V, T)
        logits = logits.mT
    return logits, F.cross_entropy(logits, target)


@pytest.mark.parametrize(
    ("build", "draw", "norms"),
    [(resnet, pictures, 8), (vit, pictures, 5), (gpt2, sentences, 5), (UNet, scenes, 6)],
    ids=["ResNet", "ViT", "GPT-2", "UNet"],
)
def test_a_model_is_the_same(build: Callable[[], nn.Module], draw: Draw, norms: int) -> None:
    """Logits and gradients, in training and evaluation; and after twenty steps of Adam."""
    torch.manual_seed(0)
    theirs = build().double()
    ours = replaced(theirs)
    kinds = [type(layer).__module__ for layer in ours.modules() if "Norm" in type(layer).__name__]
    assert sum(kind.startswith("surveylab.normalization") for kind in kinds) == norms == len(kinds)

    def assert_same() -> None:
        batch = draw(torch.Generator().manual_seed(1))
        found: list[Any] = []
        for model in (ours, theirs):
            logits, loss = predicted(model, batch)
            found.append([logits, *torch.autograd.grad(loss, list(model.parameters()))])
        for actual, expected in zip(*found, strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-9)

    for training in (True, False):
        ours.train(training), theirs.train(training)
        assert_same()
    losses: list[list[Tensor]] = []
    for model in (ours, theirs):
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        generator = torch.Generator().manual_seed(2)
        losses.append([])
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = predicted(model, draw(generator))[1]
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.detach())
    torch.testing.assert_close(torch.stack(losses[0]), torch.stack(losses[1]), rtol=1e-6, atol=1e-8)
    assert sum(losses[1][-5:]) < sum(losses[1][:5])  # it has learnt something
    ours.eval(), theirs.eval()
    assert_same()
    torch.testing.assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()), rtol=1e-6, atol=1e-8)
