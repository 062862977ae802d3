"""Which encoder and pixel format to write video with, and the sink that does it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec import Codec
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vfield.core.clip import ColorInfo
from vfield.core.errors import UserError
from vfield.video_io.audio import AudioPlan, Feed, discard, open_audio
from vfield.video_io.beneath import filled_beneath
from vfield.video_io.carry import Carried, CarryPlan, carry_over, report_lost
from vfield.video_io.color import alpha_to_words, rgb_to_yuv16, tag, video_color
from vfield.video_io.files import open_to_write
from vfield.video_io.graph import ACCURATE, FilterChain, chroma_left, even_size, halves_chroma
from vfield.video_io.hardware import Quality, on_host, quality_of, working_encoder
from vfield.video_io.hdr import with_hdr_metadata
from vfield.video_io.source import logger, may_have_alpha

# Browsers, phones and televisions know AAC, MP3, AC-3, Opus and FLAC there.
_HARDLY_PLAYED_IN_MP4 = ("pcm_", "vorbis")
CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "h265": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "prores": "prores_ks",
    "ffv1": "ffv1",
}
# Encoders with a constant-quality scale: default and worst.
_CRF = {
    **dict.fromkeys(("libx264", "libx265"), Quality(16, 0, 51, lambda crf: {"crf": str(crf)})),
    **dict.fromkeys(("libvpx-vp9", "libsvtav1"), Quality(30, 0, 63, lambda crf: {"crf": str(crf)})),
}
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
# x265 learns what to subtract from presentation times when it sees the third frame. Of shorter videos, which it never
# reorders, the decoding times that it gives are whatever lay in memory.
_X265_DELAY = 2


@dataclass(frozen=True)
class Encoding:
    """A complete choice: nothing here is left to a default.

    Attributes:
        container: FFmpeg's name of the muxer.
        encoder: FFmpeg's name of the encoder.
        pixel_format: FFmpeg's name of the pixel format.
        options: options of the encoder.
        color: facts that the stream is coded and tagged with; `bit_depth` is the pixel format's.
        alpha: whether pictures come with alpha, and it is kept.
    """

    container: str
    encoder: str
    pixel_format: str
    options: dict[str, str]
    color: ColorInfo
    alpha: bool = False


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
    """Fills in what the user left open.

    By default H.264 4:2:0 in mp4, mov and mkv, VP9 in webm; for sources beyond 8 bits and for HDR, H.265 and AV1 of 10
    bits, or H.264 of 10 bits where the picture is too small for H.265. FFV1 keeps the source's own depth. An odd width
    or height makes it 4:4:4 where the encoder would lose the last row or column. A graphics card's encoder that does
    not work here is replaced by the one in software for the same format. With alpha it is VP9 in webm and mkv and
    ProRes 4444 in mov; what is asked for, and mp4, may not keep it (`Encoding.alpha` tells).

    Raises:
        UserError: when the parts do not go together.
    """
    bits = _depth(pixel_format) if pixel_format is not None else max(color.bit_depth, 10 if color.is_hdr else 8)
    alpha = alpha and (pixel_format is None or may_have_alpha(VideoFormat(pixel_format)))
    default = _default_encoder(suffix, bits, min(height, width), alpha)
    encoder = default if codec is None else _ENCODERS.get(codec.lower(), codec)
    encoder = working_encoder(encoder, _ENCODERS, height, width)
    formats = _formats_of(encoder, codec or encoder)
    with open_to_write(io.BytesIO(), CONTAINERS[suffix]) as container:
        if encoder not in container.supported_codecs:
            raise UserError(f"{suffix} files cannot hold {encoder} video; choose another codec, or .mkv")
    least = _LEAST_SIDE.get(encoder, 1)
    if min(height, width) < least:
        raise UserError(
            f"{encoder} cannot code {width}x{height}, only {least}x{least} or more; choose codec h264, or ffv1 in .mkv"
        )
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
    if encoder == "ffv1" and min(height, width) == 1:
        options["slices"] = "1"  # It cannot part a picture one pixel wide, and tries.
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


def hardly_played(suffix: str, codecs: Iterable[str]) -> list[str]:
    """Which of these sound codecs a file of this suffix can hold, but most players do not play from it."""
    return sorted({codec for codec in codecs if suffix == ".mp4" and codec.startswith(_HARDLY_PLAYED_IN_MP4)})


def _quality_options(encoder: str, crf: int | None) -> dict[str, str]:
    quality = _CRF.get(encoder) or quality_of(encoder)
    if quality is None:
        if crf is not None:
            raise UserError(f"{encoder} has no crf; leave it out, or choose one of {', '.join(_CRF)}")
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
        raise UserError(
            f"unknown codec {asked}; choose {', '.join(_ENCODERS)} or the name of an FFmpeg encoder"
        ) from error
    if codec.type != "video":
        raise UserError(f"{asked} is not a video codec; choose one of {', '.join(_ENCODERS)}")
    return on_host([described.name for described in codec.video_formats or []])


def _best_format(encoder: str, formats: list[str], bits: int, odd: bool, alpha: bool) -> str:
    layouts = ["yuv444p", "yuv422p", "yuv420p"] if odd or encoder == "ffv1" else ["yuv420p", "yuv422p", "yuv444p"]
    depths = ["10le", ""] if bits > 8 else ["", "10le"]
    if encoder == "ffv1" and bits > 10:
        # Lossless, so that nothing else is lost. The others get the 10 bits that players know.
        depths = [*(f"{depth}le" for depth in (12, 14, 16) if depth >= bits), *depths]
    if alpha:
        layouts = [layout.replace("yuv", "yuva") for layout in layouts]
    wanted = [layout + depth for depth in depths for layout in layouts]
    for name in wanted:
        if not formats or name in formats:
            return name
    return next((name for name in formats if alpha and may_have_alpha(VideoFormat(name))), formats[0])


class VideoSink:
    """Encodes frames into a container, with the sound beside them.

    Args:
        file: where to write.
        encoding: what to write.
        height: rows.
        width: columns.
        frame_rate: nominal rate, tagged on the stream.
        time_base: seconds of one tick of the timestamps.
        pixel_aspect: width / height of one pixel.
        audio: what sound to add, if any.
        carry: whose subtitles, chapters and metadata to take over, if any.
    """

    def __init__(
        self,
        file: Path | io.BytesIO,
        encoding: Encoding,
        *,
        height: int,
        width: int,
        frame_rate: Fraction,
        time_base: Fraction,
        pixel_aspect: Fraction,
        audio: AudioPlan | None,
        carry: CarryPlan | None,
    ) -> None:
        self._file = file
        self._encoding = encoding
        self._time_base = time_base
        self._last_tick: int | None = None
        self._count = 0
        self._durations: dict[int, int] = {}
        self._chain: FilterChain | None = None
        self._feeds: list[Feed] = []
        self._carry = carry
        self._carried: Carried | None = None
        if encoding.encoder == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # Errors only: the library prints its report past every log level.
        # The index at the front lets a browser start playing before it has the whole file. The timescale is that of
        # late starts, which would otherwise be rounded to 1/1000 s; this one holds the usual video and sound rates.
        mov = {"movflags": "+faststart", "movie_timescale": "240000"}
        self._options = mov if encoding.container in ("mp4", "mov") else {}
        picture = (height, width, frame_rate, pixel_aspect)
        try:
            self._begin(*picture, audio, carry)
        except (av.FFmpegError, ValueError, UserError) as error:
            # What goes beside the picture was tried before, but its file may be another one by now.
            if (audio is None and carry is None) or isinstance(error, (OSError, MemoryError)):
                raise
            logger.warning(
                "what goes beside the picture cannot be written any more, it is left out: %s",
                getattr(error, "strerror", None) or error,
            )
            self._feeds, self._carry, self._carried = [], None, None
            self._begin(*picture, None, None)

    def _begin(
        self,
        height: int,
        width: int,
        frame_rate: Fraction,
        pixel_aspect: Fraction,
        audio: AudioPlan | None,
        carry: CarryPlan | None,
    ) -> None:
        """Opens the file and all encoders, and writes the header."""
        container = self._encoding.container
        self._container = open_to_write(self._file, container, self._options)
        try:
            self._stream = self._add_stream(height, width, frame_rate, pixel_aspect)
            if audio is not None and (sound := open_audio(audio, self._container)) is not None:
                self._feeds.append(sound)
            if carry is not None:
                self._carried = carry_over(carry, self._container)
                if self._carried.feed is not None:
                    self._feeds.append(self._carried.feed)
            self._container.start_encoding()
        except BaseException:
            self.abort()
            raise

    def _add_stream(self, height: int, width: int, frame_rate: Fraction, pixel_aspect: Fraction) -> VideoStream:
        encoding = self._encoding
        stream = self._container.add_stream(encoding.encoder, rate=frame_rate, options=encoding.options)
        assert isinstance(stream, VideoStream)
        stream.time_base = self._time_base
        context = stream.codec_context
        context.width, context.height = width, height
        context.pix_fmt = encoding.pixel_format
        context.time_base = self._time_base
        context.sample_aspect_ratio = pixel_aspect
        tag(context, encoding.color)
        if encoding.encoder.startswith(("libx265", "hevc_")) and encoding.container in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # Apple's players refuse FFmpeg's default, hev1.
        return stream

    def write(self, rgb: np.ndarray, pts_seconds: Fraction, duration_seconds: Fraction) -> None:
        """Encodes (3, h, w) uint8 or float32 RGB, or (4, h, w) where the encoding keeps alpha.

        Ticks never repeat, even when the time base is too coarse.
        """
        tick = self._next_tick(pts_seconds)
        self._count += 1
        frame = self._converted(rgb)
        frame.pts, frame.time_base = tick, self._time_base
        self._durations[tick] = max(round(duration_seconds / self._time_base), 1)
        self._mux(frame)
        for feed in self._feeds:
            feed.mux_until(self._container, pts_seconds + duration_seconds)

    def _next_tick(self, pts_seconds: Fraction) -> int:
        tick = round(pts_seconds / self._time_base)
        if self._last_tick is not None:
            tick = max(tick, self._last_tick + 1)
        self._last_tick = tick
        return tick

    def _mux(self, frame: VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            # Encoders leave this open, and then the last frame of the file has no duration.
            packet.duration = self._durations.pop(packet.pts or 0, packet.duration)
            if self._encoding.encoder == "libx265" and self._count <= _X265_DELAY:
                packet.dts = packet.pts
            self._container.mux(packet)

    def _converted(self, picture: np.ndarray) -> VideoFrame:
        color = self._encoding.color
        rgb, alpha = picture[:3], None
        if self._encoding.alpha:
            alpha = alpha_to_words(picture[3], color.bit_depth)
            rgb = filled_beneath(rgb, alpha > 0)
        height, width = rgb.shape[1:]
        even = even_size(VideoFormat(self._encoding.pixel_format), height, width)
        if even != (height, width):
            beyond = ((0, even[0] - height), (0, even[1] - width))
            rgb = np.pad(rgb, ((0, 0), *beyond), mode="edge")
            alpha = None if alpha is None else np.pad(alpha, beyond, mode="edge")
        if color.matrix != "gbr":
            words, name = rgb_to_yuv16(rgb, color, color.bit_depth), "yuv444p16le"
            levels = "tv"  # Codes are final: naming equal ranges keeps swscale from stretching them.
        else:
            scale = np.float32(257 if rgb.dtype == np.uint8 else 65535)
            words = np.moveaxis(np.rint(np.clip(rgb * scale, 0, 65535)).astype(np.uint16), 0, -1)
            name, levels = "rgb48le", "pc"
        if alpha is not None:
            words, name = np.dstack([words, alpha]), {"yuv444p16le": "yuva444p16le", "rgb48le": "rgba64le"}[name]
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(words), name)
        tag(frame, color)
        frame.color_range = 1 if levels == "tv" else 2
        if self._chain is None:
            options = f"flags=bicubic+{ACCURATE}:sws_dither=none:in_range={levels}:out_range={levels}"
            options += chroma_left(VideoFormat(self._encoding.pixel_format)).format("out")
            filters = [("scale", options), ("format", self._encoding.pixel_format)]
            if even != (height, width):
                filters.append(("crop", f"w={width}:h={height}:x=0:y=0:exact=1"))
            self._chain = FilterChain(frame, filters)
        result = self._chain.map(frame)
        tag(result, color)
        return result

    def close(self) -> None:
        """Writes what the encoder still holds, the rest of sound and subtitles, and the index."""
        self._mux(None)
        for feed in self._feeds:
            feed.mux_until(self._container, None)
            feed.close()
        self._container.close()
        if self._carry is not None and self._carried is not None and isinstance(self._file, Path):
            try:
                report_lost(self._carry, self._carried, self._file, self._encoding.container)
            except UserError as error:
                logger.warning("what the result lacks of its source cannot be told any more: %s", error)

    def abort(self) -> None:
        """Lets go of the file without finishing it."""
        for feed in self._feeds:
            feed.close()
        discard(self._container)
