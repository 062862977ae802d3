"""Starting curves for the motion field: classical flows, carried to the in-between instant and chained.

For a gap between frames A and B with neighbours A- and B+ (Newton's differences when the spacing is uneven):

1. Flow belongs to the frame it starts in. For a point p at the middle of the gap the fixed point
   v = f_AB(p - v/2) carries it there from A, and v = -f_BA(p + v/2) from B; the two are mixed by how well the
   colours at their ends agree.
2. From the ends the outer flows lead on to A- and B+. The cubic through the four positions bends the path; with even
   spacing both ends move by (v_after - v_before) / 16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from vfield.clip import to_float
from vfield.coords import pixel_uv, uv_to_xy
from vfield.field.latents import sample_bilinear, spline_coefficients
from vfield.field.motion import Curves
from vfield.field.timeline import Gap
from vfield.flow import FlowConfig, dense_flow

_FIXED_POINT_STEPS = 6
_BEND_ROUNDS = 2  # the ends of a bent path lie elsewhere, so flows are read there once more
_MISMATCH_BLUR_PX = 2.5
_MISMATCH_SCALE = 2 / 255  # mismatch that divides a candidate's say by e


class FlowStore:
    """Flows between frames, made when first asked for and forgotten when no later gap can ask again."""

    def __init__(self, frames: Tensor, config: FlowConfig) -> None:
        self.frames = frames
        self.config = config
        self._flows: dict[tuple[int, int], Tensor] = {}

    def between(self, source: int, target: int) -> Tensor:
        """Flow (2, h, w) in pixels from one frame to another."""
        if (source, target) not in self._flows:
            self._flows[source, target] = dense_flow(self.frames[source], self.frames[target], self.config)
        return self._flows[source, target]

    def forget_before(self, frame: int) -> None:
        """Drop every flow that touches a frame before this one."""
        self._flows = {key: flow for key, flow in self._flows.items() if min(key) >= frame}


@dataclass
class _Grid:
    """The points of one working grid, flattened, and the picture's size."""

    xy: Tensor
    rows: int
    columns: int
    height: int
    width: int

    def read(self, picture: Tensor, xy: Tensor) -> Tensor:
        """Read (c, h', w') of any resolution at pixel positions xy of the full picture: (n, c)."""
        h, w = picture.shape[-2:]
        scale = xy.new_tensor([w / self.width, h / self.height])
        return sample_bilinear(picture, (xy + 0.5) * scale - 0.5)

    def mismatch(self, from_picture: Tensor, from_xy: Tensor, to_picture: Tensor, to_xy: Tensor) -> Tensor:
        """How much two pictures differ at matching positions: (n, 1), mean over channels and the neighbourhood."""
        difference = self.read(from_picture, from_xy) - self.read(to_picture, to_xy)
        return self.smooth(difference.abs().mean(dim=-1, keepdim=True), _MISMATCH_BLUR_PX)

    def smooth(self, values: Tensor, sigma_px: float) -> Tensor:
        """Gaussian blur of (n, c) values over the grid; sigma in pixels of the full picture."""
        sigma = sigma_px * self.columns / self.width
        planes = values.T.reshape(1, -1, self.rows, self.columns)
        radius = min(int(3 * sigma) + 1, self.rows - 1, self.columns - 1)
        if radius < 1:
            return values
        return gaussian_blur(planes, [2 * radius + 1] * 2, [sigma] * 2)[0].flatten(1).T


class _Pair(NamedTuple):
    """The two frames of a gap at half their size (3, h, w), and the flows between them (2, h, w) in full pixels."""

    left: Tensor
    right: Tensor
    forward: Tensor
    backward: Tensor


def find_curves(frames: Tensor, t: Tensor, gaps: Sequence[Gap], cell: int, config: FlowConfig) -> Iterator[Curves]:
    """The starting curves of each gap, one at a time.

    Args:
        frames: (k, 3, h, w) keyframes.
        t: (k,) their instants in seconds.
        gaps: ordered by their left keyframe.
        cell: size of a cell of the result in pixels.
        config: settings of the flow.

    Yields:
        Curves with one row: (1, 6, h / cell, w / cell) and (1, 7, h / cell, w / cell), sizes rounded up.
    """
    store = FlowStore(frames, config)
    for gap in gaps:
        first = gap.left if gap.before is None else gap.before
        store.forget_before(first)
        yield _gap_curves(store, t, gap, cell)


def _gap_curves(store: FlowStore, t: Tensor, gap: Gap, cell: int) -> Curves:
    height, width = store.frames.shape[-2:]
    # Twice as fine as the result: flows are smooth, and the mean of four candidates is less noisy than one.
    rows, columns = 2 * -(-height // cell), 2 * -(-width // cell)
    uv = pixel_uv(rows, columns).reshape(-1, 2)
    grid = _Grid(uv_to_xy(uv, height, width), rows, columns, height, width)
    pair = _Pair(
        _halved(store.frames[gap.left]),
        _halved(store.frames[gap.right]),
        store.between(gap.left, gap.right),
        store.between(gap.right, gap.left),
    )
    bend = torch.zeros_like(grid.xy)
    for _ in range(_BEND_ROUNDS):
        velocity, doubt = _velocity(grid, pair, bend)
        left_xy, right_xy = grid.xy - velocity / 2 + bend / 4, grid.xy + velocity / 2 + bend / 4
        bend, twist, beyond = _outer(store, t, gap, grid, velocity, left_xy, right_xy)
    left_xy, right_xy = grid.xy - velocity / 2 + bend / 4, grid.xy + velocity / 2 + bend / 4
    evidence = _evidence(grid, pair, left_xy, right_xy, beyond, [doubt, bend])
    curve = torch.cat([velocity, bend, twist], dim=-1)

    def settle(values: Tensor) -> Tensor:
        planes = values.T.reshape(1, -1, rows, columns)
        return F.avg_pool2d(planes, 2)

    return Curves(spline_coefficients(settle(curve)), settle(evidence))


def _velocity(grid: _Grid, pair: _Pair, bend: Tensor) -> tuple[Tensor, Tensor]:
    """The velocity (n, 2) of each point of the grid, and how far apart the two sides' answers were (n, 2).

    Each side's flow is followed to the point by repeated substitution, along the bend known so far.
    """
    from_left = grid.read(pair.forward, grid.xy)
    from_right = -grid.read(pair.backward, grid.xy)
    for _ in range(_FIXED_POINT_STEPS):
        from_left = grid.read(pair.forward, grid.xy - from_left / 2 + bend / 4)
        from_right = -grid.read(pair.backward, grid.xy + from_right / 2 + bend / 4)
    costs = [
        grid.mismatch(pair.left, grid.xy - v / 2 + bend / 4, pair.right, grid.xy + v / 2 + bend / 4)
        for v in (from_left, from_right)
    ]
    say = torch.softmax(-torch.cat(costs, dim=-1) / _MISMATCH_SCALE, dim=-1)
    return say[:, :1] * from_left + say[:, 1:] * from_right, from_left - from_right


def _evidence(
    grid: _Grid,
    pair: _Pair,
    left_xy: Tensor,
    right_xy: Tensor,
    beyond: list[tuple[Tensor, Tensor] | None],
    doubts: list[Tensor],
) -> Tensor:
    """What speaks for and against each point (n, 7), about 0 to 1.

    Colour mismatch between the two sides, and between each side and the frame beyond it; how far a flow there and
    back misses its start, from each side; the lengths of the doubts.
    """
    agreement = grid.mismatch(pair.left, left_xy, pair.right, right_xy)
    mismatches = [agreement]
    for near, near_xy, far in ((pair.left, left_xy, beyond[0]), (pair.right, right_xy, beyond[1])):
        mismatches.append(agreement if far is None else grid.mismatch(near, near_xy, *far))
    turns = []
    for there, back, start in ((pair.forward, pair.backward, left_xy), (pair.backward, pair.forward, right_xy)):
        step = grid.read(there, start)
        turns.append(step + grid.read(back, start + step))
    lengths = [torch.log1p(q.square().sum(dim=-1, keepdim=True).sqrt()) / 2 for q in [*turns, *doubts]]
    return torch.cat([*(2 * mismatch.sqrt() for mismatch in mismatches), *lengths], dim=-1)


def _outer(
    store: FlowStore, t: Tensor, gap: Gap, grid: _Grid, velocity: Tensor, left_xy: Tensor, right_xy: Tensor
) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor] | None]]:
    """Bend and twist of the cubic through the positions in the outer frames, and where those positions are.

    Newton's form through tau = -1/2, 1/2 and the outer instants: the third-order term is (tau^2 - 1/4)(tau - outer).
    Where only one outer frame exists the curve is a parabola.
    """
    duration = float(t[gap.right] - t[gap.left])
    slopes: list[Tensor] = []
    reaches: list[float] = []
    beyond: list[tuple[Tensor, Tensor] | None] = []
    sides = ((gap.before, gap.left, left_xy, -1.0), (gap.after, gap.right, right_xy, 1.0))
    for outer, inner, inner_xy, direction in sides:
        if outer is None:
            beyond.append(None)
            continue
        step = grid.read(store.between(inner, outer), inner_xy)
        reach = abs(float(t[outer] - t[inner])) / duration
        # The divided difference over the gap and this neighbour, in units of the gap's length.
        slopes.append((step / reach - direction * velocity) / (1 + reach))
        reaches.append(reach)
        beyond.append((_halved(store.frames[outer]), inner_xy + step))
    nothing = torch.zeros_like(velocity)
    if not slopes:
        return nothing, nothing, beyond
    if len(slopes) == 1:
        return slopes[0], nothing, beyond
    twist = (slopes[1] - slopes[0]) / (1 + sum(reaches))
    return slopes[0] + twist * (0.5 + reaches[0]), twist, beyond


def _halved(frame: Tensor) -> Tensor:
    """A frame (3, h, w) at half its size, rounded up, as floats: colours are compared without their noise."""
    height, width = frame.shape[-2:]
    return F.interpolate(to_float(frame)[None], size=(-(-height // 2), -(-width // 2)), mode="area")[0]
