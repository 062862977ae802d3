"""How close frames are to a reference, on what a viewer is shown: 8-bit RGB frames of display range.

Each metric takes frames and a reference of one shape, (t, 3, h, w), uint8, or float in [0, 1], which is first brought
to bytes; other shapes are UserErrors. It gives one number a frame, (t,) float32. A clip's score is the mean of its
frames' numbers, which is how published tables are made. It is not the PSNR of the mean error, which the worst frames
would rule.

Frames are judged one after another, so memory is that of a few frames however long the clip is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from vfield.core.clip import to_uint8
from vfield.core.errors import UserError

_PEAK = 255.0

IDENTICAL_PSNR = 100.0
"""dB given to identical frames, whose PSNR is infinite, and the most that any frame is given."""

WINDOW = 11
"""Side of SSIM's Gaussian window (sigma 1.5), in pixels. Smaller pictures have no SSIM: they get nan."""

# Weights of the scales, finest first: Wang, Simoncelli and Bovik 2003, table 1.
_BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


@dataclass(frozen=True)
class Scores:
    """Means over frames of the metrics of each frame."""

    psnr: float  # dB, at most `IDENTICAL_PSNR`
    ssim: float  # 1 for identical frames; nan for pictures with a side under `WINDOW` pixels
    ms_ssim: float  # 1 for identical frames; nan as for `ssim`
    frames: int  # how many frames were judged


def psnr(frames: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each frame in dB, over all pixels of its three channels, for a peak of 255.

    Identical frames count as `IDENTICAL_PSNR`. So does what would exceed it (one wrong byte in a large picture):
    a frame that differs must not be rated above one that does not.
    """

    def of_frame(frame: Tensor, target: Tensor) -> Tensor:
        # In float64: a float32 sum over a large picture would lose single wrong bytes.
        ratio = peak_signal_noise_ratio(frame.double(), target.double(), data_range=_PEAK)
        return ratio.clamp(max=IDENTICAL_PSNR)

    return _each_frame(of_frame, frames, reference)


def psnr_within(frames: Tensor, reference: Tensor, where: Tensor) -> Tensor:
    """Like `psnr`, over the pixels `where` (t, h, w) bool; nan for frames with nothing to judge."""
    inside = where[:, None]
    # Elsewhere nothing is wrong, which makes the mean error smaller by the share that is judged.
    frames, reference = to_uint8(frames), to_uint8(reference)
    ratio = psnr(torch.where(inside, frames, reference), reference)
    ratio = ratio + 10 * where.flatten(1).float().mean(dim=1).log10()
    return torch.where(where.flatten(1).any(dim=1), ratio, torch.nan)


def ssim(frames: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity of each frame: mean over pixels and channels, Gaussian window 11, sigma 1.5.

    Method: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", 2004, with K1 = 0.01 and K2 = 0.03. Windows at the border see the picture reflected.

    In [-1, 1]; nan where a side is under `WINDOW` pixels and the window does not fit.
    """

    def of_frame(frame: Tensor, target: Tensor) -> Tensor:
        return torch.as_tensor(structural_similarity_index_measure(frame.float(), target.float(), data_range=_PEAK))

    return _each_frame(of_frame, frames, reference, smallest_side=WINDOW)


def ms_ssim(frames: Tensor, reference: Tensor) -> Tensor:
    """Multi-scale structural similarity of each frame, over as many of the five scales as the picture has room for.

    Method: Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment", 2003. Five
    scales need a shorter side of 176 pixels. Smaller pictures leave out the coarsest scales and the weights of those
    kept are scaled to sum to one: 4 scales from 99 pixels on, 3 from 44, 2 from 22, 1 (plain SSIM) from 11. So
    compare MS-SSIM only between pictures of one size. In [0, 1]; nan as for `ssim`.
    """
    betas = _betas_for(min(frames.shape[-2:]))

    def of_frame(frame: Tensor, target: Tensor) -> Tensor:
        pair = frame.float(), target.float()
        return multiscale_structural_similarity_index_measure(*pair, data_range=_PEAK, betas=betas)

    return _each_frame(of_frame, frames, reference, smallest_side=WINDOW)


def score(frames: Tensor, reference: Tensor) -> Scores:
    """The mean over frames of each frame's metrics."""
    peak, similarity, multiscale = (float(metric(frames, reference).mean()) for metric in (psnr, ssim, ms_ssim))
    return Scores(peak, similarity, multiscale, len(frames))


def _betas_for(side: int) -> tuple[float, ...]:
    """The weights of the scales that fit a shorter side of so many pixels, finest first, summing to one."""
    # The window must fit the coarsest scale, which halving leaves side / 2^(n - 1) pixels; torchmetrics also asks
    # for side // (n - 1)^2 >= 11, which is the stricter of the two only for four scales.
    fitting = [n for n in range(1, 6) if side >> (n - 1) >= WINDOW and side // max(1, n - 1) ** 2 >= WINDOW]
    kept = _BETAS[: max(fitting, default=1)]
    return tuple(beta / sum(kept) for beta in kept)


def _each_frame(
    metric: Callable[[Tensor, Tensor], Tensor], frames: Tensor, reference: Tensor, smallest_side: int = 1
) -> Tensor:
    """`metric` of each pair of (1, 3, h, w) uint8 frames: (t,) float32; nan for pictures with too short a side."""
    shape, other = tuple(frames.shape), tuple(reference.shape)
    if shape != other:
        raise UserError(f"frames and reference must have the same shape, got {shape} and {other}")
    if len(shape) != 4 or shape[1] != 3 or min(shape) == 0:
        raise UserError(f"metrics need (t, 3, h, w) frames, at least one of at least one pixel, got {shape}")
    if min(frames.shape[-2:]) < smallest_side:
        return torch.full((len(frames),), float("nan"), device=frames.device)
    pairs = zip(frames.split(1), reference.split(1), strict=True)
    return torch.stack([metric(to_uint8(frame), to_uint8(target)) for frame, target in pairs]).float()
