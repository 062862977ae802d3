"""Subtitles and fonts of a source in a written video: tracks, lines at the picture's times, effects in them."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Set
from fractions import Fraction
from typing import NamedTuple

import av
from av import Packet
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from vfield.core.timing import TimeMap
from vfield.video_io.audio import Feed, Timed, discard
from vfield.video_io.clock import clock_of
from vfield.video_io.files import open_to_read, open_to_write
from vfield.video_io.source import codec_name
from vfield.video_io.tags import copy_track_tags

_LONGEST_LINE = 1 << 20  # bytes
# Text can be told in another format's words; bitmaps cannot.
_TEXT_CODECS = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
_IS_TEXT = ("mov_text", "subrip", "ass", "webvtt", "text")


class _Target(NamedTuple):
    """A new track, and what codes its text where the source's codec is not one that the container holds."""

    stream: Stream
    coder: SubtitleStream | None = None


def open_subtitles(
    source: InputContainer, path: str, timing: TimeMap, left_out: Set[int], output: OutputContainer, lost: list[str]
) -> Feed | None:
    """Adds tracks of subtitles and attachments to an output whose header is not yet written.

    Args:
        source: the open file to take them from, which the feed closes in the end.
        path: its name.
        timing: which instant of it is shown when.
        left_out: indices of tracks that are not taken.
        output: what to add them to.
        lost: gets what cannot be taken, for a person.

    Returns:
        The subtitles' packets; None where there are none.
    """
    targets: dict[int, _Target] = {}
    for stream in _tracks_beside(source):
        made = None if stream.index in left_out else _new_track(stream, output)
        if made is None and stream.type == "attachment":
            lost.append(f"attachment {stream.metadata.get('filename', stream.index)}")
        elif made is None:
            lost.append(f"subtitle track {stream.index} ({codec_name(stream)})")
        elif stream.type == "subtitle":
            targets[stream.index] = made
    return Feed(source, iter(_timed_packets(source, path, timing, targets, lost))) if targets else None


def refused_tracks(path: str, container: str) -> set[int]:
    """The indices of a source's subtitles and attachments for which a file would be refused as a whole.

    Each is tried out, in a file in memory that has no other. That the container has no room for its kind is no refusal.
    A UserError when the source cannot be opened.
    """
    with open_to_read(path) as source:
        return {stream.index for stream in _tracks_beside(source) if not _begins_with(stream, container)}


def _tracks_beside(source: InputContainer) -> list[Stream]:
    return [stream for stream in source.streams if stream.type in ("subtitle", "attachment")]


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


def _new_track(stream: Stream, output: OutputContainer) -> _Target | None:
    """A track for subtitles or an attachment; None where the container has no room for its kind."""
    if stream.type == "attachment":
        return _Target(output.add_stream_from_template(stream)) if output.format.name == "matroska" else None
    try:
        made = _Target(output.add_stream_from_template(stream))
    except (ValueError, AttributeError):
        # The container's own kind of text, where the source's is text that this FFmpeg can read.
        if not isinstance(stream, SubtitleStream) or codec_name(stream) not in _IS_TEXT:
            return None
        stream.codec_context.open(strict=False)
        target = output.add_stream(_TEXT_CODECS[output.format.name])
        assert isinstance(target, SubtitleStream)
        target.codec_context.subtitle_header = stream.codec_context.subtitle_header
        target.codec_context.time_base = target.time_base = Fraction(1, 1000)
        made = _Target(target, target)
    copy_track_tags(stream, made.stream)
    return made


def _timed_packets(
    source: InputContainer, path: str, timing: TimeMap, targets: dict[int, _Target], lost: list[str]
) -> list[Timed]:
    """All packets of all tracks, in order of time: a film's worth is less than a frame."""
    timed: list[Timed] = []
    untimed: set[int] = set()
    unreadable: Counter[int] = Counter()
    for packet in _packets_of(source, path, list(targets), lost):
        # QuickTime's empty ones, which only take the last subtitle away, are made anew.
        is_blank = codec_name(packet.stream) == "mov_text" and packet.size <= 2
        if packet.size == 0 or packet.pts is None or is_blank:
            continue
        begins = packet.pts * packet.time_base
        if packet.duration:
            spans = timing.shown(begins, begins + packet.duration * packet.time_base)
        elif (timing.constant_speed or 0) > 0:
            # Bitmaps often say only when they appear; the next one, or an empty one, takes them away.
            spans = [(at, at) for at, _ in timing.shown(begins, begins + packet.time_base)]
        else:
            spans = []
            untimed.add(packet.stream_index)
        try:
            target = targets[packet.stream_index]
            timed += [
                (begin, _placed(packet, target, begin, end, _stretch(timing, packet, end - begin)))
                for begin, end in spans
            ]
        except (av.FFmpegError, ValueError):
            unreadable[packet.stream_index] += 1
    lost += [f"{count} lines of subtitle track {index}" for index, count in unreadable.items()]
    lost += [f"subtitle track {index}, which does not say how long its pictures stay" for index in untimed]
    return sorted(timed, key=lambda one: one[0])


def _packets_of(source: InputContainer, path: str, indices: list[int], lost: list[str]) -> Iterator[Packet]:
    """The packets of some tracks, up to where the file is damaged."""
    try:
        yield from clock_of(path).demux(source, [source.streams[index] for index in indices])
    except av.FFmpegError as error:
        lost.append(f"subtitles after a damaged place ({error.strerror})")


def _stretch(timing: TimeMap, packet: Packet, lasts: Fraction) -> Fraction:
    """How many times longer than in its source a line is shown, on average where the speed changes."""
    if timing.constant_speed:
        return 1 / abs(timing.constant_speed)
    start, end = timing.source_range
    begins = (packet.pts or 0) * packet.time_base
    shown = min(begins + (packet.duration or 0) * packet.time_base, end) - max(begins, start)
    return lasts / shown if shown > 0 and lasts > 0 else Fraction(1)


def _placed(packet: Packet, target: _Target, begin: Fraction, end: Fraction, stretch: Fraction) -> Packet:
    """A copy of a packet, told in the target's words, at another time; effects go on at the tempo of their line."""
    if target.coder is None:
        is_ass = codec_name(packet.stream) == "ass"
        placed = Packet(at_tempo(bytes(packet), stretch) if is_ass else bytes(packet))
        placed.time_base = packet.time_base
    else:
        assert isinstance(packet.stream, SubtitleStream)
        if packet.size > _LONGEST_LINE:
            raise ValueError("no player shows so long a line, and some encoders do not come to an end with it")
        read = packet.stream.codec_context.decode2(packet)
        placed = Packet(bytes(packet)) if read is None else target.coder.codec_context.encode_subtitle(read)
        placed.time_base = Fraction(1, 1000)
    placed.pts = placed.dts = round(begin / placed.time_base)
    placed.duration = round(end / placed.time_base) - placed.pts
    placed.stream = target.stream
    return placed


# ------------------------------------------------------------------------------------------- effects within ASS lines

# A packet is a line of the script without its times: ReadOrder, Layer, Style, Name, three margins, Effect, Text.
_EFFECT, _TEXT = 7, 8
_BLOCK = re.compile(r"\{[^{}]*\}")
_NUMBER = r"\s*[-+]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*"
# \k, \K, \kf and \ko last so many hundredths of a second, \kt begins so many after the line.
_KARAOKE = re.compile(rf"(\\(?:k[fot]?|K))({_NUMBER})")
_SCALED = (
    # \move(x1,y1,x2,y2,t1,t2) and \t(t1,t2,...): the two times among the arguments, in milliseconds.
    re.compile(rf"(\\move\s*\((?:[^,()]*,){{4}})({_NUMBER}(?:,{_NUMBER})?)(\))"),
    re.compile(rf"(\\t\s*\()({_NUMBER},{_NUMBER})(,)"),
    # \fad(t1,t2) and \fade(a1,a2,a3,t1,t2,t3,t4); players take each name for both.
    re.compile(rf"(\\fade?\s*\()({_NUMBER},{_NUMBER})(\))"),
    re.compile(rf"(\\fade?\s*\((?:[^,()]*,){{3}})((?:{_NUMBER},){{3}}{_NUMBER})(\))"),
)
# Banner;delay;... and Scroll up;y1;y2;delay;...: milliseconds a pixel.
_ROLLING = re.compile(rf"^(\s*(?:Banner;|Scroll (?:up|down);[^;]*;[^;]*;))({_NUMBER})(?=;|$)", re.IGNORECASE)


def at_tempo(line: bytes, stretch: Fraction) -> bytes:
    """The packet of an ASS line whose karaoke, moves, changes and fades take `stretch` times as long."""
    fields = line.decode("utf-8", "surrogateescape").split(",", _TEXT)
    if stretch == 1 or len(fields) <= _TEXT:
        return line

    def rolling(found: re.Match[str]) -> str:
        delay = Fraction(found[2].strip())
        return found[1] + str(max(1, round(delay * stretch))) if delay else found[0]

    def scaled(found: re.Match[str]) -> str:
        times = (Fraction(one.strip()) for one in found[2].split(","))
        return found[1] + ",".join(str(round(at * stretch)) for at in times) + found[3]

    karaoke = _karaoke(stretch)

    def in_block(block: re.Match[str]) -> str:
        text = block[0]
        for kind in _SCALED:
            text = kind.sub(scaled, text)
        return _KARAOKE.sub(karaoke, text)

    fields[_EFFECT] = _ROLLING.sub(rolling, fields[_EFFECT])
    fields[_TEXT] = _BLOCK.sub(in_block, fields[_TEXT])
    return ",".join(fields).encode("utf-8", "surrogateescape")


def _karaoke(stretch: Fraction) -> Callable[[re.Match[str]], str]:
    """Syllables, each of which begins where the one before ends: their ends are rounded, so that nothing adds up."""
    end = Fraction(0)

    def longer(found: re.Match[str]) -> str:
        nonlocal end
        begin = end
        if found[1] == r"\kt":
            begin, end = Fraction(0), Fraction(found[2].strip())
        else:
            end += Fraction(found[2].strip())
        return found[1] + str(round(end * stretch) - round(begin * stretch))

    return longer
