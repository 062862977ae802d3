"""One look through a clip: its cuts, its flashes and its held frames, in the memory of a few frames.

A frame is *held* that repeats the one before while the things around them move. Animation is drawn on twos or threes,
telecine shows some frames of a film twice, a recorder that stutters writes the last frame again. What moves there does
not stop and start: the repeat only fills the time until the next picture, and motion should run past it. The clip's own
instants are kept: a telecine's cadence is not timed anew, so a film's even steps take one or two intervals, as they do
on the screen.

The rule looks at runs of frames that change far less than the pairs on both sides of them, in the mean and in the block
that changes most. The second is what tells a repeat from a still background with something small that moves. A picture
shown longer than four times is a still, and a run at the end of a shot is held only where the shot's inside has such
runs: what lies beyond the end is not known, and it may as well be a still.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vfield.core.clip import to_float
from vfield.core.frames import Frames
from vfield.prepare.shots import ShotSearch

LOOKED_AT_SIDE = 960
"""Longest side of the pictures that a file is looked through in: small things that move still show in its blocks."""
_BATCH = 16

MOST_CHANGE = 1 / 255
"""Mean absolute difference of a frame shown twice, once it has been coded."""
_MOST_REPEATS = 3  # of one picture; more are a still
# How many times more the frames around must change, in the mean and in the block that changes most. All repeats of four
# clips coded by x264 at crf 30 pass; in the mean, no other pair of theirs comes nearer than 2.4 times.
_MEAN_RATIO, _BLOCK_RATIO = 4.0, 2.5
_LEAST_MOVE = 4 / 255  # in the block that changes most: below this, frames do not move but flicker with their coding
_BLOCKS = 24  # along the longer side of the picture
_LONGEST_SIDE = 1024  # of what is compared, pixels


class Scan(NamedTuple):
    """What a look through a clip has found."""

    shots: list[range]  # runs of frames between cuts, flashes apart, that together cover the clip
    repeats: list[int]  # frames that repeat the one before them while the things around them move


def scan_batches(batches: Iterable[Tensor]) -> Scan:
    """Look once through a clip that comes in pieces (n, 3, h, w), RGB, uint8 or float in [0, 1], n of at least 1.

    A UserError when there is none.
    """
    search = ShotSearch()
    changes: list[Tensor] = []
    last: Tensor | None = None
    for batch in batches:
        search.add(batch)
        for frame in batch:
            if last is not None:
                changes.append(change_between(last, frame))
            last = frame
    shots = search.flashes_apart(search.shots())
    return Scan(shots, repeats_of(torch.stack(changes), shots) if changes else [])


def scan_frames(frames: Frames) -> Scan:
    """Look through frames that are at hand."""
    numbers = range(len(frames))
    batches = (numbers[start : start + _BATCH] for start in numbers[::_BATCH])
    return scan_batches(torch.stack([frames[number] for number in batch]) for batch in batches)


def repeats_of(changes: Tensor, shots: Sequence[range]) -> list[int]:
    """The frames that repeat the one before them and are held, as opposed to stills: increasing, never a shot's first.

    Of t frames (t - 1, 2) by `change_between` tells how each differs from the next; the shots together cover range(t).
    """
    found = []
    for shot in shots:
        if len(shot) > 2:
            found += [shot.start + 1 + pair for pair in _held_pairs(changes[shot.start : shot.stop - 1])]
    return found


def change_between(before: Tensor, after: Tensor) -> Tensor:
    """(2,), in [0, 1]: mean absolute difference of two frames (3, h, w), and that of the block that changes most."""
    # Of a large frame only every step-th pixel: a block still has hundreds.
    step = -(-max(before.shape[1:]) // _LONGEST_SIDE)
    one, other = (to_float(frame[:, ::step, ::step]) for frame in (before, after))
    difference = (one - other).abs().mean(dim=0)
    block = -(-max(difference.shape) // _BLOCKS)
    blocks = F.avg_pool2d(difference[None], block, ceil_mode=True, count_include_pad=False)
    return torch.stack([difference.mean(), blocks.max()])


def _held_pairs(changes: Tensor) -> list[int]:
    """The pairs of one shot, of (n, 2) changes, whose second frame is held."""
    ratios = changes.new_tensor([_MEAN_RATIO, _BLOCK_RATIO])
    # The most that changes near each pair: a run is no longer than this reaches.
    around = F.max_pool1d(changes.T, 2 * _MOST_REPEATS + 1, stride=1, padding=_MOST_REPEATS).T
    small = (changes[:, 0] <= MOST_CHANGE) & (changes * ratios < around).all(dim=1)
    inside, at_ends = list[range](), list[range]()
    for run in _runs(small.tolist()):
        sides = [pair for pair in (run.start - 1, run.stop) if 0 <= pair < len(changes)]
        least = (ratios * changes[run.start : run.stop].amax(dim=0)).clamp(min=changes.new_tensor([0, _LEAST_MOVE]))
        if len(run) <= _MOST_REPEATS and bool((changes[sides] > least).all()):
            (inside if len(sides) == 2 else at_ends).append(run)
    longest = max(map(len, inside), default=0)
    held = inside + [run for run in at_ends if len(run) <= longest]
    return sorted(pair for run in held for pair in run)


def _runs(flags: Sequence[bool]) -> list[range]:
    """The longest runs of True."""
    edges = [i for i, (one, other) in enumerate(zip([False, *flags], [*flags, False], strict=True)) if one != other]
    return [range(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
