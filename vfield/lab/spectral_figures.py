"""What the experiment on spectral bias leaves behind: a moving picture, curves, spectra, and every figure as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.utils import make_grid

from vfield.core.clip import to_uint8
from vfield.core.drawing import captioned
from vfield.core.folders import replaced
from vfield.lab.plots import axes, save_figure
from vfield.lab.settings import SpectralConfig
from vfield.lab.spectral import KINDS, SpectralResult, learnt_steps
from vfield.video_io import encode_gif

FIGURES_NAME = "figures.json"
_SNAPSHOTS_PER_SECOND = Fraction(4)
_GAP = 4  # pixels between pictures
_FLOOR_DB = -20.0  # of the spectra's colours


def snapshots(result: SpectralResult) -> Tensor:
    """Every map's picture beside the true one, at each snapshot: (s, 3, h', w') uint8."""
    width = result.picture.shape[-1]
    font_size = max(width // 11, 8)
    steps = result.traces[KINDS[0]].steps
    frames = []
    for i, step in enumerate(steps):
        traces = [(kind, result.traces[kind]) for kind in KINDS]
        made = [(f"{kind} {trace.held_out_psnr[i]:.1f} dB", trace.pictures[i]) for kind, trace in traces]
        pictures = [*made, (f"true, step {step}", result.picture)]
        cells = [captioned(to_uint8(picture), label, font_size) for label, picture in pictures]
        frames.append(make_grid(cells, nrow=len(cells), padding=_GAP, pad_value=255))
    return torch.stack(frames)


def summary(result: SpectralResult, config: SpectralConfig, image: str) -> dict[str, Any]:
    """Every figure, for JSON."""
    return {
        "image": image,
        "config": asdict(config),
        "band_edges_cycles": result.edges,
        "maps": {
            name: {
                "seen_psnr": trace.seen_psnr[-1],
                "held_out_psnr": trace.held_out_psnr[-1],
                "steps_until_half_of_band": learnt_steps(trace),
                "steps": trace.steps,
                "seen_psnr_by_step": trace.seen_psnr,
                "held_out_psnr_by_step": trace.held_out_psnr,
                "missing_share_by_step_and_band": trace.missing.tolist(),
            }
            for name, trace in result.traces.items()
        },
        "sweeps": {name: {**swept._asdict(), "best": swept.best} for name, swept in result.sweeps.items()},
    }


def write_spectral(result: SpectralResult, config: SpectralConfig, image: str, folder: Path) -> None:
    """Write the folder, whole or not at all.

    Raises:
        UserError: when it cannot be written.
    """
    with replaced(folder) as partial:
        partial.mkdir(parents=True)
        (partial / "training.gif").write_bytes(encode_gif(snapshots(result), _SNAPSHOTS_PER_SECOND))
        _curves(result, partial / "curves.png")
        _spectra(result, partial / "spectrum.png")
        _sweeps(result, partial / "sigma.png")
        (partial / FIGURES_NAME).write_text(json.dumps(summary(result, config, image), indent=1))


def _curves(result: SpectralResult, path: Path) -> None:
    figure, (plot,) = axes(1, width=6.5, height=4)
    for i, (name, trace) in enumerate(result.traces.items()):
        plot.plot(trace.steps, trace.held_out_psnr, color=f"C{i}", label=name)
        plot.plot(trace.steps, trace.seen_psnr, color=f"C{i}", linestyle=":")
    plot.set(xlabel="step", ylabel="PSNR, dB", title="held-out pixels (dotted: seen pixels)")
    plot.legend()
    save_figure(figure, path)


def _spectra(result: SpectralResult, path: Path) -> None:
    figure, plots = axes(len(result.traces), width=3.4)
    edges = [0.0, *result.edges]
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)] + [f"{edges[-1]:g} or more"]
    for plot, (name, trace) in zip(plots, result.traces.items(), strict=True):
        missing = 10 * trace.missing.clamp(min=1e-9).log10().T.numpy()
        # One column a snapshot, as wide as the steps that follow it.
        columns = [*trace.steps, 2 * trace.steps[-1] - trace.steps[-2]]
        mesh = plot.pcolormesh(columns, range(len(names) + 1), missing, vmin=_FLOOR_DB, vmax=0, cmap="magma")
        for band, step in enumerate(learnt_steps(trace)):
            if step is not None:
                plot.plot(step, band + 0.5, marker="|", color="cyan", markersize=12)
        plot.set(xlabel="step", title=name)
        plot.set_yticks([band + 0.5 for band in range(len(names))], names if plot is plots[0] else [])
    plots[0].set_ylabel("cycles across the picture")
    figure.colorbar(mesh, ax=plots[-1], label="power still missing, dB (bar: half)")
    save_figure(figure, path)


def _sweeps(result: SpectralResult, path: Path) -> None:
    figure, (plot,) = axes(1, width=6.5, height=4)
    for i, (name, swept) in enumerate(result.sweeps.items()):
        plot.plot(swept.sigmas, swept.held_out_psnr, color=f"C{i}", marker="o", label=f"{name}, best {swept.best:g}")
        plot.plot(swept.sigmas, swept.seen_psnr, color=f"C{i}", linestyle=":")
        plot.plot(swept.best, max(swept.held_out_psnr), color=f"C{i}", marker="*", markersize=16)
    plot.set_xscale("log", base=2)
    plot.set(
        xlabel="sigma, cycles across the picture", ylabel="PSNR, dB", title="held-out pixels (dotted: seen pixels)"
    )
    plot.legend()
    save_figure(figure, path)
