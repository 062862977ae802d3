"""What a fit is tried on: frames from several places of a clip, as if they were one."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from scenes import clip_of, translating

from vfield.clip import Clip, to_uint8
from vfield.forecast import _joined, _places


@pytest.mark.parametrize(
    ("frames", "count", "places"),
    [
        (range(10), 24, [range(10)]),
        (range(100, 140), 24, [range(108, 132)]),
        (range(300), 24, [range(46, 54), range(146, 154), range(246, 254)]),
        (range(90, 390), 25, [range(135, 144), range(235, 244), range(335, 344)]),
    ],
)
def test_a_long_clip_is_tried_in_its_thirds(frames: range, count: int, places: list[range]) -> None:
    assert _places(frames, count) == places


def pieces() -> list[Clip]:
    clip = clip_of(to_uint8(translating((8, 10), 12)))
    return [clip.select(range(0, 3)), clip.select(range(5, 7)), clip.select(range(10, 12))]


def test_pieces_follow_each_other_at_the_clips_rate() -> None:
    joined = _joined(pieces())
    assert joined.pts_seconds == tuple(Fraction(k, 25) for k in range(7))
    assert joined.end_seconds == Fraction(7, 25)
    assert torch.equal(joined.frames, torch.cat([piece.frames for piece in pieces()]))
    assert joined.visible is None
    assert joined.alpha is None


def test_what_some_pieces_hide_or_let_through_the_others_do_not() -> None:
    first, second, third = pieces()
    visible = torch.zeros(2, 8, 10, dtype=torch.bool)
    visible[:, 0] = True
    glass = torch.full((2, 8, 10), 100, dtype=torch.uint8)
    joined = _joined([first, replace(second, visible=visible), replace(third, alpha=glass)])
    assert joined.visible is not None
    assert joined.alpha is not None
    assert torch.equal(joined.visible[3:5], visible)
    assert joined.visible[[0, 1, 2, 5, 6]].all()
    assert torch.equal(joined.alpha[5:], glass)
    assert (joined.alpha[:5] == 255).all()
