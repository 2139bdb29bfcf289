"""Adaptive mechanisms of the survey: activations, optimisers, components, and conditional computation."""

from surveylab.adaptive.activations import (
    AconB,
    AconC,
    MetaAconC,
    PReLU,
    Swish,
    acon_a,
    acon_b,
    acon_c,
    meta_acon_beta,
    meta_acon_c,
    prelu,
    swish,
)

__all__ = [
    "AconB",
    "AconC",
    "MetaAconC",
    "PReLU",
    "Swish",
    "acon_a",
    "acon_b",
    "acon_c",
    "meta_acon_beta",
    "meta_acon_c",
    "prelu",
    "swish",
]
