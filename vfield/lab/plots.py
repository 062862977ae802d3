"""Plots for the experiments. The only place that knows matplotlib, which is optional and always draws into files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vfield.core.errors import UserError
from vfield.core.folders import replaced

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES_NAME = "figures.json"
_DOTS_PER_INCH = 100


def check_plots() -> None:
    """Raises UserError where there is nothing to draw with: asked before the work whose results are to be drawn."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UserError("plots need matplotlib, which is not installed; pip install vfield[lab]") from error


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    check_plots()
    # A bare Figure draws with Agg and leaves alone whatever the process has chosen for its own plots.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def axes(columns: int, *, rows: int = 1, width: float = 4.5, height: float = 3.6) -> tuple[Figure, Sequence[Any]]:
    """A figure of rows x columns plots, each `width` x `height` inches: the figure, and its plots row by row."""
    figure = new_figure(columns * width, rows * height)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(rows * columns)]


def write_experiment(folder: Path, files: Mapping[str, Figure | bytes | dict[str, Any]]) -> None:
    """Write a folder with plots as PNG, bytes as they are and figures as JSON, by their names; whole or not at all.

    Raises:
        UserError: when it cannot be written.
    """
    with replaced(folder) as partial:
        partial.mkdir()
        for name, made in files.items():
            if isinstance(made, bytes):
                (partial / name).write_bytes(made)
            elif isinstance(made, dict):
                (partial / name).write_text(json.dumps(made, indent=1))
            else:
                save_figure(made, partial / name)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all.

    Raises:
        UserError: when it cannot be written.
    """
    with replaced(path) as partial:
        figure.savefig(partial, format="png", dpi=_DOTS_PER_INCH)
