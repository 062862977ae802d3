"""Reading a clip: its pictures gathered into one tensor, or looked through once without being kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from vfield.core.clip import Clip, ClipFacts
from vfield.core.errors import UserError
from vfield.core.memory import check_memory
from vfield.video_io.interlace import Deinterlacing
from vfield.video_io.reading import Reading, opened
from vfield.video_io.rgb import Picture

_LARGEST_SIDE = 16384
# Of the pictures that a clip is looked through in, pixels; and how many are handed over at once.
_SMALL_SIDE = 192
_BATCH = 16

Seen = TypeVar("Seen")


def read_clip(
    path: str | Path,
    *,
    start_seconds: Fraction | float | None = None,
    end_seconds: Fraction | float | None = None,
    size: tuple[int, int] | None = None,
    max_frames: int | None = None,
    deinterlace: Deinterlacing | None = None,
) -> Clip:
    """Reads a video, or an image as a clip of one frame.

    Timestamps are kept as the container gives them, so a clip that starts late keeps its late start. A frame without
    a timestamp gets the one that follows at the nominal rate; a frame whose timestamp does not come after the one
    before it is moved half a frame after that, with a line in the log. What cannot be decoded is left out, with a line
    in the log, if anything can.

    Args:
        path: the file.
        start_seconds: keep frames from this time on; 0 is the first frame.
        end_seconds: keep frames before this time (the range is half-open).
        size: (height, width) of the upright picture to scale to, by area averaging when that makes it smaller.
        max_frames: keep no more than this many.
        deinterlace: make progressive frames of interlaced ones: "frame" at the source's rate, "field" at twice that,
            one of each field. None takes frames as they are stored, with a line in the log where they are interlaced.

    Returns:
        The clip: uint8 frames for sources of 8 bits, float32 for deeper ones. Pixels are as wide as keeps the picture
        in shape at the size asked for. A file with alpha gives its picture over black, and alpha beside it.

    Raises:
        UserError: when the file, the range or the size is no good; one line says why.
    """
    _check_amount(size, max_frames, deinterlace)
    with opened(path, start_seconds, end_seconds, size, deinterlace) as reading:
        expected = reading.expected()
        store = _FrameStore(min(expected, max_frames or expected))
        for picture, pts, end in reading.pictures():
            store.append(picture, pts, end)
            if len(store.times) == max_frames:
                break
        facts = reading.facts(store.times, store.end)
        frames, alpha = store.finish()
        return Clip(
            frames=frames,
            alpha=alpha,
            pts_seconds=facts.pts_seconds,
            end_seconds=facts.end_seconds,
            frame_rate=facts.frame_rate,
            color=facts.color,
            pixel_aspect=facts.pixel_aspect,
            source=facts.source,
        )


class ShownFrame(NamedTuple):
    """A frame as it is shown.

    Attributes:
        pts_seconds: when it begins, as the container gives it.
        duration_seconds: how long it lasts, as far as the file says; otherwise of the nominal rate.
        pixels: (3, h, w), uint8 in 0..255 or float32 in [0, 1], as it looks over black.
    """

    pts_seconds: Fraction
    duration_seconds: Fraction
    pixels: Tensor


def read_frames(path: str | Path) -> Iterator[ShownFrame]:
    """The frames of a video one after another, as `read_clip` would give them all, in the memory of a few.

    Raises:
        UserError: when the file is no good; one line says why.
    """
    with opened(path, None, None, None, None) as reading:
        times, end = [], Fraction(0)
        for picture, pts, end in reading.pictures():
            times.append(pts)
            # A copy where the picture was only turned: tensors cannot go backwards through memory.
            yield ShownFrame(pts, end - pts, torch.from_numpy(np.ascontiguousarray(picture.rgb)))
        reading.facts(times, end)  # says what was wrong


class FileScan(NamedTuple, Generic[Seen]):
    """What going through a file has found.

    Attributes:
        facts: of the clip that `read_clip` would give.
        origin: the file's first timestamp, seconds, from which the part that was asked for counts.
        seen: what was seen in the small pictures.
    """

    facts: ClipFacts
    origin: Fraction
    seen: Seen


def scan_clip(
    path: str | Path,
    see: Callable[[Iterator[Tensor]], Seen],
    *,
    longest_side: int = _SMALL_SIDE,
    start_seconds: Fraction | float | None = None,
    end_seconds: Fraction | float | None = None,
    size: tuple[int, int] | None = None,
    deinterlace: Deinterlacing | None = None,
) -> FileScan[Seen]:
    """Goes through a video once, however long: what `read_clip` would say of it, and what is seen in small pictures.

    Args:
        path: the file.
        see: what looks at the pictures: given batches (n, 3, h, w), uint8 or float32 in [0, 1]. It must take all.
        longest_side: of the pictures that it is shown, pixels.
        start_seconds: as in `read_clip`.
        end_seconds: likewise.
        size: likewise; that of the clip, not of the small pictures.
        deinterlace: likewise.

    Returns:
        What was found.

    Raises:
        UserError: as `read_clip`.
    """
    _check_amount(size, None, deinterlace)
    times: list[Fraction] = []
    ends: list[Fraction] = []

    def batches(reading: Reading) -> Iterator[Tensor]:
        gathered = []
        for picture, pts, end in reading.pictures(longest_side):
            times.append(pts)
            ends[:] = [end]
            gathered.append(torch.from_numpy(np.ascontiguousarray(picture.rgb)))
            if len(gathered) == _BATCH:
                yield torch.stack(gathered)
                gathered = []
        if gathered:
            yield torch.stack(gathered)

    with opened(path, start_seconds, end_seconds, size, deinterlace) as reading:
        seen = see(batches(reading))
        return FileScan(reading.facts(times, ends[0]), reading.origin, seen)


def _check_amount(size: tuple[int, int] | None, max_frames: int | None, deinterlace: str | None) -> None:
    if max_frames is not None and max_frames < 1:
        raise UserError(f"max_frames must be at least 1, got {max_frames}")
    if size is not None and not all(1 <= side <= _LARGEST_SIDE for side in size):
        raise UserError(f"size must be (height, width) of 1 to {_LARGEST_SIDE} pixels, got {size}")
    if deinterlace not in (None, *get_args(Deinterlacing)):
        raise UserError(f"deinterlace must be {' or '.join(get_args(Deinterlacing))}, got {deinterlace!r}")


class _FrameStore:
    """Pictures and their times, gathered into tensors. Alpha takes no memory until a picture comes that has some."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._frames = _Gathered(expected)
        self._alpha: _Gathered | None = None
        self.times: list[Fraction] = []
        self.end = Fraction(0)

    def append(self, picture: Picture, pts: Fraction, end: Fraction) -> None:
        alpha = picture.alpha
        if self._alpha is None and alpha is not None:
            self._alpha = _Gathered(self._expected)
            for _ in self.times:
                self._alpha.append(_opaque(picture.rgb))
        if self._alpha is not None:
            self._alpha.append(_opaque(picture.rgb) if alpha is None else alpha)
        self._frames.append(picture.rgb)
        self.times.append(pts)
        self.end = end

    def finish(self) -> tuple[Tensor, Tensor | None]:
        return self._frames.finish(), None if self._alpha is None else self._alpha.finish()


def _opaque(rgb: np.ndarray) -> np.ndarray:
    """Alpha (h, w) of a picture (3, h, w) that has none."""
    return np.full(rgb.shape[1:], 255 if rgb.dtype == np.uint8 else 1, rgb.dtype)


class _Gathered:
    """Arrays of one shape, gathered into one tensor without holding them twice.

    The first block has room for all that are expected; memory not yet written costs nothing. Only a clip that holds
    more frames than its packets announced needs further blocks, and a copy to join them.
    """

    def __init__(self, expected: int) -> None:
        self._room = expected
        self._blocks: list[np.ndarray] = []
        self._used = 0

    def append(self, array: np.ndarray) -> None:
        if not self._blocks or self._used == len(self._blocks[-1]):
            room = self._room if not self._blocks else 16
            what = f"a clip of {self._room} frames of {array.shape[-1]}x{array.shape[-2]}"
            check_memory(room * array.nbytes, what, "take a part of it with --start and --end, or smaller frames")
            self._blocks.append(np.empty((room, *array.shape), array.dtype))
            self._used = 0
        self._blocks[-1][self._used] = array
        self._used += 1

    def finish(self) -> Tensor:
        blocks = [*self._blocks[:-1], self._blocks[-1][: self._used]]
        self._blocks = []
        return torch.from_numpy(blocks[0] if len(blocks) == 1 else np.concatenate(blocks))
