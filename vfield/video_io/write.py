"""Writing video as a stream: to a temporary name, moved into place only when everything has succeeded."""

from __future__ import annotations

import copy
import io
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import torch
from torch import Tensor

from vfield.core.clip import ColorInfo
from vfield.core.errors import UserError
from vfield.core.folders import check_folder, check_parent, clear_dead, made_beside
from vfield.video_io.audio import AudioPlan, reason_of, writable_audio
from vfield.video_io.carry import CarryPlan
from vfield.video_io.color import HDR_WRITERS
from vfield.video_io.encode import CONTAINERS, Encoding, choose_encoding
from vfield.video_io.mux import JoinedSink, StreamFacts, VideoSink
from vfield.video_io.pictures import GifSink, PictureSink, check_gif_rate
from vfield.video_io.source import logger
from vfield.video_io.subtitles import refused_tracks

_FINEST_TIME_BASE = 10_000_000
_FRAME_NAME = re.compile(r"\d{6,}\.png")


def common_time_base(times: Iterable[Fraction]) -> Fraction:
    """The longest tick of which all these times are whole multiples (10 million to the second at the finest)."""
    ticks = math.lcm(*(time.denominator for time in times))
    return Fraction(1, min(ticks, _FINEST_TIME_BASE))


class VideoWriter:
    """Writes frames one by one; a context manager. What is at `path` changes only when the block ends well.

    The name decides the kind: .mp4, .mov, .mkv or .webm is video, .gif an animation, .png one picture, and a name
    without a suffix or with a slash at its end a folder of PNG files (000000.png, ...). A UserError from the
    constructor when its arguments do not fit together, from `with` and `write` when the disk is full or the folder
    not writable, and at the end of the block when no frame was written.

    Args:
        path: where the result goes.
        height, width: rows and columns of every frame.
        frame_rate: frames per second; frame i is shown at i / frame_rate unless `write` is told otherwise.
        color: the source's colour facts; video is coded and tagged with the same matrix, range, primaries and
            transfer (BT.709 limited for RGB sources). More than 8 bits, or HDR, make the default codec one of 10 bits;
            its HDR metadata is carried by HEVC, AV1 and H.264.
        pixel_aspect: width / height of one pixel.
        codec: h264, hevc, av1, vp9, prores, ffv1 or the name of an FFmpeg encoder. None: a good one for the suffix.
        crf: constant quality, 0 is best. None: visually lossless.
        pixel_format: FFmpeg's name. None: 4:2:0 of 8 or 10 bits, 4:4:4 where an odd size needs it.
        alpha: whether frames would come with alpha. Where the result cannot hold it a line in the log says so, and they
            must come without (`VideoWriter.alpha` tells). Kept by .webm and .mkv (VP9), .mov (ProRes 4444) and PNG.
        overwrite: replace what is at `path`.
        audio: sound to put beside the picture; GIF and PNG leave it out with a line in the log.
        carry: whose subtitles, chapters and metadata to take over; GIF and PNG hold none.
        time_base: the tick, in seconds, that every pts given to `write` is a multiple of (`common_time_base`); None:
            1 / frame_rate. Matroska and WebM files round times to 1/1000 s, GIF to 1/100 s.
        loops: how often a GIF is shown again after the first time: 0 for ever, -1 not at all.

    Attributes:
        alpha: whether frames are to come with alpha.
        audio: how the sound that can be written will be.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        height: int,
        width: int,
        frame_rate: Fraction,
        color: ColorInfo,
        pixel_aspect: Fraction = Fraction(1),
        codec: str | None = None,
        crf: int | None = None,
        pixel_format: str | None = None,
        alpha: bool = False,
        overwrite: bool = False,
        audio: AudioPlan | None = None,
        carry: CarryPlan | None = None,
        time_base: Fraction | None = None,
        loops: int = 0,
    ) -> None:
        if frame_rate <= 0:
            raise UserError(f"frame rate must be positive, got {frame_rate}")
        if min(height, width) < 1:
            raise UserError(f"a picture needs at least one pixel, got {width}x{height}")
        self._path, self._kind, self._overwrite = Path(path), _kind_of(path), overwrite
        self._facts = StreamFacts(height, width, frame_rate, time_base or 1 / frame_rate, pixel_aspect)
        self._color, self.audio, self._carry, self._loops = color, audio, carry, loops
        self._encoding: Encoding | None = None
        self.alpha = alpha and self._kind in ("", ".png")
        if self._kind in CONTAINERS:
            self._encoding = choose_encoding(
                *(self._kind, height, width, color), codec=codec, crf=crf, pixel_format=pixel_format, alpha=alpha
            )
            self.alpha = alpha and self._encoding.alpha
        else:
            for name, value in (("codec", codec), ("crf", crf), ("pixel_format", pixel_format)):
                if value is not None:
                    raise UserError(f"{path} is not a video file, so {name} {value} means nothing for it; leave it out")
        if self._kind == ".gif":
            check_gif_rate(frame_rate)
        self._shape = (4 if self.alpha else 3, height, width)
        for loss in self._losses(alpha, chosen=pixel_format is None):
            logger.warning("%s: %s", self._path, loss)
        if audio is not None and self._encoding is None:
            logger.warning("%s cannot hold sound; it is left out", self._path)
        _check_target(self._path, self._kind, overwrite)
        self._made = ExitStack()
        self._sink: VideoSink | GifSink | PictureSink | None = None
        self._pieces: Sequence[Path] = ()
        self._count = 0
        self._previous: Fraction | None = None
        if self._encoding is not None:
            self._try_out(self._encoding)

    def _losses(self, alpha: bool, chosen: bool) -> Iterator[str]:
        """What the result cannot hold of what it is given, in words; `chosen`: the pixel format was not asked for."""
        facts, color, encoding = self._facts, self._color, self._encoding
        holder = "a GIF as it is written here"
        if encoding is not None:
            encoder, stored, bits = encoding.encoder, encoding.pixel_format, encoding.color.bit_depth
            holder = f"{encoder} as {stored} in {self._kind}"
            if chosen and encoder in ("libx264", "libx265") and "444" in stored:
                yield (
                    f"{facts.width}x{facts.height} has an odd side, so it is written as {stored}, which browsers may "
                    "not play; an even size would"
                )
            if bits < color.bit_depth or (color.is_hdr and bits == 8):
                hdr = " in HDR" if color.is_hdr else ""
                yield (
                    f"a source of {color.bit_depth} bits{hdr} is written with {bits} ({stored}); another pixel format "
                    "may keep more"
                )
            if (color.mastering_display or color.content_light) and encoder not in HDR_WRITERS:
                yield f"mastering display and light levels are left out, {encoder} cannot write them; hevc and av1 can"
        if alpha and not self.alpha:
            yield (
                f"alpha is left out, {holder} cannot hold it: the picture is as it looks over black; .webm, .mov, "
                ".mkv or .png keep it"
            )
        if self._kind == ".gif" and color.is_hdr:
            yield "a GIF cannot hold HDR, so it will look flat"
        if self._kind == ".gif" and facts.pixel_aspect != 1:
            yield (
                f"a GIF's pixels are square, the source's {float(facts.pixel_aspect):g} times as wide as high; "
                f"a size {round(facts.width * facts.pixel_aspect)} wide is in shape"
            )

    def _try_out(self, encoding: Encoding) -> None:
        """Finds what cannot be written: for the picture that is an error, what goes beside it is left out."""
        facts = self._facts
        try:
            VideoSink(io.BytesIO(), encoding, facts).abort()
        except (av.FFmpegError, ValueError) as error:
            size, rate = f"{facts.width}x{facts.height}", f"{float(facts.frame_rate):g} frames a second"
            told = f"{encoding.encoder} cannot write {size} as {encoding.pixel_format} with {rate}: {reason_of(error)}"
            raise UserError(f"{told}; choose another codec, size or rate") from error
        if self.audio is not None:
            self.audio = writable_audio(self.audio, encoding.container)
        if self._carry is not None:
            # A file would be refused for these; they are named when it is written.
            refused = refused_tracks(self._carry.source, encoding.container)
            self._carry = replace(self._carry, left_out=self._carry.left_out | refused)

    @property
    def bit_depth(self) -> int:
        """Bits per component of what is written."""
        if self._encoding is not None:
            return self._encoding.color.bit_depth
        return 16 if self._kind in ("", ".png") and self._color.bit_depth > 8 else 8

    @property
    def coding(self) -> str | None:
        """All that tells how a picture is coded here, in words; None where what is written is not a video."""
        if self._encoding is None:
            return None
        facts = self._facts
        return f"{self._encoding} {self._shape} {facts.frame_rate} {facts.time_base} {facts.pixel_aspect}"

    def piece(self, path: Path) -> VideoWriter:
        """A writer of some of the frames alone, coded in the same way, for `join`; its times begin at 0.

        It goes to a path of this video's suffix, and replaces what is there.
        """
        made = copy.copy(self)
        made._path, made._made, made._overwrite = path, ExitStack(), True
        made.audio = made._carry = None
        return made

    def join(
        self, pieces: Sequence[Path], pts_seconds: Sequence[Fraction], durations_seconds: Sequence[Fraction]
    ) -> None:
        """Write the whole video from pieces that together hold all its frames, in place of entering and writing.

        The pieces are what writers of `piece` have written, in order. Each frame is shown at a time, counted from the
        start of the whole, for so long. A UserError as writing does, and when the pieces do not hold so many frames.
        """
        self._pieces = pieces
        with self:
            assert isinstance(self._sink, JoinedSink)
            with _told_to_user(self._path):
                self._sink.take(pts_seconds, durations_seconds)
            self._count = len(pts_seconds)

    def __enter__(self) -> Self:
        # Somebody may have put something there since: a fit lies between the two where a clip is fitted and exported.
        _check_target(self._path, self._kind, self._overwrite)
        with ExitStack() as made:
            with _told_to_user(self._path):
                self._sink = self._open(made.enter_context(made_beside(self._path)))
            self._made = made.pop_all()
        return self

    def _open(self, file: Path) -> VideoSink | GifSink | PictureSink:
        facts = self._facts
        if self._kind in ("", ".png"):
            many, aspect = self._kind == "", facts.pixel_aspect
            return PictureSink(file, shape=self._shape, color=self._color, pixel_aspect=aspect, many=many)
        if self._encoding is None:
            return GifSink(file, height=facts.height, width=facts.width, loops=self._loops)
        if self._pieces:
            return JoinedSink(file, self._encoding, facts, self.audio, self._carry, self._pieces)
        return VideoSink(file, self._encoding, facts, self.audio, self._carry)

    def write(
        self, frame: Tensor, *, pts_seconds: Fraction | None = None, duration_seconds: Fraction | None = None
    ) -> None:
        """Writes one frame. A UserError when the frame does not fit, or cannot be written.

        Args:
            frame: (3, height, width) RGB, or (4, height, width) with alpha where `alpha` is true, colours as they are
                without it; uint8 or float in [0, 1], on any device.
            pts_seconds: when it is shown, counted from the start of the written video; None: frame i at
                i / frame_rate. Must increase.
            duration_seconds: for how long; None: 1 / frame_rate. Matters for the last frame.
        """
        if self._sink is None:
            raise UserError("VideoWriter must be entered (with VideoWriter(...) as writer) before it can write")
        if tuple(frame.shape) != self._shape:
            raise UserError(f"frame must be {self._shape}, got {tuple(frame.shape)}")
        if frame.dtype != torch.uint8 and not frame.is_floating_point():
            raise UserError(f"frame must be uint8 or float in [0, 1], got {frame.dtype}")
        rate = self._facts.frame_rate
        pts = self._count / rate if pts_seconds is None else pts_seconds
        if pts < 0 or (self._previous is not None and pts <= self._previous):
            raise UserError(f"frames must be written in order of time, got {float(pts)} s after {self._previous} s")
        pixels = frame.detach().cpu()
        array = (pixels if pixels.dtype == torch.uint8 else pixels.float()).numpy()
        with _told_to_user(self._path):
            self._sink.write(array, pts, duration_seconds or 1 / rate)
        self._previous = pts
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._sink is not None
        sink, self._sink = self._sink, None
        # What goes wrong from here on takes the temporary folder with it.
        with self._made:
            try:
                if error is not None:
                    raise error
                if self._count == 0:
                    raise UserError(f"no frame was written to {self._path}")
                with _told_to_user(self._path):
                    sink.close()
                    self._made.pop_all().close()
            except BaseException:
                sink.abort()
                raise


def _kind_of(path: str | Path) -> str:
    """The suffix that decides how to write; "" for a folder of PNG files."""
    if str(path).endswith(("/", os.sep)):
        return ""
    suffix = Path(path).suffix.lower()
    if suffix not in ("", ".gif", ".png", *CONTAINERS):
        known = ", ".join((*CONTAINERS, ".gif"))
        raise UserError(
            f"cannot write {path}: unknown suffix {suffix}; use {known}, .png for one picture, or none for a folder of "
            "PNG files"
        )
    return suffix


def _check_target(path: Path, kind: str, overwrite: bool) -> None:
    """Refuses, before anything is rendered, a target that could not be put in place afterwards."""
    check_parent(path)
    clear_dead(path)
    if kind == "":
        check_folder(path, _FRAME_NAME, "PNG", overwrite)
        return
    if path.is_dir():
        raise UserError(f"{path} is a folder; choose another name")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; add --overwrite or choose another name")


@contextmanager
def _told_to_user(path: Path) -> Iterator[None]:
    """Turns what the system and FFmpeg say about writing into one line."""
    try:
        yield
    except UserError:
        raise
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"could not write {path}: {error.strerror or error}") from error
