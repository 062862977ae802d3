"""Sinks that write pictures: an animated GIF, a folder of PNG files, or one PNG file."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import torch
from av import VideoCodecContext, VideoFrame
from av.filter import Graph
from einops import rearrange
from PIL import Image

from vfield.core.clip import ColorInfo, to_float, to_uint8
from vfield.core.errors import UserError
from vfield.video_io.color import tag
from vfield.video_io.files import open_to_write

_GIF_TICK = Fraction(1, 100)
_GIF_FASTEST = 50
_GIF_LONGEST = 65535 * _GIF_TICK  # the format has 16 bits for how long a picture stays


def check_gif_rate(frame_rate: Fraction) -> None:
    """Raises UserError for rates that GIF players slow down: they show delays under 2/100 s as 10/100 s."""
    if frame_rate > _GIF_FASTEST:
        raise UserError(f"a GIF shows at most {_GIF_FASTEST} frames a second, got {float(frame_rate):g}; use .mp4")


def check_gif_times(edges_seconds: Sequence[Fraction]) -> None:
    """Raises UserError for a picture that stays longer than a GIF can say; given when each begins and the last ends."""
    longest = max(later - earlier for earlier, later in pairwise(edges_seconds))
    if longest > _GIF_LONGEST:
        most = float(_GIF_LONGEST)
        raise UserError(f"a GIF shows a picture for at most {most:g} s, got {float(longest):g}; use .mp4")


def loops_of(path: str | Path) -> int:
    """How often a GIF comes again after the first time: 0 for ever, -1 not at all. Of any other file 0."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded here
            with Image.open(path, formats=["GIF"]) as gif:
                loops: int = gif.info.get("loop", -1)
                return loops
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0  # no GIF that Pillow knows; whether it is a video at all is said by whoever reads it


# Formats by channels: of 8 bits, and of 16.
_SHALLOW, _DEEP = {3: "rgb24", 4: "rgba"}, {3: "rgb48be", 4: "rgba64be"}


def _frame(picture: np.ndarray, *, deep: bool) -> VideoFrame:
    """A frame of 8 bits, or of 16, of a picture (3, h, w) or (4, h, w)."""
    pixels = torch.from_numpy(picture)
    if deep:
        words = np.rint(to_float(pixels).clamp(0, 1).numpy() * 65535).astype(np.uint16)
    else:
        words = to_uint8(pixels).numpy()
    formats = _DEEP if deep else _SHALLOW
    return VideoFrame.from_ndarray(np.ascontiguousarray(rearrange(words, "c h w -> h w c")), formats[len(picture)])


class GifSink:
    """An animated GIF, each frame with its own best 256 colours, so that nothing has to wait for the last frame."""

    def __init__(self, file: Path | io.BytesIO, *, height: int, width: int, loops: int = 0) -> None:
        """Begin an animation that is repeated as `loops_of` has it."""
        self._container = open_to_write(file, "gif", {"loop": str(loops)})
        self._stream = self._container.add_stream("gif", rate=1 / _GIF_TICK)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "pal8"
        self._stream.codec_context.time_base = _GIF_TICK
        self._graph = Graph()
        source = self._graph.add(
            "buffer", video_size=f"{width}x{height}", pix_fmt="rgb24", time_base=str(_GIF_TICK), pixel_aspect="1/1"
        )
        split = self._graph.add("split")
        palette = self._graph.add("palettegen", "stats_mode=single")
        use = self._graph.add("paletteuse", "new=1")
        source.link_to(split)
        split.link_to(palette, output_idx=0)
        split.link_to(use, output_idx=1)
        palette.link_to(use, input_idx=1)
        use.link_to(self._graph.add("buffersink"))
        self._graph.configure()

    def write(self, rgb: np.ndarray, pts_seconds: Fraction, duration_seconds: Fraction) -> None:
        """Adds (3, h, w) uint8 or float32 RGB; times are rounded to the format's 1/100 s, without drifting."""
        frame = _frame(rgb, deep=False)
        frame.pts, frame.time_base = round(pts_seconds / _GIF_TICK), _GIF_TICK
        self._graph.push(frame)
        end = round((pts_seconds + duration_seconds) / _GIF_TICK)
        self._drain(end - frame.pts)

    def _drain(self, ticks: int = 0) -> None:
        while True:
            try:
                frame = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            for packet in self._stream.encode(frame):
                packet.duration = ticks or packet.duration
                self._container.mux(packet)

    def close(self) -> None:
        """Writes the rest and ends the file."""
        self._graph.push(None)
        self._drain()
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abort(self) -> None:
        """Lets go of the file, which will be deleted."""
        with suppress(av.FFmpegError, OSError):
            self._container.close()


class PictureSink:
    """One PNG file, or a folder of 000000.png, 000001.png, ... in the order written; timestamps are not kept.

    Of 16 bits where the source has more than 8: a picture that was read comes back as deep. In a folder primaries and
    transfer are written for HDR; without them, programs take a file for sRGB.
    """

    def __init__(
        self, path: Path, *, shape: tuple[int, int, int], color: ColorInfo, pixel_aspect: Fraction, many: bool
    ) -> None:
        """Begin a picture, or a folder of `many`, of a shape: channels (3, or 4 with alpha), height and width."""
        self._path, self._many, self._deep, self._count = path, many, color.bit_depth > 8, 0
        self._tags = replace(color, matrix="gbr", range="pc") if many and color.is_hdr else None
        channels, height, width = shape
        self._encoder = VideoCodecContext.create("png", "w")
        self._encoder.width, self._encoder.height = width, height
        self._encoder.pix_fmt = (_DEEP if self._deep else _SHALLOW)[channels]
        self._encoder.time_base = Fraction(1, 25)
        if many:
            self._encoder.sample_aspect_ratio = pixel_aspect
            path.mkdir()
        if self._tags is not None:
            tag(self._encoder, self._tags)

    def write(self, rgb: np.ndarray, pts_seconds: Fraction, duration_seconds: Fraction) -> None:
        """Writes a picture as a file: (3, h, w) uint8 or float32 RGB, or (4, h, w) with alpha.

        A UserError when the only one is there already.
        """
        if self._count and not self._many:
            raise UserError("a .png file holds one picture; for several name a folder, without a suffix")
        frame = _frame(rgb, deep=self._deep)
        if self._tags is not None:
            tag(frame, self._tags)
        frame.pts = self._count
        (packet,) = self._encoder.encode(frame)
        (self._path / f"{self._count:06d}.png" if self._many else self._path).write_bytes(bytes(packet))
        self._count += 1

    def close(self) -> None:
        """Nothing is left to write."""

    def abort(self) -> None:
        """Nothing is open."""
