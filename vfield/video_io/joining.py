"""Pieces of a video, each coded as a file of its own, joined into one without coding them again.

Frames keep the times they were meant to have: those of a piece's file, which some containers round, only tell the
order. An encoder may have moved packets before those of frames shown earlier, by no more than d places. Then packet n
of all is decoded at the instant at which frame n - d is shown, which never comes after its own.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vfield.core.errors import UserError
from vfield.video_io.encode import Encoding, VideoSink
from vfield.video_io.files import open_to_read


def frames_in(piece: Path) -> int:
    """How many frames a piece holds; 0 for one that is not there or cannot be read."""
    try:
        return len(_order(piece))
    except (av.FFmpegError, UserError):
        return 0


class JoinedSink(VideoSink):
    """A container that takes its picture from pieces.

    Args:
        file: where to write.
        encoding: what the pieces were coded with.
        pieces: files of one stream of video each, in order, in the same container.
        facts: the others that a `VideoSink` takes.
    """

    def __init__(self, file: Path | io.BytesIO, encoding: Encoding, pieces: Sequence[Path], **facts: Any) -> None:
        self._pieces = pieces
        super().__init__(file, encoding, **facts)

    def _add_stream(self, height: int, width: int, frame_rate: Fraction, pixel_aspect: Fraction) -> VideoStream:
        with open_to_read(self._pieces[0]) as piece:
            coded = piece.streams.video[0]
            # As it is: without "opaque", an encoder would be opened, and its headers written in place of the piece's.
            stream = self._container.add_stream_from_template(coded, opaque=True)
            if "alpha_mode" in coded.metadata:  # The second picture of VP9 with alpha, beside that of colours.
                stream.metadata["alpha_mode"] = coded.metadata["alpha_mode"]
            if self._encoding.container in ("mp4", "mov"):
                # The kind of ProRes, and Apple's name for H.265: PyAV has the muxer choose it anew.
                stream.codec_context.codec_tag = coded.codec_context.codec_tag
        stream.time_base = self._time_base
        return stream

    def _mux(self, frame: VideoFrame | None) -> None:
        """Nothing is coded here."""

    def take(self, pts_seconds: Sequence[Fraction], durations_seconds: Sequence[Fraction]) -> None:
        """Write all frames of all pieces.

        Args:
            pts_seconds: when each frame is shown, over all pieces.
            durations_seconds: for how long.

        Raises:
            UserError: when the pieces hold another number of frames.
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
                packet.stream, packet.time_base = self._stream, self._time_base
                packet.pts, packet.dts = ticks[number], ticks[due] if due >= 0 else ticks[0] + due * step
                packet.duration = max(round(durations_seconds[number] / self._time_base), 1)
                self._container.mux(packet)
                # Sound goes beside the picture, in order of time; that of packets is not.
                shown_until = pts_seconds[first + place] + durations_seconds[first + place]
                for feed in self._feeds:
                    feed.mux_until(self._container, shown_until)
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
        for packet in container.demux(container.streams.video[0]):
            if packet.size:
                yield packet
