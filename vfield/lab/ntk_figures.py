"""What the experiment on tangent kernels leaves behind: plots, and every figure as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vfield.core.folders import replaced
from vfield.lab.ntk import eigenvalues
from vfield.lab.ntk_run import Kernel, NtkResult
from vfield.lab.plots import axes, save_figure
from vfield.lab.settings import NtkConfig

FIGURES_NAME = "figures.json"
_SLICES = (0.1, 0.35, 0.6, 0.85)  # where along the line K(p, .) is drawn
_SMALLEST = 1e-9  # eigenvalue that is drawn, over the largest


def _described(kernel: Kernel) -> dict[str, Any]:
    return {
        "unexplained_by_difference": kernel.unexplained,
        "unexplained_by_difference_analytic": kernel.unexplained_analytic,
        "empirical_from_analytic": kernel.apart,
        "eigenvalues_above_a_hundredth": kernel.count_above,
        "eigenvalues_over_largest": kernel.decay.tolist(),
    }


def summary(result: NtkResult, config: NtkConfig, image: str) -> dict[str, Any]:
    """Every figure, for JSON."""
    training = {}
    for kind, made in result.training.items():
        foretold, real = (error.tolist() for error in made.errors)
        training[kind] = {
            "steps": made.steps,
            "rms_error_foretold": foretold,
            "rms_error_real": real,
            "largest_distance_of_curves": made.apart,
        }
    return {
        "image": image,
        "config": asdict(config),
        "line": {kind: _described(kernel) for kind, kernel in result.line.items()},
        "picture": {kind: _described(kernel) for kind, kernel in result.grid.items()},
        "training": training,
    }


def write_ntk(result: NtkResult, config: NtkConfig, image: str, folder: Path) -> None:
    """Write the folder, whole or not at all.

    Raises:
        UserError: when it cannot be written.
    """
    with replaced(folder) as partial:
        partial.mkdir(parents=True)
        _kernels(result, partial / "kernels.png")
        _eigenvalues(result, partial / "eigenvalues.png")
        _training(result, partial / "training.png")
        (partial / FIGURES_NAME).write_text(json.dumps(summary(result, config, image), indent=1))


def _kernels(result: NtkResult, path: Path) -> None:
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
    save_figure(figure, path)


def _eigenvalues(result: NtkResult, path: Path) -> None:
    figure, plots = axes(2, width=5, height=3.8)
    for plot, name, kernels in zip(plots, ("line", "picture"), (result.line, result.grid), strict=True):
        for i, (kind, kernel) in enumerate(kernels.items()):
            analytic = eigenvalues(kernel.analytic)
            rank = range(1, len(analytic) + 1)
            plot.plot(rank, kernel.decay.clamp(min=_SMALLEST).tolist(), color=f"C{i}", label=kind)
            plot.plot(rank, (analytic / analytic[0]).clamp(min=_SMALLEST).tolist(), color=f"C{i}", linestyle=":")
        plot.set(xscale="log", yscale="log", xlabel="rank", title=f"eigenvalues over the largest, on the {name}")
    plots[0].legend()
    save_figure(figure, path)


def _training(result: NtkResult, path: Path) -> None:
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
    save_figure(figure, path)
