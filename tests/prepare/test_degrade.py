"""Pieces to teach with: short, smaller than what was filmed, of one shot, moving, and the same for the same draw."""

from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest
import torch

from vfield.core.clip import Clip
from vfield.core.errors import UserError
from vfield.prepare.degrade import degraded

ROWS, COLUMNS = 240, 320


def drifting(frames: int, rows: int = ROWS, columns: int = COLUMNS) -> Clip:
    """Coarse random spots that move by two pixels a frame; the second half is a darker picture."""
    spots = torch.rand(3, rows // 8, (columns + 2 * frames) // 8 + 1, generator=torch.Generator().manual_seed(1))
    large = spots.repeat_interleave(8, dim=-2).repeat_interleave(8, dim=-1)
    pictures = torch.stack([large[..., 2 * k : 2 * k + columns] for k in range(frames)])
    pictures[frames // 2 :] *= 0.25
    times = tuple(Fraction(k, 25) for k in range(frames))
    return Clip((255 * pictures).to(torch.uint8), times, Fraction(frames, 25), Fraction(25))


def test_a_piece_is_small_short_and_drawn_again_alike() -> None:
    clip = drifting(24)
    shots = [range(12), range(12, 24)]
    pieces = [degraded(clip, shots, 5, Random(seed)) for seed in (0, 0, 1)]
    for piece in pieces:
        assert piece is not None
        assert piece.pixels.dtype == torch.uint8
        assert len(piece) == 5
        assert piece.height <= ROWS / 1.5
        assert piece.width == pytest.approx(piece.height * COLUMNS / ROWS, abs=1)
    assert pieces[0] is not None
    assert pieces[1] is not None
    assert torch.equal(pieces[0].pixels, pieces[1].pixels)
    assert pieces[0].pts_seconds == pieces[1].pts_seconds


def test_no_piece_lies_across_a_cut_and_draws_differ() -> None:
    clip = drifting(24)
    seen = set()
    for seed in range(12):
        piece = degraded(clip, [range(12), range(12, 24)], 5, Random(seed))
        assert piece is not None
        levels = piece.pixels.float().mean(dim=(1, 2, 3))
        assert float(levels.max() - levels.min()) < 10  # the shots' own differ by some ninety
        seen.add((piece.height, piece.start_seconds, float(levels[0]) > 64))
    assert len(seen) > 6


def test_what_stands_still_or_is_short_teaches_nothing() -> None:
    clip = drifting(8)
    still = Clip(clip.pixels[:1].expand(8, -1, -1, -1), clip.pts_seconds, clip.end_seconds, clip.frame_rate)
    assert degraded(still, [range(8)], 5, Random(0)) is None
    assert degraded(clip, [range(4), range(4, 8)], 5, Random(0)) is None


def test_a_picture_that_is_too_small_is_told() -> None:
    with pytest.raises(UserError, match="a picture of 64x48 is too small to teach with"):
        degraded(drifting(12, 48, 64), [range(12)], 5, Random(0))
