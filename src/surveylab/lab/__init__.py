"""How an experiment is run and judged: replicas trained at once, real data, evidence, figures.

A chapter begins with `begin`, trains each `Population` on a data set such as `mnist1d`, and ends each
question with `check`.
"""

from surveylab.lab import models, plots, recurrent, style
from surveylab.lab.candidate import CandidateError, compare, load_candidate
from surveylab.lab.comparison import Comparison, slope
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
from surveylab.lab.influence import influence_on
from surveylab.lab.landscape import gradients, moved, norms
from surveylab.lab.population import Population
from surveylab.lab.session import DeviceError, Run, begin, current
from surveylab.lab.streams import Stream, make_streams
from surveylab.lab.timing import interleaved
from surveylab.lab.training import accuracy, batch_order, cross_entropy, predict, sweep, train
from surveylab.lab.tuning import TuningError, sweeps, tuned
from surveylab.lab.watching import progress

__all__ = [
    "BASELINES",
    "Baseline",
    "CandidateError",
    "Comparison",
    "Corpus",
    "Dataset",
    "DeviceError",
    "Document",
    "NotReproducedError",
    "Population",
    "Run",
    "Split",
    "Stream",
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
    "gradients",
    "influence_on",
    "interleaved",
    "load_candidate",
    "make_streams",
    "mnist",
    "mnist1d",
    "mnist_8x8",
    "models",
    "moved",
    "norms",
    "photograph",
    "photos",
    "plots",
    "predict",
    "progress",
    "pycode",
    "recurrent",
    "say",
    "scenes",
    "show_source",
    "slope",
    "style",
    "summary",
    "sweep",
    "sweeps",
    "train",
    "tuned",
]
