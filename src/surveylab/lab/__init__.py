"""How an experiment is run and judged: replicas trained at once, real data, evidence, figures.

A chapter begins with `begin`, trains each `Population` on `digits` or `photos`, and ends each question
with `check`.
"""

from surveylab.lab import models, plots
from surveylab.lab.candidate import CandidateError, load_candidate
from surveylab.lab.comparison import Comparison, slope
from surveylab.lab.data import Dataset, Split, digits, photograph, photos, scenes
from surveylab.lab.evidence import NotReproducedError, check, say, show_source, summary
from surveylab.lab.landscape import gradients, moved, norms
from surveylab.lab.population import Population
from surveylab.lab.session import DeviceError, Run, begin, current
from surveylab.lab.streams import Stream, make_streams
from surveylab.lab.training import accuracy, batch_order, cross_entropy, predict, sweep, train
from surveylab.lab.tuning import TuningError, sweeps, tuned

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
    "cross_entropy",
    "current",
    "digits",
    "gradients",
    "load_candidate",
    "make_streams",
    "models",
    "moved",
    "norms",
    "photograph",
    "photos",
    "plots",
    "predict",
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
