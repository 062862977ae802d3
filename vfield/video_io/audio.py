"""Sound for written video: copied packet by packet, or stretched in time without changing its pitch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.filter import Graph
from av.frame import Frame
from av.packet import Packet

from vfield.errors import UserError
from vfield.video_io.source import logger, open_input


@dataclass(frozen=True)
class AudioPlan:
    """Which sound goes with a written video.

    Attributes:
        source: path of the file to take it from: every sound track of it.
        start_seconds: first instant, in the source's own timestamps; becomes 0 of the written video.
        end_seconds: where to stop (half-open).
        mode: "copy" keeps the packets bit for bit; "stretch" decodes, changes the tempo and codes again.
        stretch: how many times longer the sound becomes; only for "stretch".

    Raises:
        UserError: when the range is empty or the stretch is not positive.
    """

    source: str
    start_seconds: Fraction
    end_seconds: Fraction
    mode: Literal["copy", "stretch"]
    stretch: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        if self.end_seconds <= self.start_seconds:
            raise UserError(
                f"sound must end after it starts, got {float(self.start_seconds):g} to {float(self.end_seconds):g} s"
            )
        if self.stretch <= 0:
            raise UserError(f"sound can be stretched by a positive factor only, got {self.stretch}")


class AudioMuxer:
    """Packets of a plan, muxed as far as the picture has come, so that neither waits in memory for the other."""

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


def open_audio(plan: AudioPlan, output: OutputContainer) -> AudioMuxer | None:
    """Adds the sound's streams to an output whose header is not yet written; None when there is nothing to add.

    Raises:
        UserError: when the source cannot be opened.
    """
    with open_input(plan.source):
        pass  # Its errors read better than those of the next line.
    source = av.open(plan.source)
    try:
        packets = _copied(plan, source, output) if plan.mode == "copy" else _stretched(plan, source, output)
    except BaseException:
        source.close()
        raise
    if packets is None:
        source.close()
        return None
    return AudioMuxer(source, packets)


def _demux(source: InputContainer, streams: list[AudioStream], plan: AudioPlan) -> Iterator[Packet]:
    """Packets from a little before the plan's start on, until every stream is past its end."""
    first = streams[0]
    if plan.start_seconds > 1 and first.time_base:
        # Decoding has to begin some packets early: the first one after a jump needs the one before it.
        source.seek(int((plan.start_seconds - 1) / first.time_base), stream=first)
    past: set[int] = set()
    packets = source.demux(streams)
    while len(past) < len(streams):
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            logger.warning("%s: the sound is damaged and stops early: %s", plan.source, error.strerror)
            return
        if packet is None:
            return
        if packet.pts is not None and packet.pts * packet.time_base >= plan.end_seconds:
            past.add(packet.stream_index)
        yield packet


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
    if not targets:
        return None
    kept = [stream for stream in source.streams.audio if stream.index in targets]

    def packets() -> Iterator[tuple[Fraction, Packet]]:
        for packet in _demux(source, kept, plan):
            if packet.pts is None or packet.size == 0:
                continue
            begins = packet.pts * packet.time_base
            if not plan.start_seconds <= begins < plan.end_seconds:
                continue
            shift = round(plan.start_seconds / packet.time_base)
            packet.pts -= shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            packet.stream = targets[packet.stream_index]
            yield begins - plan.start_seconds, packet

    return packets()


def _tempo_chain(stretch: Fraction) -> list[tuple[str, str]]:
    """atempo filters, each within the 1/2 to 2 where it overlaps grains instead of dropping samples."""
    chain: list[tuple[str, str]] = []
    tempo = 1 / stretch
    while tempo > 2:
        chain.append(("atempo", "2"))
        tempo /= 2
    while tempo < Fraction(1, 2):
        chain.append(("atempo", "0.5"))
        tempo *= 2
    return [*chain, ("atempo", f"{float(tempo):.12f}")]


class _Stretcher:
    """One sound track through the tempo filters into an encoder."""

    def __init__(self, stream: AudioStream, plan: AudioPlan, output: OutputContainer) -> None:
        opus = output.format.name == "webm"
        rate = 48000 if opus or stream.rate not in _AAC_RATES else stream.rate
        # Opus codes more than two channels only in layouts that differ from AAC's.
        layout = "stereo" if opus and stream.layout.nb_channels > 2 else stream.layout.name
        target = output.add_stream("libopus" if opus else "aac", rate=rate)
        assert isinstance(target, AudioStream)
        target.codec_context.layout = layout
        target.codec_context.format = "flt" if opus else "fltp"
        self._target = target
        self._graph = Graph()
        start, end = float(plan.start_seconds), float(plan.end_seconds)
        filters = [
            ("atrim", f"start={start:.9f}:end={end:.9f}"),
            ("asetpts", f"PTS-{start:.9f}/TB"),
            ("aresample", "async=1:first_pts=0"),  # silence where the sound begins late or has a gap
            ("apad", "pad_dur=0.5"),  # atempo swallows up to half a window at the end of what it gets
            *_tempo_chain(plan.stretch),
            ("atrim", f"end={(end - start) * float(plan.stretch):.9f}"),
            ("aformat", f"sample_fmts={target.codec_context.format.name}:sample_rates={rate}:channel_layouts={layout}"),
        ]
        nodes = [self._graph.add_abuffer(template=stream)]
        nodes += [self._graph.add(name, arguments) for name, arguments in filters]
        self._graph.link_nodes(*nodes, self._graph.add("abuffersink")).configure()

    def push(self, frame: AudioFrame | None) -> Iterator[tuple[Fraction, Packet]]:
        """Stretched, encoded packets that a decoded frame (None: the end) makes complete."""
        self._graph.push(frame)
        while True:
            try:
                stretched = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                break
            assert isinstance(stretched, AudioFrame)
            yield from self._timed(self._target.encode(stretched))
        if frame is None:
            yield from self._timed(self._target.encode(None))

    @staticmethod
    def _timed(packets: list[Packet]) -> Iterator[tuple[Fraction, Packet]]:
        for packet in packets:
            yield (packet.pts or 0) * packet.time_base, packet


_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


def _stretched(
    plan: AudioPlan, source: InputContainer, output: OutputContainer
) -> Iterator[tuple[Fraction, Packet]] | None:
    streams = [stream for stream in source.streams.audio if stream.codec_context is not None]
    if not streams:
        return None
    stretchers = {stream.index: _Stretcher(stream, plan, output) for stream in streams}

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
                yield from stretchers[packet.stream_index].push(frame)
        for stretcher in stretchers.values():
            yield from stretcher.push(None)

    return packets()
