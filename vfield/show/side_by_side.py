"""A picture of what a field adds, beside what there was without it."""

from __future__ import annotations

from pathlib import Path

import torch

from vfield.core.clip import to_float
from vfield.core.drawing import busiest, magnify, most_detailed, panel, save_png
from vfield.core.errors import UserError
from vfield.core.folders import check_parent
from vfield.field.checkpoint import SavedField
from vfield.field.render import render
from vfield.video_io import ENLARGE, enlarge_lanczos

_MOST_GAPS = 64  # that are looked at to find the fastest
_CROP = 128  # side of the regions, source pixels


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
    field, facts = saved.field, saved.facts
    size = (facts.height, facts.width)
    start, end = fastest_gap(saved)
    middle = (start + end) / 2
    before, between, after = render(field, size, [start, middle, end], device=device)
    faded = (before + after) / 2
    side = min(_CROP, *size)
    y, x = busiest((faded - between).square().mean(dim=0, keepdim=True), side, side)
    crops = [magnify(picture[:, y : y + side, x : x + side], ENLARGE) for picture in (faded, between)]
    above = [("two frames faded", crops[0]), ("field, half-way between them", crops[1])]
    y, x, _ = most_detailed(before, side)
    region = (x / size[1], y / size[0], (x + side) / size[1], (y + side) / size[0])
    enlarged = next(render(field, (ENLARGE * side, ENLARGE * side), [start], region=region, device=device))
    lanczos = to_float(enlarge_lanczos(before, (y, x, side)))
    below = [(f"Lanczos x{ENLARGE}", lanczos), (f"field x{ENLARGE}", enlarged)]
    rows = [panel(above), panel(below)]
    save_png(torch.cat(rows, dim=-2), path)


def fastest_gap(saved: SavedField) -> tuple[float, float]:
    """The t of the two keyframes between which most moves; of a clip without motion, of its first frame twice.

    Of a long clip some gaps are looked at, spread over it.
    """
    field = saved.field
    gaps = [segment for segment in field.timeline.segments if segment.gap is not None]
    if field.motion is None or not gaps:
        return 0.0, 0.0
    motion, step = field.motion, -(-len(gaps) // _MOST_GAPS)
    fastest = max(gaps[::step], key=lambda segment: motion.speed(segment.gap or 0))
    return fastest.start, fastest.start + field.timeline.seconds(fastest)
