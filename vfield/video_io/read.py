"""Reading a clip: frames decoded, scaled and converted to RGB as a stream into one tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, get_args

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from vfield.clip import Clip, reshaped_aspect
from vfield.errors import UserError
from vfield.video_io.color import open_tags
from vfield.video_io.interlace import Deinterlacing, deinterlaced
from vfield.video_io.rgb import RgbConverter
from vfield.video_io.source import (
    as_seconds,
    declared_duration,
    decoder_of,
    find_video,
    logger,
    nominal_rate,
    open_input,
    pixel_aspect,
)

_LARGEST_SIDE = 16384


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
        in shape at the size asked for. A file with alpha gives its picture over black, with a line in the log.

    Raises:
        UserError: when the file, the range or the size is no good; one line says why.
    """
    start, end = _checked_range(start_seconds, end_seconds)
    _check_amount(size, max_frames, deinterlace)
    with open_input(path) as container:
        stream = find_video(container, path)
        damage = _Damage()
        rate = nominal_rate(stream)
        origin = _first_pts(path)
        _check_range(path, start, end, declared_duration(container, stream), 1 / rate)
        first, last = origin + (start or 0), None if end is None else origin + end
        fields = 2 if deinterlace == "field" else 1
        expected = fields * _count_packets(path, stream, first, last)
        store = _FrameStore(min(expected, max_frames or expected))
        converter: RgbConverter | None = None
        for pts, frame in _frames_between(container, stream, first, last, deinterlace, damage):
            if converter is None:
                converter = RgbConverter(frame, size)
                _tell_of_first(path, frame, converter)
            known = frame.duration and not deinterlace  # the filter does not keep durations
            lasting = frame.duration * _time_base(frame) if known else 1 / rate / fields
            store.append(converter(frame), pts, pts + lasting)
            if len(store.times) == max_frames:
                break
        if converter is None:
            raise UserError(_nothing_read(path, start, end, damage))
        damage.report(path, len(store.times))
        if converter.saw_alpha:
            logger.warning("%s has alpha, which is dropped: its picture is taken as it looks over black", path)
        pictures = store.finish()
        return Clip(
            frames=pictures,
            pts_seconds=tuple(store.times),
            end_seconds=store.end,
            frame_rate=fields * rate,
            color=converter.color,
            pixel_aspect=reshaped_aspect(
                pixel_aspect(stream, converter.orientation.turns),
                converter.upright_size,
                (pictures.shape[-2], pictures.shape[-1]),
            ),
            source=str(Path(path).absolute()),
        )


class ShownFrame(NamedTuple):
    """A frame as it is shown.

    Attributes:
        pts_seconds: when it begins, as the container gives it.
        duration_seconds: how long it lasts, as far as the file says; otherwise of the nominal rate.
        pixels: (3, h, w), uint8 in 0..255 or float32 in [0, 1].
    """

    pts_seconds: Fraction
    duration_seconds: Fraction
    pixels: Tensor


def read_frames(path: str | Path) -> Iterator[ShownFrame]:
    """The frames of a video one after another, as `read_clip` would give them all, in the memory of a few.

    Raises:
        UserError: when the file is no good; one line says why.
    """
    with open_input(path) as container:
        stream = find_video(container, path)
        damage, step, count = _Damage(), 1 / nominal_rate(stream), 0
        converter: RgbConverter | None = None
        for pts, frame in _frames_between(container, stream, _first_pts(path), None, None, damage):
            converter = converter or RgbConverter(frame, None)
            lasting = frame.duration * _time_base(frame) if frame.duration else step
            # A copy where the picture was only turned: tensors cannot go backwards through memory.
            yield ShownFrame(pts, lasting, torch.from_numpy(np.ascontiguousarray(converter(frame))))
            count += 1
        if not count:
            raise UserError(_nothing_read(path, None, None, damage))
        damage.report(path, count)


def _frames_between(
    container: InputContainer,
    stream: VideoStream,
    first: Fraction,
    last: Fraction | None,
    deinterlace: Deinterlacing | None,
    damage: _Damage,
) -> Iterator[tuple[Fraction, VideoFrame]]:
    """The frames that are shown first in [first, last), and when."""
    step = 1 / nominal_rate(stream)
    # To part a frame's fields takes the frame before it, too.
    needed = first - step if deinterlace else first
    frames = _timed_frames(_decode_from(container, stream, needed, damage), stream, damage)
    for pts, frame in deinterlaced(frames, deinterlace, step) if deinterlace else frames:
        if last is not None and pts >= last:
            return
        if pts >= first:
            yield pts, frame


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


def _check_amount(size: tuple[int, int] | None, max_frames: int | None, deinterlace: str | None) -> None:
    if max_frames is not None and max_frames < 1:
        raise UserError(f"max_frames must be at least 1, got {max_frames}")
    if size is not None and not all(1 <= side <= _LARGEST_SIDE for side in size):
        raise UserError(f"size must be (height, width) of 1 to {_LARGEST_SIDE} pixels, got {size}")
    if deinterlace not in (None, *get_args(Deinterlacing)):
        raise UserError(f"deinterlace must be {' or '.join(get_args(Deinterlacing))}, got {deinterlace!r}")


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


def _decode(container: InputContainer, stream: VideoStream, damage: _Damage) -> Iterator[VideoFrame]:
    """All frames from the container's present position on; errors are noted, and what follows them still comes."""
    packets = container.demux(stream)
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


def _first_pts(path: str | Path) -> Fraction:
    """The clip's own first timestamp. Opens the file anew: raw streams cannot be wound back."""
    damage = _Damage()
    with open_input(path) as container:
        stream = find_video(container, path)
        for pts, _ in _timed_frames(_decode(container, stream, damage), stream, damage):
            return pts
    raise UserError(_nothing_read(path, None, None, damage) if damage.errors else f"{path} has no frames in it")


def _decode_from(
    container: InputContainer, stream: VideoStream, first: Fraction, damage: _Damage
) -> Iterator[VideoFrame]:
    """Frames from the keyframe at or before `first` on, or from the beginning where seeking does not land there."""
    time_base = stream.time_base
    if time_base is not None and stream.start_time is not None and first > stream.start_time * time_base:
        try:
            container.seek(int(first / time_base), stream=stream)
        except av.FFmpegError:
            logger.info("%s cannot be wound forward; decoding it from its beginning", container.name)
        else:
            frames = _decode(container, stream, damage)
            landed = next(frames, None)
            if landed is not None and landed.pts is not None and landed.pts * _time_base(landed) <= first:
                yield landed
                yield from frames
                return
            container.seek(min(stream.start_time, 0), stream=stream)
    damage.packets = 0
    yield from _decode(container, stream, damage)
    # An edit list hides frames that are counted all the same; the index of an MP4 has only those that are to be read.
    stored = len(stream.index_entries) if "mp4" in container.format.name else stream.frames
    if damage.packets < stored:  # FFmpeg takes the end of the file for the end of the video, without an error.
        damage.add(f"the file ends after {damage.packets} of {stored} frames")


def _timed_frames(
    frames: Iterator[VideoFrame], stream: VideoStream, damage: _Damage
) -> Iterator[tuple[Fraction, VideoFrame]]:
    """Each frame with its exact presentation time; times strictly increase, and no frame is lost for its time."""
    step = 1 / nominal_rate(stream)
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


def _count_packets(path: str | Path, decoded: VideoStream, first: Fraction, last: Fraction | None) -> int:
    """How many frames to expect in [first, last): the packets' timestamps tell, without decoding. At least 1."""
    count = 0
    with open_input(path) as container:
        stream = container.streams[decoded.index]
        try:
            for packet in container.demux(stream):
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


class _FrameStore:
    """Frames and their times, gathered into one tensor without holding the clip twice.

    The first block has room for all the frames that are expected; memory not yet written costs nothing. Only a clip
    that holds more frames than its packets announced needs further blocks, and a copy to join them.
    """

    def __init__(self, expected: int) -> None:
        self._room = expected
        self._blocks: list[np.ndarray] = []
        self._used = 0
        self.times: list[Fraction] = []
        self.end = Fraction(0)

    def append(self, frame: np.ndarray, pts: Fraction, end: Fraction) -> None:
        if not self._blocks or self._used == len(self._blocks[-1]):
            room = self._room if not self._blocks else 16
            self._blocks.append(np.empty((room, *frame.shape), frame.dtype))
            self._used = 0
        self._blocks[-1][self._used] = frame
        self._used += 1
        self.times.append(pts)
        self.end = end

    def finish(self) -> Tensor:
        blocks = [*self._blocks[:-1], self._blocks[-1][: self._used]]
        self._blocks = []
        return torch.from_numpy(blocks[0] if len(blocks) == 1 else np.concatenate(blocks))
