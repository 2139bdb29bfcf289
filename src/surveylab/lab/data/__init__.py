"""Real data, a file for each data set.

All but Fashion-MNIST come with packages that are installed anyway; ``make data`` fetches that one. Each is
made the same way every time and carries a checksum of its content, which each claim that rests on it records.
"""

from surveylab.lab.data.baselines import BASELINES, Baseline, baseline, colour_moments
from surveylab.lab.data.corpus import Corpus, Document
from surveylab.lab.data.dataset import Dataset, Split
from surveylab.lab.data.digits import digits
from surveylab.lab.data.english import english
from surveylab.lab.data.fashion import fashion
from surveylab.lab.data.mnist import mnist, mnist_8x8
from surveylab.lab.data.mnist1d import mnist1d
from surveylab.lab.data.photos import photograph, photos, scenes
from surveylab.lab.data.pycode import pycode

__all__ = [
    "BASELINES",
    "Baseline",
    "Corpus",
    "Dataset",
    "Document",
    "Split",
    "baseline",
    "colour_moments",
    "digits",
    "english",
    "fashion",
    "mnist",
    "mnist1d",
    "mnist_8x8",
    "photograph",
    "photos",
    "pycode",
    "scenes",
]
