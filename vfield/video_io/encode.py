"""Which encoder, pixel format and options to write video with."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import av
from av import Codec, CodecContext, VideoCodecContext, VideoFormat

from vfield.core.clip import ColorInfo
from vfield.core.errors import UserError
from vfield.video_io.color import video_color, with_hdr_metadata
from vfield.video_io.files import open_to_write
from vfield.video_io.graph import halves_chroma
from vfield.video_io.source import logger, may_have_alpha


class Quality(NamedTuple):
    """What `crf` is to an encoder: its default (visually lossless), its ends, and the options for a value."""

    default: int
    best: int
    worst: int
    options: Callable[[int], dict[str, str]]


def _crf(value: int) -> dict[str, str]:
    return {"crf": str(value)}


CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_ENCODERS = {
    **{"h264": "libx264", "hevc": "libx265", "h265": "libx265", "av1": "libsvtav1"},
    **{"vp9": "libvpx-vp9", "prores": "prores_ks", "ffv1": "ffv1"},
}
# By encoder, or by the kind of graphics card's encoder, after FFmpeg's documentation of each. Those not here have no
# scale of constant quality, or keep their own rate control.
_CRF_ENCODERS = {
    **dict.fromkeys(("libx264", "libx265"), Quality(16, 0, 51, _crf)),
    **dict.fromkeys(("libvpx-vp9", "libsvtav1"), Quality(30, 0, 63, _crf)),
}
_CARD_QUALITIES = {
    "nvenc": Quality(19, 1, 51, lambda crf: {"rc": "vbr", "cq": str(crf), "b": "0"}),  # 0 would be automatic
    "qsv": Quality(19, 1, 51, lambda crf: {"global_quality": str(crf)}),
    "amf": Quality(19, 0, 51, lambda crf: {"rc": "cqp", "qp_i": str(crf), "qp_p": str(crf)}),
    # Its own scale goes from 1 (worst) to 100, counted in FFmpeg's FF_QP2LAMBDA, 118.
    "videotoolbox": Quality(16, 0, 49, lambda crf: {"flags": "+qscale", "global_quality": str(118 * (100 - 2 * crf))}),
}
_CARDS = ("nvenc", "qsv", "vaapi", "videotoolbox", "amf", "mf", "v4l2m2m", "vulkan", "d3d12va", "mediacodec", "rkmpp")
# Frames in these lie in the card's memory, where nothing here puts them.
_ON_CARD = ("cuda", "qsv", "vaapi", "videotoolbox_vld", "amf", "d3d11", "d3d12", "vulkan", "mediacodec", "drm_prime")
# libvpx's own default speed takes seconds for a frame; SVT-AV1 and x265 print a report unless told not to.
_OPTIONS = {
    "libvpx-vp9": {"cpu-used": "4", "row-mt": "1"},
    "libx265": {"x265-params": "log-level=error"},
    "libsvtav1": {"preset": "7"},
}
# These code an odd last row or column of 4:2:0 as it is; H.264 and H.265 encoders refuse it.
_CODES_ODD_420 = ("libvpx-vp9", "libsvtav1", "ffv1")
# These keep alpha: in the picture itself, or as a second one that only Matroska and WebM have room for.
_KEEP_ALPHA, _KEEP_ALPHA_ASIDE = ("prores_ks", "ffv1", "qtrle", "png"), ("libvpx-vp9", "libvpx")
_ASIDE = (".webm", ".mkv")
_ALPHA_ENCODERS = {".webm": "libvpx-vp9", ".mkv": "libvpx-vp9", ".mov": "prores_ks"}
# Least sides that these encoders take; the others take any.
_LEAST_SIDE = {"libx265": 16, "libsvtav1": 4}
# Narrower pictures than this make x265's search for what is looked at longest (cutree) write past its memory, and the
# process ends (x265 in PyAV 18.1, widths up to 48).
_X265_CUTREE_WIDTH = 64


@dataclass(frozen=True)
class Encoding:
    """A complete choice, by FFmpeg's names: nothing here is left to a default."""

    container: str  # the muxer
    encoder: str
    pixel_format: str
    options: dict[str, str]  # of the encoder
    color: ColorInfo  # what the stream is coded and tagged with; `bit_depth` is the pixel format's
    alpha: bool = False  # pictures come with alpha, and it is kept


def choose_encoding(
    suffix: str,
    height: int,
    width: int,
    color: ColorInfo,
    *,
    codec: str | None = None,
    crf: int | None = None,
    pixel_format: str | None = None,
    alpha: bool = False,
) -> Encoding:
    """Fills in what the user left open. A UserError when the parts do not go together.

    By default H.264 4:2:0 in mp4, mov and mkv, VP9 in webm; for sources beyond 8 bits and for HDR, H.265 and AV1 of 10
    bits, or H.264 of 10 bits where the picture is too small for H.265. FFV1 keeps the source's own depth. An odd width
    or height makes it 4:4:4 where the encoder would lose the last row or column. A graphics card's encoder that does
    not work here is replaced by the one in software for the same format. With alpha it is VP9 in webm and mkv and
    ProRes 4444 in mov; what is asked for, and mp4, may not keep it (`Encoding.alpha` tells).
    """
    bits = _depth(pixel_format) if pixel_format is not None else max(color.bit_depth, 10 if color.is_hdr else 8)
    alpha = alpha and (pixel_format is None or may_have_alpha(VideoFormat(pixel_format)))
    default = _default_encoder(suffix, bits, min(height, width), alpha)
    encoder = default if codec is None else _ENCODERS.get(codec.lower(), codec)
    encoder = working_encoder(encoder, height, width)
    formats = _formats_of(encoder, codec or encoder)
    with open_to_write(io.BytesIO(), CONTAINERS[suffix]) as container:
        if encoder not in container.supported_codecs:
            raise UserError(f"{suffix} files cannot hold {encoder} video; choose another codec, or .mkv")
    least = _LEAST_SIDE.get(encoder, 1)
    if min(height, width) < least:
        size, advice = f"{width}x{height}", "choose codec h264, or ffv1 in .mkv"
        raise UserError(f"{encoder} cannot code {size}, only {least}x{least} or more; {advice}")
    if encoder in _KEEP_ALPHA_ASIDE:  # They claim more, and fail.
        formats = [name for name in formats if name == "yuva420p" or not may_have_alpha(VideoFormat(name))]
    odd = bool(height % 2 or width % 2) and encoder not in _CODES_ODD_420
    alpha = alpha and (encoder in _KEEP_ALPHA or (encoder in _KEEP_ALPHA_ASIDE and suffix in _ASIDE))
    if pixel_format is None:
        pixel_format = _best_format(encoder, formats, bits, odd, alpha)
    elif formats and pixel_format not in formats:
        raise UserError(f"{encoder} cannot write pixel format {pixel_format}; it can write {', '.join(formats)}")
    if odd and halves_chroma(VideoFormat(pixel_format)):
        raise UserError(
            f"{width}x{height} has an odd side, which {encoder} cannot write as {pixel_format}; "
            "choose an even size, or leave the pixel format out"
        )
    options = _OPTIONS.get(encoder, {}) | _quality_options(encoder, crf)
    if encoder == "ffv1":
        options |= ffv1_slices(height, width)
    if encoder == "libx265" and width < _X265_CUTREE_WIDTH:
        options["x265-params"] += ":cutree=0"
    facts = replace(color, matrix="gbr", range="pc") if VideoFormat(pixel_format).is_rgb else video_color(color)
    facts = replace(facts, bit_depth=_depth(pixel_format))
    options = with_hdr_metadata(options, encoder, color)
    return Encoding(CONTAINERS[suffix], encoder, pixel_format, options, facts, alpha)


def cannot_hold(suffix: str, codecs: Iterable[str]) -> list[str]:
    """Which of these codecs a file of this suffix (".mp4") cannot hold, by FFmpeg's names."""
    with open_to_write(io.BytesIO(), CONTAINERS[suffix]) as container:
        held = {name for codec in container.supported_codecs for name in (codec, codec.removeprefix("lib"))}
    return sorted(set(codecs) - held)


def ffv1_slices(height: int, width: int) -> dict[str, str]:
    """The option that FFV1 needs for a picture one pixel wide or high, which it cannot part, and tries."""
    return {"slices": "1"} if min(height, width) == 1 else {}


def quality_of(encoder: str) -> Quality | None:
    """An encoder's scale of constant quality; None where it has none."""
    return _CRF_ENCODERS.get(encoder) or _CARD_QUALITIES.get(encoder.rpartition("_")[2])


def _quality_options(encoder: str, crf: int | None) -> dict[str, str]:
    quality = quality_of(encoder)
    if quality is None:
        if crf is not None:
            raise UserError(f"{encoder} has no crf; leave it out, or choose one of {', '.join(_CRF_ENCODERS)}")
        return {}
    if crf is not None and not quality.best <= crf <= quality.worst:
        raise UserError(f"crf of {encoder} goes from {quality.best} (best) to {quality.worst}, got {crf}")
    return quality.options(quality.default if crf is None else crf)


def _default_encoder(suffix: str, bits: int, least_side: int, alpha: bool) -> str:
    if alpha and suffix in _ALPHA_ENCODERS:
        return _ALPHA_ENCODERS[suffix]
    if suffix == ".webm":
        return "libsvtav1" if bits > 8 else "libvpx-vp9"
    return "libx265" if bits > 8 and least_side >= _LEAST_SIDE["libx265"] else "libx264"


def working_encoder(encoder: str, height: int, width: int) -> str:
    """The encoder, or with a line in the log the software one for its format, where a graphics card's fails here."""
    coded, _, card = encoder.rpartition("_")
    if card not in _CARDS or coded not in _ENCODERS:
        return encoder
    reason = _why_not(encoder, height, width)
    if reason is None:
        return encoder
    logger.warning("%s cannot be used here (%s): %s writes the same format", encoder, reason, _ENCODERS[coded])
    return _ENCODERS[coded]


def _why_not(encoder: str, height: int, width: int) -> str | None:
    try:
        context = CodecContext.create(encoder, "w")
    except ValueError:
        return "this FFmpeg is built without it"
    assert isinstance(context, VideoCodecContext)
    known = [described.name for described in context.codec.video_formats or []]
    formats = _on_host(known) or ([] if known else ["yuv420p"])
    if not formats:
        return "it takes only frames in the card's own memory"
    context.width, context.height, context.pix_fmt = width, height, formats[0]
    context.framerate, context.time_base = Fraction(25), Fraction(1, 25)
    try:
        context.open()
    except (av.FFmpegError, OSError) as error:
        return f"it does not open: {error.strerror or error}"
    return None


def _on_host(formats: list[str]) -> list[str]:
    return [name for name in formats if name not in _ON_CARD]


def _depth(pixel_format: str) -> int:
    try:
        return max(component.bits for component in VideoFormat(pixel_format).components)
    except ValueError as error:
        raise UserError(f"unknown pixel format {pixel_format}; usual ones are yuv420p, yuv444p, yuv420p10le") from error


def _formats_of(encoder: str, asked: str) -> list[str]:
    """The pixel formats that the encoder takes; empty when it does not say."""
    try:
        codec = Codec(encoder, "w")
    except (av.FFmpegError, ValueError) as error:
        known = ", ".join(_ENCODERS)
        raise UserError(f"unknown codec {asked}; choose {known} or the name of an FFmpeg encoder") from error
    if codec.type != "video":
        raise UserError(f"{asked} is not a video codec; choose one of {', '.join(_ENCODERS)}")
    return _on_host([described.name for described in codec.video_formats or []])


def _best_format(encoder: str, formats: list[str], bits: int, odd: bool, alpha: bool) -> str:
    layouts = ["yuv444p", "yuv422p", "yuv420p"] if odd or encoder == "ffv1" else ["yuv420p", "yuv422p", "yuv444p"]
    depths = ["10le", ""] if bits > 8 else ["", "10le"]
    if encoder == "ffv1" and bits > 10:
        # Lossless, so that nothing else is lost. The others get the 10 bits that players know.
        depths = [*(f"{depth}le" for depth in (12, 14, 16) if depth >= bits), *depths]
    if alpha:
        layouts = [layout.replace("yuv", "yuva") for layout in layouts]
    for name in (layout + depth for depth in depths for layout in layouts):
        if not formats or name in formats:
            return name
    return next((name for name in formats if alpha and may_have_alpha(VideoFormat(name))), formats[0])
