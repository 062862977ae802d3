"""What else a source holds, carried over to a written video: subtitles, chapters, fonts, metadata and marks.

Their times follow the picture's. What the new file cannot hold is named, in one line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from av.container import InputContainer, OutputContainer
from av.stream import Discard, Disposition

from vfield.core.errors import UserError
from vfield.core.timing import TimeMap
from vfield.video_io.audio import Feed
from vfield.video_io.clock import clock_of
from vfield.video_io.files import open_to_read
from vfield.video_io.marks import marks_of, moved_timecode, set_stereo
from vfield.video_io.source import find_video, first_frame, logger, nominal_rate
from vfield.video_io.subtitles import open_subtitles
from vfield.video_io.tags import content_tags

if TYPE_CHECKING:
    from av.container.core import Chapter  # only in its stubs

_CHAPTER_TICK = Fraction(1, 1_000_000)


@dataclass(frozen=True)
class CarryPlan:
    """What a written video takes over of a source beside picture and sound: all that its container can hold."""

    source: str  # path of the file
    timing: TimeMap  # which instant of the source is shown when
    left_out: frozenset[int] = frozenset()  # indices of tracks that are not taken
    whole: bool = True  # whether all of the source's picture is shown, so that marks of stereo 3D still hold


@dataclass
class Carried:
    """What was taken over, and what could not be."""

    feed: Feed | None = None  # the subtitles' packets
    chapters: int = 0  # how many the file should have in the end
    lost: list[str] = field(default_factory=list)  # what its container cannot hold, for a person


def carry_over(plan: CarryPlan, output: OutputContainer) -> Carried:
    """Adds tracks, chapters and metadata to an output whose header is not yet written.

    A UserError when the source cannot be opened.
    """
    source, carried = open_to_read(plan.source), Carried()
    try:
        output.metadata.update(content_tags(source.metadata))
        carried.chapters = _carry_chapters(plan, source, output)
        _carry_marks(plan, output, carried.lost)
        _name_the_rest(source, carried.lost)
        carried.feed = open_subtitles(source, plan.source, plan.timing, plan.left_out, output, carried.lost)
    finally:
        if carried.feed is None:
            source.close()
    return carried


def report_lost(plan: CarryPlan, carried: Carried, written: Path, container: str) -> None:
    """Names in one line what a finished file does not hold of its source."""
    lost = list(carried.lost)
    with open_to_read(plan.source) as source, open_to_read(written) as file:
        if len(file.chapters()) < carried.chapters:
            lost.append("chapters")
        there = {key.lower() for key in file.metadata}
        if tags := sorted({key.lower() for key in content_tags(source.metadata)} - there):
            lost.append(f"the tag{'s' * (len(tags) > 1)} {', '.join(tags)}")
    if lost:
        logger.warning("%s files cannot hold all of %s: left out %s", container, plan.source, "; ".join(lost))


def _carry_chapters(plan: CarryPlan, source: InputContainer, output: OutputContainer) -> int:
    chapters: list[Chapter] = []
    clock = clock_of(plan.source)
    for chapter in source.chapters():
        tick = chapter["time_base"] or Fraction(1, 1000)
        for begin, end in plan.timing.shown(clock.at(chapter["start"] * tick), clock.at(chapter["end"] * tick)):
            start, stop = round(begin / _CHAPTER_TICK), round(end / _CHAPTER_TICK)
            chapters.append({**chapter, "start": start, "end": stop, "time_base": _CHAPTER_TICK})
    chapters.sort(key=lambda chapter: chapter["start"])
    if chapters and chapters[0]["start"] > 0 and output.format.name in ("mp4", "mov"):
        # QuickTime's chapters follow each other from 0 on; without one there, the first would begin too early.
        nameless: Chapter = {**chapters[0], "start": 0, "end": chapters[0]["start"], "metadata": {"title": ""}}
        chapters.insert(0, nameless)
    for number, chapter in enumerate(chapters, start=1):
        chapter["id"] = number
    output.set_chapters(chapters)
    return len(chapters)


def _carry_marks(plan: CarryPlan, output: OutputContainer, lost: list[str]) -> None:
    """Stereo 3D and the start timecode; PyAV has no way to mark a sphere."""
    (picture,) = output.streams.video
    with open_to_read(plan.source) as source:
        try:
            stream = find_video(source, plan.source)
            stereo, is_spherical, timecode = marks_of(source, stream, first_frame(source, stream, plan.source))
        except UserError:
            return  # There is no picture that could have any.
        code = None
        # At another speed it would name instants of the source wrongly.
        if timecode is not None and plan.timing.constant_speed == 1 and picture.average_rate:
            begins = (stream.start_time or 0) * stream.time_base if stream.time_base else Fraction(0)
            since = max(plan.timing.source_range[0] - begins, Fraction(0))
            code = moved_timecode(timecode, nominal_rate(stream), since, picture.average_rate)
    if code is not None:
        picture.metadata["timecode"] = code
    elif timecode is not None:
        lost.append(f"the start timecode {timecode}")
    if stereo is not None and not (plan.whole and set_stereo(picture, stereo)):
        lost.append(f"the mark of stereo 3D ({stereo.replace('_', ' ')})")
    if is_spherical:
        lost.append("the mark of a spherical picture")


def _name_the_rest(source: InputContainer, lost: list[str]) -> None:
    """Notes tracks of kinds that are not carried over."""
    shown = source.streams.best("video")
    for stream in source.streams:
        if stream.type == "video" and stream is not shown:
            cover = Disposition.attached_pic in stream.disposition
            lost.append("a cover picture" if cover else f"picture track {stream.index}")
        # QuickTime's chapters are a track of text, too, which FFmpeg reads as chapters and marks.
        # And so is a timecode, which is carried or named with the marks of the picture.
        elif stream.type == "data" and stream.discard != Discard.all and "timecode" not in stream.metadata:
            lost.append(f"data track {stream.index} ({stream.metadata.get('handler_name') or 'unnamed'})")
