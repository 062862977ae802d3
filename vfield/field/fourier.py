"""Fourier features of (u, v, t): what lets a small MLP see fine detail.

A coordinate MLP learns low frequencies first and may never reach the high ones (spectral bias; Rahaman et al., "On the
Spectral Bias of Neural Networks", 2019). In the neural tangent kernel picture its kernel is a smooth function of the
inputs with fast falling eigenvalues; mapping the inputs through

    gamma(p) = [cos(2 pi B p), sin(2 pi B p)]

makes the kernel stationary, with a bandwidth that B sets (Tancik et al., "Fourier Features Let Networks Learn High
Frequency Functions in Low Dimensional Domains", 2020, equation 5). The rows of B, with s_i the bandwidth of axis i:

    none         no rows: gamma(p) is p itself
    basic        e_i, one wave an axis
    positional   s_i^(j / (m - 1)) e_i for j = 0 .. m - 1, log-spaced up to the bandwidth
    Gaussian     (b_u, b_v, b_t) with b_i ~ N(0, s_i^2)

The features know the footprint: the mean of cos(2 pi b.p) over a box of sides w is cos(2 pi b.p) prod_i sinc(b_i w_i),
so a coarse query is filtered in closed form instead of aliased. The mean of p over the box is p.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from vfield.core.coords import Footprint
from vfield.field.config import FourierConfig


def frequencies(config: FourierConfig, generator: torch.Generator) -> Tensor:
    """The matrix B: (m, 3), cycles per unit of u, of v and of the clip's duration."""
    scale = torch.tensor(config.bandwidths)
    axes = torch.eye(3)[scale > 0]
    if config.kind == "none":
        return torch.zeros(0, 3)
    if config.kind == "basic":
        return axes
    if config.kind == "positional":
        exponents = torch.arange(config.count) / max(config.count - 1, 1)
        # From one cycle up to the bandwidth, evenly in the logarithm, each axis on its own.
        bands = torch.stack([s.clamp(min=1.0) ** exponents for s in scale[scale > 0]], dim=-1)
        return (bands[:, :, None] * axes[None]).reshape(-1, 3)
    return torch.randn(config.count, 3, generator=generator) * scale


class FourierFeatures(nn.Module):
    """(n, 3) uvt -> (n, `width`) features."""

    matrix: Tensor

    def __init__(self, config: FourierConfig, duration_seconds: float, generator: torch.Generator) -> None:
        super().__init__()
        self.duration_seconds = max(duration_seconds, 1e-6)
        matrix = frequencies(config, generator)
        if config.learnt:
            self.matrix = nn.Parameter(matrix)
        else:
            self.register_buffer("matrix", matrix)
        self.axes = [axis for axis, bandwidth in enumerate(config.bandwidths) if bandwidth > 0]
        self.width = 2 * len(matrix) or len(self.axes)

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
            # A box lies evenly around its centre, so the coordinates' mean over it is the centre's.
            return 2 * p[:, self.axes] - 1
        box = uvt.new_tensor([footprint.du, footprint.dv, footprint.dt / self.duration_seconds])
        damping = torch.sinc(self.matrix * box).prod(dim=-1)
        phase = 2 * math.pi * p @ self.matrix.T
        return torch.cat([phase.cos() * damping, phase.sin() * damping], dim=-1)
