"""Spectral bias and Fourier features on a picture: `vfield lab spectral`."""

from __future__ import annotations

from pathlib import Path

from vfield.cli.options import check_folder, command_parser, parse
from vfield.lab.plots import check_plots
from vfield.lab.spectral import SpectralConfig, Trace, run_spectral, square_picture
from vfield.lab.spectral_figures import FIGURES_NAME, write_spectral
from vfield.video_io import read_clip

_DEFAULTS = SpectralConfig()


def run(words: list[str]) -> int:
    """Read the options, fit with every map, and write what was seen."""
    parser = command_parser(
        "lab spectral",
        "Fit the same MLP to half of a picture's pixels with each map of (u, v), and judge it on the others. Writes "
        "training.gif, curves.png, spectrum.png, sigma.png and figures.json.",
    )
    parser.add_argument(
        "--image",
        type=str,
        default="data/bigbuckbunny.mp4",
        metavar="FILE",
        help="a picture, or a video for its first frame (default: data/bigbuckbunny.mp4)",
    )
    parser.add_argument(
        "--out", type=str, default="runs/lab-spectral", metavar="DIR", help="folder (default: runs/lab-spectral)"
    )
    parser.add_argument(
        "--size",
        type=int,
        default=_DEFAULTS.size,
        metavar="PIXELS",
        help=f"side of the square that the picture is reduced to (default: {_DEFAULTS.size})",
    )
    parser.add_argument(
        "--steps", type=int, default=_DEFAULTS.steps, help=f"optimisation steps a fit (default: {_DEFAULTS.steps})"
    )
    parser.add_argument(
        "--sigmas",
        type=float,
        nargs="+",
        default=list(_DEFAULTS.sigmas),
        metavar="CYCLES",
        help="bandwidths to try, cycles across the picture "
        f"(default: {' '.join(f'{sigma:g}' for sigma in _DEFAULTS.sigmas)})",
    )
    parser.add_argument("--seed", type=int, default=_DEFAULTS.seed, help="seed of everything random (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in the folder")
    parsed = parse(parser, words)
    folder = Path(parsed.out)
    config = SpectralConfig(
        size=parsed.size, steps=parsed.steps, sigmas=tuple(dict.fromkeys(parsed.sigmas)), seed=parsed.seed
    )
    check_plots()
    check_folder(folder, parsed.overwrite, mark=FIGURES_NAME, kept="finished experiment")
    picture = square_picture(read_clip(parsed.image, max_frames=1), config.size)
    result = run_spectral(picture, config, _tell)
    write_spectral(result, config, Path(parsed.image).name, folder)
    for name, trace in result.traces.items():
        sigma = f" (sigma {result.sweeps[name].best:g})" if name in result.sweeps else ""
        print(f"{name}{sigma}: held-out PSNR {trace.held_out_psnr[-1]:.2f} dB, seen {trace.seen_psnr[-1]:.2f} dB")
    print(f"{folder}: training.gif, curves.png, spectrum.png, sigma.png, {FIGURES_NAME}")
    return 0


def _tell(name: str, trace: Trace) -> None:
    print(f"  fitted {name}: held-out PSNR {trace.held_out_psnr[-1]:.2f} dB", flush=True)
