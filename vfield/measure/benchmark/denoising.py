"""Noise added to clean clips and taken out again, by `vfield.prepare.denoise` and by OpenCV's non-local means.

The peer may try several strengths and is given its best by the clean frames; vfield is told nothing of the noise. At
level 0 the question is whether a clean clip is left alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from vfield.core.clip import Clip, to_uint8
from vfield.core.metrics import psnr, ssim
from vfield.measure.peers import non_local_means
from vfield.prepare.denoise import denoise

# Its strength over luma by the noise's level; over chroma 0.7 of the level was the best or level with it.
_NLM_STRENGTHS = (0.4, 0.55, 0.7)
_NLM_CHROMA = 0.7


@dataclass(frozen=True)
class DenoisingRow:
    """One clip at one level of noise by one method."""

    clip: str
    level: float  # standard deviation of the noise that was added, grey levels
    name: str  # the method
    psnr: float  # dB to the clean frames in RGB, mean over frames
    ssim: float  # likewise
    seconds: float  # for all frames; for the peer, at one strength
    note: str = ""  # what it found out, or was told


def with_noise(frames: Tensor, level: float, seed: int = 0) -> Tensor:
    """(t, 3, h, w) uint8 with white Gaussian noise of so many grey levels, clamped and rounded to uint8."""
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(seed))
    return (frames + level * noise).round().clamp(0, 255).to(torch.uint8)


def denoising(clips: Mapping[str, Clip], levels: Sequence[float]) -> Iterator[DenoisingRow]:
    """Judge clean clips, by name, with noise of each level: the noisy frames, vfield, and non-local means.

    Yields:
        Their figures, as soon as each is done.
    """
    for (name, clip), level in product(clips.items(), levels):
        yield from _rows(name, replace(clip, frames=to_uint8(clip.pixels)), level)


def _rows(name: str, clip: Clip, level: float) -> Iterator[DenoisingRow]:
    noisy = with_noise(clip.pixels, level)

    def row(method: str, frames: Tensor, seconds: float, note: str = "") -> DenoisingRow:
        to_clean, alike = float(psnr(frames, clip.pixels).mean()), float(ssim(frames, clip.pixels).mean())
        return DenoisingRow(name, level, method, to_clean, alike, seconds, note)

    yield row("noisy", noisy, 0.0)
    began = time.monotonic()
    denoised = denoise(replace(clip, frames=noisy))
    yield row("vfield", denoised.clip.pixels, time.monotonic() - began, str(denoised))
    if level == 0:
        return
    tried = []
    for strength in _NLM_STRENGTHS:
        began = time.monotonic()
        frames = non_local_means(noisy, strength * level, _NLM_CHROMA * level)
        tried.append(row("non-local means", frames, time.monotonic() - began, f"h = {strength:g} of the level"))
    yield max(tried, key=lambda each: each.psnr)


def denoising_table(rows: Sequence[DenoisingRow]) -> list[list[str]]:
    """The rows as cells, with their head."""
    head = ["clip", "noise", "method", "PSNR dB", "SSIM", "seconds", ""]
    body = [
        [row.clip, f"{row.level:g}", row.name, f"{row.psnr:.2f}", f"{row.ssim:.4f}", f"{row.seconds:.1f}", row.note]
        for row in rows
    ]
    return [head, *body]
