"""All that a file says about itself, for people who want to know what they have. Nothing is decoded but one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from av import AudioStream, VideoFormat, VideoFrame, VideoStream
from av.container import InputContainer
from av.stream import Stream

from vfield.core.clip import ColorInfo
from vfield.video_io.clock import Clock, Jump, clock_of, picture_packets
from vfield.video_io.color import is_grey, resolve_color, tagged_color
from vfield.video_io.files import open_to_read
from vfield.video_io.rates import camera_rate
from vfield.video_io.source import (
    codec_name,
    declared_duration,
    find_video,
    first_frame,
    has_alpha_aside,
    may_have_alpha,
    orientation,
    pixel_aspect,
)

_SAMPLINGS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1", (1, 2): "4:4:0", (4, 4): "4:1:0"}


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about its picture, found by decoding one frame."""

    width: int  # of the upright picture, pixels
    height: int  # likewise
    frame_rate: Fraction  # frames per second, by the times of the file
    duration_seconds: Fraction | None  # None where the container does not say
    frame_count: int | None  # None where the container does not count them
    codec: str  # FFmpeg's name, for example "h264"
    pixel_format: str  # FFmpeg's name, for example "yuv420p"
    color: ColorInfo  # resolved
    rotation: int  # degrees anticlockwise by which the stored picture has to be turned to be upright
    pixel_aspect: Fraction  # width / height of one pixel of the upright picture


@dataclass(frozen=True)
class Track:
    """A sound track or one of subtitles."""

    codec: str  # FFmpeg's name
    language: str | None  # its code; None where the file does not say
    title: str | None
    sample_rate: int | None = None  # of sound, 1/s
    channels: str | None = None  # of sound, their layout, for example "stereo"


@dataclass(frozen=True)
class Marked:
    """A chapter."""

    start_seconds: Fraction
    end_seconds: Fraction
    title: str


@dataclass(frozen=True)
class Timestamps:
    """When frames are shown, by the packets of a file."""

    frames: int  # how many there are, counted
    # Seconds between one frame and the next; None of a single frame, or where no times are kept.
    shortest: Fraction | None
    longest: Fraction | None
    uneven: bool  # whether those differ by more than a tick of the file's clock


@dataclass(frozen=True)
class FileDetails:
    """What a video or picture file holds."""

    container: str  # FFmpeg's name of the format, for people
    file_bytes: int
    info: VideoInfo  # what `probe` gives
    timestamps: Timestamps
    jumps: tuple[Jump, ...]  # of the file's clock, which are taken out of all times
    bit_depth: int  # of the components as they are stored
    chroma: str  # subsampling, for example "4:2:0"; "RGB" or "grey"
    has_alpha: bool
    interlaced: bool  # whether the first frame is
    tagged: Mapping[str, str | None]  # matrix, range, primaries and transfer; None for what the file leaves open
    audio: tuple[Track, ...]
    subtitles: tuple[Track, ...]
    chapters: tuple[Marked, ...]
    tags: Mapping[str, str]  # metadata of the container

    @property
    def color(self) -> ColorInfo:
        """The colour facts as vfield understands them."""
        return self.info.color


def probe(path: str | Path) -> VideoInfo:
    """What the file says about its picture; decodes only the first frame.

    A UserError when the file cannot be opened or has no picture.
    """
    with open_to_read(path) as container:
        stream = find_video(container, path)
        return _info(path, container, stream, first_frame(container, stream, path))


def inspect_file(path: str | Path) -> FileDetails:
    """What a file says about itself. Reads all of it, decodes one frame.

    A UserError when the file cannot be opened or has no picture.
    """
    with open_to_read(path) as container:
        stream = find_video(container, path)
        frame = first_frame(container, stream, path)
        clock = clock_of(path)
        return FileDetails(
            container=container.format.long_name,
            file_bytes=Path(path).stat().st_size,
            info=_info(path, container, stream, frame),
            timestamps=_timestamps(path, stream),
            jumps=clock.jumps,
            bit_depth=max(component.bits for component in frame.format.components),
            chroma=_chroma(frame.format),
            has_alpha=may_have_alpha(frame.format) or has_alpha_aside(stream),
            interlaced=frame.interlaced_frame,
            tagged=tagged_color(frame),
            audio=tuple(_track(track) for track in container.streams.audio),
            subtitles=tuple(_track(track) for track in container.streams.subtitles),
            chapters=_chapters(container, clock),
            tags=dict(container.metadata),
        )


def _info(path: str | Path, container: InputContainer, stream: VideoStream, frame: VideoFrame) -> VideoInfo:
    turns = orientation(frame).turns
    width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
    return VideoInfo(
        width=width,
        height=height,
        frame_rate=camera_rate(path, stream),
        duration_seconds=clock_of(path).duration_seconds or declared_duration(container, stream),
        frame_count=stream.frames or None,
        codec=stream.codec.canonical_name,
        pixel_format=frame.format.name,
        color=resolve_color(frame),
        rotation=turns * 90,
        pixel_aspect=pixel_aspect(stream, turns),
    )


def _chroma(described: VideoFormat) -> str:
    if described.is_rgb or described.has_palette:
        return "RGB"
    if is_grey(described.name):
        return "grey"
    across, down = 8 // described.chroma_width(8), 8 // described.chroma_height(8)
    return _SAMPLINGS.get((across, down), f"1/{across} across, 1/{down} down")


def _track(stream: Stream) -> Track:
    language, title = stream.metadata.get("language"), stream.metadata.get("title")
    codec = codec_name(stream)
    spoken = None if language == "und" else language
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        return Track(codec, spoken, title)
    return Track(codec, spoken, title, stream.rate, stream.layout.name)


def _chapters(container: InputContainer, clock: Clock) -> tuple[Marked, ...]:
    found = []
    for chapter in container.chapters():
        tick = chapter["time_base"] or Fraction(1, 1000)
        begin, end = clock.at(chapter["start"] * tick), clock.at(chapter["end"] * tick)
        found.append(Marked(begin, end, chapter["metadata"].get("title", "")))
    return tuple(found)


def _timestamps(path: str | Path, stream: VideoStream) -> Timestamps:
    """Counts packets, and compares their times."""
    times = [packet.pts for packet in picture_packets(path) if not packet.is_discard]
    ticks = sorted(tick for tick in times if tick is not None)
    steps = [later - earlier for earlier, later in pairwise(ticks)]
    # AVI keeps no times: what FFmpeg gives goes back and forth with the order of coding.
    if stream.time_base is None or not steps or len(ticks) < len(times) or stream.container.format.name == "avi":
        return Timestamps(len(times), None, None, uneven=False)
    shortest, longest = min(steps), max(steps)
    return Timestamps(
        len(times), shortest * stream.time_base, longest * stream.time_base, uneven=longest - shortest > 1
    )
