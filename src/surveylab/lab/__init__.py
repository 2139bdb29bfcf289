"""How an experiment is run and judged: replicas trained at once, real data, evidence, figures.

A chapter begins with `begin`, trains each `Population` on `digits` or `photos`, and ends each question
with `check`.
"""

from surveylab.lab import models, plots, recurrent
from surveylab.lab.candidate import CandidateError, compare, load_candidate
from surveylab.lab.comparison import Comparison, slope
from surveylab.lab.data import Dataset, Split, digits, photograph, photos, scenes
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
    "CandidateError",
    "Comparison",
    "Dataset",
    "DeviceError",
    "NotReproducedError",
    "Population",
    "Run",
    "Split",
    "Stream",
    "TuningError",
    "accuracy",
    "batch_order",
    "begin",
    "check",
    "compare",
    "cross_entropy",
    "current",
    "digits",
    "gradients",
    "influence_on",
    "interleaved",
    "load_candidate",
    "make_streams",
    "models",
    "moved",
    "norms",
    "photograph",
    "photos",
    "plots",
    "predict",
    "progress",
    "recurrent",
    "say",
    "scenes",
    "show_source",
    "slope",
    "summary",
    "sweep",
    "sweeps",
    "train",
    "tuned",
]
