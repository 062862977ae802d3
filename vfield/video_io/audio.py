"""Sound for written video: copied packet by packet, or made longer, shorter or backwards and coded again.

The picture is what matters: a track that cannot be written is left out with a line, found as early as it can be.
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from typing import Literal

import av
from av import AudioFrame, AudioStream, Packet
from av.container import InputContainer, OutputContainer
from av.frame import Frame

from vfield.core.errors import UserError
from vfield.core.timing import TimeMap
from vfield.video_io.clock import clock_of
from vfield.video_io.files import open_to_read, open_to_write
from vfield.video_io.retime import TrackCoder, encoder_for
from vfield.video_io.source import codec_name, logger
from vfield.video_io.tags import copy_track_tags

# These keep sound that begins before the picture, and say where to start playing: at any sample.
_TRIMS_ANYWHERE = ("mp4", "mov")
# Of a track that is tried out: enough for decoders that give nothing for the first.
_TRIED_PACKETS = 8
# Browsers, phones and televisions know AAC, MP3, AC-3, Opus and FLAC there.
_HARDLY_PLAYED_IN_MP4 = ("pcm_", "vorbis")
_NAMES = {"aac": "AAC", "libopus": "Opus"}

Timed = tuple[Fraction, Packet]


@dataclass(frozen=True)
class AudioPlan:
    """Which sound goes with a written video. A UserError when sound at another speed is to be copied."""

    source: str  # path of the file to take it from: every sound track of it
    timing: TimeMap  # which instant of the source is heard when
    # "copy" keeps the packets bit for bit, which only a time that goes on as it did allows. The others decode and code
    # again: "stretch" keeps the pitch, "varispeed" lets it fall and rise with the speed, as a tape does.
    mode: Literal["copy", "stretch", "varispeed"]
    coded: frozenset[int] = frozenset()  # indices of tracks that are coded again although the mode is "copy"
    left_out: frozenset[int] = frozenset()  # indices of tracks that are not taken
    exact: bool = False  # whether a track that can only be coded again is a UserError

    def __post_init__(self) -> None:
        if self.mode == "copy" and self.timing.constant_speed != 1:
            raise UserError("sound cannot be copied at another speed; stretch it, or leave it out")

    def copies(self, index: int) -> bool:
        """Whether a track's packets are kept as they are."""
        return self.mode == "copy" and index not in self.coded


class Feed:
    """Packets muxed as far as the picture has come, so that neither waits in memory for the other.

    A track whose packets the container refuses ends there, with a line: the picture goes on.
    """

    def __init__(self, source: InputContainer, packets: Iterator[Timed]) -> None:
        self._source, self._packets = source, packets
        self._waiting: Timed | None = None
        self._refused: set[int] = set()

    def mux_until(self, output: OutputContainer, seconds: Fraction | None) -> None:
        """Muxes the packets that begin before `seconds` of the written video; None: all that are left."""
        while True:
            self._waiting = self._waiting or next(self._packets, None)
            if self._waiting is None or (seconds is not None and self._waiting[0] >= seconds):
                return
            _, packet = self._waiting
            self._waiting = None
            kind, index = packet.stream.type, packet.stream_index
            if index in self._refused:
                continue
            try:
                output.mux(packet)
            except av.FFmpegError as error:
                if isinstance(error, (OSError, MemoryError)):
                    raise  # The disk's and the machine's, which the picture has, too.
                logger.warning("%s track %d of the result ends early: %s", kind, index, error.strerror)
                self._refused.add(index)

    def close(self) -> None:
        """Closes the source."""
        self._source.close()


def open_audio(plan: AudioPlan, output: OutputContainer) -> Feed | None:
    """Adds the sound's streams to an output whose header is not yet written; None when there is nothing to add.

    Raises:
        UserError: when the source cannot be opened.
        av.FFmpegError, ValueError: when a track cannot be written, of which `writable_audio` tells earlier.
    """
    source = open_to_read(plan.source)
    try:
        streams = [stream for stream in source.streams.audio if stream.index not in plan.left_out]
        tracks = {stream.index: _track(stream, plan, output) for stream in streams}
    except BaseException:
        source.close()
        raise
    if not tracks:
        source.close()
        return None
    return Feed(source, _packets(plan, source, streams, tracks))


def _track(stream: AudioStream, plan: AudioPlan, output: OutputContainer) -> _CopiedTrack | TrackCoder:
    """A new track of the output, and what makes its packets."""
    if plan.copies(stream.index):
        return _CopiedTrack(stream, plan, output)
    if stream.codec_context is None:
        raise ValueError("this FFmpeg cannot decode it")
    return TrackCoder(stream, plan.timing, output, plan.mode != "varispeed")


def _packets(
    plan: AudioPlan, source: InputContainer, streams: list[AudioStream], tracks: dict[int, _CopiedTrack | TrackCoder]
) -> Iterator[Timed]:
    """What goes into the file, in order of time except where coding delays it."""
    failed: set[int] = set()

    def guarded(index: int, made: Iterator[Timed]) -> Iterator[Timed]:
        try:
            yield from made
        except (av.FFmpegError, ValueError) as error:
            failed.add(index)
            logger.warning("%s: sound track %d stops early: %s", plan.source, index, reason_of(error))

    for packet in _demux(source, streams, plan):
        index = packet.stream_index
        if index not in failed:
            yield from guarded(index, _made(tracks[index], packet, plan.source))
    # Backwards every track comes only now, and none may wait until another is through.
    coders = [(index, track) for index, track in tracks.items() if isinstance(track, TrackCoder)]
    ends = (guarded(index, coder.push(None)) for index, coder in coders if index not in failed)
    yield from heapq.merge(*ends, key=lambda timed: timed[0])


def _made(track: _CopiedTrack | TrackCoder, packet: Packet, named: str | None) -> Iterator[Timed]:
    """What a packet of a source adds to a track. That it is damaged is said where the source is named."""
    if isinstance(track, _CopiedTrack):
        yield from track.take(packet)
        return
    try:
        frames: Sequence[Frame] = packet.decode()
    except av.FFmpegError as error:
        if named is not None:
            logger.warning("%s: left out damaged sound: %s", named, error.strerror)
        return
    for frame in frames:
        assert isinstance(frame, AudioFrame)
        yield from track.push(frame)


def reason_of(error: Exception) -> str:
    """What the system, FFmpeg or PyAV says is wrong."""
    return str(getattr(error, "strerror", None) or error)


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
        if packet.size:
            yield packet


class _CopiedTrack:
    """A track whose packets are moved to where the picture begins, and kept as they are."""

    def __init__(self, stream: AudioStream, plan: AudioPlan, output: OutputContainer) -> None:
        try:
            self._target = output.add_stream_from_template(stream)
        except AttributeError:  # It has no codec that PyAV could name.
            raise ValueError("this FFmpeg does not know how it is coded") from None
        copy_track_tags(stream, self._target)
        self._start, self._end = plan.timing.source_range
        self._trims = output.format.name in _TRIMS_ANYWHERE
        # Matroska has no place for what is decoded but not heard, but for the lead-in that a Matroska source has.
        has_lead_in = self._start == 0 and "matroska" in stream.container.format.name
        self._keeps_lead_in = self._trims or has_lead_in
        self._before: Packet | None = None

    def take(self, packet: Packet) -> Iterator[Timed]:
        """What of a packet, and of the one before it, goes into the file."""
        if packet.pts is None:
            return
        begins = packet.pts * packet.time_base
        lasts = (packet.duration or 0) * packet.time_base
        if begins >= self._end:
            return
        if begins < self._start and not (self._keeps_lead_in and begins + lasts > self._start):
            self._before = packet
            return
        lead, self._before = self._before, None
        # The one before, too: a decoder needs it to get the first one right. One from before a gap does not help.
        if self._trims and lead is not None and (lead.pts or 0) + 2 * (lead.duration or 0) >= packet.pts:
            yield self._moved(lead)
        yield self._moved(packet)

    def _moved(self, packet: Packet) -> Timed:
        begins = (packet.pts or 0) * packet.time_base - self._start
        shift = round(self._start / packet.time_base)
        packet.pts = (packet.pts or 0) - shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        packet.stream = self._target
        return begins, packet


# ------------------------------------------------------------------------------------------- tried out


def writable_audio(plan: AudioPlan, container: str) -> AudioPlan | None:
    """The plan for what a file of a container can hold; None for nothing. What it cannot is said in the log.

    Each track is tried out: its encoder opened and its first packets written, to a file in memory. A UserError when the
    source cannot be opened, or a track not copied that must be.
    """
    with open_to_read(plan.source) as source:
        codecs = {stream.index: codec_name(stream) for stream in source.streams.audio}
    name = _NAMES[encoder_for(container)]
    for index, codec in codecs.items():
        track = f"{plan.source}: sound track {index}"
        refused = _refusal(plan, index, container)
        unplayed = container == "mp4" and not plan.exact and codec.startswith(_HARDLY_PLAYED_IN_MP4)
        again = replace(plan, coded=plan.coded | {index})
        if plan.copies(index) and (refused or unplayed) and _refusal(again, index, container) is None:
            if plan.exact:
                told = f"{container} files cannot hold {codec} sound as it is: {refused}"
                raise UserError(f"{told}; write .mkv, or choose audio auto")
            if refused is None:
                told = "most players do not play %s sound in .mp4 files; it is coded again as %s"
                logger.warning(f"{told}: .mkv, .mov or audio copy keep it", codec, name)
            else:
                logger.warning("%s is coded again as %s, as it is it cannot be written: %s", track, name, refused)
            plan, refused = again, None
        if refused is not None:
            logger.warning("%s is left out, it cannot be written to %s: %s", track, container, refused)
            plan = replace(plan, left_out=plan.left_out | {index})
    return None if plan.left_out.issuperset(codecs) else plan


def _refusal(plan: AudioPlan, index: int, container: str) -> str | None:
    """Why a track cannot be written; None when it can. Tells of one that loses channels by being coded again."""
    output = open_to_write(io.BytesIO(), container)
    try:
        with open_to_read(plan.source) as source:
            stream = source.streams[index]
            assert isinstance(stream, AudioStream)
            track = _track(stream, plan, output)
            output.start_encoding()
            for packet in islice(_demux(source, [stream], plan), _TRIED_PACKETS):
                for _, made in _made(track, packet, None):  # what is damaged is told when it is met again
                    output.mux(made)
            if isinstance(track, TrackCoder) and track.channels < stream.layout.nb_channels:
                logger.warning(
                    "%s: sound track %d of %d channels is mixed down to %s, which %s can code",
                    *(plan.source, index, stream.layout.nb_channels, track.layout, _NAMES[encoder_for(container)]),
                )
        output.close()
    except (av.FFmpegError, ValueError) as error:
        discard(output)
        return reason_of(error)
    return None


def discard(output: OutputContainer) -> None:
    """Closes a file that will be deleted: that its end cannot be written either is no news."""
    with suppress(av.FFmpegError, OSError, ValueError):
        output.close()
