"""The motion field: from (u, v, t) to the matching positions in the keyframes on both sides, along curves.

In the gap between two keyframes each point rides on a cubic in the gap's own time tau, which is -1/2 at the left one
and 1/2 at the right one. A grid over space stores, for the point that is at p at tau = 0,

    P(tau) = p + v tau + a tau^2 + j (tau^3 - tau/4)

with velocity v, bend a and twist j in source pixels. The last term vanishes at both keyframes. A point asked for at x
and tau is first traced back to its p by the fixed point p = x - (P(tau) - p), so a whole gap shares one set of curves.

A small network reads evidence about each point (do the two sides agree? does each agree with the frame beyond?) and
says how far to trust the bend and which side sees the point. It starts neutral: full bend, both sides by nearness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vfield.coords import uv_to_xy
from vfield.errors import UserError
from vfield.field.latents import resize_grid, sample_bilinear, sample_grid

CURVE_CHANNELS = 6  # v, a, j, each x and y
EVIDENCE_CHANNELS = 7
_TRACE_STEPS = 2
# Visibility speaks in log-odds; this many make one side 400 times as likely as the other.
_MOST_ODDS = 6.0
_BORDER_ODDS = 3.0  # a pixel beyond the border
# Trust is learnt across gaps that hiding has doubled, where bends are less reliable than in the gaps asked about.
_LEARNT_CAUTION = 0.5


@dataclass(frozen=True)
class MotionConfig:
    """What moves.

    Attributes:
        enabled: False joins keyframes by fading in place.
        curved: False keeps trajectories straight.
        visibility: False weighs both sides by nearness in time alone.
        cell: size in source pixels of a cell of the starting curves.
        levels: cell sizes in source pixels of the learnt corrections to them; empty for none.
    """

    enabled: bool = True
    curved: bool = True
    visibility: bool = True
    cell: int = 4
    levels: tuple[int, ...] = (16, 64)

    def __post_init__(self) -> None:
        if self.cell < 1 or any(level < 1 for level in self.levels):
            raise UserError(
                "motion.cell and motion.levels are sizes in pixels, at least 1, "
                f"got {self.cell} and {list(self.levels)}"
            )


class Curves(NamedTuple):
    """The starting curves of some gaps, as `vfield.tracks` finds them.

    Attributes:
        coefficients: (g, 6, h, w), B-spline coefficients of v, a, j in source pixels.
        evidence: (g, 7, h, w), about 0 to 1.
    """

    coefficients: Tensor
    evidence: Tensor

    @staticmethod
    def empty(rows: int, columns: int) -> Curves:
        """Curves of no gaps at all, on a grid of rows x columns cells."""
        return Curves(torch.zeros(0, CURVE_CHANNELS, rows, columns), torch.zeros(0, EVIDENCE_CHANNELS, rows, columns))


class Match(NamedTuple):
    """Where points of one gap lie in its two keyframes.

    Attributes:
        left_uv, right_uv: (n, 2).
        evidence: (n, 7).
    """

    left_uv: Tensor
    right_uv: Tensor
    evidence: Tensor


def displacement(curve: Tensor, tau: Tensor) -> Tensor:
    """P(tau) - p in pixels: curve (n, 6), tau (n, 1) -> (n, 2)."""
    v, a, j = curve.split(2, dim=-1)
    return v * tau + a * tau**2 + j * (tau**3 - tau / 4)


class MotionField(nn.Module):
    """Curves for every gap: fixed starting grids, learnt corrections at several resolutions, and their evidence."""

    coefficients: Tensor
    evidence: Tensor

    def __init__(self, config: MotionConfig, curves: Curves, height: int, width: int) -> None:
        super().__init__()
        self.config = config
        self.size = (height, width)
        self.register_buffer("coefficients", curves.coefficients)
        self.register_buffer("evidence", curves.evidence)
        gaps = len(curves.coefficients)
        # Corrections of velocity and bend; the twist is too small to be worth a channel.
        self.levels = nn.ParameterList(
            nn.Parameter(torch.zeros(gaps, 4, -(-height // cell), -(-width // cell))) for cell in config.levels
        )
        self.trust = _neutral_network(EVIDENCE_CHANNELS)

    def match(self, gap: int, uv: Tensor, alpha: Tensor, hidden: Curves | None = None) -> Match:
        """Follow points to both keyframes of a gap.

        Args:
            gap: row of the grids.
            uv: (n, 2) positions at the instant asked for.
            alpha: (n,) instant within the gap, 0 at the left keyframe and 1 at the right.
            hidden: read these curves instead of the field's own; they have no learnt corrections.
        """
        pixels = uv.new_tensor([self.size[1], self.size[0]])
        tau = (alpha - 0.5)[:, None]
        caution = _LEARNT_CAUTION if hidden is None else 1.0
        if hidden is None:
            grid, evidence = self._corrected(gap), self.evidence[gap]
        else:
            grid, evidence = hidden.coefficients[gap], hidden.evidence[gap]
        p = uv
        if not bool((tau == 0).all()):
            # Where the curve starts is found first and then held: its gradient would only repeat the curve's own.
            with torch.no_grad():
                for _ in range(_TRACE_STEPS):
                    curve, _ = self._curve(grid, evidence, p, caution)
                    p = uv - displacement(curve, tau) / pixels
        curve, clues = self._curve(grid, evidence, p, caution)
        here = displacement(curve, tau)
        half = torch.full_like(tau, 0.5)
        left = uv + (displacement(curve, -half) - here) / pixels
        right = uv + (displacement(curve, half) - here) / pixels
        return Match(left, right, clues)

    def _corrected(self, gap: int) -> Tensor:
        """The gap's starting grid with the learnt corrections laid over it: (6, h, w), so that one read finds both."""
        grid = self.coefficients[gap]
        for level in self.levels:
            change = resize_grid(level[gap], grid.shape[-2], grid.shape[-1])
            grid = torch.cat([grid[:4] + change, grid[4:]])
        return grid

    def _curve(self, grid: Tensor, evidence: Tensor, uv: Tensor, caution: float) -> tuple[Tensor, Tensor]:
        """Curve (n, 6) and evidence (n, 7) of the points that are at uv at the middle of the gap."""
        xy = uv_to_xy(uv, *grid.shape[-2:])
        curve = sample_grid(grid, xy)
        clues = sample_bilinear(evidence, xy)
        if not self.config.curved:
            return torch.cat([curve[:, :2], torch.zeros_like(curve[:, 2:])], dim=-1), clues
        trust = 2 * torch.sigmoid(caution * self.trust(clues))
        return torch.cat([curve[:, :2], curve[:, 2:] * trust], dim=-1), clues


class Visibility(nn.Module):
    """Which side sees a point: log-odds for the right keyframe over the left one, beyond nearness in time.

    What lies outside a keyframe's picture was not seen there, which is known from the start. The rest is learnt, from
    the evidence and from how much the two colours differ.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)
        self.network = _neutral_network(EVIDENCE_CHANNELS + 4)

    def forward(self, match: Match, difference: Tensor, alpha: Tensor) -> Tensor:
        """(n,) log-odds, bounded, or an extreme view would swallow the whole gap and pop at its ends.

        Args:
            match: where the points are in both keyframes.
            difference: (n, 3) right minus left colour.
            alpha: (n,) instant within the gap.
        """
        pixels = difference.new_tensor([self.size[1], self.size[0]])

        def outside(uv: Tensor) -> Tensor:
            return ((uv - uv.clamp(0, 1)) * pixels).norm(dim=-1)

        border = _BORDER_ODDS * (outside(match.left_uv) - outside(match.right_uv)).detach()
        seen = self.network(torch.cat([match.evidence, difference.abs(), (alpha - 0.5)[:, None]], dim=-1))[:, 0]
        return (border + _MOST_ODDS * torch.tanh(seen / _MOST_ODDS)).clamp(-_MOST_ODDS, _MOST_ODDS)


def _neutral_network(inputs: int) -> nn.Sequential:
    """A small network of one output that says zero to everything until it has learnt better."""
    last = nn.Linear(16, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), last)
