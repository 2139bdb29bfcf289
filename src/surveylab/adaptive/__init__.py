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
from surveylab.adaptive.adabelief import AdaBelief, adabelief_step
from surveylab.adaptive.adabn import adapt_batch_norm, adapted_buffers
from surveylab.adaptive.adagrad import Adagrad, adagrad_step
from surveylab.adaptive.adam import Adam, AdamW, adam_step
from surveylab.adaptive.adaptive_computation import AdaptiveComputationTime, GRUCell, Pondered, act_step
from surveylab.adaptive.capsules import (
    CapsNet,
    CapsuleLayer,
    PrimaryCapsules,
    capsule_lengths,
    margin_loss,
    route,
    squash,
)
from surveylab.adaptive.dynamic_convolution import (
    DynamicConv1d,
    DynamicConv2d,
    annealed_temperature,
    dynamic_convolution,
    kernel_attention,
    set_temperature,
)
from surveylab.adaptive.rmsprop import RMSprop, rmsprop_step
from surveylab.adaptive.squeeze_excitation import SqueezeExcitation, SqueezeExcitation1d, squeeze_excitation

__all__ = [
    "AconB",
    "AconC",
    "AdaBelief",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdaptiveComputationTime",
    "CapsNet",
    "CapsuleLayer",
    "DynamicConv1d",
    "DynamicConv2d",
    "GRUCell",
    "MetaAconC",
    "PReLU",
    "Pondered",
    "PrimaryCapsules",
    "RMSprop",
    "SqueezeExcitation",
    "SqueezeExcitation1d",
    "Swish",
    "acon_a",
    "acon_b",
    "acon_c",
    "act_step",
    "adabelief_step",
    "adagrad_step",
    "adam_step",
    "adapt_batch_norm",
    "adapted_buffers",
    "annealed_temperature",
    "capsule_lengths",
    "dynamic_convolution",
    "kernel_attention",
    "margin_loss",
    "meta_acon_beta",
    "meta_acon_c",
    "prelu",
    "rmsprop_step",
    "route",
    "set_temperature",
    "squash",
    "squeeze_excitation",
    "swish",
]
