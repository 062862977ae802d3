"""Two videos against each other, frame by frame: figures, and a video or picture that shows where they differ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vfield.core.clip import to_float, to_uint8
from vfield.core.drawing import error_picture
from vfield.core.errors import UserError
from vfield.core.metrics import psnr, ssim
from vfield.measure.choices import DIFFERENCE_GAIN, Layout
from vfield.video_io import ShownFrame, VideoWriter, common_time_base, probe, read_frames

# Frames are of one instant when their times agree to this part of a frame, or to the millisecond of Matroska's clock.
_SAME_INSTANT = Fraction(1, 10)
_COARSEST_TICK = Fraction(1, 1000)


@dataclass(frozen=True)
class FrameScore:
    """How close one frame is."""

    seconds: Fraction  # from the first frame
    psnr: float  # dB; infinite for identical frames
    ssim: float  # nan for pictures too small for its window


@dataclass(frozen=True)
class Comparison:
    """What came of it."""

    frames: tuple[FrameScore, ...]  # those that were compared, in the order of time
    left_out: tuple[int, int]  # how many frames of the first and of the second have no counterpart

    @property
    def identical(self) -> int:
        """How many frames are the same to the byte."""
        return sum(math.isinf(frame.psnr) for frame in self.frames)

    @property
    def psnr(self) -> float:
        """Mean dB of those frames that differ; infinite where none does."""
        finite = [frame.psnr for frame in self.frames if math.isfinite(frame.psnr)]
        return sum(finite) / len(finite) if finite else math.inf

    @property
    def ssim(self) -> float:
        """Mean over all frames."""
        return sum(frame.ssim for frame in self.frames) / len(self.frames)

    @property
    def worst(self) -> FrameScore:
        """The frame of least PSNR, the first of several."""
        return min(self.frames, key=lambda frame: frame.psnr)


class _Pair(NamedTuple):
    seconds: Fraction
    first: ShownFrame
    second: ShownFrame


def _pairs(first: Path, second: Path, tolerance: Fraction, left_out: list[int]) -> Iterator[_Pair]:
    """Frames of two files that show the same instant, counted from the first frame of each; counts the others.

    There is at least one pair, the first frames.
    """
    ones, others = read_frames(first), read_frames(second)
    one, other = next(ones, None), next(others, None)
    if one is None or other is None:
        return  # `read_frames` refuses a file without frames.
    (height, width), (other_height, other_width) = one.pixels.shape[1:], other.pixels.shape[1:]
    if (height, width) != (other_height, other_width):
        raise UserError(
            f"{first} is {width}x{height} and {second} {other_width}x{other_height}: only pictures of one size can be "
            "compared; render one at the size of the other"
        )
    begin, other_begin = one.pts_seconds, other.pts_seconds
    while one is not None and other is not None:
        seconds = one.pts_seconds - begin
        apart = seconds - (other.pts_seconds - other_begin)
        if abs(apart) <= tolerance:
            yield _Pair(seconds, one, other)
            one, other = next(ones, None), next(others, None)
        elif apart < 0:
            left_out[0] += 1
            one = next(ones, None)
        else:
            left_out[1] += 1
            other = next(others, None)
    left_out[0] += (one is not None) + sum(1 for _ in ones)
    left_out[1] += (other is not None) + sum(1 for _ in others)


def compare(
    first: Path,
    second: Path,
    *,
    output: Path | None = None,
    layout: Layout = "side-by-side",
    at: Fraction | None = None,
    overwrite: bool = False,
) -> Comparison:
    """Judge two videos against each other, in the memory of a few frames.

    Frames are paired by their times from the first frame of each; those without a counterpart are left out. A UserError
    when a file cannot be read, sizes differ, or `output` and `at` do not fit.

    Args:
        first: a video or picture.
        second: another, of the same size.
        output: a video of the two, or a .png of one instant.
        layout: what it shows. "side-by-side", the first on the left; "wipe", the first left of an edge that moves
            across once; "difference", absolute differences `DIFFERENCE_GAIN` times as large.
        at: the instant of the picture, seconds from the first frame.
        overwrite: whether `output` may be replaced.
    """
    still = output is not None and output.suffix.lower() == ".png"
    if still != (at is not None):
        raise UserError(f"a .png shows one instant: give -o NAME.png and --at SECONDS together, got -o {output}")
    rate = max(probe(path).frame_rate for path in (first, second))
    left_out = [0, 0]
    pairs = _pairs(first, second, max(_SAME_INSTANT / rate, _COARSEST_TICK), left_out)
    scores = map(_score, pairs) if output is None else _written(pairs, first, output, layout, at, overwrite)
    return Comparison(tuple(scores), (left_out[0], left_out[1]))


def _score(pair: _Pair) -> FrameScore:
    made, truth = to_uint8(pair.first.pixels)[None], to_uint8(pair.second.pixels)[None]
    decibels = math.inf if torch.equal(made, truth) else float(psnr(made, truth))
    return FrameScore(pair.seconds, decibels, float(ssim(made, truth)))


def _written(
    pairs: Iterator[_Pair], source: Path, output: Path, layout: Layout, at: Fraction | None, overwrite: bool
) -> list[FrameScore]:
    """Score the pairs, and show them on the way."""
    info = probe(source)
    lasting = info.duration_seconds or 1 / info.frame_rate
    width = info.width * 2 if layout == "side-by-side" else info.width
    scores: list[FrameScore] = []
    shown: tuple[_Pair, Fraction] | None = None
    with VideoWriter(
        output,
        height=info.height,
        width=width,
        frame_rate=info.frame_rate,
        color=info.color,
        pixel_aspect=info.pixel_aspect,
        overwrite=overwrite,
        time_base=common_time_base([1 / info.frame_rate, _COARSEST_TICK]),
    ) as writer:
        for pair in pairs:
            scores.append(_score(pair))
            if at is None:
                picture = _laid_out(pair, layout, min(float(pair.seconds / lasting), 1.0))
                writer.write(picture, pts_seconds=pair.seconds, duration_seconds=pair.first.duration_seconds)
            elif pair.seconds <= at:
                shown = pair, pair.seconds + pair.first.duration_seconds
        if at is not None:
            if shown is None or (at >= shown[1] and shown[0].seconds == scores[-1].seconds):
                last = float(scores[-1].seconds)
                raise UserError(f"--at {float(at):g} is after the last common frame, at {last:g} s")
            writer.write(_laid_out(shown[0], layout, 0.5))
    return scores


def _laid_out(pair: _Pair, layout: Layout, edge: float) -> Tensor:
    """(3, h, w) uint8 or float32 of two frames; `edge` says where that of a wipe is, from 0 (left) to 1."""
    first, second = pair.first.pixels, pair.second.pixels
    if first.dtype != second.dtype:
        first, second = to_uint8(first), to_uint8(second)
    if layout == "side-by-side":
        return torch.cat([first, second], dim=2)
    if layout == "wipe":
        column = round(edge * first.shape[2])
        return torch.cat([first[..., :column], second[..., column:]], dim=2)
    return error_picture(to_float(first), to_float(second), DIFFERENCE_GAIN)
