"""The frames that a field was fitted to, looked at through any window: with Lanczos's kernel or as squares.

FFmpeg's swscale starts at whole pixels of the source, and a window between them is what a view zooms into. So the same
kernel is evaluated here at the view's own positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vfield.core.clip import ClipFacts, to_float
from vfield.core.coords import seconds_to_t
from vfield.core.errors import UserError, told_with
from vfield.core.frames import Frames
from vfield.field.render import Region
from vfield.field.video_field import VideoField
from vfield.learn.sources import RUN_NAME, recorded_source

Scaling = Literal["lanczos", "nearest"]

_LOBES = 3
_BAND_PIXELS = 1 << 19


@dataclass(frozen=True, eq=False)
class SourceFrames:
    """Frames and when each is shown."""

    frames: Frames  # k of (3, h, w), uint8 or float32 in [0, 1]
    t: Tensor  # (k,) float32, seconds since the field's first frame

    def at(self, t: float) -> Tensor:
        """The frame (3, h, w) that is on screen at an instant: the one there or the last before it."""
        # In the precision of `t`, in which a frame's own instant is that frame's.
        asked = torch.tensor([t], dtype=torch.float32)
        return self.frames[max(int(torch.searchsorted(self.t, asked, right=True)) - 1, 0)]


def frames_of_field(field: VideoField) -> SourceFrames | None:
    """The frames that the field holds itself, None where it holds no colours."""
    return None if field.colours is None else SourceFrames(field.colours.frames, field.timeline.t.cpu())


def clip_frames(folder: Path, facts: ClipFacts) -> SourceFrames:
    """The frames of the clip that a run was fitted to; a UserError when it names none, or one that is gone."""
    nothing = "no source to show: the field holds no frames, and"
    top = folder if (folder / RUN_NAME).is_file() else folder.parent
    if not (top / RUN_NAME).is_file():
        raise UserError(f"{nothing} {folder} has no {RUN_NAME} to name the clip")
    with told_with(f"{nothing} its clip cannot be read: "):
        clips = recorded_source(top).read_all()
        # A run of several clips has a folder for each.
        seen = next(iter(clips.values())) if len(clips) == 1 else clips[folder.name]
        t = [seconds_to_t(pts, facts.pts_seconds[0]) for pts in seen.observed.pts_seconds]
        return SourceFrames(seen.observed.frames, torch.tensor(t))


def resampled(frame: Tensor, region: Region, size: tuple[int, int], scaling: Scaling) -> Iterator[Tensor]:
    """A window of a frame, in bands of rows that keep memory bounded. Beyond its border the frame's edge goes on.

    Args:
        frame: (3, h, w), uint8 or float32 in [0, 1].
        region: (u0, v0, u1, v1) of the window.
        size: (height, width) of the result.
        scaling: "lanczos" (three lobes, widened where the frame is reduced) or "nearest", which shows the frame's own
            pixels as squares where they are larger than the result's.

    Yields:
        (3, rows, width) float32, about 0 to 1, from the top down.
    """
    u0, v0, u1, v1 = region
    columns, across = _taps(u0, u1, frame.shape[2], size[1], scaling)
    rows, down = _taps(v0, v1, frame.shape[1], size[0], scaling)
    left, right = int(columns.min()), int(columns.max())
    wide = max(size[1], right - left + 1)
    for some, weight in zip(*(part.split(max(1, _BAND_PIXELS // wide)) for part in (rows, down)), strict=True):
        top, bottom = int(some.min()), int(some.max())
        part = to_float(frame[:, top : bottom + 1, left : right + 1])
        part = _weighted(part, some - top, weight[:, :, None], dim=1)
        yield _weighted(part, columns - left, across, dim=2)


def _taps(start: float, end: float, cells: int, pixels: int, scaling: Scaling) -> tuple[Tensor, Tensor]:
    """Which cells each pixel reads, (pixels, taps), and with what weights, likewise."""
    step = (end - start) * cells / pixels
    position = start * cells + (torch.arange(pixels, dtype=torch.float64) + 0.5) * step
    if scaling == "nearest" and step <= 1:
        return position.floor().long().clamp(0, cells - 1)[:, None], torch.ones(pixels, 1)
    # A pixel wider than all of the frame shows as much of its edges either way.
    stretch = min(max(step, 1.0), cells)
    centre = position - 0.5
    first = (centre - _LOBES * stretch).floor() + 1
    index = first[:, None] + torch.arange(math.ceil(2 * _LOBES * stretch))
    distance = (index - centre[:, None]) / stretch
    weight = torch.sinc(distance) * torch.sinc(distance / _LOBES) * (distance.abs() < _LOBES)
    return index.long().clamp(0, cells - 1), (weight / weight.sum(dim=1, keepdim=True)).float()


def _weighted(picture: Tensor, index: Tensor, weight: Tensor, dim: int) -> Tensor:
    """Sums of weighted rows (dim 1) or columns (dim 2) of (3, h, w); `weight` has an axis more for rows."""
    index, weight = index.to(picture.device), weight.to(picture)
    total = picture.index_select(dim, index[:, 0]) * weight[:, 0]
    for tap in range(1, index.shape[1]):
        total += picture.index_select(dim, index[:, tap]) * weight[:, tap]
    return total
