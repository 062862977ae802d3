"""Encoders of graphics cards: whether one can be used here, and its scale of quality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import av
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext

from vfield.video_io.source import logger

_KINDS = ("nvenc", "qsv", "vaapi", "videotoolbox", "amf", "mf", "v4l2m2m", "vulkan", "d3d12va", "mediacodec", "rkmpp")
# Frames in these lie in the card's memory, where nothing here puts them.
_ON_CARD = ("cuda", "qsv", "vaapi", "videotoolbox_vld", "amf", "d3d11", "d3d12", "vulkan", "mediacodec", "drm_prime")
# FFmpeg's FF_QP2LAMBDA, in which a codec's global quality is counted where it is a scale and not a rate.
_LAMBDA = 118


@dataclass(frozen=True)
class Quality:
    """What `crf` is to an encoder of a graphics card.

    Attributes:
        default: visually lossless.
        best: the least that can be given.
        worst: the most.
        options: the encoder's options for a value.
    """

    default: int
    best: int
    worst: int
    options: Callable[[int], dict[str, str]]


# After FFmpeg's documentation of each encoder. Those not here keep their own rate control.
_QUALITIES = {
    "nvenc": Quality(19, 1, 51, lambda crf: {"rc": "vbr", "cq": str(crf), "b": "0"}),  # 0 would be automatic
    "qsv": Quality(19, 1, 51, lambda crf: {"global_quality": str(crf)}),
    "amf": Quality(19, 0, 51, lambda crf: {"rc": "cqp", "qp_i": str(crf), "qp_p": str(crf)}),
    # Its own scale goes from 1 (worst) to 100.
    "videotoolbox": Quality(
        16, 0, 49, lambda crf: {"flags": "+qscale", "global_quality": str(_LAMBDA * (100 - 2 * crf))}
    ),
}


def quality_of(encoder: str) -> Quality | None:
    """The scale of an encoder of a graphics card; None for other encoders and for those without one."""
    return _QUALITIES.get(encoder.rpartition("_")[2])


def on_host(formats: list[str]) -> list[str]:
    """Those pixel formats whose frames lie in the machine's own memory."""
    return [name for name in formats if name not in _ON_CARD]


def working_encoder(encoder: str, software: Mapping[str, str], height: int, width: int) -> str:
    """The encoder, or the one in software for the same format where a graphics card's does not work here.

    A line in the log says so.

    Args:
        encoder: FFmpeg's name.
        software: encoders by the names of formats.
        height: rows of the frames; cards have limits.
        width: columns of the frames.
    """
    coded, _, kind = encoder.rpartition("_")
    if kind not in _KINDS or coded not in software:
        return encoder
    reason = _why_not(encoder, height, width)
    if reason is None:
        return encoder
    logger.warning("%s cannot be used here (%s): %s writes the same format", encoder, reason, software[coded])
    return software[coded]


def _why_not(encoder: str, height: int, width: int) -> str | None:
    """Why an encoder does not work; found by trying."""
    try:
        context = CodecContext.create(encoder, "w")
    except ValueError:
        return "this FFmpeg is built without it"
    assert isinstance(context, VideoCodecContext)
    known = [described.name for described in context.codec.video_formats or []]
    formats = on_host(known) or ([] if known else ["yuv420p"])
    if not formats:
        return "it takes only frames in the card's own memory"
    context.width, context.height, context.pix_fmt = width, height, formats[0]
    context.framerate, context.time_base = Fraction(25), Fraction(1, 25)
    try:
        context.open()
    except (av.FFmpegError, OSError) as error:
        return f"it does not open: {error.strerror or error}"
    return None
