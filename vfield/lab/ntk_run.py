"""The experiment on tangent kernels: every map of (u, v), on a line and on a grid over the picture."""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange, reduce
from torch import Tensor

from vfield.core.coords import pixel_uv
from vfield.field.config import FourierConfig, FourierKind
from vfield.lab.ntk import (
    TangentField,
    analytic_kernel,
    descend,
    eigenvalues,
    empirical_kernel,
    predicted,
    unexplained_by_difference,
)
from vfield.lab.settings import NtkConfig
from vfield.lab.spectral import KINDS, map_config


class Kernel(NamedTuple):
    """What one map makes of some points.

    Attributes:
        empirical: (n, n), from the network's own gradients.
        analytic: (n, n), for infinite width.
        unexplained: share of the empirical kernel's variance that the difference of positions does not explain.
        unexplained_analytic: likewise of the other.
    """

    empirical: Tensor
    analytic: Tensor
    unexplained: float
    unexplained_analytic: float

    @property
    def apart(self) -> float:
        """How far the two kernels are apart, relative to the analytic one, in the Frobenius norm."""
        return float((self.empirical - self.analytic).norm() / self.analytic.norm())

    @property
    def decay(self) -> Tensor:
        """Eigenvalues of the empirical kernel over the largest."""
        values = eigenvalues(self.empirical)
        return values / values[0]

    @property
    def count_above(self) -> int:
        """How many eigenvalues are above a hundredth of the largest: the directions learnt within 100 of its times."""
        return int((self.decay > 1e-2).sum())


class Training(NamedTuple):
    """Gradient descent on the line, foretold and real.

    Attributes:
        steps: when.
        target: (n,).
        foretold: (s, n), by the kernel at the start.
        real: (s, n).
    """

    steps: list[int]
    target: Tensor
    foretold: Tensor
    real: Tensor

    @property
    def errors(self) -> tuple[Tensor, Tensor]:
        """Root mean square error at each of the steps, foretold and real: (s,) each."""
        foretold, real = ((shown - self.target).square().mean(dim=-1).sqrt() for shown in (self.foretold, self.real))
        return foretold, real

    @property
    def apart(self) -> float:
        """The largest distance of the real from the foretold curve over the steps, relative to the target's norm."""
        return float(((self.foretold - self.real).norm(dim=-1) / self.target.norm()).max())


class NtkResult(NamedTuple):
    """What came of the experiment: for each kind of map, its kernels on the line and the grid, and its training."""

    line: dict[FourierKind, Kernel]
    grid: dict[FourierKind, Kernel]
    training: dict[FourierKind, Training]


def run_ntk(picture: Tensor, config: NtkConfig) -> NtkResult:
    """The whole experiment.

    Args:
        picture: (3, h, w) float32 in [0, 1]; what is learnt is the brightness of its middle row.
        config: what to do.
    """
    line_uv = rearrange(pixel_uv(1, config.line_points, (0.0, 0.5, 1.0, 0.5)), "h w c -> (h w) c")
    grid_uv = rearrange(pixel_uv(config.side, config.side), "h w c -> (h w) c")
    target = middle_row(picture, config.line_points)
    result = NtkResult({}, {}, {})
    for kind in KINDS:
        fourier = map_config(kind, config.sigma, config.count)
        result.line[kind] = kernel_of(fourier, line_uv, (1, config.line_points), config)
        result.grid[kind] = kernel_of(fourier, grid_uv, (config.side, config.side), config)
        result.training[kind] = train_on(fourier, line_uv, target, result.line[kind].empirical, config)
    return result


def middle_row(picture: Tensor, points: int) -> Tensor:
    """Brightness along the middle of a picture (3, h, w), less its mean, averaged down to so many points: (points,)."""
    row = reduce(picture[:, picture.shape[1] // 2], "c w -> w", "mean")
    reduced = torch.nn.functional.adaptive_avg_pool1d(row[None], points)[0]
    return reduced - reduced.mean()


def kernel_of(fourier: FourierConfig, uv: Tensor, grid: tuple[int, int], config: NtkConfig) -> Kernel:
    """Both kernels of a map at the points (n, 2) of a grid of rows and columns."""
    field = TangentField(fourier, config.width, config.depth, config.seed)
    features = field.encode(uv)
    empirical, analytic = empirical_kernel(field.mlp, features), analytic_kernel(features, config.depth)
    places = torch.cartesian_prod(*(torch.arange(side) for side in grid))
    differences = places[:, None] - places[None]
    return Kernel(
        empirical,
        analytic,
        unexplained_by_difference(empirical, differences),
        unexplained_by_difference(analytic, differences),
    )


def train_on(fourier: FourierConfig, uv: Tensor, target: Tensor, kernel: Tensor, config: NtkConfig) -> Training:
    """Gradient descent on the line, and its forecast.

    The rate is a tenth of the inverse of the largest eigenvalue: where steps are that small, descent follows the flow
    that the forecast describes.
    """
    field = TangentField(fourier, config.width, config.depth, config.seed)
    features = field.encode(uv)
    rate = 0.1 / float(torch.linalg.eigvalsh(kernel.double())[-1])
    steps = sorted({0, *(round(config.steps ** (i / 12)) for i in range(13))})
    foretold = predicted(kernel, target, rate, steps)
    real = descend(field.mlp, list(field.mlp.parameters()), features, target, rate, steps)
    return Training(steps, target, foretold, real)
