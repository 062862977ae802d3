"""A frame from those it is made from: the field's own reading of keyframes along curves, with a share for each side.

A point p of the frame lies at p + L in the left one and at p + R in the right one. Kept are the velocity R - L and the
bend (R + L) / 2 on a coarse grid, by cubic B-splines, like the curves of `vfield.field.motion`; a frame with one
neighbour keeps its displacement alone. What each side shows is read like any keyframe, by splines, and mixed:

    prediction = left + w (right - left)

The share w is 1/2 where both show the point. In each cell it is the ridge regression

    w = 1/2 + sum (T - (left + right) / 2) . (right - left) / (sum |right - left|^2 + mu)

over the cell's pixels, T being the frame: all in closed form.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from vfield.clip import to_float
from vfield.coords import Footprint, pixel_uv, uv_to_xy
from vfield.field.latents import ColourKeyframes
from vfield.field.splines import area_averages, sample_bilinear, sample_grid, spline_coefficients

_RIDGE = (3 / 255) ** 2


class Sides(NamedTuple):
    """Where a frame's cells lie in those it is made from.

    Attributes:
        left, right: (2, rows, columns) displacements in source pixels; None where there is no such frame.
    """

    left: Tensor | None
    right: Tensor | None

    def kept(self) -> Tensor:
        """What is kept of them: velocity and bend (4, rows, columns), or the one displacement (2, rows, columns)."""
        if self.left is not None and self.right is not None:
            return torch.cat([self.right - self.left, (self.right + self.left) / 2])
        only = self.left if self.left is not None else self.right
        assert only is not None
        return only

    @staticmethod
    def of_kept(kept: Tensor) -> Sides:
        """Inverse of `kept`; a single displacement is to the left."""
        if len(kept) == 2:
            return Sides(kept, None)
        velocity, bend = kept.split(2)
        return Sides(bend - velocity / 2, bend + velocity / 2)


def averaged(flow: Tensor, cell: int) -> Tensor:
    """Means (c, rows, columns) of a flow (c, h, w) over cells of so many pixels."""
    height, width = flow.shape[-2:]
    return area_averages(flow, -(-height // cell), -(-width // cell))


def spread(grid: Tensor, height: int, width: int) -> Tensor:
    """Means over cells (c, rows, columns) as values (h * w, c) at each pixel of the picture, by cubic B-splines."""
    xy = uv_to_xy(pixel_uv(height, width).reshape(-1, 2), *grid.shape[-2:])
    return sample_grid(spline_coefficients(grid, (1.0, 1.0), (0.0, 0.0)), xy)


def look(frame: Tensor, displacement: Tensor) -> Tensor:
    """A frame (3, h, w) uint8, read where each pixel has gone to by a grid (2, rows, columns): (3, h, w) in [0, 1]."""
    height, width = frame.shape[-2:]
    uv = pixel_uv(height, width).reshape(-1, 2)
    there = uv + spread(displacement, height, width) / uv.new_tensor([width, height])
    colours = ColourKeyframes(frame[None])(0, there, Footprint.of_size(height, width))
    return rearrange(colours, "(h w) c -> c h w", h=height)


def best_shares(target: Tensor, left: Tensor, right: Tensor, cell: int) -> Tensor:
    """Shares of the right side less 1/2 (1, rows, columns), of the least squared error in each cell."""
    apart = right - left
    lacking = to_float(target) - (left + right) / 2
    both = torch.stack([(lacking * apart).mean(dim=0), apart.square().mean(dim=0)])
    product, square = averaged(both, cell)
    return (product / (square + _RIDGE)).clamp(-0.5, 0.5)[None]


def mixed(left: Tensor, right: Tensor, shares: Tensor) -> Tensor:
    """The prediction (3, h, w) from both sides and the grid of `best_shares`."""
    height, width = left.shape[-2:]
    share = rearrange(spread_bilinear(shares, height, width), "(h w) 1 -> h w", h=height)
    return left + (share + 0.5).clamp(0, 1) * (right - left)


def spread_bilinear(grid: Tensor, height: int, width: int) -> Tensor:
    """A grid (c, rows, columns) as values (h * w, c) at each pixel, bilinearly."""
    return sample_bilinear(grid, uv_to_xy(pixel_uv(height, width).reshape(-1, 2), *grid.shape[-2:]))
