"""Arms of one comparison: the same data, initialisations and batches, each at its own best learning rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from surveylab.lab.data import Dataset, Split
from surveylab.lab.evidence import say
from surveylab.lab.models import Norm
from surveylab.lab.population import Population
from surveylab.lab.session import current
from surveylab.lab.streams import Stream, make_streams
from surveylab.lab.training import accuracy, cross_entropy, predict, sweep, train
from surveylab.lab.tuning import tuned


@dataclass(frozen=True)
class Comparison:
    """What the arms of a comparison share. An arm is a normalisation and a batch size.

    Every arm sees the same number of samples, in the same order; a smaller batch takes more steps.

    Args:
        data: What each replicate's examples are drawn from.
        build: Makes a model with a given normalisation, for example `surveylab.lab.models.small_cnn`.
        streams: One a replicate.
        samples: Training examples seen by an arm, repeats included.
        rates: The grid in which an arm's learning rate is sought, ascending.
        train, validation, test: Examples of each kind in a replicate's split.
        loss, clip: As for `surveylab.lab.train`.
    """

    data: Dataset
    build: Callable[[Norm], nn.Module]
    streams: Sequence[Stream]
    samples: int
    rates: Sequence[float]
    train: int = 256
    validation: int = 256
    test: int = 1000
    loss: Callable[[Any, Tensor], Tensor] = cross_entropy
    clip: float | None = None
    split: Split = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = {"train": self.train, "validation": self.validation, "test": self.test}
        object.__setattr__(self, "split", self.data.split(self.streams, **sizes))

    def rate(self, arm: str, norm: Norm, batch: int = 16) -> float:
        """The arm's tuned learning rate; the arguments are those of `run`."""
        # One population is enough to find a rate; tuning runs with other seeds than the published run.
        scouts = list(self.streams[: current().replicates])
        return tuned(arm, self.rates, lambda rates: self._sweep(norm, batch, scouts, rates))

    def run(
        self,
        arm: str,
        norm: Norm,
        batch: int = 16,
        *,
        every: int = 0,
        watch: Callable[[Population, int], Any] | None = None,
    ) -> Population:
        """Train a replica for each stream at the arm's tuned rate.

        Args:
            arm: Its name in the tuning file and on the progress bar.
            norm: Makes the normalisation for a number of channels.
            batch: Examples a step.
            every, watch: Call ``watch(population, step)`` before the first update, every ``every`` updates
                and after the last, as `surveylab.lab.train` does.
        """
        return self._train(norm, batch, self.rate(arm, norm, batch), arm, every=every, watch=watch)

    def run_untuned(self, arm: str, norm: Norm, batch: int = 16) -> Population:
        """As `run`, for a method the tuning file does not know: its rate is found first, on other seeds.

        One population finds it, as for the arms it is compared with: more scouts would find it more exactly.
        """
        scouts = make_streams(current().seed + 1000, current().replicates, populations=1)
        best = int(self._sweep(norm, batch, scouts, list(self.rates)).mean(1).argmax())
        if best in (0, len(self.rates) - 1) and current().profile != "smoke":
            say(f"The best rate found for {arm}, {self.rates[best]:g}, is an end of its grid; see beyond it.")
        return self._train(norm, batch, self.rates[best], arm)

    def points(self, population: Population) -> Tensor:
        """Test accuracy in per cent, one a replicate: (R,), on the CPU."""
        return 100 * accuracy(population, self.split, self.split.test).cpu()

    def losses(self, population: Population) -> tuple[Tensor, Tensor]:
        """Training and test cross-entropy in evaluation mode, one a replicate: (R,) each, on the CPU."""
        seen, unseen = (
            cross_entropy(predict(population, self.split, index), self.data.y[index]).cpu()
            for index in (self.split.train, self.split.test)
        )
        return seen, unseen

    def gap(self, population: Population) -> Tensor:
        """Test minus training cross-entropy in evaluation mode, one a replicate: (R,), on the CPU."""
        seen, unseen = self.losses(population)
        return unseen - seen

    def _plan(self, batch: int) -> dict[str, Any]:
        steps = self.samples // batch
        return {
            "steps": steps,
            "batch": batch,
            "warmup": steps // 10,
            "loss": self.loss,
            "clip": self.clip,
        }

    def _sweep(self, norm: Norm, batch: int, streams: Sequence[Stream], rates: list[float]) -> Tensor:
        sizes = {"train_examples": self.train, "validation": self.validation}
        return sweep(lambda: self.build(norm), self.data, streams, rates, **sizes, **self._plan(batch))

    def _train(
        self,
        norm: Norm,
        batch: int,
        rate: float,
        arm: str,
        *,
        every: int = 0,
        watch: Callable[[Population, int], Any] | None = None,
    ) -> Population:
        population = Population(lambda: self.build(norm), self.streams, device=self.data.x.device)
        look = None if watch is None else partial(watch, population)
        options = self._plan(batch) | {"every": every, "watch": look}
        train(population, self.split, rates=rate, label=arm, **options)
        return population


def slope(x: Sequence[float], y: Tensor) -> Tensor:
    """Least-squares slope of log y (R, S) over log x (S,), one a replicate: (R,)."""
    centred = torch.tensor(x, dtype=y.dtype, device=y.device).log()
    centred = centred - centred.mean()
    return (y.log() * centred).sum(1) / centred.square().sum()
