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
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surveylab.lab.data import Dataset, Split, photograph
from surveylab.lab.evidence import say
from surveylab.lab.models import Norm, he_init
from surveylab.lab.population import Population
from surveylab.lab.session import current
from surveylab.lab.streams import Stream, make_streams
from surveylab.lab.training import batch_order
from surveylab.lab.tuning import tuned
from surveylab.lab.watching import progress

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


def train(
    population: Population,
    split: Split,
    loss: Callable[[Tensor], Tensor],
    *,
    steps: int,
    rate: float,
    batch: int = 4,
    label: str = "",
) -> None:
    """Train stylists on the contents in ``split.train`` by Adam, as is usual for them.

    The rate rises over the first tenth of the steps and falls linearly to zero.

    Args:
        population: The replicas; put into training mode.
        split: Their contents.
        loss: Maps contents (R, B, 3, H, W) to each replica's loss (R,).
        steps: Number of updates.
        rate: The learning rate.
        batch: Contents a step.
        label: What the progress bar says.
    """
    order = batch_order(population.streams, split.train.shape[1], steps * batch).to(split.train.device)
    seen = split.train.gather(1, order)
    optimiser = torch.optim.Adam(population.parameters(), lr=rate)
    population.train()
    for step in progress(range(steps), label):
        contents, _ = split.get(seen[:, step * batch : (step + 1) * batch])
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / max(steps // 10, 1)) * (1 - step / steps)
        optimiser.zero_grad()
        loss(contents).sum().backward()
        optimiser.step()


@dataclass(frozen=True)
class Transfer:
    """What the arms of a comparison of stylists share. An arm is a normalisation and a weight of the style.

    Each replicate has styles of its own, squares of different photographs of the data, and its own filters
    and contents.

    Args:
        data: Patches of photographs with values from 0 to 1; its classes name them.
        streams: One a replicate.
        steps: Updates of an arm.
        rates: The grid in which an arm's learning rate is sought, ascending.
        number: Styles of a replicate.
        pixels: Of a style's sides.
        train, validation, test: Contents of each kind in a replicate's split.
        styles: The squares, (R, S, 3, pixels, pixels).
        labels: Which photographs these are, one list a replicate.
        judge: What the pictures are judged by.
    """

    data: Dataset
    streams: Sequence[Stream]
    steps: int
    rates: Sequence[float]
    number: int = 1
    pixels: int = 192
    train: int = 256
    validation: int = 64
    test: int = 64
    split: Split = field(init=False, repr=False)
    styles: Tensor = field(init=False, repr=False)
    labels: list[list[int]] = field(init=False, repr=False)
    judge: Judge = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = {"train": self.train, "validation": self.validation, "test": self.test}
        drawn = [self._draw_styles(stream) for stream in self.streams]
        device = self.data.x.device
        styles = torch.stack([squares for squares, _ in drawn]).to(device)
        object.__setattr__(self, "split", self.data.split(self.streams, **sizes))
        object.__setattr__(self, "styles", styles)
        object.__setattr__(self, "labels", [chosen for _, chosen in drawn])
        object.__setattr__(self, "judge", Judge(self.streams, styles, self.data.x[::12]))

    def rate(self, arm: str, norm: Norm, weight: float) -> float:
        """The arm's tuned learning rate; the arguments are those of `run`."""
        scouts = list(self.streams[: current().replicates])
        return tuned(arm, self.rates, lambda rates: self._sweep(norm, weight, scouts, rates))

    def run(self, arm: str, norm: Norm, weight: float) -> Population:
        """Train a stylist for each stream at the arm's tuned rate.

        Args:
            arm: Its name in the tuning file and on the progress bar.
            norm: Makes the normalisation for a number of channels.
            weight: Of the style loss; the content's is 1.
        """
        return self.train_at(self.rate(arm, norm, weight), arm, norm, weight)

    def run_untuned(self, arm: str, norm: Norm, weight: float) -> Population:
        """As `run`, for a method the tuning file does not know: its rate is found first, on other seeds."""
        others = make_streams(current().seed + 1000, current().replicates, 1)
        best = int(self._sweep(norm, weight, others, list(self.rates)).mean(1).argmax())
        if best in (0, len(self.rates) - 1) and current().profile != "smoke":
            say(f"The best rate found for {arm}, {self.rates[best]:g}, is an end of its grid; see beyond it.")
        return self.train_at(self.rates[best], arm, norm, weight)

    def train_at(self, rate: float, arm: str, norm: Norm, weight: float, *code: Tensor) -> Population:
        """Train at a given rate; with a ``code`` (R, S, K), S pictures a step, each in a style of its own."""
        population = Population(lambda: Stylist(norm), self.streams, device=self.data.x.device)
        wanted = torch.arange(self.number, device=self.data.x.device) if code else 0
        batch = self.number if code else 4

        def loss(contents: Tensor) -> Tensor:
            content, match = self.judge(population(contents, *code), contents, wanted)
            return (content + weight * match).mean(1)

        train(population, self.split, loss, steps=self.steps, rate=rate, batch=batch, label=arm)
        return population.eval()

    @torch.no_grad()
    def losses(
        self,
        stylists: Callable[[Tensor], Tensor],
        index: Tensor | None = None,
        *,
        batch: int = 32,
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Mean content and style loss of each replicate, (2, R), on the CPU.

        Args:
            stylists: Make pictures of contents (R, B, 3, H, W).
            index: Which contents, (R, N); the test contents by default.
            batch: How many at a time.
            change: Done to the contents beforehand.
        """
        found = []
        for part in (self.split.test if index is None else index).split(batch, dim=1):
            contents, _ = self.split.get(part)
            contents = change(contents) if change else contents
            found.append(torch.stack(self.judge(stylists(contents), contents)))
        return torch.cat(found, 2).mean(2).cpu()

    def total(
        self, stylists: Callable[[Tensor], Tensor], weight: float, index: Tensor | None = None
    ) -> Tensor:
        """Mean of content loss and weighted style loss of each replicate, (R,), on the CPU."""
        content, match = self.losses(stylists, index)
        return content + weight * match

    def _draw_styles(self, stream: Stream) -> tuple[Tensor, list[int]]:
        rng = stream.numpy("probe")
        chosen = rng.permutation(len(self.data.classes))[: self.number].tolist()
        squares = []
        for label in chosen:
            image = photograph(self.data.classes[label], shrunk=True)
            top, left = (rng.integers(size - self.pixels + 1) for size in image.shape[1:])
            squares.append(image[:, top : top + self.pixels, left : left + self.pixels])
        return torch.stack(squares), chosen

    def _sweep(self, norm: Norm, weight: float, streams: Sequence[Stream], rates: list[float]) -> Tensor:
        scouts = replace(self, streams=streams)
        totals = []
        for rate in rates:
            stylists = scouts.train_at(rate, f"rate {rate:g}", norm, weight)
            totals.append(scouts.total(stylists, weight, scouts.split.validation))
        return -torch.stack(totals)
