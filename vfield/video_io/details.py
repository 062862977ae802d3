"""All that a file says about itself, for people who want to know what they have. Nothing is decoded but one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Stream
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vfield.core.clip import ColorInfo
from vfield.video_io.clock import Clock, Jump, clock_of
from vfield.video_io.color import is_grey, open_tags, tag_names
from vfield.video_io.rates import measured
from vfield.video_io.source import VideoInfo, codec_name, find_video, first_frame, info_of, open_input, stores_alpha


@dataclass(frozen=True)
class Track:
    """A sound track or one of subtitles.

    Attributes:
        codec: FFmpeg's name.
        language: its code; None where the file does not say.
        title: None where there is none.
        sample_rate: of sound, 1/s.
        channels: of sound, their layout, for example "stereo".
    """

    codec: str
    language: str | None
    title: str | None
    sample_rate: int | None = None
    channels: str | None = None


@dataclass(frozen=True)
class Marked:
    """A chapter: seconds of its beginning and end, and its title."""

    start_seconds: Fraction
    end_seconds: Fraction
    title: str


@dataclass(frozen=True)
class Timestamps:
    """When frames are shown, by the packets of a file.

    Attributes:
        frames: how many there are, counted.
        shortest, longest: seconds between one frame and the next; None of a single frame, or where no times are kept.
        uneven: whether those differ by more than a tick of the file's clock.
    """

    frames: int
    shortest: Fraction | None
    longest: Fraction | None
    uneven: bool


@dataclass(frozen=True)
class FileDetails:
    """What a video or picture file holds.

    Attributes:
        container: FFmpeg's name of the format, for people.
        file_bytes: size of the file.
        info: what `probe` gives.
        timestamps: of the frames.
        jumps: of the file's clock, which are taken out of all times.
        bit_depth: of the components as they are stored.
        chroma: subsampling, for example "4:2:0"; "RGB" or "grey".
        has_alpha: whether there is an alpha channel.
        interlaced: whether the first frame is.
        tagged: matrix, range, primaries and transfer as the file tags them; None for what it leaves open.
        audio, subtitles: the tracks.
        chapters: in order.
        tags: metadata of the container.
    """

    container: str
    file_bytes: int
    info: VideoInfo
    timestamps: Timestamps
    jumps: tuple[Jump, ...]
    bit_depth: int
    chroma: str
    has_alpha: bool
    interlaced: bool
    tagged: Mapping[str, str | None]
    audio: tuple[Track, ...]
    subtitles: tuple[Track, ...]
    chapters: tuple[Marked, ...]
    tags: Mapping[str, str]

    @property
    def color(self) -> ColorInfo:
        """The colour facts as vfield understands them."""
        return self.info.color


def inspect_file(path: str | Path) -> FileDetails:
    """What a file says about itself. Reads all of it, decodes one frame.

    Raises:
        UserError: when the file cannot be opened or has no picture.
    """
    with open_input(path) as container:
        stream = find_video(container, path)
        frame = first_frame(container, stream, path)
        described = frame.format
        return FileDetails(
            container=container.format.long_name,
            file_bytes=Path(path).stat().st_size,
            info=measured(path, stream, info_of(container, stream, frame)),
            timestamps=_timestamps(path, stream.index),
            jumps=clock_of(path).jumps,
            bit_depth=max(component.bits for component in described.components),
            chroma=_chroma(described),
            has_alpha=stores_alpha(stream, frame),
            interlaced=frame.interlaced_frame,
            tagged=_tagged(frame),
            audio=tuple(_track(track) for track in container.streams.audio),
            subtitles=tuple(_track(track) for track in container.streams.subtitles),
            chapters=_chapters(container, clock_of(path)),
            tags=dict(container.metadata),
        )


def _tagged(frame: VideoFrame) -> dict[str, str | None]:
    left_open = open_tags(frame)
    return {name: None if name in left_open else value for name, value in tag_names(frame).items()}


def _chroma(described: VideoFormat) -> str:
    """The usual name of a pixel format's sampling of colour."""
    if described.is_rgb or described.has_palette:
        return "RGB"
    if is_grey(described.name):
        return "grey"
    across, down = 8 // described.chroma_width(8), 8 // described.chroma_height(8)
    named = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1", (1, 2): "4:4:0", (4, 4): "4:1:0"}
    return named.get((across, down), f"1/{across} across, 1/{down} down")


def _track(stream: Stream) -> Track:
    language, title = stream.metadata.get("language"), stream.metadata.get("title")
    codec = codec_name(stream)
    spoken = None if language in (None, "und") else language
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


def _timestamps(path: str | Path, index: int) -> Timestamps:
    """Counts packets, and compares their times. Damage ends the count: reading the clip will tell of it."""
    ticks: list[int] = []
    count = 0
    with open_input(path) as container:
        stream = container.streams[index]
        assert isinstance(stream, VideoStream)
        try:
            for packet in clock_of(path).demux(container, stream):
                if packet.size and not packet.is_discard:
                    count += 1
                    if packet.pts is not None:
                        ticks.append(packet.pts)
        except av.FFmpegError:
            pass
        time_base = stream.time_base
    ticks.sort()
    steps = [later - earlier for earlier, later in pairwise(ticks)]
    # AVI keeps no times: what FFmpeg gives goes back and forth with the order of coding.
    if time_base is None or not steps or len(ticks) < count or container.format.name == "avi":
        return Timestamps(count, None, None, uneven=False)
    shortest, longest = min(steps), max(steps)
    return Timestamps(count, shortest * time_base, longest * time_base, uneven=longest - shortest > 1)
