"""The prior: what many other clips have taught the shared parts, shipped with the package (docs/prior.md).

A fit starts from it. With how much force each part of it speaks is decided on the clip's own hidden frames, as for
anything learnt; none of it is the start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vfield.core.errors import UserError
from vfield.field.checkpoint import read_tensors, write_tensors
from vfield.field.video_field import VideoField

PRIOR_PATH = Path(__file__).with_name("prior.safetensors")
# What a prior can hold: parts of a field that shows its clip's own colours.
_PARTS = ("visibility", "detail")
# With how much force its parts speak where a clip has nothing to check them on. A careless prior of visibility that
# harmed at full force was better than none at half (notes.md); detail that is wrong is worse than a spline.
UNCHECKED_FORCES = {"visibility": 0.5, "detail": 0.0}


def taught(field: VideoField) -> dict[str, Tensor]:
    """What a prior holds of a field: the values of its shared parts, by name, but for what is the clip's own."""
    values: dict[str, Tensor] = {}
    for name, part in field.shared_parts().items():
        if name in _PARTS:
            values |= {f"{name}.{key}": value.detach().clone() for key, value in part.named_parameters()}
    return values


def write_prior(path: Path, values: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write a prior, in half precision, which loses nothing that is seen; a UserError where that cannot be."""
    write_tensors(path, {name: value.half() for name, value in values.items()}, facts)


def read_prior(path: Path = PRIOR_PATH) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_prior` wrote: values by name, and facts; a UserError where the file is missing or damaged."""
    values, facts = read_tensors(path)
    return {name: value.float() for name, value in values.items()}, facts


@torch.no_grad()
def start_from_prior(field: VideoField, path: Path = PRIOR_PATH) -> None:
    """Set the shared parts of a field to what a prior holds.

    Args:
        field: its parts that a prior cannot hold stay as they are.
        path: of the prior.

    Raises:
        UserError: when the field's parts are of another shape, or the file is damaged.
    """
    known, _ = read_prior(path)
    for key, value in taught(field).items():
        if key not in known or known[key].shape != value.shape:
            part = key.partition(".")[0]
            raise UserError(
                f"the prior was taught with another field.{part} than this; leave its settings as they are, or add "
                "--prior none to learn from the clip alone"
            )
    for key, parameter in field.named_parameters():
        if key in known:
            parameter.copy_(known[key])
