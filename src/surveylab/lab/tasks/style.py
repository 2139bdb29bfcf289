r"""Feed-forward style transfer in small: what a picture is judged by, and a network that restyles it.

A network :math:`f` turns a photograph :math:`c`, the content, into a picture that shows the same things in
the colours and the texture of another photograph :math:`s`, the style [johnson2016perceptual]. Features
:math:`\phi_k`, of several scales :math:`k`, say how well [gatys2016image]:

.. math::

    \text{content} = \operatorname{mean}_k \operatorname{mean}
        \bigl( \phi_k(f(c)) - \phi_k(c) \bigr)^2, \qquad
    \text{style} = \operatorname{mean}_k
        \frac{\lVert G_k(f(c)) - G_k(s) \rVert^2}{\lVert G_k(s) \rVert^2}, \qquad
    G = \tfrac1n F F^\top,

where the rows of :math:`F` are the channels of :math:`\phi_k` over :math:`n` positions. The features come
from one layer of random filters a scale, which describe textures about as well as a deep trained network does
[ustyuzhaninov2017what]. Half of the filters sum to zero in each colour: their response does not change when
a colour is made brighter everywhere, and content is compared by them alone. Contrast and the edges of colours
they do see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surveylab.lab.data import Dataset, Split, photograph
from surveylab.lab.models import Norm, he_init
from surveylab.lab.objectives import Batch, Objective
from surveylab.lab.population import Population
from surveylab.lab.streams import Stream
from surveylab.lab.training import Metric

# Axis legend: R replicas, B pictures, S styles, C channels, H and W positions.


def gram(features: Tensor) -> Tensor:
    """The mean product of every two channels, which forgets where things are: (…, C, H, W) → (…, C, C)."""
    rows = features.flatten(-2)  # (…, C, H, W) -> (…, C, H W)
    return rows @ rows.transpose(-1, -2) / rows.shape[-1]


def style_loss(features: Sequence[Tensor], grams: Sequence[Tensor]) -> Tensor:
    """Squared distance of Gram matrices from a style's, relative to these; the mean over scales.

    Args:
        features: The picture's, one tensor a scale: (…, C, H, W).
        grams: The style's Gram matrices, likewise: (…, C, C).

    Returns:
        A loss for each picture, (…,).
    """
    distances = [
        (gram(found) - wanted).square().sum((-1, -2)) / wanted.square().sum((-1, -2))
        for found, wanted in zip(features, grams, strict=True)
    ]
    return torch.stack(distances).mean(0)


def content_loss(features: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of features, position by position; the mean over scales.

    Args:
        features: The picture's, one tensor a scale: (…, C, H, W).
        wanted: The content's, likewise.

    Returns:
        A loss for each picture, (…,).
    """
    distances = [(a - b).square().mean((-1, -2, -3)) for a, b in zip(features, wanted, strict=True)]
    return torch.stack(distances).mean(0)


class RandomFilters(nn.Module):
    """Features at three scales: 5x5 random filters and ReLU on the picture, and on its halves and quarters.

    The first half of the filters sum to zero in each colour. Each filter's response has mean square 1 on the
    reference photographs, so that none outweighs the others. Nothing is padded: beside zeros, brightness
    would show. So a picture needs at least 5 positions a side at the last scale, 20 pixels for three.

    Args:
        reference: Photographs (N, 3, H, W).
        channels: Filters a scale.
        scales: How many.
    """

    def __init__(self, reference: Tensor, channels: int = 16, scales: int = 3) -> None:
        super().__init__()
        self.structure = channels // 2
        banks = []
        for _ in range(scales):
            bank = torch.randn(channels, 3, 5, 5)
            bank[: self.structure] -= bank[: self.structure].mean((-1, -2), keepdim=True)
            banks.append(bank.to(reference))
        self.banks = nn.ParameterList(nn.Parameter(bank, requires_grad=False) for bank in banks)
        for bank, response in zip(self.banks, self(reference), strict=True):
            bank /= response.square().mean((0, 2, 3)).sqrt().view(-1, 1, 1, 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """The features of pictures (B, 3, H, W) with values from 0 to 1: one tensor (B, C, H, W) a scale."""
        x = centred(pictures)
        found = []
        for place, bank in enumerate(self.banks):
            x = F.avg_pool2d(x, 2) if place else x
            found.append(F.conv2d(x, bank).relu())
        return tuple(found)


class Judge:
    """What each replica's pictures are judged by: its own random filters and its own styles.

    Args:
        streams: One a replica.
        styles: The photographs whose style is wanted, (R, S, 3, H, W).
        reference: For `RandomFilters`, (N, 3, H, W).
    """

    def __init__(self, streams: Sequence[Stream], styles: Tensor, reference: Tensor) -> None:
        self.filters = Population(lambda: RandomFilters(reference), streams, device=styles.device)
        self.grams = tuple(gram(found) for found in self.filters(styles))  # (R, S, C, C) each

    def __call__(self, pictures: Tensor, contents: Tensor, style: Tensor | int = 0) -> tuple[Tensor, Tensor]:
        """Content and style loss of each picture, (R, B) both.

        Args:
            pictures: What a population made, (R, B, 3, H, W).
            contents: What it made them of, likewise.
            style: Which style is wanted, the same for all or one a picture (B,).
        """
        found, wanted = self.filters(pictures), self.filters(contents)
        which = torch.as_tensor(style, device=pictures.device).expand(pictures.shape[1])
        half = found[0].shape[2] // 2
        content = content_loss(*([f[:, :, :half] for f in features] for features in (found, wanted)))
        return content, style_loss(found, [grams[:, which] for grams in self.grams])


class Stylist(nn.Module):
    """A network that restyles photographs of any even size; every convolution but the last is normalised.

    The second convolution halves the picture, the third goes round a residual connection, the fourth works on
    the doubled size again, and the last makes colours of channels: the plan of [johnson2016perceptual] in
    small.

    Args:
        norm: Makes a normalisation for a number of channels. One that takes a second argument, such as
            `surveylab.normalization.AdaIN`, is given the code of the wanted style.
        width: Channels at full size; twice as many at half the size.
    """

    def __init__(self, norm: Norm, width: int = 8) -> None:
        super().__init__()
        plan = [(3, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1), (2 * width, width, 1)]
        # Reflected edges: zeros would draw a frame.
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride, padding=1, padding_mode="reflect")
            for before, after, stride in plan
        )
        self.norms = nn.ModuleList(norm(after) for _, after, _ in plan)
        self.colours = nn.Conv2d(width, 3, 1)
        he_init(self)

    def forward(self, contents: Tensor, *code: Tensor) -> Tensor:
        """Restyle photographs (B, 3, H, W) with values from 0 to 1; with codes (B, K), each under its own."""
        x = centred(contents)
        for place, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            if place == 3:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            y = norm(convolution(x), *code).relu()
            x = x + y if place == 2 else y
        return self.colours(x).sigmoid()


def centred(pictures: Tensor) -> Tensor:
    """Values from 0 to 1 brought to about mean 0 and variance 1 over photographs."""
    return (pictures - 0.45) / 0.25


@dataclass(frozen=True, eq=False)
class Restyling:
    """The task of a comparison of stylists: whose style is wanted, and what pictures are judged by.

    Each replicate has styles of its own, squares of different photographs of the data, and its own filters.

    Args:
        data: Patches of photographs with values from 0 to 1; its classes name them.
        number: Styles of a replicate, S.
        pixels: Of a style's sides.
    """

    data: Dataset
    number: int = 1
    pixels: int = 192
    _judges: dict[tuple[Stream, ...], Judge] = field(default_factory=dict, init=False, repr=False)

    def labels(self, streams: Sequence[Stream]) -> list[list[int]]:
        """Which photographs are the styles, one list a replicate."""
        return [self._draw(stream)[1] for stream in streams]

    def styles(self, streams: Sequence[Stream]) -> Tensor:
        """The squares of photographs whose style is wanted, (R, S, 3, pixels, pixels)."""
        return torch.stack([self._draw(stream)[0] for stream in streams]).to(self.data.x.device)

    def judge(self, streams: Sequence[Stream]) -> Judge:
        """What these replicates' pictures are judged by."""
        streams = tuple(streams)
        if streams not in self._judges:
            self._judges[streams] = Judge(streams, self.styles(streams), self.data.x[::12])
        return self._judges[streams]

    def objective(self, weight: float, code: Tensor | None = None) -> Objective:
        """Content plus weighted style loss.

        Args:
            weight: Of the style; the content's is 1.
            code: For a stylist of several styles the codes of each replicate's, (R, S, K): a batch is then S
                contents, each in a style of its own.
        """
        codes = () if code is None else (code,)
        wanted = 0 if code is None else torch.arange(self.number, device=self.data.x.device)

        def loss(population: Population, batch: Batch) -> Tensor:
            pictures = population(batch.x, *codes)
            content, match = self.judge(population.streams)(pictures, batch.x, wanted)
            return (content + weight * match).mean(1)

        return loss

    def score(self, weight: float) -> Metric:
        """Minus the mean of content and weighted style loss of each replicate, (R,): higher is better."""

        def metric(population: Population, split: Split, index: Tensor) -> Tensor:
            content, match = self.losses(population.eval(), population.streams, split, index)
            return -(content + weight * match)

        return metric

    @torch.no_grad()
    def losses(
        self,
        stylists: Callable[[Tensor], Tensor],
        streams: Sequence[Stream],
        split: Split,
        index: Tensor | None = None,
        *,
        batch: int = 32,
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Mean content and style loss of each replicate, (2, R), on the CPU.

        Args:
            stylists: Make pictures of contents (R, B, 3, H, W): a population, or anything else.
            streams: One a replica.
            split: Their contents.
            index: Which of them, (R, N); the test contents by default.
            batch: How many at a time.
            change: Done to the contents beforehand.
        """
        found = []
        for part in (split.test if index is None else index).split(batch, dim=1):
            contents, _ = split.get(part)
            contents = change(contents) if change else contents
            found.append(torch.stack(self.judge(streams)(stylists(contents), contents)))
        return torch.cat(found, 2).mean(2).cpu()

    def _draw(self, stream: Stream) -> tuple[Tensor, list[int]]:
        rng = stream.numpy("probe")
        chosen = rng.permutation(len(self.data.classes))[: self.number].tolist()
        squares = []
        for label in chosen:
            image = photograph(self.data.classes[label], shrunk=True)
            top, left = (rng.integers(size - self.pixels + 1) for size in image.shape[1:])
            squares.append(image[:, top : top + self.pixels, left : left + self.pixels])
        return torch.stack(squares), chosen
