"""A clip divided into what is learnt from and what is held out."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from scenes import clip_of
from torch import Tensor

from vfield.core.clip import Clip, to_uint8
from vfield.core.errors import UserError
from vfield.core.frames import in_memory
from vfield.learn.held_out import split


def moving(count: int) -> Tensor:
    """Pictures that all differ: (count, 3, 8, 8) uint8."""
    return to_uint8(torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("count", "holdout", "seen", "hidden"),
    [
        (3, 2, [0, 2], [1]),
        (5, 2, [0, 2, 4], [1, 3]),
        (6, 2, [0, 2, 4], [1, 3]),  # nothing lies beyond frame 5
        (7, 3, [0, 3, 6], [1, 2, 4, 5]),
        (9, 3, [0, 3, 6], [1, 2, 4, 5]),
        (5, 4, [0, 4], [1, 2, 3]),
    ],
)
def test_every_kth_frame_is_seen_and_the_tail_left_out(
    count: int, holdout: int, seen: list[int], hidden: list[int]
) -> None:
    clip = clip_of(moving(count), [10 + Fraction(i, 25) for i in range(count)])
    parts = split(clip, holdout)
    assert torch.equal(parts.observed.pixels, clip.pixels[seen])
    assert torch.equal(in_memory(parts.held_out.frames), clip.pixels[hidden])
    assert torch.equal(in_memory(parts.everything), clip.pixels[: seen[-1] + 1])
    assert parts.hidden_indices == hidden
    assert parts.observed.pts_seconds == tuple(clip.pts_seconds[i] for i in seen)
    assert parts.observed.frame_rate == Fraction(25, holdout)
    assert parts.held_out.t == pytest.approx([i / 25 for i in hidden])


def test_instants_follow_uneven_times() -> None:
    times = tuple(Fraction(n, 1000) for n in (500, 533, 600, 617, 700))
    parts = split(Clip(moving(5), times, Fraction(78, 100), Fraction(20)), 2)
    assert parts.held_out.t == pytest.approx([0.033, 0.117])
    assert parts.observed.pts_seconds == (times[0], times[2], times[4])


@pytest.mark.parametrize(("count", "holdout", "word"), [(5, 1, "at least 2"), (5, 0, "got 0"), (5, -3, "got -3")])
def test_a_holdout_below_two_is_refused(count: int, holdout: int, word: str) -> None:
    with pytest.raises(UserError, match=word):
        split(clip_of(moving(count)), holdout)


@pytest.mark.parametrize(("count", "holdout"), [(1, 2), (2, 2), (4, 4), (5, 100)])
def test_a_clip_too_short_for_its_holdout_is_refused(count: int, holdout: int) -> None:
    with pytest.raises(UserError, match=f"at least {holdout + 1} frames, the clip has {count}"):
        split(clip_of(moving(count)), holdout)
