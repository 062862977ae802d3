"""Chains of libavfilter filters, frames in at one end and out at the other; interlaced video to progressive by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Literal

import av
from av import VideoFormat, VideoFrame
from av.filter import Graph

from vfield.core.errors import UserError

Deinterlacing = Literal["frame", "field"]

# swscale's defaults round carelessly and interpolate chroma at half resolution; these flags are wanted everywhere.
ACCURATE = "accurate_rnd+full_chroma_int+full_chroma_inp"
_LEAST_INTERLACED_SIDE = 8  # of what bwdif takes in every pixel format


def even_size(described: VideoFormat, height: int, width: int) -> tuple[int, int]:
    """(height, width) in whole samples of chroma: odd sides become even where the format shares chroma along them.

    swscale stretches chroma over the picture as if the last sample covered no pixel beyond its edge, up to a pixel
    wrong there. Padding to this size before it works, and cropping afterwards, puts chroma where it is.
    """
    if described.is_rgb or described.has_palette:
        return height, width
    down, across = 4 // described.chroma_height(4), 4 // described.chroma_width(4)
    return height + -height % down, width + -width % across


def halves_chroma(described: VideoFormat) -> bool:
    """Whether a format shares chroma along rows."""
    return not described.is_rgb and described.chroma_width(4) < 4


def chroma_left(described: VideoFormat) -> str:
    """What the scale filter is told of a format that shares chroma along rows: that it lies on the even columns.

    swscale takes it for centred between columns otherwise, whatever the frame's tag says. {} is "in" or "out".
    """
    return ":{}_chroma_loc=left" if halves_chroma(described) else ""


class FilterChain:
    """Frames of one size and format pushed through a linear chain of filters.

    All share the template's size, format, colour tags and time base. Filters are (name, arguments); some need the
    frames' constant rate. One that is unknown or refuses its arguments raises a UserError.
    """

    def __init__(
        self, template: VideoFrame, filters: Sequence[tuple[str, str]], frame_rate: Fraction | None = None
    ) -> None:
        source = {
            "video_size": f"{template.width}x{template.height}",
            "pix_fmt": template.format.name,
            "time_base": str(template.time_base or Fraction(1, 25)),
            "pixel_aspect": "1/1",
            "colorspace": str(int(template.colorspace)),
            "range": str(int(template.color_range)),
        }
        if frame_rate is not None:
            source["frame_rate"] = str(frame_rate)
        self._graph = Graph()
        self._source = self._graph.add("buffer", **source)
        nodes = [self._source]
        for name, arguments in filters:
            try:
                nodes.append(self._graph.add(name, arguments or None))
            except (av.FFmpegError, ValueError) as error:
                raise UserError(f"filter {name}={arguments} was refused: {error}") from error
        self._sink = self._graph.add("buffersink")
        try:
            self._graph.link_nodes(*nodes, self._sink).configure()
        except (av.FFmpegError, ValueError) as error:
            chain = ",".join(f"{name}={arguments}" for name, arguments in filters)
            raise UserError(f"the filters {chain} cannot be joined: {error}") from error

    def push(self, frame: VideoFrame | None) -> Iterator[VideoFrame]:
        """Pushes a frame (None: the end) and yields what comes out."""
        self._source.push(frame)
        while True:
            try:
                result = self._sink.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(result, VideoFrame)
            yield result

    def map(self, frame: VideoFrame) -> VideoFrame:
        """One frame through a chain that gives one frame for each."""
        (result,) = self.push(frame)
        return result


def deinterlaced(
    frames: Iterator[tuple[Fraction, VideoFrame]], mode: Deinterlacing, step: Fraction
) -> Iterator[tuple[Fraction, VideoFrame]]:
    """Progressive frames from interlaced ones, in the order of time, at exact times.

    Method: FFmpeg's bwdif (Weston's three-field filter within yadif's bounds). Each output frame keeps one field as it
    is and makes the other field's rows. Which field comes first is read from the frames, top where they do not say.
    "frame" makes one of each at its own time, from its first field; "field" two, the second half-way to the next
    frame's time. The last frame lasts one step, seconds.
    """
    chain: FilterChain | None = None
    count = 2 if mode == "field" else 1
    waiting: deque[Fraction] = deque()
    made: deque[VideoFrame] = deque()

    def ready() -> Iterator[tuple[Fraction, VideoFrame]]:
        # The filter gives a frame only when it has seen the next one: its time is known by then, except at the end.
        while len(made) >= count:
            pts = waiting.popleft()
            lasting = waiting[0] - pts if waiting else step
            for field in range(count):
                yield pts + lasting * field / count, made.popleft()

    for pts, frame in frames:
        if chain is None:
            if min(frame.height, frame.width) < _LEAST_INTERLACED_SIDE:
                raise UserError(
                    f"frames of {frame.width}x{frame.height} are too small to be deinterlaced: "
                    f"{_LEAST_INTERLACED_SIDE}x{_LEAST_INTERLACED_SIDE} is the least; leave deinterlace out"
                )
            chain = FilterChain(frame, [("bwdif", f"mode=send_{mode}:parity=auto:deint=all")])
        waiting.append(pts)
        made.extend(chain.push(frame))
        yield from ready()
    if chain is not None:
        made.extend(chain.push(None))
        yield from ready()
