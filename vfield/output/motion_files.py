"""The field's motion as files: how far each pixel moves from one instant to the next, as data and as colours.

A step between two instants is one file of each format, called by the number of the instant it starts at, so that file i
belongs to frame i of a video rendered with the same rates. Displacements are in pixels of the size asked for, x to the
right and y down: what is at (x, y) at the first instant is at (x + flow x, y + flow y) at the second. They are unknown
across a cut, and where a point leaves the picture. One step is in memory at any time, however many there are.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from tqdm import tqdm

from vfield.core.clip import LARGEST_SIDE, ClipFacts, check_size
from vfield.core.coords import pixel_uv, seconds_to_t
from vfield.core.drawing import motion_colours
from vfield.core.errors import UserError
from vfield.core.folders import check_folder, check_parent, clear_dead, replaced
from vfield.core.ranges import Range, check_ranges
from vfield.core.timing import schedule, snapped
from vfield.field.checkpoint import SavedField
from vfield.field.render import WHOLE, Region
from vfield.field.video_field import VideoField
from vfield.output.config import FACTORS

Direction = Literal["forward", "backward"]
Format = Literal["flo", "npz", "png"]

_UNITS = "pixels of this picture, x right and y down, from t_seconds to to_seconds (seconds since the first frame)"
_FLO_MAGIC = 202021.25
# Middlebury's flowIO.h takes anything beyond 1e9 for unknown, and writes this.
_FLO_UNKNOWN = 1e10
_FILE_NAME = re.compile(r"\d{6,}\.(flo|npz|png)")
# Colours are full at a length that this share of the points of the fastest step does not exceed: a few wild ones would
# turn all others white. So many points a side tell it well enough.
_SHARE = 0.99
_SIDE = 64


@dataclass(frozen=True)
class MotionFilesConfig:
    """Which motion to write, and how. A UserError when a value is impossible, or two of them contradict each other.

    Attributes:
        size: (height, width) in pixels; None for the source's.
        fps: as many instants a second, as in `ExportConfig`; None for the source's own instants, or, in slow motion,
            for its rate.
        slowmo: as in `ExportConfig`: so many times as many instants.
        at: these instants instead, seconds after the clip's first frame, increasing; empty for none.
        direction: "forward", from each instant to the next, or "backward", from each to the one before.
        formats: "flo" is Middlebury's format with 1e10 for what is unknown; "npz" holds `flow` (h, w, 2) float32,
            `valid` (h, w) bool with zeros in `flow` where False, `t_seconds`, `to_seconds` and `units`; "png" are the
            colours of Baker et al. (2011), on one scale for all files, black where unknown.
        overwrite: replace an earlier folder of such files.
    """

    size: Annotated[tuple[int, int] | None, Range(1, LARGEST_SIDE)] = None
    fps: Annotated[Fraction | None, FACTORS] = None
    slowmo: Annotated[Fraction, FACTORS] = Fraction(1)
    at: Annotated[tuple[Fraction, ...], Range(0, 10**9, most=10**6)] = ()
    direction: Direction = "forward"
    formats: tuple[Format, ...] = ("flo", "png")
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.size is not None:
            check_size(*self.size)
        check_ranges(self, "")
        if self.at and (self.fps is not None or self.slowmo != 1):
            raise UserError("instants (at) and rates (fps, slowmo) contradict each other; give one")
        if self.direction not in get_args(Direction):
            raise UserError(f"direction must be one of {', '.join(get_args(Direction))}, got {self.direction!r}")
        unknown = [name for name in self.formats if name not in get_args(Format)]
        if unknown or not self.formats:
            raise UserError(f"formats must be some of {', '.join(get_args(Format))}, got {unknown or 'none'}")


@dataclass(frozen=True)
class MotionReport:
    """What was written."""

    path: Path  # the folder
    steps: int  # files of each format
    height: int  # pixels
    width: int  # likewise
    full_colour_pixels: float  # displacement at which the colours of pictures are full, one scale for all
    unknown_share: float  # share of all pixels whose motion is not known, 0 to 1
    seconds_taken: float  # how long that took


class Displacement(NamedTuple):
    """How far the pixels of one instant are from there at another."""

    flow: Tensor  # (h, w, 2) float32 in x and y, pixels; zero where not known
    valid: Tensor  # (h, w) bool, where it is known


# The number of an instant, and it and another, in seconds since the clip's first frame.
_Step = tuple[int, float, float]


def displacements(
    field: VideoField,
    size: tuple[int, int],
    t_from: float,
    t_to: float,
    *,
    region: Region = WHOLE,
    pixels: tuple[int, int] | None = None,
    chunk_points: int = 1 << 18,
) -> Iterator[Displacement]:
    """How far every pixel of a picture of (height, width) moves between two instants: in bands of rows, on the CPU.

    Args:
        field: a field with motion; one without is a UserError.
        size: the picture's.
        t_from: instant of the picture, seconds since the clip's first frame.
        t_to: instant to follow its pixels to, earlier or later.
        region: that the picture shows.
        pixels: (height, width) of the whole picture in whose pixels the result is; None for `size`.
        chunk_points: most points of a band.
    """
    (height, width), (u0, v0, u1, v1) = size, region
    rows = max(1, chunk_points // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        begin, end = (v0 + (v1 - v0) * row / height for row in (top, bottom))
        uv = rearrange(pixel_uv(bottom - top, width, (u0, begin, u1, end)), "h w c -> (h w) c").to(field.device)
        with torch.no_grad():
            followed = field.follow(uv, t_from, t_to)
        moved = (followed.uv - uv) * uv.new_tensor((pixels or size)[::-1])
        known = rearrange(followed.known, "(h w) -> h w", w=width)
        yield Displacement(rearrange(moved, "(h w) c -> h w c", w=width).cpu(), known.cpu())


def displacement(field: VideoField, size: tuple[int, int], t_from: float, t_to: float) -> Displacement:
    """As `displacements`, of the whole picture at once."""
    return Displacement(*map(torch.cat, zip(*displacements(field, size, t_from, t_to), strict=True)))


def _instants(config: MotionFilesConfig, facts: ClipFacts) -> list[float]:
    """The t of each instant, in order: at least two."""
    origin = facts.pts_seconds[0]
    if config.at:
        instants = [snapped(origin + seconds, facts) for seconds in config.at]
        if not all(origin <= instant <= facts.end_seconds for instant in instants):
            raise UserError(f"instants must be within the clip, 0 to {float(facts.end_seconds - origin):g} s")
        if any(later <= earlier for earlier, later in pairwise(instants)):
            raise UserError("instants must increase; for motion back in time choose direction backward")
    else:
        instants = schedule(
            *(facts.pts_seconds, facts.end_seconds, facts.frame_rate), output_rate=config.fps, slowmo=config.slowmo
        ).source_seconds
    if len(instants) < 2:
        raise UserError("motion is from one instant to another, and there is only one; ask for at least two")
    return [seconds_to_t(instant, origin) for instant in instants]


def _steps(config: MotionFilesConfig, facts: ClipFacts) -> list[_Step]:
    steps = enumerate(pairwise(_instants(config, facts)))
    if config.direction == "backward":
        return [(number + 1, later, earlier) for number, (earlier, later) in steps]
    return [(number, earlier, later) for number, (earlier, later) in steps]


def _full_colour(field: VideoField, size: tuple[int, int], steps: list[_Step]) -> float:
    """The displacement in pixels at which colours are full, from a few points of every step."""
    few = (min(size[0], _SIDE), min(size[1], _SIDE))
    enlarged = torch.tensor([size[1] / few[1], size[0] / few[0]])
    most = 0.0
    for _, t_from, t_to in steps:
        flow, valid = displacement(field, few, t_from, t_to)
        if valid.any():
            most = max(most, float((flow[valid] * enlarged).norm(dim=-1).quantile(_SHARE)))
    return most


def full_colour_pixels(saved: SavedField) -> float:
    """The displacement, in source pixels from one source frame to the next, at which colours of motion are full.

    A UserError when the field has no motion, or its clip only one frame.
    """
    return _full_colour(saved.field, (saved.facts.height, saved.facts.width), _steps(MotionFilesConfig(), saved.facts))


def _write(folder: Path, name: Format, step: _Step, moved: Displacement, full_colour: float) -> None:
    number, t_from, t_to = step
    path = folder / f"{number:06d}.{name}"
    if name == "flo":
        # Little-endian magic, width, height, then x and y of every pixel, row by row.
        height, width = moved.valid.shape
        flow = torch.where(moved.valid[..., None], moved.flow, _FLO_UNKNOWN).numpy()
        with path.open("wb") as file:
            file.write(struct.pack("<f2i", _FLO_MAGIC, width, height))
            file.write(flow.astype("<f4", copy=False).tobytes())
    elif name == "npz":
        data, valid = moved.flow.numpy(), moved.valid.numpy()
        np.savez(path, flow=data, valid=valid, t_seconds=t_from, to_seconds=t_to, units=_UNITS)
    else:
        colours = motion_colours(rearrange(moved.flow, "h w c -> c h w"), full_colour)
        to_pil_image(colours * moved.valid).save(path)


def write_motion(
    saved: SavedField, path: str | Path, config: MotionFilesConfig, *, progress: bool = True
) -> MotionReport:
    """Write the motion of a field to a folder, which appears when it is complete; `progress` shows a bar on stderr.

    A UserError when the field has no motion or the request is impossible, before anything is written; or when the disk
    is full.
    """
    began = time.monotonic()
    path, field, facts = Path(path), saved.field, saved.facts
    size = config.size or (facts.height, facts.width)
    steps = _steps(config, facts)
    if path.suffix.lower().removeprefix(".") in get_args(Format):
        raise UserError(f"{path} names a file, but motion goes to a folder, one file a step; leave the suffix out")
    check_parent(path)
    clear_dead(path)
    check_folder(path, _FILE_NAME, "motion", config.overwrite)
    full_colour = _full_colour(field, size, steps)
    unknown = 0
    with replaced(path) as partial:
        partial.mkdir()
        for step in tqdm(steps, desc="motion", unit="step", disable=not progress):
            moved = displacement(field, size, *step[1:])
            unknown += int((~moved.valid).sum())
            for name in config.formats:
                _write(partial, name, step, moved, full_colour)
    unknown_share = unknown / (len(steps) * size[0] * size[1])
    return MotionReport(path, len(steps), *size, full_colour, unknown_share, time.monotonic() - began)
