"""Sound at another speed: one track, decoded, through FFmpeg's filters or along a speed curve, and coded again."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
from av import AudioCodecContext, AudioFrame, AudioLayout, AudioStream, CodecContext, Packet
from av.container import OutputContainer
from av.filter import Graph

from vfield.core.timing import TimeMap, cubic
from vfield.video_io.tags import copy_track_tags

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
# What the encoders take their samples as.
_SAMPLES = {"aac": "fltp", "libopus": "flt"}
# How FFmpeg names channels of which nothing but the number is known, as in most PCM, WMA and ADPCM.
_ONLY_COUNTED = re.compile(r"\d+ channels")
_MIXED_DOWN = ("7.1", "5.1", "stereo", "mono")
_FINEST_RATE = 200_000  # a rate of samples in between, on the way to an exact change of speed
# Grains along a speed curve: long enough for a voice's lowest tone, short enough not to repeat a syllable.
_GRAIN_SECONDS = 0.04
_SEARCH_SECONDS = 0.01
_AWAY = 0.1  # correlation that a move by the most is worth
# Under this speed a grain comes back so often that it drones: the sound fades away with the motion.
_SLOWEST_HEARD = 1 / 16
_TAPS = 16  # of the interpolating filter on each side, at the source's own speed
_FASTEST_FILTERED = 16.0


def encoder_for(container: str) -> str:
    """What sound is coded with that goes into a container, by FFmpeg's names of both."""
    return "libopus" if container == "webm" else "aac"


def layout_for(encoder: str, rate: int, given: AudioLayout) -> str:
    """The layout of channels to code a track in: its own, the usual one of so many, or the largest mix that there is.

    Raises:
        ValueError: when the encoder takes none of them.
    """
    usual = given.name
    if _ONLY_COUNTED.fullmatch(usual):
        try:
            usual = AudioLayout(f"{given.nb_channels}c").name
        except ValueError:
            usual = ""  # nine, eleven and so on have no usual one
    mixes = [layout for layout in _MIXED_DOWN if AudioLayout(layout).nb_channels <= given.nb_channels]
    if encoder == "libopus":
        # It codes more than two channels only in layouts that differ from AAC's.
        mixes, usual = mixes[-2:], usual if given.nb_channels <= 2 else ""
    for layout in filter(None, [usual, *mixes]):
        if _opens(encoder, rate, layout):
            return layout
    raise ValueError(f"{encoder} does not take {given.name} at {rate} Hz")


def _opens(encoder: str, rate: int, layout: str) -> bool:
    context = CodecContext.create(encoder, "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout, context.format = rate, layout, _SAMPLES[encoder]
    with suppress(av.FFmpegError):
        context.open()
    return context.is_open


class TrackCoder:
    """One sound track at another speed into a new track of an output: AAC, or Opus for WebM.

    What is heard of it while the speed changes is held in memory, decoded: a small part of what its frames take.

    Raises:
        av.FFmpegError: when FFmpeg's filters do not take the track, before one is added to the output.
        ValueError: when the encoder does not.
    """

    def __init__(self, stream: AudioStream, timing: TimeMap, output: OutputContainer, keeps_pitch: bool) -> None:
        encoder = encoder_for(output.format.name)
        rate = 48000 if encoder == "libopus" or stream.rate not in _AAC_RATES else stream.rate
        layout = layout_for(encoder, rate, stream.layout)
        self._timing, self._keeps_pitch, self._rate = timing, keeps_pitch, rate
        self.layout, self.channels = layout, AudioLayout(layout).nb_channels
        # Along a speed curve filters only bring the track into shape.
        self._held: list[np.ndarray] | None = None if timing.constant_speed else []
        # Before the track is added: one without a way to fill it would spoil the file.
        self._graph = self._filters(stream, rate, layout)
        target = output.add_stream(encoder, rate=rate)
        assert isinstance(target, AudioStream)
        target.codec_context.layout, target.codec_context.format = layout, _SAMPLES[encoder]
        copy_track_tags(stream, target)
        self._target = target

    def _filters(self, stream: AudioStream, rate: int, layout: str) -> Graph:
        start, end = (float(edge) for edge in self._timing.source_range)
        filters = [
            ("atrim", f"start={start:.9f}:end={end:.9f}"),
            ("asetpts", f"PTS-{start:.9f}/TB"),
            ("aresample", "async=1:first_pts=0"),  # silence where the sound begins late or has a gap
            ("apad", f"whole_dur={end - start:.9f}"),
            *self._retiming(stream.rate),
            ("aformat", f"sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout}"),
        ]
        graph = Graph()
        nodes = [graph.add_abuffer(template=stream)]
        nodes += [graph.add(name, arguments) for name, arguments in filters]
        graph.link_nodes(*nodes, graph.add("abuffersink")).configure()
        return graph

    def _retiming(self, rate: int) -> list[tuple[str, str]]:
        speed, delay = self._timing.constant_speed, self._timing.legs[0].begin
        if not speed:
            return []
        stretch = 1 / abs(speed)
        return [
            *([("areverse", "")] if speed < 0 else []),
            *(_tempo_chain(stretch) if self._keeps_pitch else _tape_chain(stretch, rate)),
            ("asetpts", "N/SR/TB"),
            ("atrim", f"end={float(self._timing.duration_seconds - delay):.9f}"),
            *([("adelay", f"delays={round(delay * rate)}S:all=1")] if delay else []),
            # Times that went through all this are rounded, and backwards not even in order; samples only count.
            ("asetpts", "N/SR/TB"),
        ]

    def push(self, frame: AudioFrame | None) -> Iterator[tuple[Fraction, Packet]]:
        """Coded packets, and when they begin, that a decoded frame (None: the end) makes complete."""
        self._graph.push(frame)
        while True:
            try:
                made = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                break
            assert isinstance(made, AudioFrame)
            if self._held is None:
                yield from self._coded(made)
            else:
                self._held.append(made.to_ndarray())
        if frame is None:
            if self._held:
                yield from self._along_curve(np.concatenate(self._held, axis=1))
            yield from self._coded(None)

    def _along_curve(self, samples: np.ndarray) -> Iterator[tuple[Fraction, Packet]]:
        made = sound_along(samples, self._rate, self._timing, keeps_pitch=self._keeps_pitch)
        for begin in range(0, made.shape[1], self._rate):
            second = np.ascontiguousarray(made[:, begin : begin + self._rate])
            frame = AudioFrame.from_ndarray(second, "fltp", self.layout)
            frame.sample_rate, frame.pts, frame.time_base = self._rate, begin, Fraction(1, self._rate)
            yield from self._coded(frame)

    def _coded(self, frame: AudioFrame | None) -> list[tuple[Fraction, Packet]]:
        return [((packet.pts or 0) * packet.time_base, packet) for packet in self._target.encode(frame)]


def _tempo_chain(stretch: Fraction) -> list[tuple[str, str]]:
    """atempo filters, each within the 1/2 to 2 where it overlaps grains instead of dropping samples."""
    if stretch == 1:
        return []
    chain: list[tuple[str, str]] = [("apad", "pad_dur=0.5")]  # atempo swallows half a window at the end of what it gets
    tempo = 1 / stretch
    while not Fraction(1, 2) <= tempo <= 2:
        part = Fraction(2) if tempo > 2 else Fraction(1, 2)
        chain.append(("atempo", f"{float(part):g}"))
        tempo /= part
    return [*chain, ("atempo", f"{float(tempo):.12f}")]


def _tape_chain(stretch: Fraction, rate: int) -> list[tuple[str, str]]:
    """Samples at the rate of `rate` played at another. Rates are whole numbers: through one that the factor divides."""
    factor = stretch.limit_denominator(max(1, math.floor(_FINEST_RATE / stretch)))
    parts = -(-rate // factor.numerator)
    return [
        ("aresample", str(parts * factor.numerator)),
        ("asetrate", str(parts * factor.denominator)),
        ("aresample", str(rate)),
    ]


def sound_along(samples: np.ndarray, rate: int, timing: TimeMap, *, keeps_pitch: bool) -> np.ndarray:
    """Sound at a speed that changes.

    With the pitch kept: grains of 40 ms, half over each other, are taken from where the curve is at their middle, moved
    by up to 10 ms to where they continue the one before best (WSOLA: Verhelst and Roelands, ICASSP 1993), so nothing
    drifts. With it let go: the source is read at the curve itself by a windowed sinc, as wide as its speed.

    Args:
        samples: (channels, n) from the earliest instant of the source that is shown on.
        rate: samples per second, of both.
        timing: which instant of the source is heard when.
        keeps_pitch: whether to keep the pitch.

    Returns:
        (channels, m) float32, as long as the output.
    """
    count = math.ceil(timing.duration_seconds * rate)
    return _grains(samples, rate, timing, count) if keeps_pitch else _as_a_tape(samples, rate, timing, count)


def _positions(timing: TimeMap, seconds: np.ndarray, rate: int) -> np.ndarray:
    """The sample of the source, with its fraction, at times of the output."""
    origin = timing.source_range[0]
    position = np.zeros_like(seconds)
    for leg in timing.legs:
        inside = (seconds >= float(leg.begin)) & (seconds <= float(leg.end))
        span, rise = float(leg.end - leg.begin), float(leg.source_end - leg.source_begin)
        slopes = (span * float(speed) for speed in leg.speeds)
        moved = cubic((seconds[inside] - float(leg.begin)) / span, rise, *slopes)
        position[inside] = float(leg.source_begin - origin) + moved
    return position * rate


def _as_a_tape(samples: np.ndarray, rate: int, timing: TimeMap, count: int) -> np.ndarray:
    made = np.zeros((len(samples), count), np.float32)
    for begin in range(0, count, 4096):
        stop = min(begin + 4096, count)
        positions = _positions(timing, np.arange(begin, stop + 1) / rate, rate)
        speed = float(np.clip(np.abs(np.diff(positions)).max(initial=0.0), 1.0, _FASTEST_FILTERED))
        reach = math.ceil(_TAPS * speed)
        whole = np.floor(positions[:-1]).astype(np.int64)
        taps = whole[:, None] + np.arange(1 - reach, reach + 1)
        away = (positions[:-1, None] - taps) / speed
        weights = np.sinc(away) * np.cos(np.clip(away / _TAPS, -1, 1) * np.pi / 2) ** 2 / speed
        inside = (taps >= 0) & (taps < samples.shape[1])
        read = samples[:, np.clip(taps, 0, samples.shape[1] - 1)]
        made[:, begin:stop] = np.einsum("cnt,nt->cn", read, np.where(inside, weights, 0))
    return made


def _grains(samples: np.ndarray, rate: int, timing: TimeMap, count: int) -> np.ndarray:
    hop = round(_GRAIN_SECONDS * rate / 2)
    reach = round(_SEARCH_SECONDS * rate)
    window = 0.5 - 0.5 * np.cos(np.pi * np.arange(2 * hop) / hop)
    # Room on both sides, so that no grain has to be cut; and the same backwards, for where the source runs so.
    room = 3 * hop + 2 * reach
    forwards = np.pad(samples, ((0, 0), (room, room)))
    ways = {1: forwards, -1: forwards[:, ::-1]}
    last = float(timing.duration_seconds)
    middles = np.arange(math.ceil(count / hop) + 2) * hop / rate
    here = _positions(timing, np.minimum(middles, last), rate)
    after = _positions(timing, np.minimum(middles + hop / rate, last), rate)
    before = _positions(timing, np.clip(middles - hop / rate, 0, last), rate)
    spans = np.minimum(middles * rate + hop, count) - np.maximum(middles * rate - hop, 0)
    speeds = (after - before) / np.maximum(spans, 1)
    made = np.zeros((len(samples), len(middles) * hop + hop), np.float32)
    follows: tuple[int, int] | None = None  # the way and the place where the grain before would go on
    for number, (position, speed) in enumerate(zip(here, speeds, strict=True)):
        way = -1 if speed < 0 else 1
        sound = ways[way]
        place = round(position) if way > 0 else samples.shape[1] - 1 - round(position)
        begin = min(max(place + room - hop, reach), sound.shape[1] - 2 * hop - reach)
        if follows is not None and follows[0] == way and follows[1] + 2 * hop <= sound.shape[1]:
            wanted = sound[:, follows[1] : follows[1] + 2 * hop].mean(axis=0)
            around = sound[:, begin - reach : begin + 2 * hop + reach].mean(axis=0)
            begin += _best_match(around, wanted) - reach
        gain = min(1.0, abs(speed) / _SLOWEST_HEARD)
        made[:, number * hop : number * hop + 2 * hop] += gain * window * sound[:, begin : begin + 2 * hop]
        follows = way, begin + hop
    # Grain 0 has its middle at 0.
    return made[:, hop : hop + count]


def _best_match(around: np.ndarray, wanted: np.ndarray) -> int:
    """Where in a longer piece a shorter one fits best, by normalised correlation; of equals the one in the middle."""
    length = len(around) + len(wanted) - 1
    spectrum = np.fft.rfft(around, length) * np.fft.rfft(wanted[::-1], length)
    products = np.fft.irfft(spectrum, length)[len(wanted) - 1 : len(around)]
    total = np.concatenate([[0.0], np.cumsum(around.astype(np.float64) ** 2)])
    energy = np.maximum(total[len(wanted) :] - total[: -len(wanted)], 0)
    agreement = products / np.sqrt((energy + 1e-9) * (float(wanted @ wanted) + 1e-9))
    return int(np.argmax(agreement - _AWAY * np.abs(np.linspace(-1, 1, len(agreement)))))
