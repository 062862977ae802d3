"""Interlaced video to progressive, by FFmpeg's bwdif, at exact times."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

from av.video.frame import VideoFrame

from vfield.core.errors import UserError
from vfield.video_io.graph import FilterChain

Deinterlacing = Literal["frame", "field"]
Timed = tuple[Fraction, VideoFrame]

_LEAST_SIDE = 8  # of what bwdif takes in every pixel format


def deinterlaced(frames: Iterator[Timed], mode: Deinterlacing, step: Fraction) -> Iterator[Timed]:
    """Progressive frames from interlaced ones, in the order of time.

    Method: bwdif (Weston's three-field filter within yadif's bounds). Each output frame keeps one field as it is and
    makes the other field's rows. Which field comes first is read from the frames, top where they do not say.

    Args:
        frames: (presentation time, frame), all of one size and format.
        mode: "frame" makes one of each at its own time, from its first field; "field" two, the second half-way to the
            next frame's time.
        step: seconds that the last frame lasts.

    Raises:
        UserError: when the frames are too small for the filter.
    """
    chain: FilterChain | None = None
    count = 2 if mode == "field" else 1
    waiting: deque[Fraction] = deque()
    made: deque[VideoFrame] = deque()

    def ready() -> Iterator[Timed]:
        # The filter gives a frame only when it has seen the next one: its time is known by then, except at the end.
        while len(made) >= count:
            pts = waiting.popleft()
            lasting = waiting[0] - pts if waiting else step
            for field in range(count):
                yield pts + lasting * field / count, made.popleft()

    for pts, frame in frames:
        if chain is None:
            _check_size(frame)
            chain = FilterChain(frame, [("bwdif", f"mode=send_{mode}:parity=auto:deint=all")])
        waiting.append(pts)
        made.extend(chain.push(frame))
        yield from ready()
    if chain is not None:
        made.extend(chain.push(None))
        yield from ready()


def _check_size(frame: VideoFrame) -> None:
    if min(frame.height, frame.width) < _LEAST_SIDE:
        raise UserError(
            f"frames of {frame.width}x{frame.height} are too small to be deinterlaced: "
            f"{_LEAST_SIDE}x{_LEAST_SIDE} is the least; leave deinterlace out"
        )
