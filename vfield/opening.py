"""A clip in a file, looked through once and then read frame by frame when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from vfield.clip import Clip
from vfield.scan import LOOKED_AT_SIDE, Scan, scan_batches
from vfield.video_io import Deinterlacing, FileFrames, FilePart, as_seconds, scan_clip

# Wraps the batches of frames that are looked through in a progress display.
Progress = Callable[[Iterator[Tensor]], Iterable[Tensor]]


class OpenedClip(NamedTuple):
    """A clip that reads its frames when asked, and what a look through it has found."""

    clip: Clip
    scan: Scan


def open_clip(
    path: str | Path,
    *,
    start_seconds: Fraction | float | None = None,
    end_seconds: Fraction | float | None = None,
    size: tuple[int, int] | None = None,
    deinterlace: Deinterlacing | None = None,
    progress: Progress = lambda batches: batches,
) -> OpenedClip:
    """Look through a part of a file once: its times, cuts, flashes and held frames. No frame is kept.

    Args:
        path: the file; the other arguments are those of `vfield.video_io.read_clip`.
        start_seconds: likewise.
        end_seconds: likewise.
        size: likewise.
        deinterlace: likewise.
        progress: wraps the frames in a display.

    Raises:
        UserError: as `read_clip`.
    """
    found = scan_clip(
        path,
        lambda batches: scan_batches(progress(batches)),
        longest_side=LOOKED_AT_SIDE,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        size=size,
        deinterlace=deinterlace,
    )
    facts = found.facts
    part = FilePart(
        Path(path),
        as_seconds(start_seconds, "start_seconds"),
        as_seconds(end_seconds, "end_seconds"),
        size,
        deinterlace,
    )
    frames = FileFrames(part, facts, found.origin)
    clip = Clip(
        frames=frames.rgb,
        alpha=frames.alpha,
        pts_seconds=facts.pts_seconds,
        end_seconds=facts.end_seconds,
        frame_rate=facts.frame_rate,
        color=facts.color,
        pixel_aspect=facts.pixel_aspect,
        source=facts.source,
    )
    return OpenedClip(clip, found.seen)
