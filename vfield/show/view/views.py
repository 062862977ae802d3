"""What can be asked for: a part of the picture at an instant, in a layer, as so many pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from vfield.core.errors import UserError
from vfield.field.render import Region
from vfield.show.view.source import Scaling

Layer = Literal["field", "source", "motion"]

LARGEST_SIDE = 8192  # pixels of a view
# 8K is 7680x4320. While it is made, a view takes some 15 bytes a pixel: half a gigabyte for the largest.
LARGEST_PICTURE = 1 << 25  # pixels of a view
_FARTHEST = 1e6  # widths or heights of the picture, from it


@dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        t: seconds since the clip's first frame; instants outside the clip show its first or last frame.
        region: (u0, v0, u1, v1) that the view's edges show, the picture being the unit square. It may be as small as
            floating point can tell, and may reach beyond the picture, by a million of its widths and heights.
        size: (height, width) in pixels. A pixel's footprint is its share of the region.
        layer: "field"; "source", the frame on screen at t; or "motion", from t to one frame later.
        scaling: how the source's pixels become the view's, where they are larger.

    Raises:
        UserError: when a value is impossible.
    """

    t: float
    region: Region
    size: tuple[int, int]
    layer: Layer = "field"
    scaling: Scaling = "lanczos"

    def __post_init__(self) -> None:
        height, width = self.size
        u0, v0, u1, v1 = self.region
        if not math.isfinite(self.t):
            raise UserError(f"t must be a finite number of seconds, got {self.t}")
        if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
            raise UserError(f"a view is 1 to {LARGEST_SIDE} pixels high and wide, got {width}x{height}")
        check_picture(self.size)
        if not all(abs(edge) <= _FARTHEST for edge in self.region) or not ((u1 - u0) / width > 0 < (v1 - v0) / height):
            raise UserError(
                f"a view's edges must be finite with u0 < u1 and v0 < v1, and within {_FARTHEST:g} of the picture, "
                f"got {u0:g},{v0:g},{u1:g},{v1:g}"
            )
        for name, value, known in (("layer", self.layer, Layer), ("scaling", self.scaling, Scaling)):
            if value not in get_args(known):
                raise UserError(f"{name} must be one of {', '.join(get_args(known))}, got {value!r}")


def check_picture(size: tuple[int, int]) -> None:
    """Refuse a picture, (height, width), that takes too much memory to make.

    Raises:
        UserError: then.
    """
    height, width = size
    if height * width > LARGEST_PICTURE:
        raise UserError(
            f"a picture of {width}x{height} has {height * width} pixels, and the page makes at most {LARGEST_PICTURE}; "
            "ask for a smaller one"
        )


class Block(NamedTuple):
    """The pixels of a view whose centres lie in the picture, and the region that they alone show."""

    rows: range
    columns: range
    region: Region


def block_inside(view: View) -> Block | None:
    """What of a view shows the picture; None where it looks past it."""
    height, width = view.size
    u0, v0, u1, v1 = view.region
    rows, columns = _inside(v0, v1, height), _inside(u0, u1, width)
    if not rows or not columns:
        return None
    left, right = _edges(u0, u1, width, columns)
    top, bottom = _edges(v0, v1, height, rows)
    return Block(rows, columns, (left, top, right, bottom))


def _inside(start: float, end: float, pixels: int) -> range:
    """The pixels between two edges whose centres lie within 0 to 1."""
    step = (end - start) / pixels
    # Held before they become integers: far away, the quotients are infinite.
    first = math.ceil(min(max(-start / step - 0.5, 0), pixels))
    stop = math.floor(min(max((1 - start) / step - 0.5, -1), pixels - 1)) + 1
    return range(first, stop)


def _edges(start: float, end: float, pixels: int, part: range) -> tuple[float, float]:
    """The outer edges of some of the pixels between two edges; of all of them, bit for bit those."""
    step = (end - start) / pixels
    return (
        start if part.start == 0 else start + part.start * step,
        end if part.stop == pixels else start + part.stop * step,
    )
