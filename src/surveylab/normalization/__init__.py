"""Normalisation layers of the survey: Batch, Layer, Instance and Group Norm, and adaptive Instance Norm.

They standardise values over different axes, by one shared function, `standardise`.
"""

from surveylab.normalization.adain import AdaIN, adaptive_instance_norm, conditional_instance_norm
from surveylab.normalization.batch_norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    batch_norm,
    batch_norm_reference,
)
from surveylab.normalization.ghost_batch_norm import GhostBatchNorm2d, ghost_batch_norm
from surveylab.normalization.group_norm import GroupNorm, group_norm
from surveylab.normalization.instance_norm import (
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    instance_norm,
)
from surveylab.normalization.layer_norm import LayerNorm, layer_norm
from surveylab.normalization.standardise import standardise, standardise_reference

__all__ = [
    "AdaIN",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GhostBatchNorm2d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "adaptive_instance_norm",
    "batch_norm",
    "batch_norm_reference",
    "conditional_instance_norm",
    "ghost_batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "standardise",
    "standardise_reference",
]
