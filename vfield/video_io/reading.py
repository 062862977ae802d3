"""One way through the frames of a file: decoded, timed, and made into pictures as they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, get_args

import av
from av import VideoFrame, VideoStream
from av.container import InputContainer

from vfield.core.clip import LARGEST_SIDE, ClipFacts, reshaped_aspect
from vfield.core.errors import UserError
from vfield.core.memory import check_memory
from vfield.video_io.clock import Clock, clock_of, picture_packets, told_jumps
from vfield.video_io.color import tagged_color
from vfield.video_io.files import missing_bytes, open_to_read
from vfield.video_io.graph import Deinterlacing, deinterlaced
from vfield.video_io.rates import camera_rate
from vfield.video_io.rgb import Picture, RgbConverter
from vfield.video_io.source import (
    declared_duration,
    decoder_of,
    find_video,
    logger,
    may_have_alpha,
    pixel_aspect,
)

# How far before a frame its key frame is looked for, seconds. A file without an index, as a transport stream, is
# entered anywhere, and what it gives first is the key frame after that.
_LOOKED_BACK = (0, 2, 10, 60)
# What making a picture of a frame takes at once for each pixel; measured.
_PIXEL_BYTES = {"8 bits": 12, "alpha": 33, "deep": 60}


class FilePart(NamedTuple):
    """Which pictures of which file; the arguments of `read_clip`, times as `as_seconds` gives them."""

    path: Path
    start_seconds: Fraction | None = None
    end_seconds: Fraction | None = None
    size: tuple[int, int] | None = None
    deinterlace: Deinterlacing | None = None


@contextmanager
def opened(part: FilePart, origin: Fraction | None = None) -> Iterator[Reading]:
    """Begin to read a part of a file, as `read_clip` has it.

    `origin` is the file's first timestamp where it was read before; then what is to be said of it was said.
    """
    if part.size is not None and not all(1 <= side <= LARGEST_SIDE for side in part.size):
        raise UserError(f"size must be (height, width) of 1 to {LARGEST_SIDE} pixels, got {part.size}")
    if part.deinterlace not in (None, *get_args(Deinterlacing)):
        raise UserError(f"deinterlace must be {' or '.join(get_args(Deinterlacing))}, got {part.deinterlace!r}")
    start, end = part.start_seconds or 0, part.end_seconds
    if end is not None and end <= start:
        raise UserError(f"end_seconds must come after start_seconds, got {float(start):g} to {float(end):g}")
    with open_to_read(part.path) as container:
        yield Reading(part, container, origin)


class Reading:
    """One way through the frames of a file that are shown first in a part of it; see `opened`."""

    def __init__(self, part: FilePart, container: InputContainer, origin: Fraction | None) -> None:
        self._path, start, end, self._size, self._deinterlace = part
        self._part, path = part, part.path
        self._stream = find_video(container, path)
        self._clock = clock_of(path)
        self._rate = camera_rate(path, self._stream)
        self._fields = 2 if self._deinterlace == "field" else 1
        self._decoder = _Decoder(path, container, self._stream, self._clock, 1 / self._rate)
        self._is_new = origin is None
        self.converter: RgbConverter | None = None  # what makes pictures of frames; None before the first
        self.pts_seconds: list[Fraction] = []  # of the pictures so far
        self.end_seconds = Fraction(0)  # of the last of them
        # The file's first timestamp, seconds.
        self.origin = _first_pts(path, self._clock, 1 / self._rate) if origin is None else origin
        if self._is_new:  # what was read before is there, whatever the header says
            self._check_range(self._clock.duration_seconds or declared_duration(container, self._stream))
        self._first = self.origin + (start or 0)
        self._last = None if end is None else self.origin + end

    @property
    def moved_seconds(self) -> Fraction:
        """How long after the one before a picture comes whose own time is not after that."""
        return 1 / (2 * self._fields * self._rate)

    def expected(self) -> int:
        """About how many pictures there will be, at least 1: the packets' timestamps tell, without decoding."""
        count, last = 0, self._last
        for packet in picture_packets(self._path):
            if packet.pts is None:
                count += 1
                continue
            if last is not None and packet.dts is not None and packet.dts * packet.time_base >= last:
                break
            pts = packet.pts * packet.time_base
            count += pts >= self._first and (last is None or pts < last)
        return self._fields * max(count, 1)

    def pictures(self, longest_side: int | None = None) -> Iterator[tuple[Picture, Fraction, Fraction]]:
        """Each picture, when it is shown, and until when; smaller ones of the shape if a side is given."""
        for pts, frame in self._frames():
            if self.converter is None:
                self.converter = self._converter(frame, longest_side)
            known = frame.duration and not self._deinterlace  # the filter does not keep durations
            lasting = frame.duration * _time_base(frame) if known else 1 / self._rate / self._fields
            self.pts_seconds.append(pts)
            self.end_seconds = pts + lasting
            yield self.converter(frame), pts, self.end_seconds
        if self.converter is None:
            raise self._decoder.nothing_read(self._part.start_seconds, self._part.end_seconds)

    def facts(self) -> ClipFacts:
        """What is known of the pictures that were read; says what was wrong with the file."""
        assert self.converter is not None
        self._decoder.tell_damage(len(self.pts_seconds))
        if jumps := self._clock.jumps:
            logger.warning("the clock of %s jumps (%s): joined there, as players do", self._path, told_jumps(jumps))
        upright = self.converter.upright_size
        height, width = self._size or upright
        aspect = pixel_aspect(self._stream, self.converter.orientation.turns)
        return ClipFacts(
            height=height,
            width=width,
            pts_seconds=tuple(self.pts_seconds),
            end_seconds=self.end_seconds,
            frame_rate=self._fields * self._rate,
            color=self.converter.color,
            pixel_aspect=reshaped_aspect(aspect, upright, (height, width)),
            source=str(Path(self._path).absolute()),
            has_alpha=self.converter.saw_alpha,
        )

    def _check_range(self, duration: Fraction | None) -> None:
        """Refuses a range that the container says lies outside the clip; an end may overshoot by one frame."""
        start, end = self._part.start_seconds, self._part.end_seconds
        if duration is None:
            return
        after = f"is after the end of {self._path}, which lasts {float(duration):g} s"
        if start is not None and start >= duration:
            raise UserError(f"start_seconds {float(start):g} {after}")
        if end is not None and end > duration + 1 / self._rate:
            raise UserError(f"end_seconds {float(end):g} {after}")

    def _frames(self) -> Iterator[tuple[Fraction, VideoFrame]]:
        """The frames that are shown first in the part, and when."""
        step = 1 / self._rate
        # To part a frame's fields takes the frame before it, too.
        frames = self._decoder.timed(
            self._decoder.frames_from(self._first - step if self._deinterlace else self._first)
        )
        for pts, frame in deinterlaced(frames, self._deinterlace, step) if self._deinterlace else frames:
            if self._last is not None and pts >= self._last:
                return
            if pts >= self._first:
                yield pts, frame

    def _converter(self, frame: VideoFrame, longest_side: int | None) -> RgbConverter:
        """What makes pictures of this first frame and all others, if there is memory; says what will look wrong."""
        path, codec = self._path, self._stream.codec_context.name
        converter = RgbConverter(frame, self._size, codec)
        if longest_side is not None:
            height, width = converter.upright_size
            scale = min(1.0, longest_side / max(height, width))
            converter = RgbConverter(frame, (max(1, round(height * scale)), max(1, round(width * scale))), codec)
        kind = "alpha" if may_have_alpha(frame.format) else "8 bits" if converter.color.bit_depth == 8 else "deep"
        what = f"to read {path}, of {frame.width}x{frame.height},"
        advice = "close other programs, or make the picture smaller first"
        check_memory(frame.width * frame.height * _PIXEL_BYTES[kind], what, advice)
        if not self._is_new:
            return converter
        unsaid = [name for name, tagged in tagged_color(frame).items() if tagged is None]
        if unsaid:
            logger.info(
                "%s does not say its colour %s: taken as %s, by the usual rule (BT.709 from 720 rows or 1280 columns "
                "on, BT.601 below, limited range)",
                *(path, ", ".join(unsaid), ", ".join(str(getattr(converter.color, name)) for name in unsaid)),
            )
        if frame.interlaced_frame:
            logger.warning(
                "%s is interlaced: what moves is combed; --deinterlace frame, or field for twice the rate, mends it",
                path,
            )
        return converter


def _first_pts(path: str | Path, clock: Clock, step: Fraction) -> Fraction:
    """The clip's own first timestamp. Opens the file anew: raw streams cannot be wound back."""
    with open_to_read(path) as container:
        decoder = _Decoder(path, container, find_video(container, path), clock, step)
        for pts, _ in decoder.timed(decoder.frames()):
            return pts
    raise decoder.nothing_read(None, None) if decoder.errors else UserError(f"{path} has no frames in it")


def _time_base(frame: VideoFrame) -> Fraction:
    return frame.time_base or Fraction(1, 25)


@dataclass
class _Decoder:
    """The frames of an open file, timed; and what went wrong with them, to be told once at the end."""

    path: str | Path
    container: InputContainer
    stream: VideoStream
    clock: Clock
    step: Fraction
    errors: int = 0
    message: str = ""
    moved: int = 0
    packets: int = 0

    def _note(self, message: str) -> None:
        self.errors += 1
        self.message = self.message or message

    def tell_damage(self, count: int) -> None:
        if self.errors:
            told = (self.path, self.errors, self.message, count)
            logger.warning("%s is damaged (%d decoding errors: %s); read %d frames", *told)
        if self.moved:
            late = "%s: %d frames had timestamps out of order, and were moved after the one before"
            logger.warning(late, self.path, self.moved)

    def nothing_read(self, start: Fraction | None, end: Fraction | None) -> UserError:
        if self.errors:
            return UserError(f"no frame of {self.path} can be decoded: {self.message}; the file is damaged")
        until = "its end" if end is None else f"{float(end):g} s"
        return UserError(f"{self.path} has no frame from {float(start or 0):g} s to {until}; widen the range")

    def frames(self) -> Iterator[VideoFrame]:
        """All frames from the container's present position on; what follows errors still comes."""
        packets = self.clock.demux(self.container, self.stream)
        decoder = decoder_of(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                self._note(str(error.strerror))
                return
            if packet is None:
                return
            self.packets += packet.size > 0
            try:
                yield from decoder.decode(packet)
            except av.EOFError:
                return
            except av.FFmpegError as error:
                self._note(str(error.strerror))

    def frames_from(self, first: Fraction) -> Iterator[VideoFrame]:
        """Frames from the keyframe at or before `first` on, or from the beginning where seeking does not land there."""
        container, stream, kind = self.container, self.stream, self.container.format.name
        # Times do not tell where frames are if they come again. In program streams frames may have none, and get others
        # from a place in the middle.
        may_seek = not self.clock.jumps and kind != "mpeg"
        for earlier in _LOOKED_BACK if may_seek else ():
            begin, time_base = stream.start_time, stream.time_base
            if begin is None or time_base is None or first - earlier <= begin * time_base:
                break
            try:
                container.seek(int((first - earlier) / time_base), stream=stream)
            except av.FFmpegError:
                logger.info("%s cannot be wound forward; decoding it from its beginning", self.path)
                break
            frames = self.frames()
            landed = next(frames, None)
            if landed is not None and landed.pts is not None and landed.pts * _time_base(landed) <= first:
                yield landed
                yield from frames
                return
            container.seek(min(begin, 0), stream=stream)
        self.packets = 0
        yield from self.frames()
        # An edit list hides frames that are counted all the same; the index of an MP4 has only those that are to be
        # read.
        stored = len(stream.index_entries) if "mp4" in kind else stream.frames
        # FFmpeg takes the end of the file for the end of the video, without an error.
        missing = missing_bytes(self.path)
        # An AVI counts frames that repeat the one before, too, which are empty and which FFmpeg leaves out.
        if self.packets < stored and (kind != "avi" or missing):
            self._note(f"the file ends after {self.packets} of {stored} frames")
        elif missing and not stored:
            self._note(f"the file ends after {self.packets} frames, {missing} bytes before its header says")

    def timed(self, frames: Iterator[VideoFrame]) -> Iterator[tuple[Fraction, VideoFrame]]:
        """Each frame with its exact presentation time; times strictly increase, and no frame is lost for its time."""
        previous: Fraction | None = None
        # AVI keeps no presentation times: what FFmpeg gives as pts goes back and forth with the order of coding.
        unordered = self.container.format.name == "avi"
        for frame in frames:
            ticks = frame.dts if unordered and frame.dts is not None else frame.pts
            if ticks is None or (unordered and frame.dts is None and previous is not None):
                pts = Fraction(0) if previous is None else previous + self.step
            else:
                pts = ticks * _time_base(frame)
            if previous is not None and pts <= previous:
                # Half a step: a whole one would run into the next frame, and push every frame after it.
                pts = previous + self.step / 2
                self.moved += 1
            previous = pts
            yield pts, frame
