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
from surveylab.adaptive.mixture_of_experts import (
    MixtureOfExperts,
    competitive_loss,
    cooperative_loss,
)
from surveylab.adaptive.rmsprop import RMSprop, rmsprop_step
from surveylab.adaptive.sparse_mixture_of_experts import (
    SparseMixtureOfExperts,
    cv_squared,
    noisy_logits,
    selection_probability,
    top_k_gates,
)
from surveylab.adaptive.squeeze_excitation import SqueezeExcitation, SqueezeExcitation1d, squeeze_excitation
from surveylab.adaptive.switch_mixture_of_experts import SwitchMixtureOfExperts, switch_balance

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
    "MixtureOfExperts",
    "PReLU",
    "Pondered",
    "PrimaryCapsules",
    "RMSprop",
    "SparseMixtureOfExperts",
    "SqueezeExcitation",
    "SqueezeExcitation1d",
    "Swish",
    "SwitchMixtureOfExperts",
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
    "competitive_loss",
    "cooperative_loss",
    "cv_squared",
    "dynamic_convolution",
    "kernel_attention",
    "margin_loss",
    "meta_acon_beta",
    "meta_acon_c",
    "noisy_logits",
    "prelu",
    "rmsprop_step",
    "route",
    "selection_probability",
    "set_temperature",
    "squash",
    "squeeze_excitation",
    "swish",
    "switch_balance",
    "top_k_gates",
]
