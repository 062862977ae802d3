"""Sound for written video: copied packet by packet, or made longer, shorter or backwards and coded again."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.frame import Frame
from av.packet import Packet

from vfield.errors import UserError
from vfield.timing import TimeMap
from vfield.video_io.clock import clock_of
from vfield.video_io.files import open_to_read
from vfield.video_io.retime import TrackCoder
from vfield.video_io.source import logger
from vfield.video_io.tags import copy_track_tags

# These keep sound that begins before the picture, and say where to start playing: at any sample.
_TRIMS_ANYWHERE = ("mp4", "mov")


@dataclass(frozen=True)
class AudioPlan:
    """Which sound goes with a written video.

    Attributes:
        source: path of the file to take it from: every sound track of it.
        timing: which instant of the source is heard when.
        mode: "copy" keeps the packets bit for bit, which only a time that goes on as it did allows. The others decode
            and code again: "stretch" keeps the pitch, "varispeed" lets it fall and rise with the speed, as a tape does.

    Raises:
        UserError: when sound at another speed is to be copied.
    """

    source: str
    timing: TimeMap
    mode: Literal["copy", "stretch", "varispeed"]

    def __post_init__(self) -> None:
        if self.mode == "copy" and self.timing.constant_speed != 1:
            raise UserError("sound cannot be copied at another speed; stretch it, or leave it out")


class Feed:
    """Packets muxed as far as the picture has come, so that neither waits in memory for the other."""

    def __init__(self, source: InputContainer, packets: Iterator[tuple[Fraction, Packet]]) -> None:
        self._source = source
        self._packets = packets
        self._waiting: tuple[Fraction, Packet] | None = None

    def mux_until(self, output: OutputContainer, seconds: Fraction | None) -> None:
        """Muxes the packets that begin before `seconds` of the written video; None: all that are left."""
        while True:
            self._waiting = self._waiting or next(self._packets, None)
            if self._waiting is None or (seconds is not None and self._waiting[0] >= seconds):
                return
            output.mux(self._waiting[1])
            self._waiting = None

    def close(self) -> None:
        """Closes the source."""
        self._source.close()


def open_audio(plan: AudioPlan, output: OutputContainer) -> Feed | None:
    """Adds the sound's streams to an output whose header is not yet written; None when there is nothing to add.

    Raises:
        UserError: when the source cannot be opened.
    """
    source = open_to_read(plan.source)
    try:
        packets = _copied(plan, source, output) if plan.mode == "copy" else _coded(plan, source, output)
    except BaseException:
        source.close()
        raise
    if packets is None:
        source.close()
        return None
    return Feed(source, packets)


def _demux(source: InputContainer, streams: list[AudioStream], plan: AudioPlan) -> Iterator[Packet]:
    """Packets from a little before the plan's start on, until every stream is past its end."""
    start, end = plan.timing.source_range
    first = streams[0]
    clock = clock_of(plan.source)
    if start > 1 and first.time_base and not clock.jumps:
        # Decoding has to begin some packets early: the first one after a jump needs the one before it.
        source.seek(int((start - 1) / first.time_base), stream=first)
    past: set[int] = set()
    packets = clock.demux(source, streams)
    while len(past) < len(streams):
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            logger.warning("%s: the sound is damaged and stops early: %s", plan.source, error.strerror)
            return
        if packet is None:
            return
        if packet.pts is not None and packet.pts * packet.time_base >= end:
            past.add(packet.stream_index)
        yield packet


# ------------------------------------------------------------------------------------------- as it is


def _copied(
    plan: AudioPlan, source: InputContainer, output: OutputContainer
) -> Iterator[tuple[Fraction, Packet]] | None:
    targets: dict[int, AudioStream] = {}
    for stream in source.streams.audio:
        try:
            targets[stream.index] = output.add_stream_from_template(stream)
        except (ValueError, AttributeError):
            name = stream.codec.name if stream.codec_context else "unknown"
            logger.warning("%s files cannot hold %s sound; track %d left out", output.format.name, name, stream.index)
        else:
            copy_track_tags(stream, targets[stream.index])
    if not targets:
        return None
    kept = [stream for stream in source.streams.audio if stream.index in targets]
    start, end = plan.timing.source_range
    trims = output.format.name in _TRIMS_ANYWHERE
    # Matroska has no place for what is decoded but not heard, but for the lead-in that a Matroska source itself has.
    has_lead_in = start == 0 and "matroska" in source.format.name

    def packets() -> Iterator[tuple[Fraction, Packet]]:
        before: dict[int, Packet] = {}
        for packet in _demux(source, kept, plan):
            if packet.pts is None or packet.size == 0:
                continue
            begins = packet.pts * packet.time_base
            lasts = (packet.duration or 0) * packet.time_base
            if begins >= end:
                continue
            if begins < start and not ((trims or has_lead_in) and begins + lasts > start):
                before[packet.stream_index] = packet
                continue
            lead = before.pop(packet.stream_index, None)
            # The one before, too: a decoder needs it to get the first one right. One from before a gap does not help.
            if trims and lead is not None and (lead.pts or 0) + 2 * (lead.duration or 0) >= packet.pts:
                yield _moved(lead, targets[lead.stream_index], start)
            yield _moved(packet, targets[packet.stream_index], start)

    return packets()


def _moved(packet: Packet, target: AudioStream, start: Fraction) -> tuple[Fraction, Packet]:
    begins = (packet.pts or 0) * packet.time_base - start
    shift = round(start / packet.time_base)
    packet.pts = (packet.pts or 0) - shift
    packet.dts = packet.pts if packet.dts is None else packet.dts - shift
    packet.stream = target
    return begins, packet


# ------------------------------------------------------------------------------------------- coded again


def _coded(
    plan: AudioPlan, source: InputContainer, output: OutputContainer
) -> Iterator[tuple[Fraction, Packet]] | None:
    streams = [stream for stream in source.streams.audio if stream.codec_context is not None]
    for stream in set(source.streams.audio) - set(streams):
        logger.warning("%s: this FFmpeg cannot decode sound track %d; left out", plan.source, stream.index)
    if not streams:
        return None
    keeps_pitch = plan.mode == "stretch"
    coders = {stream.index: TrackCoder(stream, plan.timing, output, keeps_pitch) for stream in streams}

    def packets() -> Iterator[tuple[Fraction, Packet]]:
        for packet in _demux(source, streams, plan):
            if packet.size == 0:
                continue
            try:
                frames: Sequence[Frame] = packet.decode()
            except av.FFmpegError as error:
                logger.warning("%s: left out damaged sound: %s", plan.source, error.strerror)
                continue
            for frame in frames:
                assert isinstance(frame, AudioFrame)
                yield from coders[packet.stream_index].push(frame)
        # Backwards every track comes only now, and none may wait until another is through.
        yield from heapq.merge(*(coder.push(None) for coder in coders.values()), key=lambda timed: timed[0])

    return packets()
