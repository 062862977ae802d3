"""From what predicted the frames to the field's own motion: the curves between each frame and the next.

A frame m that was made from a left and a right one knows where its points were before and will be after. Through the
three positions goes one parabola in time,

    x(s) = m + b s + c s^2,      x(-l) = m + L,   x(r) = m + R,

with s, l and r in seconds. Of the two neighbouring frames i and i + 1 one was always made from the other. The point
that is at x(s0) in the middle of the gap between them moves on, in the gap's own time tau = (s - s0) / T, by

    (b T + 2 c s0 T) tau + c T^2 tau^2,

velocity and bend of `vfield.field.motion`. Which point of m that is, is found by a fixed point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from einops import rearrange
from torch import Tensor

from vfield.compact.hierarchy import Made
from vfield.compact.prediction import Sides
from vfield.coords import pixel_uv, uv_to_xy
from vfield.field.motion import CURVE_CHANNELS, EVIDENCE_CHANNELS, LONE_CHANNELS, Curves
from vfield.field.splines import sample_bilinear, spline_coefficients
from vfield.field.timeline import gaps_between

_ROUNDS = 4


def curves_of(
    order: Sequence[Made],
    sides: Mapping[int, Sides],
    t: Tensor,
    shots: Sequence[range],
    size: tuple[int, int],
    cells: tuple[int, int],
) -> Curves:
    """The curves of every gap.

    Args:
        order: how the frames were made.
        sides: where the cells of each frame lie in those it was made from.
        t: (n,) the frames' instants in seconds.
        shots: runs of frames between cuts.
        size: height and width of the picture in pixels.
        cells: rows and columns of the grids of motion.
    """
    made = {each.frame: each for each in order}
    found = [Curves.empty(*cells).coefficients]
    for gap in gaps_between(shots):
        first = made[gap.left]
        frame = gap.left if first.right == gap.right else gap.right
        velocity, bend = _parabola(made[frame], sides[frame], t)
        seconds = float(t[gap.right] - t[gap.left])
        middle = float(t[gap.left] + t[gap.right]) / 2 - float(t[frame])
        found.append(_curve(velocity * seconds, bend * seconds**2, middle / seconds, size)[None])
    coefficients = torch.cat(found)
    gaps = len(coefficients)
    return Curves(
        coefficients,
        torch.zeros(gaps, LONE_CHANNELS, *cells),
        torch.zeros(gaps, EVIDENCE_CHANNELS, *cells, dtype=torch.float16),
    )


def _parabola(made: Made, sides: Sides, t: Tensor) -> tuple[Tensor, Tensor]:
    """b and c of a frame's cells, each (2, rows, columns): pixels a second, and a second squared."""
    assert made.left is not None
    assert sides.left is not None
    before = float(t[made.frame] - t[made.left])
    if made.right is None or sides.right is None:
        return -sides.left / before, torch.zeros_like(sides.left)
    after = float(t[made.right] - t[made.frame])
    # Divided differences: the slopes of both sides, and how they change.
    slope_left, slope_right = -sides.left / before, sides.right / after
    bend = (slope_right - slope_left) / (before + after)
    return slope_left + bend * before, bend


def _curve(velocity: Tensor, bend: Tensor, middle: float, size: tuple[int, int]) -> Tensor:
    """B-spline coefficients (6, rows, columns) of one gap's curves.

    Args:
        velocity: (2, rows, columns) of the frame's cells, pixels a gap.
        bend: likewise, pixels a gap squared.
        middle: of the gap, in gaps from the frame: -1/2 or 1/2.
        size: height and width of the picture.
    """
    rows, columns = velocity.shape[-2:]
    grid = torch.cat([velocity, bend])
    start = uv_to_xy(pixel_uv(rows, columns).reshape(-1, 2), rows, columns)
    to_cells = start.new_tensor([columns / size[1], rows / size[0]])
    found = sample_bilinear(grid, start)
    for _ in range(_ROUNDS):
        moved = middle * found[:, :2] + middle**2 * found[:, 2:]
        found = sample_bilinear(grid, start - moved * to_cells)
    at_middle = torch.cat([found[:, :2] + 2 * middle * found[:, 2:], found[:, 2:]], dim=-1)
    curve = torch.cat([at_middle, at_middle.new_zeros(len(at_middle), CURVE_CHANNELS - 4)], dim=-1)
    return spline_coefficients(rearrange(curve, "(h w) c -> c h w", h=rows))
