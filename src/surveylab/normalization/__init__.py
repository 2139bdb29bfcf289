"""Normalisation layers of the survey: Batch Norm and, in later chapters, those that answer it."""

from surveylab.normalization.batch_norm import batch_norm, batch_norm_reference
from surveylab.normalization.batch_norm_layers import BatchNorm1d, BatchNorm2d, BatchNorm3d

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "batch_norm", "batch_norm_reference"]
