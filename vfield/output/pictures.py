"""Pictures of what a field adds, beside what there was without it: in one file, or for the summary of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vfield.core.clip import to_float
from vfield.core.coords import keyframe_t
from vfield.core.drawing import busiest, fitting, magnify, most_detailed, panel, save_png
from vfield.core.errors import UserError
from vfield.core.folders import check_parent
from vfield.field.checkpoint import SavedField
from vfield.field.render import WHOLE, Region, render
from vfield.field.timeline import Segment
from vfield.field.video_field import VideoField
from vfield.learn.board import Glimpse, Raster, detailed_square, small_frames
from vfield.prepare.flow import dense_flow
from vfield.video_io import ENLARGE, LANCZOS_REACH, enlarge_lanczos

_MOST_GAPS = 48  # that are looked at to find the fastest
_LOOKED_AT = 160  # pixels of either side, there
_CROP = 128  # side of the regions in a file, source pixels
# Of a summary.
_WIDEST = 480  # of a whole frame, pixels
_MOVING = 160  # side of the region that moves most, source pixels
_MOVING_SHOWN = 4 / 5  # what it is shown at: wider pixels need no detail
_DETAILED = 96  # side of the region that is enlarged, source pixels

Size = tuple[int, int]  # height and width
Show = Callable[[float, Size, Region], Tensor]  # the field at an instant, in so many pixels, in a region


def side_by_side(saved: SavedField, path: Path, *, device: torch.device | str = "cpu", overwrite: bool = False) -> None:
    """Write a picture of what the field adds, at the clip's fastest moment: half-way between two frames, and enlarged.

    Above, where it matters most, the two frames faded into each other beside the field at that instant; below, where
    there is most detail, a crop enlarged by Lanczos beside the field asked for the same pixels.

    Raises:
        UserError: when the path is not a .png, exists without `overwrite`, or cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"the picture must be a .png, got {path}")
    check_parent(path)
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; add --overwrite to replace it")
    field, size = saved.field, (saved.facts.height, saved.facts.width)
    start, end = _fastest_gap(saved)
    before, between, after = render(field, size, [start, (start + end) / 2, end], device=device)
    faded = (before + after) / 2
    side = min(_CROP, *size)
    y, x = busiest((faded - between).square().mean(dim=0, keepdim=True), side, side)
    crops = [magnify(picture[:, y : y + side, x : x + side], ENLARGE) for picture in (faded, between)]
    above = [("two frames faded", crops[0]), ("field, half-way between them", crops[1])]
    y, x, _ = most_detailed(before, side)
    region = _region(y, x, y + side, x + side, size)
    enlarged = next(render(field, (ENLARGE * side, ENLARGE * side), [start], region=region, device=device))
    lanczos = to_float(enlarge_lanczos(before, (y, x, side)))
    below = [(f"Lanczos x{ENLARGE}", lanczos), (f"field x{ENLARGE}", enlarged)]
    save_png(torch.cat([panel(above), panel(below)], dim=-2), path)


class Shown(NamedTuple):
    """A picture of a summary."""

    name: str  # of its file, without a suffix
    caption: str
    picture: Tensor  # (3, h, w) float32 in [0, 1]


@torch.no_grad()
def pictures(saved: SavedField, device: torch.device | str) -> list[list[Shown]]:
    """What a run looks like, in rows side by side: its first frame, a moment between two frames, a detail enlarged.

    Frames are rendered small: a few hundred thousand points, whatever the clip's size. What the encoder of detail makes
    of a whole keyframe, which takes seconds, is not asked for: what is enlarged is a glimpse of a part of the clip, and
    moments between frames are shown by pixels wider than the source's.
    """
    facts = saved.facts
    size = (facts.height, facts.width)
    small = fitting(*size, _WIDEST)

    def show(t: float, shape: Size = small, region: Region = WHOLE) -> Tensor:
        return next(render(saved.field, shape, [t], region=region, device=device))

    start, end = _fastest_gap(saved)
    before = show(start)
    rows = [[Shown("first", "first frame", before if start == 0 else show(0.0))]]
    if end > start:
        middle = (start + end) / 2
        rows[0].append(Shown("between", f"between two frames, at {middle:.3f} s", show(middle)))
        rows.append(_moving(show, (start, middle, end), before - show(end), size))
    times = keyframe_t(facts.pts_seconds).tolist()
    t = times[len(times) // 2]
    rows.append(_enlarged(saved.field, show, t, show(t), device))
    return rows


def _moving(show: Show, instants: tuple[float, float, float], change: Tensor, size: Size) -> list[Shown]:
    """Where two frames differ most: both faded into each other, and the field half-way between them."""
    side = min(_MOVING, *size)
    high, wide = (max(1, side * few // many) for few, many in zip(change.shape[-2:], size, strict=True))
    y, x = _in_source(busiest(change.square().mean(dim=0, keepdim=True), high, wide), change, size, side)
    shown = max(1, int(_MOVING_SHOWN * side))
    region = _region(y, x, y + side, x + side, size)
    before, between, after = (show(t, (shown, shown), region) for t in instants)
    return [
        Shown("faded", "the two frames around it, faded", (before + after) / 2),
        Shown("between-detail", "field, half-way between them", between),
    ]


def _enlarged(field: VideoField, show: Show, t: float, frame: Tensor, device: torch.device | str) -> list[Shown]:
    """Where there is most detail, enlarged by Lanczos's filter and by the field."""
    height, width = size = field.size
    y, x, side = detailed_square(frame, size, _DETAILED)
    top, left = max(0, y - LANCZOS_REACH), max(0, x - LANCZOS_REACH)
    bottom, right = min(height, y + side + LANCZOS_REACH), min(width, x + side + LANCZOS_REACH)
    source = show(t, (bottom - top, right - left), _region(top, left, bottom, right, size))
    lanczos = to_float(enlarge_lanczos(source, (y - top, x - left, side)))
    enlarged = Glimpse.to_enlarge(field, (y, x, side)).enlarged(field, (y, x, side), t, device)
    return [Shown("lanczos", f"Lanczos x{ENLARGE}", lanczos), Shown("enlarged", f"field x{ENLARGE}", enlarged)]


def _in_source(corner: tuple[int, int], reduced: Tensor, size: Size, side: int) -> tuple[int, int]:
    """A corner (y, x) on a reduced picture, in source pixels, and so that a square of `side` lies in the picture."""
    (y, x), (rows, columns), (height, width) = corner, reduced.shape[-2:], size
    return min(y * height // rows, height - side), min(x * width // columns, width - side)


def _region(top: int, left: int, bottom: int, right: int, size: Size) -> Region:
    height, width = size
    return left / width, top / height, right / width, bottom / height


def _fastest_gap(saved: SavedField) -> tuple[float, float]:
    """The t of the two keyframes between which most moves; of a clip without motion, of its first frame twice.

    Of a long clip some gaps are looked at, spread over it; of large pictures, small ones.
    """
    field = saved.field
    gaps = [segment for segment in field.timeline.segments if segment.gap is not None]
    if field.motion is None or not gaps:
        return 0.0, 0.0
    frames = small_frames(field, Raster.within(*field.size, _LOOKED_AT))

    def speed(segment: Segment) -> float:
        return float(dense_flow(frames[segment.left], frames[segment.right]).abs().mean())

    fastest = max(gaps[:: -(-len(gaps) // _MOST_GAPS)], key=speed)
    return fastest.start, fastest.start + field.timeline.seconds(fastest)
