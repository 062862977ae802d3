"""Fourier features of (u, v, t): what lets a small MLP see fine detail.

A coordinate MLP learns low frequencies first and may never reach the high ones (spectral bias). In the neural tangent
kernel picture its kernel is a smooth function of the inputs with fast falling eigenvalues; mapping the inputs through

    gamma(p) = [cos(2 pi B p), sin(2 pi B p)]

makes the kernel stationary, with a bandwidth that B sets (Tancik et al., "Fourier Features Let Networks Learn High
Frequency Functions in Low Dimensional Domains", 2020, equation 5).

The features know the footprint: the mean of cos(2 pi b.p) over a box of sides w is cos(2 pi b.p) prod_i sinc(b_i w_i),
so a coarse query is filtered in closed form instead of aliased.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vfield.coords import Footprint
from vfield.errors import UserError


@dataclass(frozen=True)
class FourierConfig:
    """Which features.

    Attributes:
        kind: "none" (the coordinates themselves), "basic" (one wave an axis), "positional" (log-spaced waves an axis)
            or "gaussian" (random directions).
        count: number of frequencies for "gaussian"; per axis for "positional".
        space_bandwidth: cycles across the picture: standard deviation for "gaussian", the highest for "positional".
        time_bandwidth: likewise, cycles over the whole clip. Time wants much less than space.
    """

    kind: Literal["none", "basic", "positional", "gaussian"] = "gaussian"
    count: int = 8
    space_bandwidth: float = 2.0
    time_bandwidth: float = 0.5

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"fourier.count must be at least 1, got {self.count}")
        if self.space_bandwidth < 0 or self.time_bandwidth < 0:
            raise UserError(
                "fourier bandwidths must not be negative, got "
                f"space_bandwidth={self.space_bandwidth}, time_bandwidth={self.time_bandwidth}"
            )


def frequencies(config: FourierConfig, generator: torch.Generator) -> Tensor:
    """The matrix B: (m, 3), cycles per unit of u, of v and of the clip's duration."""
    axes = torch.eye(3)
    scale = torch.tensor([config.space_bandwidth, config.space_bandwidth, config.time_bandwidth])
    if config.kind == "none":
        return torch.zeros(0, 3)
    if config.kind == "basic":
        return axes
    if config.kind == "positional":
        exponents = torch.arange(config.count) / max(config.count - 1, 1)
        # From one cycle up to the bandwidth, evenly in the logarithm, each axis on its own.
        bands = torch.stack([s.clamp(min=1.0) ** exponents for s in scale], dim=-1)
        return (bands[:, None, :] * axes[None]).reshape(-1, 3)
    return torch.randn(config.count, 3, generator=generator) * scale


class FourierFeatures(nn.Module):
    """(n, 3) uvt -> (n, `width`) features."""

    matrix: Tensor

    def __init__(self, config: FourierConfig, duration_seconds: float, generator: torch.Generator) -> None:
        super().__init__()
        self.duration_seconds = max(duration_seconds, 1e-6)
        self.register_buffer("matrix", frequencies(config, generator))
        self.width = 2 * len(self.matrix) or 3

    def for_duration(self, duration_seconds: float) -> FourierFeatures:
        """The same features for a clip of another length, which they divide as they do this one's."""
        other = copy.copy(self)
        other.duration_seconds = max(duration_seconds, 1e-6)
        return other

    def forward(self, uvt: Tensor, footprint: Footprint) -> Tensor:
        """Features averaged over the footprint.

        Args:
            uvt: (n, 3), t in seconds since the first frame.
            footprint: the box that each point stands for.

        Returns:
            (n, width): cosines then sines; for kind "none" the coordinates, each about -1 to 1.
        """
        p = uvt / uvt.new_tensor([1.0, 1.0, self.duration_seconds])
        if len(self.matrix) == 0:
            return 2 * p - 1
        box = uvt.new_tensor([footprint.du, footprint.dv, footprint.dt / self.duration_seconds])
        damping = torch.sinc(self.matrix * box).prod(dim=-1)
        phase = 2 * math.pi * p @ self.matrix.T
        return torch.cat([phase.cos() * damping, phase.sin() * damping], dim=-1)
