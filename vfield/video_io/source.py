"""Opening video files: every way in which that fails becomes one line for the user."""

from __future__ import annotations

import logging
import math
import struct
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av import CodecContext, VideoCodecContext, VideoFormat, VideoFrame, VideoStream
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Disposition, Stream

from vfield.core.errors import UserError
from vfield.core.memory import check_memory
from vfield.core.timing import as_typed
from vfield.video_io.files import open_to_read
from vfield.video_io.tags import side_data

logger = logging.getLogger("vfield")

# Codecs whose alpha is a second picture in the container, and the decoders that look at it.
_ALPHA_ASIDE = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_FALLBACK_RATE = Fraction(25)
_MOST_DECODED = 500_000_000  # bytes of a frame: to look at a file is to be cheap
_USUAL_BITS = 12  # of a pixel, where the header does not tell its format


def find_video(container: InputContainer, path: str | Path) -> VideoStream:
    """The video stream that a player would show, ready to decode on all cores.

    A UserError when the file has none, or none that can be decoded, or a larger one than memory holds.
    """
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or Disposition.attached_pic in stream.disposition:
        kinds = sorted({str(found.type) for found in container.streams}) or ["nothing"]
        raise UserError(f"{path} has no video in it, only {' and '.join(kinds)}; give a file with a picture")
    if stream.codec_context is None:
        raise UserError(f"{path} is coded in a way that this FFmpeg cannot decode; convert it to H.264 first")
    stream.thread_type = "AUTO"
    context = stream.codec_context
    what = f"to decode {path}, of {context.width}x{context.height},"
    check_memory(_decoding_bytes(stream), what, "close other programs, or make the picture smaller first")
    return stream


def _decoding_bytes(stream: VideoStream) -> float:
    """The memory that decoding one frame takes at least, as the file's header tells it: the picture, and half again."""
    context = stream.codec_context
    bits = VideoFormat(context.pix_fmt).padded_bits_per_pixel if context.pix_fmt else _USUAL_BITS
    return 1.5 * context.width * context.height * bits / 8


def may_have_alpha(described: VideoFormat) -> bool:
    """Whether pixels of a format can be other than opaque."""
    return described.has_palette or any(component.is_alpha for component in described.components)


def has_alpha_aside(stream: VideoStream) -> bool:
    """Whether a stream has alpha not in its frames but beside them."""
    # Programs write it as a tag, too, in capitals.
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    return stream.codec.canonical_name in _ALPHA_ASIDE and tags.get("alpha_mode") == "1"


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """What decodes the stream's packets: its own context, or libvpx for VP8 and VP9 with alpha.

    FFmpeg's own decoders of the two leave alpha out, which lies in packets' side data.
    """
    own = stream.codec_context
    if not has_alpha_aside(stream):
        return own
    decoder = CodecContext.create(_ALPHA_ASIDE[own.codec.canonical_name], "r")
    assert isinstance(decoder, VideoCodecContext)
    _copy_tags(own, decoder)
    return decoder


def _copy_tags(context: VideoCodecContext, target: VideoCodecContext | VideoFrame) -> None:
    for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
        setattr(target, name, getattr(context, name))


def codec_name(stream: Stream) -> str:
    """FFmpeg's name of what a stream is coded with; "unknown" where this FFmpeg has no decoder for it."""
    return "unknown" if stream.codec_context is None else stream.codec_context.codec.canonical_name


def nominal_rate(stream: VideoStream) -> Fraction:
    """Frames per second: what the container says, often an average, or 25 where it says nothing usable."""
    rates = [stream.average_rate, stream.guessed_rate, stream.base_rate]
    if stream.start_time is None:
        # A raw stream has no timestamps to average; FFmpeg then calls the average 25, but may know the rate itself.
        rates = [stream.guessed_rate, stream.average_rate]
    return next((rate for rate in rates if rate is not None and 0 < rate <= 1000), _FALLBACK_RATE)


class Orientation(NamedTuple):
    """How the stored picture becomes upright."""

    mirrored: bool  # whether it is first flipped left to right
    turns: int  # quarter turns anticlockwise, 0 to 3, after that


def orientation(frame: VideoFrame) -> Orientation:
    """The orientation that a frame's display matrix asks for, to the nearest quarter turn."""
    found = side_data(frame, Type.DISPLAYMATRIX)
    if found is None:
        return Orientation(False, 0)
    # x' = a x + c y, y' = b x + d y, with y down (FFmpeg's libavutil/display.h).
    a, b, _, c, d, *_ = struct.unpack_from("=9i", found)
    mirrored = a * d < b * c
    if mirrored:
        a, b = -a, -b
    return Orientation(mirrored, round(math.degrees(math.atan2(-b, a)) / 90) % 4)


def pixel_aspect(stream: VideoStream, turns: int) -> Fraction:
    """Width / height of one pixel of the upright picture; 1 where the file does not say."""
    aspect = stream.sample_aspect_ratio
    if not aspect or aspect <= 0:
        return Fraction(1)
    return 1 / aspect if turns % 2 else aspect


def declared_duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Seconds that the video lasts according to its container; None where it does not say."""
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    return Fraction(container.duration, av.time_base) if container.duration else None


def has_audio(path: str | Path) -> bool:
    """Whether the file has a sound track; a UserError when the file cannot be opened."""
    with open_to_read(path) as container:
        return bool(container.streams.audio)


def first_frame(container: InputContainer, stream: VideoStream, path: str | Path) -> VideoFrame:
    """The first frame of a file just opened, to look at what it says of itself.

    That of a picture whose decoding would take much memory is one without content, as the header describes it. A
    UserError when it has none, or none that can be decoded.
    """
    context = stream.codec_context
    if _decoding_bytes(stream) > _MOST_DECODED and context.pix_fmt is not None:
        logger.info("%s is very large: it is taken as its header says, without a look at what it holds", path)
        frame = VideoFrame(context.width, context.height, context.pix_fmt)
        _copy_tags(context, frame)
        return frame
    try:
        decoded = next(container.decode(stream), None)
    except av.FFmpegError as error:
        raise UserError(f"no frame of {path} can be decoded: {error.strerror}; the file is damaged") from error
    if decoded is None:
        raise UserError(f"{path} has no frames in it")
    return decoded


def as_seconds(value: Fraction | float | None, name: str) -> Fraction | None:
    """A time that the user gave, exactly; a UserError when it is negative or not a number."""
    if value is None:
        return None
    if not math.isfinite(value) or value < 0:
        raise UserError(f"{name} must be zero or more seconds from the first frame, got {value}")
    # As it was typed, 0.04 is a frame's own instant at 25 a second; its binary value is not.
    return as_typed(value)
