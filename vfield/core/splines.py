"""Reading and filtering grids: cubic B-splines, area averages, and the conversions between footprints.

Grids are read with cubic B-splines, which are smoother than the usual bicubic kernel and cheaper: a B-spline
read is four bilinear ones (Sigg and Hadwiger, GPU Gems 2, 2005, chapter 20). A grid of *samples* becomes a grid of
spline *coefficients* by a short symmetric filter (Unser, "Splines: a perfect fit", 1999).

A pixel is the mean of the picture over its footprint, so samples of a frame are box averages one pixel wide. The
same filter therefore also converts between footprints: `footprint_filter` turns source pixels into the coefficients
of the picture as seen through a box of any other width, sharper (upscaling) or softer (downscaling).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from vfield.core.clip import to_float

_LEAST_TAP = 1e-7  # the inverse spline filters fall by 0.36 a tap or faster; smaller taps are left out
_FILTER_BLOCK = 64  # cells


def sample_grid(coefficients: Tensor, xy: Tensor) -> Tensor:
    """Evaluate cubic B-spline surfaces at scattered points: (n, c), differentiable in both arguments.

    Positions outside the picture read the nearest point on its border; inside, the surface continues by mirroring.

    Args:
        coefficients: (c, h, w), one coefficient a cell, cell centres at integer x and y.
        xy: (n, 2), in cells.
    """
    height, width = coefficients.shape[-2:]
    left, right, across = _paired_taps(xy[:, 0], width)
    above, below, down = _paired_taps(xy[:, 1], height)
    corners = [torch.stack([x, y], dim=-1) for y in (above, below) for x in (left, right)]
    # One corner an entry of the batch: grid_sample's threads share the batch, not the points.
    taps = F.grid_sample(
        coefficients.expand(4, -1, -1, -1),
        torch.stack(corners)[:, None],
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )
    left_above, right_above, left_below, right_below = rearrange(taps, "corner c 1 n -> corner c n")
    # Not torch.lerp, whose rounding depends on how many points there are.
    upper = left_above + across * (right_above - left_above)
    lower = left_below + across * (right_below - left_below)
    return (upper + down * (lower - upper)).T


def _paired_taps(position: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The four taps of a cubic B-spline at positions (n,) in cells along one axis, as two linear reads.

    A linear read between taps 0 and 1 gives both at once in the proportion of their weights, and likewise 2 and 3.
    Gives where to read, twice (n,), in grid_sample's normalised units, and the share (n,) of the second read.
    """
    position = position.clamp(-0.5, size - 0.5)
    base = position.floor()
    f = position - base
    g = 1 - f
    w0, w3 = g * g * g / 6, f * f * f / 6
    second = ((3 - 3 * f) * f + 3) * f / 6 + 1 / 6 + w3
    first = 1 - second
    # Cell k lies at (2 k + 1) / size - 1.
    scale, offset = 2 / size, 1 / size - 1
    return (base - w0 / first) * scale + offset, (base + 1 + w3 / second) * scale + offset, second


def sample_bilinear(grid: Tensor, xy: Tensor) -> Tensor:
    """Read a grid of samples at scattered points, bilinearly: (c, h, w), (n, 2) in cells -> (n, c)."""
    height, width = grid.shape[-2:]
    normalised = (2 * xy + 1) / xy.new_tensor([width, height]) - 1
    # Two halves where the number is even: grid_sample's threads share the batch, not the points.
    halves = 2 - len(xy) % 2
    read = F.grid_sample(
        grid.expand(halves, -1, -1, -1),
        rearrange(normalised, "(half n) c -> half 1 n c", half=halves),
        padding_mode="border",
        align_corners=False,
    )
    return rearrange(read, "half c 1 n -> (half n) c")


def resize_grid(grid: Tensor, rows: int, columns: int) -> Tensor:
    """A grid (c, h, w) brought to another resolution, bicubically: laid over the same picture, cell edges meet."""
    if grid.shape[-2:] == (rows, columns):
        return grid
    return F.interpolate(grid[None], size=(rows, columns), mode="bicubic", align_corners=False)[0]


def _b_spline_integral(x: Tensor) -> Tensor:
    """The cumulative cubic B-spline, from minus infinity to x."""
    return sum(
        ((-1) ** j * math.comb(4, j) * (x + 2 - j).clamp(min=0) ** 4 / 24 for j in range(5)), torch.zeros_like(x)
    )


@lru_cache(maxsize=64)
def footprint_filter(from_width: float, to_width: float) -> Tensor:
    """The symmetric filter (2 r + 1,) float64 from box averages of one width to B-spline coefficients of another's.

    With f = sum_k c_k b3(x - k) and box_w the unit-area box of width w, the averages at the integers are
    A_w = (b3 * box_w)[k] convolved with c. So c = A_from^-1 (samples), and the coefficients that make a cubic spline
    pass through the averages of width `to_width` are b3^-1 A_to c: a ratio of cosine series, inverted on a circle.

    Args:
        from_width: width of the box that the samples were averaged over, in cells; 0 for point samples.
        to_width: width of the box that a read should average over, in cells; 0 for point values.
    """
    omega = 2 * math.pi * torch.arange(256, dtype=torch.float64) / 256

    def response(width: float) -> Tensor:
        reach = 2 + math.ceil(width / 2)
        k = torch.arange(-reach, reach + 1, dtype=torch.float64)
        if width < 1e-6:
            taps = torch.zeros_like(k)
            taps[reach - 1 : reach + 2] = torch.tensor([1 / 6, 4 / 6, 1 / 6], dtype=torch.float64)
        else:
            taps = (_b_spline_integral(k + width / 2) - _b_spline_integral(k - width / 2)) / width
        return (taps[:, None] * torch.cos(k[:, None] * omega)).sum(dim=0)

    ratio = response(to_width) / (response(from_width) * response(0.0))
    impulse = torch.fft.ifft(ratio).real
    radius = min(int((impulse[:128].abs() > _LEAST_TAP).nonzero().max()), 127)
    taps = torch.cat([impulse[len(impulse) - radius :], impulse[: radius + 1]])
    return taps / taps.sum()


def _filter_axis(grid: Tensor, taps: Tensor, dim: int) -> Tensor:
    """Convolve (..., h, w) with symmetric taps along one of the last two axes, mirrored about the outer cell edges."""
    size = grid.shape[dim]
    radius = len(taps) // 2
    block = min(size, _FILTER_BLOCK)
    beyond = torch.cat([torch.arange(-radius, 0), torch.arange(size, -(-size // block) * block + radius)])
    beyond = beyond.to(grid.device) % (2 * size)
    beyond = grid.index_select(dim, torch.where(beyond < size, beyond, 2 * size - 1 - beyond))
    before, after = beyond.split([radius, beyond.shape[dim] - radius], dim=dim)
    padded = torch.cat([before, grid, after], dim=dim)
    # A product with a narrow band for each block of cells: 4 times as fast as sums of shifted pictures, 15 times as
    # fast as convolutions of one channel.
    band = torch.zeros(block, block + 2 * radius)
    for tap, value in enumerate(taps.tolist()):
        band.diagonal(tap).fill_(value)
    band = band.to(grid)
    windows = (padded.narrow(dim, start, block + 2 * radius) for start in range(0, size, block))
    parts = [band @ window if dim == -2 else window @ band.T for window in windows]
    return torch.cat(parts, dim=dim).narrow(dim, 0, size)


def area_averages(picture: Tensor, rows: int, columns: int) -> Tensor:
    """Exact means of a picture over the cells of a coarser grid laid over it, which may cut pixels.

    From (..., h, w), uint8 or float in [0, 1], to (..., rows, columns) float, at most h and w of them.
    """
    # Rows first: most of the pixels are gone before the slower way across.
    return _average_axis(_average_axis(picture, rows, -2), columns, -1)


def _average_axis(picture: Tensor, cells: int, dim: int) -> Tensor:
    size = picture.shape[dim]
    if cells == size:
        return to_float(picture)
    edges = torch.arange(cells + 1, dtype=torch.float64, device=picture.device) * size / cells
    total = None
    # Pixel by pixel of every cell at once. A cell that cuts pixels reaches into up to two more.
    for step in range(size // cells + (2 if size % cells else 0)):
        pixel = edges[:-1].floor().long() + step
        inside = torch.minimum(edges[1:], pixel + 1.0) - torch.maximum(edges[:-1], pixel.double())
        part = to_float(picture.index_select(dim, pixel.clamp(max=size - 1)))
        share = (inside.clamp(min=0) * cells / size).to(part)
        part = part * (share[:, None] if dim == -2 else share)
        total = part if total is None else total.add_(part)
    assert total is not None
    return total


def spline_coefficients(
    samples: Tensor, from_width: tuple[float, float] = (0.0, 0.0), to_width: tuple[float, float] = (0.0, 0.0)
) -> Tensor:
    """B-spline coefficients (..., h, w) of a picture given by samples, optionally seen through another footprint.

    With equal widths, `sample_grid` at the integers returns the samples.

    Args:
        samples: (..., h, w).
        from_width: (y, x) widths, in cells, of the boxes that each sample is the mean over; 0 for point samples.
        to_width: (y, x) widths of the boxes that reads should be means over.
    """
    down, across = (
        footprint_filter(round(given, 6), round(wanted, 6)) for given, wanted in zip(from_width, to_width, strict=True)
    )
    return _filter_axis(_filter_axis(samples, down, -2), across, -1)
