"""Clocks that jump: recordings joined end to end, tuners, downloaded streams, cameras whose clock was set meanwhile.

Transport streams carry a clock that may begin anew at any time. Players and FFmpeg go on as if it had not: a decoding
time more than 10 s from the one before, or before it, is a jump, and what follows is moved to where the picture would
have gone on. Other containers count from the beginning of the file; in these a jump is a gap of more than 30 hours
(both are FFmpeg's bounds, `dts_delta_threshold` and `dts_error_threshold`).

All tracks are moved by the same amounts, which the picture decides, so that sound and subtitles stay beside it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, cast

import av
from av import Packet, VideoStream
from av.container import Container, InputContainer
from av.format import Flags
from av.stream import Stream

from vfield.video_io.files import open_to_read
from vfield.video_io.source import find_video, nominal_rate

_FAR_SECONDS = 10.0  # of clocks that may begin anew
_BACK_SECONDS = 0.1
_BROKEN_SECONDS = 30 * 3600  # of all others
_TOLD = 3  # jumps that are named one by one


class Jump(NamedTuple):
    """A place where the clock of a file jumps."""

    at_seconds: Fraction  # after the first frame, with all jumps before it taken out
    by_seconds: Fraction  # negative where it goes back


class _Part(NamedTuple):
    """Packets of one track that are moved alike."""

    first: int  # number of the first of them, counted from 0 in the track
    shift: int  # ticks to add to their times
    # Moved ticks (half-open). A packet that begins outside is beside another part's picture, and is left out.
    begin: float = -math.inf
    end: float = math.inf


class _Gap(NamedTuple):
    """A gap that is cut out of a clock."""

    begin: Fraction  # seconds at which the next picture would have been due
    end: Fraction  # seconds at which it comes
    cut: Fraction  # seconds that this and all gaps before it are long


@dataclass(frozen=True)
class Clock:
    """How the times of a file's packets become one clock that goes on."""

    jumps: tuple[Jump, ...] = ()  # where it did not; none of nearly all files, whose packets come as they are
    parts: Mapping[int, tuple[_Part, ...]] = field(default_factory=dict)  # by track, where the clock begins anew
    duration_seconds: Fraction | None = None  # to the end of the last frame; None where nothing jumps
    gaps: tuple[_Gap, ...] = ()  # in order, where it only goes on later

    def demux(self, container: InputContainer, streams: Stream | Sequence[Stream]) -> Iterator[Packet]:
        """Packets as the container gives them, their times on one clock.

        Where it jumps, the container must stand at its beginning: times tell nothing about places in such a file.
        """
        packets = container.demux(streams)
        if self.gaps:
            return self._closed_up(packets)
        return self._moved(packets) if self.jumps else packets

    def at(self, seconds: Fraction) -> Fraction:
        """Where a time lies that no packet has, such as a chapter's; as it is where the same time comes twice."""
        # What lies in a gap belongs to what was before it.
        passed = bisect_right(self.gaps, seconds, key=lambda gap: gap.end)
        return seconds - self.gaps[passed - 1].cut if passed else seconds

    def _closed_up(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        for packet in packets:
            if packet.pts is not None:
                tick = packet.time_base
                cut = self._cut(packet.pts, tick)
                if packet.duration and self._cut(packet.pts + packet.duration, tick) != cut:
                    gap = next(gap for gap in self.gaps if gap.begin > packet.pts * tick)
                    packet.duration = max(math.floor((gap.end - gap.cut) / tick) - (packet.pts - cut), 0)
                packet.pts -= cut
            if packet.dts is not None:
                packet.dts -= self._cut(packet.dts, packet.time_base)
            yield packet

    def _cut(self, ticks: int, tick: Fraction) -> int:
        """Ticks that are cut out of the clock before a time."""
        return round((ticks * tick - self.at(ticks * tick)) / tick)

    def _moved(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        counts: dict[int, int] = {}
        for packet in packets:
            parts = self.parts.get(packet.stream_index)
            if packet.size and parts:
                number = counts.get(packet.stream_index, 0)
                counts[packet.stream_index] = number + 1
                part = parts[max(bisect_right(parts, number, key=lambda one: one.first) - 1, 0)]
                if packet.pts is not None:
                    packet.pts += part.shift
                    if not part.begin <= packet.pts < part.end:
                        continue
                    if packet.duration and packet.pts + packet.duration > part.end:
                        packet.duration = round(part.end) - packet.pts
                if packet.dts is not None:
                    packet.dts += part.shift
            yield packet


def told_jumps(jumps: Sequence[Jump]) -> str:
    """Jumps in words, for example "by +53.4 s after 0.32 s"."""
    named = [f"by {float(jump.by_seconds):+.1f} s after {float(jump.at_seconds):.2f} s" for jump in jumps]
    more = len(named) - _TOLD
    return ", ".join(named[:_TOLD]) + (f" and {more} more" if more > 0 else "")


def begins_anew(container: Container) -> bool:
    """Whether the clock of a container of this kind may begin anew at any time."""
    return bool(container.format.flags & cast(int, Flags.ts_discont.value))


def clock_of(path: str | Path) -> Clock:
    """How to read the times of a file. Goes through its packets once where its kind or length makes jumps likely."""
    stat = Path(path).stat()
    return _clock_of(str(path), stat.st_size, stat.st_mtime_ns)


def picture_packets(path: str | Path) -> Iterator[Packet]:
    """The packets of a file's picture, on one clock, as far as they can be read: reading the clip tells of damage."""
    clock = clock_of(path)
    with open_to_read(path) as container, suppress(av.FFmpegError):
        for packet in clock.demux(container, find_video(container, path)):
            if packet.size:
                yield packet


@lru_cache(maxsize=32)
def _clock_of(path: str, size: int, changed: int) -> Clock:
    """The same, remembered for as long as the file is what it was."""
    with open_to_read(path) as container:
        picture = container.streams.best("video")
        if not isinstance(picture, VideoStream) or picture.start_time is None:
            return Clock()  # sound alone, or a raw stream without times
        if not begins_anew(container):
            return _without_gaps(container, picture) if _may_be_broken(container, picture) else Clock()
        return _joined(_runs(container, picture), picture.index)


def _may_be_broken(container: InputContainer, picture: Stream) -> bool:
    """Whether a container that does not begin its clock anew is so long that it may have a gap of many hours."""
    lengths = [container.duration / av.time_base] if container.duration else []
    lengths += [float(picture.duration * picture.time_base)] if picture.duration and picture.time_base else []
    return not lengths or max(lengths) > _BROKEN_SECONDS


def _without_gaps(container: InputContainer, picture: VideoStream) -> Clock:
    """A clock that only goes forwards, without the gaps between pictures that are too long to be meant."""
    # By the order of time: that of coding mixes pictures from before a gap with those from after it.
    tick = picture.time_base or Fraction(1, av.time_base)
    times = sorted({packet.pts for packet in _packets(container, [picture]) if packet.size and packet.pts is not None})
    longest = _BROKEN_SECONDS / tick
    begins = [0, *(n for n in range(1, len(times)) if times[n] - times[n - 1] > longest)]
    if len(begins) == 1:
        return Clock()

    def due(first: int, until: int) -> Fraction:
        """Seconds at which the picture after these would come."""
        count, lasting = until - 1 - first, (times[until - 1] - times[first]) * tick
        return times[until - 1] * tick + (lasting / count if count else 1 / nominal_rate(picture))

    origin, cut = times[0] * tick, Fraction(0)
    jumps, gaps = [], []
    for first, until in pairwise(begins):
        begin, end = due(first, until), times[until] * tick
        jumps.append(Jump(begin - cut - origin, end - begin))
        cut += end - begin
        gaps.append(_Gap(begin, end, cut))
    return Clock(tuple(jumps), duration_seconds=due(begins[-1], len(times)) - cut - origin, gaps=tuple(gaps))


@dataclass
class _Run:
    """Packets of one track, between two jumps of its clock."""

    first: int  # number of the first packet
    orders: tuple[int, int]  # places of the first and the last packet among all of the file
    begin: int  # tick of the earliest time
    latest: int  # and of the latest
    last: float  # seconds of the last decoding time
    tick: Fraction  # seconds
    alone: int  # ticks that a packet lasts that is the only one
    is_sound: bool
    count: int = 0

    @property
    def end(self) -> int:
        """The tick at which the next packet would come. What the last one says of itself may include the jump."""
        usual = round((self.latest - self.begin) / (self.count - 1)) if self.count > 1 else self.alone
        return self.latest + max(usual, 1)

    @property
    def span(self) -> tuple[float, float]:
        """Seconds of both ends."""
        return float(self.begin * self.tick), float(self.end * self.tick)


def _runs(container: InputContainer, picture: VideoStream) -> dict[int, list[_Run]]:
    """The runs of every track. Those of text say little by their gaps: each of their packets is a run."""
    runs: dict[int, list[_Run]] = {}
    counts: dict[int, int] = {}
    tracks = [stream for stream in container.streams if stream.type in ("video", "audio", "subtitle")]
    for order, packet in enumerate(_packets(container, tracks)):
        track, tick, kind = packet.stream_index, packet.time_base, packet.stream.type
        if packet.size == 0:
            continue
        number = counts[track] = counts.get(track, -1) + 1
        ticks = packet.dts if packet.dts is not None else packet.pts
        if ticks is None:
            continue
        begin = ticks if packet.pts is None else packet.pts
        alone = round(1 / nominal_rate(picture) / tick)
        at = float(ticks * tick)
        known = runs.setdefault(track, [])
        follows = bool(known) and kind in ("video", "audio")
        if not follows or not (-_BACK_SECONDS <= at - known[-1].last <= _FAR_SECONDS or _went_on(runs, track, at)):
            known.append(_Run(number, (order, order), begin, begin, at, tick, alone, kind == "audio"))
        run = known[-1]
        run.orders, run.last, run.count = (run.orders[0], order), at, run.count + 1
        run.begin, run.latest = min(run.begin, begin), max(run.latest, begin)
    return runs


def _packets(container: InputContainer, tracks: Sequence[Stream]) -> Iterator[Packet]:
    """All packets, as far as they can be read: reading the clip meets the same error, and tells of it."""
    with suppress(av.FFmpegError):
        yield from container.demux(tracks)


def _went_on(runs: Mapping[int, Sequence[_Run]], track: int, at: float) -> bool:
    """Whether another track's clock ran through a gap of this one: a still picture with sound, or a silence."""
    before = runs[track][-1].last
    if at < before:
        return False
    others = (found[-1] for index, found in runs.items() if index != track and found)
    return any(run.span[0] <= before and abs(at - run.last) <= _FAR_SECONDS for run in others)


def _joined(runs: Mapping[int, Sequence[_Run]], picture: int) -> Clock:
    shown = runs.get(picture, [])
    if len(shown) < 2:
        return Clock()
    tick = shown[0].tick
    shifts, jumps = [0], []
    for before, after in pairwise(shown):
        shift = before.end + shifts[-1] - after.begin
        at = (before.end + shifts[-1] - shown[0].begin) * tick
        jumps.append(Jump(at, (shifts[-1] - shift) * tick))
        shifts.append(shift)
    begins = [(run.begin + shift) * tick for run, shift in zip(shown, shifts, strict=True)]
    seconds = [shift * tick for shift in shifts]
    parts = {}
    for track, found in runs.items():
        if track == picture:
            ends = [*(float(begin / tick) for begin in begins[1:]), math.inf]
            rows = zip(shown, shifts, ends, strict=True)
            parts[track] = tuple(_Part(run.first, shift, end=end) for run, shift, end in rows)
        else:
            parts[track] = _beside(found, shown, seconds, begins)
    return Clock(tuple(jumps), parts, (shown[-1].end + shifts[-1] - shown[0].begin) * tick)


def _beside(
    runs: Sequence[_Run], shown: Sequence[_Run], shifts: Sequence[Fraction], begins: Sequence[Fraction]
) -> tuple[_Part, ...]:
    """The parts of a track beside the picture, whose runs are moved by so many seconds and begin then at others."""
    parts: list[_Part] = []
    was, previous = 0, runs[0]
    for run in runs:
        now, near = _picture_of(run, shown)
        shift = round(shifts[now] / run.tick)
        if not near and parts:
            # A time that is only wrong: it goes on where the track was.
            shift = previous.end + parts[-1].shift - run.begin
        if now > was and parts and run.is_sound:
            # Sound rarely ends with its picture: what is beside the other recording's would be heard with both.
            cut = float(begins[now] / run.tick)
            parts[-1] = parts[-1]._replace(end=cut)
            parts.append(_Part(run.first, shift, begin=cut))
        else:
            parts.append(_Part(run.first, shift))
        was, previous = now, run
    return tuple(parts)


def _picture_of(run: _Run, shown: Sequence[_Run]) -> tuple[int, bool]:
    """Which of the picture's runs, the nearest in the file, another track's belongs to, and whether its times fit."""

    def unlike(number: int) -> tuple[bool, float]:
        (begin, end), (first, last) = run.span, run.orders
        other = shown[number]
        away = max(other.span[0] - end, begin - other.span[1])
        shared = min(last, other.orders[1]) - max(first, other.orders[0])
        return away > _FAR_SECONDS, -shared

    found = min(range(len(shown)), key=unlike)
    return found, not unlike(found)[0]
