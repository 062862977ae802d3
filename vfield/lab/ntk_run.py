"""The experiment on tangent kernels: every map of (u, v), on a line and on a grid over the picture."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from einops import rearrange, reduce
from torch import Tensor

from vfield.core.coords import pixel_uv
from vfield.field.config import FourierKind
from vfield.lab.ntk import (
    TangentField,
    analytic_kernel,
    descend,
    eigenvalues,
    empirical_kernel,
    predicted,
    unexplained_by_difference,
)
from vfield.lab.plots import FIGURES_NAME, axes, write_experiment
from vfield.lab.settings import NtkConfig
from vfield.lab.spectral import KINDS, map_config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SLICES = (0.1, 0.35, 0.6, 0.85)  # where along the line K(p, .) is drawn
_SMALLEST = 1e-9  # eigenvalue that is drawn, over the largest


class Kernel(NamedTuple):
    """What one map makes of n points."""

    empirical: Tensor  # (n, n), from the network's own gradients
    analytic: Tensor  # (n, n), for infinite width
    unexplained: float  # share of the empirical kernel's variance that the difference of positions does not explain
    unexplained_analytic: float  # likewise of the other

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
    """Gradient descent on the n points of the line, looked at s times."""

    steps: list[int]
    target: Tensor  # (n,)
    foretold: Tensor  # (s, n), by the kernel at the start
    real: Tensor  # (s, n)

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
    """The whole experiment; what is learnt is the brightness of the middle row of a picture (3, h, w) in [0, 1]."""
    line_uv = rearrange(pixel_uv(1, config.line_points, (0.0, 0.5, 1.0, 0.5)), "h w c -> (h w) c")
    grid_uv = rearrange(pixel_uv(config.side, config.side), "h w c -> (h w) c")
    target = middle_row(picture, config.line_points)
    result = NtkResult({}, {}, {})
    for kind in KINDS:
        field = TangentField(map_config(kind, config.sigma, config.count), config.width, config.depth, config.seed)
        result.line[kind] = kernel_of(field, line_uv, (1, config.line_points), config.depth)
        result.grid[kind] = kernel_of(field, grid_uv, (config.side, config.side), config.depth)
        result.training[kind] = _train(field, line_uv, target, result.line[kind].empirical, config.steps)
    return result


def middle_row(picture: Tensor, points: int) -> Tensor:
    """Brightness along the middle of a picture (3, h, w), less its mean, averaged down to so many points: (points,)."""
    row = reduce(picture[:, picture.shape[1] // 2], "c w -> w", "mean")
    reduced = torch.nn.functional.adaptive_avg_pool1d(row[None], points)[0]
    return reduced - reduced.mean()


def kernel_of(field: TangentField, uv: Tensor, grid: tuple[int, int], depth: int) -> Kernel:
    """Both kernels of a field of this depth at the points (n, 2) of a grid of rows and columns."""
    features = field.encode(uv)
    empirical, analytic = empirical_kernel(field.mlp, features), analytic_kernel(features, depth)
    places = torch.cartesian_prod(*(torch.arange(side) for side in grid))
    differences = places[:, None] - places[None]
    unexplained = (unexplained_by_difference(kernel, differences) for kernel in (empirical, analytic))
    return Kernel(empirical, analytic, *unexplained)


def _train(field: TangentField, uv: Tensor, target: Tensor, kernel: Tensor, most: int) -> Training:
    """Gradient descent on the line by at most so many steps, and its forecast. The field's weights change.

    The rate is a tenth of the inverse of the largest eigenvalue: where steps are that small, descent follows the flow
    that the forecast describes.
    """
    rate = 0.1 / float(torch.linalg.eigvalsh(kernel.double())[-1])
    steps = sorted({0, *(round(most ** (i / 12)) for i in range(13))})
    foretold = predicted(kernel, target, rate, steps)
    real = descend(field.mlp, field.encode(uv), target, rate, steps)
    return Training(steps, target, foretold, real)


# ------------------------------------------------------------------------------------------------ what it leaves


def write_ntk(result: NtkResult, config: NtkConfig, image: str, folder: Path) -> None:
    """Write plots and every figure, the whole folder or nothing.

    Raises:
        UserError: when it cannot be written.
    """
    training = {}
    for kind, made in result.training.items():
        foretold, real = (error.tolist() for error in made.errors)
        training[kind] = {
            "steps": made.steps,
            "rms_error_foretold": foretold,
            "rms_error_real": real,
            "largest_distance_of_curves": made.apart,
        }
    figures = {
        "image": image,
        "config": asdict(config),
        "line": {kind: _described(kernel) for kind, kernel in result.line.items()},
        "picture": {kind: _described(kernel) for kind, kernel in result.grid.items()},
        "training": training,
    }
    plots = {
        "kernels.png": _kernels(result),
        "eigenvalues.png": _eigenvalues(result),
        "training.png": _training(result),
    }
    write_experiment(folder, {**plots, FIGURES_NAME: figures})


def _described(kernel: Kernel) -> dict[str, Any]:
    return {
        "unexplained_by_difference": kernel.unexplained,
        "unexplained_by_difference_analytic": kernel.unexplained_analytic,
        "empirical_from_analytic": kernel.apart,
        "eigenvalues_above_a_hundredth": kernel.count_above,
        "eigenvalues_over_largest": kernel.decay.tolist(),
    }


def _kernels(result: NtkResult) -> Figure:
    figure, plots = axes(len(result.line), rows=2, width=3.2, height=3)
    for i, (kind, kernel) in enumerate(result.line.items()):
        whole, slices = plots[i], plots[i + len(result.line)]
        points = len(kernel.empirical)
        whole.imshow(kernel.empirical.numpy(), extent=(0, 1, 1, 0), cmap="magma")
        whole.set(xlabel="q", ylabel="p")
        whole.set_title(f"{kind}: {100 * kernel.unexplained:.1f} % not stationary", fontsize=9)
        where = [(j + 0.5) / points for j in range(points)]
        for share in _SLICES:
            row = int(share * points)
            line = slices.plot(where, kernel.empirical[row].tolist())[0]
            slices.plot(where, kernel.analytic[row].tolist(), color=line.get_color(), linestyle=":")
        slices.set(xlabel="q")
        slices.set_title("K(p, q) for four p (dotted: infinite width)", fontsize=9)
    return figure


def _eigenvalues(result: NtkResult) -> Figure:
    figure, plots = axes(2, width=5, height=3.8)
    for plot, name, kernels in zip(plots, ("line", "picture"), (result.line, result.grid), strict=True):
        for i, (kind, kernel) in enumerate(kernels.items()):
            analytic = eigenvalues(kernel.analytic)
            rank = range(1, len(analytic) + 1)
            plot.plot(rank, kernel.decay.clamp(min=_SMALLEST).tolist(), color=f"C{i}", label=kind)
            plot.plot(rank, (analytic / analytic[0]).clamp(min=_SMALLEST).tolist(), color=f"C{i}", linestyle=":")
        plot.set(xscale="log", yscale="log", xlabel="rank", title=f"eigenvalues over the largest, on the {name}")
    plots[0].legend()
    return figure


def _training(result: NtkResult) -> Figure:
    figure, plots = axes(len(result.training), rows=2, width=3.2, height=3)
    for i, (kind, made) in enumerate(result.training.items()):
        foretold, real = (error.tolist() for error in made.errors)
        errors, shown = plots[i], plots[i + len(result.training)]
        errors.plot(made.steps, real, marker="o", markersize=3, label="real")
        errors.plot(made.steps, foretold, linestyle="--", label="foretold by K")
        errors.set(xscale="symlog", yscale="log", xlabel="step", title=f"{kind}: RMS error")
        errors.legend()
        where = [(j + 0.5) / len(made.target) for j in range(len(made.target))]
        shown.plot(where, made.target.tolist(), color="lightgrey", linewidth=4, label="picture's row")
        shown.plot(where, made.real[-1].tolist(), label="real")
        shown.plot(where, made.foretold[-1].tolist(), linestyle="--", label="foretold by K")
        shown.set(xlabel="u", title=f"after {made.steps[-1]} steps")
    plots[len(result.training)].legend(fontsize=7)
    return figure
