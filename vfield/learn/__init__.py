"""Fitting: the one training loop, for one clip, for many, and for a new clip beside those that were fitted."""

from typing import TYPE_CHECKING

from vfield.core.startup import names_from

if TYPE_CHECKING:
    from vfield.learn.config import Config, TrainingConfig
    from vfield.learn.fits import FitResult, adapt, begin_folder, check_device, fit, fit_many, teach
    from vfield.learn.saves import RESUME_NAME, remove_summary
    from vfield.learn.teaching import Taught

__getattr__ = names_from(__name__, __file__)

__all__ = [
    "RESUME_NAME",
    "Config",
    "FitResult",
    "Taught",
    "TrainingConfig",
    "adapt",
    "begin_folder",
    "check_device",
    "fit",
    "fit_many",
    "remove_summary",
    "teach",
]
