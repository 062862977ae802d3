"""Sinks that write video into containers, with sound and subtitles beside it: encoded here, or joined from pieces."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av import Packet, VideoFormat, VideoFrame, VideoStream
from einops import reduce, repeat

from vfield.core.errors import UserError
from vfield.video_io.audio import AudioPlan, Feed, discard, open_audio, reason_of
from vfield.video_io.carry import Carried, CarryPlan, carry_over, report_lost
from vfield.video_io.color import alpha_to_words, rgb_to_yuv16, tag
from vfield.video_io.encode import Encoding
from vfield.video_io.files import open_to_read, open_to_write
from vfield.video_io.graph import ACCURATE, FilterChain, chroma_left, even_size
from vfield.video_io.source import logger

# x265 learns what to subtract from presentation times when it sees the third frame. Of shorter videos, which it never
# reorders, the decoding times that it gives are whatever lay in memory.
_X265_DELAY = 2


@dataclass(frozen=True)
class StreamFacts:
    """What a stream of video is, however it is coded."""

    height: int
    width: int
    frame_rate: Fraction  # nominal, tagged on the stream
    time_base: Fraction  # seconds of one tick of the timestamps
    pixel_aspect: Fraction  # width / height of one pixel


class VideoSink:
    """Encodes frames into a container, with the sound, subtitles, chapters and metadata of the two plans beside them.

    What was tried out before (`writable_audio`, `writable_rest`) and cannot be written any more is left out with a
    line in the log.
    """

    def __init__(
        self,
        file: Path | io.BytesIO,
        encoding: Encoding,
        facts: StreamFacts,
        audio: AudioPlan | None = None,
        carry: CarryPlan | None = None,
    ) -> None:
        self._file, self._encoding, self._facts = file, encoding, facts
        self._last_tick: int | None = None
        self._count = 0
        self._durations: dict[int, int] = {}
        self._chain: FilterChain | None = None
        if encoding.encoder == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # Errors only: the library prints its report past every log level.
        try:
            self._begin(audio, carry)
        except (av.FFmpegError, ValueError, UserError) as error:
            # The file of what goes beside the picture may be another one by now.
            if (audio is None and carry is None) or isinstance(error, (OSError, MemoryError)):
                raise
            told = "what goes beside the picture cannot be written any more, it is left out: %s"
            logger.warning(told, reason_of(error))
            self._begin(None, None)

    def _begin(self, audio: AudioPlan | None, carry: CarryPlan | None) -> None:
        """Opens the file and all encoders, and writes the header."""
        self._feeds: list[Feed] = []
        self._carry, self._carried = carry, Carried()
        # The index at the front lets a browser start playing before it has the whole file. The timescale is that of
        # late starts, which would otherwise be rounded to 1/1000 s; this one holds the usual video and sound rates.
        mov = {"movflags": "+faststart", "movie_timescale": "240000"}
        container = self._encoding.container
        self._container = open_to_write(self._file, container, mov if container in ("mp4", "mov") else {})
        try:
            self._stream = self._add_stream()
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

    def _add_stream(self) -> VideoStream:
        encoding, facts = self._encoding, self._facts
        stream = self._container.add_stream(encoding.encoder, rate=facts.frame_rate, options=encoding.options)
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = facts.width, facts.height, encoding.pixel_format
        stream.time_base = context.time_base = facts.time_base
        context.sample_aspect_ratio = facts.pixel_aspect
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
        frame.pts, frame.time_base = tick, self._facts.time_base
        self._durations[tick] = self._ticks(duration_seconds)
        self._mux(frame)
        self._mux_beside(pts_seconds + duration_seconds)

    def _next_tick(self, pts_seconds: Fraction) -> int:
        tick = round(pts_seconds / self._facts.time_base)
        if self._last_tick is not None:
            tick = max(tick, self._last_tick + 1)
        self._last_tick = tick
        return tick

    def _ticks(self, duration_seconds: Fraction) -> int:
        return max(round(duration_seconds / self._facts.time_base), 1)

    def _mux(self, frame: VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            # Encoders leave this open, and then the last frame of the file has no duration.
            packet.duration = self._durations.pop(packet.pts or 0, packet.duration)
            if self._encoding.encoder == "libx265" and self._count <= _X265_DELAY:
                packet.dts = packet.pts
            self._container.mux(packet)

    def _mux_beside(self, until_seconds: Fraction | None) -> None:
        for feed in self._feeds:
            feed.mux_until(self._container, until_seconds)

    def _converted(self, picture: np.ndarray) -> VideoFrame:
        color, stored = self._encoding.color, VideoFormat(self._encoding.pixel_format)
        rgb, alpha = picture[:3], None
        if self._encoding.alpha:
            alpha = alpha_to_words(picture[3], color.bit_depth)
            rgb = extend_colours(rgb, alpha > 0)
        height, width = rgb.shape[1:]
        even = even_size(stored, height, width)
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
            filters = [("scale", options + chroma_left(stored).format("out")), ("format", stored.name)]
            if even != (height, width):
                filters.append(("crop", f"w={width}:h={height}:x=0:y=0:exact=1"))
            self._chain = FilterChain(frame, filters)
        result = self._chain.map(frame)
        tag(result, color)
        return result

    def close(self) -> None:
        """Writes what the encoder still holds, the rest of sound and subtitles, and the index."""
        self._mux(None)
        self._mux_beside(None)
        for feed in self._feeds:
            feed.close()
        self._container.close()
        if self._carry is not None and isinstance(self._file, Path):
            try:
                report_lost(self._carry, self._carried, self._file, self._encoding.container)
            except UserError as error:
                logger.warning("what the result lacks of its source cannot be told any more: %s", error)

    def abort(self) -> None:
        """Lets go of the file without finishing it."""
        for feed in self._feeds:
            feed.close()
        discard(self._container)


# ------------------------------------------------------------------------------------------- joined from pieces


def frames_in(piece: Path) -> int:
    """How many frames a piece holds; 0 for one that is not there or cannot be read."""
    try:
        return len(_order(piece))
    except (av.FFmpegError, UserError):
        return 0


class JoinedSink(VideoSink):
    """A container whose picture is joined from pieces, each coded as a file of its own, without coding them again.

    Frames keep the times they were meant to have: those of a piece's file, which some containers round, only tell the
    order. An encoder may have moved packets before those of frames shown earlier, by no more than d places. Then
    packet n of all is decoded at the instant at which frame n - d is shown, which never comes after its own.
    """

    def __init__(
        self,
        file: Path,
        encoding: Encoding,
        facts: StreamFacts,
        audio: AudioPlan | None,
        carry: CarryPlan | None,
        pieces: Sequence[Path],
    ) -> None:
        self._pieces = pieces
        super().__init__(file, encoding, facts, audio, carry)

    def _add_stream(self) -> VideoStream:
        with open_to_read(self._pieces[0]) as piece:
            coded = piece.streams.video[0]
            # As it is: without "opaque", an encoder would be opened, and its headers written in place of the piece's.
            stream = self._container.add_stream_from_template(coded, opaque=True)
            if "alpha_mode" in coded.metadata:  # The second picture of VP9 with alpha, beside that of colours.
                stream.metadata["alpha_mode"] = coded.metadata["alpha_mode"]
            if self._encoding.container in ("mp4", "mov"):
                # The kind of ProRes, and Apple's name for H.265: PyAV has the muxer choose it anew.
                stream.codec_context.codec_tag = coded.codec_context.codec_tag
        stream.time_base = self._facts.time_base
        return stream

    def _mux(self, frame: VideoFrame | None) -> None:
        """Nothing is coded here."""

    def take(self, pts_seconds: Sequence[Fraction], durations_seconds: Sequence[Fraction]) -> None:
        """Writes all frames of all pieces, given when each is shown, and for how long.

        A UserError when the pieces hold another number of frames.
        """
        orders = [_order(piece) for piece in self._pieces]
        found = sum(map(len, orders))
        if found != len(pts_seconds):
            raise UserError(f"the pieces of the video hold {found} frames, not {len(pts_seconds)}; render it again")
        ticks = [self._next_tick(pts) for pts in pts_seconds]
        delay = max(place - shown for order in orders for place, shown in enumerate(order))
        step = ticks[1] - ticks[0] if len(ticks) > 1 else 1
        first = 0
        for piece, order in zip(self._pieces, orders, strict=True):
            for place, packet in enumerate(_packets(piece)):
                number, due = first + order[place], first + place - delay
                packet.stream, packet.time_base = self._stream, self._facts.time_base
                packet.pts, packet.dts = ticks[number], ticks[due] if due >= 0 else ticks[0] + due * step
                packet.duration = self._ticks(durations_seconds[number])
                self._container.mux(packet)
                # Sound goes beside the picture, in order of time; that of packets is not.
                self._mux_beside(pts_seconds[first + place] + durations_seconds[first + place])
            first += len(order)


def _order(piece: Path) -> list[int]:
    """Which of a piece's frames, in order of time, each of its packets holds."""
    pts = [packet.pts or 0 for packet in _packets(piece)]
    order = [0] * len(pts)
    for rank, place in enumerate(sorted(range(len(pts)), key=pts.__getitem__)):
        order[place] = rank
    return order


def _packets(piece: Path) -> Iterator[Packet]:
    with open_to_read(piece) as container:
        yield from (packet for packet in container.demux(container.streams.video[0]) if packet.size)


# ------------------------------------------------------------------------------------------- colours nobody sees


def extend_colours(rgb: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """A picture (3, h, w), uint8 or float32, whose colours go on where it is not seen (h, w): means of the nearest.

    Codecs share chroma between neighbouring pixels and code blocks of them, so black beneath a matte's outside would
    darken its edges: by up to 38 levels of 255 for a red disc in 4:2:0, measured. By sums over cells of 2, 4, 8, ...
    pixels, of which the finest that holds anything counts.
    """
    if seen.all() or not seen.any():
        return rgb
    sums, counts = rgb * seen.astype(np.float32), seen.astype(np.float32)
    levels = [(sums, counts)]
    while not counts.all():
        sums, counts = _halved(sums), _halved(counts)
        levels.append((sums, counts))
    filled = levels.pop()[0] / counts
    for sums, counts in reversed(levels):
        height, width = counts.shape
        around = repeat(filled, "c h w -> c (h a) (w b)", a=2, b=2)[:, :height, :width]
        filled = np.where(counts > 0, sums / np.maximum(counts, 1), around)
    return np.where(seen, rgb, np.rint(filled).astype(np.uint8) if rgb.dtype == np.uint8 else filled)


def _halved(sums: np.ndarray) -> np.ndarray:
    """Sums (..., h, w) over cells of twice the side; those at the border may be narrower."""
    sides = [(0, side % 2) for side in sums.shape[-2:]]
    even = np.pad(sums, [(0, 0)] * (sums.ndim - 2) + sides)
    halved: np.ndarray = reduce(even, "... (h a) (w b) -> ... h w", "sum", a=2, b=2)
    return halved
