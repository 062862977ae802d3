"""What is known by name, for options that name it; nothing here loads torch."""

from __future__ import annotations

from typing import Literal

Benchmark = Literal["interpolation", "upscaling", "space-time", "denoising", "inpainting"]
Reduction = Literal["area", "bicubic"]
Holes = Literal["boxes", "half", "frames"]
Layout = Literal["side-by-side", "wipe", "difference"]

# Peers, as `vfield.measure.peers` has them: of frames in between, and of larger ones.
BETWEEN = ("repeat", "blend", "minterpolate", "DIS", "RIFE")
SCALE = ("bicubic", "Lanczos", "Real-ESRGAN")
REDUCTIONS: tuple[Reduction, ...] = ("area", "bicubic")
HOLES: tuple[Holes, ...] = ("boxes", "half", "frames")
# In pictures of two videos, differences are shown so many times as large.
DIFFERENCE_GAIN = 8.0
