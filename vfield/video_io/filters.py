"""Frames in memory through FFmpeg's own filters (peers that vfield is compared with, other sizes), and GIF previews."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from av import VideoFrame
from einops import rearrange
from torch import Tensor

from vfield.core.clip import to_uint8
from vfield.core.errors import UserError
from vfield.video_io.color import rgb_frame
from vfield.video_io.graph import ACCURATE, FilterChain
from vfield.video_io.pictures import GifSink, check_gif_rate

ENLARGE = 4  # of a crop shown in detail
LANCZOS_REACH = 8  # source pixels around a region that its enlargement may look at

_CONVERT = f"flags=bicubic+{ACCURATE}:sws_dither=none"
_TO_YUV = [("scale", f"{_CONVERT}:out_color_matrix=bt709:in_range=pc:out_range=tv"), ("format", "yuv444p")]
_TO_RGB = [("scale", f"{_CONVERT}:in_color_matrix=bt709:in_range=tv:out_range=pc"), ("format", "rgb24")]


def filter_frames(
    frames: Tensor, frame_rate: Fraction, filters: Sequence[tuple[str, str]]
) -> tuple[Tensor, list[Fraction]]:
    """Frames (t, 3, h, w) uint8 RGB through libavfilter filters (name, arguments), at a constant rate.

    Gives (t', 3, h', w') uint8 RGB, and the t' presentation times in seconds from the first input frame. minterpolate,
    which knows only YUV, gets full-resolution chroma (4:4:4, BT.709), converted there and back. A UserError when a
    filter is unknown, refuses its arguments, or returns no frames.
    """
    chain: list[tuple[str, str]] = []
    for name, arguments in filters:
        only_yuv = name == "minterpolate"
        chain += [*_TO_YUV, (name, arguments), *_TO_RGB] if only_yuv else [(name, arguments)]
    step = 1 / frame_rate
    graph: FilterChain | None = None
    results: list[VideoFrame] = []
    for index, pixels in enumerate(frames.cpu().numpy()):
        frame = rgb_frame(pixels)
        frame.pts, frame.time_base = index, step
        graph = graph or FilterChain(frame, [*chain, ("format", "rgb24")], frame_rate)
        results += graph.push(frame)
    assert graph is not None
    results += graph.push(None)
    if not results:
        raise UserError(f"the filters {list(filters)} gave no frames back for {len(frames)} frames; give more frames")
    pictures = np.stack([rearrange(result.to_ndarray(), "h w c -> c h w") for result in results])
    return torch.from_numpy(pictures), [(result.pts or 0) * (result.time_base or step) for result in results]


def encode_gif(frames: Tensor, frame_rate: Fraction) -> bytes:
    """An animated GIF in memory, of frames (t, 3, h, w) RGB, uint8 or float in [0, 1].

    A UserError when the rate is too high for a GIF: more than 50 frames a second.
    """
    check_gif_rate(frame_rate)
    buffer = io.BytesIO()
    sink = GifSink(buffer, height=frames.shape[2], width=frames.shape[3])
    for index, frame in enumerate(frames.cpu()):
        sink.write(frame.numpy(), index / frame_rate, 1 / frame_rate)
    sink.close()
    return buffer.getvalue()


def resize(frames: Tensor, height: int, width: int, kernel: Literal["bicubic", "lanczos", "area"]) -> Tensor:
    """Frames (t, 3, h, w) uint8 scaled by FFmpeg's swscale, with accurate rounding and all the colour there is.

    The kernel is "bicubic", "lanczos" (three lobes), or "area": to reduce by the mean over each pixel's share of the
    picture, at any ratio (to a level and a bit, by rounding).
    """
    resized, _ = filter_frames(frames, Fraction(25), [("scale", f"{width}:{height}:flags={kernel}+{ACCURATE}")])
    return resized


def enlarge_lanczos(frame: Tensor, crop: tuple[int, int, int]) -> Tensor:
    """A square of a frame (3, h, w), enlarged: (3, h', w') uint8. The filter may look at the pixels around it."""
    y, x, side = crop
    top, left = min(LANCZOS_REACH, y), min(LANCZOS_REACH, x)
    around = frame[:, y - top : y + side + LANCZOS_REACH, x - left : x + side + LANCZOS_REACH]
    height, width = around.shape[-2:]
    enlarged = resize(to_uint8(around)[None].cpu(), ENLARGE * height, ENLARGE * width, "lanczos")[0]
    top, left, side = (ENLARGE * value for value in (top, left, side))
    return enlarged[:, top : top + side, left : left + side]
