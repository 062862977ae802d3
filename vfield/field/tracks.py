"""Starting curves for the motion field: classical flows, carried to the in-between instant and chained.

For a gap between frames A and B with neighbours A- and B+ (Newton's differences when the spacing is uneven):

1. Flow belongs to the frame it starts in. For a point p at the middle of the gap the fixed point
   v = f_AB(p - v/2) carries it there from A, and v = -f_BA(p + v/2) from B; the two are mixed by how well the
   colours at their ends agree.
2. From the ends the outer flows lead on to A- and B+. The cubic through the four positions bends the path; with even
   spacing both ends move by (v_after - v_before) / 16.
3. What is covered in A or in B has no such path, but B still knows it together with B+: v = f_BB+(p + v/2), if things
   went on as they do from B on, and likewise A with A-. Where no point of a side arrives there is no fixed point, and
   the iteration does not settle: a hole, which is evidence in itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vfield.core.clip import to_float
from vfield.core.coords import pixel_uv, uv_to_xy
from vfield.core.frames import Frames
from vfield.core.splines import sample_bilinear, spline_coefficients
from vfield.field.latents import Recent
from vfield.field.motion import CURVE_CHANNELS, EVIDENCE_CHANNELS, LONE_CHANNELS, Curves
from vfield.field.timeline import Gap
from vfield.prepare.config import FlowConfig
from vfield.prepare.flow import dense_flow

_FIXED_POINT_STEPS = 6
_LONE_STEPS = 10
_NO_NEIGHBOUR_PX = 20.0  # how far from settled a side counts as that has no frame beyond it
_BEND_ROUNDS = 2  # the ends of a bent path lie elsewhere, so flows are read there once more
_MISMATCH_BLUR_PX = 2.5
_KEPT_FLOWS = 8  # a gap asks for four, of which those beside it ask for some again
_KEPT_HALVES = 6
_KEPT_BYTES = 32 << 20  # of curves
_MISMATCH_SCALE = 2 / 255  # mismatch that divides a candidate's say by e


class FlowStore:
    """Flows between frames, found when first asked for; those used last are kept, for the gaps beside a gap."""

    def __init__(self, frames: Frames, config: FlowConfig) -> None:
        self.frames = frames
        self.config = config
        self._flows: Recent[Tensor] = Recent(lambda _: 1)
        self._halves: Recent[Tensor] = Recent(lambda _: 1)

    def between(self, source: int, target: int) -> Tensor:
        """Flow (2, h, w) in pixels from one frame to another."""
        return self._flows.get(
            (source, target),
            _KEPT_FLOWS,
            lambda: dense_flow(self.frames[source], self.frames[target], self.config),
        )

    def half(self, frame: int) -> Tensor:
        """A frame (3, h, w) at half its size, rounded up, as floats: colours are compared without their noise."""

        def made() -> Tensor:
            picture = to_float(self.frames[frame])
            size = [-(-side // 2) for side in picture.shape[-2:]]
            return F.interpolate(picture[None], size=size, mode="area")[0]

        return self._halves.get((frame,), _KEPT_HALVES, made)


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
        return self.smooth(_apart(self.read(from_picture, from_xy), self.read(to_picture, to_xy)), _MISMATCH_BLUR_PX)

    def smooth(self, values: Tensor, sigma_px: float) -> Tensor:
        """Gaussian blur of (n, c) values over the grid; sigma in pixels of the full picture."""
        sigma = sigma_px * self.columns / self.width
        planes = values.T.reshape(-1, 1, self.rows, self.columns)
        radius = min(int(3 * sigma) + 1, self.rows - 1, self.columns - 1)
        if radius < 1:
            return values
        # torchvision's blur does the same, and to load it takes 170 MB and two seconds, which rendering does without.
        weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=values.device) / sigma) ** 2)
        weights = (weights / weights.sum())[None, None, None]
        padded = F.pad(planes, [radius] * 4, mode="reflect")
        return F.conv2d(F.conv2d(padded, weights), weights.mT)[:, 0].flatten(1).T


class _Pair(NamedTuple):
    """The two frames of a gap at half their size (3, h, w), and the flows between them (2, h, w) in full pixels."""

    left: Tensor
    right: Tensor
    forward: Tensor
    backward: Tensor


class _Joint(NamedTuple):
    """The motion that joins both sides.

    Attributes:
        velocity, bend: (n, 2) pixels.
        beyond: the frames beyond the left and the right one at half their size, and where the curve leads in them.
    """

    velocity: Tensor
    bend: Tensor
    beyond: list[tuple[Tensor, Tensor] | None]


class _Side(NamedTuple):
    """What one keyframe knows on its own.

    Attributes:
        near: the keyframe at half its size.
        direction: -1 for the left one, 1 for the right one.
        velocity: (n, 2) pixels a gap.
        unsettled: (n, 1) pixels by which the last step of the fixed point still moved.
        far: the frame beyond it at half its size.
        reach: how far beyond, in gaps.
    """

    near: Tensor
    direction: float
    velocity: Tensor
    unsettled: Tensor
    far: Tensor | None
    reach: float


def find_curves(
    frames: Frames, t: Tensor, gaps: Sequence[Gap], cell: int, config: FlowConfig, *, views: bool = True
) -> Iterator[Curves]:
    """The starting curves of each gap, one at a time.

    Args:
        frames: k keyframes of (3, h, w).
        t: (k,) their instants in seconds.
        gaps: ordered by their left keyframe.
        cell: size of a cell of the result in pixels.
        config: settings of the flow.
        views: False leaves out what only a choice of views needs, velocities of single sides and evidence: they are 0.

    Yields:
        Curves with one row, on a grid of (h / cell, w / cell), rounded up.
    """
    store = FlowStore(frames, config)
    for gap in gaps:
        yield _gap_curves(store, t, gap, cell, views)


class AskedCurves:
    """The starting curves of a clip's gaps, each found when it is asked for; those used last are kept.

    Safe to ask from several threads. Where gaps are asked for in order, forward or backward, the next one is found
    ahead, in a thread.

    Attributes:
        config: settings of the flow.
    """

    def __init__(
        self,
        frames: Frames,
        t: Tensor,
        gaps: Sequence[Gap],
        cell: int,
        config: FlowConfig,
        *,
        views: bool = True,
        kept_bytes: int = _KEPT_BYTES,
        least_kept: int = 3,
    ) -> None:
        """Hold what is needed to find them; the arguments are those of `find_curves`.

        Args:
            frames: likewise.
            t: likewise.
            gaps: likewise.
            cell: likewise.
            config: likewise.
            views: likewise.
            kept_bytes: bound of the memory for what is kept.
            least_kept: gaps that are kept in any case.
        """
        self.config = config
        self._store = FlowStore(frames, config)
        self._t, self._gaps, self._cell, self._views = t, list(gaps), cell, views
        rows, columns = (-(-side // cell) for side in frames.shape[-2:])
        a_gap = rows * columns * (4 * (CURVE_CHANNELS + LONE_CHANNELS) + 2 * EVIDENCE_CHANNELS)
        self._room = max(least_kept, kept_bytes // a_gap)
        self._found: OrderedDict[int, Future[Curves]] = OrderedDict()
        # For what is kept, and for finding: neighbouring gaps share flows, so one is found at a time.
        self._keeping, self._finding = Lock(), Lock()
        self._last_asked = -2
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="motion")

    def __len__(self) -> int:
        return len(self._gaps)

    def gap(self, number: int) -> Curves:
        """The curves of one gap, without the first axis of `Curves`."""
        step = number - self._last_asked
        self._last_asked = number
        found = self._kept(number)
        following = number + step
        if step in (-1, 1) and 0 <= following < len(self._gaps) and following not in self._found:
            self._ahead.submit(self._kept, following)
        return found

    def _kept(self, number: int) -> Curves:
        with self._keeping:
            future = self._found.get(number)
            is_mine = future is None
            if future is None:
                future = self._found[number] = Future()
            self._found.move_to_end(number)
            while len(self._found) > self._room:
                self._found.popitem(last=False)
        if is_mine:
            try:
                with self._finding, torch.inference_mode(False), torch.no_grad():
                    curves = _gap_curves(self._store, self._t, self._gaps[number], self._cell, self._views)
                future.set_result(curves.gap(0))
            except BaseException as error:
                # Not kept: who asks again finds out again, and is told.
                with self._keeping:
                    self._found.pop(number, None)
                future.set_exception(error)
        return future.result()


def _gap_curves(store: FlowStore, t: Tensor, gap: Gap, cell: int, views: bool) -> Curves:
    height, width = store.frames.shape[-2:]
    # Twice as fine as the result: flows are smooth, and the mean of four candidates is less noisy than one.
    rows, columns = 2 * -(-height // cell), 2 * -(-width // cell)
    uv = pixel_uv(rows, columns).reshape(-1, 2)
    grid = _Grid(uv_to_xy(uv, height, width), rows, columns, height, width)
    pair = _Pair(
        store.half(gap.left),
        store.half(gap.right),
        store.between(gap.left, gap.right),
        store.between(gap.right, gap.left),
    )
    bend = torch.zeros_like(grid.xy)
    for _ in range(_BEND_ROUNDS):
        velocity = _velocity(grid, pair, bend)
        left_xy, right_xy = grid.xy - velocity / 2 + bend / 4, grid.xy + velocity / 2 + bend / 4
        bend, twist, beyond = _outer(store, t, gap, grid, velocity, left_xy, right_xy)
    curve = torch.cat([velocity, bend, twist], dim=-1)
    lone, evidence = torch.zeros_like(curve[:, :LONE_CHANNELS]), curve.new_zeros(len(curve), EVIDENCE_CHANNELS)
    if views:
        sides = _sides(store, t, gap, grid, pair, velocity)
        lone = torch.cat([side.velocity for side in sides], dim=-1)
        evidence = _evidence(grid, pair, _Joint(velocity, bend, beyond), sides)

    def settle(values: Tensor) -> Tensor:
        planes = values.T.reshape(1, -1, rows, columns)
        return F.avg_pool2d(planes, 2)

    return Curves(spline_coefficients(settle(curve)), settle(lone), settle(evidence).half())


def _velocity(grid: _Grid, pair: _Pair, bend: Tensor) -> Tensor:
    """The velocity (n, 2) of each point of the grid.

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
    return say[:, :1] * from_left + say[:, 1:] * from_right


def _sides(store: FlowStore, t: Tensor, gap: Gap, grid: _Grid, pair: _Pair, velocity: Tensor) -> list[_Side]:
    """What the left keyframe, then the right one, knows of each point on its own."""
    duration = float(t[gap.right] - t[gap.left])
    sides = []
    for inner, outer, near, direction in (
        (gap.left, gap.before, pair.left, -1.0),
        (gap.right, gap.after, pair.right, 1.0),
    ):
        if outer is None:
            unsettled = torch.full_like(velocity[:, :1], _NO_NEIGHBOUR_PX)
            sides.append(_Side(near, direction, velocity, unsettled, None, 0.0))
            continue
        reach = abs(float(t[outer] - t[inner])) / duration
        flow = store.between(inner, outer) * (direction / reach)
        own = last = grid.read(flow, grid.xy)
        for _ in range(_LONE_STEPS):
            last, own = own, grid.read(flow, grid.xy + direction * own / 2)
        unsettled = (own - last).norm(dim=-1, keepdim=True).clamp(max=_NO_NEIGHBOUR_PX)
        sides.append(_Side(near, direction, own, unsettled, store.half(outer), reach))
    return sides


def _evidence(grid: _Grid, pair: _Pair, joint: _Joint, sides: list[_Side]) -> Tensor:
    """What speaks for and against each view of each point (n, 22), about 0 to 6.

    Logarithms of grey levels, or of thirds of pixels, neighbourhoods as widths of a Gaussian in pixels. For both sides:
    the mismatch along the curve at three widths and along the straight path, and of the sides' own views; the lengths
    of bend and velocity; the contrast. For each side: how far from settled its own motion is, there and around; its
    mismatch with the frame beyond, along its own motion and along the curve; how its own view differs from the one
    along the curve, in colour and in velocity; how far a flow there and back misses its start.
    """
    velocity, bend, beyond = joint
    left_xy, right_xy = grid.xy - velocity / 2 + bend / 4, grid.xy + velocity / 2 + bend / 4
    left, right = grid.read(pair.left, left_xy), grid.read(pair.right, right_xy)
    apart = _apart(left, right)
    straight = _apart(grid.read(pair.left, grid.xy - velocity / 2), grid.read(pair.right, grid.xy + velocity / 2))
    lone_xy = [grid.xy + side.direction * side.velocity / 2 for side in sides]
    lone = [grid.read(side.near, xy) for side, xy in zip(sides, lone_xy, strict=True)]
    mean = (left + right) / 2
    levels = [
        *(grid.smooth(apart, sigma) for sigma in (1.5, 4.0, 10.0)),
        grid.smooth(straight, 2.5),
        grid.smooth(_apart(*lone), 3.0),
        2 * grid.smooth(_apart(mean, grid.smooth(mean, 2.0)), 3.0),
    ]
    common = [torch.log1p(255 * level) for level in levels]
    common += [torch.log1p(3 * _length(bend)), torch.log1p(_length(velocity))]
    own: list[Tensor] = []
    flows = ((pair.forward, pair.backward, left_xy, left), (pair.backward, pair.forward, right_xy, right))
    for side, xy, view, far, (there, back, start, joint_view) in zip(sides, lone_xy, lone, beyond, flows, strict=True):
        along = grid.smooth(apart if far is None else _apart(joint_view, grid.read(*far)), 2.0)
        alone = along
        if side.far is not None:
            alone = grid.smooth(
                _apart(view, grid.read(side.far, xy + side.direction * side.reach * side.velocity)), 2.0
            )
        step = grid.read(there, start)
        turn = step + grid.read(back, start + step)
        levels = [alone, along, grid.smooth(_apart(view, joint_view), 3.0)]
        lengths = [side.unsettled, grid.smooth(side.unsettled, 3.0), _length(side.velocity - velocity), _length(turn)]
        own += [torch.log1p(255 * level) for level in levels] + [torch.log1p(3 * length) for length in lengths]
    return torch.cat([*common, *own], dim=-1)


def _apart(one: Tensor, other: Tensor) -> Tensor:
    """Mean absolute difference over channels: (n, c), (n, c) -> (n, 1)."""
    return (one - other).abs().mean(dim=-1, keepdim=True)


def _length(vectors: Tensor) -> Tensor:
    """(n, 2) -> (n, 1)."""
    return vectors.norm(dim=-1, keepdim=True)


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
        beyond.append((store.half(outer), inner_xy + step))
    nothing = torch.zeros_like(velocity)
    if not slopes:
        return nothing, nothing, beyond
    if len(slopes) == 1:
        return slopes[0], nothing, beyond
    twist = (slopes[1] - slopes[0]) / (1 + sum(reaches))
    return slopes[0] + twist * (0.5 + reaches[0]), twist, beyond
