"""What a run looks like: its first frame, a moment between two frames, and a detail enlarged.

Frames are rendered small: a few hundred thousand points, whatever the clip's size. And what the encoder of detail makes
of a whole keyframe, which takes seconds, is asked for only where TensorBoard's last pictures have asked already: the
middle frame is the one that is enlarged, and moments between frames are shown by pixels wider than the source's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vfield.core.clip import to_float
from vfield.core.coords import keyframe_t
from vfield.core.drawing import busiest, fitting, most_detailed
from vfield.field.checkpoint import SavedField
from vfield.field.render import WHOLE, Region, render
from vfield.show.side_by_side import fastest_gap
from vfield.video_io import ENLARGE, LANCZOS_REACH, enlarge_lanczos

_WIDEST = 480  # of a whole frame, pixels
_MOVING = 160  # side of the region that moves most, source pixels
_MOVING_SHOWN = 4 / 5  # what it is shown at: wider pixels need no detail
_DETAILED = 96  # side of the region that is enlarged, source pixels

# The field at an instant, in so many rows and columns, in a region of the picture.
Show = Callable[[float, tuple[int, int], Region], Tensor]


class Shown(NamedTuple):
    """A picture of the page.

    Attributes:
        name: of its file, without a suffix.
        caption: what it shows.
        picture: (3, h, w) float32 in [0, 1].
    """

    name: str
    caption: str
    picture: Tensor


@torch.no_grad()
def pictures(saved: SavedField, device: torch.device | str) -> list[list[Shown]]:
    """Rows of pictures that belong side by side."""
    facts, field = saved.facts, saved.field
    height, width = facts.height, facts.width
    small = fitting(height, width, _WIDEST)

    def show(t: float, size: tuple[int, int], region: Region = WHOLE) -> Tensor:
        return next(render(field, size, [t], region=region, device=device))

    start, end = fastest_gap(saved)
    before = show(start, small)
    rows = [[Shown("first", "first frame", before if start == 0 else show(0.0, small))]]
    if end > start:
        middle = (start + end) / 2
        between = show(middle, small)
        rows[0].append(Shown("between", f"between two frames, at {middle:.3f} s", between))
        rows.append(_moving(show, (start, middle, end), (before, show(end, small)), (height, width)))
    own = keyframe_t(facts.pts_seconds).tolist()
    rows.append(_enlarged(show, own[len(own) // 2], show(own[len(own) // 2], small), (height, width)))
    return rows


def _moving(
    show: Show, instants: tuple[float, float, float], around: tuple[Tensor, Tensor], size: tuple[int, int]
) -> list[Shown]:
    """Where two frames differ most: both faded into each other, and the field half-way between them."""
    side = min(_MOVING, *size)
    region, shape = _chosen((around[0] - around[1]).square().mean(dim=0, keepdim=True), side, size)
    before, between, after = (show(t, shape, region) for t in instants)
    return [
        Shown("faded", "the two frames around it, faded", (before + after) / 2),
        Shown("between-detail", "field, half-way between them", between),
    ]


def _enlarged(show: Show, t: float, frame: Tensor, size: tuple[int, int]) -> list[Shown]:
    """Where there is most detail, enlarged by Lanczos's filter and by the field."""
    height, width = size
    side = min(_DETAILED, *size)
    # Detail of a reduced frame is a stand-in for that of the frame, which would take seconds to render.
    shrunk = max(1, side * frame.shape[-1] // width)
    y, x, _ = most_detailed(frame, shrunk)
    y = min(y * height // frame.shape[-2], height - side)
    x = min(x * width // frame.shape[-1], width - side)
    top, left = max(0, y - LANCZOS_REACH), max(0, x - LANCZOS_REACH)
    bottom, right = min(height, y + side + LANCZOS_REACH), min(width, x + side + LANCZOS_REACH)
    source = show(t, (bottom - top, right - left), (left / width, top / height, right / width, bottom / height))
    region = (x / width, y / height, (x + side) / width, (y + side) / height)
    lanczos = to_float(enlarge_lanczos(source, (y - top, x - left, side)))
    return [
        Shown("lanczos", f"Lanczos x{ENLARGE}", lanczos),
        Shown("enlarged", f"field x{ENLARGE}", show(t, (ENLARGE * side, ENLARGE * side), region)),
    ]


def _chosen(energy: Tensor, side: int, size: tuple[int, int]) -> tuple[Region, tuple[int, int]]:
    """The square of so many source pixels that holds most of a map (1, h, w) over the picture, and its shape."""
    height, width = size
    rows, columns = energy.shape[-2:]
    y, x = busiest(energy, max(1, side * rows // height), max(1, side * columns // width))
    y, x = min(y * height // rows, height - side), min(x * width // columns, width - side)
    shown = max(1, int(_MOVING_SHOWN * side))
    return (x / width, y / height, (x + side) / width, (y + side) / height), (shown, shown)
