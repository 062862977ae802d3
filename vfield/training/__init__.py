"""Fitting: the one training loop, for one clip, for many, and for a new clip beside those that were fitted."""

from vfield.training.fits import FitResult, adapt, check_device, fit, fit_many
from vfield.training.saves import RESUME_NAME
from vfield.training.settings import Config, TrainingConfig

__all__ = [
    "RESUME_NAME",
    "Config",
    "FitResult",
    "TrainingConfig",
    "adapt",
    "check_device",
    "fit",
    "fit_many",
]
