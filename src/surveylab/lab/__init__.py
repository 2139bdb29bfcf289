"""How an experiment is run and judged: replicas trained at once, real data, evidence, figures.

A chapter begins with `begin`, draws data, trains the arms of a `Comparison`, and ends each question with
`check`.
"""

from surveylab.lab import models, plots, schedules
from surveylab.lab.candidate import CandidateError, compare, load_candidate
from surveylab.lab.comparison import Arm, Comparison, Trained, percent_right, slope, steps_to
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
from surveylab.lab.evidence import NotReproducedError, check, say, show_source, summary
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
    "mnist",
    "mnist1d",
    "mnist_8x8",
    "models",
    "percent_right",
    "photograph",
    "photos",
    "plots",
    "predict",
    "progress",
    "pycode",
    "say",
    "scenes",
    "schedules",
    "sgd",
    "show_source",
    "slope",
    "squared_error",
    "steps_to",
    "summary",
    "supervised",
    "sweeps",
    "train",
]
