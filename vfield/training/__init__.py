"""Fitting: the one training loop, for one clip, for many, and for a new clip beside those that were fitted."""

from typing import TYPE_CHECKING

from vfield.lazily import names_from

if TYPE_CHECKING:
    from vfield.training.fits import FitResult, adapt, begin_folder, check_device, fit, fit_many
    from vfield.training.saves import RESUME_NAME, remove_summary
    from vfield.training.settings import Config, TrainingConfig

__getattr__ = names_from(
    __name__,
    {
        "FitResult": "vfield.training.fits",
        "adapt": "vfield.training.fits",
        "begin_folder": "vfield.training.fits",
        "check_device": "vfield.training.fits",
        "fit": "vfield.training.fits",
        "fit_many": "vfield.training.fits",
        "RESUME_NAME": "vfield.training.saves",
        "remove_summary": "vfield.training.saves",
        "Config": "vfield.training.settings",
        "TrainingConfig": "vfield.training.settings",
    },
)

__all__ = [
    "RESUME_NAME",
    "Config",
    "FitResult",
    "TrainingConfig",
    "adapt",
    "begin_folder",
    "check_device",
    "fit",
    "fit_many",
    "remove_summary",
]
