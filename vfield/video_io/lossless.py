"""Frames kept on the disk exactly: FFV1 in Matroska, RGB of 8 or 16 bits, every frame a key frame.

For what was made before a field is fitted (noise taken out, holes filled) or was given in memory. Frames of bytes come
back as they were; those in floating point, which come from sources of at most 16 bits, to a 65535th.

Niedermayer, Rice and Martinez, "FFV1 Video Coding Format", RFC 9043.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from vfield.core.clip import ClipFacts, ColorInfo
from vfield.core.errors import UserError
from vfield.core.folders import replaced
from vfield.core.frames import Frames, MadeFrames
from vfield.video_io.color import rgb_frame
from vfield.video_io.encode import ffv1_slices
from vfield.video_io.files import open_to_write
from vfield.video_io.frames import FileFrames
from vfield.video_io.reading import FilePart

_RATE = Fraction(25)


def keep_lossless(path: Path, pictures: Iterable[Tensor], like: Frames) -> Frames:
    """Write pictures (3, h, w) one after another, and give them by number. A UserError when the file cannot be written.

    The path ends with `.mkv`; what is there is replaced once all is written. `like` are frames of the same number, size
    and type.
    """
    count, _, height, width = like.shape
    is_deep = like.dtype != torch.uint8
    stored = "gbrp16le" if is_deep else "bgr0"
    options = {"level": "3", "g": "1", **ffv1_slices(height, width)}
    with replaced(path) as partial:
        try:
            with open_to_write(partial, "matroska") as container:
                stream = container.add_stream("ffv1", rate=_RATE, options=options)
                stream.width, stream.height, stream.pix_fmt = width, height, stored
                written = 0
                for picture in pictures:
                    pixels = picture.numpy()
                    if is_deep:
                        pixels = np.rint(np.clip(pixels, 0, 1) * np.float32(65535)).astype(np.uint16)
                    frame = rgb_frame(pixels).reformat(format=stored)
                    frame.pts, frame.time_base = written, 1 / _RATE
                    container.mux(stream.encode(frame))
                    written += 1
                container.mux(stream.encode(None))
        except av.FFmpegError as error:
            raise UserError(f"could not write {path}: {error.strerror}; free some space") from error
        if written != count:
            raise UserError(f"{written} pictures were made for {path}, not {count}")
    return open_lossless(path, (height, width), count, is_deep=is_deep)


def kept_in_file(frames: Frames, path: Path) -> Frames:
    """The same frames in a file: where they are, or else written to one. Planes (h, w) are kept as grey.

    A UserError when it cannot be written.
    """
    if FileFrames.of(frames) is not None:
        return frames
    shape = (len(frames), 3, *frames.shape[-2:])
    coloured = MadeFrames(shape, frames.dtype, lambda number: frames[number].expand(shape[1:]))
    written = keep_lossless(path, (coloured[number] for number in range(len(frames))), coloured)
    reader = FileFrames.of(written)
    assert reader is not None
    return written if len(frames.shape) == 4 else reader.plane("grey")


def open_lossless(path: Path, size: tuple[int, int], count: int, *, is_deep: bool) -> Frames:
    """So many pictures of (height, width) that `keep_lossless` has written, by number; deep are those in floats."""
    facts = ClipFacts(
        height=size[0],
        width=size[1],
        pts_seconds=tuple(Fraction(number) / _RATE for number in range(count)),
        end_seconds=count / _RATE,
        frame_rate=_RATE,
        color=ColorInfo("gbr", "pc", bit_depth=16 if is_deep else 8),
        pixel_aspect=Fraction(1),
        source=str(path),
    )
    return FileFrames(FilePart(path), facts, Fraction(0), is_kept=True).rgb
