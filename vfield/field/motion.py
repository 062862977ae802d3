"""The motion field: from (u, v, t) to the matching positions in the keyframes on both sides, along curves.

In the gap between two keyframes each point rides on a cubic in the gap's own time tau, which is -1/2 at the left one
and 1/2 at the right one. A grid over space stores, for the point that is at p at tau = 0,

    P(tau) = p + v tau + a tau^2 + j (tau^3 - tau/4)

with velocity v, bend a and twist j in source pixels. The last term vanishes at both keyframes. A point asked for at x
and tau is first traced back to its p by the fixed point p = x - (P(tau) - p), so a whole gap shares one set of curves.

Where something is covered in one of the keyframes no curve joins the two. So each point has four *views*: the two
keyframes along the curve, and each keyframe along the motion that it alone knows of, from the frame beyond it. Which
of them show the point is learnt from evidence: do the sides agree? does each agree with the frame beyond? does any
point of a side arrive here at all?
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from vfield.core.coords import uv_to_xy
from vfield.core.splines import sample_bilinear, sample_grid
from vfield.field.config import MotionConfig

CURVE_CHANNELS = 6  # v, a, j, each x and y
LONE_CHANNELS = 4  # velocity from the left, velocity from the right
COMMON_EVIDENCE = 8
SIDE_EVIDENCE = 7
EVIDENCE_CHANNELS = COMMON_EVIDENCE + 2 * SIDE_EVIDENCE
_TRACE_STEPS = 2
_MIDDLE = 1e-5  # of a gap: times are float32
# Views speak in log-odds, each at most this much for or against itself: a factor of 400.
_MOST_ODDS = 6.0
_BORDER_ODDS = 3.0  # a pixel beyond the border
_LONE_ODDS = -3.0  # a keyframe on its own is the exception


class GapCurves(Protocol):
    """The curves of a clip's gaps by their number: found before, or when they are asked for."""

    def gap(self, number: int, /) -> Curves:
        """Those of one gap, without the first axis of `Curves`."""


class Curves(NamedTuple):
    """The curves of some gaps, as `vfield.field.tracks` finds them.

    Attributes:
        coefficients: (g, 6, h, w), B-spline coefficients of v, a, j in source pixels.
        lone: (g, 4, h, w), velocities in source pixels a gap that the left keyframe alone and the right one alone
            know of, each x and y.
        evidence: (g, 22, h, w) float16, about 0 to 6: what concerns both sides, then the left, then the right.
    """

    coefficients: Tensor
    lone: Tensor
    evidence: Tensor

    @staticmethod
    def empty(rows: int, columns: int) -> Curves:
        """Curves of no gaps at all, on a grid of rows x columns cells."""
        return Curves(
            torch.zeros(0, CURVE_CHANNELS, rows, columns),
            torch.zeros(0, LONE_CHANNELS, rows, columns),
            torch.zeros(0, EVIDENCE_CHANNELS, rows, columns, dtype=torch.float16),
        )

    def gap(self, number: int) -> Curves:
        """See `GapCurves`."""
        return Curves(*(grids[number] for grids in self))


class Match(NamedTuple):
    """Where points of one gap lie in its two keyframes.

    Attributes:
        left_uv, right_uv: (n, 2), along the curve.
        lone_left_uv, lone_right_uv: (n, 2), along the motion that this keyframe alone knows of.
        evidence: (n, 22).
    """

    left_uv: Tensor
    right_uv: Tensor
    lone_left_uv: Tensor
    lone_right_uv: Tensor
    evidence: Tensor


def displacement(curve: Tensor, tau: Tensor) -> Tensor:
    """P(tau) - p in pixels: curve (n, 6), tau (n, 1) -> (n, 2)."""
    v, a, j = curve.split(2, dim=-1)
    return v * tau + a * tau**2 + j * (tau**3 - tau / 4)


class MotionField(nn.Module):
    """Curves for every gap, and their evidence; nothing of it is learnt."""

    _anchor: Tensor

    def __init__(self, config: MotionConfig, curves: GapCurves, height: int, width: int) -> None:
        super().__init__()
        self.config = config
        self.size = (height, width)
        self.source = curves
        # Tells on which device, and in which precision, to answer.
        self.register_buffer("_anchor", torch.empty(0), persistent=False)

    def curves(self, gap: int) -> Curves:
        """The curves of one gap, where the field lies, in its precision but for the evidence."""
        found = self.source.gap(gap)
        coefficients, lone = found.coefficients.to(self._anchor), found.lone.to(self._anchor)
        return Curves(coefficients, lone, found.evidence.to(self._anchor.device))

    def speed(self, gap: int) -> float:
        """Mean size of the motion in a gap, source pixels a gap, x and y each."""
        return float(self.source.gap(gap).coefficients[:2].abs().mean())

    def match(self, gap: int, uv: Tensor, fraction: Tensor) -> Match:
        """Follow points to both keyframes of a gap.

        Args:
            gap: row of the grids.
            uv: (n, 2) positions at the instant asked for.
            fraction: (n,) instant within the gap, 0 at the left keyframe and 1 at the right.
        """
        pixels = uv.new_tensor([self.size[1], self.size[0]])
        tau = (fraction - 0.5)[:, None]
        curves = self.curves(gap)
        grid = curves.coefficients
        p = uv
        if _moved(tau):
            # Where the curve starts is found first and then held: its gradient would only repeat the curve's own.
            with torch.no_grad():
                for _ in range(_TRACE_STEPS):
                    p = uv - displacement(self._curve(grid, p), tau) / pixels
        curve = self._curve(grid, p)
        here = displacement(curve, tau)
        half = torch.full_like(tau, 0.5)
        left = uv + (displacement(curve, -half) - here) / pixels
        right = uv + (displacement(curve, half) - here) / pixels
        if not self.config.visibility:
            return Match(left, right, left, right, uv.new_zeros(len(uv), EVIDENCE_CHANNELS))
        evidence = curves.evidence.to(uv.dtype)
        clues = sample_bilinear(evidence, uv_to_xy(p, *evidence.shape[-2:]))
        lone_left = uv - (half + tau) * self._lone(curves.lone[:2], uv, tau) / pixels
        lone_right = uv + (half - tau) * self._lone(curves.lone[2:], uv, tau) / pixels
        return Match(left, right, lone_left, lone_right, clues)

    def _curve(self, grid: Tensor, uv: Tensor) -> Tensor:
        """Curve (n, 6) of the points that are at uv at the middle of the gap."""
        curve = sample_grid(grid, uv_to_xy(uv, *grid.shape[-2:]))
        if not self.config.curved:
            return torch.cat([curve[:, :2], torch.zeros_like(curve[:, 2:])], dim=-1)
        return curve

    def _lone(self, grid: Tensor, uv: Tensor, tau: Tensor) -> Tensor:
        """The velocity (n, 2) in pixels that one keyframe alone knows of, of the points at uv at instant tau."""
        pixels = uv.new_tensor([self.size[1], self.size[0]])
        velocity = sample_bilinear(grid, uv_to_xy(uv, *grid.shape[-2:]))
        if _moved(tau):
            for _ in range(_TRACE_STEPS):
                velocity = sample_bilinear(grid, uv_to_xy(uv - tau * velocity / pixels, *grid.shape[-2:]))
        return velocity


class Visibility(nn.Module):
    """Which views show a point: their shares of its colour.

    Each is near in time or not. What lies outside a keyframe's picture was not seen there, and a keyframe on its own
    is the exception: both are known from the start. The rest is learnt, from the evidence and from how much the
    colours differ. One network serves both sides, so that a clip and its reverse are judged alike.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)
        side = SIDE_EVIDENCE + 2
        # What it says is zero until it has learnt better.
        last = nn.Linear(32, 2)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Linear(COMMON_EVIDENCE + 2 + 2 * side, 32), nn.ReLU(), last)

    @property
    def last(self) -> nn.Linear:
        """The network's last layer. Held only there: a file of weights has room for each once."""
        layer = self.network[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, match: Match, colours: Sequence[Tensor], fraction: Tensor) -> Tensor:
        """Shares (n, 4) of the views, left and right along the curve, then each alone; they sum to 1.

        Args:
            match: where the points are in both keyframes.
            colours: what the four views show, (n, 3) each.
            fraction: (n,) instant within the gap, in (0, 1).
        """
        left, right, lone_left, lone_right = colours
        common, of_left, of_right = split_evidence(match.evidence)
        outside = [self._outside(uv) for uv in match[:4]]
        common = torch.cat([common, _contrast(left, right), _contrast(lone_left, lone_right)], dim=-1)
        of_left = torch.cat([of_left, _contrast(left, lone_left), torch.log1p(3 * outside[0])], dim=-1)
        of_right = torch.cat([of_right, _contrast(right, lone_right), torch.log1p(3 * outside[1])], dim=-1)
        said_left = self.network(torch.cat([common, of_left, of_right], dim=-1))
        said_right = self.network(torch.cat([common, of_right, of_left], dim=-1))
        said = torch.stack([said_left[:, 0], said_right[:, 0], said_left[:, 1], said_right[:, 1]], dim=-1)
        # Bounded, or an extreme view would swallow the whole gap and pop at its ends.
        odds = _MOST_ODDS * torch.tanh(said / _MOST_ODDS)
        border = (_BORDER_ODDS * torch.cat(outside, dim=-1)).clamp(max=_MOST_ODDS)
        near = torch.stack([torch.log1p(-fraction), torch.log(fraction)] * 2, dim=-1)
        lone = odds.new_tensor([0.0, 0.0, _LONE_ODDS, _LONE_ODDS])
        return torch.softmax(odds - border + near + lone, dim=-1)

    def resized(self, height: int, width: int) -> Visibility:
        """The same network for pictures of another size."""
        other = copy.copy(self)
        other.size = (height, width)
        return other

    def _outside(self, uv: Tensor) -> Tensor:
        """How far points (n, 2) lie beyond the picture's border, (n, 1) in pixels, at most 10."""
        pixels = uv.new_tensor([self.size[1], self.size[0]])
        return ((uv - uv.clamp(0, 1)) * pixels).norm(dim=-1, keepdim=True).clamp(max=10).detach()


def _moved(tau: Tensor) -> bool:
    """Whether any point is asked for away from the middle of its gap, where curves are anchored, beyond rounding."""
    return bool((tau.abs() > _MIDDLE).any())


def split_evidence(evidence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What concerns both sides (n, 8), the left (n, 7) and the right (n, 7)."""
    common, left, right = evidence.split([COMMON_EVIDENCE, SIDE_EVIDENCE, SIDE_EVIDENCE], dim=-1)
    return common, left, right


def _contrast(one: Tensor, other: Tensor) -> Tensor:
    """How much two colours (n, 3) differ, (n, 1), on evidence's scale."""
    return torch.log1p(255 * (one - other).abs().mean(dim=-1, keepdim=True))
