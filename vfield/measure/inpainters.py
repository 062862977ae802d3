"""What people use today to fill holes: pure functions from frames and what is visible of them to whole frames.

Beside `vfield.measure.peers`, and like them to be measured against. OpenCV's own are used here and nowhere else.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from vfield.core.errors import UserError

_METHODS = {"Telea": cv2.INPAINT_TELEA, "Navier-Stokes": cv2.INPAINT_NS}
_RADIUS = 3.0  # pixels around each hidden one that are looked at
_MEDIAN_REACH = 5  # frames to either side


def inpaint(frames: Tensor, visible: Tensor, method: Literal["Telea", "Navier-Stokes"]) -> Tensor:
    """OpenCV's `inpaint`, frame by frame.

    Methods: Telea, "An image inpainting technique based on the fast marching method", J. Graphics Tools 2004;
    Bertalmio, Bertozzi and Sapiro, "Navier-Stokes, fluid dynamics, and image and video inpainting", CVPR 2001.

    Args:
        frames: (t, 3, h, w) uint8.
        visible: (t, h, w) bool; a frame of which nothing is visible comes back black.
        method: which one.

    Returns:
        (t, 3, h, w) uint8.

    Raises:
        UserError: when sizes or types are others.
    """
    _check(frames, visible)
    made = []
    for frame, seen in zip(frames, visible, strict=True):
        picture = np.ascontiguousarray(rearrange(frame * seen, "c h w -> h w c").numpy())
        hole = np.ascontiguousarray((~seen).numpy().astype(np.uint8))
        filled = cv2.inpaint(picture, hole, _RADIUS, _METHODS[method]) if bool(seen.any()) else picture
        made.append(torch.from_numpy(filled))
    return rearrange(torch.stack(made), "t h w c -> t c h w")


def temporal_median(frames: Tensor, visible: Tensor, fallback: bool) -> Tensor:
    """The median of what nearby frames show at the same place; nothing moves.

    Args:
        frames: (t, 3, h, w) uint8.
        visible: (t, h, w) bool.
        fallback: whether what no nearby frame shows is filled by Telea's method; grey otherwise.

    Returns:
        (t, 3, h, w) uint8.

    Raises:
        UserError: when sizes or types are others.
    """
    _check(frames, visible)
    made = frames.clone()
    known = visible.clone()
    for frame, seen in enumerate(visible):
        near = slice(max(0, frame - _MEDIAN_REACH), frame + _MEDIAN_REACH + 1)
        shown = torch.where(visible[near][:, None], frames[near].float(), torch.nan)
        # The mean of the two in the middle where their number is even.
        median = shown.nanquantile(0.5, dim=0)
        found = ~median.isnan().any(dim=0)
        made[frame] = torch.where(seen, frames[frame], torch.where(found, median, 128).round().to(torch.uint8))
        known[frame] = seen | found
    return inpaint(made, known, "Telea") if fallback else made


def _check(frames: Tensor, visible: Tensor) -> None:
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8:
        raise UserError(f"frames must be (t, 3, h, w) uint8, got {tuple(frames.shape)} {frames.dtype}")
    if visible.shape != (len(frames), *frames.shape[2:]) or visible.dtype != torch.bool:
        raise UserError(f"visible must be (t, h, w) bool of the frames' size, got {tuple(visible.shape)}")
