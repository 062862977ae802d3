"""One way through the frames of a file: decoded, timed, and made into pictures as they come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vfield.core.clip import ClipFacts, reshaped_aspect
from vfield.core.errors import UserError
from vfield.core.memory import check_memory
from vfield.video_io.claims import missing_bytes
from vfield.video_io.clock import Clock, clock_of, told_jumps
from vfield.video_io.color import open_tags
from vfield.video_io.files import file_name
from vfield.video_io.interlace import Deinterlacing, deinterlaced
from vfield.video_io.rates import camera_rate
from vfield.video_io.rgb import Picture, RgbConverter
from vfield.video_io.source import (
    as_seconds,
    declared_duration,
    decoder_of,
    find_video,
    logger,
    may_have_alpha,
    open_input,
    pixel_aspect,
)

# How far before a frame its key frame is looked for, seconds. A file without an index, as a transport stream, is
# entered anywhere, and what it gives first is the key frame after that.
_LOOKED_BACK = (0, 2, 10, 60)
# What making a picture of a frame takes at once for each pixel; measured.
_PIXEL_BYTES = {"8 bits": 12, "alpha": 33, "deep": 60}


class Reading:
    """One way through the frames of a file that are shown first in a part of it.

    Attributes:
        converter: what makes pictures of frames; None before the first.
        origin: the file's first timestamp, seconds.
    """

    def __init__(
        self,
        path: str | Path,
        container: InputContainer,
        part: tuple[Fraction | None, Fraction | None],
        size: tuple[int, int] | None,
        deinterlace: Deinterlacing | None,
        origin: Fraction | None = None,
    ) -> None:
        self._path, self._container, self._part = path, container, part
        self._size, self._deinterlace = size, deinterlace
        self._stream = find_video(container, path)
        self._damage = _Damage()
        self._clock = clock_of(path)
        self._rate = camera_rate(path, self._stream)
        self._fields = 2 if deinterlace == "field" else 1
        self.converter: RgbConverter | None = None
        # A file that is read again has told its origin, and what is to be said of it was said.
        self._says = origin is None
        self.origin = _first_pts(path, self._clock, 1 / self._rate) if origin is None else origin
        start, end = part
        if self._says:  # what was read before is there, whatever the header says
            duration = self._clock.duration_seconds or declared_duration(container, self._stream)
            _check_range(path, start, end, duration, 1 / self._rate)
        self._first = self.origin + (start or 0)
        self._last = None if end is None else self.origin + end

    @property
    def moved_seconds(self) -> Fraction:
        """How long after the one before a picture comes whose own time is not after that."""
        return 1 / (2 * self._fields * self._rate)

    def expected(self) -> int:
        """About how many pictures there will be, at least 1."""
        return self._fields * _count_packets(self._path, self._stream, self._clock, self._first, self._last)

    def pictures(self, longest_side: int | None = None) -> Iterator[tuple[Picture, Fraction, Fraction]]:
        """Each picture, when it is shown, and until when; smaller ones of the shape if a side is given."""
        between = (self._clock, 1 / self._rate, self._first, self._last, self._deinterlace, self._damage)
        for pts, frame in _frames_between(self._container, self._stream, *between):
            if self.converter is None:
                codec = self._stream.codec_context.name
                converter = RgbConverter(frame, self._size, codec)
                if longest_side is not None:
                    converter = RgbConverter(frame, _within(converter, longest_side), codec)
                self.converter = converter
                _check_room(self._path, frame, converter)
                if self._says:
                    _tell_of_first(self._path, frame, self.converter)
            known = frame.duration and not self._deinterlace  # the filter does not keep durations
            lasting = frame.duration * _time_base(frame) if known else 1 / self._rate / self._fields
            yield self.converter(frame), pts, pts + lasting
        if self.converter is None:
            raise UserError(_nothing_read(self._path, *self._part, self._damage))

    def facts(self, times: list[Fraction], end: Fraction) -> ClipFacts:
        """What is known of the pictures that were read; says what was wrong with the file."""
        assert self.converter is not None
        self._damage.report(self._path, len(times))
        if jumps := self._clock.jumps:
            logger.warning("the clock of %s jumps (%s): joined there, as players do", self._path, told_jumps(jumps))
        upright = self.converter.upright_size
        height, width = self._size or upright
        return ClipFacts(
            height=height,
            width=width,
            pts_seconds=tuple(times),
            end_seconds=end,
            frame_rate=self._fields * self._rate,
            color=self.converter.color,
            pixel_aspect=reshaped_aspect(
                pixel_aspect(self._stream, self.converter.orientation.turns), upright, (height, width)
            ),
            source=str(Path(self._path).absolute()),
            has_alpha=self.converter.saw_alpha,
        )


@contextmanager
def opened(
    path: str | Path,
    start_seconds: Fraction | float | None,
    end_seconds: Fraction | float | None,
    size: tuple[int, int] | None,
    deinterlace: Deinterlacing | None,
    origin: Fraction | None = None,
) -> Iterator[Reading]:
    """Begin to read a part of a file; `origin` is its first timestamp where it was read before."""
    part = _checked_range(start_seconds, end_seconds)
    with open_input(path) as container:
        yield Reading(path, container, part, size, deinterlace, origin)


def _within(converter: RgbConverter, longest_side: int) -> tuple[int, int]:
    """The size (height, width) of upright pictures made so small that no side is longer."""
    height, width = converter.upright_size
    scale = min(1.0, longest_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _frames_between(
    container: InputContainer,
    stream: VideoStream,
    clock: Clock,
    step: Fraction,
    first: Fraction,
    last: Fraction | None,
    deinterlace: Deinterlacing | None,
    damage: _Damage,
) -> Iterator[tuple[Fraction, VideoFrame]]:
    """The frames that are shown first in [first, last), and when."""
    # To part a frame's fields takes the frame before it, too.
    needed = first - step if deinterlace else first
    frames = _timed_frames(_decode_from(container, stream, clock, needed, damage), stream, step, damage)
    for pts, frame in deinterlaced(frames, deinterlace, step) if deinterlace else frames:
        if last is not None and pts >= last:
            return
        if pts >= first:
            yield pts, frame


def _check_room(path: str | Path, frame: VideoFrame, converter: RgbConverter) -> None:
    """Refuses pictures that there is no memory to make, one at a time."""
    kind = "alpha" if may_have_alpha(frame.format) else "8 bits" if converter.color.bit_depth == 8 else "deep"
    what = f"to read {path}, of {frame.width}x{frame.height},"
    advice = "close other programs, or make the picture smaller first"
    check_memory(frame.width * frame.height * _PIXEL_BYTES[kind], what, advice)


def _tell_of_first(path: str | Path, frame: VideoFrame, converter: RgbConverter) -> None:
    """Says what was taken for granted, and what will look wrong."""
    unsaid = open_tags(frame)
    if unsaid:
        logger.info(
            "%s does not say its colour %s: taken as %s, by the usual rule (BT.709 from 720 rows or 1280 columns on, "
            "BT.601 below, limited range)",
            *(path, ", ".join(unsaid), ", ".join(str(getattr(converter.color, name)) for name in unsaid)),
        )
    if frame.interlaced_frame:
        logger.warning(
            "%s is interlaced: what moves is combed; --deinterlace frame, or field for twice the rate, mends it", path
        )


@dataclass
class _Damage:
    """What went wrong while decoding, to be told once at the end."""

    errors: int = 0
    moved: int = 0
    message: str = ""
    packets: int = 0

    def add(self, message: str) -> None:
        self.errors += 1
        self.message = self.message or message

    def report(self, path: str | Path, count: int) -> None:
        if self.errors:
            logger.warning(
                "%s is damaged (%d decoding errors: %s); read %d frames", path, self.errors, self.message, count
            )
        if self.moved:
            logger.warning(
                "%s: %d frames had timestamps out of order, and were moved after the one before", path, self.moved
            )


def _checked_range(
    start_seconds: Fraction | float | None, end_seconds: Fraction | float | None
) -> tuple[Fraction | None, Fraction | None]:
    start, end = as_seconds(start_seconds, "start_seconds"), as_seconds(end_seconds, "end_seconds")
    if end is not None and end <= (start or 0):
        raise UserError(f"end_seconds must come after start_seconds, got {float(start or 0):g} to {float(end):g}")
    return start, end


def _check_range(
    path: str | Path, start: Fraction | None, end: Fraction | None, duration: Fraction | None, slack: Fraction
) -> None:
    """Refuses a range that the container says lies outside the clip; an end may overshoot by one frame."""
    if duration is None:
        return
    if start is not None and start >= duration:
        raise UserError(f"start_seconds {float(start):g} is after the end of {path}, which lasts {float(duration):g} s")
    if end is not None and end > duration + slack:
        raise UserError(f"end_seconds {float(end):g} is after the end of {path}, which lasts {float(duration):g} s")


def _nothing_read(path: str | Path, start: Fraction | None, end: Fraction | None, damage: _Damage) -> str:
    if damage.errors:
        return f"no frame of {path} can be decoded: {damage.message}; the file is damaged"
    until = "its end" if end is None else f"{float(end):g} s"
    return f"{path} has no frame from {float(start or 0):g} s to {until}; widen the range"


def _time_base(frame: VideoFrame) -> Fraction:
    return frame.time_base or Fraction(1, 25)


def _decode(container: InputContainer, stream: VideoStream, clock: Clock, damage: _Damage) -> Iterator[VideoFrame]:
    """All frames from the container's present position on; errors are noted, and what follows them still comes."""
    packets = clock.demux(container, stream)
    decoder = decoder_of(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            damage.add(str(error.strerror))
            return
        if packet is None:
            return
        damage.packets += packet.size > 0
        try:
            yield from decoder.decode(packet)
        except av.EOFError:
            return
        except av.FFmpegError as error:
            damage.add(str(error.strerror))


def _first_pts(path: str | Path, clock: Clock, step: Fraction) -> Fraction:
    """The clip's own first timestamp. Opens the file anew: raw streams cannot be wound back."""
    damage = _Damage()
    with open_input(path) as container:
        stream = find_video(container, path)
        for pts, _ in _timed_frames(_decode(container, stream, clock, damage), stream, step, damage):
            return pts
    raise UserError(_nothing_read(path, None, None, damage) if damage.errors else f"{path} has no frames in it")


def _decode_from(
    container: InputContainer, stream: VideoStream, clock: Clock, first: Fraction, damage: _Damage
) -> Iterator[VideoFrame]:
    """Frames from the keyframe at or before `first` on, or from the beginning where seeking does not land there."""
    for earlier in _LOOKED_BACK if _may_seek(container, clock) else ():
        begin, time_base = stream.start_time, stream.time_base
        if begin is None or time_base is None or first - earlier <= begin * time_base:
            break
        try:
            container.seek(int((first - earlier) / time_base), stream=stream)
        except av.FFmpegError:
            logger.info("%s cannot be wound forward; decoding it from its beginning", file_name(container))
            break
        frames = _decode(container, stream, clock, damage)
        landed = next(frames, None)
        if landed is not None and landed.pts is not None and landed.pts * _time_base(landed) <= first:
            yield landed
            yield from frames
            return
        container.seek(min(begin, 0), stream=stream)
    damage.packets = 0
    yield from _decode(container, stream, clock, damage)
    # An edit list hides frames that are counted all the same; the index of an MP4 has only those that are to be read.
    stored = len(stream.index_entries) if "mp4" in container.format.name else stream.frames
    # FFmpeg takes the end of the file for the end of the video, without an error.
    kind, missing = container.format.name, missing_bytes(file_name(container))
    # An AVI counts frames that repeat the one before, too, which are empty and which FFmpeg leaves out.
    if damage.packets < stored and (kind != "avi" or missing):
        damage.add(f"the file ends after {damage.packets} of {stored} frames")
    elif missing and not stored:
        damage.add(f"the file ends after {damage.packets} frames, {missing} bytes before its header says")


def _may_seek(container: InputContainer, clock: Clock) -> bool:
    """Whether the times of a file tell where its frames are.

    They do not where they come again. In program streams frames may have none, and get others from a place in the
    middle.
    """
    return not clock.jumps and container.format.name != "mpeg"


def _timed_frames(
    frames: Iterator[VideoFrame], stream: VideoStream, step: Fraction, damage: _Damage
) -> Iterator[tuple[Fraction, VideoFrame]]:
    """Each frame with its exact presentation time; times strictly increase, and no frame is lost for its time."""
    previous: Fraction | None = None
    # AVI keeps no presentation times: what FFmpeg gives as pts goes back and forth with the order of coding.
    unordered = stream.container.format.name == "avi"
    for frame in frames:
        ticks = frame.dts if unordered and frame.dts is not None else frame.pts
        if ticks is None or (unordered and frame.dts is None and previous is not None):
            pts = Fraction(0) if previous is None else previous + step
        else:
            pts = ticks * _time_base(frame)
        if previous is not None and pts <= previous:
            # Half a step: a whole one would run into the next frame, and push every frame after it.
            pts = previous + step / 2
            damage.moved += 1
        previous = pts
        yield pts, frame


def _count_packets(path: str | Path, decoded: VideoStream, clock: Clock, first: Fraction, last: Fraction | None) -> int:
    """How many frames to expect in [first, last): the packets' timestamps tell, without decoding. At least 1."""
    count = 0
    with open_input(path) as container:
        stream = container.streams[decoded.index]
        try:
            for packet in clock.demux(container, stream):
                if packet.size == 0:
                    continue
                if packet.pts is None:
                    count += 1
                    continue
                if last is not None and packet.dts is not None and packet.dts * packet.time_base >= last:
                    break
                pts = packet.pts * packet.time_base
                count += pts >= first and (last is None or pts < last)
        except av.FFmpegError:
            return max(count, 1)  # Only an estimate for memory: decoding meets the same error and reports it.
    return max(count, 1)
