"""Conventions of space and time, stated once.

- `uvt` is always (..., 3) in the order u, v, t. `x, y` are pixels and nothing else.
- Pixel centres: u = (x + 0.5) / width, v = (y + 0.5) / height, so the picture is the unit square at any size.
- t is in seconds since the clip's first frame. Files keep exact rationals; `seconds_to_t` is the only way into
  floating point, so equal instants stay equal.
- A query's footprint is the area (du, dv) and the exposure dt that one output pixel covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from einops import rearrange, repeat
from torch import Tensor

from vfield.core.errors import UserError

# Of a gap between keyframes, that rounding to float32 may change: hours of 240 frames a second stay well below.
_LARGEST_GAP_ERROR = 0.25


@dataclass(frozen=True)
class Footprint:
    """What one output pixel averages over: du, dv in the unit square, dt in seconds. Zero is a point sample."""

    du: float = 0.0
    dv: float = 0.0
    dt: float = 0.0

    @staticmethod
    def of_size(height: int, width: int) -> Footprint:
        """The footprint of one pixel of a picture of height x width that shows the whole unit square."""
        return Footprint(du=1 / width, dv=1 / height)


def xy_to_uv(xy: Tensor, height: int, width: int) -> Tensor:
    """Pixel positions (..., 2) in x, y (integers at pixel centres) to (..., 2) in u, v."""
    return (xy + 0.5) / xy.new_tensor([width, height])


def uv_to_xy(uv: Tensor, height: int, width: int) -> Tensor:
    """Inverse of `xy_to_uv`."""
    return uv * uv.new_tensor([width, height]) - 0.5


def pixel_uv(height: int, width: int, region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)) -> Tensor:
    """Centres of a height x width raster laid over a region (u0, v0, u1, v1): (height, width, 2), float32."""
    u0, v0, u1, v1 = region
    # float64 until the end: at 8k, float32 steps of the unit square are a hundredth of a pixel.
    u = u0 + (torch.arange(width, dtype=torch.float64) + 0.5) / width * (u1 - u0)
    v = v0 + (torch.arange(height, dtype=torch.float64) + 0.5) / height * (v1 - v0)
    return torch.stack([repeat(u, "w -> h w", h=height), repeat(v, "h -> h w", w=width)], dim=-1).float()


def with_t(uv: Tensor, t: float) -> Tensor:
    """(..., 2) positions at one instant: (n, 3) uvt, flattened row by row."""
    flat = rearrange(uv, "... c -> (...) c")
    return torch.cat([flat, torch.full_like(flat[:, :1], t)], dim=-1)


def seconds_to_t(seconds: Fraction, origin: Fraction) -> float:
    """An exact presentation time to the t of `uvt`: seconds since `origin`, the clip's first frame."""
    return float(seconds - origin)


def keyframe_t(pts_seconds: Sequence[Fraction]) -> Tensor:
    """The t of each keyframe: (k,) float32, starting at 0; a UserError where float32 does not tell neighbours apart."""
    exact = torch.tensor([seconds_to_t(pts, pts_seconds[0]) for pts in pts_seconds], dtype=torch.float64)
    t = exact.float()
    gaps = exact.diff()
    wrong = (t.double().diff() - gaps).abs() > _LARGEST_GAP_ERROR * gaps
    if wrong.any():
        k, last = int(wrong.nonzero()[0, 0]), float(exact[-1])
        reach = f"{last / 86400:.1f} days" if last >= 2 * 86400 else f"{last / 3600:.1f} hours"
        raise UserError(
            f"the clip's times reach over {reach}, and frames {k} and {k + 1} are only "
            f"{1000 * float(gaps[k]):g} ms apart: no field can tell such times apart; choose a part by start and end"
        )
    return t
