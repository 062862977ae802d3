"""Spectral bias and Fourier features on a picture: `vfield lab spectral`."""

from __future__ import annotations

import json
from pathlib import Path

from vfield.cli import lab_forms as forms
from vfield.cli.options import check_folder, parse
from vfield.cli.says import say
from vfield.lab.plots import FIGURES_NAME, check_plots
from vfield.lab.settings import SpectralConfig
from vfield.lab.spectral import Trace, run_spectral, square_picture, write_spectral
from vfield.video_io import read_clip


def run(words: list[str]) -> int:
    """Read the options, fit with every map, and write what was seen."""
    parsed = parse(forms.spectral(), words)
    folder = Path(parsed.out)
    config = SpectralConfig(
        size=parsed.pixels, steps=parsed.steps, sigmas=tuple(dict.fromkeys(parsed.sigmas)), seed=parsed.seed
    )
    check_plots()
    check_folder(folder, parsed.overwrite, mark=FIGURES_NAME, kept="finished experiment")
    picture = square_picture(read_clip(parsed.image, max_frames=1), config.size)
    result = run_spectral(picture, config, _tell)
    write_spectral(result, config, Path(parsed.image).name, folder)
    lines = []
    for name, trace in result.traces.items():
        sigma = f" (sigma {result.sweeps[name].best:g})" if name in result.sweeps else ""
        lines.append(
            f"{name}{sigma}: held-out PSNR {trace.held_out_psnr[-1]:.2f} dB, seen {trace.seen_psnr[-1]:.2f} dB"
        )
    lines.append(f"{folder}: training.gif, curves.png, spectrum.png, sigma.png, {FIGURES_NAME}")
    say("\n".join(lines), {"folder": folder, **json.loads((folder / FIGURES_NAME).read_text())})
    return 0


def _tell(name: str, trace: Trace) -> None:
    print(f"  fitted {name}: held-out PSNR {trace.held_out_psnr[-1]:.2f} dB", flush=True)
