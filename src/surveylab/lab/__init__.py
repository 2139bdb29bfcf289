"""How an experiment is run and judged: replicas trained at once, real data, evidence, figures.

A chapter begins with `begin`, draws data, trains the arms of a `Comparison`, and ends each question with
`check`.

From data of one's own to a judged comparison, in any script or notebook (``examples/own_data.py``)::

    from functools import partial

    import torch
    from torch import nn

    from surveylab import lab

    x = torch.randn(2000, 16, generator=torch.Generator().manual_seed(0))  # your examples, (N, …)
    y = (x.sin().sum(1) > 0).long()  # and their labels, (N,)


    def network(norm) -> nn.Module:
        return nn.Sequential(nn.Linear(16, 32), norm(32), nn.ReLU(), nn.Linear(32, 2))


    run = lab.begin(profile="standard")  # three populations of eight replicates
    rates = [2.0**k for k in range(-8, 3)]
    task = lab.Comparison(lab.Dataset.of(x, y).to(run.device), run.streams(), 8192, rates)
    arms = {"BN": lab.Arm(partial(network, nn.BatchNorm1d)), "none": lab.Arm(partial(network, nn.Identity))}
    trained = {name: task.run(name, arm) for name, arm in arms.items()}  # each at its own best rates
    lab.compare({name: arm.score for name, arm in trained.items()}, "none")
    lab.check("BN minus none, points", trained["BN"].score - trained["none"].score)
"""

from surveylab.lab import models, plots, schedules
from surveylab.lab.budgets import at_budgets, over_budgets
from surveylab.lab.candidate import CandidateError, compare, load_candidate
from surveylab.lab.comparison import Arm, Comparison, Trained, minus_loss, percent_right, slope, steps_to
from surveylab.lab.data import (
    BASELINES,
    Baseline,
    Corpus,
    Dataset,
    Document,
    Split,
    baseline,
    colour_moments,
    digits,
    english,
    fashion,
    mnist,
    mnist1d,
    mnist_8x8,
    photograph,
    photos,
    pycode,
    scenes,
)
from surveylab.lab.evidence import NotReproducedError, check, show_source, show_text, summary
from surveylab.lab.objectives import Batch, Objective, cross_entropy, squared_error, supervised
from surveylab.lab.population import Population
from surveylab.lab.session import DeviceError, Run, begin, current
from surveylab.lab.streams import Stream, make_streams
from surveylab.lab.timing import interleaved
from surveylab.lab.training import History, accuracy, batch_order, mean_loss, predict, sgd, train
from surveylab.lab.tuning import TuningError, sweeps
from surveylab.lab.watching import progress

__all__ = [
    "BASELINES",
    "Arm",
    "Baseline",
    "Batch",
    "CandidateError",
    "Comparison",
    "Corpus",
    "Dataset",
    "DeviceError",
    "Document",
    "History",
    "NotReproducedError",
    "Objective",
    "Population",
    "Run",
    "Split",
    "Stream",
    "Trained",
    "TuningError",
    "accuracy",
    "at_budgets",
    "baseline",
    "batch_order",
    "begin",
    "check",
    "colour_moments",
    "compare",
    "cross_entropy",
    "current",
    "digits",
    "english",
    "fashion",
    "interleaved",
    "load_candidate",
    "make_streams",
    "mean_loss",
    "minus_loss",
    "mnist",
    "mnist1d",
    "mnist_8x8",
    "models",
    "over_budgets",
    "percent_right",
    "photograph",
    "photos",
    "plots",
    "predict",
    "progress",
    "pycode",
    "scenes",
    "schedules",
    "sgd",
    "show_source",
    "show_text",
    "slope",
    "squared_error",
    "steps_to",
    "summary",
    "supervised",
    "sweeps",
    "train",
]
