"""Colours beneath what is transparent, which nobody sees but a codec.

Codecs share chroma between neighbouring pixels and code blocks of them, so black beneath a matte's outside darkens its
edges: by up to 38 levels of 255 for a red disc in 4:2:0, measured. With colours that go on they stay as they are.
"""

from __future__ import annotations

import numpy as np
from einops import reduce, repeat


def filled_beneath(rgb: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """A picture whose colours go on where nothing is seen: there, means of the nearest that are seen.

    By sums over cells of 2, 4, 8, ... pixels, of which the finest that holds anything counts.

    Args:
        rgb: (3, h, w), uint8 or float32.
        seen: (h, w) bool.

    Returns:
        (3, h, w) of the same type; the same where it is seen.
    """
    if seen.all() or not seen.any():
        return rgb
    sums, counts = rgb * seen.astype(np.float32), seen.astype(np.float32)
    levels = [(sums, counts)]
    while not counts.all():
        sums, counts = _halved(sums), _halved(counts)
        levels.append((sums, counts))
    filled = levels.pop()[0] / counts
    for sums, counts in reversed(levels):
        height, width = counts.shape
        around = repeat(filled, "c h w -> c (h a) (w b)", a=2, b=2)[:, :height, :width]
        filled = np.where(counts > 0, sums / np.maximum(counts, 1), around)
    beneath = np.rint(filled).astype(np.uint8) if rgb.dtype == np.uint8 else filled
    return np.where(seen, rgb, beneath)


def _halved(sums: np.ndarray) -> np.ndarray:
    """Sums (..., h, w) over cells of twice the side; those at the border may be narrower."""
    sides = [(0, side % 2) for side in sums.shape[-2:]]
    even = np.pad(sums, [(0, 0)] * (sums.ndim - 2) + sides)
    halved: np.ndarray = reduce(even, "... (h a) (w b) -> ... h w", "sum", a=2, b=2)
    return halved
