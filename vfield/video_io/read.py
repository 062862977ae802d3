"""Reading a clip: its pictures gathered into one tensor, or looked through once without being kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from vfield.core.clip import Clip, ClipFacts
from vfield.core.errors import UserError
from vfield.core.memory import check_memory
from vfield.video_io.graph import Deinterlacing
from vfield.video_io.reading import FilePart, opened
from vfield.video_io.rgb import Picture
from vfield.video_io.source import as_seconds

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

    Timestamps are kept as the container gives them, so a clip that starts late keeps its late start. A frame without a
    timestamp gets the one that follows at the nominal rate; a frame whose timestamp does not come after the one before
    it is moved half a frame after that, with a line in the log. What cannot be decoded is left out, with a line in the
    log, if anything can. A UserError when the file, the range or the size is no good; one line says why.

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
    """
    if max_frames is not None and max_frames < 1:
        raise UserError(f"max_frames must be at least 1, got {max_frames}")
    start, end = as_seconds(start_seconds, "start_seconds"), as_seconds(end_seconds, "end_seconds")
    with opened(FilePart(Path(path), start, end, size, deinterlace)) as reading:
        expected = reading.expected()
        expected = min(expected, max_frames or expected)
        frames, alphas = _Gathered(expected), _Gathered(expected)
        for picture, *_ in islice(reading.pictures(), max_frames):
            # Alpha takes no memory until a picture comes that has some.
            if picture.alpha is not None or len(alphas):
                while len(alphas) < len(frames):
                    alphas.append(picture.opaque())
                alphas.append(picture.opaque() if picture.alpha is None else picture.alpha)
            frames.append(picture.rgb)
        return reading.facts().clip(frames.finish(), alphas.finish() if len(alphas) else None)


class ShownFrame(NamedTuple):
    """A frame as it is shown."""

    pts_seconds: Fraction  # when it begins, as the container gives it
    duration_seconds: Fraction  # how long it lasts, as far as the file says; otherwise of the nominal rate
    pixels: Tensor  # (3, h, w), uint8 in 0..255 or float32 in [0, 1], as it looks over black


def read_frames(path: str | Path) -> Iterator[ShownFrame]:
    """The frames of a video one after another, as `read_clip` would give them all, in the memory of a few.

    A UserError when the file is no good; one line says why.
    """
    with opened(FilePart(Path(path))) as reading:
        for picture, pts, end in reading.pictures():
            yield ShownFrame(pts, end - pts, torch.from_numpy(picture.contiguous().rgb))
        reading.facts()  # says what was wrong


class FileScan(NamedTuple, Generic[Seen]):
    """What going through a file has found."""

    facts: ClipFacts  # of the clip that `read_clip` would give
    origin: Fraction  # the file's first timestamp, seconds, from which the part that was asked for counts
    seen: Seen  # in the small pictures


def scan_clip(
    part: FilePart, see: Callable[[Iterator[Tensor]], Seen], longest_side: int = _SMALL_SIDE
) -> FileScan[Seen]:
    """Goes through a video once, however long: what `read_clip` would say of it, and what is seen in small pictures.

    `see` is given batches (n, 3, h, w), uint8 or float32 in [0, 1], of which it must take all; `longest_side` is that
    of these pictures, pixels. A UserError as `read_clip`.
    """
    with opened(part) as reading:
        seen = see(_batches(reading.pictures(longest_side)))
        return FileScan(reading.facts(), reading.origin, seen)


def _batches(pictures: Iterator[tuple[Picture, Fraction, Fraction]]) -> Iterator[Tensor]:
    while batch := [torch.from_numpy(picture.contiguous().rgb) for picture, *_ in islice(pictures, _BATCH)]:
        yield torch.stack(batch)


class _Gathered:
    """Arrays of one shape, gathered into one tensor without holding them twice.

    The first block has room for all that are expected; memory not yet written costs nothing. Only a clip that holds
    more frames than its packets announced needs further blocks, and a copy to join them.
    """

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._blocks: list[np.ndarray] = []
        self._free = 0  # places in the last block
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, array: np.ndarray) -> None:
        if not self._free:
            self._free = 16 if self._blocks else self._expected
            what = f"a clip of {self._expected} frames of {array.shape[-1]}x{array.shape[-2]}"
            advice = "take a part of it with --start and --end, or smaller frames"
            check_memory(self._free * array.nbytes, what, advice)
            self._blocks.append(np.empty((self._free, *array.shape), array.dtype))
        self._blocks[-1][-self._free] = array
        self._free -= 1
        self._count += 1

    def finish(self) -> Tensor:
        gathered = self._blocks[0] if len(self._blocks) == 1 else np.concatenate(self._blocks)
        self._blocks = []
        return torch.from_numpy(gathered[: self._count])
