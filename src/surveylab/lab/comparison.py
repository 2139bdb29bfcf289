"""Arms of one comparison: the same data, initialisations and batches, each at its own best learning rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from surveylab.claims import FIRST_DESIGN_SEED
from surveylab.lab import cache, tuning
from surveylab.lab.data import Baseline, Dataset, Split
from surveylab.lab.evidence import show_text
from surveylab.lab.objectives import Loss, Objective, supervised
from surveylab.lab.population import Population
from surveylab.lab.schedules import Schedule, linear
from surveylab.lab.session import active
from surveylab.lab.streams import Stream, make_streams
from surveylab.lab.training import History, MakeOptimizer, Metric, accuracy, mean_loss, sgd, train
from surveylab.lab.tuning import Grid, Point

#: What an arm needs that is to be tuned in more than its rate: it is made anew from the other values.
MakeArm = Callable[..., "Arm"]
# The rate rises over a tenth of the steps and falls linearly to zero.
WARMED = linear(warmup=0.1)
# The score of a loss that is not finite.
WORST = -1e9
# Replicas that a sweep trains at a time: more would not fit a processor's cache.
TOGETHER = 48


@dataclass(frozen=True)
class Arm:
    """What differs between the arms of a comparison.

    Args:
        build: Makes one replica's model.
        batch: Examples a step. Every arm sees the same number of samples; a smaller batch takes more steps.
        optimizer: Makes the optimiser, as for `surveylab.lab.train`.
        objective: One loss a replica; the cross-entropy by default.
        initial_state: Parameters and buffers to begin with, by name, in place of those that ``build`` draws:
            pretrained weights, for example. The same for all replicas; or a function that gives those of the
            replicas with the given streams, (R, …).
        frozen: Names of parameters that are not trained.
    """

    build: Callable[[], nn.Module]
    batch: int = 16
    optimizer: MakeOptimizer = sgd
    objective: Objective | None = None
    initial_state: Mapping[str, Tensor] | Callable[[Sequence[Stream]], Mapping[str, Tensor]] | None = None
    frozen: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Trained:
    """An arm after its training.

    Attributes:
        name: The arm's.
        arm: What it is.
        population: Its replicas.
        split: Their data.
        settings: The rate, and what else was tuned, of each replica: by name, (R,).
        history: Training losses, and what was recorded along the way.
        metric: What the comparison scores by, higher is better.
        baseline: What a classical method reaches on the same task.
    """

    name: str
    arm: Arm
    population: Population
    split: Split
    settings: Mapping[str, Tensor]
    history: History
    metric: Metric
    baseline: Baseline | None = None

    @cached_property
    def score(self) -> Tensor:
        """The comparison's metric on test examples, one a replica: (R,), on the CPU."""
        return self.evaluate()

    @cached_property
    def training_loss(self) -> Tensor:
        """The objective's mean over the training examples in evaluation mode, (R,), on the CPU."""
        return self._loss(self.split.train)

    @cached_property
    def training_accuracy(self) -> Tensor | None:
        """Per cent of the training examples that each replica gets right, (R,); None without class labels."""
        if self.metric is not percent_right:
            return None
        return percent_right(self.population, self.split, self.split.train).cpu()

    @cached_property
    def test_loss(self) -> Tensor:
        """The objective's mean over the test examples in evaluation mode, (R,), on the CPU."""
        return self._loss(self.split.test)

    @property
    def gap(self) -> Tensor:
        """Test minus training loss, (R,)."""
        return self.test_loss - self.training_loss

    @property
    def curve(self) -> Tensor:
        """What the callback returned at each of ``history.steps``: (checks, R)."""
        return torch.stack(list(self.history.values)).cpu()

    def steps_to(self, target: float) -> Tensor:
        """Updates until the curve first reaches a value, (R,); see `steps_to`."""
        return steps_to(self.history, target)

    def evaluate(
        self,
        metric: Metric | None = None,
        index: Tensor | None = None,
        *,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """A metric of each replica, (R,), on the CPU.

        Args:
            metric: The comparison's by default.
            index: Which examples, (R, N); the test examples by default.
            transform: Done to the examples (R, B, …) beforehand, such as a corruption or a shift.
        """
        split = self.split if transform is None else cast(Split, _Transformed(self.split, transform))
        chosen = self.split.test if index is None else index
        return (metric or self.metric)(self.population, split, chosen).cpu()

    def _loss(self, index: Tensor) -> Tensor:
        return mean_loss(self.population, self.split, index, self.arm.objective).cpu()


@dataclass(frozen=True, eq=False)
class _Transformed:
    """A split whose examples are changed as they are taken out."""

    split: Split
    transform: Callable[[Tensor], Tensor]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.split, name)

    def get(self, index: Tensor) -> tuple[Tensor, Tensor]:
        x, y = self.split.get(index)
        return self.transform(x), y


def minus_loss(loss: Loss) -> Metric:
    """A metric: minus a loss of what the model returns, higher is better; the worst there is if it diverged.

    Args:
        loss: Maps outputs and targets to (R,), such as `surveylab.lab.squared_error`.
    """

    def metric(population: Population, split: Split, index: Tensor) -> Tensor:
        found = -mean_loss(population, split, index, supervised(loss))
        return found.nan_to_num(nan=WORST, neginf=WORST, posinf=WORST)

    return metric


def percent_right(population: Population, split: Split, index: Tensor) -> Tensor:
    """Accuracy in per cent, (R,)."""
    return 100 * accuracy(population, split, index)


@dataclass(frozen=True)
class Comparison:
    """What the arms of a comparison share.

    Args:
        data: What each replicate's examples are drawn from.
        streams: One a replicate, population by population.
        samples: Training examples seen by an arm, repeats included.
        rates: The grid in which an arm's learning rate is sought, ascending; or several grids by name, of
            which ``rate`` is one, such as ``{"rate": […], "weight_decay": […]}``.
        train, validation, test: Examples of each kind in a replicate's split.
        metric: What arms are scored by, higher is better; the accuracy in per cent by default.
        schedule: As for `surveylab.lab.train`; by default the rate rises over a tenth of the steps and falls
            linearly to zero.
        clip: Likewise.
        every: Record the metric on the validation examples before the first update, every ``every`` updates
            and after the last, as ``trained.curve``; 0 for never.
        target: Tune an arm to reach this value of the metric soon, in place of a high one at the end.
        baseline: What a classical method reaches on as many examples of the same task, one of `BASELINES`; an
            arm that is no worse has learnt.
        label: What goes before an arm's name in the tuning file and on the progress bar, where a chapter has
            several comparisons.
    """

    data: Dataset
    streams: Sequence[Stream]
    samples: int
    rates: Sequence[float] | Grid
    train: int = 256
    validation: int = 256
    test: int = 1000
    metric: Metric = percent_right
    schedule: Schedule = WARMED
    clip: float | None = None
    every: int = 0
    target: float | None = None
    baseline: Baseline | None = None
    label: str = ""
    split: Split = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.data.y.is_floating_point() and self.metric is percent_right:
            raise ValueError(
                f"{self.data.name} has floating-point targets, of which there is no accuracy: give a metric, "
                "such as minus_loss(squared_error), and arms with objective=supervised(squared_error)"
            )
        if self.target is not None and self.every < 1:
            raise ValueError(f"every must be at least 1 where a target is to be reached; got {self.every}")
        sizes = {"train": self.train, "validation": self.validation, "test": self.test}
        object.__setattr__(self, "split", self.data.split(self.streams, **sizes))

    @property
    def grid(self) -> dict[str, list[float]]:
        """The values to try, by name."""
        grid = self.rates if isinstance(self.rates, Mapping) else {"rate": self.rates}
        return {name: list(values) for name, values in grid.items()}

    def variant(self, label: str, *, budget: float = 1.0, **changes: Any) -> Comparison:
        """The same comparison in another setting: for the guard at other budgets, and for the scope map.

        It has the replicas of population 0 alone, and its arms are tuned anew, under names of their own.

        Args:
            label: Added to the comparison's own, to tell its arms from those of other settings.
            budget: How many times the training examples.
            **changes: Any other field, by name: ``train=4000``, ``data=…``.
        """
        label = f"{self.label}, {label}" if self.label else label
        streams = [stream for stream in self.streams if stream.population == 0]
        changed: dict[str, Any] = {
            "samples": round(self.samples * budget),
            "streams": streams,
            "label": label,
        } | changes
        return replace(self, **changed)

    def settings(self, name: str, arm: Arm | MakeArm) -> list[Point]:
        """The values at which an arm trains, one `Point` a population: by `surveylab.lab.tuning`'s rules.

        In a chapter they are those of its tuning file; elsewhere they are sought at once, on other seeds.
        """
        run = active()
        if run is None or not run.registered:
            return self.search(name, arm)
        return tuning.settings(self._named(name), self.grid, self.streams, self._trial(arm))

    def search(self, name: str, arm: Arm | MakeArm) -> list[Point]:
        """Seek an arm's values at once, on other seeds than the run's, for a method no tuning file knows."""
        populations = len(tuning.populations_of(self.streams))
        others = make_streams(
            self.streams[0].seed + FIRST_DESIGN_SEED, len(self.streams) // populations, populations
        )
        found = tuning.search(name, self.grid, others, self._trial(arm))
        edge = tuning.at_edge(found.grid, found.best)
        if edge is not None and not tuning.is_smoke():
            show_text(f"Of {name}, {edge}; see beyond it.")
        return found.best

    def run(
        self,
        name: str,
        arm: Arm | MakeArm,
        *,
        settings: Sequence[Point] | None = None,
        every: int = 0,
        callback: Callable[[Population, int], Any] | None = None,
    ) -> Trained:
        """Train a replica for each stream, at its population's tuned values.

        Args:
            name: The arm's, in the tuning file and on the progress bar.
            arm: What it is; or, where more than the rate is tuned, what makes it from the other values.
            settings: The values, one `Point` a population; tuned by default.
            every, callback: Call ``callback(population, step)`` before the first update, every ``every``
                updates and after the last. ``trained.history.values`` has what it returned. By default the
                comparison's curve is recorded.
        """
        settings = self.settings(name, arm) if settings is None else list(settings)
        name = self._named(name)
        points = tuning.by_replica(settings, self.streams)
        others = tuning.without_rate(points[0])
        if any(tuning.without_rate(point) != others for point in points):
            raise ValueError(
                f"{name}: settings must differ between populations in the rate alone; got {settings}"
            )
        chosen = self._made(arm, others)
        # While rates are being sought, results are not used; an observer needs the whole run.
        share = tuning.SHORT if tuning.is_tuning() and callback is None else 1.0
        population = self._population(chosen, self.streams)
        key = cache.key_of(
            name,
            [points, self.samples, every, chosen.batch, self.clip, list(chosen.frozen)],
            *population.state.values(),
            *population.buffers.values(),
            self.data.x,
            self.data.y,
            self.split.train,
            self.split.validation,
        )
        history = cache.load(key, population)
        if history is None:
            history = self._fit(
                chosen,
                population,
                self.split,
                torch.tensor([point["rate"] for point in points], dtype=torch.float64),
                samples=self.samples * share,
                label=name,
                every=every,
                callback=callback,
            )
            cache.save(key, population, history)
        if (run := active()) is not None:
            x, _ = self.split.get(self.split.train[:, : chosen.batch])
            run.strategies[name] = population.train().plan(x)
        values = {key: torch.tensor([point[key] for point in points]) for key in points[0]}
        return Trained(name, chosen, population, self.split, values, history, self.metric, self.baseline)

    def sweep(self, arm: Arm, rates: Sequence[float]) -> Tensor:
        """Validation score after training at each rate: (rates, R), on the CPU.

        A replicate's initialisation, data and batches are the same at every rate.
        """
        trials = [(stream, {"rate": float(rate)}) for rate in rates for stream in self.streams]
        share = tuning.SHORT if tuning.is_tuning() else 1.0
        return self._trial(arm)(trials, share).view(len(rates), len(self.streams))

    def _trial(self, arm: Arm | MakeArm) -> tuning.Trial:
        """Scores on validation examples of streams trained at points, for a share of the samples."""

        def score(trials: Sequence[tuple[Stream, Point]], share: float) -> Tensor:
            scores = torch.empty(len(trials))
            groups: dict[tuple, list[int]] = {}
            for place, (_, point) in enumerate(trials):
                groups.setdefault(tuple(sorted(tuning.without_rate(point).items())), []).append(place)
            for other, places in groups.items():
                chosen = self._made(arm, dict(other))
                for part in (places[k : k + TOGETHER] for k in range(0, len(places), TOGETHER)):
                    streams = [trials[place][0] for place in part]
                    split = self.data.split(streams, train=self.train, validation=self.validation, test=0)
                    rates = torch.tensor([trials[place][1]["rate"] for place in part], dtype=torch.float64)
                    label = f"{len(part)} trials"
                    population = self._population(chosen, streams)
                    history = self._fit(
                        chosen, population, split, rates, samples=self.samples * share, label=label
                    )
                    if self.target is None:
                        scores[part] = self.metric(population, split, split.validation).cpu()
                    else:
                        scores[part] = _soon(history, self.target)
            return scores

        return score

    def _named(self, name: str) -> str:
        """An arm's name in the whole chapter."""
        return f"{self.label}: {name}" if self.label else name

    def _population(self, arm: Arm, streams: Sequence[Stream]) -> Population:
        population = Population(arm.build, streams, device=self.data.x.device)
        state = arm.initial_state
        if state is None:
            return population
        if callable(state):
            return population.load(state(streams))
        own = {**population.state, **population.buffers}
        stacked = [name for name, value in state.items() if name in own and value.ndim == own[name].ndim]
        if stacked and list(streams) != list(self.streams):
            raise ValueError(
                f"initial_state has one entry a replica of the run ({', '.join(stacked)}), and tuning trains "
                "others: give a function of the streams, or the settings"
            )
        return population.load(state)

    def _made(self, arm: Arm | MakeArm, others: Point) -> Arm:
        """The arm at values other than the rate."""
        if not isinstance(arm, Arm):
            return arm(**others)
        if others:
            raise ValueError(
                f"the grid has values of {', '.join(others)}, which an Arm cannot take: give a function of "
                "them that makes the arm"
            )
        return arm

    def _fit(
        self,
        arm: Arm,
        population: Population,
        split: Split,
        rates: Tensor,
        *,
        samples: float,
        label: str,
        every: int = 0,
        callback: Callable[[Population, int], Any] | None = None,
    ) -> History:
        if callback is None and self.every:
            every = self.every
            callback = lambda population, _: self.metric(population, split, split.validation).cpu()  # noqa: E731
        return train(
            population,
            split,
            arm.objective,
            steps=max(int(samples) // arm.batch, 1),
            batch=arm.batch,
            rates=rates,
            optimizer=arm.optimizer,
            schedule=self.schedule,
            clip=self.clip,
            frozen=arm.frozen,
            every=every,
            callback=None if callback is None else lambda step: callback(population, step),
            label=label,
        )


def _soon(history: History, target: float) -> Tensor:
    """Minus the steps to a target; of those that never reach it, the closer is the better, (R,)."""
    missing = target - torch.stack(list(history.values)).amax(0)
    return -steps_to(history, target) - missing.clamp_min(0)


def steps_to(history: History, target: float) -> Tensor:
    """Updates until what was recorded first reaches a value, (R,), in float.

    A replica that never reaches it gets one interval more than the last look: such values are censored, to be
    counted and not averaged.
    """
    reached = torch.stack(list(history.values)) >= target  # (checks, R)
    steps = torch.tensor([*history.steps, 2 * history.steps[-1] - history.steps[-2]], dtype=torch.float32)
    return steps[torch.where(reached.any(0), reached.int().argmax(0), len(reached))]


def slope(x: Sequence[float], y: Tensor) -> Tensor:
    """Least-squares slope of log y (R, S) over log x (S,), one a replicate: (R,)."""
    centred = torch.tensor(x, dtype=y.dtype, device=y.device).log()
    centred = centred - centred.mean()
    return (y.log() * centred).sum(1) / centred.square().sum()
