"""Which device to work on, and which of several processes this is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, get_args

from vfield.core.errors import UserError

if TYPE_CHECKING:
    import torch

DeviceName = Literal["auto", "cpu", "cuda", "mps"]


def is_main_process() -> bool:
    """Whether this process is the one of several that writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def usable_device(name: str) -> torch.device:
    """The device of this name, or a UserError; "auto" is an accelerator where there is one, and the CPU elsewhere."""
    if name not in get_args(DeviceName):
        raise UserError(f"device must be one of {', '.join(get_args(DeviceName))}, got {name!r}")
    import torch  # here, because the names alone are asked for where nothing is computed

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in present.items() if there))
    if not present[name]:
        raise UserError(f"device {name} is not available here; use --device auto or cpu")
    return torch.device(name)
