"""Read frames from a field: any size, any instants, any part of the picture, in chunks of bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from vfield.coords import Footprint, pixel_uv, with_t
from vfield.errors import UserError

Region = tuple[float, float, float, float]
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)


class Schedule(NamedTuple):
    """When an exported video shows what.

    Attributes:
        source_seconds: the source's instant (on its own clock) that each output frame shows, exact.
        output_seconds: when each output frame is shown, from 0, exact.
        frame_rate: nominal output rate, frames per second.
        duration_seconds: length of the output.
    """

    source_seconds: list[Fraction]
    output_seconds: list[Fraction]
    frame_rate: Fraction
    duration_seconds: Fraction


def schedule(
    pts_seconds: tuple[Fraction, ...],
    end_seconds: Fraction,
    frame_rate: Fraction,
    *,
    start: Fraction | None = None,
    end: Fraction | None = None,
    output_rate: Fraction | None = None,
    slowmo: Fraction = Fraction(1),
) -> Schedule:
    """Exact output times.

    With a rate, or slow motion, output frame i is shown at i / rate and shows source instant start + i / (rate
    slowmo), for every such instant in [start, end): a source frame's instant is hit exactly where it falls on that
    grid. Otherwise every source frame is shown at its own time, however uneven.

    Args:
        pts_seconds: the source's presentation times.
        end_seconds: when its last frame stops being shown.
        frame_rate: the source's nominal rate.
        start: first source instant, on the source's clock; None for the first frame.
        end: source instant to stop before; None for the end of the clip.
        output_rate: frames per second of the output; None keeps the source's.
        slowmo: how many times longer the output lasts.

    Raises:
        UserError: when the range is empty or outside the clip, or a rate is not positive.
    """
    first = pts_seconds[0] if start is None else start
    last = end_seconds if end is None else end
    if not pts_seconds[0] <= first < last <= end_seconds:
        raise UserError(
            f"cannot export {float(first - pts_seconds[0]):g} to {float(last - pts_seconds[0]):g} s: "
            f"the clip covers 0 to {float(end_seconds - pts_seconds[0]):g} s"
        )
    if slowmo <= 0 or (output_rate is not None and output_rate <= 0):
        raise UserError(f"rates must be positive, got fps={output_rate} and slowmo={slowmo}")
    duration = (last - first) * slowmo
    if output_rate is None and slowmo == 1:
        shown = [pts for pts in pts_seconds if first <= pts < last]
        if not shown or shown[0] != first:
            # What is on screen at the start is the frame before; the field can show the very instant.
            shown.insert(0, first)
        return Schedule(shown, [pts - first for pts in shown], frame_rate, duration)
    rate = frame_rate if output_rate is None else output_rate
    count = math.ceil(duration * rate)
    output = [i / rate for i in range(count)]
    return Schedule([first + seconds / slowmo for seconds in output], output, rate, duration)


def render(
    field: nn.Module,
    size: tuple[int, int],
    instants: Iterable[float],
    *,
    region: Region | Callable[[float], Region] = WHOLE,
    chunk_points: int = 1 << 16,
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """Frames of a field, one at a time.

    Args:
        field: (n, 3) uvt and a footprint -> (n, 3) rgb.
        size: (height, width) of the output.
        instants: t of each frame, seconds since the clip's first frame.
        region: (u0, v0, u1, v1) of the picture to show; or a function from t to it, for a crop that moves. The
            footprint of a pixel follows it.
        chunk_points: most points to ask for at once; with one frame, all the memory that is used.
        device: where the field lies.

    Yields:
        (3, height, width) float32 frames in [0, 1] on the CPU.

    Raises:
        UserError: when the size, the region or the chunk is empty; for a region that moves, when its frame is due.
    """
    height, width = size
    if height < 1 or width < 1:
        raise UserError(f"size must be at least 1x1, got {width}x{height}")
    if not callable(region):
        _check_region(region)
    if chunk_points < 1:
        raise UserError(f"chunk_points must be at least 1, got {chunk_points}")
    return _frames(field, size, instants, region, chunk_points, device)


def _check_region(region: Region) -> None:
    u0, v0, u1, v1 = region
    if u1 <= u0 or v1 <= v0:
        raise UserError(f"region must be (u0, v0, u1, v1) with u0 < u1 and v0 < v1, got {region}")


def _frames(
    field: nn.Module,
    size: tuple[int, int],
    instants: Iterable[float],
    region: Region | Callable[[float], Region],
    chunk_points: int,
    device: torch.device | str,
) -> Iterator[Tensor]:
    height, width = size
    for t in instants:
        shown = region(t) if callable(region) else region
        _check_region(shown)
        u0, v0, u1, v1 = shown
        footprint = Footprint(du=(u1 - u0) / width, dv=(v1 - v0) / height)
        # One row and one column of positions: those of a whole 16k frame would take gigabytes.
        u = pixel_uv(1, width, shown)[0, :, 0].to(device)
        v = pixel_uv(height, 1, shown)[:, 0, 1].to(device)
        frame = torch.empty(height * width, 3, device=device)
        for start in range(0, len(frame), chunk_points):
            stop = min(start + chunk_points, len(frame))
            pixels = torch.arange(start, stop, device=device)
            uv = torch.stack([u[pixels % width], v[pixels // width]], dim=-1)
            # Inside the loop: a generator that holds it across a yield would switch it on in its caller.
            with torch.no_grad():
                frame[start:stop] = field(with_t(uv, t), footprint)
        yield rearrange(frame.clamp_(0, 1), "(h w) c -> c h w", h=height).cpu()
