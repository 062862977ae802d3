"""Fitting: the one training loop, for one clip, for many, and for a new clip beside those that were fitted."""

from vfield.training.fits import FitResult, adapt, begin_folder, check_device, fit, fit_many
from vfield.training.saves import RESUME_NAME, remove_summary
from vfield.training.settings import Config, TrainingConfig
from vfield.training.windowed import WindowSource, WindowsResult, fit_windows

__all__ = [
    "RESUME_NAME",
    "Config",
    "FitResult",
    "TrainingConfig",
    "WindowSource",
    "WindowsResult",
    "adapt",
    "begin_folder",
    "check_device",
    "fit",
    "fit_many",
    "fit_windows",
    "remove_summary",
]
