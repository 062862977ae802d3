"""What happens to pictures on their way into a file, drawn at random: for teaching on more than was filmed.

What is learnt from clean, small pictures alone chooses boldly, and is wrong on grainy ones (notes.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import torch
from torch import Tensor

from vfield.core.clip import Clip, to_uint8
from vfield.core.errors import UserError
from vfield.core.splines import area_averages
from vfield.video_io import through_codec

# Pictures are made smaller by this much at least: what coding left of the source is then mostly gone.
_LEAST_REDUCTION = 1.5
_ROWS = (144, 180, 216, 270, 320, 360)
_STRIDES = (1, 1, 2)
_NOISE_SHARE = 0.45
_NOISE_LEVELS = (1, 2, 3, 4, 6)  # sigma, of 255
_CODED_SHARE = 0.5
_QUALITIES = (16, 20, 24, 28, 32)  # CRF of x264
_STILL_LEVELS = 0.3  # mean change from frame to frame under which nothing moves
_TRIES = 8


def degraded(clip: Clip, shots: Sequence[range], frames: int, draw: Random) -> Clip | None:
    """A short piece of one shot, smaller, in some draws with grain or coded anew: (frames, 3, h, w) uint8 in memory.

    Args:
        clip: the frames as they were filmed.
        shots: its runs of frames between cuts.
        frames: how many a piece has.
        draw: of everything random.

    Returns:
        None where no shot is long enough or nothing moves in several that were drawn.
    """
    for _ in range(_TRIES):
        stride = draw.choice(_STRIDES)
        span = stride * (frames - 1) + 1
        long = [shot for shot in shots if len(shot) >= span]
        if not long:
            continue
        shot = draw.choice(long)
        first = draw.randint(shot.start, shot.stop - span)
        piece = clip.select(range(first, first + span, stride))
        pictures = _smaller(piece, draw)
        change = 255 * (pictures[1:] - pictures[:-1]).abs().mean(dim=(1, 2, 3))
        if float(change.min()) >= _STILL_LEVELS:
            return replace(piece, frames=_degraded(pictures, draw), alpha=None, visible=None, source="")
    return None


def _smaller(piece: Clip, draw: Random) -> Tensor:
    """The pictures (t, 3, h, w), float, at a size that is drawn."""
    most = piece.height / _LEAST_REDUCTION
    rows = draw.choice([rows for rows in _ROWS if rows <= most] or [_ROWS[0]])
    if rows > most:
        raise UserError(
            f"a picture of {piece.width}x{piece.height} is too small to teach with: it needs {_LEAST_REDUCTION} times "
            f"{_ROWS[0]} rows"
        )
    columns = round(piece.width * rows / piece.height / 2) * 2
    return torch.stack([area_averages(picture, rows, columns) for picture in piece.pixels])


def _degraded(pictures: Tensor, draw: Random) -> Tensor:
    """Pictures (t, 3, h, w) as bytes, in some draws with grain or coded anew."""
    if draw.random() < _NOISE_SHARE:
        sigma, grey = draw.choice(_NOISE_LEVELS) / 255, draw.random() < 0.5
        noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(draw.getrandbits(31)))
        pictures = pictures + sigma * (noise[:, :1] if grey else noise)
    pictures = to_uint8(pictures.clamp(0, 1))
    return through_codec(pictures, draw.choice(_QUALITIES)) if draw.random() < _CODED_SHARE else pictures
