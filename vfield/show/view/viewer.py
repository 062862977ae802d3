"""What can be asked of a view, a part of the picture at an instant, in a layer, as so many pixels; and these pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from typing import Annotated, Any, Literal, NamedTuple

import torch
from einops import rearrange
from pydantic import BaseModel, Field
from torch import Tensor

from vfield.core.clip import to_uint8
from vfield.core.drawing import motion_colours
from vfield.core.errors import UserError
from vfield.field.checkpoint import SavedField
from vfield.field.render import Region, render
from vfield.output.motion_files import displacements, full_colour_pixels
from vfield.show.view.source import Scaling, SourceFrames, resampled
from vfield.show.view.worker import GivenUpError, interruptible

LARGEST_SIDE = 8192  # pixels of a view
# 8K is 7680x4320. While it is made, a view takes some 15 bytes a pixel: half a gigabyte for the largest.
LARGEST_PICTURE = 1 << 25  # pixels of a view
_FARTHEST = 1e6  # widths or heights of the picture, from it
_CHUNK_POINTS = 1 << 16
_LEAST_MOTION = 1e-3  # pixels; a clip in which nothing moves has colours, too

Number = Annotated[float, Field(allow_inf_nan=False)]


class Edges(BaseModel):
    """What of the picture is asked for: the edges of a view, the picture being the unit square."""

    u0: Number
    v0: Number
    u1: Number
    v1: Number

    @property
    def region(self) -> Region:
        """The edges: left, top, right, bottom."""
        return self.u0, self.v0, self.u1, self.v1


class View(Edges):
    """What the page asks of a view."""

    t: Number  # seconds since the clip's first frame; instants outside the clip show its first or last frame
    width: int = Field(ge=1, le=LARGEST_SIDE)  # pixels; a pixel's footprint is its share of the region
    height: int = Field(ge=1, le=LARGEST_SIDE)
    layer: Literal["field", "source", "motion"] = "field"  # the source's frame at t; motion until one frame later
    scaling: Scaling = "lanczos"  # how the source's pixels become the view's, where they are larger
    format: Literal["png", "jpeg"] = "png"
    asker: str = Field(default="", max_length=64)  # who asks again no longer waits for what was asked before
    number: int = Field(default=0, ge=0, le=1 << 53)  # of this asker's requests

    def check(self) -> None:
        """Refuse, by a UserError, values that contradict each other, or ask for too much.

        The region may be as small as floating point can tell, and may reach beyond the picture.
        """
        check_picture((self.height, self.width))
        u0, v0, u1, v1 = self.region
        steps = ((u1 - u0) / self.width, (v1 - v0) / self.height)
        if not all(abs(edge) <= _FARTHEST for edge in self.region) or min(steps) <= 0:
            raise UserError(
                f"a view's edges must be finite with u0 < u1 and v0 < v1, and within {_FARTHEST:g} of the picture, "
                f"got {u0:g},{v0:g},{u1:g},{v1:g}"
            )
        if self.layer == "motion" and self.format == "jpeg":
            raise UserError("motion is partly transparent, which jpeg cannot be; ask for png")


def check_picture(size: tuple[int, int]) -> None:
    """Refuse, by a UserError, a picture, (height, width), that takes too much memory to make."""
    height, width = size
    if height * width > LARGEST_PICTURE:
        raise UserError(
            f"a picture of {width}x{height} has {height * width} pixels, and the page makes at most {LARGEST_PICTURE}; "
            "ask for a smaller one"
        )


class _Block(NamedTuple):
    """The pixels of a view whose centres lie in the picture, and the region that they alone show."""

    rows: range
    columns: range
    region: Region

    @property
    def size(self) -> tuple[int, int]:
        return len(self.rows), len(self.columns)


class Viewer:
    """Makes views of one field. One at a time: the field keeps what it made last."""

    def __init__(
        self, saved: SavedField, read_source: Callable[[], SourceFrames], device: torch.device | str = "cpu"
    ) -> None:
        """Prepare nothing yet: `read_source` is asked when the source is first looked at, and may raise a UserError."""
        self.saved, self.device = saved, device
        self._read_source = cache(read_source)

    def picture(self, view: View, given_up: Callable[[], bool] = lambda: False) -> Tensor:
        """The pixels of a view: (3, height, width) uint8, or (4, height, width) with opacity for motion.

        What lies outside the picture is black, and transparent. Motion is coloured as `drawing.motion_colours` does,
        but what stands still is transparent rather than white; so is what is not known.

        Args:
            view: what to show.
            given_up: asked now and then, whether nobody waits for the view any more.

        Raises:
            UserError: when the field has no motion, or the source cannot be read.
            GivenUpError: when the view was given up.
        """
        shown = torch.zeros(4 if view.layer == "motion" else 3, view.height, view.width, dtype=torch.uint8)
        block = _block_inside(view)
        if block is None:
            return shown

        def check() -> None:
            if given_up():
                raise GivenUpError

        facts = self.saved.facts
        t = min(max(view.t, 0.0), float(facts.end_seconds - facts.pts_seconds[0]))
        top, columns = block.rows.start, slice(block.columns.start, block.columns.stop)
        check()
        with interruptible(self.saved.field, check):
            for band in self._bands(view, t, block):
                shown[:, top : top + band.shape[1], columns] = band
                top += band.shape[1]
                check()
        return shown

    def _bands(self, view: View, t: float, block: _Block) -> Iterator[Tensor]:
        """A block's pixels in bands of rows, from the top down."""
        if view.layer == "motion":
            yield from self._motion(t, block)
        elif view.layer == "source":
            for band in resampled(self._read_source().at(t), block.region, block.size, view.scaling):
                yield to_uint8(band).cpu()
        else:
            field, chunk = self.saved.field, _CHUNK_POINTS
            frames = render(field, block.size, [t], region=block.region, chunk_points=chunk, device=self.device)
            # Bytes are made of some rows at a time: of all at once, that would take three times the frame's memory.
            yield from map(to_uint8, next(frames).split(max(1, chunk // len(block.columns)), dim=1))

    @cached_property
    def _full_colour(self) -> float:
        return max(full_colour_pixels(self.saved), _LEAST_MOTION)

    def _motion(self, t: float, block: _Block) -> Iterator[Tensor]:
        """How far things move in the time of a frame, by hue (direction) and opacity (distance): (4, rows, w) uint8."""
        facts, most = self.saved.facts, self._full_colour
        later, pixels = t + float(1 / facts.frame_rate), (facts.height, facts.width)
        options: Any = {"region": block.region, "pixels": pixels, "chunk_points": _CHUNK_POINTS}
        for moved, known in displacements(self.saved.field, block.size, t, later, **options):
            flow = rearrange(moved, "h w c -> c h w")
            length = flow.norm(dim=0)
            hue = motion_colours(flow * (most / length.clamp(min=1e-9)), most)
            opacity = to_uint8((length / most).clamp(max=1) * known)
            yield torch.cat([hue, opacity[None]])


def _block_inside(view: View) -> _Block | None:
    """What of a view shows the picture; None where it looks past it."""
    u0, v0, u1, v1 = view.region
    columns, (left, right) = _inside(u0, u1, view.width)
    rows, (top, bottom) = _inside(v0, v1, view.height)
    return _Block(rows, columns, (left, top, right, bottom)) if rows and columns else None


def _inside(start: float, end: float, pixels: int) -> tuple[range, tuple[float, float]]:
    """The pixels between two edges whose centres lie within 0 to 1, and their own edges; of all, bit for bit those."""
    step = (end - start) / pixels
    # Held before they become integers: far away, the quotients are infinite.
    first = math.ceil(min(max(-start / step - 0.5, 0), pixels))
    stop = math.floor(min(max((1 - start) / step - 0.5, -1), pixels - 1)) + 1
    return range(first, stop), (start + first * step, end if stop == pixels else start + stop * step)
