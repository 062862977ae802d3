"""What else a source holds, carried over to a written video: subtitles, chapters, fonts, metadata and marks.

Their times follow the picture's. What the new file cannot hold is named, in one line.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.subtitles.stream import SubtitleStream

from vfield.core.errors import UserError
from vfield.core.timing import TimeMap
from vfield.video_io.audio import Feed, discard
from vfield.video_io.clock import clock_of
from vfield.video_io.effects import at_tempo
from vfield.video_io.files import open_to_read, open_to_write
from vfield.video_io.marks import marks_of, set_stereo, timecode_at
from vfield.video_io.source import codec_name, find_video, first_frame, logger
from vfield.video_io.tags import content_tags, copy_track_tags, lost_tags

if TYPE_CHECKING:
    from av.container.core import Chapter  # only in its stubs

_LONGEST_LINE = 1 << 20  # bytes
_CHAPTER_TICK = Fraction(1, 1_000_000)
# Text can be told in another format's words; bitmaps cannot.
_TEXT_CODECS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
_IS_TEXT = ("mov_text", "subrip", "ass", "webvtt", "text")


@dataclass(frozen=True)
class CarryPlan:
    """What a written video takes over of a source beside picture and sound: all that its container can hold.

    Attributes:
        source: path of the file.
        timing: which instant of the source is shown when.
        left_out: tracks, by their index, that are not taken.
        whole: whether all of the source's picture is shown, so that marks of stereo 3D still hold.
    """

    source: str
    timing: TimeMap
    left_out: frozenset[int] = frozenset()
    whole: bool = True


@dataclass
class Carried:
    """What was taken over, and what could not be.

    Attributes:
        feed: the subtitles' packets; None where there are none.
        chapters: how many the file should have in the end.
        lost: what its container cannot hold, for a person.
    """

    feed: Feed | None
    chapters: int
    lost: list[str] = field(default_factory=list)


def carry_over(plan: CarryPlan, output: OutputContainer) -> Carried:
    """Adds tracks, chapters and metadata to an output whose header is not yet written.

    Raises:
        UserError: when the source cannot be opened.
    """
    source = open_to_read(plan.source)
    try:
        carried = Carried(None, 0)
        output.metadata.update(content_tags(source.metadata))
        carried.chapters = _carry_chapters(plan, source, output)
        _carry_marks(plan, output, carried)
        _name_the_rest(source, carried)
        targets = _subtitle_targets(plan, source, output, carried)
        if targets:
            carried.feed = Feed(source, iter(_subtitle_packets(plan, source, targets, carried)))
        else:
            source.close()
    except BaseException:
        source.close()
        raise
    return carried


def report_lost(plan: CarryPlan, carried: Carried, written: Path, container: str) -> None:
    """Names in one line what a finished file does not hold of its source."""
    lost = list(carried.lost)
    with open_to_read(plan.source) as source, open_to_read(written) as file:
        if len(file.chapters()) < carried.chapters:
            lost.append("chapters")
        tags = lost_tags(source.metadata, file)
        if tags:
            lost.append(f"the tag{'s' * (len(tags) > 1)} {', '.join(tags)}")
    if lost:
        logger.warning("%s files cannot hold all of %s: left out %s", container, plan.source, "; ".join(lost))


def _carry_chapters(plan: CarryPlan, source: InputContainer, output: OutputContainer) -> int:
    chapters: list[Chapter] = []
    clock = clock_of(plan.source)
    for chapter in source.chapters():
        tick = chapter["time_base"] or Fraction(1, 1000)
        for begin, end in plan.timing.shown(clock.at(chapter["start"] * tick), clock.at(chapter["end"] * tick)):
            chapters.append(
                {
                    "id": 0,
                    "start": round(begin / _CHAPTER_TICK),
                    "end": round(end / _CHAPTER_TICK),
                    "time_base": _CHAPTER_TICK,
                    "metadata": chapter["metadata"],
                }
            )
    chapters.sort(key=lambda chapter: chapter["start"])
    if chapters and chapters[0]["start"] > 0 and output.format.name in ("mp4", "mov"):
        # QuickTime's chapters follow each other from 0 on; without one there, the first would begin too early.
        nameless: Chapter = {**chapters[0], "start": 0, "end": chapters[0]["start"], "metadata": {"title": ""}}
        chapters.insert(0, nameless)
    for number, chapter in enumerate(chapters, start=1):
        chapter["id"] = number
    output.set_chapters(chapters)
    return len(chapters)


def _carry_marks(plan: CarryPlan, output: OutputContainer, carried: Carried) -> None:
    """Stereo 3D and the start timecode; PyAV has no way to mark a sphere."""
    (picture,) = output.streams.video
    with open_to_read(plan.source) as source:
        try:
            stream = find_video(source, plan.source)
            marks = marks_of(source, stream, first_frame(source, stream, plan.source))
        except UserError:
            return  # There is no picture that could have any.
        code = None
        # At another speed it would name instants of the source wrongly.
        if marks.timecode is not None and plan.timing.constant_speed == 1 and picture.average_rate:
            code = timecode_at(stream, marks.timecode, plan.timing.source_range[0], picture.average_rate)
    if code is not None:
        picture.metadata["timecode"] = code
    elif marks.timecode is not None:
        carried.lost.append(f"the start timecode {marks.timecode}")
    if marks.stereo is not None and not (plan.whole and set_stereo(picture, marks.stereo)):
        carried.lost.append(f"the mark of stereo 3D ({marks.stereo.replace('_', ' ')})")
    if marks.spherical:
        carried.lost.append("the mark of a spherical picture")


def _name_the_rest(source: InputContainer, carried: Carried) -> None:
    """Notes tracks of kinds that are not carried over."""
    shown = source.streams.best("video")
    for stream in source.streams:
        if stream.type == "video" and stream is not shown:
            cover = Disposition.attached_pic in stream.disposition
            carried.lost.append("a cover picture" if cover else f"picture track {stream.index}")
        # QuickTime's chapters are a track of text, too, which FFmpeg reads as chapters and marks.
        # And so is a timecode, which is carried or named with the marks of the picture.
        elif stream.type == "data" and stream.discard != Discard.all and "timecode" not in stream.metadata:
            carried.lost.append(f"data track {stream.index} ({stream.metadata.get('handler_name') or 'unnamed'})")


# ------------------------------------------------------------------------------------------- subtitles


@dataclass(frozen=True)
class _Target:
    """A new subtitle track, and what codes its text where the source's codec is not one that the container holds."""

    stream: Stream
    coder: SubtitleStream | None


def _subtitle_targets(
    plan: CarryPlan, source: InputContainer, output: OutputContainer, carried: Carried
) -> dict[int, _Target]:
    targets: dict[int, _Target] = {}
    for stream in _tracks_beside(source):
        made = None if stream.index in plan.left_out else _new_track(stream, output)
        if made is None:
            carried.lost.append(_described(stream))
        elif stream.type == "subtitle":
            targets[stream.index] = made
    return targets


def _tracks_beside(source: InputContainer) -> list[Stream]:
    return [stream for stream in source.streams if stream.type in ("subtitle", "attachment")]


def _described(stream: Stream) -> str:
    if stream.type == "attachment":
        return f"attachment {stream.metadata.get('filename', stream.index)}"
    return f"subtitle track {stream.index} ({codec_name(stream)})"


def _new_track(stream: Stream, output: OutputContainer) -> _Target | None:
    """A track for subtitles or an attachment; None where the container has no room for its kind."""
    if stream.type == "attachment":
        return _Target(output.add_stream_from_template(stream), None) if output.format.name == "matroska" else None
    made = _same_codec(stream, output)
    if made is None and isinstance(stream, SubtitleStream):
        made = _other_codec(stream, output)
    if made is not None:
        copy_track_tags(stream, made.stream)
    return made


def writable_rest(plan: CarryPlan, container: str) -> CarryPlan:
    """The plan without tracks that a file would be refused for; they are named when it is written.

    Each track is tried out, in a file in memory that has no other. That the container has no room for its kind is no
    refusal.

    Raises:
        UserError: when the source cannot be opened.
    """
    with open_to_read(plan.source) as source:
        refused = {stream.index for stream in _tracks_beside(source) if not _begins_with(stream, container)}
    return replace(plan, left_out=plan.left_out | refused)


def _begins_with(stream: Stream, container: str) -> bool:
    """Whether a file can begin with such a track."""
    output = open_to_write(io.BytesIO(), container)
    try:
        if _new_track(stream, output) is not None:
            output.start_encoding()
            output.close()
    except (av.FFmpegError, ValueError):
        discard(output)
        return False
    return True


def _same_codec(stream: Stream, output: OutputContainer) -> _Target | None:
    try:
        return _Target(output.add_stream_from_template(stream), None)
    except (ValueError, AttributeError):
        return None


def _other_codec(stream: SubtitleStream, output: OutputContainer) -> _Target | None:
    """A track of the container's own kind of text, where the source's is text that this FFmpeg can read."""
    codec = _TEXT_CODECS[output.format.name]
    if codec_name(stream) not in _IS_TEXT:
        return None
    stream.codec_context.open(strict=False)
    target = output.add_stream(codec)
    assert isinstance(target, SubtitleStream)
    target.codec_context.subtitle_header = stream.codec_context.subtitle_header
    target.codec_context.time_base = target.time_base = Fraction(1, 1000)
    return _Target(target, target)


def _subtitle_packets(
    plan: CarryPlan, source: InputContainer, targets: dict[int, _Target], carried: Carried
) -> list[tuple[Fraction, Packet]]:
    """All packets of all tracks, in order of time: a film's worth is less than a frame."""
    timed: list[tuple[Fraction, Packet]] = []
    untimed: set[int] = set()
    unreadable: Counter[int] = Counter()
    for packet in _packets_of(plan, source, list(targets), carried):
        if packet.size == 0 or packet.pts is None or _is_blank(packet):
            continue
        begins = packet.pts * packet.time_base
        if packet.duration:
            spans = plan.timing.shown(begins, begins + packet.duration * packet.time_base)
        elif (plan.timing.constant_speed or 0) > 0:
            # Bitmaps often say only when they appear; the next one, or an empty one, takes them away.
            spans = [(at, at) for at, _ in plan.timing.shown(begins, begins + packet.time_base)]
        else:
            spans = []
            untimed.add(packet.stream_index)
        try:
            target = targets[packet.stream_index]
            timed += [
                (begin, _placed(packet, target, begin, end, _stretch(plan, packet, end - begin)))
                for begin, end in spans
            ]
        except (av.FFmpegError, ValueError):
            unreadable[packet.stream_index] += 1
    carried.lost += [f"{count} lines of subtitle track {index}" for index, count in unreadable.items()]
    carried.lost += [f"subtitle track {index}, which does not say how long its pictures stay" for index in untimed]
    return sorted(timed, key=lambda one: one[0])


def _packets_of(plan: CarryPlan, source: InputContainer, indices: list[int], carried: Carried) -> Iterator[Packet]:
    """The packets of some tracks, up to where the file is damaged."""
    try:
        yield from clock_of(plan.source).demux(source, [source.streams[index] for index in indices])
    except av.FFmpegError as error:
        carried.lost.append(f"subtitles after a damaged place ({error.strerror})")


def _is_blank(packet: Packet) -> bool:
    """Whether it only takes the last subtitle away, as QuickTime's empty ones do, which are made anew."""
    return codec_name(packet.stream) == "mov_text" and packet.size <= 2


def _stretch(plan: CarryPlan, packet: Packet, lasts: Fraction) -> Fraction:
    """How many times longer than in its source a line is shown, on average where the speed changes."""
    speed = plan.timing.constant_speed
    if speed:
        return 1 / abs(speed)
    start, end = plan.timing.source_range
    begins = (packet.pts or 0) * packet.time_base
    shown = min(begins + (packet.duration or 0) * packet.time_base, end) - max(begins, start)
    return lasts / shown if shown > 0 and lasts > 0 else Fraction(1)


def _placed(packet: Packet, target: _Target, begin: Fraction, end: Fraction, stretch: Fraction) -> Packet:
    """A copy of a packet, told in the target's words, at another time; effects go on at the tempo of their line."""
    is_ass = target.coder is None and codec_name(packet.stream) == "ass"
    placed = Packet(at_tempo(bytes(packet), stretch) if is_ass else bytes(packet))
    if target.coder is not None:
        assert isinstance(packet.stream, SubtitleStream)
        if packet.size > _LONGEST_LINE:
            raise ValueError("no player shows so long a line, and some encoders do not come to an end with it")
        read = packet.stream.codec_context.decode2(packet)
        if read is not None:
            placed = target.coder.codec_context.encode_subtitle(read)
    placed.time_base = Fraction(1, 1000) if target.coder is not None else packet.time_base
    placed.pts = placed.dts = round(begin / placed.time_base)
    placed.duration = round(end / placed.time_base) - placed.pts
    placed.stream = target.stream
    return placed
