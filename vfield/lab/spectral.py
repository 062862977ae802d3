"""Spectral bias, measured: the same MLP on a picture, with and without Fourier features.

A coordinate MLP is fitted to half of a picture's pixels, those of one colour on a chessboard, and judged on the others,
as in Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains", 2020
(section 6; they see every second row and column). There held-out pixels of natural images rank none < basic <
positional < Gaussian, and the bandwidth sigma of the frequencies has an optimum: too small underfits, too large lets
the network put anything between the pixels it has seen.

How fast each frequency is learnt is told by the error's spectrum. With F the discrete Fourier transform, f the field
and y the picture, the share of radial band b that is still missing is

    missing(b) = sum_(k in b) |F(f - y)(k)|^2 / sum_(k in b) |F(y)(k)|^2

(in the spirit of Rahaman et al., "On the Spectral Bias of Neural Networks", 2019, who follow single frequencies).
Spectral bias is that the bands reach any given share in the order of their frequencies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torchvision.utils import make_grid

from vfield.core.clip import Clip, to_float, to_uint8
from vfield.core.coords import Footprint, pixel_uv, with_t
from vfield.core.drawing import captioned
from vfield.core.errors import UserError
from vfield.field.config import DecoderConfig, FourierConfig, FourierKind
from vfield.field.decoder import Decoder
from vfield.field.fourier import FourierFeatures
from vfield.lab.plots import FIGURES_NAME, axes, write_experiment
from vfield.lab.settings import SNAPSHOT_STEPS, SpectralConfig
from vfield.video_io import encode_gif, resize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS: tuple[FourierKind, ...] = ("none", "basic", "positional", "gaussian")
LEARNT = "gaussian, learnt"  # frequencies that start at the best bandwidth and are learnt with the rest
_LEARNT = 0.5  # a band counts as learnt where less than this share of its power is missing
_SNAPSHOTS_PER_SECOND = Fraction(4)
_GAP = 4  # pixels between pictures
_DOTTED = "held-out pixels (dotted: seen pixels)"
_FLOOR_DB = -20.0  # of the spectra's colours


class Trace(NamedTuple):
    """One fit, looked at s times."""

    steps: list[int]
    pictures: Tensor  # (s, 3, h, w) float32, what it showed, 0 to 1
    seen_psnr: list[float]  # dB on the pixels that it learns from
    held_out_psnr: list[float]  # dB on the others
    missing: Tensor  # (s, b) share of each band's power that is still missing


class Swept(NamedTuple):
    """PSNR by bandwidth, dB."""

    sigmas: tuple[float, ...]
    seen_psnr: tuple[float, ...]
    held_out_psnr: tuple[float, ...]

    @property
    def best(self) -> float:
        """The bandwidth with the best held-out PSNR."""
        return self.sigmas[max(range(len(self.sigmas)), key=self.held_out_psnr.__getitem__)]


class SpectralResult(NamedTuple):
    """What came of the experiment."""

    picture: Tensor  # (3, h, w) float32, the truth
    edges: list[float]  # of the bands of frequency, cycles across the picture
    traces: dict[str, Trace]  # by the map's name, at its best bandwidth where it has one; Gaussian also learnt
    sweeps: dict[str, Swept]  # by the map's name


class PictureField(nn.Module):
    """f(u, v): (n, 2) positions in the unit square -> (n, 3) colours, by the package's features and decoder alone."""

    def __init__(self, fourier: FourierConfig, decoder: DecoderConfig, seed: int) -> None:
        super().__init__()
        self.features = FourierFeatures(fourier, 1.0, torch.Generator().manual_seed(seed))
        # Layers draw their first weights from the global generator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.decoder = Decoder(decoder, self.features.width, 0, outputs=3)

    def encode(self, uv: Tensor) -> Tensor:
        """The features (n, f) of points (n, 2)."""
        return self.features(with_t(uv, 0.0), Footprint())

    def decode(self, features: Tensor) -> Tensor:
        """Colours (n, 3) of features (n, f)."""
        unconditioned = features.new_zeros(1, 0)
        return 0.5 + self.decoder(features, unconditioned, torch.zeros(1, dtype=torch.int64))

    def forward(self, uv: Tensor) -> Tensor:
        """Colours (n, 3) of points (n, 2)."""
        return self.decode(self.encode(uv))


def square_picture(clip: Clip, size: int) -> Tensor:
    """The middle square of a clip's first frame, reduced by area averaging: (3, size, size) float32.

    Raises:
        UserError: when the picture is smaller.
    """
    side = min(clip.height, clip.width)
    if side < size:
        raise UserError(f"the picture is {clip.width}x{clip.height}, too small for a square of {size}; choose --size")
    top, left = (clip.height - side) // 2, (clip.width - side) // 2
    square = to_uint8(clip.pixels[:1, :, top : top + side, left : left + side])
    return to_float(resize(square, size, size, "area")[0])


def chessboard(height: int, width: int) -> Tensor:
    """Half of the pixels, every second one of each row and column: (height, width) bool."""
    rows, columns = torch.arange(height), torch.arange(width)
    return (rows[:, None] + columns) % 2 == 0


def map_config(kind: FourierKind, sigma: float, count: int) -> FourierConfig:
    """The features of a picture: no waves over time, and as many columns for every kind that can have them."""
    return FourierConfig(
        kind=kind, count=count if kind == "gaussian" else count // 2, space_bandwidth=sigma, time_bandwidth=0.0
    )


def band_edges(size: int) -> list[float]:
    """Octaves of cycles across a square picture, 1, 2, 4, ... up to what its pixels can hold."""
    return [float(2**i) for i in range(int(math.log2(size / 2)))] + [size / 2]


def band_power(picture: Tensor, edges: Sequence[float]) -> Tensor:
    """Power of a picture in bands of radial frequency: (len(edges) + 1,).

    By Parseval's theorem all bands together hold the picture's mean square. The first band holds what is slower than
    edges[0] (the mean, if that is 1), the last what is as fast as edges[-1] or faster: the spectrum's corners.

    Args:
        picture: (c, h, w) float.
        edges: cycles across the picture's height and width, increasing.
    """
    height, width = picture.shape[-2:]
    power = torch.fft.fft2(picture, norm="forward").abs().square().mean(dim=0)
    down = torch.fft.fftfreq(height, 1 / height)
    across = torch.fft.fftfreq(width, 1 / width)
    radius = torch.hypot(down[:, None], across)
    band = torch.bucketize(radius, torch.tensor(edges), right=True)
    return torch.zeros(len(edges) + 1).index_add(0, band.flatten(), power.flatten())


def learnt_steps(trace: Trace) -> list[int | None]:
    """The step from which on less than half of each band's power was missing; None where there was none."""
    found: list[int | None] = []
    for band in trace.missing.T.tolist():
        late = [i for i, share in enumerate(band) if share >= _LEARNT]
        after = late[-1] + 1 if late else 0
        found.append(trace.steps[after] if after < len(trace.steps) else None)
    return found


def watch(picture: Tensor, fourier: FourierConfig, config: SpectralConfig) -> Trace:
    """Fit a field to half of the pixels of a picture (3, h, w) in [0, 1], and look at it every 25 steps from 0 on."""
    height, width = picture.shape[-2:]
    seen = chessboard(height, width).flatten()
    candidates = seen.nonzero()[:, 0]
    edges = band_edges(min(height, width))
    power = band_power(picture, edges).clamp(min=1e-12)
    field = PictureField(fourier, DecoderConfig(config.width, config.depth, "none"), config.seed)
    colours = rearrange(picture, "c h w -> (h w) c")
    uv = rearrange(pixel_uv(height, width), "h w c -> (h w) c")
    # Frequencies that do not change give features that do not change.
    fixed = None if fourier.learnt else field.encode(uv)
    optimizer = torch.optim.Adam(field.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    generator = torch.Generator().manual_seed(config.seed)
    steps, pictures, seen_psnr, held_out_psnr, missing = [], [], [], [], []
    for step in range(config.steps + 1):
        if step % SNAPSHOT_STEPS == 0 or step == config.steps:
            with torch.no_grad():
                flat = field(uv) if fixed is None else field.decode(fixed)
            made = rearrange(flat, "(h w) c -> c h w", h=height)
            shown = made.clamp(0, 1)
            error = (shown - picture).square().mean(dim=0).flatten()
            steps.append(step)
            pictures.append(shown)
            seen_psnr.append(_psnr(error[seen]))
            held_out_psnr.append(_psnr(error[~seen]))
            missing.append(band_power(made - picture, edges) / power)
        if step == config.steps:
            break
        chosen = candidates[torch.randint(len(candidates), (config.points,), generator=generator)]
        made = field(uv[chosen]) if fixed is None else field.decode(fixed[chosen])
        optimizer.zero_grad()
        (made - colours[chosen]).square().mean().backward()
        optimizer.step()
        schedule.step()
    return Trace(steps, torch.stack(pictures), seen_psnr, held_out_psnr, torch.stack(missing))


def _psnr(error: Tensor) -> float:
    return -10 * math.log10(max(float(error.mean()), 1e-10))


def run_spectral(picture: Tensor, config: SpectralConfig, told: Callable[[str, Trace], None]) -> SpectralResult:
    """The whole experiment on a picture (3, h, w) in [0, 1]; `told` hears of each fit when it is done."""

    def fitted(name: str, fourier: FourierConfig) -> Trace:
        trace = watch(picture, fourier, config)
        told(name, trace)
        return trace

    traces: dict[str, Trace] = {}
    sweeps: dict[str, Swept] = {}
    for kind in KINDS:
        if kind in ("none", "basic"):
            traces[kind] = fitted(kind, map_config(kind, 1.0, config.count))
            continue
        tried = [fitted(f"{kind}, sigma {sigma:g}", map_config(kind, sigma, config.count)) for sigma in config.sigmas]
        seen, held_out = zip(*((trace.seen_psnr[-1], trace.held_out_psnr[-1]) for trace in tried), strict=True)
        sweeps[kind] = Swept(config.sigmas, seen, held_out)
        traces[kind] = tried[config.sigmas.index(sweeps[kind].best)]
    learnt = replace(map_config("gaussian", sweeps["gaussian"].best, config.count), learnt=True)
    traces[LEARNT] = fitted(LEARNT, learnt)
    return SpectralResult(picture, band_edges(min(picture.shape[-2:])), traces, sweeps)


# ------------------------------------------------------------------------------------------------ what it leaves


def write_spectral(result: SpectralResult, config: SpectralConfig, image: str, folder: Path) -> None:
    """Write a moving picture, curves, spectra, and every figure, the whole folder or nothing.

    Raises:
        UserError: when it cannot be written.
    """
    figures = {
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
    moving = encode_gif(_snapshots(result), _SNAPSHOTS_PER_SECOND)
    plots = {"curves.png": _curves(result), "spectrum.png": _spectra(result), "sigma.png": _sweeps(result)}
    write_experiment(folder, {"training.gif": moving, **plots, FIGURES_NAME: figures})


def _snapshots(result: SpectralResult) -> Tensor:
    """Every map's picture beside the true one, at each snapshot: (s, 3, h', w') uint8."""
    font_size = max(result.picture.shape[-1] // 11, 8)
    frames = []
    traces = [(kind, result.traces[kind]) for kind in KINDS]
    for i, step in enumerate(result.traces[KINDS[0]].steps):
        made = [(f"{kind} {trace.held_out_psnr[i]:.1f} dB", trace.pictures[i]) for kind, trace in traces]
        pictures = [*made, (f"true, step {step}", result.picture)]
        cells = [captioned(to_uint8(picture), label, font_size) for label, picture in pictures]
        frames.append(make_grid(cells, nrow=len(cells), padding=_GAP, pad_value=255))
    return torch.stack(frames)


def _curves(result: SpectralResult) -> Figure:
    figure, (plot,) = axes(1, width=6.5, height=4)
    for i, (name, trace) in enumerate(result.traces.items()):
        plot.plot(trace.steps, trace.held_out_psnr, color=f"C{i}", label=name)
        plot.plot(trace.steps, trace.seen_psnr, color=f"C{i}", linestyle=":")
    plot.set(xlabel="step", ylabel="PSNR, dB", title=_DOTTED)
    plot.legend()
    return figure


def _spectra(result: SpectralResult) -> Figure:
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
    return figure


def _sweeps(result: SpectralResult) -> Figure:
    figure, (plot,) = axes(1, width=6.5, height=4)
    for i, (name, swept) in enumerate(result.sweeps.items()):
        plot.plot(swept.sigmas, swept.held_out_psnr, color=f"C{i}", marker="o", label=f"{name}, best {swept.best:g}")
        plot.plot(swept.sigmas, swept.seen_psnr, color=f"C{i}", linestyle=":")
        plot.plot(swept.best, max(swept.held_out_psnr), color=f"C{i}", marker="*", markersize=16)
    plot.set_xscale("log", base=2)
    plot.set(xlabel="sigma, cycles across the picture", ylabel="PSNR, dB", title=_DOTTED)
    plot.legend()
    return figure
